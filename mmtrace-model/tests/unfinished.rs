//! Holds of mmap_locks and waits for them that were not over when the stream ended.

use mmtrace_common::{Call, Column, Kind};
use mmtrace_model::{
    names::Comm,
    replay::Engine,
    report::{Output, Report, Style},
};
use mmtrace_testing::kernel::{Made, START, context};

fn call(number: u16) -> (Column, u64) {
    (Column::Call, Call::System(number).number().into())
}

/// Task 2 holds the lock by mprotect() and task 1 waits for it in munmap(), until the last event, `ns` after both began.
fn cut_after(ns: u64) -> Made {
    let mut m = Made { step: 1_000, ..Made::begun() };
    let name = Comm::new(*b"jit-protector\0\0\0").named(2, 1, START);
    m.records.insert(0, name);
    m.say(2, Kind::StartLocking, &[(Column::Write, 1), call(10)]);
    m.say(2, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]);
    m.say(1, Kind::StartLocking, &[(Column::Write, 1), call(11)]).later(ns).user(3, START);
    m
}

fn report(m: &Made) -> Report {
    let mut engine = Engine::new(context(), true);
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    Report::new(&engine)
}

fn text(report: &Report) -> String {
    let mut text = Vec::new();
    report.print(Output::Text, Style::plain(), &mut text).expect("to memory");
    String::from_utf8(text).expect("UTF-8")
}

#[test]
fn who_holds_and_who_waits_at_the_end_is_said_and_in_no_sum() {
    let report = report(&cut_after(2_000_000));
    let rows: Vec<_> = report.unfinished.iter().map(|row| (row.waits, row.tid, row.call.as_deref())).collect();
    assert_eq!(rows, [(false, 2, Some("mprotect")), (true, 1, Some("munmap"))], "the longest first");
    assert!(report.unfinished.iter().all(|row| row.ns >= 2_000_000 && row.pid == Some(1)), "{:?}", report.unfinished);
    let sums = |call: &str| {
        let row = report.callers.locks.iter().find(|row| row.who.call.as_deref() == Some(call));
        row.and_then(|row| Some((row.held, row.contended?)))
    };
    assert_eq!((sums("mprotect").is_none(), sums("munmap").is_none()), (true, true), "neither is over");
    let text = text(&report);
    let line = text.lines().find(|line| line.starts_with("At end")).expect("among the first lines");
    assert!(line.contains("jit-protector 2: mprotect (write): held for 2.00 ms"), "{line}");
    assert!(line.ends_with("; and 1 more; in no sum"), "{line}");
    assert!(text.contains("\nNot over at the end, and in no figure above\n"), "{text}");
    assert!(text.contains("1: munmap (write): waiting for 2.00 ms, since "), "{text}");
}

/// Any moment of a busy process has short ones.
#[test]
fn what_had_lasted_for_less_than_a_millisecond_is_left_out() {
    let report = report(&cut_after(500_000));
    assert!(report.unfinished.is_empty(), "{:?}", report.unfinished);
    assert!(!text(&report).contains("At end"));
}

#[test]
fn what_is_over_is_not_there() {
    let mut m = cut_after(2_000_000);
    m.unlock(2, true).say(1, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]).unlock(1, true);
    assert!(report(&m).unfinished.is_empty());
}
