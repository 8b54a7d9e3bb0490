//! The cases lane: recordings of situations whose culprit is known.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Outcome, Run, live};
use crate::{
    cases::{CASES, Case, Truth, judge},
    process, workspace,
};

/// No command of the lane may take longer.
const LIMIT: Duration = Duration::from_secs(60);
/// Times that a case is tried. Others use the machine too: a burst of theirs moves shares of time, and once more it does
/// not.
const TRIES: u32 = 3;

/// What the recorded command is called until its exec.
const BEFORE_EXEC: &str = "mmtrace's child";

/// Records each case, and compares the report with what the case counted of itself.
pub(super) fn lane(run: &mut Run) -> Result<Outcome> {
    let workspace = &run.workspace;
    let mmtrace = workspace::build(workspace, "mmtrace")?;
    if let Some(reason) = live::refusal(&mmtrace, &workspace.root)? {
        return Ok(Outcome::NotRun(reason));
    }
    let folder = workspace.target.join("ci/cases");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let (mut wrong, mut left_out) = (Vec::new(), Vec::new());
    for case in CASES {
        match tried(case, &mmtrace, &workspace.root, &folder)? {
            Tried::Right => {}
            Tried::Wrong(of_case) => {
                let of_case = of_case.into_iter().map(|what| format!("{}: {what}", case.workload));
                wrong.extend(of_case.inspect(|what| say!("{what}")));
            }
            Tried::Not(reason) => {
                say!("{}: not made here: {reason}", case.workload);
                left_out.push(format!("{} ({reason})", case.workload));
            }
        }
    }
    let made = CASES.len() - left_out.len();
    let without = if left_out.is_empty() { String::new() } else { format!("; not made here: {}", left_out.join(", ")) };
    if wrong.is_empty() {
        return Ok(Outcome::Passed(format!("{made} cases, each told as it was{without}")));
    }
    say!("the captures and reports: {}", workspace.shown(&folder));
    Ok(Outcome::Failed(format!("{}{without}", wrong.join("; "))))
}

enum Tried {
    Right,
    Wrong(Vec<String>),
    /// The kernel lacks something: what.
    Not(String),
}

fn tried(case: &Case, mmtrace: &Path, root: &Path, folder: &Path) -> Result<Tried> {
    let mut last = Vec::new();
    for _ in 0..TRIES {
        match once(case, mmtrace, root, folder)? {
            Tried::Wrong(wrong) => {
                say!("{}", wrong.join("\n"));
                last = wrong;
            }
            other => return Ok(other),
        }
    }
    Ok(Tried::Wrong(last))
}

/// One recording and its replay.
fn once(case: &Case, mmtrace: &Path, root: &Path, folder: &Path) -> Result<Tried> {
    let [capture, json, text] = ["", ".json", ".txt"].map(|what| folder.join(format!("{}{what}", case.workload)));
    for old in [&capture, &folder.join(format!("{}.old", case.workload))] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    let start = Instant::now();
    let mut record = process::command(mmtrace, root);
    record.args(["record", "--json", "--report"]).arg(&json).arg("-o").arg(&capture).arg("--").arg(mmtrace);
    record.args(["workload", case.workload, "--seconds", case.seconds]);
    let recorded = process::within(LIMIT, &mut record)?;
    let printed = String::from_utf8_lossy(&recorded.stdout);
    let report = fs::read(&json).with_context(|| format!("cannot read {}", json.display()))?;
    let replay = |more: &[&str]| {
        let mut replay = process::command(mmtrace, root);
        process::within(LIMIT, replay.arg("replay").args(more).arg(&capture))
    };
    let (replayed, told) = (replay(&["--json"])?, replay(&[])?);
    fs::write(&text, &told.stdout)?;
    say!("{} ({:.1} s)", case.workload, start.elapsed().as_secs_f64());

    let truth = Truth::read(case.workload, &printed);
    if let Some(reason) = truth.notes.first()
        && truth.is_empty()
    {
        return Ok(Tried::Not(reason.clone()));
    }
    let mut wrong = Vec::new();
    if replayed.stdout != report {
        wrong.push("expected the report of the recording from its replay; seen another one".to_owned());
    }
    let report: Value = serde_json::from_slice(&report).context("the report is no JSON")?;
    wrong.extend(live::problems(&report));
    let holds = report["lock_users"].as_array().map_or(&[][..], Vec::as_slice);
    if !holds.iter().any(|row| row["thread"] == BEFORE_EXEC) {
        wrong.push(format!("expected holds of \"{BEFORE_EXEC}\", before it becomes the command; seen none"));
    }
    wrong.extend(judge(case, &truth, &report, Some(&String::from_utf8_lossy(&told.stdout))));
    Ok(if wrong.is_empty() { Tried::Right } else { Tried::Wrong(wrong) })
}
