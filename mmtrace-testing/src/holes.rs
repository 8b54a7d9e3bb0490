//! Streams with holes: events are taken away, and records say so, as a recorder does.

use std::collections::BTreeMap;

use mmtrace_common::{Column, Kind, Record, spec};
use mmtrace_model::{model::locks::mmap_lock::EPSILON_NS, replay::Engine, verdict::RuleId};

use crate::{judging::broken, random::Random};

/// Which of the events from a place on go missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// A run of all.
    All,
    /// Those of one CPU: its ring was full.
    OfCpu(u16),
    /// Here and there one.
    Scattered,
    /// Those of one kind, that of the first: a probe was skipped.
    OfKind,
}

/// A hole.
#[derive(Clone, Copy, Debug)]
pub struct Hole {
    pub at: usize,
    pub len: usize,
    pub which: Which,
    /// As which kind of record it is reported.
    pub told: Kind,
    /// How much earlier than the first, and later than the last missing event it is said to
    /// have been, nanoseconds.
    pub before: u64,
    pub after: u64,
    pub seed: u64,
}

impl Hole {
    /// A hole of any kind and shape that begins at a place, `longest` events long at most, and told of up to `edge`
    /// nanoseconds too widely.
    pub fn any(random: &mut Random, at: usize, longest: usize, edge: u64) -> Self {
        let told = random.pick(&[Kind::Missed, Kind::Missed, Kind::Loss, Kind::Gap]);
        let which = random.pick(&[Which::All, Which::OfCpu(0), Which::Scattered, Which::OfKind]);
        let (before, after) = (random.below(edge), random.below(edge));
        let len = 1 + random.index(longest);
        Self { at, len, which, told, before, after, seed: random.number() }
    }
}

/// Whether a time lies in a hole, as the stream tells of it.
pub fn is_in_hole(stream: &[Record], ts: u64) -> bool {
    stream.iter().filter(|r| r.kind().is_some_and(Kind::is_missing)).any(|r| {
        let until = r.get(Column::Until).expect("it says until when");
        r.ts <= ts && ts <= until.saturating_add(EPSILON_NS)
    })
}

/// What a rule says of a fault that it finds where no event is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// A rule is broken. It may be another one: the fault is real, and what is missing can make it look different.
    Found,
    /// It was not judged at something, it was not evaluated at all, or a part of the fault lies in the hole that it tells of.
    Unjudged,
    /// It was held, and nothing that it says covers the fault.
    Nothing,
}

/// Returns what a rule says of a fault, after a stream with holes. `times` are those of the fault, and of what leads to the
/// violation.
pub fn said(engine: &Engine, rule: RuleId, stream: &[Record], times: &[u64]) -> Said {
    let sink = engine.sink().expect("it judges");
    if !broken(engine).is_empty() {
        return Said::Found;
    }
    if sink.evaluations(rule) == 0 {
        return Said::Unjudged;
    }
    match sink.judged(rule) {
        Some(judged) if !judged.evaluations.is_whole() || times.iter().any(|ts| is_in_hole(stream, *ts)) => {
            Said::Unjudged
        }
        _ => Said::Nothing,
    }
}

/// The holes of a stream, for messages.
pub fn told_of(stream: &[Record]) -> String {
    let holes = stream.iter().filter(|r| r.kind().is_some_and(Kind::is_missing));
    let lost = |r: &Record| r.get(Column::LostKind).and_then(|k| Kind::from_u16(k as u16));
    let text = |r: &Record| {
        let kind = r.kind().map_or("", Kind::name);
        format!("{kind} of {:?} {}..{:?}", lost(r).map(Kind::name), r.ts, r.get(Column::Until))
    };
    holes.map(text).collect::<Vec<_>>().join(", ")
}

/// A stream with holes in it.
pub struct Holed<'a> {
    records: &'a [Record],
    missing: Vec<bool>,
    told: BTreeMap<usize, Vec<Record>>,
    /// Missing events by kind.
    pub lost: BTreeMap<Kind, u64>,
    /// Number of holes.
    pub holes: u64,
}

/// A record of this kind with these values.
pub fn told(kind: Kind, values: &[(Column, u64)], ts: u64, cpu: u16) -> Record {
    let mut record = Record { ts, cpu, kind: kind as u16, ..Record::default() };
    for (column, value) in values {
        let field = spec(kind).fields.iter().find(|f| f.column == *column).expect("a field of the record");
        field.set(&mut record, *value);
    }
    record
}

impl<'a> Holed<'a> {
    pub fn new(records: &'a [Record]) -> Self {
        let missing = vec![false; records.len()];
        Self { records, missing, told: BTreeMap::new(), lost: BTreeMap::new(), holes: 0 }
    }

    fn kind(&self, i: usize) -> Kind {
        self.records[i].kind().expect("a known kind")
    }

    /// Makes a hole, if there is anything left to take away.
    pub fn make(&mut self, hole: Hole) {
        let mut random = Random(hole.seed);
        let first = hole.at;
        let reach = self.records.len().min(first + 4 * hole.len);
        let chosen = |i: &usize, random: &mut Random| match hole.which {
            Which::All => true,
            Which::OfCpu(cpu) => self.records[*i].cpu == cpu,
            Which::Scattered => random.below(3) == 0,
            Which::OfKind => self.records[*i].kind == self.records[first].kind,
        };
        let gone: Vec<usize> =
            (first..reach).filter(|i| !self.missing[*i] && chosen(i, &mut random)).take(hole.len).collect();
        let (Some(first), Some(last)) = (gone.first().copied(), gone.last().copied()) else { return };
        self.holes += 1;
        let mut counts: BTreeMap<(Kind, u16), u64> = BTreeMap::new();
        for i in gone {
            self.missing[i] = true;
            let kind = self.kind(i);
            *self.lost.entry(kind).or_default() += 1;
            let cpu = if hole.told == Kind::Loss { self.records[i].cpu } else { u16::MAX };
            *counts.entry((kind, cpu)).or_default() += 1;
        }
        // What is not younger than `from` had been handed out.
        let from = first.checked_sub(1).map_or(0, |i| self.records[i].ts).saturating_sub(hole.before);
        let place = match hole.before {
            0 => first,
            _ => self.records.partition_point(|r| r.ts <= from),
        };
        let until = self.records[last].ts + hole.after;
        let records = self.told.entry(place).or_default();
        if hole.told == Kind::Gap {
            let count = counts.values().sum();
            records.push(told(Kind::Gap, &[(Column::Count, count), (Column::Until, until)], from, 0));
            return;
        }
        for ((kind, cpu), count) in counts {
            let values = [(Column::LostKind, kind as u64), (Column::Count, count), (Column::Until, until)];
            records.push(told(hole.told, &values, from, cpu));
        }
    }

    /// What is left, with what is said of the holes.
    pub fn stream(&self) -> impl Iterator<Item = &Record> {
        let here = |i: usize| (!self.missing[i]).then(|| &self.records[i]);
        (0..self.records.len())
            .flat_map(move |i| self.told.get(&i).into_iter().flatten().chain(here(i)))
            .chain(self.told.get(&self.records.len()).into_iter().flatten())
    }
}
