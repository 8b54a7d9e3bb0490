//! Which tables `mmtrace report` shows, in which order; and what is said of a part of a capture.

use std::process::{Command, Output};

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata");

fn mmtrace(name: &str, capture: &str, args: &[&str]) -> Output {
    let capture = format!("{TESTDATA}/{capture}/capture");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmtrace"));
    command.arg(name).args(args).arg(capture).output().expect("it runs")
}

fn run(capture: &str, args: &[&str]) -> Output {
    mmtrace("report", capture, args)
}

fn report(capture: &str, args: &[&str]) -> String {
    let output = run(capture, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(capture: &str, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&report(capture, &[args, &["--json"]].concat())).expect("JSON")
}

#[test]
fn json_has_the_tables_that_were_asked_for() {
    for (args, tables) in [
        (&[][..], &["faults_by", "lock_users"][..]),
        (&["--by", "kind"], &["faults_by"]),
        (&["--faults"], &["faults_by"]),
        (&["--by", "call", "--waits"], &["lock_users"]),
        (&["--by", "mapping"], &["faults_by_mapping"]),
        (&["--by", "function"], &["faults_by_function"]),
        (&["--blame"], &["blame"]),
        (&["--blame", "--by", "process"], &["blame"]),
    ] {
        let json = json("6.18-functions", args);
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, tables, "{args:?}");
    }
}

#[test]
fn rows_are_sorted_by_a_column_of_their_table() {
    for (capture, args, list, column) in [
        ("6.18-mmap", &["--sort", "longest"][..], "lock_users", "/held/longest_ns"),
        ("6.18-mmap", &["--waits", "--sort", "times"], "lock_users", "/contended/count"),
        ("6.18-mmap", &["--blame"], "blame", "/charged/sum_ns"),
        ("6.18-mmap", &["--blame", "--sort", "p99"], "blame", "/charged/p99_ns"),
        ("6.18-mappings", &["--by", "mapping"], "faults_by_mapping", "/count"),
        ("6.18-mappings", &["--by", "mapping", "--sort", "mappings"], "faults_by_mapping", "/mappings"),
        ("6.18-functions", &["--by", "function", "--sort", "faults"], "faults_by_function", "/count"),
        ("bugs/6.12-poison-collapse", &["--by", "function", "--sort", "total"], "faults_by_function", "/sum_ns"),
    ] {
        let output = run(capture, &[args, &["--json"]].concat());
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let rows = json[list].as_array().expect("rows");
        let values: Vec<u64> =
            rows.iter().map(|row| row.pointer(column).map_or(0, |n| n.as_u64().expect("n"))).collect();
        assert!(values.is_sorted_by(|one, next| one >= next), "{args:?}: {values:?}");
    }
}

#[test]
fn a_column_that_no_table_has_is_refused_with_those_it_has() {
    for (args, says) in [
        (&["--by", "mapping", "--sort", "longest"][..], "cannot be sorted by longest, but by faults or mappings"),
        (&["--by", "function", "--sort", "times"], "cannot be sorted by times, but by faults or total"),
        (&["--by", "kind", "--sort", "p99"], "cannot be sorted by p99, but by faults"),
        (&["--waits", "--sort", "faults"], "cannot be sorted by faults, but by total or times or p99 or longest"),
        (&["--by", "function", "--holds"], "belong to no function"),
        (&["--by", "mapping", "--blame"], "belong to no mapping"),
        (&["--by", "kind", "--blame"], "belong to no kind of fault"),
        (&["--blame", "--sort", "faults"], "cannot be sorted by faults, but by total or times or p99 or longest"),
    ] {
        let output = run("6.18-mappings", args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(said.contains(says) && output.stdout.is_empty(), "{args:?}: {said}");
    }
}

/// Whatever a row stands for, all rows are the waits that the report begins with.
#[test]
fn blame_is_told_of_each_pair_and_adds_up() {
    let sum = |rows: &serde_json::Value, of: &str| -> u64 {
        rows.as_array().expect("rows").iter().filter_map(|row| row.pointer(of)).filter_map(|ns| ns.as_u64()).sum()
    };
    let waits = sum(&json("6.18-mmap", &["--waits"])["lock_users"], "/contended/sum_ns");
    assert!(waits > 0);
    for by in ["caller", "thread", "process", "call", "cgroup"] {
        assert_eq!(sum(&json("6.18-mmap", &["--blame", "--by", by])["blame"], "/charged/sum_ns"), waits, "{by}");
    }
    let csv = report("6.18-mmap", &["--blame", "--csv"]);
    let (head, rows) = csv.split_once('\n').expect("a line of titles");
    let column = head.split(',').position(|title| title == "total_ns").expect("a column");
    let total: u64 =
        rows.lines().map(|line| line.split(',').nth(column).expect("a cell").parse::<u64>().expect("n")).sum();
    assert_eq!(total, waits, "{csv}");
    let text = report("6.18-mmap", &["--blame", "--limit", "1"]);
    assert!(text.contains("What waits for mmap_locks are charged to: "), "{text}");
    assert!(text.contains("% waited by") && text.contains("more: --limit 0 shows all"), "{text}");
}

/// Half of a capture was asked for: nothing is missing from it.
#[test]
fn a_part_is_called_a_part_and_no_loss() {
    let output = mmtrace("replay", "6.18-names", &["--from", "0.2", "--to", "0.3"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("\na part was asked for: 0.200 s to 0.300 s of 0.376 s"), "{text}");
    assert!(text.contains("in progress when the part begins"), "{text}");
    assert!(!text.contains("missing") && !text.contains("or more faults"), "{text}");
    assert!(text.starts_with("held: "), "it is judged as a recording of its own: {text}");
    let output = mmtrace("replay", "6.18-names", &["--from", "0.2", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let part = &json["part"];
    assert_eq!((&part["from_ns"], &part["to_ns"]), (&200_000_000.into(), &part["of_ns"]));
    let whole = mmtrace("replay", "6.18-names", &[]).stdout;
    assert!(!String::from_utf8_lossy(&whole).contains("a part was asked for"));
    let rows = report("6.18-names", &["--from", "0.2", "--to", "0.3"]);
    assert!(rows.contains("\na part was asked for: 0.200 s to 0.300 s of 0.376 s"), "{rows}");
}

/// In the capture, `mapper` forks, and the child runs `true`.
#[test]
fn rows_by_process_say_that_an_exec_makes_another_row() {
    let text = report("6.18-mappings", &["--by", "process", "--faults"]);
    assert!(text.contains("a row is a process id under one name"), "{text}");
    let json = json("6.18-mappings", &["--by", "process", "--faults"]);
    let rows = json["faults_by"].as_array().expect("rows");
    let pid = |row: &serde_json::Value| row["pid"].as_u64().expect("a process");
    let child = rows.iter().find(|row| row["process"] == "true").map(pid).expect("it ran");
    let names: Vec<&str> =
        rows.iter().filter(|row| pid(row) == child).filter_map(|row| row["process"].as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"mapper"), "{names:?}");
}
