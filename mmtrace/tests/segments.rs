//! Segments that are gone, cut off, doubled or in another's place: what stands on both sides of the damage are no
//! neighbours, so that no rule is broken by it, and it is named.

#[path = "common/golden.rs"]
mod golden;

use std::{
    fs,
    path::{Path, PathBuf},
};

use mmtrace_capture::{Capture, CaptureWriter, FinalInfo, WriterOptions};
use mmtrace_testing::judging::{broken, judge};
use serde_json::{Value, json};

use golden::{Golden, goldens};

/// Segments that a capture is written in.
const SEGMENTS: usize = 8;

/// Damages the capture at the segment with this number.
type Damage = fn(&Path, usize);

const DAMAGES: &[(&str, Damage)] = &[
    ("gone", |dir, n| fs::remove_file(segment(dir, n)).expect("removed")),
    ("gone, and its stream is empty", |dir, n| {
        fs::remove_file(segment(dir, n)).expect("removed");
        fs::write(segment(dir, n).with_extension("arrows"), "").expect("written");
    }),
    ("gone, and the manifest does not have it", |dir, n| {
        fs::remove_file(segment(dir, n)).expect("removed");
        edit(dir, |segments| drop(segments.remove(n - 1)));
    }),
    ("gone, and the manifest has none", |dir, n| {
        fs::remove_file(segment(dir, n)).expect("removed");
        forget(dir);
    }),
    ("gone with all that follow it, and the manifest has none of them", |dir, n| {
        (n..=SEGMENTS).for_each(|n| fs::remove_file(segment(dir, n)).expect("removed"));
        edit(dir, |segments| segments.truncate(n - 1));
    }),
    ("in the manifest, whose totals are without it", |dir, n| {
        edit_manifest(dir, |manifest| {
            let rows = manifest["segments"][n - 1]["rows"].as_u64().expect("a number");
            let events = manifest["totals"]["events"].as_u64().expect("a number");
            manifest["totals"]["events"] = json!(events - rows);
        });
    }),
    ("a copy of the one before it", |dir, n| {
        fs::copy(segment(dir, n - 1), segment(dir, n)).expect("copied");
        edit(dir, |segments| {
            let file = segments[n - 1]["file"].take();
            segments[n - 1] = segments[n - 2].clone();
            segments[n - 1]["file"] = file;
        });
    }),
    ("a copy of the next one", |dir, n| {
        fs::copy(segment(dir, n + 1), segment(dir, n)).expect("copied");
        forget(dir);
    }),
    ("in the place of the next one", |dir, n| {
        swap(dir, n);
        edit(dir, |segments| {
            let files = [segments[n - 1]["file"].take(), segments[n]["file"].take()];
            segments.swap(n - 1, n);
            [segments[n - 1]["file"], segments[n]["file"]] = files;
        });
    }),
    ("in the place of the next one, and the manifest has none", |dir, n| {
        swap(dir, n);
        forget(dir);
    }),
];

fn segment(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("segment-{n:06}.parquet"))
}

fn swap(dir: &Path, n: usize) {
    let aside = dir.join("aside");
    fs::rename(segment(dir, n), &aside).expect("renamed");
    fs::rename(segment(dir, n + 1), segment(dir, n)).expect("renamed");
    fs::rename(aside, segment(dir, n + 1)).expect("renamed");
}

fn edit_manifest(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).expect("a manifest")).expect("JSON");
    change(&mut manifest);
    fs::write(path, serde_json::to_vec(&manifest).expect("JSON")).expect("written");
}

/// Changes the manifest's list of segments.
fn edit(dir: &Path, change: impl FnOnce(&mut Vec<Value>)) {
    edit_manifest(dir, |manifest| change(manifest["segments"].as_array_mut().expect("a list")));
}

/// As an interrupted recording, whose manifest knows of no segment yet.
fn forget(dir: &Path) {
    edit_manifest(dir, |manifest| {
        manifest["segments"] = json!([]);
        manifest["totals"] = json!({ "events": 0, "lost": 0, "missed": 0 });
        manifest["state"] = json!("recording");
    });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

fn begin(dir: &Path, golden: &Golden, rows: usize) -> CaptureWriter {
    let options = WriterOptions { segment_rows: rows as u64, ..WriterOptions::default() };
    CaptureWriter::create(dir, &golden.context, vec!["record".to_owned()], options).expect("created")
}

fn split(golden: &Golden, dir: &Path) {
    let rows = golden.records.len().div_ceil(SEGMENTS);
    let mut writer = begin(dir, golden, rows);
    for chunk in golden.records.chunks(rows) {
        chunk.iter().for_each(|record| writer.append(record).expect("taken"));
        writer.flush().expect("written");
    }
    writer.finish(FinalInfo { end_ts: golden.records.last().map_or(0, |r| r.ts) }).expect("sealed");
}

/// Reads it, and says what is wrong with that.
fn wrong(golden: &Golden, dir: &Path, damaged: bool) -> Vec<String> {
    let capture = Capture::open(dir).expect("it can be opened");
    let engine = judge(&golden.context, capture.records());
    let mut wrong: Vec<String> = broken(&engine).into_iter().map(|(rule, how)| format!("{rule}: {how}")).collect();
    if capture.problems().iter().any(|p| p.missing != Some(0)) != damaged {
        wrong.push(format!("problems: {:?}", capture.problems()));
    }
    wrong
}

#[test]
fn a_segment_that_is_not_where_it_was_breaks_no_rule_and_is_named() {
    let temp = tempfile::tempdir().expect("a folder");
    for golden in goldens() {
        let whole = temp.path().join(&golden.name);
        split(golden, &whole);
        assert_eq!(wrong(golden, &whole, false), Vec::<String>::new(), "{} as it was", golden.name);
        for (what, damage) in DAMAGES {
            for n in [2, 4, 7] {
                let dir = temp.path().join("damaged");
                copy(&whole, &dir);
                damage(&dir, n);
                assert_eq!(wrong(golden, &dir, true), Vec::<String>::new(), "{}: segment {n} is {what}", golden.name);
                fs::remove_dir_all(dir).expect("removed");
            }
        }
    }
}

/// A power cut while one segment is sealed and the next one is open.
#[test]
fn a_stream_that_breaks_off_before_the_next_one_breaks_no_rule_and_is_named() {
    let temp = tempfile::tempdir().expect("a folder");
    for golden in goldens() {
        let (first, second) = golden.records.split_at(golden.records.len() / 2);
        let dir = temp.path().join(&golden.name);
        // As the writer leaves it when it is killed: the first of the two is finished.
        let mut streams = Vec::new();
        for (name, records) in [("first", first), ("second", second)] {
            let one = temp.path().join(name);
            let mut writer = begin(&one, golden, usize::MAX >> 1);
            for chunk in records.chunks(1 << 12) {
                chunk.iter().for_each(|record| writer.append(record).expect("taken"));
                writer.flush().expect("written");
            }
            drop(writer);
            streams.push(fs::read(one.join("segment-000001.arrows")).expect("a stream"));
            if name == "second" {
                fs::rename(&one, &dir).expect("renamed");
                fs::rename(dir.join("segment-000001.arrows"), dir.join("segment-000002.arrows")).expect("renamed");
            } else {
                fs::remove_dir_all(one).expect("removed");
            }
        }
        let stream = dir.join("segment-000001.arrows");
        let finished: Vec<u8> = [&streams[0][..], &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0].repeat(2)].concat();
        fs::write(&stream, &finished).expect("written");
        assert_eq!(wrong(golden, &dir, false), Vec::<String>::new(), "{} as it was", golden.name);
        for length in [0, streams[0].len() / 3, streams[0].len() * 2 / 3, streams[0].len()] {
            fs::write(&stream, &streams[0][..length]).expect("written");
            assert_eq!(wrong(golden, &dir, true), Vec::<String>::new(), "{}: cut at {length}", golden.name);
        }
    }
}
