//! The live lane: this kernel, under load.

use std::{
    fs,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use mmtrace_common::SPECS;
use serde_json::Value;

use super::{Outcome, Run, endings, fault_kinds};
use crate::{process, workspace};

/// Recording is to last so long.
const SECONDS: u64 = 20;
/// And that with standby programs, which this kernel may not need: what they do is to make no difference.
const STANDBY_SECONDS: u64 = 6;
/// Of a single process that forks for seconds there are many times as many.
const FAULTS_MIN: u64 = 1000;
/// No command of the lane may take longer.
const LIMIT: Duration = Duration::from_secs(300);
/// So many recorders are killed.
const KILLS: u32 = 20;
/// Time from the beginning of the first one's capture to its kill.
const FIRST_KILL: Duration = Duration::from_millis(3);
/// Time by which each further one is killed later than the one before.
const NEXT_KILL: Duration = Duration::from_millis(67);

/// Records, judges, replays.
pub(super) fn lane(run: &mut Run) -> Result<Outcome> {
    let workspace = &run.workspace;
    let mmtrace = workspace::build(workspace, "mmtrace")?;
    if let Some(reason) = refusal(&mmtrace, &workspace.root)? {
        return Ok(Outcome::NotRun(reason));
    }
    let folder = workspace.target.join("ci");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let sessions = |seconds: u64, standby: Option<&str>| {
        let mut session = record_and_replay(&mmtrace, &workspace.root, &folder, seconds, standby)?;
        if session.only_missing {
            // Others use the machine too: a burst of theirs is no finding, a second one is.
            say!("{}; nothing else is wrong: once more", session.wrong.join("; "));
            session = record_and_replay(&mmtrace, &workspace.root, &folder, seconds, standby)?;
        }
        anyhow::Ok(session)
    };
    let with_standby = sessions(STANDBY_SECONDS, Some("2"))?;
    let mut session = sessions(SECONDS, None)?;
    session.wrong.extend(with_standby.wrong.into_iter().map(|wrong| format!("with standby programs: {wrong}")));
    session.wrong.extend(filters(&mmtrace, &workspace.root)?);
    session.wrong.extend(sheds(&mmtrace, &workspace.root, &folder)?);
    session.wrong.extend(fault_kinds::check(&mmtrace, &workspace.root, &folder)?);
    session.wrong.extend(kills(&mmtrace, &workspace.root, &folder)?);
    session.wrong.extend(endings::all(&mmtrace, &workspace.root, &folder)?);
    if session.wrong.is_empty() {
        let events = &session.report["events"]["total"];
        return Ok(Outcome::Passed(format!(
            "{events} events, none lost; held; replay says the same; {KILLS} killed recorders left captures that replay"
        )));
    }
    say!("the reports: {0}/record.json, {0}/replay.json", workspace.shown(&folder));
    Ok(Outcome::Failed(session.wrong.join("; ")))
}

/// One recording and its replay.
struct Session {
    report: Value,
    /// Findings that the lane does not accept.
    wrong: Vec<String>,
    /// That is events that are missing, and what follows from that.
    only_missing: bool,
}

fn record_and_replay(
    mmtrace: &Path,
    root: &Path,
    folder: &Path,
    seconds: u64,
    standby: Option<&str>,
) -> Result<Session> {
    let capture = folder.join("capture");
    for old in [&capture, &folder.join("capture.old")] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    let mut record = process::command(mmtrace, root);
    record.args(["record", "--seconds", &seconds.to_string(), "--workload", "all", "--json", "-o"]).arg(&capture);
    record.args(standby.into_iter().flat_map(|n| ["--standby", n]));
    let told = standby.map_or_else(String::new, |n| format!(" --standby {n}"));
    say!("mmtrace record --seconds {seconds} --workload all --json{told}");
    let recorded = process::within(LIMIT, &mut record)?;
    fs::write(folder.join("record.json"), &recorded.stdout)?;
    if recorded.stdout.is_empty() {
        bail!("mmtrace record ended with {} and no report", recorded.status);
    }
    let report: Value = serde_json::from_slice(&recorded.stdout).context("what mmtrace record printed is no JSON")?;
    tell(&report);

    say!("mmtrace replay --json");
    let mut replay = process::command(mmtrace, root);
    let replayed = process::within(LIMIT, replay.args(["replay", "--json"]).arg(&capture))?;
    fs::write(folder.join("replay.json"), &replayed.stdout)?;

    let mut wrong = Vec::new();
    if !recorded.status.success() {
        wrong.push(format!("mmtrace record ended with {}", recorded.status));
    }
    if replayed.stdout != recorded.stdout {
        wrong.push(format!("replay differs from record{}", first_difference(&recorded.stdout, &replayed.stdout)));
    }
    let missing = ["lost", "missed"].iter().any(|field| report[field].as_u64().is_some_and(|n| n > 0));
    let only_missing = wrong.is_empty() && missing && report["verdict"] == "unknown";
    wrong.extend(problems(&report));
    Ok(Session { report, wrong, only_missing })
}

/// Recordings of single processes: shell commands in which `$0` is mmtrace and `$1` what makes some seconds of forks.
///
/// Each ends by itself.
const FILTERS: &[(&str, &str)] = &[
    (
        "a command, of whose events one is wanted",
        "exec $0 record -e only:page_fault_user --json --no-capture -- sh -c \"$1\"",
    ),
    ("a command, without forks", "exec $0 record -e -sched_process_fork --json --no-capture -- sh -c \"$1\""),
    ("a process that ends", "sh -c \"$1\" & exec $0 record --json --no-capture -p $!"),
    (
        "a command in a pid namespace",
        "exec unshare --pid --fork --mount-proc $0 record --json --no-capture -- sh -c \"$1\"",
    ),
    (
        "a process in a pid namespace",
        "exec unshare --pid --fork --mount-proc sh -c 'sh -c \"$1\" & $0 record --json --no-capture -p $!' $0 \"$1\"",
    ),
];
/// Some seconds of forks, each of which makes page faults in parent and child: more than a busy machine needs to attach.
const FORKS: &str = "i=0; while [ $i -lt 20000 ]; do (:); i=$((i+1)); done";

/// Records single processes; says of which too little was seen.
fn filters(mmtrace: &Path, root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (what, script) in FILTERS {
        say!("mmtrace record of {what}");
        let mut shell = process::command("sh", root);
        let recorded = process::within(LIMIT, shell.args(["-c", script]).arg(mmtrace).arg(FORKS))?;
        let report: Value = serde_json::from_slice(&recorded.stdout).unwrap_or_default();
        let faults = report["events"]["by_kind"]["page_fault_user"].as_u64().unwrap_or(0);
        say!("  {faults} page faults");
        if faults < FAULTS_MIN {
            wrong.push(format!("of {what} {faults} page faults were recorded"));
        }
        if !recorded.status.success() {
            wrong.push(format!("mmtrace record of {what} ended with {}", recorded.status));
        }
    }
    Ok(wrong)
}

/// Records with a limit that no recording keeps: what is shed is no violation, and replay says the same.
fn sheds(mmtrace: &Path, root: &Path, folder: &Path) -> Result<Vec<String>> {
    let capture = folder.join("shed");
    if capture.exists() {
        fs::remove_dir_all(&capture).with_context(|| format!("cannot remove {}", capture.display()))?;
    }
    let words = ["record", "--max-overhead", "0.01", "--seconds", "4", "--workload", "faults", "--json", "-o"];
    say!("mmtrace {}", words[..words.len() - 1].join(" "));
    let recorded = process::within(LIMIT, process::command(mmtrace, root).args(words).arg(&capture))?;
    let replayed = process::within(LIMIT, process::command(mmtrace, root).args(["replay", "--json"]).arg(&capture))?;
    let report: Value = serde_json::from_slice(&recorded.stdout).unwrap_or_default();
    let cost = &report["recording_cost"];
    say!("  {cost}");
    let mut wrong = Vec::new();
    if cost["shed"].as_array().is_none_or(Vec::is_empty) {
        wrong.push("--max-overhead 0.01 shed nothing".to_owned());
    }
    if !recorded.status.success() {
        wrong.push(format!("mmtrace record --max-overhead 0.01 ended with {}", recorded.status));
    }
    if replayed.stdout != recorded.stdout {
        let differs = first_difference(&recorded.stdout, &replayed.stdout);
        wrong.push(format!("replay of what --max-overhead left differs from record{differs}"));
    }
    Ok(wrong)
}

/// Kills recorders at all sorts of moments, under load; says which captures do not replay.
fn kills(mmtrace: &Path, root: &Path, folder: &Path) -> Result<Vec<String>> {
    say!("kill -9 of {KILLS} recorders, after {FIRST_KILL:?} and {NEXT_KILL:?} more each");
    let capture = folder.join("killed");
    let mut load = process::command(mmtrace, root);
    let mut load =
        load.args(["workload", "mmap", "--seconds", "120", "--memory", "64M"]).stdout(Stdio::null()).spawn()?;
    let mut wrong = Vec::new();
    for kill in 0..KILLS {
        if capture.exists() {
            fs::remove_dir_all(&capture).with_context(|| format!("cannot remove {}", capture.display()))?;
        }
        let mut record = process::command(mmtrace, root);
        record.args(["record", "--json", "-o"]).arg(&capture).stdout(Stdio::null()).stderr(Stdio::null());
        let mut record = record.spawn()?;
        // Until there is a capture, there is nothing to lose.
        let patience = Instant::now() + LIMIT;
        while !capture.join("manifest.json").exists() && Instant::now() < patience && record.try_wait()?.is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(FIRST_KILL + NEXT_KILL * kill);
        record.kill()?;
        record.wait()?;
        let replayed =
            process::within(LIMIT, process::command(mmtrace, root).args(["replay", "--json"]).arg(&capture))?;
        if !replayed.status.success() {
            wrong.push(format!("the capture of killed recorder {} replays with {}", kill + 1, replayed.status));
        }
    }
    // It may have ended by itself.
    let _ = load.kill();
    load.wait()?;
    Ok(wrong)
}

/// Returns the reason why nothing can be recorded here, in the doctor's words; `None` if recording is possible.
pub(super) fn refusal(mmtrace: &Path, root: &Path) -> Result<Option<String>> {
    let doctor = process::within(LIMIT, process::command(mmtrace, root).args(["doctor", "--json"]))?;
    if doctor.status.success() {
        return Ok(None);
    }
    let report: Value = serde_json::from_slice(&doctor.stdout)
        .with_context(|| format!("mmtrace doctor ended with {} and no report", doctor.status))?;
    let findings = report["environment"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(finding) = findings.iter().find(|f| f["status"] == "fail") else {
        return Ok(Some("mmtrace doctor: no probe can be attached".to_owned()));
    };
    let text = |field: &str| finding[field].as_str();
    let mut reason = format!("mmtrace doctor: {}: {}", text("name").unwrap_or("?"), text("value").unwrap_or("?"));
    for (label, field) in [("so", "consequence"), ("fix", "fix")] {
        if let Some(more) = text(field) {
            reason.push_str(&format!("; {label}: {more}"));
        }
    }
    Ok(Some(reason))
}

/// Events per second, evaluations per rule, and what did not happen.
fn tell(report: &Value) {
    let total = report["events"]["total"].as_u64().unwrap_or(0);
    let seconds = report["seconds"].as_f64().unwrap_or(0.0);
    let rate = if seconds > 0.0 { total as f64 / seconds } else { 0.0 };
    say!("  {total} events in {seconds:.1} s: {rate:.0} a second");
    for rule in rules(report) {
        let reason = rule["reason"].as_str().map_or_else(String::new, |r| format!("  ({r})"));
        let evaluations = rule["evaluations"].as_u64().unwrap_or(0);
        say!("  {:<4} {:<14} {evaluations:>12} evaluations{reason}", text(rule, "id"), text(rule, "verdict"));
    }
    let happened = |name: &str| report["events"]["by_kind"].get(name).is_some();
    let absent: Vec<&str> =
        SPECS.iter().filter(|s| !s.kind.is_synthetic() && !happened(s.name)).map(|s| s.name).collect();
    say!("  did not occur: {}", if absent.is_empty() { "none".to_owned() } else { absent.join(", ") });
}

fn rules(report: &Value) -> impl Iterator<Item = &Value> {
    report["rules"].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Returns the findings in a report that the lane does not accept.
pub(super) fn problems(report: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if report["lost"].as_u64() != Some(0) {
        wrong.push(format!("lost {} events", report["lost"]));
    }
    if report["verdict"] != "held" {
        let unknown = rules(report).filter(|rule| rule["verdict"] == "unknown");
        let unknown: Vec<String> =
            unknown.map(|rule| format!("{}: {}", text(rule, "id"), text(rule, "reason"))).collect();
        let why = if unknown.is_empty() { String::new() } else { format!(" ({})", unknown.join(", ")) };
        wrong.push(format!("verdict {}{why}", report["verdict"]));
    }
    for violation in report["violations"].as_array().map_or(&[][..], Vec::as_slice) {
        wrong.push(format!("{} violated: {}", violation["rule"], violation["what"]));
    }
    wrong
}

fn first_difference(a: &[u8], b: &[u8]) -> String {
    let (a, b) = (String::from_utf8_lossy(a), String::from_utf8_lossy(b));
    match a.lines().zip(b.lines()).enumerate().find(|(_, (a, b))| a != b) {
        Some((line, (a, b))) => format!(" at line {}: {} / {}", line + 1, a.trim(), b.trim()),
        None => " in length".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_clean_report_is_accepted() {
        let good = json!({"lost": 0, "verdict": "held", "violations": []});
        assert!(problems(&good).is_empty());
        let bad = json!({"lost": 3, "verdict": "violated", "violations": [{"rule": "L01", "what": "two writers"}]});
        assert_eq!(problems(&bad), ["lost 3 events", "verdict \"violated\"", "\"L01\" violated: \"two writers\""]);
        assert_eq!(problems(&json!({})).len(), 2);
        let missing = json!({"lost": 0, "verdict": "unknown", "rules": [
            {"id": "L07", "verdict": "unknown", "reason": "1 event that it needs is missing"},
            {"id": "L08", "verdict": "held"},
        ]});
        assert_eq!(problems(&missing), ["verdict \"unknown\" (L07: 1 event that it needs is missing)"]);
    }

    #[test]
    fn a_difference_is_shown_where_it_begins() {
        assert_eq!(first_difference(b"{\n \"a\": 1\n}", b"{\n \"a\": 2\n}"), " at line 2: \"a\": 1 / \"a\": 2");
        assert_eq!(first_difference(b"a", b"a\nb"), " in length");
    }
}
