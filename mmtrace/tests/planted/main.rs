//! Every rule notices what it is about: faults planted into captures of real kernels.
//!
//! A fault is planted at one place of a capture, in memory, by taking away, adding or
//! changing a few events. The rule must be broken, at or after that place, and no other.
//! Not every place shows the fault; the comment at each fault says which do, and the
//! search for places asks for just that.

mod collapse;
mod edit;
#[path = "../common/golden.rs"]
mod golden;
mod holed;
mod lifetime;
mod locks;
mod migration;
mod stream;

use std::{collections::BTreeMap, sync::OnceLock};

use mmtrace_common::Kind;
use mmtrace_model::{
    replay::Engine,
    report::{Output, Report, Style},
    verdict::{RULES, RuleId},
};
use mmtrace_testing::{judging::broken, planted::PLANTED_IN_MODEL};

use edit::Edit;
use golden::{Golden, goldens};
use stream::Stream;

/// Places tried of one fault in one capture.
const SPOTS: usize = 24;
/// Events replayed behind the place of most faults; of the first, middle and last, all that come.
const TAIL: usize = 20_000;
/// Whether the captures lack the events of a rule, and a test of `mmtrace-model` plants its faults.
fn is_elsewhere(rule: RuleId) -> bool {
    PLANTED_IN_MODEL.iter().any(|(_, rules)| rules.contains(&rule))
}

/// One way to break a rule. Plants at the event of an index, if that is a place for it.
type Plant = fn(&Stream, usize) -> Option<Edit>;

macro_rules! faults {
    ($($module:ident { $($rule:ident $test:ident { $($plant:ident)* })* })*) => {
        const FAULTS: &[(RuleId, &[(&str, Plant)])] = &[
            $($((RuleId::$rule, &[$((stringify!($plant), $module::$plant)),*])),*),*
        ];

        $($(
            #[test]
            fn $test() {
                check(RuleId::$rule);
            }
        )*)*
    };
}

faults! {
    locks {
        L01 l01_two_writers { l01_missing_release l01_second_writer }
        L02 l02_reader_and_writer { l02_reader_in_write_hold l02_writer_in_read_hold l02_late_release }
        L03 l03_downgraded_and_writer { l03_writer_in_downgraded_hold l03_missing_release }
        L04 l04_release_by_another { l04_released_by_another }
        L05 l05_leak_of_a_write_hold { l05_user_mode l05_exit }
        L06 l06_release_too_many { l06_released_twice l06_released_twice_beside_others }
        L07 l07_self_deadlock { l07_waits_for_itself }
        L08 l08_downgrade_by_another { l08_downgrade_of_nothing }
    }
    collapse {
        L35 l35_isolation_without_lock { l35_isolated_without_lock }
        L36 l36_collapse_leaks { l36_ended_with_lock }
        L37 l37_collapse_without_isolation { l37_success_without_isolation }
        L38 l38_file_collapse_with_lock { l38_in_a_write_hold l38_write_hold_around }
        L39 l39_scan_of_what_is_not_held { l39_scan_without_lock }
    }
    migration {
        L40 l40_second_removal { l40_removed_twice }
        L41 l41_entries { l41_set_present l41_set_protnone l41_left_behind }
        L42 l42_end_without_start { l42_start_missing }
        L46 l46_migration_outside_compaction { l46_begin_missing l46_end_too_early }
    }
    lifetime {
        L43 l43_exit_not_exclusive { l43_exit_without_lock l43_exit_after_release }
        L44 l44_dead_mm_runs { l44_fault_after_exit l44_fault_before_reuse }
        L45 l45_store_not_exclusive { l45_store_after_release l45_store_without_lock }
    }
}

fn streams() -> &'static [Stream] {
    static STREAMS: OnceLock<Vec<Stream>> = OnceLock::new();
    // With function events other rules, too, see what these faults lead to; and not every kernel has every rule. Faults
    // of functions are planted in functions.rs and tables.rs.
    let tracepoints_only = |g: &&Golden| !g.context.has(Kind::HandleMmFault);
    STREAMS.get_or_init(|| goldens().iter().filter(tracepoints_only).map(Stream::new).collect())
}

/// The first, the last, and others evenly between.
fn sample(spots: &[usize]) -> Vec<usize> {
    if spots.len() <= SPOTS {
        return spots.to_vec();
    }
    (0..SPOTS).map(|n| spots[n * (spots.len() - 1) / (SPOTS - 1)]).collect()
}

/// Plants every fault of one rule wherever it can be planted, a sample of the places per
/// capture; all must be caught, and named, and nothing else.
fn check(rule: RuleId) {
    let (_, plants) = FAULTS.iter().find(|(r, _)| *r == rule).expect("it has faults");
    let name = rule.rule().name;
    let mut missed = Vec::new();
    let mut planted = 0;
    for (what, plant) in *plants {
        let mut counts = BTreeMap::new();
        for stream in streams() {
            let golden = stream.golden;
            // A rule that the capture cannot show, because of its filter, is not broken in it either.
            if rule.rule().blocked(&golden.context).is_some() {
                continue;
            }
            let spots: Vec<usize> = (0..golden.records.len()).filter(|i| plant(stream, *i).is_some()).collect();
            let sample = sample(&spots);
            counts.insert(golden.name.as_str(), (sample.len(), spots.len()));
            for (n, spot) in sample.iter().enumerate() {
                let edit = plant(stream, *spot).expect("it was a place");
                let all = n == 0 || n == sample.len() / 2 || n == sample.len() - 1;
                let end = golden.records.len();
                let end = if all { end } else { end.min(edit.last() + TAIL) };
                let engine = edit.judge(golden, end);
                planted += 1;
                let place = || format!("{what} in {} at {spot} ({})", golden.name, golden.records[*spot].ts);
                match broken(&engine).as_slice() {
                    [(broken, _)] if *broken == name => {
                        let sink = engine.sink().expect("it judges");
                        let first = sink.kept().find(|v| v.rule == rule).expect("a violation is kept");
                        if first.ts < edit.since(golden) {
                            missed.push(format!("{}: before its cause", place()));
                        }
                        if all {
                            named(&engine, name);
                        }
                    }
                    other => missed.push(format!("{}: {other:?}", place())),
                }
            }
        }
        let all: usize = counts.values().map(|(_, all)| all).sum();
        assert!(all > 0, "{what}: no place for it in any capture");
        eprintln!("{name} {what}: (planted, places) {counts:?}");
    }
    eprintln!("{name}: {} of {planted} planted faults caught", planted - missed.len());
    assert!(missed.is_empty(), "{} of {planted}:\n{}", missed.len(), missed.join("\n"));
}

/// The report says so, to people and to programs.
fn named(engine: &Engine, name: &str) {
    let report = Report::new(engine);
    assert!(report.is_violated());
    let mut text = Vec::new();
    report.print(Output::All, Style::plain(), &mut text).expect("to memory");
    assert!(String::from_utf8_lossy(&text).contains(name), "{name} is not in the report");
    let json = serde_json::to_value(&report).expect("a report is JSON");
    assert_eq!(json["verdict"], "violated");
    assert!(json["violations"].as_array().expect("a list").iter().all(|v| v["rule"] == name), "{json:#}");
}

#[test]
fn every_rule_that_can_fail_has_a_planted_fault() {
    for rule in RULES.iter().filter(|r| r.severity.can_fail() && !is_elsewhere(r.id)) {
        let faults = FAULTS.iter().find(|(id, _)| *id == rule.id);
        assert!(faults.is_some_and(|(_, plants)| !plants.is_empty()), "nobody tries to break {}", rule.name);
    }
}

/// Nothing is found where nothing was planted.
#[test]
fn an_edit_that_changes_nothing_breaks_nothing() {
    for golden in goldens() {
        let middle = golden.records.len() / 2;
        let edit = Edit::default().change(middle, golden.records[middle]);
        assert_eq!(broken(&edit.judge(golden, golden.records.len())), [], "{}", golden.name);
    }
}
