//! Kinds of faults, as the workload that makes them counts them, and as a recording tells them.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use mmtrace_model::kernel_version::KernelVersion;
use serde_json::Value;

use crate::process;

/// No recording may take longer.
const LIMIT: Duration = Duration::from_secs(120);
/// So many faults of a thread, or of a forked child, may be those of its own beginning and end.
const OWN: u64 = 48;
/// The workload's name.
const WORKLOAD: &str = "fault-kinds";

/// The kinds that a fault of a kind, or of a thread, may be told as where functions are not recorded, beside the kind that
/// it is.
///
/// Where nothing is mapped at an address, the next VMA may be in another node of the VMA tree: then it is not known.
const WITHOUT_FUNCTIONS: &[(&str, &[&str])] = &[
    ("huge_first_touch", &["anonymous_first_touch"]),
    ("stack_growth", &["empty_entry", "first_touch", "refault"]),
    ("failed", &["empty_entry", "first_touch", "refault"]),
    ("userfaultfd", &["registered_page"]),
    ("fk-uffd-hole", &["registered_page"]),
];

/// The kinds that a thread's faults must not be told as where functions are not recorded: kinds that another thread's
/// faults in such a mapping are of.
const WRONG: &[(&str, &[&str])] =
    &[("fk-uffd-minor", &["shared_memory"]), ("fk-uffd-huge", &["hugetlb"]), ("fk-uffd-hole", &["userfaultfd"])];

/// The same, where the kernel's count of handled faults is not recorded either.
const WITHOUT_ENDS: &[(&str, &[&str])] = &[("cache_hit", &["file_page"]), ("major", &["file_page"])];

/// The same for a fault that the kernel counts as major, where it has no VMA locks.
const WITHOUT_VMA_LOCKS: &[(&str, &[&str])] = &[("major", &["major_retried"])];

/// Returns the other kinds that stand for the kind of a thread's faults, by what is recorded.
fn stand_ins(report: &Value, thread: &str, kind: &str) -> Vec<&'static str> {
    let counts = |event: &str| report["events"]["by_kind"][event].as_u64().is_some_and(|n| n > 0);
    if counts("handle_mm_fault_return") {
        return Vec::new();
    }
    let release = report["kernel"]["release"].as_str().and_then(|release| release.parse::<KernelVersion>().ok());
    let of_ends = match release {
        _ if !counts("page_faults_min") => WITHOUT_ENDS,
        Some(release) if release.has_vma_locks() => &[],
        _ => WITHOUT_VMA_LOCKS,
    };
    let rows = WITHOUT_FUNCTIONS.iter().chain(of_ends).filter(|(of, _)| *of == kind || *of == thread);
    rows.flat_map(|(_, others)| *others).copied().collect()
}

/// The faults of one kind that a thread of the workload made.
struct Made {
    thread: String,
    kind: String,
    count: u64,
}

/// Reads the workload's lines, as `fault-kinds/fk-major: 64 major`. Lines that say why a kind was not made are left out.
fn made(text: &str) -> Vec<Made> {
    let line = |line: &str| {
        let (thread, rest) = line.strip_prefix(WORKLOAD)?.strip_prefix('/')?.split_once(": ")?;
        let (count, kind) = rest.split_once(' ')?;
        let kind = kind.split([' ', ';', ',']).next()?.to_owned();
        Some(Made { thread: thread.to_owned(), kind, count: count.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

/// Compares what was made with what a report tells; says what is wrong.
fn compare(made: &[Made], report: &Value) -> Vec<String> {
    let functions = report["events"]["by_kind"]["handle_mm_fault_return"].as_u64().is_some_and(|n| n > 0);
    let mut wrong = Vec::new();
    say!("  {:<16} {:<22} {:>5}  told", "thread", "made", "");
    for Made { thread, kind, count } in made {
        let mut told: BTreeMap<String, u64> = BTreeMap::new();
        let mut rows = 0;
        for row in report["faults_by"].as_array().into_iter().flatten().filter(|row| row["thread"] == **thread) {
            rows += 1;
            for (kind, n) in row["causes"].as_object().into_iter().flatten() {
                *told.entry(kind.clone()).or_default() += n.as_u64().unwrap_or(0);
            }
        }
        let shown: Vec<String> = told.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        say!("  {thread:<16} {kind:<22} {count:>5}  {}", shown.join(", "));
        let accepted = std::iter::once(kind.as_str()).chain(stand_ins(report, thread, kind));
        let right: u64 = accepted.filter_map(|kind| told.get(kind)).sum();
        if right < *count {
            wrong
                .push(format!("of {count} faults {kind} by {thread}, {right} were told as such: {}", shown.join(", ")));
        }
        let told_wrong = WRONG.iter().filter(|(of, _)| of == thread).flat_map(|(_, kinds)| *kinds);
        for (kind, n) in told_wrong.filter_map(|kind| Some((kind, told.get(*kind)?))) {
            wrong.push(format!("{n} faults of {thread} were told as {kind}"));
        }
        // A handler of the signal may let the access fail a second time.
        let exact = told.get(kind).copied().unwrap_or(0);
        if functions && exact > 2 * count + OWN * rows {
            wrong.push(format!("{thread} made {count} faults {kind}, and {exact} were told"));
        }
    }
    wrong
}

/// Records the workload with functions, where there are any, and without; says what is wrong.
pub(super) fn check(mmtrace: &Path, root: &Path, folder: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let truth = folder.join("fault-kinds.txt");
    for (events, told) in [("", "all events"), ("-function", "no functions")] {
        say!("mmtrace record of the workload {WORKLOAD}: {told}");
        let mut record = process::command(mmtrace, root);
        record.args(["record", "--json", "--no-capture"]);
        record.args([events].iter().filter(|events| !events.is_empty()).flat_map(|events| ["-e", events]));
        record.args(["--", "sh", "-c", "exec $0 workload fault-kinds --seconds 30 --allow-swap >$1"]);
        let recorded = process::within(LIMIT, record.arg(mmtrace).arg(&truth))?;
        let report: Value = serde_json::from_slice(&recorded.stdout).unwrap_or_default();
        let text = std::fs::read_to_string(&truth).with_context(|| format!("cannot read {}", truth.display()))?;
        let made = made(&text);
        if made.is_empty() {
            wrong.push(format!("the workload {WORKLOAD} made nothing: {text}"));
        }
        wrong.extend(compare(&made, &report).into_iter().map(|what| format!("{told}: {what}")));
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kind_that_is_told_as_another_is_found() {
        let made = made("fault-kinds/fk-major: 64 major\nfault-kinds/fk-swap: not made: no swap\nfault-kinds: done\n");
        assert_eq!(made.len(), 1);
        let report = |kind: &str, ends: &str, release: &str| {
            json!({
                "faults_by": [{"thread": "fk-major", "causes": {kind: 64, "spurious": 1}}],
                "events": {"by_kind": {ends: 64}},
                "kernel": {"release": release},
            })
        };
        let (functions, counts) = ("handle_mm_fault_return", "page_faults_min");
        assert_eq!(compare(&made, &report("major", functions, "6.18.1")), Vec::<String>::new());
        assert_eq!(compare(&made, &report("major", counts, "6.18.1")), Vec::<String>::new());
        assert_eq!(compare(&made, &report("file_page", "page_fault_user", "6.18.1")), Vec::<String>::new());
        assert_eq!(compare(&made, &report("major_retried", counts, "6.1.9")), Vec::<String>::new());
        assert_eq!(compare(&made, &report("major_retried", counts, "6.18.1")).len(), 1);
        assert_eq!(compare(&made, &report("file_page", counts, "6.1.9")).len(), 1);
        assert_eq!(compare(&made, &report("file_page", counts, "6.18.1")).len(), 1);
        assert_eq!(compare(&made, &report("file_page", functions, "6.18.1")).len(), 1);
        assert_eq!(compare(&made, &report("cache_hit", "page_fault_user", "6.18.1")).len(), 1);
    }
}
