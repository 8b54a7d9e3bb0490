//! Captures: what goes in comes out, and what happens to them on disk is noticed.

use mmtrace::capture::{
    BATCH_ROWS, Capture, CaptureError, CaptureWriter, Condition, DumpArgs, FinalInfo, InfoArgs, Manifest, SegmentEntry,
    State, WriterOptions, dump, info, make_room,
};
use mmtrace::context::{Context, Form, Kernel, ProbeState};
use mmtrace_common::{Column, FieldType, Kind, Record, SPECS, Slot};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

fn context() -> Context {
    let results = [("SCAN_FAIL", 0), ("SCAN_SUCCEED", 1), ("SCAN_ODD", -1)];
    let results: BTreeMap<String, i64> = results.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
    let modes = BTreeMap::from([("MIGRATE_ASYNC".to_owned(), 0), ("MIGRATE_SYNC".to_owned(), 2)]);
    Context {
        kernel: Kernel { release: "6.18.0".to_owned(), machine: "x86_64".to_owned(), cpus: 2, ..Kernel::default() },
        probes: vec![ProbeState {
            event: "mm_migrate_pages".to_owned(),
            form: Some(Form::RawTp),
            absent: vec!["large_folio_split".to_owned()],
            reason: Some("no BTF".to_owned()),
        }],
        enums: BTreeMap::from([("scan_result".to_owned(), results), ("migrate_mode".to_owned(), modes)]),
        start: 900,
        ..Context::default()
    }
}

/// A record of each kind in turn, every field set, times one microsecond apart.
fn records(n: usize) -> Vec<Record> {
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    (0..n)
        .map(|i| {
            let spec = &SPECS[i % SPECS.len()];
            let ts = 1000 * (i as u64 + 1);
            let mm = if i % 3 == 0 { 0 } else { 0xffff_8881_0000_0000 + i as u64 * 64 };
            let mut record =
                Record { ts, mm, tgid: 7, tid: 8, kind: spec.kind as u16, cpu: (i % 2) as u16, ..Record::default() };
            for field in spec.fields {
                bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let lacking = spec.kind == Kind::MigratePages && field.column == Column::LargeFolioSplit;
                let value = match field.column.ty() {
                    _ if lacking => 0,
                    FieldType::Int => bits >> 32,
                    FieldType::Bool => bits >> 63,
                    FieldType::Enum(_) | FieldType::Kind => bits >> 62,
                    _ => bits,
                };
                field.set(&mut record, value);
            }
            record
        })
        .collect()
}

/// The first of the above, with few columns among them.
fn few(n: usize) -> Vec<Record> {
    let mut all = records(n * SPECS.len());
    all.retain(|r| r.kind < 6);
    all.truncate(n);
    all
}

/// Every bit at once, the lowest, the highest.
const MASKS: [u8; 3] = [0xff, 0x01, 0x80];

fn small(segment_rows: u64) -> WriterOptions {
    WriterOptions { segment_rows, ..WriterOptions::default() }
}

/// Writes records, flushing after every `batch` of them.
fn start(dir: &Path, records: &[Record], batch: usize, options: WriterOptions) -> CaptureWriter {
    let mut writer = CaptureWriter::create(dir, &context(), vec!["mmtrace".to_owned()], options).expect("create");
    for chunk in records.chunks(batch) {
        for record in chunk {
            writer.append(record).expect("append");
        }
        writer.flush().expect("flush");
    }
    writer
}

fn write(dir: &Path, records: &[Record], batch: usize, segment_rows: u64) -> Manifest {
    let writer = start(dir, records, batch, small(segment_rows));
    writer.finish(FinalInfo { end_ts: 1_000_000_000 }).expect("finish")
}

fn read(dir: &Path) -> (Vec<Record>, Capture) {
    let capture = Capture::open(dir).expect("open");
    let records = capture.records().collect();
    (records, capture)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("mkdir");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}

fn is_gap(record: &Record) -> bool {
    record.kind() == Some(Kind::Gap)
}

fn temp() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = temp.path().join("c.mmt");
    (temp, dir)
}

#[test]
fn every_kind_comes_back_as_it_went_in() {
    let (_temp, dir) = temp();
    let all = records(1000);
    let manifest = write(&dir, &all, 300, 400);
    assert_eq!(manifest.state, State::Complete);
    assert_eq!(manifest.totals.events, 1000);
    assert_eq!(manifest.segments.iter().map(|s| s.rows).collect::<Vec<_>>(), [600, 400]);
    let (back, capture) = read(&dir);
    assert_eq!(back, all);
    assert_eq!(capture.condition(), Condition::Complete);
    assert_eq!(capture.problems(), []);
    let summary = capture.summary();
    assert_eq!((summary.events, summary.span), (1000, Some((1000, 1_000_000))));
    assert_eq!(summary.kinds["exit_mmap"], all.iter().filter(|r| r.kind() == Some(Kind::ExitMmap)).count() as u64);
    assert_eq!(Manifest::load(&dir).expect("manifest"), manifest);
    assert!(!dir.join("segment-000001.arrows").exists() && !dir.join("segment-000002.parquet.part").exists());
}

#[test]
fn a_batch_is_flushed_when_it_is_full() {
    let (_temp, dir) = temp();
    let all = records(40_000);
    let mut writer = CaptureWriter::create(&dir, &context(), vec![], small(20_000)).expect("create");
    for record in &all {
        writer.append(record).expect("append");
    }
    let manifest = writer.finish(FinalInfo::default()).expect("finish");
    assert_eq!(manifest.segments.iter().map(|s| s.rows).collect::<Vec<_>>(), [32_768, 7232]);
    assert_eq!(read(&dir).0, all);
}

#[test]
fn an_empty_capture_is_complete() {
    let (_temp, dir) = temp();
    write(&dir, &[], 1, 10);
    let (back, capture) = read(&dir);
    assert_eq!((back.len(), capture.condition()), (0, Condition::Complete));
}

#[test]
fn an_unknown_kind_is_refused_and_counted() {
    let (_temp, dir) = temp();
    let mut writer = start(&dir, &records(3), 3, small(10));
    let next = SPECS.iter().map(|s| s.kind as u16).max().expect("kinds") + 1;
    writer.append(&Record { kind: next, ..Record::default() }).expect("append");
    writer.append(&Record { kind: 9999, ..Record::default() }).expect("append");
    assert_eq!(writer.unknown(), 2);
    drop(writer);
    assert_eq!(read(&dir).0, records(3));
}

#[test]
fn columns_that_the_kernel_lacks_stay_empty_and_bools_are_bytes() {
    let (_temp, dir) = temp();
    let mut migrate = Record { kind: Kind::MigratePages as u16, args: [1, 2, 3, 4, 5, 6], ..Record::default() };
    let mut file =
        Record { kind: Kind::CollapseFile as u16, args: [0, 0, 0xdead_be00, 0xffff_ffff, 0, 0], ..Record::default() };
    write(&dir, &[migrate, file], 2, 10);
    migrate.args[5] = 0;
    file.args[2] = 0;
    assert_eq!(read(&dir).0, [migrate, file]);
}

#[test]
fn files_are_for_their_owner_only() {
    let (_temp, dir) = temp();
    let writer = start(&dir, &records(100), 10, small(50));
    drop(writer);
    assert_eq!(fs::metadata(&dir).expect("dir").permissions().mode() & 0o777, 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&dir).expect("list") {
        let entry = entry.expect("entry");
        assert_eq!(entry.metadata().expect("file").permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        files += 1;
    }
    assert!(files >= 3, "manifest, segment, open segment");
}

#[test]
fn a_stream_cut_anywhere_gives_a_prefix() {
    let (temp, dir) = temp();
    // The second batch brings columns that the first does not have, and thus a new stream.
    let mut all = few(8);
    let mut more = records(1000);
    more.retain(|r| r.kind() == Some(Kind::MaWrite));
    all.extend(&more[..8]);
    drop(start(&dir, &all, 4, small(1000)));
    let stream = fs::read(dir.join("segment-000001.arrows")).expect("stream");
    let cut = temp.path().join("cut");
    copy(&dir, &cut);
    let mut seen = 0;
    for length in 0..=stream.len() {
        fs::write(cut.join("segment-000001.arrows"), &stream[..length]).expect("write");
        let (back, capture) = read(&cut);
        assert_eq!(back, all[..back.len()], "cut to {length}");
        assert!(back.len() >= seen && back.len() % 4 == 0, "cut to {length}");
        assert_eq!((capture.condition(), capture.problems().len()), (Condition::Recovered, 0), "cut to {length}");
        seen = back.len();
    }
    assert_eq!(seen, 16);
}

#[test]
fn a_flipped_byte_in_a_stream_never_panics() {
    let (temp, dir) = temp();
    let all = few(24);
    drop(start(&dir, &all, 12, small(1000)));
    let mut stream = fs::read(dir.join("segment-000001.arrows")).expect("stream");
    let bad = temp.path().join("bad");
    copy(&dir, &bad);
    let file = bad.join("segment-000001.arrows");
    for at in 0..stream.len() {
        let mask = MASKS[at % MASKS.len()];
        stream[at] ^= mask;
        fs::write(&file, &stream).expect("write");
        let (back, capture) = read(&bad);
        assert!(back.len() <= all.len() + 1, "byte {at}");
        if !capture.problems().is_empty() {
            assert!(back.last().is_some_and(is_gap), "byte {at}: a problem without a gap");
        }
        stream[at] ^= mask;
    }
}

#[test]
fn a_flipped_byte_in_a_sealed_segment_is_noticed() {
    let (temp, dir) = temp();
    let all = few(60);
    write(&dir, &all, 30, 1000);
    let bad = temp.path().join("bad");
    copy(&dir, &bad);
    let name = bad.join("segment-000001.parquet");
    let mut file = fs::read(&name).expect("segment");
    for at in 0..file.len() {
        file[at] ^= 0x41;
        fs::write(&name, &file).expect("write");
        let (back, capture) = read(&bad);
        assert_eq!(capture.condition(), Condition::Damaged, "byte {at}");
        assert_eq!(capture.problems()[0].missing, Some(60));
        assert!(back.len() == 1 && is_gap(&back[0]) && back[0].get(Column::Count) == Some(60), "byte {at}");
        file[at] ^= 0x41;
    }
}

/// As above, where the manifest vouches for the damaged file: only the decoder stands in the way.
#[test]
fn a_hostile_segment_never_panics() {
    let (temp, dir) = temp();
    let all = few(60);
    let writer = start(&dir, &all, 30, small(1000));
    let manifest = writer.finish(FinalInfo::default()).expect("finish");
    let bad = temp.path().join("bad");
    copy(&dir, &bad);
    // Not in the manifest, and so without a checksum.
    let recording = Manifest { segments: vec![], state: State::Recording, ..manifest };
    fs::write(bad.join("manifest.json"), serde_json::to_vec(&recording).expect("json")).expect("manifest");
    let name = bad.join("segment-000001.parquet");
    let mut file = fs::read(&name).expect("segment");
    for at in 0..file.len() {
        let mask = MASKS[at % MASKS.len()];
        file[at] ^= mask;
        fs::write(&name, &file).expect("write");
        let (back, capture) = read(&bad);
        assert!(back.len() <= all.len() + 1, "byte {at}");
        assert!(capture.problems().is_empty() || back.iter().any(is_gap), "byte {at}");
        file[at] ^= mask;
    }
    for length in (0..file.len()).step_by(11) {
        fs::write(&name, &file[..length]).expect("write");
        let (back, capture) = read(&bad);
        assert!(back.len() == 1 && is_gap(&back[0]), "cut to {length}");
        assert_eq!(capture.condition(), Condition::Damaged);
    }
}

#[test]
fn a_damaged_manifest_never_panics() {
    let (temp, dir) = temp();
    let all = records(60);
    write(&dir, &all, 30, 30);
    let bad = temp.path().join("bad");
    copy(&dir, &bad);
    let name = bad.join("manifest.json");
    let mut text = fs::read(&name).expect("manifest");
    for at in 0..text.len() {
        let mask = MASKS[at % MASKS.len()];
        text[at] ^= mask;
        fs::write(&name, &text).expect("write");
        if let Ok(capture) = Capture::open(&bad) {
            let back: Vec<_> = capture.records().collect();
            if capture.problems().is_empty() {
                assert!(back.len() <= all.len(), "byte {at}");
            } else {
                assert!(back.iter().any(is_gap), "byte {at}");
            }
            let _ = capture.summary();
        }
        text[at] ^= mask;
    }
    for length in 0..text.len() - 2 {
        fs::write(&name, &text[..length]).expect("write");
        match Capture::open(&bad) {
            Err(CaptureError::BadManifest { .. }) => {}
            other => panic!("cut to {length}: {other:?}"),
        }
    }
}

#[test]
fn a_crash_at_any_step_of_sealing_loses_and_doubles_nothing() {
    let (temp, sealed) = temp();
    let open = temp.path().join("open");
    let all = records(200);
    let done = write(&sealed, &all, 50, 1000);
    drop(start(&open, &all, 50, small(1000)));
    let recording = Manifest { state: State::Recording, end_ts: None, ..done };
    let before = Manifest { segments: vec![], ..recording.clone() };
    let parquet = fs::read(sealed.join("segment-000001.parquet")).expect("parquet");
    let stream = fs::read(open.join("segment-000001.arrows")).expect("stream");

    let at = |step: &str, manifest: &Manifest, files: &[(&str, &[u8])]| {
        let dir = temp.path().join(step);
        fs::create_dir(&dir).expect("mkdir");
        fs::write(dir.join("manifest.json"), serde_json::to_vec(manifest).expect("json")).expect("manifest");
        for (name, bytes) in files {
            fs::write(dir.join(format!("segment-000001.{name}")), bytes).expect("file");
        }
        let (back, capture) = read(&dir);
        assert_eq!(back, all, "{step}");
        assert_eq!((capture.condition(), capture.problems()), (Condition::Recovered, vec![]), "{step}");
        assert_eq!(capture.summary().events, 200, "{step}");
    };
    at("part begun", &before, &[("arrows", &stream), ("parquet.part", &parquet[..100])]);
    at("part complete", &before, &[("arrows", &stream), ("parquet.part", &parquet)]);
    at("renamed", &before, &[("arrows", &stream), ("parquet", &parquet)]);
    at("renamed, stream lost its tail in a power cut", &before, &[("arrows", &stream[..999]), ("parquet", &parquet)]);
    at("manifest half written", &before, &[("arrows", &stream), ("parquet", &parquet)]);
    fs::write(temp.path().join("manifest half written/manifest.json.tmp"), b"{").expect("temp");
    assert_eq!(read(&temp.path().join("manifest half written")).0, all);
    at("in the manifest", &recording, &[("arrows", &stream), ("parquet", &parquet)]);
    at("stream removed", &recording, &[("parquet", &parquet)]);
}

#[test]
fn a_damaged_segment_falls_back_to_its_stream() {
    let (temp, sealed) = temp();
    let open = temp.path().join("open");
    let all = records(200);
    write(&sealed, &all, 50, 1000);
    drop(start(&open, &all, 50, small(1000)));
    fs::copy(open.join("segment-000001.arrows"), sealed.join("segment-000001.arrows")).expect("copy");
    fs::write(sealed.join("segment-000001.parquet"), b"PAR1").expect("damage");
    let (back, capture) = read(&sealed);
    assert_eq!((back, capture.condition()), (all, Condition::Complete));
    assert!(capture.problems()[0].to_string().contains("its stream is read instead; 0 events are missing"));
}

#[test]
fn gaps_stand_where_segments_are_missing() {
    let all = records(400);
    for (damage, what) in [("gone", "does not exist"), ("flip", "checksum"), ("short", "bytes instead of")] {
        let (_temp, dir) = temp();
        write(&dir, &all, 100, 100);
        for number in [1, 3] {
            let name = dir.join(format!("segment-00000{number}.parquet"));
            let mut bytes = fs::read(&name).expect("segment");
            match damage {
                "gone" => fs::remove_file(&name).expect("remove"),
                "flip" => {
                    bytes[200] ^= 1;
                    fs::write(&name, bytes).expect("write");
                }
                _ => fs::write(&name, &bytes[..50]).expect("write"),
            }
        }
        let (back, capture) = read(&dir);
        let gap = |from: u64, to: u64| {
            let mut gap = Record { ts: from, kind: Kind::Gap as u16, ..Record::default() };
            for field in mmtrace_common::spec(Kind::Gap).fields {
                field.set(&mut gap, if field.column == Column::Count { 100 } else { to });
            }
            gap
        };
        let mut expected = vec![gap(900, 101_000)];
        expected.extend(&all[100..200]);
        expected.push(gap(200_000, 301_000));
        expected.extend(&all[300..]);
        assert_eq!(back, expected, "{damage}");
        assert_eq!(capture.condition(), Condition::Damaged);
        assert!(capture.problems().iter().all(|p| p.what.contains(what)), "{:?}", capture.problems());
        assert_eq!(capture.problems().len(), 2);

        fs::remove_file(dir.join("segment-000004.parquet")).expect("remove");
        let (back, _) = read(&dir);
        assert_eq!(back.len(), 102);
        assert_eq!(back[101], {
            let mut g = gap(200_000, 1_000_000_000);
            mmtrace_common::spec(Kind::Gap).fields[0].set(&mut g, 200);
            g
        });
    }
}

#[test]
fn time_ranges_start_with_a_gap() {
    let (_temp, dir) = temp();
    let all = records(400);
    write(&dir, &all, 100, 100);
    let capture = Capture::open(&dir).expect("open");
    for (from, to) in [(1, 400), (50, 60), (100, 101), (101, 200), (151, 350), (399, 1000), (400, 400)] {
        let back: Vec<_> = capture.records_between(from * 1000, to * 1000).collect();
        let wanted: Vec<_> = all.iter().filter(|r| (from * 1000..=to * 1000).contains(&r.ts)).copied().collect();
        if from == 1 {
            assert_eq!(back, wanted);
        } else {
            assert!(is_gap(&back[0]) && back[0].ts == 900, "{from}");
            assert_eq!(back[0].get(Column::Count), Some(from - 1));
            // A loss that was passed over reaches beyond its own time.
            let skipped = all.iter().filter(|r| r.ts < from * 1000);
            let reach = skipped.filter_map(|r| r.get(Column::Until)).max().unwrap_or(0);
            assert_eq!(back[0].get(Column::Until), Some(reach.max(from * 1000)));
            assert_eq!(back[1..], wanted);
        }
    }
    assert_eq!(capture.records_between(500_000, 600_000).count(), 0);
    assert_eq!(capture.records_between(0, 999).count(), 0);
}

#[test]
fn a_kill_at_any_moment_loses_at_most_the_open_batch() {
    const BATCH: usize = 16_384;
    let (_temp, dir) = temp();
    let all = few(3 * BATCH);
    let mut writer = start(&dir, &[], 1, WriterOptions::default());
    for (i, record) in all.iter().enumerate() {
        writer.append(record).expect("append");
        let appended = i + 1;
        if appended % BATCH < 2 || appended % 5_000 == 0 {
            // A kill leaves what is in the files at that moment; so does a copy of them.
            let killed = dir.with_extension(appended.to_string());
            copy(&dir, &killed);
            let mut found = read(&killed).0;
            found.retain(|r| !is_gap(r));
            assert_eq!(found, all[..appended / BATCH * BATCH], "after {appended}");
        }
    }
}

#[test]
fn an_interrupted_recording_is_recovered() {
    let (_temp, dir) = temp();
    let all = records(250);
    let mut writer = start(&dir, &all[..240], 60, small(100));
    for record in &all[240..] {
        writer.append(record).expect("append");
    }
    drop(writer);
    let (back, capture) = read(&dir);
    assert_eq!((back, capture.condition()), (all, Condition::Recovered));
    assert_eq!(capture.manifest().segments.len(), 2);
    assert!(dir.join("segment-000003.arrows").exists());
}

#[test]
fn segments_are_sealed_by_age() {
    let (_temp, dir) = temp();
    let options = WriterOptions { segment_age: Duration::ZERO, ..WriterOptions::default() };
    let manifest = start(&dir, &records(30), 10, options).finish(FinalInfo::default()).expect("finish");
    assert_eq!(manifest.segments.len(), 3);
    assert_eq!(read(&dir).0, records(30));
}

fn edit(dir: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let name = dir.join("manifest.json");
    let mut value = serde_json::from_slice(&fs::read(&name).expect("manifest")).expect("json");
    change(&mut value);
    fs::write(name, serde_json::to_vec(&value).expect("json")).expect("write");
}

#[test]
fn versions_and_unknown_fields() {
    let (_temp, dir) = temp();
    write(&dir, &records(10), 10, 10);
    edit(&dir, |m| {
        m["version"]["minor"] = 7.into();
        m["weather"] = "fine".into();
        m["segments"][0]["colour"] = "blue".into();
        m["context"]["mood"] = 3.into();
    });
    assert_eq!(read(&dir).0, records(10));
    edit(&dir, |m| {
        *m = serde_json::json!({ "format": "mmtrace-capture", "version": { "major": 2, "minor": 0 }, "tool": "9.1.0" });
    });
    let error = Capture::open(&dir).expect_err("newer");
    assert!(matches!(error, CaptureError::NewerFormat { major: 2, .. }));
    assert!(error.to_string().ends_with("reads up to 1: read it with mmtrace 9.1.0 or newer"), "{error}");
}

#[test]
fn what_is_not_a_capture_is_named() {
    let (temp, dir) = temp();
    let path = temp.path();
    assert!(matches!(Capture::open(&path.join("nothing")), Err(CaptureError::NotACapture { .. })));
    fs::create_dir(path.join("empty")).expect("mkdir");
    assert!(matches!(Capture::open(&path.join("empty")), Err(CaptureError::NotACapture { .. })));
    fs::write(path.join("file"), b"x").expect("file");
    assert!(matches!(Capture::open(&path.join("file")), Err(CaptureError::NotACapture { .. })));
    fs::write(path.join("empty/manifest.json"), b"{\"name\": \"a web app\"}").expect("file");
    assert!(matches!(Capture::open(&path.join("empty")), Err(CaptureError::NotACapture { .. })));
    write(&dir, &records(10), 10, 10);
    fs::remove_file(dir.join("manifest.json")).expect("remove");
    assert!(matches!(Capture::open(&dir), Err(CaptureError::NoManifest { .. })));
}

#[test]
fn a_manifest_cannot_point_elsewhere() {
    let (temp, dir) = temp();
    write(&dir, &records(10), 10, 10);
    fs::copy(dir.join("segment-000001.parquet"), temp.path().join("segment-000001.parquet")).expect("copy");
    edit(&dir, |m| m["segments"][0]["file"] = "../segment-000001.parquet".into());
    let (_, capture) = read(&dir);
    assert!(capture.problems()[0].what.contains("no segment's name"));
    edit(&dir, |m| m["segments"][0]["file"] = "segment-000001.parquet".into());
    fs::remove_file(dir.join("segment-000001.parquet")).expect("remove");
    symlink("../segment-000001.parquet", dir.join("segment-000001.parquet")).expect("symlink");
    assert!(read(&dir).1.problems()[0].what.contains("no regular file"));
}

#[test]
fn an_older_capture_makes_room_and_nothing_else_does() {
    let (temp, dir) = temp();
    let old = temp.path().join("c.mmt.old");
    assert_eq!(make_room(&dir).expect("nothing there"), None);
    fs::create_dir(&dir).expect("mkdir");
    assert_eq!(make_room(&dir).expect("empty"), None);
    write(&dir, &records(10), 10, 10);
    assert!(matches!(CaptureWriter::create(&dir, &context(), vec![], small(1)), Err(CaptureError::Occupied { .. })));
    assert_eq!(make_room(&dir).expect("a capture"), Some(old.clone()));
    write(&dir, &records(20), 10, 10);
    assert_eq!(make_room(&dir).expect("two captures"), Some(old.clone()));
    assert_eq!(read(&old).0.len(), 20);

    write(&dir, &records(10), 10, 10);
    fs::write(old.join("notes.txt"), b"mine").expect("note");
    assert!(matches!(make_room(&dir), Err(CaptureError::Occupied { path }) if path == old));
    fs::write(dir.join("notes.txt"), b"mine").expect("note");
    assert!(matches!(make_room(&dir), Err(CaptureError::Occupied { path }) if path == dir));
    fs::remove_dir_all(&dir).expect("remove");
    fs::write(&dir, b"a file").expect("file");
    assert!(matches!(make_room(&dir), Err(CaptureError::Occupied { .. })));
    assert!(old.join("notes.txt").exists() && dir.is_file());
}

/// `/dev/full` answers every write as a full disk does; the files that the writer will open are planted there.
#[test]
fn a_full_disk_ends_the_recording_and_keeps_the_sealed_segments() {
    for planted in ["segment-000002.arrows", "segment-000002.parquet.part", "manifest.json.tmp"] {
        let (_temp, dir) = temp();
        let all = records(1000);
        let mut writer = start(&dir, &[], 1, small(100));
        let error = all.chunks(100).enumerate().find_map(|(i, chunk)| {
            if i == 1 {
                // The first segment must be sealed before the disk is full.
                while Manifest::load(&dir).expect("manifest").segments.is_empty()
                    || dir.join("segment-000001.arrows").exists()
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                symlink("/dev/full", dir.join(planted)).expect("symlink");
            }
            chunk.iter().try_for_each(|r| writer.append(r)).and_then(|()| writer.flush()).err()
        });
        let error = error.unwrap_or_else(|| writer.finish(FinalInfo::default()).expect_err("full"));
        assert!(
            matches!(&error, CaptureError::DiskFull { path, .. } if path.ends_with(planted)),
            "{planted}: {error:?}"
        );
        assert!(error.to_string().contains("sealed segments stay valid"), "{error}");
        fs::remove_file(dir.join(planted)).expect("remove");
        let (back, capture) = read(&dir);
        assert!(back.len() >= 100 && back == all[..back.len()], "{planted}: {} records", back.len());
        assert_eq!(capture.condition(), Condition::Recovered, "{planted}");
    }
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
    scan.aux = 77;
    let end = Record { ts: 3_000_000_900, kind: Kind::MigratePages as u16, aux: 2, ..Record::default() };
    write(&dir, &[fault, scan, end], 10, 10);
    let plain = DumpArgs { dir, json: false, csv: false, filter: None, limit: None };
    let text = dumped(&plain);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "     1.000001000 [001]      41/42      page_fault_user mm=0xffff888100000040 addr=0x7f0000001000 ip=0x401234 error_code=0x6"
    );
    assert!(lines[1].ends_with("mm_khugepaged_scan_file present=5 swap=-1 status=#77"), "{}", lines[1]);
    assert!(lines[2].ends_with("thp_split=0 mode=MIGRATE_SYNC reason=#0"), "{}", lines[2]);

    let json = dumped(&DumpArgs { json: true, ..plain.clone() });
    let first: serde_json::Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        first,
        serde_json::json!({ "ts": 1_000_001_900u64, "cpu": 1, "pid": 41, "tid": 42, "kind": "page_fault_user",
            "mm": "0xffff888100000040", "addr": "0x7f0000001000", "ip": "0x401234", "error_code": "0x6" })
    );
    let csv = dumped(&DumpArgs { csv: true, ..plain.clone() });
    let widths: Vec<_> = csv.lines().map(|l| l.split(',').count()).collect();
    assert_eq!(widths, [6 + Column::ALL.len(); 4]);
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
        let condition = info(&InfoArgs { dir: dir.clone(), json }, &mut out).expect("info");
        (String::from_utf8(out).expect("UTF-8"), condition)
    };
    let (text, condition) = show(false);
    assert_eq!(condition, Condition::Complete);
    for line in [
        "condition  complete: ",
        "kernel     6.18.0 x86_64, 2 CPUs",
        "duration   0.999999100 s",
        "events     310",
        "probes     1 of 1 attached",
        "mm_migrate_pages: attached as raw_tp; no BTF; without large_folio_split",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    fs::remove_file(dir.join("segment-000002.parquet")).expect("remove");
    let (text, condition) = show(false);
    assert_eq!(condition, Condition::Damaged);
    assert!(text.contains("segment-000002.parquet: does not exist; 100 events are missing"), "{text}");
    let value: serde_json::Value = serde_json::from_str(&show(true).0).expect("JSON");
    assert_eq!((&value["condition"], &value["totals"]["events"]), (&"damaged".into(), &210.into()));
    assert_eq!(value["problems"][0]["missing"], 100);
}

#[test]
fn numbers_in_a_manifest_are_not_believed() {
    let (_temp, dir) = temp();
    write(&dir, &records(20), 10, 10);
    let entry = |m: &mut Manifest, change: fn(&mut SegmentEntry)| m.segments.iter_mut().for_each(change);
    let original = Manifest::load(&dir).expect("manifest");
    for change in [
        (|e| e.rows = u64::MAX) as fn(&mut SegmentEntry),
        |e| e.bytes = u64::MAX,
        |e| e.lost = u64::MAX,
        |e| e.kinds.values_mut().for_each(|n| *n = u64::MAX),
        |e| e.first_ts = u64::MAX,
        |e| e.file = "segment-000001.parquet".to_owned(),
        |e| e.file = "segment-999999999999.parquet".to_owned(),
    ] {
        let mut manifest = original.clone();
        entry(&mut manifest, change);
        fs::write(dir.join("manifest.json"), serde_json::to_vec(&manifest).expect("json")).expect("write");
        let (back, capture) = read(&dir);
        let _ = capture.summary();
        let _ = info(&InfoArgs { dir: dir.clone(), json: false }, &mut Vec::new());
        assert!(back.len() <= 23);
    }
}

mod property {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let header = (any::<u64>(), prop_oneof![Just(0), any::<u64>()], any::<u32>(), any::<u32>(), any::<u16>());
        let values = proptest::collection::vec(prop_oneof![Just(0), Just(u64::MAX), 0..8u64, any::<u64>()], 16);
        (0..SPECS.len(), header, values).prop_map(|(kind, (ts, mm, tgid, tid, cpu), values)| {
            let spec = &SPECS[kind];
            let mut record = Record { ts, mm, tgid, tid, kind: spec.kind as u16, cpu, ..Record::default() };
            for (field, value) in spec.fields.iter().zip(values) {
                let lacking = spec.kind == Kind::MigratePages && field.column == Column::LargeFolioSplit;
                let value = match (field.column.ty(), field.slot) {
                    _ if lacking => 0,
                    (FieldType::Int, Slot::Arg(_)) => u64::from(value as u32),
                    (FieldType::Bool, Slot::Arg(_)) => value & 1,
                    _ => value,
                };
                field.set(&mut record, value);
            }
            record
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn any_records_come_back(
            all in proptest::collection::vec(any_record(), 0..300),
            batch in 1..100usize,
            segment in 1..200u64,
            finish in any::<bool>(),
        ) {
            let (_temp, dir) = temp();
            let writer = start(&dir, &all, batch, small(segment));
            if finish {
                writer.finish(FinalInfo::default()).expect("finish");
            } else {
                drop(writer);
            }
            let (back, capture) = read(&dir);
            prop_assert_eq!(capture.problems(), vec![]);
            prop_assert_eq!(capture.summary().events, all.len() as u64);
            prop_assert_eq!(back, all);
        }
    }
}

#[test]
fn a_capture_at_work_is_left_alone_and_can_be_read() {
    let (_temp, dir) = temp();
    let all = records(100);
    let mut writer = start(&dir, &all, 50, small(50));
    while !dir.join("segment-000002.parquet").exists() || dir.join("segment-000002.arrows").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(make_room(&dir), Err(CaptureError::InUse { .. })));
    let (back, capture) = read(&dir);
    assert_eq!((back, capture.condition(), capture.is_live()), (all.clone(), Condition::Recovered, true));
    writer.append(&all[0]).expect("append");
    writer.finish(FinalInfo::default()).expect("finish");
    assert!(!Capture::open(&dir).expect("open").is_live());
    assert!(make_room(&dir).expect("room").is_some());
}

#[test]
fn a_stream_that_is_sealed_while_it_is_read_is_read_sealed() {
    let (_temp, dir) = temp();
    let all = records(100);
    let writer = start(&dir, &all, 50, small(1000));
    while Capture::open(&dir).expect("open").summary().events < 100 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let capture = Capture::open(&dir).expect("open");
    writer.finish(FinalInfo::default()).expect("finish");
    assert_eq!(capture.records().collect::<Vec<_>>(), all);
    assert_eq!(capture.problems(), []);
}

fn bytes_in(dir: &Path) -> u64 {
    fs::read_dir(dir).expect("listed").map(|e| e.expect("listed").metadata().map_or(0, |m| m.len())).sum()
}

/// A flight recorder: the newest records within the size, at every moment, and a capture like any other.
#[test]
fn a_flight_recorder_keeps_the_newest_within_its_size() {
    let (_temp, dir) = temp();
    let keep = 2 << 20;
    // What is not sealed yet: the open segment, one that waits, and one that is being sealed.
    let unsealed = 4 << 20;
    let options = WriterOptions { keep_bytes: Some(keep), queue: 1, ..small(BATCH_ROWS as u64) };
    assert!(WriterOptions::keeping(Some(1 << 30)).segment_rows < WriterOptions::default().segment_rows + 1);
    let some = records(20_000);
    let mut writer = start(&dir, &[], 1, options);
    let mut written = Vec::new();
    let mut dump = None;
    for round in 0..30_u64 {
        for record in &some {
            let record = Record { ts: record.ts + round * 1_000_000_000, ..*record };
            writer.append(&record).expect("written");
            written.push(record);
        }
        if round == 20 {
            let kept = dir.with_extension("kept");
            dump = Some((writer.dump(&kept).expect("asked for"), kept, written.len()));
        }
        let bytes = bytes_in(&dir);
        assert!(bytes <= keep + unsealed, "round {round}: {bytes} bytes");
    }
    let manifest = writer.finish(FinalInfo::default()).expect("finished");
    assert!(manifest.dropped.segments > 0);
    let (read_back, capture) = read(&dir);
    assert_eq!(capture.condition(), Condition::Complete);
    assert!((keep / 4..=keep).contains(&bytes_in(&dir)), "{} bytes", bytes_in(&dir));
    assert!(written.ends_with(&read_back), "the newest, in order, and no gap before them");
    assert_eq!(manifest.dropped.events + read_back.len() as u64, written.len() as u64);
    // Recording began, as far as this capture knows, where the last record was removed.
    assert!(capture.context().start >= written[written.len() - read_back.len() - 1].ts);

    // What was kept on the way is not touched by what came later.
    let (answer, kept, upto) = dump.expect("it was asked for");
    let (kept_records, kept_capture) = read(&kept);
    assert_eq!(answer.recv().expect("an answer").expect("kept"), kept_records.len() as u64);
    assert_eq!(kept_capture.condition(), Condition::Complete);
    assert!(written[..upto].ends_with(&kept_records) && !kept_records.is_empty());
}

/// Killed between the manifest and the file: what was given up is not read again.
#[test]
fn what_a_flight_recorder_gave_up_stays_out() {
    let (_temp, dir) = temp();
    write(&dir, &few(400), 100, 100);
    let first = fs::read_dir(&dir).expect("listed").count();
    edit(&dir, |manifest| {
        manifest["segments"].as_array_mut().expect("segments").remove(0);
        manifest["dropped"] = serde_json::json!({ "segments": 1, "events": 100 });
    });
    let (records, capture) = read(&dir);
    assert_eq!(fs::read_dir(&dir).expect("listed").count(), first, "the file is still there");
    assert_eq!(capture.condition(), Condition::Complete);
    assert!(few(400).ends_with(&records) && records.len() < 400);
}

#[test]
fn what_is_saved_is_a_capture_that_begins_there() {
    let (_temp, dir) = temp();
    let some = few(300);
    let saved = mmtrace::capture::save(&dir, &context(), None, 0, some[100..].iter().copied()).expect("saved");
    assert_eq!(saved.map(|s| s.events), Some(200));
    let (records, capture) = read(&dir);
    assert_eq!(records, some[100..]);
    assert_eq!(capture.context().start, some[100].ts);
    let beside = mmtrace::capture::free_name(&dir);
    assert!(beside.to_string_lossy().ends_with("-1"));
    assert_eq!(mmtrace::capture::save(&beside, &context(), None, 0, std::iter::empty()).expect("nothing"), None);
    assert!(!beside.exists());
}
