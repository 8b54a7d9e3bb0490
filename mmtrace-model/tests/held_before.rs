//! Holds of mmap_locks for write that began before the recording: whose they are, and who waited behind them.

use mmtrace_common::{Column, Kind};
use mmtrace_model::{
    context::Context,
    names::Comm,
    replay::Engine,
    report::{Output, Report, Style, callers::LockRow},
};
use mmtrace_testing::kernel::{Made, START, context};

const HOLDER: u32 = 2;
const WAITER: u32 = 3;

/// The tasks are known, and the lock is not.
fn begun() -> Made {
    let mut m = Made { step: 1_000, ..Made::new() };
    m.records.push(Comm::new(*b"loader\0\0\0\0\0\0\0\0\0\0").named(HOLDER, 1, m.now));
    for tid in 1..=4 {
        m.user(tid, START);
    }
    m
}

/// Task 3 waits for the lock; after 2 ms, task 2 releases it, and task 3 gets it.
fn released() -> Made {
    release_in(begun())
}

fn release_in(mut m: Made) -> Made {
    m.say(WAITER, Kind::StartLocking, &[(Column::Write, 0)]).later(2_000_000);
    m.unlock(HOLDER, true);
    m.say(WAITER, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 1)]);
    m.unlock(WAITER, false);
    m
}

fn report_of(m: &Made, context: Context) -> Report {
    let mut engine = Engine::new(context, true);
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    Report::new(&engine)
}

fn report(m: &Made) -> Report {
    report_of(m, context())
}

fn waiter(report: &Report) -> &LockRow {
    report.callers.locks.iter().find(|row| row.who.tid == WAITER).expect("it waited")
}

#[test]
fn the_task_that_releases_first_is_whom_the_others_waited_for() {
    let report = report(&released());
    let [row] = &*report.held_before else { panic!("{:?}", report.held_before) };
    assert_eq!((row.tid, row.pid), (HOLDER, 1));
    assert!((2_000_000..2_010_000).contains(&row.at_least_ns), "{row:?}");
    let behind = &waiter(&report).behind;
    assert_eq!(behind.len(), 1, "{behind:?}");
    assert!(behind[0].since_before && behind[0].write && behind[0].ns >= 2_000_000, "{behind:?}");
    assert_eq!(behind[0].who.tid, HOLDER);
    assert!(report.callers.locks.iter().all(|row| row.who.tid != HOLDER), "it is in no sum");
    let mut text = Vec::new();
    report.print(Output::Text, Style::plain(), &mut text).expect("to memory");
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.contains("loader 2 (write, held since before the recording)"), "{text}");
    let line = text.lines().find(|line| line.starts_with("Before ")).expect("among the answers");
    assert!(
        line.contains("loader 2 (write): held since before the recording, at least 2.00 ms, until 1.002 s"),
        "{line}"
    );
}

#[test]
fn a_filter_may_have_hidden_the_acquisition_until_the_lock_s_first_event() {
    let mut m = begun();
    m.at(4, Kind::StartLocking, 0x7777_0000, &[(Column::Write, 1)]).later(5_000_000);
    let m = release_in(m);
    let filtered = Context { filter: Some("pid 1".to_owned()), ..context() };
    let least = |report: &Report| report.held_before.first().map(|row| row.at_least_ns / 1_000_000);
    assert_eq!(least(&report_of(&m, filtered)), Some(2), "since the first event of this lock");
    assert_eq!(least(&report_of(&m, context())), Some(7), "since the first event of any lock");
}

#[test]
fn nobody_is_named_where_an_acquisition_was_or_may_have_been_missed() {
    // An event is missing.
    let mut lossy = begun();
    lossy.lose(Kind::Loss, Kind::AcquireReturned, 1).later(10_000_000);
    // The lock was acquired before, if by another task.
    let mut acquired = begun();
    acquired.lock(4, false).unlock(4, false).later(10_000_000);
    for m in [lossy, acquired] {
        let report = report(&release_in(m));
        assert_eq!(report.held_before.len(), 0, "{:?}", report.held_before);
        assert!(waiter(&report).behind.iter().all(|behind| !behind.since_before));
    }
    // A release for read says nothing of who excluded the waiter.
    let mut m = begun();
    m.say(WAITER, Kind::StartLocking, &[(Column::Write, 1)]).later(2_000_000);
    m.unlock(HOLDER, false);
    m.say(WAITER, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]);
    assert_eq!(report(&m).held_before.len(), 0);
}
