//! Which tables `mmtrace report` shows, in which order.

use std::process::{Command, Output};

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata");

fn run(capture: &str, args: &[&str]) -> Output {
    let capture = format!("{TESTDATA}/{capture}/capture");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmtrace"));
    command.arg("report").args(args).arg(capture).output().expect("it runs")
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
    ] {
        let json = json("6.18-functions", args);
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, tables, "{args:?}");
    }
}
