//! Kinds of faults: read from the exception to the end of its handling, and counted once.

use mmtrace_common::{Column, Kind, VmaFacts, Walk};
use mmtrace_model::{
    context::Context,
    model::faults::address_space::Cause,
    replay::Engine,
    report::{Output, Report, Style, callers::By, callers::Tables},
};
use mmtrace_testing::kernel::{Made, START, context, without};

/// The address of the faults.
const ADDR: u64 = 0x7f00_0000_1000;
/// An empty PTE.
const EMPTY: u64 = 0;
/// A present PTE that is read-only.
const READ_ONLY: u64 = 0x8000_0001_2345_6025;
/// `FAULT_FLAG_USER` and others, as for a fault in user mode (include/linux/mm_types.h).
const TRAP: u64 = 0x254;
const VMA_LOCK: u64 = 0x1000;
const MAJOR: u64 = 0x4;
const RETRY: u64 = 0x400;
const SIGBUS: u64 = 0x2;

fn anonymous() -> u64 {
    VmaFacts::new(0x73, false, false, 0).number().into()
}

fn file() -> u64 {
    VmaFacts::new(0x71, true, true, 0xef53).number().into()
}

/// The CPU raises a fault in user mode.
fn trap(m: &mut Made, entry: u64, error_code: u64, facts: u64) {
    let values = [
        (Column::Addr, ADDR),
        (Column::ErrorCode, error_code),
        (Column::Walk, Walk::number(1, entry).into()),
        (Column::VmaFacts, facts),
    ];
    m.say(1, Kind::PageFaultUser, &values);
}

/// `handle_mm_fault()` is entered for it, and returns.
fn handled(m: &mut Made, flags: u64, result: u64) {
    called(m, flags);
    returned(m, result);
}

fn called(m: &mut Made, flags: u64) {
    let values = [(Column::Addr, ADDR), (Column::Vma, 7), (Column::FaultFlags, flags), (Column::InTrap, 1)];
    m.say(1, Kind::HandleMmFault, &values);
}

fn returned(m: &mut Made, result: u64) {
    let values = [(Column::Addr, ADDR), (Column::Vma, 7), (Column::FaultResult, result)];
    m.say(1, Kind::HandleMmFaultReturn, &values);
}

fn engine(context: Context, m: &Made) -> Engine {
    let mut engine = Engine::new(context, true).with_stats();
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    engine
}

/// The kinds of all faults, by number. They are the same in every table.
fn told(context: Context, m: &Made) -> Vec<(Cause, u64)> {
    let engine = engine(context, m);
    let causes = *engine.model().expect("it judges").causes();
    let process = engine.stats().and_then(|stats| stats.faults.get(1)).expect("it faults");
    assert_eq!(process.causes, causes);
    let tables = Tables::new(engine.callers().expect("it judges"), engine.tasks(), By::Caller, START);
    assert_eq!(tables.faults.iter().map(|row| row.count).sum::<u64>(), causes.iter().sum::<u64>());
    Cause::ALL.into_iter().zip(causes).filter(|(_, n)| *n > 0).collect()
}

/// A stream whose functions are followed from its first fault on.
fn made() -> Made {
    let mut m = Made::new();
    m.later(1_000_000);
    m
}

#[test]
fn a_fault_that_is_tried_twice_is_one_fault_and_was_read_if_either_call_says_so() {
    let mut m = made();
    trap(&mut m, EMPTY, 4, file());
    handled(&mut m, TRAP | VMA_LOCK, RETRY | MAJOR);
    m.say(1, Kind::LockMmAndFindVma, &[(Column::Addr, ADDR), (Column::Vma, 7)]);
    handled(&mut m, TRAP, 0);
    assert_eq!(told(context(), &m), [(Cause::Major, 1)]);
}

#[test]
fn the_vma_and_the_result_tell_kinds_apart_that_the_entry_does_not() {
    for (entry, code, facts, result, expected) in [
        (EMPTY, 6, anonymous(), 0, Cause::AnonymousFirstTouch),
        (EMPTY, 4, file(), 0, Cause::CacheHit),
        (EMPTY, 4, file(), MAJOR, Cause::Major),
        (EMPTY, 4, file(), SIGBUS, Cause::Failed),
        (READ_ONLY, 7, anonymous(), 0, Cause::CopyOnWrite),
        // Facts that were not recorded.
        (EMPTY, 6, 0, 0, Cause::EmptyEntry),
        (READ_ONLY, 7, 0, 0, Cause::WriteProtect),
    ] {
        let mut m = made();
        trap(&mut m, entry, code, facts);
        handled(&mut m, TRAP | VMA_LOCK, result);
        assert_eq!(told(context(), &m), [(expected, 1)]);
    }
}

#[test]
fn what_happens_on_the_way_tells_too() {
    let at = [(Column::Addr, ADDR), (Column::Vma, 7)];
    let mut m = made();
    trap(&mut m, EMPTY, 6, anonymous());
    called(&mut m, TRAP | VMA_LOCK);
    m.say(1, Kind::HugePmdAnonymous, &at);
    returned(&mut m, 0);
    assert_eq!(told(context(), &m), [(Cause::HugeFirstTouch, 1)]);

    let mut m = made();
    trap(&mut m, EMPTY, 6, anonymous());
    called(&mut m, TRAP | VMA_LOCK);
    m.say(1, Kind::HandleUserfault, &at);
    returned(&mut m, RETRY);
    handled(&mut m, TRAP, 0);
    assert_eq!(told(context(), &m), [(Cause::Userfaultfd, 1)]);

    let mut m = made();
    trap(&mut m, EMPTY, 6, VmaFacts::NO_VMA_BELOW_STACK.number().into());
    m.say(1, Kind::ExpandStack, &at);
    m.say(1, Kind::LockMmAndFindVma, &at);
    handled(&mut m, TRAP, 0);
    assert_eq!(told(context(), &m), [(Cause::StackGrowth, 1)]);
}

#[test]
fn a_fault_without_a_vma_failed_and_so_did_one_that_nobody_handled() {
    let mut m = made();
    trap(&mut m, EMPTY, 6, VmaFacts::NO_VMA.number().into());
    m.say(1, Kind::LockMmAndFindVma, &[(Column::Addr, ADDR)]);
    assert_eq!(told(context(), &m), [(Cause::Failed, 1)]);

    // A write to a page that may only be read: the next fault is in the signal's handler.
    let mut m = made();
    trap(&mut m, READ_ONLY, 7, anonymous());
    m.say(1, Kind::LockMmAndFindVma, &[(Column::Addr, ADDR), (Column::Vma, 7)]);
    trap(&mut m, EMPTY, 6, anonymous());
    handled(&mut m, TRAP, 0);
    assert_eq!(told(context(), &m), [(Cause::AnonymousFirstTouch, 1), (Cause::Failed, 1)]);
}

#[test]
fn a_fault_whose_end_is_missing_is_not_called_failed() {
    let mut m = made();
    trap(&mut m, READ_ONLY, 7, anonymous());
    m.lose(Kind::Loss, Kind::HandleMmFault, 1);
    m.later(1_000_000);
    trap(&mut m, EMPTY, 6, anonymous());
    handled(&mut m, TRAP, 0);
    assert_eq!(told(context(), &m), [(Cause::AnonymousFirstTouch, 1), (Cause::CopyOnWrite, 1)]);
}

#[test]
fn a_fault_that_is_open_at_the_end_is_counted() {
    let mut m = made();
    trap(&mut m, EMPTY, 4, file());
    called(&mut m, TRAP | VMA_LOCK);
    assert_eq!(told(context(), &m), [(Cause::FilePage, 1)]);
}

#[test]
fn a_profiler_on_top_of_a_fault_does_not_end_it() {
    let mut m = made();
    trap(&mut m, EMPTY, 6, anonymous());
    called(&mut m, TRAP | VMA_LOCK);
    m.say(1, Kind::PageFaultKernel, &[(Column::Addr, ADDR + 0x5000), (Column::PagefaultDisabled, 1)]);
    returned(&mut m, 0);
    assert_eq!(told(context(), &m), [(Cause::AnonymousFirstTouch, 1), (Cause::PagefaultDisabled, 1)]);
}

/// Where functions are not recorded, the entry alone tells.
#[test]
fn without_functions_the_entry_tells() {
    let swap = |of: u64| (!0_u64 << 14 >> 5) | of << 59;
    let context = || without(&[Kind::HandleMmFault, Kind::HandleMmFaultReturn, Kind::HandleUserfault]);
    for (entry, code, expected) in [
        (EMPTY, 6, Cause::EmptyEntry),
        (READ_ONLY, 7, Cause::WriteProtect),
        (READ_ONLY | 1 << 10, 7, Cause::Userfaultfd),
        (READ_ONLY | 2, 7, Cause::Spurious),
        (READ_ONLY ^ 0x101, 5, Cause::Unknown),
        (swap(1), 4, Cause::SwapIn),
        ((!4_u64 << 14 >> 5) | 31 << 59, 6, Cause::Marker),
    ] {
        let mut m = made();
        trap(&mut m, entry, code, 0);
        assert_eq!(told(context(), &m), [(expected, 1)], "{entry:#x}");
    }
}

#[test]
fn the_report_names_kinds_and_who_has_most_of_each() {
    let mut m = made();
    for _ in 0..9 {
        trap(&mut m, EMPTY, 6, anonymous());
        handled(&mut m, TRAP | VMA_LOCK, 0);
    }
    trap(&mut m, EMPTY, 4, file());
    handled(&mut m, TRAP | VMA_LOCK, 0);
    let engine = engine(context(), &m);
    let mut out = Vec::new();
    Report::new(&engine).print(Output::Text, Style::plain(), &mut out).expect("it is printed");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("Page faults: 10: anonymous first touch 90 %, page-cache hit 10 %"), "{text}");
    let tables = Tables::new(engine.callers().expect("it judges"), engine.tasks(), By::Kind, START);
    let rows: Vec<_> = tables.faults.iter().map(|row| (row.count, row.text())).collect();
    assert_eq!(
        rows,
        [
            (9, "anonymous first touch: 100 % by process 1".to_owned()),
            (1, "page-cache hit: 100 % by process 1".to_owned())
        ]
    );
}
