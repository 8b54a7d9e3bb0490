//! A few events taken away, added or changed.

use mmtrace_common::{Kind, Record};
use mmtrace_model::{context::Context, replay::Engine};
use mmtrace_testing::judging::judge;

use crate::golden::Golden;

/// How much earlier recording is said to have begun, nanoseconds.
const HEAD_NS: u64 = 10_000_000_000;

/// One thing to do to a stream.
#[derive(Clone, Copy)]
enum Step {
    /// Puts a record in front of the one at this index.
    Add(Record),
    /// Takes the record at this index away.
    Remove,
    /// Puts another in its place.
    Change(Record),
}

/// A planted fault.
#[derive(Clone, Default)]
pub(crate) struct Edit(Vec<(usize, Step)>);

impl Edit {
    pub(crate) fn add(mut self, at: usize, record: Record) -> Self {
        self.0.push((at, Step::Add(record)));
        self
    }

    pub(crate) fn remove(mut self, at: usize) -> Self {
        self.0.push((at, Step::Remove));
        self
    }

    pub(crate) fn change(mut self, at: usize, record: Record) -> Self {
        self.0.push((at, Step::Change(record)));
        self
    }

    /// Time of the first thing that is not as it was.
    pub(crate) fn since(&self, golden: &Golden) -> u64 {
        self.times(golden).min().expect("an edit does something")
    }

    /// Times of all that is not as it was.
    pub(crate) fn times(&self, golden: &Golden) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(at, step)| match step {
            Step::Add(record) => record.ts,
            Step::Remove | Step::Change(_) => golden.records[*at].ts,
        })
    }

    pub(crate) fn last(&self) -> usize {
        self.0.iter().map(|(at, _)| *at).max().expect("an edit does something")
    }

    /// Judges the stream with the fault in it, up to the record at `end`.
    pub(crate) fn judge(&self, golden: &Golden, end: usize) -> Engine {
        judge(&earlier(golden), self.stream(golden, 0, end))
    }

    /// Returns the stream with the fault in it, between two records of the capture.
    pub(crate) fn stream(&self, golden: &Golden, from: usize, end: usize) -> Vec<Record> {
        let mut steps = self.0.clone();
        steps.sort_by_key(|(at, _)| *at);
        let mut stream: Vec<Record> = Vec::new();
        let mut at = from;
        for (index, step) in &steps {
            stream.extend(&golden.records[at..*index]);
            at = *index;
            match step {
                Step::Add(record) => stream.push(*record),
                Step::Remove => at += 1,
                Step::Change(record) => {
                    stream.push(*record);
                    at += 1;
                }
            }
        }
        stream.extend(&golden.records[at..end.max(at)]);
        stream
    }

    pub(crate) fn first(&self) -> usize {
        self.0.iter().map(|(at, _)| *at).min().expect("an edit does something")
    }
}

/// The context as if recording had begun some seconds before its first event: rules that wait for what was in flight at the
/// start have waited.
pub(crate) fn earlier(golden: &Golden) -> Context {
    Context { start: golden.context.start.saturating_sub(HEAD_NS), ..golden.context.clone() }
}

/// A record of this kind by the same task at the same time, without arguments.
pub(crate) fn like(record: &Record, kind: Kind) -> Record {
    Record { kind: kind as u16, aux: 0, args: [0; 6], ..*record }
}

pub(crate) fn lock_event(kind: Kind, tid: u32, mm: u64, write: bool, like: &Record, ts: u64) -> Record {
    let success = if kind == Kind::AcquireReturned { 2 } else { 0 };
    Record { kind: kind as u16, tid, mm, ts, aux: u32::from(write) | success, args: [0; 6], ..*like }
}
