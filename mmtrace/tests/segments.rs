//! Segments that are gone, cut off, doubled or in another's place: what stands on both sides of the damage are no
//! neighbours, so that no rule is broken by it, and it is named.

#[path = "common/golden.rs"]
mod golden;

use std::{
    fs,
    path::{Path, PathBuf},
};

use mmtrace_capture::{Capture, CaptureWriter, FinalInfo, Manifest, WriterOptions};
use mmtrace_testing::judging::{broken, judge};
use serde_json::{Value, json};

use golden::{Golden, goldens};

/// Segments that a capture is written in.
const SEGMENTS: usize = 8;

/// A capture beside the damaged one, of the same events.
const OTHER: &str = "other";

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
    ("one of another capture", |dir, n| {
        fs::copy(segment(&dir.with_file_name(OTHER), n), segment(dir, n)).expect("copied");
    }),
    ("one of another capture, and the manifest vouches for it", |dir, n| {
        let other = dir.with_file_name(OTHER);
        fs::copy(segment(&other, n), segment(dir, n)).expect("copied");
        let theirs = Manifest::load(&other).expect("a manifest").segments.swap_remove(n - 1);
        edit(dir, |segments| segments[n - 1] = serde_json::to_value(theirs).expect("JSON"));
    }),
    ("one of another capture, and the manifest has none", |dir, n| {
        fs::copy(segment(&dir.with_file_name(OTHER), n), segment(dir, n)).expect("copied");
        forget(dir);
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
        split(golden, &temp.path().join(OTHER));
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
        fs::remove_dir_all(temp.path().join(OTHER)).expect("removed");
    }
}

/// A power cut while one segment is sealed and the next one is open.
#[test]
fn a_stream_that_breaks_off_before_the_next_one_breaks_no_rule_and_is_named() {
    let temp = tempfile::tempdir().expect("a folder");
    for golden in goldens() {
        let (first, second) = golden.records.split_at(golden.records.len() / 2 + 1);
        let dir = temp.path().join(&golden.name);
        let stream = dir.join("segment-000001.arrows");
        let kept = temp.path().join("kept");
        let mut writer = begin(&dir, golden, first.len());
        for chunk in first.chunks(1 << 12).chain(second.chunks(1 << 12)) {
            chunk.iter().for_each(|record| writer.append(record).expect("taken"));
            if stream.exists() && !kept.exists() {
                fs::hard_link(&stream, &kept).expect("linked");
            }
            writer.flush().expect("written");
        }
        // As the writer leaves it when it is killed before the first of the two is sealed: that is finished, the second not.
        drop(writer);
        fs::remove_file(segment(&dir, 1)).expect("it was sealed");
        forget(&dir);
        fs::rename(kept, &stream).expect("renamed");
        let finished = fs::read(&stream).expect("a stream");
        let unfinished = &finished[..finished.len() - 16];
        assert_eq!(wrong(golden, &dir, false), Vec::<String>::new(), "{} as it was", golden.name);
        for length in [0, unfinished.len() / 3, unfinished.len() * 2 / 3, unfinished.len()] {
            fs::write(&stream, &unfinished[..length]).expect("written");
            assert_eq!(wrong(golden, &dir, true), Vec::<String>::new(), "{}: cut at {length}", golden.name);
        }
    }
}
