//! Planted faults in streams with holes: a rule that does not find the fault says that it did not judge it.

use mmtrace_common::{Column, Field, Record, spec};
use mmtrace_testing::{
    holes::{Hole, Holed, Said, said, told_of},
    judging::{broken, judge},
    kernel::{Random, context},
};

use crate::{
    planting::{Fault, stream},
    soundness::Stream,
};

/// How far the tasks, the mm, the objects and the tables of the sound kernel are from those of the fault.
const TASKS: u32 = 1000;
const OBJECTS: u64 = 0x4000_0000;
const FRAMES: u64 = 0x10_0000;
/// Steps of the sound kernel.
const STEPS: usize = 1200;
/// Most events that a hole takes away, and how much wider it may be told to be, nanoseconds.
const LONGEST: usize = 40;
const EDGE: u64 = 30_000;

/// Another process, whose objects lie elsewhere.
fn elsewhere(mut record: Record) -> Record {
    record.tid += TASKS;
    record.tgid += TASKS;
    if record.mm != 0 {
        record.mm += OBJECTS;
    }
    let Some(kind) = record.kind() else { return record };
    for Field { column, .. } in spec(kind).fields {
        let by = match column {
            Column::Vma | Column::LockObject | Column::Pmdp => OBJECTS,
            Column::Pmd | Column::PmdUsed | Column::Ptep => FRAMES << 12,
            Column::Table => FRAMES,
            _ => continue,
        };
        if let Some(value) = record.get(*column).filter(|value| *value != 0) {
            record.set(*column, value.wrapping_add(by));
        }
    }
    record
}

/// What a sound kernel does, with what another process does in the middle of that. Returns also at which time that begins.
fn beside(sound: Stream, seed: u64, planted: &[Record]) -> (Vec<Record>, u64) {
    let mut records: Vec<Record> = sound(seed, STEPS).into_iter().map(elsewhere).collect();
    let middle = records[records.len() / 2].ts;
    let shift = middle - planted[0].ts;
    records.extend(planted.iter().map(|r| Record { ts: r.ts + shift, ..*r }));
    records.sort_by_key(|r| r.ts);
    (records, shift)
}

/// Each fault, planted beside a sound kernel, in streams with a hole near the fault. Returns the number of cases, and in how
/// many of them a rule was broken.
pub(crate) fn a_rule_says_so_when_a_hole_keeps_it_from_judging(sound: Stream, faults: &[Fault], rounds: u64) {
    let (mut tried, mut found, mut wrong) = (0, 0, Vec::new());
    for (rule, name, plant) in faults {
        let (planted, begun) = (stream(*plant, true), stream(*plant, false));
        for round in 0..rounds {
            let (records, shift) = beside(sound, round, &planted);
            let whole = judge(&context(), &records);
            let rules: Vec<_> = broken(&whole).into_iter().map(|(rule, _)| rule).collect();
            assert_eq!(rules, [rule.rule().name], "{name}, {round}, without a hole");
            let violation = whole.sink().expect("it judges").kept().next().expect("it is kept");
            let differ = planted.iter().filter(|r| !begun.contains(r)).map(|r| r.ts + shift);
            let led_to_it = violation.events.iter().map(|r| r.ts);
            let times: Vec<u64> = differ.chain([violation.ts]).chain(led_to_it).collect();
            let first = records.partition_point(|r| r.ts < planted[0].ts + shift);
            let last = records.partition_point(|r| r.ts <= violation.ts);
            for hole in 0..12 {
                let mut random = Random(round << 32 | hole << 8 | *rule as u64);
                let at = first.saturating_sub(LONGEST) + random.index(last - first + 2 * LONGEST);
                let mut holed = Holed::new(&records);
                holed.make(Hole::any(&mut random, at, LONGEST, EDGE));
                let left: Vec<Record> = holed.stream().copied().collect();
                let engine = judge(&context(), &left);
                tried += 1;
                match said(&engine, *rule, &left, &times) {
                    Said::Found => found += 1,
                    Said::Unjudged => {}
                    Said::Nothing => {
                        wrong.push(format!(
                            "{name}, {round}, hole {hole}, broken at {}: {}",
                            violation.ts,
                            told_of(&left)
                        ));
                    }
                }
            }
        }
    }
    eprintln!("{tried} holes beside {} faults; a rule was broken in {found}", faults.len());
    assert!(found > tried / 10, "{found} of {tried}");
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}
