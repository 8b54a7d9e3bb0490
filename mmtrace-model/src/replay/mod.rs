//! A stream of events driven through the model: live, from a capture, or made up.
//! Nothing here can tell which.

use std::{collections::BTreeMap, sync::Arc};

use mmtrace_common::{Column, Kind, LOST_KINDS, Record};

use crate::{context::Context, model::Model, stats::Stats, verdict::Sink};

pub mod recent;
pub mod source;
pub mod timeline;

/// Judges a stream. A copy is a checkpoint to go on from later.
#[derive(Clone, Debug)]
pub struct Engine {
    context: Arc<Context>,
    /// `None`: events are only counted.
    judge: Option<Box<Judge>>,
    counts: [u64; LOST_KINDS],
    lost: u64,
    missed: u64,
    gaps: u64,
    foreign: u64,
    span: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
struct Judge {
    model: Model,
    sink: Sink,
    /// Kept only for those who look.
    stats: Option<Box<Stats>>,
}

impl Engine {
    /// Starts with what is known besides the events.
    #[must_use]
    pub fn new(context: Context, validate: bool) -> Self {
        let judge =
            validate.then(|| Box::new(Judge { model: Model::new(&context), sink: Sink::new(&context), stats: None }));
        let counts = [0; LOST_KINDS];
        Self { context: Arc::new(context), judge, counts, lost: 0, missed: 0, gaps: 0, foreign: 0, span: None }
    }

    /// Keeps statistics from now on.
    #[must_use]
    pub fn with_stats(mut self) -> Self {
        if let Some(judge) = &mut self.judge {
            judge.stats = Some(Box::default());
        }
        self
    }

    /// Statistics; `None` unless they were asked for.
    #[must_use]
    pub fn stats(&self) -> Option<&Stats> {
        self.judge.as_ref().and_then(|j| j.stats.as_deref())
    }

    /// Takes the next event.
    #[inline]
    pub fn apply(&mut self, record: &Record) {
        let missing = record.kind().is_some_and(Kind::is_synthetic);
        match self.counts.get_mut(usize::from(record.kind)) {
            Some(count) if !missing => {
                *count += 1;
                let span = self.span.get_or_insert((record.ts, record.ts));
                span.0 = span.0.min(record.ts);
                span.1 = span.1.max(record.ts);
            }
            _ => self.count_missing(record),
        }
        if let Some(judge) = &mut self.judge {
            let effect = judge.model.apply(record, &mut judge.sink);
            if let Some(stats) = &mut judge.stats {
                stats.apply(record, &effect);
            }
        }
    }

    fn count_missing(&mut self, record: &Record) {
        let count = record.get(Column::Count).unwrap_or(0);
        match record.kind() {
            Some(Kind::Loss) => self.lost = self.lost.saturating_add(count),
            Some(Kind::Missed) => self.missed = self.missed.saturating_add(count),
            Some(Kind::Gap) => self.gaps += 1,
            Some(Kind::Foreign) => self.foreign = self.foreign.saturating_add(count),
            _ => {}
        }
    }

    /// Takes the end of the stream.
    pub fn finish(&mut self) {
        let end = self.span.map_or(0, |s| s.1);
        if let Some(judge) = &mut self.judge {
            judge.model.finish(end, &mut judge.sink);
        }
    }

    /// What the events were taken from.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Findings so far; `None` when only counting.
    #[must_use]
    pub fn sink(&self) -> Option<&Sink> {
        self.judge.as_ref().map(|j| &j.sink)
    }

    /// The model; `None` when only counting.
    #[must_use]
    pub fn model(&self) -> Option<&Model> {
        self.judge.as_ref().map(|j| &j.model)
    }

    /// Events of every kind, loss records not among them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Events by name; kinds that did not happen are not there.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        let kinds = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        kinds.filter_map(|(k, n)| Some((Kind::from_u16(k as u16)?.name(), *n))).collect()
    }

    /// Events that the rings had no room for.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Events that are missing because the kernel skipped the probe's run.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// Places where a capture could not be read.
    #[must_use]
    pub const fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Records in the rings that no program of ours can have written.
    #[must_use]
    pub const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Time of the first and the last event, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn span(&self) -> Option<(u64, u64)> {
        self.span
    }
}
