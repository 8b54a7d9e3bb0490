//! docs/report.md

use super::markdown::{code, head, table};

/// A field of the JSON report: path, type, whether it is always there, meaning. A test holds the table to the
/// reports in testdata/.
const FIELDS: &[(&str, &str, bool, &str)] = &[
    ("kernel.release", "string", true, "`uname -r` of the kernel that was watched"),
    ("kernel.version", "string", true, "`uname -v`"),
    ("kernel.machine", "string", true, "`uname -m`"),
    ("kernel.cpus", "number", true, "CPUs that the kernel may ever have"),
    ("seconds", "number", true, "from the first to the last event"),
    ("filter", "string", false, "whose events were recorded; absent when everybody's"),
    ("events.total", "number", true, "events"),
    ("events.by_kind.EVENT", "number", false, "events of this kind; those that did not happen are absent"),
    ("lost", "number", true, "events that the ring buffers had no room for"),
    ("missed", "number", true, "events that are missing because the kernel skipped the probe's run"),
    ("gaps", "number", true, "places where the capture could not be read"),
    (
        "foreign",
        "number",
        true,
        "records in the rings that no program of mmtrace can have written: each may stand for an event that is missing, \
         of a kind that nobody knows",
    ),
    (
        "faults.CAUSE",
        "number",
        false,
        "page faults by cause; causes that did not happen are absent. `pagefault_disabled`: taken in the kernel with page \
         faults disabled, and not handled, as when a profiler reads user memory in an interrupt",
    ),
    (
        "faults_coverage.counted",
        "number",
        false,
        "faults that `faults` is made of; all of `faults_coverage` is absent with `--no-validate`",
    ),
    (
        "faults_coverage.of",
        "number",
        false,
        "faults that there were: those that were seen, and those known to be missing",
    ),
    ("faults_coverage.or_more", "boolean", false, "there were more than `of`, and nobody knows how many"),
    (
        "walker.born",
        "number",
        false,
        "PTE tables that were allocated and linked; all of `walker` is absent when nothing was seen of page tables",
    ),
    ("walker.unlinked", "number", false, "tables that a collapse has unlinked"),
    ("walker.deferred", "number", false, "tables to be freed after a grace period"),
    ("walker.freed", "number", false, "tables freed after it"),
    ("walker.torn_down", "number", false, "tables freed by munmap, exit or reclaim"),
    ("walker.maps", "number", false, "maps of PTE tables"),
    ("walker.compared", "number", false, "maps held against the PMD entry that they went by, or what was known of it"),
    ("walker.foretold", "number", false, "maps that were foretold from earlier events, and came true"),
    (
        "walker.resynchronised",
        "number",
        false,
        "maps that came out otherwise: something has changed that no event tells of",
    ),
    ("walker.divergences", "number", false, "maps that contradict the PMD entry that they went by"),
    ("walker.without_table", "number", false, "maps that found no table"),
    (
        "walker.hazards.RULE",
        "number",
        false,
        "times that this hazard of walks was met; absent if it cannot be observed",
    ),
    ("rules[]", "array", true, "one entry per rule, in the order of `mmtrace rules`; empty with `--no-validate`"),
    ("rules[].id", "string", true, "the rule: [rules.md](rules.md)"),
    ("rules[].verdict", "string", true, "`held`, `violated`, `unknown` or `not_observable`"),
    ("rules[].evaluations", "number", true, "times that it was evaluated"),
    ("rules[].violations", "number", true, "times that it was broken; for a hazard, times that it was met"),
    (
        "rules[].unjudged",
        "number",
        true,
        "times that it applied and could not be judged, since what it rests on began before recording",
    ),
    ("rules[].severity", "string", true, "`violation`, `consistency`, `hazard` or `measure`"),
    ("rules[].reason", "string", false, "why the verdict is unknown or not observable"),
    ("rules[].measured.count", "number", false, "what a measuring rule measured: number of intervals"),
    ("rules[].measured.p50_ns", "number", false, "median, nanoseconds"),
    ("rules[].measured.p99_ns", "number", false, "99 of 100 were not longer"),
    ("rules[].measured.max_ns", "number", false, "longest"),
    ("rules[].measured.sum_ns", "number", false, "all together"),
    (
        "rules[].coverage.counted",
        "number",
        false,
        "how much of what there was a measuring rule has measured (of M01 to M03: followed); `coverage` is absent for \
         other rules, and for those that are not observable",
    ),
    (
        "rules[].coverage.of",
        "number",
        false,
        "all that there was, as far as is known: seen, or known to be missing, as if each missing event had been one",
    ),
    ("rules[].coverage.or_more", "boolean", false, "there was more than `of`, and nobody knows how much"),
    ("rules[].worst[]", "array", false, "the longest of what was measured, where it says who waited for whom"),
    ("rules[].worst[].waiter", "number", true, "the task that waited for a migration"),
    ("rules[].worst[].writer", "number", true, "the task that waited for that one, to write"),
    ("rules[].worst[].mm", "string", true, "the mm, a kernel pointer in hexadecimal"),
    ("rules[].worst[].vma", "string", true, "the VMA that the waiter held for reading; `0x0`: it held the mmap_lock"),
    ("rules[].worst[].addr", "string", true, "the address that it faulted on"),
    ("rules[].worst[].ns", "number", true, "how long both waited"),
    ("violations[]", "array", true, "the first violations of each rule"),
    ("violations[].rule", "string", true, "the rule"),
    ("violations[].statement", "string", true, "what must be true"),
    ("violations[].what", "string", true, "what happened, in one sentence"),
    ("violations[].seconds", "number", true, "when: seconds after recording began"),
    ("violations[].mm", "string", false, "the mm, a kernel pointer in hexadecimal"),
    ("violations[].tids[]", "number", true, "the tasks that took part"),
    ("violations[].events[]", "array", true, "what led to it, oldest first"),
    (
        "violations[].events[].ns",
        "number",
        true,
        "nanoseconds before the violation was noticed, negative; 0 for the event that showed it",
    ),
    ("violations[].events[].cpu", "number", true, "CPU"),
    ("violations[].events[].tid", "number", true, "task"),
    ("violations[].events[].pid", "number", true, "process"),
    ("violations[].events[].event", "string", true, "the event with its values"),
    (
        "verdict",
        "string",
        false,
        "`violated`: something was; `unknown`: nothing was, but events that a rule needs are missing, or nothing was \
         evaluated; `held`: neither. Absent with `--no-validate`",
    ),
];

const INTRO: &str = "
What `mmtrace record --json` and `mmtrace replay --json` print: one JSON object. A field keeps its name and its meaning;
new ones may be added. Replaying a capture prints, byte for byte, what its recording did. Exit status: 0 nothing
violated, 1 something was, 2 error.

In a path, `[]` is each entry of an array, and a word in capitals any key.

";

/// The page.
pub(super) fn page() -> String {
    let mut text =
        head("The report as JSON", "xtask/src/docs/report.rs, which a test holds to the reports in testdata/");
    text.push_str(INTRO);
    text.push_str(&table(
        &["field", "type", "always", "meaning"],
        FIELDS.iter().map(|(path, ty, always, meaning)| {
            vec![code(path), (*ty).into(), if *always { "yes" } else { "no" }.into(), (*meaning).into()]
        }),
    ));
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use mmtrace_model::{
        context::Context,
        model::{measures::Overlap, page_tables::shadow::Counts},
        report::{Story, Walker},
        verdict::{RULES, Violation},
    };
    use serde_json::Value;

    use super::*;

    /// Every path of a value, as the table writes it.
    fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let key = match path {
                        "events.by_kind" => "EVENT",
                        "faults" => "CAUSE",
                        "walker.hazards" => "RULE",
                        _ => key,
                    };
                    let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                    paths(value, &path, found);
                }
            }
            Value::Array(entries) => {
                found.insert(format!("{path}[]"));
                for value in entries {
                    paths(value, &format!("{path}[]"), found);
                }
            }
            _ => drop(found.insert(path.to_owned())),
        }
    }

    /// A violation, which no recorded report has.
    fn story() -> Value {
        let rule = &RULES[0];
        let events = vec![mmtrace_common::Record { kind: 1, ..mmtrace_common::Record::default() }];
        let violation = Violation { rule: rule.id, ts: 1, mm: 2, tids: vec![3], what: "what".into(), events };
        serde_json::to_value(Story::new(&violation, &Context::default())).expect("JSON")
    }

    /// Nor such a measurement.
    fn overlap() -> Value {
        let overlap = Overlap { rule: "M01", waiter: 1, writer: 2, mm: 3, vma: 4, addr: 5, ns: 6 };
        serde_json::to_value(overlap).expect("JSON")
    }

    /// Nor page tables: they are recorded with tracepoints alone.
    fn walker() -> Value {
        let hazards = [("H01", 1)].into();
        serde_json::to_value(Walker { counts: Counts::default(), hazards }).expect("JSON")
    }

    #[test]
    fn the_table_has_every_field_of_the_recorded_reports_and_no_other() {
        let mut found = BTreeSet::new();
        let mut reports = 0;
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
        for capture in fs::read_dir(testdata).expect("testdata/") {
            let Ok(text) = fs::read(capture.expect("an entry").path().join("report.json")) else { continue };
            paths(&serde_json::from_slice(&text).expect("JSON"), "", &mut found);
            reports += 1;
        }
        assert!(reports > 0, "testdata/ has no report.json");
        paths(&story(), "violations[]", &mut found);
        paths(&overlap(), "rules[].worst[]", &mut found);
        found.insert("rules[].worst[]".to_owned());
        paths(&walker(), "walker", &mut found);
        found.insert("filter".to_owned());
        let table: BTreeSet<String> = FIELDS.iter().map(|f| f.0.to_owned()).collect();
        let missing: Vec<_> = found.difference(&table).collect();
        let extra: Vec<_> = table.difference(&found).collect();
        assert!(missing.is_empty() && extra.is_empty(), "not in the table: {missing:?}; only in the table: {extra:?}");
    }
}
