//! What `report --by mapping` and `dump` say of a capture of real mappings.

use std::process::Command;

/// A process that was there before the recording, with a child, a heap, shared memory, and names of strange bytes; it
/// then runs a short program.
const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/6.18-mappings/capture");

fn mmtrace(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mmtrace")).args(args).arg(CAPTURE).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_fault_is_in_a_mapping_that_has_a_name() {
    let text = mmtrace(&["report", "--by", "mapping", "--limit", "0"]);
    let rows: Vec<&str> = text.lines().filter(|line| line.contains(" · ")).collect();
    for (row, name) in [
        ("mapper · [heap] (196 KiB", "a heap that brk() made"),
        ("mapper · [stack] (", "a stack, and what is below it"),
        ("mapper · /dev/zero (deleted), shared (64 KiB", "shared memory without a file"),
        ("mapper · /memfd:frames\\n\\xff\\u{1b}[31m (deleted), shared (2 mappings;", "a name of strange bytes"),
        ("mapper · strange \\u{202e}\\u{7}.so, shared (64 KiB", "a file that was mapped in the recording"),
        ("mapper · /usr/lib/x86_64-linux-gnu/libc.so.6 (", "a file that was mapped before"),
        ("true · /usr/lib/x86_64-linux-gnu/libc.so.6 (1,368 KiB", "the same file in a short program"),
        ("true · ld.so.cache (36 KiB", "a file that was never seen in /proc"),
        ("true · special mapping of the kernel (8,192 bytes", "the vDSO"),
    ] {
        assert!(rows.iter().any(|line| line.contains(row)), "{name}: {text}");
    }
    assert!(!text.contains("unknown mapping") && !text.contains('\u{1b}'), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&mmtrace(&["report", "--by", "mapping", "--json"])).expect("JSON");
    assert_eq!(json["faults_by_mapping"].as_array().expect("rows").len(), rows.len());
    let csv = mmtrace(&["report", "--by", "mapping", "--csv"]);
    assert_eq!(csv.lines().count(), 1 + rows.len());
    assert!(csv.contains("faults,true,special mapping of the kernel,special,1,1,0x"), "{csv}");
}

#[test]
fn dump_names_the_mapping_of_a_fault_and_files_as_one_text() {
    let text = mmtrace(&["dump", "--filter", "kind ~ fault or kind == file_name"]);
    assert!(text.lines().any(|line| line.ends_with(" mapping=ld-linux-x86-64.so.2") || line.ends_with("mapping=true")));
    assert!(text.lines().any(|line| line.contains(" file_name ") && line.contains(" name=ld-linux-x86-64.so.2 ")));
    assert!(!text.contains("name_2") && !text.contains('\u{1b}'), "{text}");
    let lines = mmtrace(&["dump", "--json", "--filter", "kind == page_fault_user"]);
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().expect("a fault")).expect("JSON");
    assert!(last["mapping"].is_string(), "{last}");
}

#[test]
fn locks_have_no_mapping_and_the_refusal_names_what_shows_them() {
    for (flag, what) in [("--waits", "waits for"), ("--holds", "holds of")] {
        let args = ["report", "--by", "mapping", flag, CAPTURE];
        let output = Command::new(env!("CARGO_BIN_EXE_mmtrace")).args(args).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(what) && said.contains(&format!("mmtrace report {flag}")), "{said}");
    }
}

#[test]
fn info_and_report_count_the_same_events() {
    let number = |text: &str, label: &str| -> String {
        let at = text.find(label).unwrap_or_else(|| panic!("no {label} in {text}")) + label.len();
        text[at..].trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect()
    };
    let (info, report) = (mmtrace(&["info"]), mmtrace(&["report"]));
    assert_eq!(number(&info, "\nevents "), number(&report, "; "), "{info}{report}");
    assert!(info.contains("further records of names, mappings"), "{info}");
    let json: serde_json::Value = serde_json::from_str(&mmtrace(&["info", "--json"])).expect("JSON");
    assert_eq!(json["events"].to_string(), number(&info, "\nevents ").replace(',', ""));
}
