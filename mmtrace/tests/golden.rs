//! Captures of real kernels are judged today as they were when they were recorded.

#[path = "common/golden.rs"]
mod golden;

use std::{
    fs,
    path::{Path, PathBuf},
};

use mmtrace_model::report::{Report, Style};
use mmtrace_testing::judging::{broken, judge};

use golden::{Golden, TESTDATA, captures, goldens};

/// Captures of bugs that kernels have (docs/findings.md).
const BUGS: &str = "bugs";
/// Captures in which runs of probes were missed, so that rules are unknown.
const MISSED: &str = "missed";

fn folder(name: &str) -> PathBuf {
    Path::new(TESTDATA).join(name)
}

/// As `mmtrace replay --json` prints it. If a change of the model is meant to change
/// a report, replay the capture and check in what it prints.
#[test]
fn every_capture_replays_to_its_report() {
    for folder in [folder(""), folder(BUGS), folder(MISSED)] {
        for golden in captures(&folder) {
            replays_to_its_report(&golden, &folder);
        }
    }
}

fn replays_to_its_report(golden: &Golden, folder: &Path) {
    let engine = judge(&golden.context, &golden.records);
    let mut now = Vec::new();
    Report::new(&engine).print(true, Style::plain(), &mut now).expect("to memory");
    let now = String::from_utf8(now).expect("JSON is UTF-8");
    let report = folder.join(&golden.name).join("report.json");
    let then = fs::read_to_string(report).expect("every capture has its report");
    for (number, (now, then)) in now.lines().zip(then.lines()).enumerate() {
        assert_eq!(now, then, "{}: line {} of the report", golden.name, number + 1);
    }
    assert_eq!(now, then, "{}", golden.name);
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
