//! What figures are made of: nothing is thrown away that was seen, and what is missing is said.

use mmtrace_common::{Column, Kind};
use mmtrace_model::{
    context::{Context, Kernel},
    coverage::Coverage,
    durations::Distribution,
    model::faults::address_space::Cause,
    replay::Engine,
    report::{Output, Report, Style},
    verdict::{RuleId, Verdict},
};
use mmtrace_testing::judging::judge;
use mmtrace_testing::kernel::{self, Made, START, TRAP, VMA_LOCK};

const LOCKS: [Kind; 3] = [Kind::StartLocking, Kind::AcquireReturned, Kind::Released];

/// A kernel whose tracepoints' programs only an interrupt comes in on top of.
fn before_7_0() -> Context {
    let kernel = Kernel { release: "6.18.0-made".to_owned(), ..kernel::context().kernel };
    Context { kernel, ..kernel::context() }
}

fn measured(engine: &Engine, rule: RuleId) -> (Option<Distribution>, Coverage) {
    let model = engine.model().expect("it judges");
    (model.measures().distribution(rule), model.coverage(rule))
}

/// How many write holds were measured, and of how many.
fn holds(context: &Context, made: &Made) -> (u64, u64) {
    let (_, coverage) = measured(&judge(context, &made.records), RuleId::M04);
    (coverage.counted, coverage.of)
}

fn text(engine: &Engine, json: bool) -> String {
    let mut out = Vec::new();
    Report::new(engine)
        .print(if json { Output::Json } else { Output::All }, Style::plain(), &mut out)
        .expect("to memory");
    String::from_utf8(out).expect("UTF-8")
}

/// A write hold of 40 us, with events missing in it.
fn hold_with(told: Kind, of: &[Kind]) -> Made {
    let mut m = Made::new();
    m.user(1, START).write_lock(1);
    for kind in of {
        m.lose(told, *kind, 1);
    }
    m.later(30_000).unlock(1, true);
    m
}

#[test]
fn a_hold_is_measured_whatever_else_is_missing() {
    for kind in [Kind::PageFaultUser, Kind::MaWrite, Kind::Fork, Kind::SetMigrationPte, Kind::HandleMmFault] {
        for told in [Kind::Loss, Kind::Missed] {
            assert_eq!(holds(&kernel::context(), &hold_with(told, &[kind])), (1, 1), "{}", kind.name());
        }
    }
    let engine = judge(&kernel::context(), &hold_with(Kind::Loss, &[Kind::Fork]).records);
    assert_eq!(measured(&engine, RuleId::M04).0.map(|d| (d.max_ns, d.sum_ns)), Some((40_000, 40_000)));
}

#[test]
fn a_hold_is_one_as_long_as_not_all_that_makes_it_two_is_missing() {
    for missing in [&LOCKS[..1], &LOCKS[1..2], &LOCKS[2..], &LOCKS[..2], &LOCKS[1..]] {
        let (counted, _) = holds(&kernel::context(), &hold_with(Kind::Loss, missing));
        assert_eq!(counted, 1, "{missing:?}");
    }
    // It may have been let go and got again: that is two, and how long each was, nobody knows.
    for told in [Kind::Loss, Kind::Missed] {
        assert_eq!(holds(&kernel::context(), &hold_with(told, &LOCKS)), (0, 2));
    }
}

/// A skipped run is an interrupt's there, and an interrupt gets no lock for write.
#[test]
fn before_7_0_a_skipped_run_costs_no_write_hold() {
    assert_eq!(holds(&before_7_0(), &hold_with(Kind::Missed, &LOCKS)), (1, 1));
    assert_eq!(holds(&before_7_0(), &hold_with(Kind::Loss, &LOCKS)), (0, 2));
}

#[test]
fn a_downgrade_ends_a_hold_and_what_an_interrupt_tried_meanwhile_is_no_wait() {
    let read = |success| [(Column::Write, 0), (Column::Success, success)];
    let mut m = Made::new();
    m.user(1, START).write_lock(1);
    // An interrupt tries for it in vain, and that is not told.
    m.say(1, Kind::StartLocking, &[(Column::Write, 0)]);
    m.lose(Kind::Missed, Kind::AcquireReturned, 1);
    m.later(10_000).say(1, Kind::AcquireReturned, &read(1)).unlock(1, false);
    let engine = judge(&before_7_0(), &m.records);
    assert_eq!(measured(&engine, RuleId::M04).1, Coverage::of(1, 0));
    assert_eq!(measured(&engine, RuleId::M08).0.map(|d| d.count), Some(1), "the writer's");
}

#[test]
fn what_is_open_at_the_end_is_not_measured_and_said() {
    let mut m = Made::new();
    m.user(1, START).write_lock(1);
    m.say(2, Kind::StartLocking, &[(Column::Write, 1)]);
    let engine = judge(&kernel::context(), &m.records);
    assert_eq!(measured(&engine, RuleId::M04).1, Coverage::of(0, 1));
    assert_eq!(measured(&engine, RuleId::M08).1, Coverage::of(1, 1));
    let text = text(&engine, false);
    assert!(text.contains("(0 of 1 holds (0 %))") && text.contains("(1 of 2 waits (50 %))"), "{text}");
}

#[test]
fn every_fault_that_is_seen_has_a_cause_and_those_that_are_missing_are_said() {
    let mut m = Made::new();
    m.user(1, START);
    m.lose(Kind::Loss, Kind::AcquireReturned, 1);
    m.lose(Kind::Loss, Kind::PageFaultUser, 7);
    // Within the time of doubt, and after it.
    m.step = 1_000;
    m.user(1, START).say(1, Kind::PageFaultUser, &[(Column::Addr, START), (Column::ErrorCode, 7)]);
    m.later(1_000_000).user(1, START);
    let engine = judge(&kernel::context(), &m.records);
    let model = engine.model().expect("it judges");
    assert_eq!(model.causes().iter().sum::<u64>(), 4);
    assert_eq!(model.causes()[Cause::WriteProtect as usize], 1);
    assert_eq!(model.fault_coverage(), Coverage::of(4, 7));
    assert!(text(&engine, false).contains("causes are those of 4 of 11 faults (36 %)"));
    let json: serde_json::Value = serde_json::from_str(&text(&engine, true)).expect("JSON");
    assert_eq!(json["faults_coverage"], serde_json::json!({"counted": 4, "of": 11, "or_more": false}));
}

/// Of a page that was not seen to be touched, nothing is claimed where faults are missing.
#[test]
fn after_faults_were_lost_no_page_is_touched_first() {
    let exec = |m: &mut Made| {
        m.say(1, Kind::Exec, &[]).write_lock(1);
        m.say(1, Kind::MaWrite, &[(Column::Addr, START), (Column::End, START + 0xffff), (Column::Vma, 7)]);
        m.unlock(1, true);
    };
    let causes = |m: &Made| *judge(&kernel::context(), &m.records).model().expect("it judges").causes();
    let mut m = Made::new();
    exec(&mut m);
    let mut lossy = m.clone();
    m.user(1, START);
    assert_eq!(causes(&m)[Cause::FirstTouch as usize], 1);
    lossy.lose(Kind::Loss, Kind::PageFaultUser, 1);
    lossy.later(1_000_000).user(1, START);
    assert_eq!(causes(&lossy)[Cause::FirstTouch as usize], 0);
    assert_eq!(causes(&lossy)[Cause::Unknown as usize], 1);
}

#[test]
fn a_fault_with_page_faults_disabled_is_not_charged_to_the_task_that_it_is_on_top_of() {
    let mut m = Made::new();
    m.user(1, START);
    let profiler = |m: &mut Made, disabled| {
        let values = [(Column::Addr, START + 0x5000), (Column::PagefaultDisabled, disabled)];
        m.say(1, Kind::PageFaultKernel, &values);
    };
    // In the middle of a fault of the task itself, again and again.
    m.grant(1).fault(1, TRAP | VMA_LOCK);
    profiler(&mut m, 1);
    profiler(&mut m, 1);
    m.done(1, 0);
    let mut engine = Engine::new(kernel::context(), true).with_stats();
    m.records.iter().for_each(|record| engine.apply(record));
    let causes = *engine.model().expect("it judges").causes();
    assert_eq!((causes[Cause::PagefaultDisabled as usize], causes[Cause::Refault as usize]), (2, 0));
    let stats = engine.stats().expect("they were asked for");
    let process = stats.faults.get(1).expect("it faults");
    assert_eq!((process.total(), process.causes[Cause::PagefaultDisabled as usize]), (1, 2));
    assert_eq!(process.in_regions(), Coverage::of(1, 0));
    assert_eq!(stats.faults.whole.count(), 1, "the task's own fault is followed to its end");
    assert!(text(&engine, false).contains("not handled (page faults disabled) 67 %"));
    // One that is handled is one of the task's.
    let mut m = Made::new();
    profiler(&mut m, 0);
    profiler(&mut m, 0);
    let causes = *judge(&kernel::context(), &m.records).model().expect("it judges").causes();
    assert_eq!(causes[Cause::Refault as usize], 1);
}

#[test]
fn foreign_records_are_shown_where_losses_are_and_nothing_is_concluded_across_them() {
    let mut m = hold_with(Kind::Loss, &[]);
    let values = [(Column::Count, 3), (Column::Until, m.now + 1)];
    m.at(0, Kind::Foreign, 0, &values);
    let engine = judge(&kernel::context(), &m.records);
    assert_eq!(engine.foreign(), 3);
    let text_of = text(&engine, false);
    assert!(text_of.contains("3 records that no program of mmtrace wrote"), "{text_of}");
    let json: serde_json::Value = serde_json::from_str(&text(&engine, true)).expect("JSON");
    assert_eq!(json["foreign"], 3);
    let sink = engine.sink().expect("it judges");
    assert_eq!(sink.verdict(RuleId::L04), Verdict::Unknown);
    assert_eq!(engine.model().expect("it judges").fault_coverage(), Coverage::of(1, 0).or_more(true));
}
