//! What `dump` and `info` show.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use mmtrace::commands::{DumpArgs, InfoArgs, dump, info};
use mmtrace_capture::{CaptureWriter, FinalInfo, Manifest, SegmentEntry, WriterOptions};
use mmtrace_common::{Column, Kind, Record};
use mmtrace_testing::captured::{context, records};
use tempfile::TempDir;

fn temp() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = temp.path().join("c.mmt");
    (temp, dir)
}

/// Writes records, flushing after every `batch` of them.
fn write(dir: &Path, records: &[Record], batch: usize, segment_rows: u64) {
    let options = WriterOptions { segment_rows, ..WriterOptions::default() };
    let mut writer = CaptureWriter::create(dir, &context(), vec!["mmtrace".to_owned()], options).expect("create");
    for chunk in records.chunks(batch) {
        for record in chunk {
            writer.append(record).expect("append");
        }
        writer.flush().expect("flush");
    }
    writer.finish(FinalInfo { end_ts: 1_000_000_000 }).expect("finish");
}

fn dumped(args: &DumpArgs) -> String {
    let mut out = Vec::new();
    dump(args, &mut out).expect("dump");
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn dump_shows_what_is_there() {
    let (_temp, dir) = temp();
    let fault = Record {
        ts: 1_000_001_900,
        mm: 0xffff_8881_0000_0040,
        tgid: 41,
        tid: 42,
        kind: Kind::PageFaultUser as u16,
        cpu: 1,
        aux: 6,
        args: [0x7f00_0000_1000, 0x40_1234, 0, 0, 0, 0],
    };
    let mut scan = Record {
        ts: 2_000_000_900,
        kind: Kind::ScanFile as u16,
        args: [5, 0xffff_ffff, 0, 0, 0, 0],
        ..Record::default()
    };
    scan.set(Column::Status, 77);
    let end = Record { ts: 3_000_000_900, kind: Kind::MigratePages as u16, aux: 2, ..Record::default() };
    write(&dir, &[fault, scan, end], 10, 10);
    let plain = DumpArgs { dir, json: false, csv: false, filter: None, limit: None };
    let text = dumped(&plain);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "     1.000001000 [001]      41/42      page_fault_user mm=0xffff888100000040 addr=0x7f0000001000 ip=0x401234 error_code=0x6 walk=not walked vma_facts=unknown"
    );
    assert!(lines[1].ends_with("mm_khugepaged_scan_file present=5 swap=-1 status=#77"), "{}", lines[1]);
    assert!(lines[2].ends_with("thp_split=0 mode=MIGRATE_SYNC reason=#0"), "{}", lines[2]);

    let json = dumped(&DumpArgs { json: true, ..plain.clone() });
    let first: serde_json::Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        first,
        serde_json::json!({ "ts": 1_000_001_900u64, "cpu": 1, "pid": 41, "tid": 42, "kind": "page_fault_user",
            "mm": "0xffff888100000040", "addr": "0x7f0000001000", "ip": "0x401234", "error_code": "0x6",
            "walk": "not walked", "vma_facts": "unknown" })
    );
    let csv = dumped(&DumpArgs { csv: true, ..plain.clone() });
    let widths: Vec<_> = csv.lines().map(|l| l.split(',').count()).collect();
    assert_eq!(widths, [6 + Column::ALL.len() + 3; 4], "the task's name, the fault's mapping and the cgroup come last");
    let filter = DumpArgs { filter: Some("swap < 0 or addr > 0x7fffffffffff".to_owned()), ..plain.clone() };
    assert_eq!(dumped(&filter), format!("{}\n", lines[1]));
    assert_eq!(dumped(&DumpArgs { limit: Some(2), ..plain.clone() }).lines().count(), 2);
    let error = dump(&DumpArgs { filter: Some("pid".to_owned()), ..plain }, &mut Vec::new()).expect_err("filter");
    assert_eq!(error.to_string(), "--filter: at character 4: expected == != < <= > >= or ~ after pid");
}

/// A pipe whose reader has gone.
struct Closed;

impl std::io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (_temp, dir) = temp();
    write(&dir, &records(10_000), 1000, 1_000_000);
    dump(&DumpArgs { dir: dir.clone(), json: true, csv: false, filter: None, limit: None }, &mut Closed).expect("dump");
    info(&InfoArgs { dir, json: false }, &mut Closed).expect("info");
}

#[test]
fn info_says_what_a_capture_is() {
    let (_temp, dir) = temp();
    write(&dir, &records(310), 100, 100);
    let show = |json| {
        let mut out = Vec::new();
        let whole = info(&InfoArgs { dir: dir.clone(), json }, &mut out).expect("info");
        (String::from_utf8(out).expect("UTF-8"), whole)
    };
    let (text, whole) = show(false);
    assert!(whole);
    let (told, events): (Vec<_>, Vec<_>) =
        records(310).into_iter().partition(|record| record.kind().is_none_or(Kind::is_synthetic));
    for line in [
        "condition  complete: ",
        "kernel     6.18.0 x86_64, 2 CPUs",
        "duration   0.999999100 s",
        &format!("events     {}\n", events.len()),
        &format!("{} further records of names, mappings, marks, cost and what is missing", told.len()),
        "probes     1 of 1 attached",
        "mm_migrate_pages: attached as raw_tp; no BTF; without large_folio_split",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    fs::remove_file(dir.join("segment-000002.parquet")).expect("remove");
    let (text, whole) = show(false);
    assert!(!whole);
    assert!(text.contains("segment-000002.parquet: does not exist; 100 events are missing"), "{text}");
    let value: serde_json::Value = serde_json::from_str(&show(true).0).expect("JSON");
    assert_eq!((&value["condition"], &value["totals"]["events"]), (&"damaged".into(), &210.into()));
    assert_eq!(value["problems"][0]["missing"], 100);
}

#[test]
fn info_adds_up_whatever_numbers_a_manifest_has() {
    let (_temp, dir) = temp();
    write(&dir, &records(20), 10, 10);
    let original = Manifest::load(&dir).expect("manifest");
    for change in [
        (|e| e.rows = u64::MAX) as fn(&mut SegmentEntry),
        |e| e.bytes = u64::MAX,
        |e| e.lost = u64::MAX,
        |e| e.kinds.values_mut().for_each(|n| *n = u64::MAX),
        |e| e.first_ts = u64::MAX,
    ] {
        let mut manifest = original.clone();
        manifest.segments.iter_mut().for_each(change);
        fs::write(dir.join("manifest.json"), serde_json::to_vec(&manifest).expect("json")).expect("write");
        info(&InfoArgs { dir: dir.clone(), json: false }, &mut Vec::new()).expect("it is a capture all the same");
    }
}

/// The capture has one kind of event: nothing of locks and faults was recorded.
#[test]
fn a_report_does_not_count_what_was_not_recorded() {
    let (_temp, dir) = temp();
    write(&dir, &records(310), 100, 100);
    let output = Command::new(env!("CARGO_BIN_EXE_mmtrace")).arg("report").arg(&dir).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for title in ["Held mmap_locks", "Waited for mmap_locks", "Page faults"] {
        assert!(text.contains(&format!("{title}: not recorded")), "{text}");
    }
}
