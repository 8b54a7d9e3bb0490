//! A stream with a position: the state as of any moment, from the nearest checkpoint before it.

use std::sync::Arc;

use mmtrace_common::Record;

use super::{Engine, recent::Stored, source::Source};
use crate::context::Context;

/// Records between two checkpoints, at first.
const EVERY: u64 = 100_000;
/// Checkpoints that are kept. Each is a copy of the model, which takes some megabytes. Beyond that number, every second
/// checkpoint is dropped, and their distance doubles.
const CHECKPOINTS_MAX: usize = 128;

#[derive(Debug)]
struct Checkpoint {
    /// Records taken.
    taken: u64,
    /// Largest time among them.
    ts: u64,
    engine: Arc<Engine>,
}

/// A position in a stream, with the state as of then.
pub struct Timeline<S: Source> {
    source: S,
    records: S::Records,
    /// A record that was taken from `records` and lies beyond the position.
    next: Option<Record>,
    engine: Engine,
    taken: u64,
    ts: u64,
    checkpoints: Vec<Checkpoint>,
    every: u64,
    /// Number of all records, once the end was seen.
    len: Option<u64>,
}

impl Timeline<Stored> {
    /// Returns the timeline of the kept part of a stream, at its end; `engine` is the state there.
    #[must_use]
    pub fn at_end(stored: Stored, engine: Engine) -> Self {
        let (mut taken, mut ts) = (0, 0);
        let mut checkpoints = Vec::new();
        for chunk in stored.chunks() {
            checkpoints.push(Checkpoint { taken, ts, engine: Arc::clone(&chunk.before) });
            taken += chunk.records.len() as u64;
            ts = chunk.records.iter().map(|r| r.ts).fold(ts, u64::max);
        }
        if checkpoints.is_empty() {
            checkpoints.push(Checkpoint { taken, ts, engine: Arc::new(engine.clone()) });
        }
        Self {
            records: stored.after(taken),
            source: stored,
            next: None,
            engine,
            taken,
            ts,
            checkpoints,
            every: EVERY,
            len: Some(taken),
        }
    }
}

impl<S: Source> Timeline<S> {
    /// Returns the timeline of a source, at its beginning; `context` is that of the stream.
    #[must_use]
    pub fn new(context: Context, source: S) -> Self {
        let engine = Engine::new(context, true).with_stats();
        let start = Checkpoint { taken: 0, ts: 0, engine: Arc::new(engine.clone()) };
        Self {
            records: source.records(),
            source,
            next: None,
            engine,
            taken: 0,
            ts: 0,
            checkpoints: vec![start],
            every: EVERY,
            len: None,
        }
    }

    /// Returns the source of the records.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// The state as of the position.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Records up to the position.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Largest time up to the position, nanoseconds.
    #[must_use]
    pub const fn ts(&self) -> u64 {
        self.ts
    }

    /// Number of all records, once the end was reached.
    #[must_use]
    pub const fn len(&self) -> Option<u64> {
        self.len
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == Some(0)
    }

    /// The next record, which is beyond the position.
    pub(crate) fn peek(&mut self) -> Option<&Record> {
        if self.next.is_none() {
            self.next = self.records.next();
        }
        if self.next.is_none() {
            self.len = Some(self.taken);
        }
        self.next.as_ref()
    }

    /// Takes the next record; returns `None` at the end.
    pub fn step(&mut self) -> Option<Record> {
        self.peek()?;
        let record = self.next.take()?;
        self.engine.apply(&record);
        self.taken += 1;
        self.ts = self.ts.max(record.ts);
        if self.taken.is_multiple_of(self.every) && self.checkpoints.last().is_some_and(|c| c.taken < self.taken) {
            self.checkpoints.push(Checkpoint {
                taken: self.taken,
                ts: self.ts,
                engine: Arc::new(self.engine.checkpoint()),
            });
            if self.checkpoints.len() > CHECKPOINTS_MAX {
                self.every *= 2;
                let every = self.every;
                self.checkpoints.retain(|c| c.taken.is_multiple_of(every));
            }
        }
        Some(record)
    }

    /// Goes on while the next record is not later than `ts`, and by at most `most` records. Returns whether it got
    /// there.
    pub fn play(&mut self, ts: u64, most: u64) -> bool {
        for _ in 0..most {
            match self.peek() {
                Some(record) if record.ts <= ts => {}
                _ => return true,
            }
            self.step();
        }
        false
    }

    /// Goes to a time: to the state of a replay from the beginning that stops before the first later record.
    pub fn seek(&mut self, ts: u64) {
        self.approach(ts);
        self.play(ts, u64::MAX);
    }

    /// Goes to the nearest position from which [`Self::play`] can reach a time by going on, in any number of steps.
    pub fn approach(&mut self, ts: u64) {
        let before = self.checkpoints.iter().rposition(|c| c.ts <= ts).unwrap_or(0);
        // Going on is better than going back to an earlier checkpoint.
        if self.ts > ts || self.checkpoints[before].taken > self.taken {
            self.restore(before);
        }
    }

    /// Goes to a number of records.
    pub fn seek_taken(&mut self, taken: u64) {
        let before = self.checkpoints.iter().rposition(|c| c.taken <= taken).unwrap_or(0);
        if self.taken > taken || self.checkpoints[before].taken > self.taken {
            self.restore(before);
        }
        while self.taken < taken && self.step().is_some() {}
    }

    /// Goes to the first position for which this is true. It must stay true from there on.
    pub fn seek_first(&mut self, reached: impl Fn(&Engine) -> bool) {
        let before = self.checkpoints.iter().rposition(|c| !reached(&c.engine)).unwrap_or(0);
        self.restore(before);
        while !reached(&self.engine) && self.step().is_some() {}
    }

    fn restore(&mut self, checkpoint: usize) {
        let checkpoint = &self.checkpoints[checkpoint];
        self.engine = (*checkpoint.engine).clone();
        self.taken = checkpoint.taken;
        self.ts = checkpoint.ts;
        self.records = self.source.records_after(self.taken);
        self.next = None;
    }
}
