//! What `report --by function` says of a capture of a real program.

use std::process::Command;

/// A program that touches 200 pages in one function and 100 in code that it wrote to anonymous memory, and reads one byte
/// from a pipe into a new page.
const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/6.18-functions/capture");

fn report(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmtrace"));
    let output = command.args(["report", CAPTURE, "--by", "function"]).args(args).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn faults_belong_to_the_function_that_touched_the_memory() {
    let text = report(&["--limit", "0"]);
    let rows: Vec<&str> = text.lines().filter(|line| line.contains(" · ")).collect();
    assert!(rows[0].contains(" 200 ") && rows[0].ends_with("toucher · touch_pages.constprop.0 (toucher)"), "{text}");
    assert!(rows[1].contains(" 100 ") && rows[1].contains("toucher · [JIT or anonymous] (most at 0x"), "{text}");
    assert!(rows.iter().any(|row| row.ends_with("toucher · in read")), "{text}");
    assert!(rows.iter().any(|row| row.ends_with("(ld-linux-x86-64.so.2)")), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report(&["--json"])).expect("JSON");
    let all = json["faults_by_function"].as_array().expect("rows");
    assert_eq!(all.len(), rows.len());
    assert_eq!(all[0]["build_id"].as_str().map(str::len), Some(40));
    let csv = report(&["--csv"]);
    assert_eq!(csv.lines().count(), 1 + rows.len());
    assert!(csv.contains("faults,toucher,touch_pages.constprop.0,toucher,function,200,0,0,0x"), "{csv}");
}
