//! Faults by function: what is counted, what names come to, and what the report says.

use mmtrace_common::{Call, Column, Kind, Record, View as _, event};
use mmtrace_model::{
    model::mappings::{Function, build_id_record, function_records},
    names::Comm,
    replay::Engine,
    report::{Output, Report, Style, functions},
};
use mmtrace_testing::kernel::{MM, Made, context, without};

/// The program, mapped from offset 0x2000 of its file on.
const CODE: u64 = 0x40_0000;
const JIT: u64 = 0x50_0000;
const FILE: (u32, u64) = (8 << 20 | 1, 77);

fn called(m: &mut Made, tid: u32, text: &str) {
    let mut bytes = [0; 16];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    let [comm, comm_tail] = Comm::new(bytes).words();
    let mut record = Record { ts: m.now, tid, tgid: 1, ..Record::default() };
    event::TaskName { comm, comm_tail }.write(&mut record);
    m.records.push(record);
}

fn mapped(m: &mut Made, start: u64, pages: u64, pgoff: u64, file: Option<(u32, u64)>) {
    let (dev, ino) = file.unwrap_or((0, 0));
    let values = [
        (Column::Addr, start),
        (Column::End, start + (pages << 12) - 1),
        (Column::Vma, 9),
        (Column::VmFlags, 5),
        (Column::Pgoff, pgoff),
        (Column::Ino, ino),
        (Column::Dev, dev.into()),
        (Column::Anonymous, u64::from(file.is_none())),
    ];
    m.write_lock(1).say(1, Kind::MaWrite, &values).unlock(1, true);
}

fn process() -> Made {
    let mut m = Made::new();
    called(&mut m, 1, "contend");
    mapped(&mut m, CODE, 16, 2, Some(FILE));
    mapped(&mut m, JIT, 16, 0, None);
    m
}

fn faults(m: &mut Made, ip: u64, times: u64) {
    for n in 0..times {
        m.say(1, Kind::PageFaultUser, &[(Column::Addr, 0x7000_0000 + (n << 12)), (Column::Ip, ip)]);
    }
}

fn named(m: &mut Made, start: u64, len: u64, name: &str) {
    m.records.extend(function_records(FILE, Function { start, len, name: name.as_bytes() }, m.now));
}

fn judged(m: &Made) -> Engine {
    let mut engine = Engine::new(context(), true);
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    engine
}

fn rows(engine: &Engine) -> Vec<(String, u64)> {
    functions::rows(engine).iter().map(|row| (row.text(), row.count)).collect()
}

fn expected(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|(text, count)| ((*text).to_owned(), *count)).collect()
}

#[test]
fn instructions_of_one_function_are_one_row_whenever_its_name_came() {
    let mut m = process();
    faults(&mut m, CODE + 0x110, 3);
    faults(&mut m, CODE + 0x120, 2);
    faults(&mut m, CODE + 0x900, 1);
    let nameless = rows(&judged(&m));
    let file = "contend · file 77 on device 8:1";
    assert_eq!(
        nameless,
        expected(&[(&format!("{file}+0x2110"), 3), (&format!("{file}+0x2120"), 2), (&format!("{file}+0x2900"), 1)])
    );
    named(&mut m, 0x2100, 0x40, "touch_pages");
    faults(&mut m, CODE + 0x13f, 1);
    faults(&mut m, CODE + 0x140, 1);
    let engine = judged(&m);
    let touched = "contend · touch_pages (file 77 on device 8:1)";
    assert_eq!(
        rows(&engine),
        expected(&[(touched, 6), (&format!("{file}+0x2140"), 1), (&format!("{file}+0x2900"), 1)])
    );
    assert_eq!(functions::known(&functions::rows(&engine)).text("faults").as_deref(), Some("6 of 8 faults (75 %)"));
    m.say(1, Kind::ExitMmap, &[]);
    assert_eq!(rows(&judged(&m)), rows(&engine), "the end of the process changes nothing");
}

/// An mprotect in the middle leaves the rest with the offsets that it had.
#[test]
fn a_split_mapping_keeps_its_offsets() {
    let mut m = process();
    named(&mut m, 0x2000 + 0x8000, 0x100, "behind_the_split");
    mapped(&mut m, CODE + 0x4000, 1, 6, Some(FILE));
    faults(&mut m, CODE + 0x8010, 4);
    assert_eq!(rows(&judged(&m)), expected(&[("contend · behind_the_split (file 77 on device 8:1)", 4)]));
}

#[test]
fn code_in_no_file_and_the_kernel_are_rows_too() {
    let mut m = process();
    faults(&mut m, JIT + 0x10, 2);
    faults(&mut m, JIT + 0x20, 3);
    faults(&mut m, 0x9000_0000, 1);
    let read = (Column::Call, Call::System(0).number().into());
    m.say(1, Kind::PageFaultKernel, &[(Column::Addr, 0x7000), (Column::Ip, 0xffff_ffff_8100_0000), read]);
    let engine = judged(&m);
    let jit = format!("contend · [JIT or anonymous] (most at {:#x})", JIT + 0x20);
    let all = [(jit.as_str(), 5), ("contend · in read", 1), ("contend · unknown mapping", 1)];
    assert_eq!(rows(&engine), expected(&all));
    assert_eq!(functions::rows(&engine)[0].kind, "memory");
}

/// The mapping is known once /proc/PID/maps was read.
#[test]
fn faults_from_before_a_reading_belong_to_what_it_shows() {
    let mut m = Made::new();
    called(&mut m, 1, "server");
    faults(&mut m, CODE + 0x110, 3);
    let since = m.now + m.step;
    let values = [
        (Column::Addr, CODE),
        (Column::End, CODE + 0xffff),
        (Column::Since, since),
        (Column::VmFlags, 5),
        (Column::Pgoff, 2),
        (Column::Ino, FILE.1),
        (Column::Dev, FILE.0.into()),
    ];
    m.say(0, Kind::Mapping, &values);
    m.say(0, Kind::MapsRead, &[(Column::Since, since), (Column::Whole, 1)]);
    named(&mut m, 0x2100, 0x40, "serve");
    let mut engine = Engine::new(context(), true);
    m.records.iter().for_each(|record| engine.apply(record));
    let asked = engine.asked_functions();
    let only: Vec<_> = asked.iter().map(|asked| (asked.tgid, asked.mm, asked.ip, asked.range, asked.offset)).collect();
    assert_eq!(only, [(1, MM, CODE + 0x110, (CODE, CODE + 0xffff), 0x2110)]);
    engine.finish();
    assert_eq!(engine.asked_functions(), [], "each is asked for once");
    assert_eq!(rows(&engine), expected(&[("server · serve (file 77 on device 8:1)", 3)]));
}

#[test]
fn the_report_says_it_in_one_line_and_json_has_the_build() {
    let mut m = process();
    faults(&mut m, CODE + 0x110, 3);
    faults(&mut m, JIT, 1);
    let printed = |m: &Made, output| {
        let mut text = Vec::new();
        Report::new(&judged(m)).print(output, Style::plain(), &mut text).expect("to memory");
        String::from_utf8(text).expect("UTF-8")
    };
    assert!(!printed(&m, Output::Text).contains("by function"), "no function was looked for");
    assert!(!printed(&m, Output::Json).contains("faults_by_function"));
    named(&mut m, 0x2100, 0x40, "touch\u{1b}[2J");
    m.records.push(build_id_record(FILE, &[0x0a, 0xff, 3], m.now));
    let text = printed(&m, Output::Text);
    assert!(text.contains("most by: 3 contend · touch\\u{1b}[2J (file 77 on device 8:1), 75 %"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&printed(&m, Output::Json)).expect("JSON");
    let row = &json["faults_by_function"][0];
    assert_eq!((&row["build_id"], &row["offset"], &row["count"]), (&"0aff03".into(), &"0x2100".into(), &3.into()));
}

/// A segment of a flight recorder begins with the names, since earlier segments are given up.
#[test]
fn a_recording_that_begins_late_has_the_names() {
    let mut m = process();
    named(&mut m, 0x2100, 0x40, "touch_pages");
    let engine = judged(&m);
    let mut late = Made::new();
    late.records = engine.model().expect("it judges").mappings().records(m.now);
    late.now = m.now;
    called(&mut late, 1, "contend");
    faults(&mut late, CODE + 0x110, 3);
    assert_eq!(rows(&judged(&late)), expected(&[("contend · touch_pages (file 77 on device 8:1)", 3)]));
}

/// How long a fault took is seen where its end is.
#[test]
fn durations_are_of_the_faults_whose_end_was_seen() {
    use mmtrace_testing::kernel::{START, TRAP, VMA_LOCK};
    let mut m = process();
    named(&mut m, 0x2100, 0x40, "touch_pages");
    m.say(1, Kind::PageFaultUser, &[(Column::Addr, START), (Column::Ip, CODE + 0x110)]);
    m.grant(1).fault(1, TRAP | VMA_LOCK).done(1, 0);
    faults(&mut m, CODE + 0x110, 1);
    let rows = functions::rows(&judged(&m));
    assert_eq!((rows[0].count, rows[0].timed, rows[0].sum_ns), (2, 1, 3 * m.step));
    assert!(rows[0].text().ends_with(": 30.0 us for 1"), "{}", rows[0].text());
}

#[test]
fn events_that_do_not_tell_make_no_table() {
    let mut engine = Engine::new(without(&[Kind::MaWrite]), true);
    let mut m = process();
    faults(&mut m, CODE, 3);
    m.records.iter().for_each(|record| engine.apply(record));
    assert!(functions::rows(&engine).is_empty());
}

/// The table keeps a limited number of rows, and every fault is in one.
#[test]
fn a_flood_of_instructions_is_counted_to_the_last_fault() {
    let mut m = process();
    mapped(&mut m, 0x1000_0000, 1 << 12, 0, Some((1, 5)));
    for n in 0..200_000 {
        faults(&mut m, 0x1000_0000 + n * 16, 1);
    }
    let engine = judged(&m);
    let rows = functions::rows(&engine);
    assert!(rows.len() < 120_000, "{}", rows.len());
    assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 200_000);
    assert_eq!(rows[0].text(), "contend · file 5 on device 0:1, other instructions");
}

/// A program of 60,000 functions, each of which faults: as many names are asked for, and as many rows tell them apart.
#[test]
fn tens_of_thousands_of_functions_have_their_names() {
    const FUNCTIONS: u64 = 60_000;
    let mut m = Made::new();
    called(&mut m, 1, "contend");
    mapped(&mut m, CODE, 1 << 10, 0, Some(FILE));
    let mut engine = Engine::new(context(), true);
    let mut asked = 0;
    // A fault is counted when the next one comes.
    for n in 0..=FUNCTIONS {
        faults(&mut m, CODE + 64 * (n % FUNCTIONS), 1);
        m.records.drain(..).for_each(|record| engine.apply(&record));
        // The recorder takes questions every 20 ms, in which so many faults may be.
        if n % 20_000 == 0 {
            let questions = engine.asked_functions();
            asked += questions.len();
            for question in questions {
                named(&mut m, question.offset, 64, &format!("function_{}", question.offset / 64));
            }
        }
    }
    m.records.drain(..).for_each(|record| engine.apply(&record));
    engine.finish();
    assert_eq!(asked as u64, FUNCTIONS);
    let rows = functions::rows(&engine);
    assert_eq!(functions::known(&rows).text("faults"), None, "all of them are known");
    let names: std::collections::BTreeSet<_> = rows.iter().filter_map(|row| row.function.as_deref()).collect();
    assert_eq!(names.len() as u64, FUNCTIONS);
}
