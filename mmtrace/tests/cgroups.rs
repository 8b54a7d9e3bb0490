//! What `report --by cgroup` and `dump` say of a capture of tasks in several cgroups.

use std::process::Command;

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata");
/// A process in the root cgroup makes a child in a container (clone3() with CLONE_INTO_CGROUP), which it later moves into
/// a service.
const CAPTURE: &str = "6.18-cgroups";

fn mmtrace_on(capture: &str, args: &[&str]) -> String {
    let capture = format!("{TESTDATA}/{capture}/capture");
    let output = Command::new(env!("CARGO_BIN_EXE_mmtrace")).args(args).arg(capture).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn mmtrace(args: &[&str]) -> String {
    mmtrace_on(CAPTURE, args)
}

#[test]
fn a_report_by_cgroup_tells_where_the_child_was_when() {
    let text = mmtrace(&["report", "--by", "cgroup", "--faults"]);
    for row in ["docker 3f2a9c1b04d7 · 1 process:", "backup.service · 1 process:", "/ (root cgroup) · 1 process:"] {
        assert_eq!(text.lines().filter(|line| line.contains(row)).count(), 1, "{row}: {text}");
    }
    assert!(!text.contains("not known"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&mmtrace(&["report", "--by", "cgroup", "--json"])).expect("JSON");
    let rows = json["faults_by"].as_array().expect("rows");
    let faults = |path: &str| rows.iter().find(|row| row["cgroup"] == path).expect(path)["count"].as_u64();
    // 12 rounds of 16 pages in the container, 9 in the service, and what it takes to begin and end.
    let docker = rows.iter().find(|row| row["container"] == "docker 3f2a9c1b04d7").expect("the container");
    assert!(docker["count"].as_u64().is_some_and(|n| (192..240).contains(&n)), "{docker}");
    assert!(faults("/system.slice/backup.service/worker").is_some_and(|n| (144..150).contains(&n)), "{rows:?}");
    let csv = mmtrace(&["report", "--by", "process", "--faults", "--csv"]);
    assert!(csv.lines().next().is_some_and(|head| head.ends_with(",kind,cgroup")), "{csv}");
    assert!(csv.lines().any(|row| row.contains(",jobs,") && row.ends_with(",/")), "{csv}");
    let by_process = mmtrace(&["report", "--by", "process", "--faults"]);
    assert!(
        by_process.lines().any(|line| line.contains("batch-job ") && line.contains(" · 2 cgroups:")),
        "{by_process}"
    );
}

#[test]
fn dump_shows_and_filters_by_path_and_label() {
    let count = |filter: &str| mmtrace(&["dump", "--filter", filter]).lines().count();
    let (all, label) = (count("comm == batch-job"), count("comm == batch-job and cgroup == \"docker 3f2a9c1b04d7\""));
    let path = count("cgroup == \"/system.slice/backup.service/worker\"");
    assert!(label > 100 && path > 100 && label + path == all, "{label} + {path} of {all}");
    assert_eq!(count("cgroup == backup.service"), path);
    assert_eq!(count("cgroup ~ nowhere"), 0);
    let text = mmtrace(&["dump", "--filter", "cgroup == backup.service", "--limit", "1"]);
    assert!(text.trim_end().ends_with(" cgroup=backup.service"), "{text}");
    let line = mmtrace(&["dump", "--json", "--filter", "cgroup ~ docker", "--limit", "1"]);
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert!(
        line["cgroup"].as_str().is_some_and(|path| path.starts_with("/system.slice/docker-3f2a9c1b04d7")),
        "{line}"
    );
    assert_eq!(line["container"], "docker 3f2a9c1b04d7");
    // People see the names, not the records that bring them.
    assert!(!mmtrace(&["dump"]).contains(" task_cgroup "));
}

#[test]
fn an_older_capture_says_that_it_does_not_tell() {
    let text = mmtrace_on("6.18-mappings", &["report", "--by", "cgroup"]);
    assert!(text.contains("cgroup not recorded: an older mmtrace made the capture"), "{text}");
    let text = mmtrace_on("6.18-mappings", &["report", "--by", "process"]);
    assert!(!text.contains("cgroup"), "{text}");
    let line = mmtrace_on("6.18-mappings", &["dump", "--json", "--limit", "1"]);
    assert!(!line.contains("\"cgroup\""), "{line}");
}
