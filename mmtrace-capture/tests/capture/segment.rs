//! Sealed segments: what is damaged or missing is noticed, and nothing is lost or doubled by sealing.

use std::{fs, path::Path};

use mmtrace_capture::{Capture, Condition, FinalInfo, Manifest, State, Totals};
use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::replay::source::Source;

use crate::fixtures::{MASKS, copy, edit, few, in_lists, is_gap, read, records, small, start, temp, write};

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
    let recording = Manifest { segments: vec![], totals: Totals::default(), state: State::Recording, ..manifest };
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

/// Writes records into one segment. Returns the stream that it replaced, and its manifest.
fn seal(dir: &Path, records: &[Record]) -> (Vec<u8>, Manifest) {
    let writer = start(dir, records, 50, small(1000));
    let stream = fs::read(dir.join("segment-000001.arrows")).expect("stream");
    (stream, writer.finish(FinalInfo { end_ts: 1_000_000_000 }).expect("finish"))
}

#[test]
fn a_crash_at_any_step_of_sealing_loses_and_doubles_nothing() {
    let (temp, sealed) = temp();
    let all = records(200);
    let (stream, done) = seal(&sealed, &all);
    let recording = Manifest { state: State::Recording, end_ts: None, ..done };
    let before = Manifest { segments: vec![], totals: Totals::default(), ..recording.clone() };
    let parquet = fs::read(sealed.join("segment-000001.parquet")).expect("parquet");

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
    let (_temp, sealed) = temp();
    let all = records(200);
    let (stream, _) = seal(&sealed, &all);
    fs::write(sealed.join("segment-000001.arrows"), stream).expect("write");
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
        let manifest = write(&dir, &all, 100, 100);
        // What is missing may tell of losses that reach beyond it.
        let reach = |segments: &[usize]| segments.iter().map(|n| manifest.segments[n - 1].missing_until).max();
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
        let mut expected = vec![gap(900, reach(&[1]).max(Some(101_000)).expect("a time"))];
        expected.extend(&all[100..200]);
        expected.push(gap(200_000, reach(&[1, 3]).max(Some(301_000)).expect("a time")));
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
        assert_eq!(in_lists(|| capture.records_between(from * 1000, to * 1000)), back);
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
    assert_eq!(in_lists(|| capture.records_between(0, 999)), []);
}

#[test]
fn a_capture_is_a_source_that_says_what_is_wrong_with_it() {
    let (_temp, dir) = temp();
    write(&dir, &records(310), 100, 100);
    let sound = Capture::open(&dir).expect("open");
    assert_eq!((&sound).damage(), [""; 0]);
    assert!(Source::records_after(&&sound, 105).eq(records(310).into_iter().skip(105)));
    fs::remove_file(dir.join("segment-000002.parquet")).expect("remove");
    let damaged = Capture::open(&dir).expect("open");
    assert_eq!((&damaged).damage(), ["segment-000002.parquet: does not exist; 100 events are missing"]);
    assert!(Source::records(&&damaged).any(|record| is_gap(&record)));
    assert!(Source::records(&&damaged).eq(damaged.records()));
}

/// Times fit, and the manifest vouches for the foreign segment: only the id tells.
#[test]
fn a_segment_of_another_capture_is_named_and_not_read() {
    let all = few(300);
    let foreign = |change: fn(&Path, &Path)| {
        let (temp, dir) = temp();
        let other = temp.path().join("other");
        write(&dir, &all, 100, 100);
        let mut others = all.clone();
        others.iter_mut().for_each(|record| record.tid = 99);
        write(&other, &others, 100, 100);
        change(&dir, &other);
        let (back, capture) = read(&dir);
        assert!(back.iter().all(|record| record.tid != 99), "it is read");
        assert!(back.iter().any(is_gap) && capture.condition() == Condition::Damaged);
        capture.problems().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let replaced = foreign(|dir, other| {
        fs::copy(other.join("segment-000002.parquet"), dir.join("segment-000002.parquet")).expect("copy");
    });
    assert_eq!(
        replaced,
        ["segment-000002.parquet: does not match its checksum, and belongs to another capture; 100 events are missing"]
    );
    let unknown = "an unknown number of events is missing";
    let vouched = foreign(|dir, other| {
        fs::copy(other.join("segment-000002.parquet"), dir.join("segment-000002.parquet")).expect("copy");
        let entry = Manifest::load(other).expect("a manifest").segments[1].clone();
        edit(dir, |manifest| manifest["segments"][1] = serde_json::to_value(entry).expect("JSON"));
    });
    let what = "belongs to another capture: what it was is not known";
    assert_eq!(vouched, [format!("segment-000002.parquet: {what}; {unknown}")]);
    let unlisted = foreign(|dir, other| {
        fs::copy(other.join("segment-000003.parquet"), dir.join("segment-000004.parquet")).expect("copy");
    });
    assert_eq!(unlisted, [format!("segment-000004.parquet: belongs to another capture; {unknown}")]);
    let open = foreign(|dir, other| {
        fs::remove_dir_all(other).expect("remove");
        drop(start(other, &few(10), 10, small(100)));
        fs::copy(other.join("segment-000001.arrows"), dir.join("segment-000004.arrows")).expect("copy");
    });
    assert_eq!(open, [format!("segment-000004.arrows: belongs to another capture; {unknown}")]);
    let of_one_without = foreign(|dir, _| edit(dir, |manifest| drop(manifest.as_object_mut().map(|m| m.remove("id")))));
    assert_eq!(of_one_without.len(), 3, "a capture without an id has segments without");
}

#[test]
fn the_end_of_the_segment_list_is_missed() {
    let (_temp, dir) = temp();
    let all = few(400);
    write(&dir, &all, 100, 100);
    edit(&dir, |manifest| manifest["segments"].as_array_mut().expect("segments").truncate(2));
    // The manifest is damaged, and nothing else.
    let (back, capture) = read(&dir);
    assert_eq!((back, capture.condition()), (all.clone(), Condition::Complete));
    let said = "manifest.json: counts 400 events, and the segments that it lists have 200";
    assert_eq!(capture.problems()[0].to_string(), format!("{said}; 0 events are missing"));

    fs::remove_file(dir.join("segment-000004.parquet")).expect("remove");
    let (back, capture) = read(&dir);
    assert_eq!((&back[..300], capture.condition()), (&all[..300], Condition::Damaged));
    assert_eq!((is_gap(&back[300]), back[300].get(Column::Count), back.len()), (true, Some(100), 301));
    assert_eq!(capture.problems()[0].to_string(), format!("{said}; 100 events are missing"));

    fs::remove_file(dir.join("segment-000003.parquet")).expect("remove");
    edit(&dir, |manifest| manifest["segments"] = serde_json::json!([]));
    for n in [1, 2] {
        fs::remove_file(dir.join(format!("segment-00000{n}.parquet"))).expect("remove");
    }
    let (back, capture) = read(&dir);
    assert_eq!((back.len(), back[0].get(Column::Count)), (1, Some(400)));
    assert_eq!((capture.condition(), capture.summary().events), (Condition::Damaged, 0));
}

#[test]
fn a_segment_that_the_totals_are_without_is_no_neighbour() {
    let (_temp, dir) = temp();
    let all = few(200);
    write(&dir, &all, 100, 100);
    edit(&dir, |manifest| manifest["totals"]["events"] = 100.into());
    let (back, capture) = read(&dir);
    assert_eq!(back.iter().map(is_gap).collect::<Vec<_>>(), {
        let mut expected = vec![false; 202];
        (expected[0], expected[101]) = (true, true);
        expected
    });
    assert_eq!((capture.condition(), capture.problems()[0].missing), (Condition::Damaged, None));
    edit(&dir, |manifest| {
        manifest["totals"]["events"] = 200.into();
        manifest["totals"]["lost"] = 7.into();
    });
    let (back, capture) = read(&dir);
    assert_eq!((back, capture.condition()), (all, Condition::Complete));
    assert_eq!(capture.problems()[0].missing, Some(0));
}
