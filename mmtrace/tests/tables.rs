//! The tables of names agree with the report: events that are joined with them by id and time give its counts.

use std::{collections::BTreeMap, process::Command};

use mmtrace_capture::Capture;
use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::tables::{MappingRow, Tables, TaskRow};

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata");

fn open(name: &str) -> Capture {
    Capture::open(format!("{TESTDATA}/{name}/capture").as_ref()).expect("a capture")
}

fn tables(capture: &Capture) -> (Vec<TaskRow>, Vec<MappingRow>) {
    let mut tables = Tables::new(capture.context());
    capture.records().for_each(|record| tables.apply(&record));
    tables.end();
    let tasks: Vec<TaskRow> =
        std::iter::repeat_with(|| tables.task_rows()).take_while(|rows| !rows.is_empty()).flatten().collect();
    let mappings = std::iter::repeat_with(|| tables.mapping_rows()).take_while(|rows| !rows.is_empty()).flatten();
    (tasks, mappings.collect())
}

fn task<'a>(tasks: &'a [TaskRow], record: &Record) -> &'a TaskRow {
    let mut rows = tasks.iter().filter(|row| row.tid == record.tid && (row.from_ts..row.to_ts).contains(&record.ts));
    let row = rows.next().unwrap_or_else(|| panic!("no row for {record:?}"));
    assert!(rows.next().is_none(), "two rows for {record:?}");
    row
}

fn mapping<'a>(mappings: &'a [MappingRow], record: &Record) -> Option<&'a MappingRow> {
    let addr = record.get(Column::Addr).expect("a fault has an address");
    let is_it = |row: &&MappingRow| {
        row.mm == record.mm && (row.start..=row.end).contains(&addr) && (row.from_ts..row.to_ts).contains(&record.ts)
    };
    let mut rows = mappings.iter().filter(is_it);
    let row = rows.next();
    assert!(rows.next().is_none(), "two rows for {record:?}");
    row
}

fn faults(capture: &Capture) -> impl Iterator<Item = Record> {
    let is_fault = |record: &Record| matches!(record.kind(), Some(Kind::PageFaultUser | Kind::PageFaultKernel));
    capture.records().filter(is_fault)
}

fn report(name: &str, by: &str, list: &str) -> Vec<serde_json::Value> {
    let capture = format!("{TESTDATA}/{name}/capture");
    let args = ["report", "--by", by, "--faults", "--json", "--limit", "0", &capture];
    let output = Command::new(env!("CARGO_BIN_EXE_mmtrace")).args(args).output().expect("it runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report[list].as_array().expect("rows").clone()
}

fn text(value: &serde_json::Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[test]
fn faults_by_thread_are_those_of_the_report() {
    for name in ["6.18-names", "6.18-mappings", "6.18-cgroups"] {
        let capture = open(name);
        let (tasks, _) = tables(&capture);
        let mut joined: BTreeMap<_, u64> = BTreeMap::new();
        for fault in faults(&capture) {
            let row = task(&tasks, &fault);
            *joined.entry((row.pid, row.process.clone(), row.comm.clone())).or_default() += 1;
        }
        let mut reported: BTreeMap<_, u64> = BTreeMap::new();
        for row in report(name, "thread", "faults_by") {
            let pid = row["pid"].as_u64().expect("a process") as u32;
            let key = (pid, text(&row["process"]), text(&row["thread"]));
            *reported.entry(key).or_default() += row["count"].as_u64().expect("a count");
        }
        assert_eq!(joined, reported, "{name}");
    }
}

#[test]
fn faults_by_mapping_are_those_of_the_report() {
    for name in ["6.18-names", "6.18-mappings", "6.18-cgroups"] {
        let capture = open(name);
        let (_, mappings) = tables(&capture);
        let mut joined: BTreeMap<_, u64> = BTreeMap::new();
        let mut known = 0;
        for fault in faults(&capture) {
            let row = mapping(&mappings, &fault);
            known += u64::from(row.is_some());
            let key =
                row.map_or_else(|| ("unknown mapping".to_owned(), "unknown"), |row| (row.label.clone(), row.kind));
            *joined.entry(key).or_default() += 1;
        }
        if mappings.is_empty() {
            // An older capture does not tell, and neither does its report.
            assert!((name, known) == ("6.18-names", 0));
            continue;
        }
        let mut reported: BTreeMap<_, u64> = BTreeMap::new();
        let rows = report(name, "mapping", "faults_by_mapping");
        for row in &rows {
            let key = (text(&row["mapping"]).expect("a label"), row["kind"].as_str().expect("a kind"));
            *reported.entry(key).or_default() += row["count"].as_u64().expect("a count");
        }
        assert_eq!(joined, reported, "{name}");
    }
}

#[test]
fn faults_by_cgroup_are_those_of_the_report() {
    let capture = open("6.18-cgroups");
    let (tasks, _) = tables(&capture);
    let mut joined: BTreeMap<_, u64> = BTreeMap::new();
    for fault in faults(&capture) {
        let row = task(&tasks, &fault);
        *joined.entry((row.cgroup.clone(), row.container.clone())).or_default() += 1;
    }
    let reported: BTreeMap<_, u64> = report("6.18-cgroups", "cgroup", "faults_by")
        .iter()
        .map(|row| ((text(&row["cgroup"]), text(&row["container"])), row["count"].as_u64().expect("a count")))
        .collect();
    assert_eq!(joined, reported);
}

#[test]
fn every_record_of_every_golden_capture_has_one_row_of_its_task() {
    for name in ["6.1-migrate", "6.18-faults", "6.18-mappings", "6.18-cgroups", "7.2-uffd-wp"] {
        let capture = open(name);
        let (tasks, _) = tables(&capture);
        let mut by_tid: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        tasks.iter().for_each(|row| by_tid.entry(row.tid).or_default().push((row.from_ts, row.to_ts)));
        for record in capture.records() {
            let spans = by_tid.get(&record.tid).map_or(&[][..], |spans| spans);
            let rows = spans.iter().filter(|(from, to)| (*from..*to).contains(&record.ts)).count();
            assert_eq!(rows, 1, "{name}: {record:?}");
        }
    }
}
