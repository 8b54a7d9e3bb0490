//! Planted faults in streams with holes: a rule that does not find the fault says that it did not judge it.

use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::model::locks::mmap_lock::EPSILON_NS;
use mmtrace_testing::{
    holes::{Hole, Holed, Which},
    judging::{broken, judge},
    random::Random,
};

use crate::{FAULTS, edit::earlier, streams};

/// Places of each fault in each capture, and holes for each place.
const SPOTS: usize = 8;
const HOLES: u64 = 12;
/// Events before the place and after it.
const BEFORE: usize = 4000;
const AFTER: usize = 6000;

/// Whether a time lies in a hole, as the stream tells of it.
fn in_hole(stream: &[Record], ts: u64) -> bool {
    stream.iter().filter(|r| r.kind().is_some_and(Kind::is_missing)).any(|r| {
        let until = r.get(Column::Until).expect("it says until when");
        r.ts <= ts && ts <= until.saturating_add(EPSILON_NS)
    })
}

/// If no rule cries any more, then a part of the fault, or of what led to the violation, lies in the hole, or the rule says of something
/// that it was not judged, or it was not evaluated at all. Another rule may cry instead: the fault is real, and what is
/// missing can make it look different.
#[test]
fn a_rule_says_so_when_a_hole_keeps_it_from_judging() {
    let (mut tried, mut found, mut wrong) = (0, 0, Vec::new());
    for (rule, plants) in FAULTS {
        for (what, plant) in *plants {
            for stream in streams() {
                let golden = stream.golden;
                if rule.rule().blocked(&golden.context).is_some() {
                    continue;
                }
                let spots: Vec<usize> = (0..golden.records.len()).filter(|i| plant(stream, *i).is_some()).collect();
                for n in 0..SPOTS.min(spots.len()) {
                    let spot = spots[n * spots.len() / SPOTS.min(spots.len())];
                    let edit = plant(stream, spot).expect("it was a place");
                    let from = edit.first().saturating_sub(BEFORE);
                    let end = golden.records.len().min(edit.last() + AFTER);
                    let records = edit.stream(golden, from, end);
                    let mut context = earlier(golden);
                    context.start = context.start.max(if from == 0 { 0 } else { records[0].ts });
                    let engine = judge(&context, &records);
                    let sink = engine.sink().expect("it judges");
                    let Some(violation) = sink.kept().find(|v| v.rule == *rule).cloned() else { continue };
                    let first = violation.ts;
                    let led_to_it = violation.events.iter().map(|r| r.ts);
                    let times: Vec<u64> = edit.times(golden).chain([first]).chain(led_to_it).collect();
                    for seed in 0..HOLES {
                        let mut random = Random(seed << 32 | spot as u64);
                        let told = random.pick(&[Kind::Missed, Kind::Missed, Kind::Loss, Kind::Gap]);
                        let which = random.pick(&[Which::All, Which::OfCpu(0), Which::Scattered, Which::OfKind]);
                        let around = edit.first() - from;
                        let at = (around + 50).saturating_sub(random.index(random.0 as usize % around.max(1) + 51));
                        let (before, after) = (random.below(100_000), random.below(100_000));
                        let len = 1 + random.index(64);
                        let mut holed = Holed::new(&records);
                        holed.make(Hole { at, len, which, told, before, after, seed });
                        let left: Vec<Record> = holed.stream().copied().collect();
                        let engine = judge(&context, &left);
                        let sink = engine.sink().expect("it judges");
                        tried += 1;
                        let broken = broken(&engine);
                        let place = || format!("{what} in {} at {spot}, hole {seed}: {told:?} {which:?}", golden.name);
                        if !broken.is_empty() {
                            found += 1;
                        } else {
                            let says = sink.judged(*rule).is_some_and(|j| !j.evaluations.is_whole());
                            if !says && sink.evaluations(*rule) > 0 && !times.iter().any(|ts| in_hole(&left, *ts)) {
                                let name = rule.rule().name;
                                let holes = left.iter().filter(|r| r.kind().is_some_and(Kind::is_missing));
                                let holes: Vec<String> = holes
                                    .map(|r| format!("{:?} {}..{:?}", r.kind(), r.ts, r.get(Column::Until)))
                                    .collect();
                                wrong.push(format!(
                                    "{}: {name} held, broken at {first} without the hole ({holes:?})",
                                    place()
                                ));
                            }
                        }
                    }
                }
            }
        }
    }
    eprintln!("{tried} holes; the fault was found in {found}");
    assert!(tried > 5000 && found > tried / 10, "{tried}, {found}");
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}
