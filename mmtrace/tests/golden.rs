//! Captures of real kernels are judged today as they were when they were recorded.
//!
//! `report.json` beside a capture is what `mmtrace replay --json` prints, without the rules that nothing in the capture
//! is about. Those stand together in `testdata/unevaluated.json`: a new rule that few captures have the events of
//! changes this file, and the reports of those captures.

#[path = "common/golden.rs"]
mod golden;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use mmtrace_model::report::{Output, Report, RuleReport, Style};
use mmtrace_testing::judging::{broken, judge};

use golden::{Golden, TESTDATA, captures, goldens};

/// Captures of bugs that kernels have (docs/findings.md).
const BUGS: &str = "bugs";
/// Captures in which runs of probes were missed, so that rules are unknown.
const MISSED: &str = "missed";
/// Rows of the tables by caller that a report.json has. The rest is in `rows_add_up`.
const ROWS: usize = 8;
/// If this variable is set, the tests write what they would compare with.
const UPDATE: &str = "UPDATE_REPORTS";

fn folder(name: &str) -> PathBuf {
    Path::new(TESTDATA).join(name)
}

/// Nothing in the capture was about the rule: everything that its entry could say is 0.
fn is_unevaluated(rule: &RuleReport) -> bool {
    let covers = rule.coverage.is_some_and(|coverage| coverage.of > 0 || coverage.or_more);
    let counts = [rule.evaluations, rule.violations, rule.unjudged];
    counts == [0; 3] && !covers && rule.measured.is_none() && rule.worst.is_empty()
}

/// Rules that were not evaluated: rule → verdict and reason → captures.
type Unevaluated = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// If a change of the model is meant to change a report, run this with `UPDATE_REPORTS=1`, and check in what it writes.
#[test]
fn every_capture_replays_to_its_report() {
    let mut unevaluated = Unevaluated::new();
    for name in ["", BUGS, MISSED] {
        for golden in captures(&folder(name)) {
            replays_to_its_report(&golden, name, &mut unevaluated);
        }
    }
    let mut now = serde_json::to_string_pretty(&unevaluated).expect("strings");
    now.push('\n');
    compare(&now, &folder("unevaluated.json"));
}

fn replays_to_its_report(golden: &Golden, parent: &str, unevaluated: &mut Unevaluated) {
    let mut report = Report::new(&judge(&golden.context, &golden.records));
    let name = Path::new(parent).join(&golden.name);
    for rule in report.rules.iter().filter(|rule| is_unevaluated(rule)) {
        let reason = format!("{}: {}", rule.verdict.name(), rule.reason.as_deref().expect("it has no other verdict"));
        let of_rule = unevaluated.entry(rule.id.to_owned()).or_default();
        of_rule.entry(reason).or_default().push(name.display().to_string());
    }
    rows_add_up(&report, &golden.name);
    report.rules.retain(|rule| !is_unevaluated(rule));
    report.callers.locks.truncate(ROWS);
    report.callers.faults.truncate(ROWS);
    report.mappings.truncate(ROWS);
    let mut now = Vec::new();
    report.print(Output::Json, Style::plain(), &mut now).expect("to memory");
    compare(&String::from_utf8(now).expect("JSON is UTF-8"), &folder("").join(name).join("report.json"));
}

/// Every fault and every measured write hold is in one row of the tables by caller.
fn rows_add_up(report: &Report, name: &str) {
    let faults: u64 = report.callers.faults.iter().map(|row| row.count).sum();
    assert_eq!(faults, report.faults.values().sum::<u64>(), "{name}");
    if !report.mappings.is_empty() {
        assert_eq!(faults, report.mappings.iter().map(|row| row.count).sum::<u64>(), "{name}");
    }
    let holds = report.callers.locks.iter().filter(|row| row.write).filter_map(|row| row.held);
    let measured = report.rules.iter().find(|rule| rule.id == "M04").and_then(|rule| rule.measured);
    let (count, sum) = holds.fold((0, 0), |(count, sum), held| (count + held.count, sum + held.sum_ns));
    assert_eq!((count, sum), measured.map_or((0, 0), |m| (m.count, m.sum_ns)), "{name}");
}

/// Fails unless a file says this; with [`UPDATE`] writes it.
fn compare(now: &str, file: &Path) {
    if env::var_os(UPDATE).is_some() {
        fs::write(file, now).expect("testdata can be written");
        return;
    }
    let then = fs::read_to_string(file).expect("it is part of the repository");
    for (number, (now, then)) in now.lines().zip(then.lines()).enumerate() {
        assert_eq!(now, then, "line {} of {}", number + 1, file.display());
    }
    assert_eq!(now, then, "{}", file.display());
}

/// The kernels that they were recorded on were sound.
#[test]
fn no_capture_breaks_a_rule() {
    let missed = captures(&folder(MISSED));
    for golden in goldens().iter().chain(&missed) {
        assert_eq!(broken(&judge(&golden.context, &golden.records)), [], "{}", golden.name);
    }
}

/// Captures of what docs/findings.md tells of break L25, and nothing else.
#[test]
fn captures_of_a_bug_break_the_rule_that_it_breaks() {
    for golden in captures(&folder(BUGS)) {
        let broken: Vec<&str> =
            broken(&judge(&golden.context, &golden.records)).into_iter().map(|(rule, _)| rule).collect();
        assert_eq!(broken, ["L25"], "{}", golden.name);
    }
}
