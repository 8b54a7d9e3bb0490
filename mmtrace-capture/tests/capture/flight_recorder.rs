//! What is kept of a longer recording: a flight recorder, and the last seconds saved.

use std::{fs, path::Path};

use mmtrace_capture::{Condition, FinalInfo, WriterOptions};
use mmtrace_common::Record;

use crate::fixtures::{context, edit, few, read, records, small, start, temp, write};

/// Records after which a writer closes a batch.
const BATCH: u64 = 16_384;

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
    let options = WriterOptions { keep_bytes: Some(keep), queue: 1, ..small(BATCH) };
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
        manifest["totals"]["events"] = 300.into();
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
    let staging = mmtrace_capture::Staging::beside(&dir).expect("made");
    let saved =
        mmtrace_capture::save(&dir, &staging, &context(), vec![], None, 0, some[100..].iter().copied()).expect("saved");
    assert_eq!(saved.map(|s| s.events), Some(200));
    let (records, capture) = read(&dir);
    assert_eq!(records, some[100..]);
    assert_eq!(capture.context().start, some[100].ts);
    let beside = mmtrace_capture::free_name(&dir);
    assert!(beside.to_string_lossy().ends_with("-1"));
    assert_eq!(
        mmtrace_capture::save(&beside, &staging, &context(), vec![], None, 0, std::iter::empty()).expect("nothing"),
        None
    );
    assert!(!beside.exists());
}
