//! The ends of faults where no function shows them: the kernel's count of a handled fault, a software event.

use mmtrace_common::{Column, Kind, VmaFacts, Walk};
use mmtrace_model::{
    context::{Context, FaultEnds, Kernel},
    model::faults::address_space::Cause,
    replay::Engine,
    report::{Output, Report, Style},
};
use mmtrace_testing::kernel::{MM, Made, context, without};
use proptest::prelude::*;

const ADDR: u64 = 0x7f00_0000_1000;
const EMPTY: u64 = 0;

/// A kernel of this release, without programs on `handle_mm_fault()`.
fn counted(release: &str) -> Context {
    let context = without(&[Kind::HandleMmFault, Kind::HandleMmFaultReturn]);
    Context { kernel: Kernel { release: release.to_owned(), ..context.kernel }, ..context }
}

/// The CPU raises a fault on a page of a file.
fn raised(m: &mut Made, kind: Kind, tid: u32, addr: u64) {
    let file = VmaFacts::new(0x71, true, true, 0xef53).number();
    let walk = Walk::number(1, EMPTY);
    let values =
        [(Column::Addr, addr), (Column::ErrorCode, 4), (Column::Walk, walk.into()), (Column::VmaFacts, file.into())];
    m.say(tid, kind, &values);
}

fn trap(m: &mut Made, addr: u64) {
    raised(m, Kind::PageFaultUser, 1, addr);
}

fn minor(m: &mut Made, addr: u64) {
    m.say(1, Kind::PageFaultsMin, &[(Column::Addr, addr)]);
}

fn major(m: &mut Made, addr: u64) {
    m.say(1, Kind::PageFaultsMaj, &[(Column::Addr, addr)]);
}

/// Events that the model knows the whole of from the first one on.
fn made() -> Made {
    let mut m = Made::new();
    m.later(1_000_000);
    m
}

/// Returns the durations of the faults in user mode, how many, and all together, those without a known end, and the kinds.
fn told(context: Context, m: &Made) -> ((u64, u64), u64, Vec<(Cause, u64)>) {
    let mut engine = Engine::new(context, true).with_stats();
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    let times = engine.callers().expect("it judges").fault_times();
    let whole = &engine.stats().expect("kept").faults.whole;
    assert_eq!((whole.count(), whole.sum()), (times.took.count(), times.took.sum()));
    let causes = *engine.model().expect("it judges").causes();
    let kinds = Cause::ALL.into_iter().zip(causes).filter(|(_, n)| *n > 0).collect();
    ((times.took.count(), times.took.sum()), times.untimed, kinds)
}

#[test]
fn a_fault_lasts_until_the_kernel_counts_it() {
    let mut m = made();
    trap(&mut m, ADDR);
    m.later(5_000);
    minor(&mut m, ADDR);
    assert_eq!(counted("6.18.1").fault_ends(), Some(FaultEnds::SoftwareEvents));
    assert_eq!(told(counted("6.18.1"), &m), ((1, 15_000), 0, vec![(Cause::CacheHit, 1)]));
}

#[test]
fn a_fault_that_fails_does_not_get_the_end_of_another_one() {
    for next in [ADDR + 0x5000, ADDR] {
        let mut m = made();
        trap(&mut m, ADDR);
        m.later(1_000_000);
        trap(&mut m, next);
        minor(&mut m, next);
        // How the first one ended is not known: the kernel may have skipped the program.
        assert_eq!(told(counted("6.18.1"), &m), ((1, 10_000), 1, vec![(Cause::CacheHit, 1), (Cause::FilePage, 1)]));
    }
}

#[test]
fn an_end_at_another_address_or_of_another_task_ends_nothing() {
    let mut m = made();
    trap(&mut m, ADDR);
    minor(&mut m, ADDR + 8);
    m.say(2, Kind::PageFaultsMin, &[(Column::Addr, ADDR)]);
    minor(&mut m, ADDR);
    assert_eq!(told(counted("6.18.1"), &m).0, (1, 30_000));
    minor(&mut m, ADDR);
    assert_eq!(told(counted("6.18.1"), &m).0, (1, 30_000), "it is over");
}

#[test]
fn a_fault_in_the_kernel_on_top_of_another_one_costs_that_its_figure() {
    let mut m = made();
    trap(&mut m, ADDR);
    raised(&mut m, Kind::PageFaultKernel, 1, ADDR + 0x5000);
    minor(&mut m, ADDR + 0x5000);
    minor(&mut m, ADDR);
    // The one in the kernel has a known end; faults in user mode are what is timed.
    assert_eq!(told(counted("6.18.1"), &m), ((0, 0), 1, vec![(Cause::CacheHit, 1), (Cause::FilePage, 1)]));
}

#[test]
fn a_profiler_on_top_of_a_fault_changes_nothing() {
    let mut m = made();
    trap(&mut m, ADDR);
    m.say(1, Kind::PageFaultKernel, &[(Column::Addr, ADDR + 0x5000), (Column::PagefaultDisabled, 1)]);
    minor(&mut m, ADDR);
    assert_eq!(told(counted("6.18.1"), &m).0, (1, 20_000));
}

#[test]
fn after_a_loss_open_faults_have_no_known_end() {
    let mut m = made();
    trap(&mut m, ADDR);
    // The end of this fault may be missing, and the begin of the next.
    m.lose(Kind::Loss, Kind::PageFaultUser, 1);
    minor(&mut m, ADDR);
    assert_eq!(told(counted("6.18.1"), &m), ((0, 0), 1, vec![(Cause::FilePage, 1)]));
}

/// No event but faults and their ends can be one of the two that a fault's time is made of.
#[test]
fn a_missing_event_of_a_lock_leaves_faults_timed() {
    for missing in [Kind::StartLocking, Kind::AcquireReturned, Kind::Released, Kind::MaWrite] {
        let mut m = made();
        trap(&mut m, ADDR);
        m.lose(Kind::Loss, missing, 1);
        minor(&mut m, ADDR);
        // This one begins while events may be missing.
        m.step = 1_000;
        m.lose(Kind::Missed, missing, 1);
        trap(&mut m, ADDR + 0x1000);
        minor(&mut m, ADDR + 0x1000);
        let ((timed, _), untimed, kinds) = told(counted("6.18.1"), &m);
        assert_eq!((timed, untimed, kinds), (2, 0, vec![(Cause::CacheHit, 2)]), "{missing:?}");
    }
    // How often the mmap_lock was acquired is not known then.
    for begins_before in [true, false] {
        let mut m = Made { step: 1_000, ..made() };
        if begins_before {
            trap(&mut m, ADDR);
        }
        m.lose(Kind::Loss, Kind::AcquireReturned, 1);
        if !begins_before {
            trap(&mut m, ADDR);
        }
        major(&mut m, ADDR);
        assert_eq!(told(counted("6.18.1"), &m).2, [(Cause::MajorRetried, 1)]);
    }
    // The end may be that of a fault that is missing.
    for missing in [Kind::PageFaultUser, Kind::PageFaultKernel] {
        let mut m = made();
        trap(&mut m, ADDR);
        m.lose(Kind::Loss, missing, 1);
        minor(&mut m, ADDR);
        assert_eq!(told(counted("6.18.1"), &m).0, (0, 0), "{missing:?}");
    }
}

/// The task acquires its mm's mmap_lock so often, and releases it, before the fault is counted as major.
fn major_after(acquired: u32, release: &str) -> Vec<(Cause, u64)> {
    let mut m = made();
    trap(&mut m, ADDR);
    for _ in 0..acquired {
        m.lock(1, false);
        m.unlock(1, false);
    }
    major(&mut m, ADDR);
    let ((timed, _), _, kinds) = told(counted(release), &m);
    assert_eq!(timed, 1);
    kinds
}

#[test]
fn a_page_was_read_if_the_fault_was_counted_as_major_and_not_tried_again_under_the_mmap_lock() {
    assert_eq!(major_after(0, "6.18.1"), [(Cause::Major, 1)]);
    assert_eq!(major_after(1, "6.18.1"), [(Cause::Major, 1)], "the call under the VMA lock has read it");
    // It may have waited for a folio lock, and be counted as major for that.
    assert_eq!(major_after(2, "6.18.1"), [(Cause::MajorRetried, 1)]);
    assert_eq!(major_after(2, "6.1.0"), [(Cause::MajorRetried, 1)]);
    assert_eq!(major_after(1, "6.1.0"), [(Cause::Major, 1)]);
    // Nobody has read these kernels.
    assert_eq!(major_after(1, "9.9.9"), [(Cause::FilePage, 1)]);
}

#[test]
fn where_acquisitions_of_the_mmap_lock_are_not_seen_nothing_tells_that_a_page_was_read() {
    let mut m = made();
    trap(&mut m, ADDR);
    major(&mut m, ADDR);
    let kinds = [Kind::HandleMmFault, Kind::HandleMmFaultReturn, Kind::AcquireReturned];
    assert_eq!(told(without(&kinds), &m).2, [(Cause::MajorRetried, 1)]);
}

#[test]
fn a_fault_that_is_counted_as_minor_has_read_nothing_where_reading_is_always_counted() {
    let minor_after = |acquired: u32, release: &str| {
        let mut m = made();
        trap(&mut m, ADDR);
        for _ in 0..acquired {
            m.lock(1, false);
            m.unlock(1, false);
        }
        minor(&mut m, ADDR);
        told(counted(release), &m).2
    };
    for (acquired, release, expected) in [
        (0, "6.18.1", Cause::CacheHit),
        (1, "6.18.1", Cause::CacheHit),
        (1, "6.1.0", Cause::CacheHit),
        (0, "6.6.0", Cause::CacheHit),
        // The call under the VMA lock may have read the page: FAULT_FLAG_TRIED was not set after it.
        (1, "6.6.0", Cause::FilePage),
    ] {
        assert_eq!(minor_after(acquired, release), [(expected, 1)], "{acquired} on {release}");
    }
}

#[test]
fn beside_functions_software_events_are_left_alone() {
    let mut m = made();
    trap(&mut m, ADDR);
    minor(&mut m, ADDR);
    assert_eq!(told(context(), &m).0, (0, 0));
}

#[test]
fn the_report_says_how_long_faults_took_and_what_showed_it() {
    let mut m = made();
    trap(&mut m, ADDR);
    minor(&mut m, ADDR);
    trap(&mut m, ADDR + 0x1000);
    trap(&mut m, ADDR + 0x2000);
    minor(&mut m, ADDR + 0x2000);
    let mut engine = Engine::new(counted("6.18.1"), true);
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    let report = Report::new(&engine);
    let mut out = Vec::new();
    report.print(Output::Text, Style::plain(), &mut out).expect("it is printed");
    let text = String::from_utf8(out).expect("text");
    assert!(
        text.contains("they took, in user mode, until the kernel counts them: p50 10.0 us, p99 10.0 us, longest 10.0 us; of 2 of 3 faults (67 %)"),
        "{text}"
    );
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["fault_latency"]["ends"], "software_events");
    assert_eq!(json["fault_latency"]["count"], 2);
}

/// A step of a task: it faults at one of a few addresses, and what becomes of that.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Counted after so many nanoseconds.
    Handled(u64),
    /// Not counted: it failed, or the kernel skipped the program.
    Endless,
    /// On top of it, a fault in the kernel that is counted.
    Nested,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![(1_u64..1 << 30).prop_map(Step::Handled), Just(Step::Endless), Just(Step::Nested)]
}

proptest! {
    /// Each figure is that of a fault that was counted, and no fault has another one's.
    #[test]
    fn no_fault_has_the_figure_of_another(steps in proptest::collection::vec((1_u32..4, 0_u64..3, step()), 1..60)) {
        let mut m = made();
        let (mut count, mut sum, mut endless) = (0, 0, 0);
        let end = |m: &mut Made, tid, addr| { m.at(tid, Kind::PageFaultsMin, MM, &[(Column::Addr, addr)]); };
        for (tid, page, step) in steps {
            let addr = ADDR + (page << 12);
            raised(&mut m, Kind::PageFaultUser, tid, addr);
            match step {
                Step::Handled(ns) => {
                    m.later(ns);
                    end(&mut m, tid, addr);
                    (count, sum) = (count + 1, sum + ns + m.step);
                }
                Step::Endless => endless += 1,
                Step::Nested => {
                    raised(&mut m, Kind::PageFaultKernel, tid, addr);
                    end(&mut m, tid, addr);
                    end(&mut m, tid, addr);
                    endless += 1;
                }
            }
        }
        let ((timed, ns), untimed, _) = told(counted("6.18.1"), &m);
        prop_assert_eq!((timed, ns), (count, sum));
        // The last ones of the tasks are open at the end.
        prop_assert!(untimed <= endless && untimed + 3 >= endless);
    }
}
