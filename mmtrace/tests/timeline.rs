//! Travelling in a capture: wherever one jumps, the state is that of a replay that stops there.

#[path = "common/golden.rs"]
mod golden;

use golden::{Golden, TESTDATA, goldens};
use mmtrace_capture::Capture;
use mmtrace_common::Record;
use mmtrace_model::{
    replay::{Engine, recent::Recent, timeline::Timeline},
    report::{Report, callers::Tables},
};

fn state(engine: &Engine) -> String {
    let mut report = Report::new(engine);
    // A checkpoint lacks these tables.
    (report.callers, report.mappings, report.functions) = (Tables::default(), Vec::new(), Vec::new());
    let report = serde_json::to_string(&report).expect("a report");
    format!("{report}\n{:?}", engine.stats())
}

fn fresh<'a>(golden: &'a Golden, records: impl Iterator<Item = &'a Record>) -> String {
    let mut engine = Engine::new(golden.context.clone(), true).with_stats();
    for record in records {
        engine.apply(record);
    }
    state(&engine)
}

#[test]
fn a_jump_ends_where_a_replay_would() {
    for golden in goldens() {
        let capture = Capture::open(&std::path::Path::new(TESTDATA).join(&golden.name).join("capture")).expect("open");
        let mut timeline = Timeline::new(capture.context().clone(), &capture);
        let n = golden.records.len();
        let mut bits = 0x9e37_79b9_u64;
        for _ in 0..12 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let ts = golden.records[(bits >> 33) as usize % n].ts;
            timeline.seek(ts);
            let expected = fresh(golden, golden.records.iter().take_while(|r| r.ts <= ts));
            assert!(state(timeline.engine()) == expected, "{} at {ts}", golden.name);
            let taken = (bits >> 17) as usize % n;
            timeline.seek_taken(taken as u64);
            assert_eq!(timeline.taken(), taken as u64);
            assert!(
                state(timeline.engine()) == fresh(golden, golden.records[..taken].iter()),
                "{} after {taken}",
                golden.name
            );
        }
    }
}

/// What a paused dashboard goes back in: the stream as it was kept in memory, in batches.
#[test]
fn going_back_in_a_recording_is_going_back_in_its_capture() {
    for golden in goldens() {
        let mut engine = Engine::new(golden.context.clone(), true).with_stats();
        let mut recent = Recent::default();
        for batch in golden.records.chunks(4_321) {
            recent.push(&engine, batch);
            for record in batch {
                engine.apply(record);
            }
        }
        let stored = recent.stored();
        assert!(stored.clone().eq(golden.records.iter().copied()), "{}: all of it fits", golden.name);
        let mut timeline = Timeline::at_end(stored, engine.clone());
        assert!(state(timeline.engine()) == state(&engine));
        let n = golden.records.len();
        for taken in [n - 1, n / 3, 0, n / 2, n] {
            timeline.seek_taken(taken as u64);
            assert!(
                state(timeline.engine()) == fresh(golden, golden.records[..taken].iter()),
                "{} after {taken}",
                golden.name
            );
        }
    }
}
