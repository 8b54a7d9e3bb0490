//! What the statistics make of short streams: locks of VMAs, faults, collapses, waits, and what is left of them
//! when events are missing.

use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::{
    model::effect::Under,
    replay::Engine,
    stats::{Stats, locks::VmaLocks},
};
use mmtrace_testing::kernel::{
    self, ALLOW_RETRY, COMPLETED, Made, RETRY, START, TRAP, TRIED, USER, VMA, VMA_LOCK, context,
};

/// Of `scan_result`.
const SUCCEED: u64 = 1;
/// Nanoseconds between two events.
const STEP: u64 = 10_000;
/// Flags of a fault in user mode under the mmap_lock.
const MMAP: u64 = USER | ALLOW_RETRY;

fn stats(made: &Made) -> Stats {
    let mut context = context();
    context.enums.entry("scan_result".to_owned()).or_default().insert("SCAN_SUCCEED".to_owned(), SUCCEED as i64);
    let mut engine = Engine::new(context, true).with_stats();
    made.records.iter().for_each(|record| engine.apply(record));
    engine.stats().expect("they were asked for").clone()
}

fn vmas(stats: &Stats) -> &VmaLocks {
    stats.locks.get(kernel::MM).and_then(|lock| lock.vmas.as_deref()).expect("VMA locks were used")
}

/// Values of distributions are right to a tenth.
fn about(ns: u64, steps: u64) {
    assert!(ns.abs_diff(steps * STEP) <= steps * STEP / 10, "{ns} ns are not {steps} steps");
}

fn lose(made: &mut Made, kind: Kind) {
    let mut record = Record { ts: made.now + 1, kind: Kind::Loss as u16, ..Record::default() };
    for (column, value) in [(Column::LostKind, kind as u64), (Column::Count, 1), (Column::Until, made.now + 2)] {
        let field = mmtrace_common::spec(Kind::Loss).fields.iter().find(|f| f.column == column);
        field.expect("a loss has it").set(&mut record, value);
    }
    made.records.push(record);
    made.now += 10 * STEP;
}

#[test]
fn a_vma_is_held_for_read_from_its_grant_to_the_end_of_the_fault() {
    let mut m = Made::begun();
    m.fast(2).fast(2).fast(3);
    let stats = stats(&m);
    let vmas = vmas(&stats);
    assert_eq!((vmas.granted, vmas.refused, vmas.dropped, vmas.holds.read.count()), (3, 0, 0, 3));
    about(vmas.holds.read.quantile(0.5), 2);
    assert!(vmas.readers.is_empty() && vmas.writers.is_empty() && vmas.waiting.is_empty());
    let (holder, ns) = vmas.holds.longest.expect("there was one");
    assert_eq!((holder.vma, holder.write, ns), (VMA, false, 2 * STEP));
}

#[test]
fn who_handles_a_fault_holds_the_vma_and_who_is_only_granted_one_is_not_known_to() {
    let mut m = Made::begun();
    m.user(2, START).grant(2);
    assert!(vmas(&stats(&m)).readers.is_empty());
    m.fault(2, TRAP | VMA_LOCK);
    let now = stats(&m);
    assert_eq!(vmas(&now).readers.iter().map(|r| (r.tid, r.vma)).collect::<Vec<_>>(), [(2, VMA)]);
    // Its end is not seen; but then it is in user mode.
    m.user(2, START);
    assert!(vmas(&stats(&m)).readers.is_empty());
}

#[test]
fn a_lock_that_was_dropped_on_the_way_was_held_for_nobody_knows_how_long() {
    for result in [RETRY, COMPLETED] {
        let mut m = Made::begun();
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK).done(2, result);
        let stats = stats(&m);
        assert_eq!((vmas(&stats).dropped, vmas(&stats).holds.read.count()), (1, 0));
    }
}

#[test]
fn a_writer_waits_until_it_returns_and_holds_until_the_mmap_lock_goes() {
    let mut m = Made::begun();
    m.write_lock(1).say(1, Kind::VmaStartWrite, &[(Column::Vma, VMA)]);
    let before = stats(&m);
    assert_eq!(vmas(&before).waiting.len(), 1);
    m.vma_written(1);
    let between = stats(&m);
    assert_eq!((vmas(&between).waiting.len(), vmas(&between).writers.len()), (0, 1));
    m.unlock(1, true);
    let after = stats(&m);
    let vmas = vmas(&after);
    assert_eq!((vmas.write_wait.count(), vmas.holds.write.count(), vmas.writers.len()), (1, 1, 0));
    about(vmas.write_wait.max(), 1);
    about(vmas.holds.write.max(), 1);
}

#[test]
fn a_downgrade_ends_the_holds_for_write_too() {
    let mut m = Made::begun();
    m.write_lock(1).vma_write(1);
    m.say(1, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 1)]);
    let stats = stats(&m);
    assert_eq!((vmas(&stats).holds.write.count(), vmas(&stats).writers.len()), (1, 0));
}

#[test]
fn a_killed_writer_holds_nothing() {
    let mut m = Made::begun();
    m.write_lock(1).say(1, Kind::VmaStartWrite, &[(Column::Vma, VMA)]);
    let killed = u64::from(-4_i32 as u32);
    m.say(1, Kind::VmaStartWriteReturn, &[(Column::Vma, VMA), (Column::Ret, killed)]);
    let stats = stats(&m);
    let vmas = vmas(&stats);
    assert_eq!((vmas.killed, vmas.write_wait.count(), vmas.writers.len(), vmas.waiting.len()), (1, 0, 0, 0));
}

#[test]
fn a_vma_that_is_given_back_is_locked_no_more() {
    let mut m = Made::begun();
    m.write_lock(1).vma_write(1).free_vma(1);
    let stats = stats(&m);
    assert_eq!((vmas(&stats).writers.len(), vmas(&stats).holds.write.count()), (0, 1));
}

#[test]
fn what_was_open_when_events_went_missing_is_forgotten() {
    let mut m = Made::begun();
    m.write_lock(1).vma_write(1).user(2, START).grant(2).fault(2, TRAP | VMA_LOCK);
    m.say(3, Kind::VmaStartWrite, &[(Column::Vma, VMA)]);
    lose(&mut m, Kind::HandleMmFaultReturn);
    let now = stats(&m);
    let open = vmas(&now);
    assert!(open.readers.is_empty() && open.writers.is_empty() && open.waiting.is_empty());
    // Their ends come: nothing is measured by them.
    m.now += 1_000_000_000;
    m.done(2, 0).vma_written(3).unlock(1, true);
    let stats = stats(&m);
    let vmas = vmas(&stats);
    // That of task 1 was over before.
    assert_eq!((vmas.holds.read.count(), vmas.holds.write.count(), vmas.write_wait.count()), (0, 0, 1));
    assert_eq!((stats.faults.unpaired, stats.faults.whole.count()), (1, 0));
    assert!(stats.faults.took.iter().all(|took| took.count() == 0));
}

#[test]
fn faults_are_counted_by_the_lock_that_they_are_handled_under() {
    let mut m = Made::begun();
    // Under the VMA's lock.
    m.fast(2);
    // Refused, and then under the mmap_lock.
    m.user(2, START).grant_of(2, 0, START).lock(2, false).fault(2, MMAP).done(2, 0).unlock(2, false);
    // Given up under the VMA's lock, and tried again.
    m.user(3, START).grant(3).fault(3, TRAP | VMA_LOCK).done(3, RETRY);
    m.lock(3, false).fault(3, MMAP | TRIED).done(3, 0).unlock(3, false);
    // A driver's, which asks for no VMA's lock.
    m.lock(4, false).fault(4, ALLOW_RETRY).done(4, 0x2).unlock(4, false);
    let stats = stats(&m);
    let calls = stats.faults.get(1).and_then(|p| p.calls.as_deref()).expect("there were calls");
    assert_eq!(calls.under, [2, 2, 1, 0]);
    assert_eq!((calls.retries, calls.completed, calls.errors, calls.total()), (1, 0, 1, 5));
    let took: Vec<u64> = stats.faults.took.iter().map(|took| took.count()).collect();
    assert_eq!(took, [1, 2, 1, 0], "what is to be tried again has not been handled");
    // From the exception on: one step more than its lock took, or the way round.
    assert_eq!(stats.faults.whole.count(), 3);
    about(stats.faults.whole.max(), 7);
    about(stats.faults.took[Under::Vma as usize].max(), 1);
    let region = stats.faults.get(1).expect("it faulted").regions[&(START >> 21)];
    assert_eq!((region.vma_lock, region.fell_back, region.retries), (2, 2, 1));
}

#[test]
fn a_trap_that_was_not_seen_gives_no_latency() {
    let mut m = Made::begun();
    lose(&mut m, Kind::PageFaultUser);
    m.lock(2, false).fault(2, MMAP).done(2, 0).unlock(2, false);
    let stats = stats(&m);
    assert_eq!(stats.faults.whole.count(), 0);
    assert_eq!(stats.faults.took[Under::Unknown as usize].count(), 1);
}

#[test]
fn waits_for_migrations_are_counted_by_the_lock_and_where_they_are() {
    let mut m = Made::begun();
    let at = [(Column::Addr, START)];
    m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK).say(2, Kind::MigrationEntryWait, &at);
    m.say(2, Kind::MigrationEntryWaitOnLocked, &[]).say(2, Kind::MigrationEntryWaitReturn, &at).done(2, 0);
    m.lock(3, false).fault(3, ALLOW_RETRY).say(3, Kind::MigrationEntryWait, &at);
    // No wait outlasts its fault, whatever was seen.
    m.done(3, 0).say(3, Kind::MigrationEntryWaitReturn, &at);
    let stats = stats(&m);
    let [vma, mmap] = &stats.work.waits;
    assert_eq!((vma.count(), mmap.count(), stats.work.slept), (1, 0, 1));
    about(vma.max(), 2);
    let process = stats.faults.get(1).expect("it faulted");
    assert_eq!(process.calls.as_deref().map(|c| c.waits), Some(1));
    assert_eq!(process.regions[&(START >> 21)].waits, 1);
}

#[test]
fn collapses_are_found_by_their_address() {
    let anonymous = |m: &mut Made, status| {
        m.say(3, Kind::CollapseHugePageEnter, &[(Column::Addr, START)]);
        m.say(3, Kind::CollapseHugePage, &[(Column::Status, status)]);
    };
    let mut m = Made::begun();
    anonymous(&mut m, SUCCEED);
    anonymous(&mut m, SUCCEED + 1);
    let flush = |m: &mut Made, addr| {
        m.say(3, Kind::PmdpCollapseFlush, &[(Column::Vma, VMA), (Column::Addr, addr), (Column::Pmdp, 0x1000)]);
    };
    m.say(3, Kind::RetractPageTables, &[]);
    flush(&mut m, START + 0x20_0000);
    m.say(3, Kind::RetractPageTablesReturn, &[]);
    m.say(3, Kind::CollapsePteMappedThp, &[(Column::Addr, START + 0x40_0000)]);
    flush(&mut m, START + 0x40_0000);
    m.say(3, Kind::CollapsePteMappedThpReturn, &[(Column::Addr, START + 0x40_0000), (Column::Status, SUCCEED)]);
    let stats = stats(&m);
    let process = stats.faults.get(1).expect("it faulted");
    let mut collapsed: Vec<u64> =
        process.regions.iter().filter(|(_, r)| r.collapsed == 1).map(|(region, _)| region << 21).collect();
    collapsed.sort_unstable();
    assert_eq!(collapsed, [START, START + 0x20_0000, START + 0x40_0000]);
    assert_eq!((process.collapsed, stats.work.collapse.count()), (3, 2));
    assert_eq!((stats.work.retracts, stats.work.retracted), (1, 1));
    assert_eq!(stats.work.pte_mapped.get(&SUCCEED), Some(&1));
}

#[test]
fn the_lock_is_its_process_s_whoever_else_uses_it() {
    let mut m = Made::begun();
    let mut records = m.write_lock(1).records.clone();
    // khugepaged works on the mm.
    let last = records.last_mut().expect("just made");
    last.tgid = 77;
    let stats = stats(&Made { records, ..Made::new() });
    assert_eq!(stats.locks.get(kernel::MM).map(|lock| lock.tgid), Some(1));
}
