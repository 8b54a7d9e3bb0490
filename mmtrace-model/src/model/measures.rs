//! Durations that the events give: how long tasks wait for locks and hold them, and how long migration entries stay.

use mmtrace_common::{Kind, LOST_KINDS, Record};

use super::{
    Model,
    effect::{Effect, Interval, Under, What},
    locks::{exclusion::Mode, intervals::Intervals},
};
use crate::{
    coverage::Coverage,
    durations::{Distribution, Durations},
    verdict::{RuleId, Sink},
};

pub use super::overlap::Overlap;

/// The measured durations, in nanoseconds, and how many there were to be measured.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    done: [Option<Durations>; MEASURES.len()],
    worst: Vec<Overlap>,
    faults: Followed,
    migration_waits: Followed,
    /// Entries of PTEs that were removed.
    removed: u64,
    /// Calls of `retract_page_tables()` that are over.
    retracts: u64,
    /// Events that are missing, by kind.
    missing: Missing,
    /// Events are missing, and nobody knows how many: of these kinds, of any.
    uncounted: Vec<Kind>,
    /// An unknown number of events of unknown kinds is missing.
    uncounted_any: bool,
}

/// Events that are missing, by kind.
#[derive(Clone, Debug)]
struct Missing([u64; LOST_KINDS]);

impl Default for Missing {
    fn default() -> Self {
        Self([0; LOST_KINDS])
    }
}

/// Events of a kind, and how many of them have a known begin.
#[derive(Clone, Copy, Debug, Default)]
struct Followed {
    seen: u64,
    followed: u64,
}

impl Followed {
    const fn add(&mut self, followed: bool) {
        self.seen += 1;
        self.followed += followed as u64;
    }
}

/// Overlaps kept of each rule: the longest.
const WORST: usize = 4;

/// The rules that measure, in the order of their histograms.
const MEASURES: [RuleId; 8] =
    [RuleId::M01, RuleId::M02, RuleId::M03, RuleId::M04, RuleId::M05, RuleId::M06, RuleId::M07, RuleId::M08];

impl Measures {
    fn add(&mut self, rule: RuleId, nanoseconds: u64, ts: u64, sink: &mut Sink) {
        sink.held(rule, ts);
        let Some(index) = MEASURES.iter().position(|m| *m == rule) else { return };
        self.done[index].get_or_insert_with(Durations::two_digits).add(nanoseconds);
    }

    /// Counts and measures what an event came to.
    #[inline]
    pub(super) fn apply(&mut self, effect: &Effect, sink: &mut Sink) {
        let ts = effect.ts;
        match effect.what {
            What::Locked { waited, ended, .. } => {
                if let Some(Interval { since, .. }) = waited {
                    self.add(RuleId::M08, effect.since(since), ts, sink);
                }
                self.held(ended, effect, sink);
            }
            What::Unlocked { ended, .. } => self.held(ended, effect, sink),
            What::Handled { call, fell_back, .. } => {
                self.faults.add(call.under != Under::Unknown);
                if let Some(since) = fell_back {
                    self.add(RuleId::M03, effect.since(since), ts, sink);
                }
            }
            What::HandledUnseen => self.faults.add(false),
            What::MigrationAwaited { .. } => self.migration_waits.add(true),
            What::MigrationAwaitedUnseen => self.migration_waits.add(false),
            What::EntryRemoved { pte: true, since } => {
                self.removed += 1;
                if let Some(since) = since {
                    self.add(RuleId::M06, effect.since(since), ts, sink);
                }
            }
            What::RetractEnded { since } => {
                self.retracts += 1;
                if let Some(since) = since {
                    self.add(RuleId::M07, effect.since(since), ts, sink);
                }
            }
            What::Missing { of, count, .. } => self.lost(of, count),
            _ => {}
        }
    }

    /// A hold of an mmap_lock has ended.
    fn held(&mut self, hold: Option<Interval>, effect: &Effect, sink: &mut Sink) {
        let Some(Interval { mode: Mode::Write, since, isolated, .. }) = hold else { return };
        self.add(RuleId::M04, effect.since(since), effect.ts, sink);
        if isolated {
            self.add(RuleId::M05, effect.since(since), effect.ts, sink);
        }
    }

    /// Events are missing; of all kinds unless `of` says which.
    fn lost(&mut self, of: Option<Kind>, count: u64) {
        match of {
            None => self.uncounted_any = true,
            Some(kind) if count == 0 && !self.uncounted.contains(&kind) => self.uncounted.push(kind),
            Some(kind) => {
                let sum = &mut self.missing.0[kind as usize];
                *sum = sum.saturating_add(count);
            }
        }
    }

    /// What is missing up to here was left out on purpose, and is no part of any figure.
    pub(super) fn count_from_here(&mut self) {
        let Self { missing, uncounted, uncounted_any, .. } = Self::default();
        (self.missing, self.uncounted, self.uncounted_any) = (missing, uncounted, uncounted_any);
    }

    fn missing(&self, kinds: &[Kind]) -> u64 {
        kinds.iter().fold(0, |sum, kind| sum.saturating_add(self.missing.0[*kind as usize]))
    }

    /// Of these kinds, more events may be missing than are counted.
    fn misses_more(&self, kinds: &[Kind]) -> bool {
        self.uncounted_any || kinds.iter().any(|kind| self.uncounted.contains(kind))
    }

    /// Returns the coverage of a figure over events of these kinds, of which so many were counted.
    #[must_use]
    pub fn of_events(&self, counted: u64, kinds: &[Kind]) -> Coverage {
        Coverage::of(counted, self.missing(kinds)).or_more(self.misses_more(kinds))
    }

    fn coverage(&self, rule: RuleId, intervals: &Intervals) -> Coverage {
        let counted = self.count(rule);
        let of = |counted: u64, all: u64| Coverage::of(counted, all.saturating_sub(counted));
        let whole = match rule {
            RuleId::M04 => of(counted, intervals.writes.saturating_add(intervals.missing_writes)),
            RuleId::M05 => of(counted, intervals.isolations.saturating_add(self.missing(&[Kind::CollapseIsolate]))),
            RuleId::M06 => of(counted, self.removed.saturating_add(self.missing(&[Kind::RemoveMigrationPte]))),
            RuleId::M07 => of(counted, self.retracts.saturating_add(self.missing(&[Kind::RetractPageTablesReturn]))),
            RuleId::M08 => {
                let seen = intervals.acquired.saturating_add(intervals.waiting());
                of(counted, seen.saturating_add(self.missing(&[Kind::AcquireReturned])))
            }
            RuleId::M03 => {
                let missing = self.missing(&[Kind::HandleMmFaultReturn]);
                of(self.faults.followed, self.faults.seen.saturating_add(missing))
            }
            RuleId::M01 | RuleId::M02 => {
                let missing = self.missing(&[Kind::MigrationEntryWaitReturn]);
                of(self.migration_waits.followed, self.migration_waits.seen.saturating_add(missing))
            }
            _ => Coverage::default(),
        };
        // The other side of an overlap may be missing.
        let pairs: &[Kind] = match rule {
            RuleId::M01 => &[Kind::VmaStartWrite, Kind::VmaStartWriteReturn],
            RuleId::M02 => &[Kind::StartLocking, Kind::AcquireReturned],
            _ => &[],
        };
        whole.or_more(self.misses_more(rule.rule().needs) || self.missing(pairs) > 0)
    }

    /// Returns the name of what [`Model::coverage`] counts of a rule, in the plural.
    #[must_use]
    pub const fn covered(rule: RuleId) -> &'static str {
        match rule {
            RuleId::M01 | RuleId::M02 => "waits for migrations followed",
            RuleId::M03 => "faults followed",
            RuleId::M04 => "holds",
            RuleId::M05 => "collapses",
            RuleId::M06 => "entries removed",
            RuleId::M07 => "calls",
            _ => "waits",
        }
    }

    fn count(&self, rule: RuleId) -> u64 {
        self.durations(rule).map_or(0, Durations::count)
    }

    /// A writer had to wait for a task that waited for a migration.
    pub(crate) fn overlap(&mut self, rule: RuleId, overlap: Overlap, record: &Record, sink: &mut Sink) {
        self.add(rule, overlap.ns, record.ts, sink);
        if self.worst.iter().filter(|o| o.rule == overlap.rule).count() == WORST {
            let of = self.worst.iter().enumerate().filter(|(_, o)| o.rule == overlap.rule);
            match of.map(|(index, o)| (o.ns, index)).min() {
                Some((least, index)) if least < overlap.ns => {
                    self.worst.remove(index);
                }
                _ => return,
            }
        }
        self.worst.push(overlap);
    }

    /// The longest overlaps that a rule measured, longest first.
    #[must_use]
    pub fn worst(&self, rule: RuleId) -> Vec<Overlap> {
        let name = rule.rule().name;
        let mut worst: Vec<Overlap> = self.worst.iter().filter(|o| o.rule == name).copied().collect();
        worst.sort_by_key(|o| std::cmp::Reverse(o.ns));
        worst
    }

    /// Returns the durations that a measure has measured; `None` if there are none.
    #[must_use]
    pub fn durations(&self, rule: RuleId) -> Option<&Durations> {
        let index = MEASURES.iter().position(|m| *m == rule)?;
        self.done[index].as_ref()
    }

    /// The same in a few numbers.
    #[must_use]
    pub fn distribution(&self, rule: RuleId) -> Option<Distribution> {
        self.durations(rule)?.distribution()
    }
}

impl Model {
    /// What is missing up to here was left out on purpose: no figure counts it.
    pub(crate) fn count_from_here(&mut self) {
        self.measures.count_from_here();
    }

    /// Returns the coverage of a measure: the share of the known total that it has measured.
    #[must_use]
    pub fn coverage(&self, rule: RuleId) -> Coverage {
        self.measures.coverage(rule, &self.intervals)
    }
}
