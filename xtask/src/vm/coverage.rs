//! The coverage of one kernel's tests: `testdata/coverage/`, from which docs/coverage.md is made.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use mmtrace_model::kernel_version::KernelVersion;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::workspace::Workspace;

/// Folder of the tables.
pub(crate) const FOLDER: &str = "testdata/coverage";

/// The sums over all recordings of a kernel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Coverage {
    /// `uname -r`
    pub(crate) release: String,
    /// Events by recording.
    pub(crate) events: BTreeMap<String, u64>,
    /// Events lost, in all.
    pub(crate) lost: u64,
    /// Probe runs missed, in all.
    pub(crate) missed: u64,
    /// Rules by id.
    pub(crate) rules: BTreeMap<String, Evaluated>,
    /// Maps of PTE tables that the walker compared, and those that disagreed.
    pub(crate) compared: u64,
    /// See there.
    pub(crate) divergences: u64,
    /// Cost of a run of each program, nanoseconds, where it was measured.
    pub(crate) ns: BTreeMap<String, u64>,
}

/// The results of a rule.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Evaluated {
    /// Number of evaluations.
    pub(crate) evaluations: u64,
    /// Number of violations; of a hazard, number of times that it was met.
    pub(crate) violations: u64,
    /// Reason why it cannot be observed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

impl Coverage {
    /// Adds a recording: its report, and what it said beside it.
    pub(super) fn add(&mut self, test: &str, report: &Value, stderr: &str) {
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        self.release = report["kernel"]["release"].as_str().unwrap_or_default().to_owned();
        self.events.insert(test.to_owned(), number(&report["events"]["total"]));
        self.lost += number(&report["lost"]);
        self.missed += number(&report["missed"]);
        self.compared += number(&report["walker"]["compared"]);
        self.divergences += number(&report["walker"]["divergences"]);
        for rule in report["rules"].as_array().into_iter().flatten() {
            let entry = self.rules.entry(rule["id"].as_str().unwrap_or_default().to_owned()).or_default();
            if rule["verdict"] == "not_observable" {
                // Where one recording can observe it, it is observable.
                if entry.evaluations == 0 {
                    entry.reason = rule["reason"].as_str().map(str::to_owned);
                }
                continue;
            }
            entry.reason = None;
            entry.evaluations += number(&rule["evaluations"]);
            entry.violations += number(&rule["violations"]);
        }
        for line in stderr.lines() {
            let cost = line.strip_prefix("mmtrace: cost of ").and_then(|rest| rest.split_once(": "));
            if let Some((event, rest)) = cost
                && let Some(ns) = rest.split(' ').next().and_then(|ns| ns.parse().ok())
            {
                self.ns.insert(event.to_owned(), ns);
            }
        }
    }

    /// Puts it into the checkout.
    pub(super) fn write(&self, workspace: &Workspace, series: KernelVersion) -> Result<String> {
        let path = workspace.path(FOLDER).join(format!("{series}.json"));
        fs::create_dir_all(workspace.path(FOLDER))?;
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(workspace.shown(&path).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn recordings_add_up() {
        let report = |verdict: &str| {
            json!({
                "kernel": {"release": "7.2"}, "events": {"total": 5}, "lost": 0, "missed": 1,
                "rules": [{"id": "L01", "verdict": verdict, "evaluations": 3, "violations": 0, "reason": "x"}],
                "walker": {"compared": 2, "divergences": 0},
            })
        };
        let mut coverage = Coverage::default();
        coverage.add("a", &report("not_observable"), "");
        assert_eq!(coverage.rules["L01"].reason.as_deref(), Some("x"));
        coverage.add("b", &report("held"), "mmtrace: cost of mmdrop: 120 ns each of 9 runs\n");
        coverage.add("c", &report("unknown"), "");
        assert_eq!((coverage.rules["L01"].evaluations, coverage.rules["L01"].reason.clone()), (6, None));
        assert_eq!((coverage.missed, coverage.compared, coverage.ns["mmdrop"]), (3, 6, 120));
    }
}
