//! The comparison of a report with what a situation counted of itself.

use mmtrace_model::kernel_version::KernelVersion;
use serde_json::Value;

use super::{Caller, Case, Figure, Mode, Truth};

/// Lines of the report that must name the culprit.
const FIRST: usize = 10;
/// Calls and faults of a thread's own beginning and end, and those of its parent under its name.
pub(super) const FEW: u64 = 12;
/// Difference of two shares that is accepted, percentage points.
const POINTS: f64 = 5.0;

/// Says what is wrong in a report of a case: each with what was expected and what was seen. `text`: the report in words, if
/// there is one.
pub(crate) fn judge(case: &Case, truth: &Truth, report: &Value, text: Option<&str>) -> Vec<String> {
    if truth.is_empty() {
        return vec![format!("the workload {} counted nothing: {}", case.workload, truth.notes.join("; "))];
    }
    let mut wrong: Vec<String> = text.map_or_else(Vec::new, |text| unnamed(case, text));
    for figure in case.figures {
        wrong.extend(compared(figure, truth, report));
    }
    wrong
}

/// The culprits that the first lines do not name, and characters that a terminal obeys.
fn unnamed(case: &Case, text: &str) -> Vec<String> {
    let first: Vec<&str> = text.lines().take(FIRST).collect();
    let named = |words: &[&str]| first.iter().any(|line| words.iter().all(|word| line.contains(word)));
    let missing = case.told.iter().filter(|words| !named(words));
    let mut wrong: Vec<String> = missing
        .map(|words| {
            format!("expected a line with {words:?} among the first {FIRST} lines; seen:\n    {}", first.join("\n    "))
        })
        .collect();
    if let Some(line) = text.lines().find(|line| line.chars().any(char::is_control)) {
        wrong.push(format!("expected no control character in the report; seen: {line:?}"));
    }
    wrong
}

fn rows<'a>(report: &'a Value, table: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    report[table].as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The rows of a caller's use of mmap_locks.
fn lock_rows<'a>(report: &'a Value, (thread, call): Caller, mode: Mode) -> impl Iterator<Item = &'a Value> + use<'a> {
    let in_mode = move |row: &Value| mode == Mode::Both || row["write"] == (mode == Mode::Write);
    rows(report, "lock_users").filter(move |row| row["thread"] == thread && row["call"] == call && in_mode(row))
}

fn sum<'a, R: Iterator<Item = &'a Value>>(rows: R, of: impl Fn(&Value) -> u64) -> u64 {
    rows.fold(0, |sum, row| sum.saturating_add(of(row)))
}

/// Faults of a thread, in its own mode and in system calls; of these kinds only, if there are any.
fn faults(report: &Value, thread: &str, kinds: &[&str]) -> u64 {
    let rows = rows(report, "faults_by").filter(|row| row["thread"] == thread);
    let of_kinds = |row: &Value| kinds.iter().map(|kind| number(&row["causes"][kind])).sum();
    sum(rows, |row| if kinds.is_empty() { number(&row["count"]) } else { of_kinds(row) })
}

/// Whether a number is as expected, but for 5 % and a few.
fn is_near(expected: u64, seen: u64) -> bool {
    expected.abs_diff(seen) <= expected / 20 + FEW
}

fn shares(of: &[u64]) -> Vec<f64> {
    let all = of.iter().fold(0_u64, |sum, n| sum.saturating_add(*n)).max(1);
    of.iter().map(|n| 100.0 * *n as f64 / all as f64).collect()
}

fn percent(shares: &[f64]) -> String {
    shares.iter().map(|share| format!("{share:.1} %")).collect::<Vec<_>>().join(", ")
}

/// `Some`: these shares differ.
fn differ(what: &str, expected: &[u64], seen: &[u64]) -> Option<String> {
    let (expected, seen) = (shares(expected), shares(seen));
    let far = expected.iter().zip(&seen).any(|(expected, seen)| (expected - seen).abs() > POINTS);
    say!("  {what}: counted {}; told {}", percent(&expected), percent(&seen));
    far.then(|| format!("{what}: expected {}; seen {}", percent(&expected), percent(&seen)))
}

fn compared(figure: &Figure, truth: &Truth, report: &Value) -> Option<String> {
    let counted = |what: String, expected: u64, seen: u64, right: bool| {
        say!("  {what}: counted {expected}; told {seen}");
        (!right).then(|| format!("{what}: expected {expected}, seen {seen}"))
    };
    match *figure {
        Figure::Calls((thread, call), mode) => {
            let expected = truth.count(thread, call);
            let seen = sum(lock_rows(report, (thread, call), mode), |row| number(&row["acquired"]));
            counted(format!("acquisitions by {thread} in {call}"), expected, seen, is_near(expected, seen))
        }
        Figure::Holds(holders) => {
            let names: Vec<String> = holders.iter().map(|((thread, call), _)| format!("{thread} in {call}")).collect();
            let expected = holders.iter().map(|((thread, call), _)| truth.count(thread, &format!("{call} cpu ns")));
            let held = |row: &Value| number(&row["held"]["sum_ns"]);
            let seen = holders.iter().map(|(caller, mode)| sum(lock_rows(report, *caller, *mode), held));
            let (expected, seen): (Vec<u64>, Vec<u64>) = (expected.collect(), seen.collect());
            differ(&format!("shares of holds of {}", names.join(", ")), &expected, &seen)
        }
        Figure::Waits((thread, call)) => {
            let waited = sum(lock_rows(report, (thread, call), Mode::Both), |row| number(&row["contended"]["sum_ns"]));
            let run = (truth.seconds * 1e9) as u64;
            let split = |ns: u64| [ns, run.saturating_sub(ns)];
            let expected = truth.count(thread, &format!("{call} long ns"));
            differ(&format!("share of the run that {thread} waited in {call}"), &split(expected), &split(waited))
        }
        Figure::Behind(waiter, least, (thread, call)) => {
            let row = lock_rows(report, waiter, Mode::Write).max_by_key(|row| number(&row["contended"]["sum_ns"]));
            let row = row.unwrap_or(&Value::Null);
            let all = number(&row["contended"]["sum_ns"]);
            let of = |holder: &Value| 100 * number(&holder["ns"]) / all.max(1);
            let first = &row["behind"][0];
            let seen = format!("{} % behind {} in {}", of(first), first["thread"], first["call"]);
            let what = format!("waits of {} in {}", waiter.0, waiter.1);
            say!("  {what}: {seen}");
            let right = first["thread"] == thread && first["call"] == call && of(first) >= least;
            (!right).then(|| format!("{what}: expected {least} % and more behind {thread} in {call}; seen {seen}"))
        }
        Figure::Faults(threads) => {
            let expected: Vec<u64> = threads.iter().map(|thread| truth.count(thread, "faults")).collect();
            let seen: Vec<u64> = threads.iter().map(|thread| faults(report, thread, &[])).collect();
            differ(&format!("shares of faults of {}", threads.join(", ")), &expected, &seen)
        }
        Figure::Kinds(thread, kinds, what) => {
            let (expected, seen) = (truth.count(thread, what), faults(report, thread, kinds));
            counted(format!("faults {} by {thread}", kinds.join(", ")), expected, seen, is_near(expected, seen))
        }
        Figure::Read(thread) => {
            let release =
                report["kernel"]["release"].as_str().and_then(|release| release.parse::<KernelVersion>().ok());
            if report["fault_latency"].is_null() || !release.is_some_and(KernelVersion::has_vma_locks) {
                return None;
            }
            let (expected, seen) = (truth.count(thread, "major faults"), faults(report, thread, &["major"]));
            counted(format!("faults of {thread} that read a page"), expected, seen, is_near(expected, seen))
        }
        Figure::Mapping(name, thread) => {
            let rows = rows(report, "faults_by_mapping");
            let named = rows.filter(|row| row["mapping"].as_str().is_some_and(|mapping| mapping.contains(name)));
            let (expected, seen) = (truth.count(thread, "faults"), sum(named, |row| number(&row["count"])));
            counted(format!("faults in {name}"), expected, seen, is_near(expected, seen))
        }
        Figure::Name(path, shown) => {
            let (expected, seen) = (truth.count(path, "pages touched"), faults(report, shown, ANY));
            let right = expected > 0 && seen >= expected;
            if right {
                return None;
            }
            let names: Vec<&str> = rows(report, "faults_by").filter_map(|row| row["thread"].as_str()).collect();
            Some(format!(
                "name of {path}: expected {expected} faults of {shown}, seen {seen}; names are {}",
                names.join(" | ")
            ))
        }
        Figure::Events(kind, (thread, what)) => {
            let (expected, seen) = (truth.count(thread, what), number(&report["events"]["by_kind"][kind]));
            counted(format!("events {kind}"), expected, seen, expected > 0 && seen >= expected)
        }
    }
}

/// Every kind of fault.
const ANY: &[&str] = &[];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CASE: Case = Case {
        workload: "case-x",
        seconds: "1",
        told: &[&["Waits", "victim"], &["behind", "culprit"]],
        figures: &[
            Figure::Calls(("culprit", "mprotect"), Mode::Write),
            Figure::Waits(("victim", "mmap")),
            Figure::Behind(("victim", "mmap"), 50, ("culprit", "mprotect")),
            Figure::Kinds("victim", &["major"], "pages"),
            Figure::Holds(&[(("culprit", "mprotect"), Mode::Write), (("victim", "mmap"), Mode::Write)]),
        ],
    };

    fn report(culprit: &str, held: u64) -> Value {
        json!({
            "lock_users": [
                {"thread": culprit, "call": "mprotect", "write": true, "acquired": 1000, "held": {"sum_ns": held}},
                {"thread": "victim", "call": "mmap", "write": true, "acquired": 9, "held": {"sum_ns": 100},
                 "contended": {"sum_ns": 500_000_000},
                 "behind": [{"thread": culprit, "call": "mprotect", "write": true, "ns": 450_000_000}]},
            ],
            "faults_by": [{"thread": "victim", "count": 70, "causes": {"major": 66, "spurious": 4}}],
        })
    }

    #[test]
    fn a_report_that_names_another_culprit_is_found() {
        let truth = "case-x/culprit: 1000 mprotect, 900 mprotect cpu ns\n\
                     case-x/victim: 9 mmap, 100 mmap cpu ns, 510000000 mmap long ns, 64 pages\n\
                     case-x: done after 1.0 s\n";
        let truth = Truth::read("case-x", truth);
        let text = "held\nWaits most: victim: mmap\nof that 90 % behind culprit: mprotect\n";
        assert_eq!(judge(&CASE, &truth, &report("culprit", 900), Some(text)), [""; 0]);
        let wrong = judge(&CASE, &truth, &report("somebody", 900), Some("held\nWaits most: victim: mmap\n"));
        for part in ["expected a line with [\"behind\", \"culprit\"]", "expected 1000, seen 0", "seen 90 % behind"] {
            assert!(wrong.iter().any(|wrong| wrong.contains(part)), "{part}: {wrong:?}");
        }
        assert_eq!(judge(&CASE, &truth, &report("culprit", 600), None), [""; 0], "within 5 points");
        assert_eq!(judge(&CASE, &truth, &report("culprit", 300), None).len(), 1);
        assert_eq!(judge(&CASE, &Truth::default(), &report("culprit", 900), None).len(), 1);
    }
}
