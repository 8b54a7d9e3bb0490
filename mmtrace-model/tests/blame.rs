//! What waits are charged to: it adds up, it is true, and missing events make it unknown, never another name.

use mmtrace_common::Kind;
use mmtrace_model::report::{blame::BlameKind, callers::By};
use mmtrace_testing::{
    charges::{blame, by_victim, contended, pairs},
    contention::{Contention, contention},
    holes::{Hole, Holed, Which},
    judging::judge,
    kernel::{Random, context},
};

const STEPS: usize = 2_000;

fn tid_of(name: &str) -> u32 {
    name.rsplit(' ').next().and_then(|tid| tid.parse().ok()).expect("a name ends in the thread's id")
}

#[test]
fn what_is_charged_adds_up_to_the_waits() {
    for seed in 0..20 {
        let engine = judge(&context(), &contention(seed, STEPS).records);
        for by in [By::Caller, By::Thread, By::Process, By::Call] {
            assert_eq!(by_victim(&engine, by), contended(&engine, by), "{seed} {by:?}");
        }
        let rows = blame(&engine, By::Caller);
        assert!(rows.iter().all(|row| row.charged.sum_ns == row.victims.iter().map(|part| part.ns).sum::<u64>()));
    }
}

/// A name is given only for the time that the named task held the lock in the waiter's way, or in that of a writer that was
/// ahead of it in the queue.
#[test]
fn nobody_is_charged_for_more_than_it_was_in_the_way() {
    let (mut named, mut via) = (0, 0);
    for seed in 0..20 {
        let Contention { records, in_the_way } = contention(seed, STEPS);
        let engine = judge(&context(), &records);
        for ((waiter, write, kind, culprit), ns) in pairs(&engine) {
            let Some((holder, held)) = culprit else { continue };
            assert_eq!(kind, BlameKind::Hold);
            let pair = ((tid_of(&waiter), write), (tid_of(&holder), held));
            assert!(ns <= in_the_way.get(&pair).copied().unwrap_or(0), "{seed} {pair:?}: {ns} of {in_the_way:?}");
            named += ns;
        }
        via += blame(&engine, By::Caller).iter().flat_map(|row| &row.via).map(|part| part.ns).sum::<u64>();
    }
    assert!(via > 0 && named > via, "{named} {via}");
}

/// Holes are said to be there. For each thread that waits, for read or for write, each culprit has at most what it has
/// without the holes, and so has what is charged to no hold.
#[test]
fn missing_events_make_charges_unknown_and_never_another_name() {
    let (mut unknown, mut known) = (0, 0);
    for seed in 0..200 {
        let records = contention(seed, STEPS).records;
        let whole = pairs(&judge(&context(), &records));
        let mut random = Random(seed);
        let mut holed = Holed::new(&records);
        for _ in 0..=random.below(4) {
            let which = [Which::All, Which::OfCpu(random.below(4) as u16), Which::Scattered, Which::OfKind];
            holed.make(Hole {
                // The names are at the beginning.
                at: 40 + random.index(records.len() - 40),
                len: 1 + random.index(40),
                which: random.pick(&which),
                told: random.pick(&[Kind::Loss, Kind::Gap, Kind::Missed]),
                before: random.pick(&[0, 3_000]),
                after: random.pick(&[0, 3_000]),
                seed,
            });
        }
        let engine = judge(&context(), holed.stream());
        for by in [By::Caller, By::Thread] {
            assert_eq!(by_victim(&engine, by), contended(&engine, by), "{seed} {by:?}");
        }
        for (pair, ns) in pairs(&engine) {
            if pair.2 == BlameKind::NotKnown {
                unknown += ns;
                continue;
            }
            let most = whole.get(&pair).copied().unwrap_or(0);
            assert!(ns <= most, "{seed} {pair:?}: {ns} of {most}");
            known += ns;
        }
    }
    assert!(unknown > 0 && known > unknown, "{known} {unknown}");
}
