//! Planted faults in streams with holes: a rule that does not find the fault says that it did not judge it.

use std::collections::BTreeMap;

use mmtrace_common::{Column, Kind, Record, spec};
use mmtrace_model::{context::Context, verdict::RuleId};
use mmtrace_testing::{
    holes::{Hole, Holed, Said, Which, said, told_of},
    judging::judge,
    random::Random,
};

use crate::{
    FAULTS,
    edit::{Edit, earlier},
    golden::{Golden, goldens},
    is_elsewhere, streams,
};

/// Places of each fault in each capture, and holes for each place.
const SPOTS: usize = 8;
const HOLES: u64 = 12;
/// Events before the place and after it.
const BEFORE: usize = 4000;
const AFTER: usize = 6000;

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
                        tried += 1;
                        match said(&engine, *rule, &left, &times) {
                            Said::Found => found += 1,
                            Said::Unjudged => {}
                            Said::Nothing => wrong.push(format!(
                                "{what} in {} at {spot}, hole {seed}: {told:?} {which:?}: {} held, broken at {first} without \
                                 the hole ({})",
                                golden.name,
                                rule.rule().name,
                                told_of(&left)
                            )),
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

/// Events of each kind that are changed in each capture with functions, holes for each change, and events around it.
const CHANGED: usize = 8;
const HOLES_OF_CHANGE: u64 = 12;
const AROUND: usize = 1200;
/// How much wider a hole may be told to be, nanoseconds.
const EDGE: u64 = 100_000;

/// What no sound kernel does, made of an event at an index: it is left out, comes twice, is another task's, or has another
/// value.
fn changes(golden: &Golden, at: usize) -> Vec<Edit> {
    let event = golden.records[at];
    let mut changes = vec![Edit::default().remove(at), Edit::default().add(at, event)];
    let mut other = event;
    other.tid += 1_000_000;
    changes.push(Edit::default().change(at, other));
    let fields = spec(event.kind().expect("a known kind")).fields.iter();
    for column in fields.map(|field| field.column).filter(|column| *column != Column::Write) {
        let mut other = event;
        other.set(column, event.get(column).unwrap_or(0) ^ if column == Column::FaultFlags { 8 } else { 1 << 12 | 1 });
        changes.push(Edit::default().change(at, other));
    }
    changes
}

/// The rules that events of functions feed, over captures that have those: events are changed one by one, until such a rule
/// is broken; and then the stream gets a hole.
#[test]
fn a_rule_about_functions_says_so_when_a_hole_keeps_it_from_judging() {
    let (mut tried, mut found, mut wrong) = (BTreeMap::<&str, u64>::new(), 0, Vec::new());
    for golden in goldens().iter().filter(|golden| golden.context.has(Kind::HandleMmFault)) {
        let mut of_kind: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
        for (at, record) in golden.records.iter().enumerate() {
            let kind = record.kind().expect("a known kind");
            if !kind.is_synthetic() {
                of_kind.entry(kind).or_default().push(at);
            }
        }
        for places in of_kind.into_values() {
            for n in 0..CHANGED.min(places.len()) {
                let at = places[n * places.len() / CHANGED.min(places.len())];
                for edit in changes(golden, at) {
                    let from = at.saturating_sub(AROUND);
                    let records = edit.stream(golden, from, golden.records.len().min(at + AROUND));
                    let start = golden.context.start.max(if from == 0 { 0 } else { records[0].ts });
                    let context = Context { start, ..golden.context.clone() };
                    let engine = judge(&context, &records);
                    let sink = engine.sink().expect("it judges");
                    let Some(violation) = sink.kept().find(|v| is_elsewhere(v.rule)) else { continue };
                    let rule: RuleId = violation.rule;
                    let led_to_it = violation.events.iter().map(|r| r.ts);
                    let times: Vec<u64> = edit.times(golden).chain([violation.ts]).chain(led_to_it).collect();
                    for seed in 0..HOLES_OF_CHANGE {
                        let mut random = Random(seed << 32 | at as u64);
                        let near = (at - from + 40).saturating_sub(random.index(100));
                        let mut holed = Holed::new(&records);
                        holed.make(Hole::any(&mut random, near, 40, EDGE));
                        let left: Vec<Record> = holed.stream().copied().collect();
                        *tried.entry(rule.rule().name).or_default() += 1;
                        match said(&judge(&context, &left), rule, &left, &times) {
                            Said::Found => found += 1,
                            Said::Unjudged => {}
                            Said::Nothing => wrong.push(format!(
                                "{}, {:?} at {at}, hole {seed}: {}, broken at {}: {}",
                                golden.name,
                                golden.records[at].kind().map(Kind::name),
                                rule.rule().name,
                                violation.ts,
                                told_of(&left)
                            )),
                        }
                    }
                }
            }
        }
    }
    let sum: u64 = tried.values().sum();
    eprintln!("{sum} holes; a rule was broken in {found}; by rule: {tried:?}");
    assert!(sum > 1000 && found > sum / 10, "{sum}, {found}");
    assert!(wrong.is_empty(), "{} of {sum}:\n{}", wrong.len(), wrong.join("\n"));
}
