//! What the waits of real captures are charged to: it adds up, and where events are missing it is unknown, never another
//! name.

#[path = "common/golden.rs"]
mod golden;

use golden::goldens;
use mmtrace_common::Kind;
use mmtrace_model::report::{blame::BlameKind, callers::By};
use mmtrace_testing::{
    charges::{by_victim, contended, pairs},
    holes::{Hole, Holed, Which},
    judging::judge,
    kernel::Random,
};

#[test]
fn what_is_charged_adds_up_to_the_waits_of_each_capture() {
    let mut waits = 0;
    for golden in goldens() {
        let engine = judge(&golden.context, &golden.records);
        for by in [By::Caller, By::Thread, By::Process, By::Call, By::Cgroup] {
            assert_eq!(by_victim(&engine, by), contended(&engine, by), "{} {by:?}", golden.name);
        }
        waits += contended(&engine, By::Caller).len();
    }
    assert!(waits > 50, "{waits}");
}

/// As for streams that are made up (mmtrace-model/tests/blame.rs). Only events of mmap_locks go missing: without those of
/// tasks and names, threads would have other names.
#[test]
fn missing_events_make_charges_unknown_and_never_another_name() {
    let (mut unknown, mut known) = (0, 0);
    for golden in goldens() {
        let whole = pairs(&judge(&golden.context, &golden.records));
        let locks = [Kind::StartLocking, Kind::AcquireReturned, Kind::Released];
        let places: Vec<usize> = (0..golden.records.len())
            .filter(|at| golden.records[*at].kind().is_some_and(|kind| locks.contains(&kind)))
            .collect();
        for seed in 0..8 {
            let mut random = Random(seed);
            let mut holed = Holed::new(&golden.records);
            for _ in 0..=random.below(4) {
                // A run of one kind of lock event.
                holed.make(Hole {
                    at: places[random.index(places.len())],
                    len: 1 + random.index(100),
                    which: Which::OfKind,
                    told: Kind::Loss,
                    before: 0,
                    after: random.pick(&[0, 3_000]),
                    seed,
                });
            }
            let engine = judge(&golden.context, holed.stream());
            assert_eq!(by_victim(&engine, By::Caller), contended(&engine, By::Caller), "{} {seed}", golden.name);
            for (pair, ns) in pairs(&engine) {
                if pair.2 == BlameKind::NotKnown {
                    unknown += ns;
                    continue;
                }
                let most = whole.get(&pair).copied().unwrap_or(0);
                assert!(ns <= most, "{} {seed} {pair:?}: {ns} of {most}", golden.name);
                known += ns;
            }
        }
    }
    assert!(unknown > 0 && known > 0, "{known} {unknown}");
}
