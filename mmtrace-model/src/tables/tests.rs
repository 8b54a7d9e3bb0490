use mmtrace_common::{Call, Record, View as _, event};

use super::*;
use crate::{
    context::Kernel,
    model::mappings::{Function, build_id_record, function_records, name_records},
    names::{Comm, cgroup_path_records, task_cgroup_record},
};

const MM: u64 = 0xffff_8880_0000_1000;

fn at(ts: u64, tid: u32, tgid: u32, write: impl FnOnce(&mut Record)) -> Record {
    let mut record = Record { ts, tid, tgid, mm: MM, ..Record::default() };
    write(&mut record);
    record
}

fn comm(text: &str) -> [u64; 2] {
    let mut bytes = [0; 16];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    Comm::new(bytes).words()
}

fn rename(ts: u64, tid: u32, tgid: u32, text: &str) -> Record {
    let [comm, comm_tail] = comm(text);
    at(ts, tid, tgid, |r| event::TaskRename { of_tid: tid.cast_signed(), comm, comm_tail }.write(r))
}

fn name(ts: u64, tid: u32, tgid: u32, text: &str) -> Record {
    let [comm, comm_tail] = comm(text);
    at(ts, tid, tgid, |r| event::TaskName { comm, comm_tail }.write(r))
}

fn fork(ts: u64, tid: u32, child: i32) -> Record {
    at(ts, tid, tid, |r| event::Fork { child_pid: child, child_tid: child, cgroup_id: 7 }.write(r))
}

fn fault(ts: u64, tid: u32, addr: u64) -> Record {
    at(ts, tid, tid, |r| event::PageFaultUser { addr, ..Default::default() }.write(r))
}

fn lock(ts: u64, tid: u32, call: u16) -> Record {
    let call = Call::System(call).number().into();
    at(ts, tid, tid, |r| event::StartLocking { write: true, call }.write(r))
}

/// A private anonymous mapping; `vma` 0 stores nothing there.
fn store(ts: u64, addr: u64, end: u64, vma: u64) -> Record {
    let stored = event::MaWrite { addr, end, vma, vm_flags: 0x73, anonymous: true, ..Default::default() };
    at(ts, 10, 10, |r| stored.write(r))
}

fn read(ts: u64, since: u64, addr: u64, end: u64) -> Record {
    let shown = event::Mapping { addr, end, since, vm_flags: 3, pgoff: 0, ino: 0, dev: 0, anonymous: true };
    at(ts, 0, 0, |r| shown.write(r))
}

fn was_read(ts: u64, since: u64) -> Record {
    at(ts, 0, 0, |r| event::MapsRead { since, whole: true }.write(r))
}

fn tables(records: &[Record]) -> (Vec<TaskRow>, Vec<MappingRow>) {
    let mut tables = Tables::new(&Context::with_every_probe(Kernel::default()));
    records.iter().for_each(|record| tables.apply(record));
    tables.end();
    let (mut tasks, mut mappings) = (Vec::new(), Vec::new());
    loop {
        let (some, others) = (tables.task_rows(), tables.mapping_rows());
        if some.is_empty() && others.is_empty() {
            return (tasks, mappings);
        }
        tasks.extend(some);
        mappings.extend(others);
    }
}

/// The rows of a thread id, in order: from, to, name, process.
fn of(tid: u32, records: &[Record]) -> Vec<(u64, u64, Option<String>, Option<String>)> {
    let (mut tasks, _) = tables(records);
    tasks.retain(|row| row.tid == tid);
    tasks.sort_by_key(|row| row.from_ts);
    tasks.into_iter().map(|row| (row.from_ts, row.to_ts, row.comm, row.process)).collect()
}

fn named(from: u64, to: u64, comm: &str, process: &str) -> (u64, u64, Option<String>, Option<String>) {
    (from, to, Some(comm.to_owned()), Some(process.to_owned()))
}

/// Rows of mappings, in order: first and last address, from, to.
fn ranges(records: &[Record]) -> Vec<(u64, u64, u64, u64)> {
    let (_, mappings) = tables(records);
    let mut rows: Vec<_> = mappings.iter().map(|row| (row.start, row.end, row.from_ts, row.to_ts)).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_rename_ends_a_row_and_begins_the_next_one() {
    let records = [name(1, 10, 10, "bash"), fault(5, 10, 0x1000), rename(8, 10, 10, "worker"), fault(9, 10, 0x1000)];
    // The process has its last name in both.
    assert_eq!(of(10, &records), [named(1, 8, "bash", "worker"), named(8, 10, "worker", "worker")]);
}

#[test]
fn an_exec_is_another_process_under_the_same_id() {
    let exec = at(9, 10, 10, |r| event::Exec { old_pid: 10 }.write(r));
    let records =
        [name(1, 10, 10, "bash"), fault(5, 10, 0x1000), rename(8, 10, 10, "cat"), exec, fault(12, 10, 0x1000)];
    // Until it runs the program, the process has the name that it had before.
    let expected = [named(1, 8, "bash", "bash"), named(8, 9, "cat", "bash"), named(9, 13, "cat", "cat")];
    assert_eq!(of(10, &records), expected);
}

#[test]
fn a_child_is_called_as_its_parent_from_its_first_event_on() {
    let records = [name(1, 10, 10, "bash"), fork(5, 10, 11), fault(7, 11, 0x1000), rename(9, 11, 11, "cat")];
    assert_eq!(of(11, &records), [named(7, 9, "bash", "cat"), named(9, 10, "cat", "cat")]);
}

#[test]
fn a_thread_id_that_is_used_again_has_another_row() {
    let exit = at(5, 30, 30, |r| event::Exit { group_dead: true }.write(r));
    let records = [name(1, 30, 30, "first"), name(1, 10, 10, "sh"), exit, fork(6, 10, 30), fault(9, 30, 0x1000)];
    assert_eq!(of(30, &records), [named(1, 9, "first", "first"), named(9, 10, "sh", "sh")]);
}

#[test]
fn a_name_that_is_found_later_holds_from_the_first_event_on() {
    let records = [fault(3, 40, 0x1000), name(9, 40, 40, "late"), fault(12, 40, 0x1000)];
    assert_eq!(of(40, &records), [named(3, 13, "late", "late")]);
}

#[test]
fn a_task_says_its_cgroup_and_its_container() {
    let path = b"/system.slice/docker-3f2a9c1b04d7e1f0aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55.scope";
    let mut records = cgroup_path_records(7, path, 1);
    records.extend([name(1, 10, 10, "worker"), task_cgroup_record(10, 10, 7, 1), fault(5, 10, 0x1000)]);
    let (tasks, _) = tables(&records);
    let row = tasks.iter().find(|row| row.tid == 10).expect("a row");
    assert_eq!(
        (row.cgroup.as_deref().map(str::as_bytes), row.container.as_deref()),
        (Some(&path[..]), Some("docker 3f2a9c1b04d7"))
    );
}

#[test]
fn every_record_of_any_stream_has_one_row_of_its_task() {
    // Names, renames, forks, execs and exits in any order.
    let mut bits = 7_u64;
    let mut any = |n: u64| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 33) % n
    };
    let mut records = Vec::new();
    for ts in 1..2_000 {
        let tid = 1 + any(6) as u32;
        records.push(match any(6) {
            0 => name(ts, tid, tid, ["a", "b", "c"][any(3) as usize]),
            1 => rename(ts, tid, tid, ["a", "b", "c"][any(3) as usize]),
            2 => fork(ts, tid, 1 + any(6) as i32),
            3 => at(ts, tid, tid, |r| event::Exec { old_pid: tid.cast_signed() }.write(r)),
            4 => at(ts, tid, tid, |r| event::Exit { group_dead: true }.write(r)),
            _ => fault(ts, tid, 0x1000),
        });
    }
    let (tasks, _) = tables(&records);
    for record in &records {
        let has = |row: &&TaskRow| row.tid == record.tid && (row.from_ts..row.to_ts).contains(&record.ts);
        assert_eq!(tasks.iter().filter(has).count(), 1, "{record:?}");
    }
}

#[test]
fn a_mapping_holds_from_its_store_to_its_end_and_its_parts_end_alone() {
    let records = [store(5, 0x1000, 0x4fff, 1), store(8, 0x2000, 0x2fff, 0), fault(9, 10, 0x3000)];
    let expected = [(0x1000, 0x1fff, 5, 10), (0x2000, 0x2fff, 5, 8), (0x3000, 0x4fff, 5, 10)];
    assert_eq!(ranges(&records), expected);
    let ends = at(9, 10, 10, |r| event::ExitMmap::default().write(r));
    assert_eq!(
        ranges(&[store(5, 0x1000, 0x1fff, 1), ends, store(12, 0x1000, 0x1fff, 2)]),
        [(0x1000, 0x1fff, 5, 9), (0x1000, 0x1fff, 12, 13)]
    );
}

#[test]
fn what_only_a_reading_shows_was_there_before_and_what_was_stored_was_not() {
    let records = [fault(3, 10, 0x8000), store(5, 0x1000, 0x1fff, 1), read(20, 15, 0x1000, 0x8fff), was_read(20, 15)];
    assert_eq!(ranges(&records), [(0x1000, 0x1fff, 5, 21), (0x2000, 0x8fff, 0, 21)]);
    // Where something was unmapped, it was not there before that.
    let records = [store(5, 0x1000, 0x1fff, 1), store(8, 0x1000, 0x1fff, 0), read(20, 15, 0x1000, 0x2fff)];
    assert_eq!(ranges(&records), [(0x1000, 0x1fff, 5, 8), (0x1000, 0x1fff, 8, 21), (0x2000, 0x2fff, 0, 21)]);
}

#[test]
fn a_fork_copies_the_mappings_and_a_gap_ends_all() {
    let child = |record: Record| Record { mm: MM + 0x800, ..record };
    let clone = [lock(8, 10, 56), child(lock(9, 10, 56))];
    let mut records = vec![store(5, 0x1000, 0x1fff, 1)];
    records.extend(clone);
    let gap = at(15, 0, 0, |r| event::Gap { until: 16, ..Default::default() }.write(r));
    records.push(gap);
    records.push(fault(30, 10, 0x1000));
    let (_, mappings) = tables(&records);
    let rows: Vec<_> = mappings.iter().map(|row| (row.mm, row.start, row.from_ts, row.to_ts)).collect();
    assert_eq!(rows, [(MM, 0x1000, 5, 15), (MM + 0x800, 0x1000, 9, 15)]);
}

#[test]
fn a_name_is_that_of_the_last_reading_and_the_label_that_of_the_report() {
    let mut records = name_records(MM, 0x1000, b"[anon:arena]", 20_000);
    records.extend([read(20_000, 15_000, 0x1000, 0x1fff), was_read(20_000, 15_000)]);
    let (_, mappings) = tables(&records);
    assert_eq!((mappings[0].kind, mappings[0].label.as_str(), mappings[0].offset), ("named", "[anon:arena]", None));
}

#[test]
fn no_two_rows_of_any_stream_have_an_address_at_one_time() {
    let mut bits = 11_u64;
    let mut any = |n: u64| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 33) % n
    };
    let mut records = Vec::new();
    for ts in 1..1_500 {
        let start = any(16) << 12;
        let end = start + ((1 + any(4)) << 12) - 1;
        records.push(match any(16) {
            0..8 => store(10 * ts, start, end, any(3)),
            8..12 => read(10 * ts, 10 * ts - any(30).min(9), start, end),
            12 => was_read(10 * ts, 10 * ts - 5),
            13 => at(10 * ts, 10, 10, |r| event::ExitMmap::default().write(r)),
            14 if any(8) == 0 => at(10 * ts, 0, 0, |r| event::Gap::default().write(r)),
            // Addresses that no range has.
            _ => store(10 * ts, end, start, 1),
        });
    }
    let (_, mappings) = tables(&records);
    assert!(mappings.len() > 500, "{}", mappings.len());
    for (i, one) in mappings.iter().enumerate() {
        for other in &mappings[i + 1..] {
            let apart = one.end < other.start
                || other.end < one.start
                || one.to_ts <= other.from_ts
                || other.to_ts <= one.from_ts;
            assert!(apart, "{one:?} {other:?}");
        }
    }
}

#[test]
fn rows_come_while_the_stream_goes_on_so_that_few_wait() {
    let mut tables = Tables::new(&Context::with_every_probe(Kernel::default()));
    let (mut rows, mut most) = (0, 0);
    for ts in 1..300_000 {
        tables.apply(&rename(ts, 10, 10, if ts % 2 == 0 { "a" } else { "b" }));
        rows += tables.task_rows().len();
        most = most.max(tables.tasks.waiting());
    }
    assert!(rows > 100_000 && most <= WAITING_MAX + 1, "{rows} {most}");
}

#[test]
fn a_stream_that_does_not_tell_has_rows_without_names() {
    let mut tables = Tables::new(&Context::default());
    tables.apply(&fault(5, 10, 0x1000));
    tables.apply(&store(6, 0x1000, 0x1fff, 1));
    tables.end();
    let rows = tables.task_rows();
    assert_eq!((rows.len(), rows[0].comm.as_deref(), rows[0].cgroup.as_deref()), (1, None, None));
    assert!(tables.mapping_rows().is_empty());
}

#[test]
fn a_byte_of_a_file_is_in_one_function_and_a_replaced_file_has_none() {
    let file = (8 << 20 | 1, 77);
    let function = |start, len, name: &str| function_records(file, Function { start, len, name: name.as_bytes() }, 5);
    let mut stream =
        [function(0x1000, 0x40, "first"), function(0x1020, 0x10, "inner"), function(0x1100, 8, "a\x1bb")].concat();
    stream.push(build_id_record(file, &[0xab, 0x01], 6));
    let rows = |stream: &[Record]| {
        let mut tables = Tables::new(&Context::with_every_probe(Kernel::default()));
        stream.iter().for_each(|record| tables.apply(record));
        tables.end();
        tables.function_rows()
    };
    let found = rows(&stream);
    let places: Vec<_> = found.iter().map(|row| (row.start, row.end, row.name.as_str())).collect();
    assert_eq!(
        places,
        [(0x1000, 0x101f, "first"), (0x1020, 0x102f, "inner"), (0x1100, 0x1107, "a\\u{1b}b")],
        "what overlaps goes to the function that begins last"
    );
    assert!(found.iter().all(|row| (row.dev, row.ino) == file && row.build_id.as_deref() == Some("ab01")));
    stream.push(build_id_record(file, &[0xcd], 7));
    assert_eq!(rows(&stream), [], "which build a fault was in is not known");
}
