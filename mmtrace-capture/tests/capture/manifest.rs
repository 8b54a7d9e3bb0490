//! The manifest: what it says is not believed blindly.

use std::{fs, os::unix::fs::symlink};

use mmtrace_capture::{Capture, CaptureError, Condition, Manifest, SegmentEntry};

use crate::fixtures::{MASKS, copy, edit, is_gap, read, records, temp, write};

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
            if capture.condition() == Condition::Damaged {
                assert!(back.iter().any(is_gap), "byte {at}");
            } else {
                assert!(back.len() <= all.len(), "byte {at}");
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
fn a_manifest_elsewhere_is_not_read() {
    let (temp, dir) = temp();
    write(&dir, &records(10), 10, 10);
    fs::rename(dir.join("manifest.json"), temp.path().join("elsewhere.json")).expect("rename");
    symlink("../elsewhere.json", dir.join("manifest.json")).expect("symlink");
    let error = Capture::open(&dir).expect_err("a link").to_string();
    assert!(error.contains("it is a symbolic link, not a regular file"), "{error}");
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
        assert!(back.len() <= 23);
    }
}
