//! The open segment: a stream that may end anywhere, and be read while it is written.

use std::{fs, time::Duration};

use mmtrace_capture::{Capture, CaptureError, Condition, FinalInfo, WriterOptions, make_room};
use mmtrace_common::Kind;

use crate::fixtures::{MASKS, copy, few, is_gap, read, records, small, start, temp};

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
fn columns_that_no_event_uses_any_more_are_left_out() {
    const BATCH: usize = 16_384;
    let (_temp, dir) = temp();
    // All columns, then few for so long that the others are left out, then all again.
    let mut all = records(BATCH);
    all.extend(few(12 * BATCH));
    let mut writer = start(&dir, &all[..BATCH], BATCH, small(u64::MAX));
    let length = || fs::metadata(dir.join("segment-000001.arrows")).expect("stream").len();
    let lengths: Vec<u64> = all[BATCH..]
        .chunks(BATCH)
        .map(|chunk| {
            let before = length();
            writer.append_all(chunk).expect("appended");
            length() - before
        })
        .collect();
    assert!(lengths[11] < lengths[1], "{lengths:?}");
    let more = records(BATCH);
    writer.append_all(&more).expect("appended");
    all.extend(more);
    drop(writer);
    assert_eq!(read(&dir).0, all);
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
