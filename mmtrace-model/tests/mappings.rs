//! Faults by mapping, as the report says it.

use mmtrace_common::{Call, Column, Kind, Record, View as _, event};
use mmtrace_model::{
    model::mappings::{name_records, path_records},
    names::Comm,
    replay::Engine,
    report::{Output, Report, Style, mappings},
};
use mmtrace_testing::kernel::{MM, Made, context};

const ANONYMOUS: u64 = 0x7000_0000;
const FILE: u64 = 0x8000_0000;

fn called(m: &mut Made, text: &str) {
    let mut bytes = [0; 16];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    let [comm, comm_tail] = Comm::new(bytes).words();
    let mut record = Record { ts: m.now, tid: 1, tgid: 1, ..Record::default() };
    event::TaskName { comm, comm_tail }.write(&mut record);
    m.records.push(record);
}

/// A process has mapped memory and a file before the recording. Both are read after some faults.
fn old_process() -> Made {
    let mut m = Made::new();
    called(&mut m, "server");
    m.user(1, ANONYMOUS).user(1, ANONYMOUS + 0x1000).user(1, FILE).user(1, 0x1000);
    m
}

fn reads(m: &mut Made, lines: &[(u64, u64, &[u8], u64)]) {
    let since = m.now + m.step;
    for (addr, end, name, ino) in lines {
        if !name.is_empty() {
            m.records.extend(name_records(MM, *addr, name, m.now));
        }
        let values = [
            (Column::Addr, *addr),
            (Column::End, *end),
            (Column::Since, since),
            (Column::VmFlags, 3),
            (Column::Ino, *ino),
            (Column::Dev, u64::from(*ino != 0)),
            (Column::Anonymous, u64::from(*ino == 0)),
        ];
        m.say(0, Kind::Mapping, &values);
    }
    m.say(0, Kind::MapsRead, &[(Column::Since, since), (Column::Whole, 1)]);
}

fn judged(m: &Made) -> Engine {
    let mut engine = Engine::new(context(), true);
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    engine
}

fn rows(engine: &Engine) -> Vec<(String, u64)> {
    let row = |row: &mappings::MappingRow| {
        (format!("{} · {}", row.process.as_deref().unwrap_or("-"), row.mapping), row.count)
    };
    mappings::rows(engine).iter().map(row).collect()
}

fn named(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|(text, count)| ((*text).to_owned(), *count)).collect()
}

#[test]
fn faults_from_before_a_reading_belong_to_what_it_shows() {
    let mut m = old_process();
    assert_eq!(rows(&judged(&m)), named(&[("server · unknown mapping", 4)]));
    reads(&mut m, &[(ANONYMOUS, ANONYMOUS + 0xffff, b"", 0), (FILE, FILE + 0xfff, b"", 7)]);
    m.user(1, FILE);
    let expected = [("server · anonymous", 2), ("server · file 7 on device 0:1", 2), ("server · unknown mapping", 1)];
    assert_eq!(rows(&judged(&m)), named(&expected), "where nothing is mapped now, something may have been");
    m.user(1, 0x2000);
    assert!(rows(&judged(&m)).contains(&("server · outside every mapping".to_owned(), 1)));
}

#[test]
fn a_fault_before_a_store_is_not_in_what_was_stored() {
    let mut m = old_process();
    let stored =
        [(Column::Addr, ANONYMOUS), (Column::End, ANONYMOUS + 0xfff), (Column::Vma, 9), (Column::Anonymous, 1)];
    m.write_lock(1).say(1, Kind::MaWrite, &stored).unlock(1, true);
    reads(&mut m, &[(ANONYMOUS, ANONYMOUS + 0xffff, b"", 0)]);
    assert_eq!(rows(&judged(&m)), named(&[("server · unknown mapping", 3), ("server · anonymous", 1)]));
}

#[test]
fn a_row_has_the_name_that_was_read_last() {
    let mut m = old_process();
    reads(&mut m, &[(ANONYMOUS, ANONYMOUS + 0xffff, b"", 0)]);
    let prctl = (Column::Call, Call::System(157).number().into());
    m.say(1, Kind::StartLocking, &[(Column::Write, 1), prctl]);
    reads(&mut m, &[(ANONYMOUS, ANONYMOUS + 0xffff, b"[anon:\x1bcache]", 0)]);
    let engine = judged(&m);
    assert_eq!(rows(&engine)[0].0, "server · [anon:\\u{1b}cache]");
    m.say(1, Kind::ExitMmap, &[]);
    assert_eq!(rows(&judged(&m)), rows(&engine), "the end of the process changes nothing");
    let row = &mappings::rows(&engine)[0];
    let top = row.top.expect("it is a mapping");
    assert_eq!((row.kind, row.mappings, top.start, top.size()), ("named", 1, ANONYMOUS, 0x10000));
}

#[test]
fn a_mapping_that_was_split_is_shown_with_the_part_of_most_faults() {
    let mut m = Made::new();
    called(&mut m, "server");
    let store = |m: &mut Made, addr: u64, end: u64, vma: u64| {
        let stored = [(Column::Addr, addr), (Column::End, end), (Column::Vma, vma), (Column::Anonymous, 1)];
        m.write_lock(1).say(1, Kind::MaWrite, &stored).unlock(1, true);
    };
    store(&mut m, ANONYMOUS, ANONYMOUS + 0xf_ffff, 9);
    // The upper part has another VMA from now on, and the last fault.
    store(&mut m, ANONYMOUS + 0xf_0000, ANONYMOUS + 0xf_ffff, 10);
    m.user(1, ANONYMOUS).user(1, ANONYMOUS + 0x1000).user(1, ANONYMOUS + 0x2000).user(1, ANONYMOUS + 0xf_0000);
    let rows = mappings::rows(&judged(&m));
    let top = rows[0].top.expect("it is a mapping");
    assert_eq!((rows[0].mappings, top.start, top.size(), top.count), (1, ANONYMOUS, 0xf_0000, 4), "{rows:?}");
}

/// Seen with a process of 60,000 mappings: each fault counted one.
#[test]
fn more_mappings_than_are_counted_one_by_one_count_once_each() {
    const MANY: u64 = 6000;
    let mut m = Made::new();
    called(&mut m, "server");
    let of = |n: u64| (ANONYMOUS + 0x2000 * n, ANONYMOUS + 0x2000 * n + 0xfff);
    let lines: Vec<(u64, u64, &[u8], u64)> = (0..MANY).map(|n| (of(n).0, of(n).1, &b""[..], 0)).collect();
    reads(&mut m, &lines);
    for n in (0..3 * MANY).map(|n| n % MANY) {
        m.user(1, of(n).0);
    }
    let rows = mappings::rows(&judged(&m));
    assert_eq!((rows[0].mappings, rows[0].count), (MANY, 3 * MANY));
}

#[test]
fn the_report_says_which_share_is_known() {
    let mut m = old_process();
    reads(&mut m, &[(ANONYMOUS, ANONYMOUS + 0xffff, b"", 0)]);
    let mut text = Vec::new();
    let report = Report::new(&judged(&m));
    report.print(Output::Text, Style::plain(), &mut text).expect("to memory");
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.contains("the mapping of 2 of 4 faults (50 %) is known"), "{text}");
    assert!(text.contains("2  server · anonymous (64 KiB at 0x70000000): unknown"), "{text}");
    let mut json = Vec::new();
    report.print(Output::Json, Style::plain(), &mut json).expect("to memory");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["faults_by_mapping"][0]["top"]["start"], "0x70000000");
}

/// The kernel says what a mapped file on device 8:1 is called.
fn has_base(m: &mut Made, ino: u64, name: &str) {
    let mut bytes = [0; 40];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    let word = |n: usize| u64::from_ne_bytes(bytes[8 * n..8 * n + 8].try_into().expect("eight bytes"));
    let mut record = Record { ts: m.now, ..Record::default() };
    let [name, name_2, name_3, name_4, name_5] = [0, 1, 2, 3, 4].map(word);
    event::FileName { ino, name, name_2, name_3, name_4, name_5, dev: 8 << 20 | 1 }.write(&mut record);
    m.records.push(record);
}

#[test]
fn files_of_one_base_name_are_told_apart() {
    let mut m = Made::new();
    called(&mut m, "server");
    for (addr, ino) in [(FILE, 7), (FILE + 0x10_0000, 8), (FILE + 0x20_0000, 9)] {
        let stored = [
            (Column::Addr, addr),
            (Column::End, addr + 0xfff),
            (Column::Vma, ino),
            (Column::Ino, ino),
            (Column::Dev, 8 << 20 | 1),
        ];
        m.write_lock(1).say(1, Kind::MaWrite, &stored).unlock(1, true);
        has_base(&mut m, ino, if ino == 9 { "other" } else { "plugin.so" });
        m.user(1, addr);
    }
    let both = |m: &Made| rows(&judged(m)).into_iter().map(|(text, _)| text).collect::<Vec<_>>();
    let inode = |n: u32| format!("server · plugin.so (inode {n} on device 8:1)");
    assert_eq!(both(&m), ["server · other".to_owned(), inode(7), inode(8)]);
    m.records.extend(path_records(8 << 20 | 1, 7, b"/a/plugin.so", m.now));
    m.records.extend(path_records(8 << 20 | 1, 8, b"/b/plugin.so", m.now));
    assert_eq!(both(&m), ["server · /a/plugin.so", "server · /b/plugin.so", "server · other"]);
}

#[test]
fn events_that_do_not_tell_make_no_table() {
    let mut engine = Engine::new(mmtrace_testing::kernel::without(&[Kind::MaWrite]), true);
    old_process().records.iter().for_each(|record| engine.apply(record));
    assert!(rows(&engine).is_empty());
}

/// Each table keeps a limited number of rows, and every fault is in one.
#[test]
fn a_flood_of_files_and_names_is_counted_to_the_last_fault() {
    let mut m = Made::new();
    for n in 0..20_000_u64 {
        let stored = [
            (Column::Addr, n << 16),
            (Column::End, n << 16 | 0xffff),
            (Column::Vma, 9),
            (Column::Ino, n + 1),
            (Column::Dev, 1),
        ];
        m.say(1, Kind::MaWrite, &stored).user(1, n << 16);
    }
    let engine = judged(&m);
    let rows = mappings::rows(&engine);
    assert!(rows.len() < 20_000);
    assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 20_000);
}
