//! The judgement of a machine's results.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use mmtrace_model::kernel_version::KernelVersion;
use serde_json::Value;
use xtask::guest::{DONE, Done, KEPT, STDERR, STDOUT, archive::Contents};

use super::{
    coverage::Coverage,
    table::{Expect, Test, tests},
};
use crate::cases::{self, Truth};

/// The judgement of one kernel.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// A line per test, and what goes with it.
    pub(super) told: Vec<String>,
    /// Findings that are not accepted.
    pub(super) wrong: Vec<String>,
    /// Report of the doctor.
    pub(super) doctor: Option<Value>,
    /// Of the first recording.
    pub(super) manifest: Option<Value>,
    /// Sums over all recordings.
    pub(super) coverage: Coverage,
}

/// Puts the files of the results into a folder.
pub(super) fn store(results: &Contents, folder: &Path) -> Result<()> {
    for (name, content) in &results.files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Judges every test of the table that is for this kernel.
pub(super) fn judge(results: &Contents, kernel: KernelVersion) -> Judgement {
    judge_tests(results, tests(kernel))
}

fn judge_tests(results: &Contents, tests: impl Iterator<Item = &'static Test>) -> Judgement {
    let mut judgement = Judgement::default();
    for test in tests {
        let mut wrong = Vec::new();
        let told = one(test, results, &mut judgement, &mut wrong);
        judgement.told.push(format!("{:<15} {told}", test.name));
        judgement.wrong.extend(wrong.into_iter().map(|what| format!("{}: {what}", test.name)));
    }
    if !results.complete {
        judgement.wrong.push("the machine ended before its last step was done".to_owned());
    }
    judgement
}

/// Shows what one step printed; says what is wrong with how it ended.
pub(super) fn show(results: &Contents, step: &str) -> Option<String> {
    for name in [STDOUT, STDERR] {
        let printed = String::from_utf8_lossy(file(results, step, name).unwrap_or_default());
        if !printed.is_empty() {
            say!("{}", printed.trim_end());
        }
    }
    let done = file(results, step, DONE).and_then(|done| serde_json::from_slice::<Done>(done).ok());
    let Some(done) = done else { return Some("it was not done".to_owned()) };
    let failed = || (done.status != Some(0)).then(|| format!("it ended with {}", done.status.unwrap_or(-1)));
    done.trouble.clone().or_else(failed)
}

fn file<'r>(results: &'r Contents, test: &str, name: &str) -> Option<&'r [u8]> {
    let path = format!("{test}/{name}");
    results.files.iter().find(|(p, _)| *p == path).map(|(_, content)| content.as_slice())
}

/// One test: says what came of it, and adds what is wrong.
fn one(test: &Test, results: &Contents, judgement: &mut Judgement, wrong: &mut Vec<String>) -> String {
    let done = file(results, test.name, DONE).and_then(|done| serde_json::from_slice::<Done>(done).ok());
    let Some(done) = done else {
        wrong.push("it was not done".to_owned());
        return "not done".to_owned();
    };
    let stdout = file(results, test.name, STDOUT).unwrap_or_default();
    if let Some(trouble) = &done.trouble {
        wrong.push(trouble.clone());
    } else if !statuses(test.expect, stdout).contains(&done.status.unwrap_or(-1)) {
        let stderr = String::from_utf8_lossy(file(results, test.name, STDERR).unwrap_or_default());
        let said = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        wrong.push(format!("it ended with {}: {said}", done.status.unwrap_or(-1)));
    }
    let told = match test.expect {
        Expect::Same(other) => {
            let same = !stdout.is_empty() && file(results, other, STDOUT) == Some(stdout);
            if !same {
                wrong.push(format!("it does not print what {other} printed"));
            }
            if same { format!("the same as {other}") } else { format!("not the same as {other}") }
        }
        Expect::Doctor => match serde_json::from_slice::<Value>(stdout) {
            Ok(doctor) => {
                let told = examine(&doctor, wrong);
                judgement.doctor = Some(doctor);
                told
            }
            Err(error) => no_json(&error, wrong),
        },
        Expect::Recording | Expect::Caught(_) | Expect::CaughtIfSeen(_) | Expect::Case(_) => {
            match serde_json::from_slice::<Value>(stdout) {
                Ok(report) => {
                    if judgement.manifest.is_none() {
                        judgement.manifest = manifest(results, test);
                    }
                    let stderr = String::from_utf8_lossy(file(results, test.name, STDERR).unwrap_or_default());
                    let told = recording(&report, test.expect, &stderr, wrong);
                    judgement.coverage.add(test.name, &report, &stderr);
                    if let Expect::Case(workload) = test.expect
                        && let Some(case) = cases::case(workload)
                    {
                        wrong.extend(cases::judge(case, &Truth::read(workload, &stderr), &report, None));
                    }
                    told
                }
                Err(error) => no_json(&error, wrong),
            }
        }
    };
    format!("{told} ({:.1} s)", done.seconds)
}

fn no_json(error: &serde_json::Error, wrong: &mut Vec<String>) -> String {
    wrong.push(format!("what it printed is no JSON: {error}"));
    "no report".to_owned()
}

fn manifest(results: &Contents, test: &Test) -> Option<Value> {
    let folder = format!("{}/{KEPT}/", test.name);
    let of_test = |path: &str| path.starts_with(&folder) && path.ends_with("/manifest.json");
    let (_, content) = results.files.iter().find(|(path, _)| of_test(path))?;
    serde_json::from_slice(content).ok()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[][..], Vec::as_slice)
}

fn examine(doctor: &Value, wrong: &mut Vec<String>) -> String {
    if doctor["can_record"] != true {
        let failed = list(&doctor["environment"]).iter().find(|f| f["status"] == "fail");
        wrong.push(format!("recording is not possible: {}", failed.map_or(&Value::Null, |f| &f["value"])));
    }
    let probes = list(&doctor["probes"]);
    let attachable = probes.iter().filter(|p| p["form"].is_string()).count();
    format!(
        "{}: {attachable} of {} probes, {} rules not observable",
        doctor["kernel"]["release"].as_str().unwrap_or("?"),
        probes.len(),
        list(&doctor["rules_off"]).len()
    )
}

/// The exit statuses that are right: 1 tells of a violation.
fn statuses(expect: Expect, stdout: &[u8]) -> &'static [i32] {
    match expect {
        Expect::Caught(_) => &[1],
        Expect::CaughtIfSeen(_) => {
            let report = serde_json::from_slice::<Value>(stdout).unwrap_or_default();
            if report["verdict"] == "violated" { &[1] } else { &[0] }
        }
        Expect::Doctor | Expect::Recording | Expect::Case(_) | Expect::Same(_) => &[0],
    }
}

/// Returns the number of losses that the workload saw: markers, and guard pages that could be read.
fn seen_lost(stderr: &str) -> u64 {
    let words: Vec<&str> = stderr.split([' ', ',', '\n']).filter(|w| !w.is_empty()).collect();
    let lost = |pair: &&[&str]| ["markers_lost", "guard_pages_read"].contains(&pair[1]);
    words.windows(2).filter(lost).filter_map(|pair| pair[0].parse::<u64>().ok()).sum()
}

fn recording(report: &Value, expect: Expect, stderr: &str, wrong: &mut Vec<String>) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (lost, missed) = (number(&report["lost"]), number(&report["missed"]));
    if lost > 0 {
        wrong.push(format!("lost {lost} events"));
    }
    let rules = list(&report["rules"]);
    let of = |verdict: &str| rules.iter().filter(|r| r["verdict"] == verdict).collect::<Vec<_>>();
    let caught = expect.rule();
    for violation in list(&report["violations"]).iter().filter(|v| v["rule"].as_str() != caught) {
        wrong.push(format!("{} violated: {}", violation["rule"], violation["what"]));
    }
    // Of a rule that is violated often not all is told, so both lists are looked at.
    for rule in of("violated").iter().filter(|r| r["id"].as_str() != caught) {
        wrong.push(format!("{} is violated", rule["id"]));
    }
    if report["verdict"] == "violated" && list(&report["violations"]).is_empty() {
        wrong.push("the verdict is violated, and no violation is told".to_owned());
    }
    let seen = seen_lost(stderr);
    let must = matches!(expect, Expect::Caught(_)) || seen > 0;
    if let Some(rule) = caught
        && must
        && of("violated").iter().all(|r| r["id"] != rule)
    {
        wrong.push(format!("{rule} is not violated, and should be: the workload saw {seen} entries lost"));
    }
    let unknown = of("unknown");
    if report["verdict"] != "held" && caught.is_none() && missed == 0 && lost == 0 {
        wrong.push(format!("verdict {}, though nothing was lost or missed", report["verdict"]));
    }
    let mut told = format!(
        "{} events in {:.1} s, {lost} lost, {missed} missed; rules: {} held, {} violated, {} unknown, {} not observable",
        number(&report["events"]["total"]),
        report["seconds"].as_f64().unwrap_or(0.0),
        of("held").len(),
        of("violated").len(),
        unknown.len(),
        of("not_observable").len()
    );
    if let Some(rule) = caught {
        let row = rules.iter().find(|r| r["id"] == rule).unwrap_or(&Value::Null);
        told.push_str(&format!(
            "\n{:18}{rule} violated {} times; the workload saw {seen} entries lost",
            "",
            number(&row["violations"])
        ));
        let has_all = row["reason"].is_null() && number(&row["unjudged"]) == 0;
        if has_all && number(&row["violations"]) < seen {
            wrong.push(format!("{rule} has missed some of the {seen} entries that the workload saw lost"));
        }
    }
    if let Some(compared) = report["walker"]["compared"].as_u64() {
        let divergences = number(&report["walker"]["divergences"]);
        told.push_str(&format!("\n{:18}walker: {compared} maps compared, {divergences} divergences", ""));
        if divergences > 0 {
            wrong.push(format!("the walker and the kernel disagree {divergences} times"));
        }
    }
    // Rules that lack the same are told together.
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for rule in unknown {
        let reason = match rule["reason"].as_str().unwrap_or("without a reason") {
            missing if missing.contains(" that it needs ") && missing.ends_with("missing") => {
                "events that they need are missing"
            }
            reason => reason,
        };
        let id = rule["id"].as_str().unwrap_or("?");
        match reasons.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, ids)) => ids.push(id),
            None => reasons.push((reason, vec![id])),
        }
    }
    for (reason, ids) in reasons {
        told.push_str(&format!("\n{:18}unknown: {}: {reason}", "", ids.join(" ")));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KERNEL: KernelVersion = KernelVersion::new(7, 2);

    /// Judges the tests but the cases: how a case is compared is tested where that is done.
    fn judge(results: &Contents, kernel: KernelVersion) -> Judgement {
        judge_tests(results, tests(kernel).filter(|test| !matches!(test.expect, Expect::Case(_))))
    }

    fn results(report: &Value, replayed: &Value) -> Contents {
        let doctor = json!({"can_record": true, "kernel": {"release": "6.1"}, "probes": [{"form": "tp_btf"}]});
        let mut files = Vec::new();
        for test in tests(KERNEL) {
            let caught = |rule| {
                let violated = json!([{"id": rule, "rule": rule, "what": "a marker is lost", "verdict": "violated"}]);
                json!({"lost": 0, "missed": 0, "verdict": "violated", "violations": violated, "rules": violated})
            };
            let printed = match test.expect {
                Expect::Doctor => doctor.clone(),
                Expect::Recording => report.clone(),
                Expect::Caught(rule) | Expect::CaughtIfSeen(rule) => caught(rule),
                Expect::Same(_) => replayed.clone(),
                Expect::Case(_) => continue,
            };
            let status = i32::from(test.expect.rule().is_some());
            let done = Done { status: Some(status), trouble: None, seconds: 1.0 };
            files.push((format!("{}/{STDOUT}", test.name), printed.to_string().into_bytes()));
            files.push((format!("{}/{DONE}", test.name), serde_json::to_vec(&done).unwrap()));
        }
        Contents { files, complete: true }
    }

    #[test]
    fn a_clean_machine_is_accepted() {
        let report = json!({"lost": 0, "missed": 0, "verdict": "held", "violations": [], "rules": []});
        assert_eq!(judge(&results(&report, &report), KERNEL).wrong, [""; 0]);
    }

    #[test]
    fn unknown_rules_need_missed_runs() {
        let rules = json!([{"id": "L01", "verdict": "unknown", "reason": "x"}, {"id": "L02", "verdict": "unknown", "reason": "x"}]);
        let report = json!({"lost": 0, "missed": 9, "verdict": "unknown", "violations": [], "rules": rules});
        let judgement = judge(&results(&report, &report), KERNEL);
        assert_eq!(judgement.wrong, [""; 0]);
        assert!(judgement.told.iter().any(|line| line.contains("unknown: L01 L02: x")), "{:?}", judgement.told);
        let report = json!({"lost": 0, "missed": 0, "verdict": "unknown", "violations": [], "rules": rules});
        assert!(!judge(&results(&report, &report), KERNEL).wrong.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = json!({"lost": 0, "missed": 0, "verdict": "held", "violations": [], "rules": []});
        let bad = json!({"lost": 3, "missed": 0, "verdict": "violated", "violations": [{"rule": "L01", "what": "two writers"}]});
        let wrong = judge(&results(&bad, &good), KERNEL).wrong;
        for what in [
            "record: lost 3 events",
            "record: \"L01\" violated: \"two writers\"",
            "replay: it does not print what record printed",
        ] {
            assert!(wrong.iter().any(|w| w == what), "{wrong:?}");
        }
        let mut missed = results(&good, &good);
        let caught = tests(KERNEL).find(|t| matches!(t.expect, Expect::Caught(_))).unwrap();
        let file = missed.files.iter_mut().find(|(name, _)| *name == format!("{}/{STDOUT}", caught.name)).unwrap();
        file.1 = good.to_string().into_bytes();
        let wrong = judge(&missed, KERNEL).wrong;
        assert!(wrong.iter().any(|w| w.contains("L25 is not violated, and should be")), "{wrong:?}");
        assert_eq!(seen_lost("a/poison: 30 pages poisoned, 7 markers_lost\nx: 2 guard_pages_read\n"), 9);
        let mut cut = results(&good, &good);
        cut.files.truncate(2);
        cut.complete = false;
        let wrong = judge(&cut, KERNEL).wrong;
        assert!(wrong.iter().any(|w| w == "record: it was not done"), "{wrong:?}");
        assert!(wrong.iter().any(|w| w.contains("before its last step")), "{wrong:?}");
    }
}
