//! Some hosts hide a process from every BPF program: none of its events is seen, and no loss is
//! counted. What others do to it, and the children that it forks, appear unannounced. That is
//! missing evidence, and breaks no rule. (Streams made up with a hidden process: functions.rs, tables.rs.)

#[path = "common/golden.rs"]
mod golden;

use std::collections::BTreeSet;

use mmtrace_common::{Kind, Record};
use mmtrace_model::context::Context;
use mmtrace_testing::judging::{broken, judge};
use proptest::{
    prelude::any,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

use golden::{Golden, goldens};

/// Cases of the property.
const CASES: u32 = 3000;
/// Events of a case.
const WINDOW: usize = 10_000;

/// The stream without these tasks: for ever, or until each is first seen in user mode from an event on.
fn hide(records: &[Record], tids: &BTreeSet<u32>, until: Option<usize>) -> Vec<Record> {
    let mut seen = BTreeSet::new();
    let shown = records.iter().enumerate().filter(|(i, r)| {
        if until.is_some_and(|from| *i >= from) && r.kind() == Some(Kind::PageFaultUser) {
            seen.insert(r.tid);
        }
        !tids.contains(&r.tid) || seen.contains(&r.tid) || r.kind().is_none_or(Kind::is_synthetic)
    });
    shown.map(|(_, r)| *r).collect()
}

fn tids(records: &[Record], process: u32) -> BTreeSet<u32> {
    records.iter().filter(|r| r.tgid == process).map(|r| r.tid).collect()
}

fn processes(records: &[Record]) -> Vec<u32> {
    records.iter().map(|r| r.tgid).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The number at a place between 0 and `u64::MAX`.
const fn at(place: u64, of: usize) -> usize {
    ((place as u128 * of as u128) >> 64) as usize
}

#[test]
fn any_process_of_a_capture_may_be_hidden() {
    let mut tried = 0;
    for Golden { name, context, records } in goldens() {
        for process in processes(records) {
            let kept = hide(records, &tids(records, process), None);
            assert_eq!(broken(&judge(context, &kept)), [], "{name} without process {process}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

/// Any of its threads, too; and what hides them may end.
#[test]
fn any_threads_of_a_process_may_be_hidden() {
    let goldens = goldens();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let strategy = (0..goldens.len(), any::<u64>(), any::<u64>(), any::<u64>(), proptest::option::of(0..WINDOW));
    let result = runner.run(&strategy, |(golden, place, process, choice, until)| {
        let Golden { name, context, records } = &goldens[golden];
        let from = at(place, records.len());
        let records = &records[from..records.len().min(from + WINDOW)];
        let context = Context { start: context.start.max(records[0].ts), ..context.clone() };
        let all = processes(records);
        let process = all[at(process, all.len())];
        let threads = tids(records, process);
        let chosen: BTreeSet<u32> =
            threads.iter().enumerate().filter(|(i, _)| choice >> (i % 64) & 1 == 1).map(|(_, tid)| *tid).collect();
        let found = broken(&judge(&context, hide(records, &chosen, until)));
        if found.is_empty() {
            Ok(())
        } else {
            Err(TestCaseError::fail(format!("{name} from {from} without {chosen:?} of {process}: {found:?}")))
        }
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
