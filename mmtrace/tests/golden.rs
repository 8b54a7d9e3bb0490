//! Captures of real kernels are judged today as they were when they were recorded.

#[path = "common/golden.rs"]
mod golden;
#[path = "common/judging.rs"]
mod judging;

use std::{fs, path::Path};

use golden::{TESTDATA, goldens};
use judging::{broken, judge};
use mmtrace::report::{Report, Style};

/// As `mmtrace replay --json` prints it. If a change of the model is meant to change
/// a report, replay the capture and check in what it prints.
#[test]
fn every_capture_replays_to_its_report() {
    for golden in goldens() {
        let engine = judge(&golden.context, &golden.records);
        let mut now = Vec::new();
        Report::new(&engine).print(true, Style::plain(), &mut now).expect("to memory");
        let now = String::from_utf8(now).expect("JSON is UTF-8");
        let report = Path::new(TESTDATA).join(&golden.name).join("report.json");
        let then = fs::read_to_string(report).expect("every capture has its report");
        for (number, (now, then)) in now.lines().zip(then.lines()).enumerate() {
            assert_eq!(now, then, "{}: line {} of the report", golden.name, number + 1);
        }
        assert_eq!(now, then, "{}", golden.name);
    }
}

/// The kernel that they were recorded on was sound.
#[test]
fn no_capture_breaks_a_rule() {
    for golden in goldens() {
        assert_eq!(broken(&judge(&golden.context, &golden.records)), [], "{}", golden.name);
    }
}
