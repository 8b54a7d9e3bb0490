//! What the rules know of a lock, step by step.

use super::*;

fn at(ts: u64, tid: u32) -> Record {
    Record { ts, tid, ..Record::default() }
}

#[test]
fn a_release_that_is_late_by_less_than_the_clocks_may_differ_is_no_overlap() {
    let mut lock = MmapLock::default();
    lock.acquire_write(&at(1000, 1));
    lock.acquire_write(&at(2000, 2));
    assert_eq!(lock.settle(2100), Settled::default());
    assert_eq!(lock.release_write(&at(2100, 1)), Meaning::Right);
    assert_eq!(lock.settle(9000), Settled::default());
    assert_eq!(lock.release_write(&at(9000, 2)), Meaning::Right);
}

#[test]
fn an_overlap_that_lasts_is_one() {
    let mut lock = MmapLock::default();
    lock.acquire_read(&at(1000, 1));
    lock.acquire_write(&at(2000, 2));
    assert_eq!(lock.settle(2000 + EPSILON_NS + 1), Settled { breach: None, doubts: 1 });
    // Its own release shows that the reader was still inside.
    lock.settle(6000);
    let Meaning::Overtaken(breach) = lock.release_read(&at(6000, 1), true) else { panic!("a breach") };
    assert_eq!((breach.modes(), breach.holder.tid, breach.taker.tid), ((Mode::Read, Mode::Write), 1, 2));
    // The consequences of the breach are not reported again.
    assert_eq!(lock.release_write(&at(7000, 2)), Meaning::Unknown);
}

#[test]
fn a_reader_whose_release_was_not_seen_does_not_break_a_rule() {
    let mut lock = MmapLock::default();
    // A BPF program on top of task 1; its release ran on top of a task that is not seen.
    lock.acquire_read(&at(1000, 1));
    lock.acquire_write(&at(9000, 2));
    assert_eq!(lock.settle(20_000), Settled { breach: None, doubts: 1 });
    assert_eq!(lock.release_write(&at(20_000, 2)), Meaning::Right);
    lock.settle(30_000);
    lock.acquire_read(&at(30_000, 1));
    assert_eq!(lock.release_read(&at(31_000, 1), true), Meaning::Right);
    // Nor does one on behalf of another reader, on top of task 1.
    lock.acquire_read(&at(32_000, 3));
    assert_eq!(lock.release_read(&at(33_000, 1), true), Meaning::Unknown);
    assert!(!lock.is_complete());
}

#[test]
fn a_release_on_an_mm_whose_tasks_are_not_seen_is_nobodys() {
    let mut lock = MmapLock::default();
    lock.acquire_write(&at(1000, 1));
    lock.release_write(&at(2000, 1));
    lock.settle(9000);
    lock.acquire_read(&at(9000, 2));
    assert_eq!(lock.release_read(&at(9500, 3), false), Meaning::Unknown);
    assert!(!lock.is_read() && !lock.is_complete());
}

#[test]
fn who_was_inside_when_a_rule_was_broken_stays_there_until_its_release() {
    let mut lock = MmapLock::default();
    lock.acquire_write(&at(1000, 1));
    lock.acquire_write(&at(2000, 2));
    assert!(lock.settle(9000).breach.is_some());
    // The next acquisition does not make the lock known: both are still inside.
    lock.acquire_write(&at(9000, 3));
    lock.settle(20_000);
    assert!(!lock.is_complete());
    assert_eq!(lock.release_write(&at(20_000, 3)), Meaning::Right);
    assert_eq!(lock.release_write(&at(21_000, 1)), Meaning::Unknown);
    lock.acquire_write(&at(22_000, 3));
    lock.settle(30_000);
    assert!(!lock.is_complete());
    assert_eq!(lock.release_write(&at(30_000, 2)), Meaning::Unknown);
    assert_eq!(lock.release_write(&at(31_000, 3)), Meaning::Right);
    // Both have left: the next writer is alone.
    lock.acquire_write(&at(32_000, 3));
    lock.settle(40_000);
    assert!(lock.is_complete());
    assert_eq!(lock.release_write(&at(40_000, 1)), Meaning::NotOwner(lock_holder(32_000, 3)));
}

fn lock_holder(ts: u64, tid: u32) -> Option<Hold> {
    Some(hold(&at(ts, tid), Mode::Write))
}

#[test]
fn a_reader_inside_leaves_for_itself_and_for_nobody_else() {
    let mut lock = MmapLock::default();
    lock.acquire_write(&at(1000, 9));
    lock.release_write(&at(1500, 9));
    lock.settle(8000);
    lock.acquire_write(&at(8000, 2));
    lock.acquire_read(&at(9000, 1));
    assert!(lock.settle(20_000).breach.is_some());
    lock.acquire_read(&at(21_000, 3));
    assert_eq!(lock.release_read(&at(22_000, 1), true), Meaning::Unknown);
    assert_eq!(lock.only_reader().map(|r| r.tid), Some(3));
}

#[test]
fn downgraded_holds_exclude_writers_and_not_readers() {
    let mut lock = MmapLock::default();
    lock.acquire_write(&at(1000, 1));
    assert!(lock.downgrade(&at(2000, 1)));
    lock.acquire_read(&at(3000, 2));
    assert_eq!(lock.settle(9000), Settled::default());
    lock.acquire_write(&at(9000, 3));
    assert_eq!(lock.settle(20_000).breach.expect("a breach").modes(), (Mode::Downgraded, Mode::Write));
}

#[test]
fn what_began_before_recording_is_not_judged() {
    let mut lock = MmapLock::default();
    assert_eq!(lock.release_read(&at(1000, 1), true), Meaning::Unknown);
    assert_eq!(lock.release_write(&at(2000, 1)), Meaning::Unknown);
    // But a write release says that nobody is left.
    lock.settle(9000);
    assert!(lock.is_complete());
    assert_eq!(lock.release_read(&at(9000, 1), true), Meaning::NotHeld);
}

#[test]
fn a_holder_from_before_recording_may_seem_to_let_go_late() {
    let mut lock = MmapLock::default();
    lock.acquire_write(&at(1000, 2));
    lock.settle(1600);
    assert_eq!(lock.release_read(&at(1600, 1), true), Meaning::Unknown);
    assert_eq!(lock.release_write(&at(1600, 3)), Meaning::Unknown);
    assert_eq!(lock.release_write(&at(1700, 2)), Meaning::Right);
    lock.acquire_read(&at(1800, 4));
    assert_eq!(lock.release_read(&at(1900, 1), true), Meaning::Unknown);
    // Or to release on behalf of the one who is seen: then nobody is left.
    lock.settle(9000);
    assert_eq!(lock.release_read(&at(9000, 4), true), Meaning::Unknown);
    lock.acquire_write(&at(9500, 4));
    assert_eq!(lock.settle(20_000), Settled::default());
    // From the next writer on all is known again, and a release too many is one.
    assert!(lock.is_complete());
    assert_eq!(lock.release_write(&at(20_000, 4)), Meaning::Right);
    lock.settle(30_000);
    assert_eq!(lock.release_read(&at(30_000, 4), true), Meaning::NotHeld);
}

#[test]
fn a_short_hold_may_seem_to_lie_in_another() {
    let mut lock = MmapLock::default();
    lock.acquire_write(&at(1000, 1));
    lock.acquire_write(&at(1100, 2));
    assert_eq!(lock.release_write(&at(1300, 2)), Meaning::Right);
    lock.acquire_read(&at(1400, 3));
    assert_eq!(lock.release_read(&at(1500, 3), true), Meaning::Right);
    assert_eq!(lock.settle(9000), Settled::default());
    assert_eq!(lock.release_write(&at(9000, 1)), Meaning::Right);
    // A downgrade may seem to come after the reader that it let in.
    lock.acquire_write(&at(20_000, 1));
    lock.acquire_read(&at(21_000, 2));
    assert!(lock.downgrade(&at(21_500, 1)));
    assert_eq!(lock.settle(40_000), Settled::default());
}

#[test]
fn who_never_lets_go_is_found_with_whoever_stays() {
    let mut lock = MmapLock::default();
    lock.acquire_write(&at(1000, 1));
    for (ts, tid) in [(2000, 2), (3000, 3)] {
        lock.acquire_write(&at(ts, tid));
        assert_eq!(lock.settle(ts + 500), Settled::default());
        lock.release_write(&at(ts + 500, tid));
    }
    lock.acquire_write(&at(4000, 4));
    let breach = lock.settle(9000).breach.expect("a breach");
    assert_eq!((breach.modes(), breach.holder.tid, breach.taker.tid), ((Mode::Write, Mode::Write), 1, 4));
}
