//! Durations that the events give: how long tasks wait for locks and hold them, and how long migration entries stay.

use hdrhistogram::Histogram;
use mmtrace_common::{Kind, LOST_KINDS, Record};
use serde::Serialize;

use super::effect::{Effect, Under};
use crate::model::{
    locks::intervals::{Interval, Intervals},
    migration::entries::Outstanding,
};
use crate::{
    context::Context,
    coverage::Coverage,
    verdict::{RuleId, Sink},
};

/// The measured durations, in nanoseconds, and how many there were to measure.
#[derive(Clone, Debug)]
pub struct Measures {
    intervals: Intervals,
    entries: Entries,
    ended: Option<Interval>,
    done: [Option<Done>; MEASURES.len()],
    worst: Vec<Overlap>,
    faults: Followed,
    migration_waits: Followed,
    /// Calls of `retract_page_tables()` that are over.
    retracts: u64,
    /// Missing events, by kind.
    missing: [u64; LOST_KINDS],
    /// Kinds of which an unknown number of events is missing.
    uncounted: Vec<Kind>,
    /// An unknown number of events of unknown kinds is missing.
    uncounted_any: bool,
}

/// Completed intervals. Their distribution is right to two digits; their sum and the longest are exact.
#[derive(Clone, Debug)]
struct Done {
    histogram: Histogram<u64>,
    sum: u64,
    max: u64,
}

impl Done {
    fn new() -> Self {
        // Two digits, an hour at most: about 20 KiB.
        let histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 2).expect("constant bounds are valid");
        Self { histogram, sum: 0, max: 0 }
    }

    fn add(&mut self, ns: u64) {
        self.histogram.saturating_record(ns.max(1));
        self.sum = self.sum.saturating_add(ns);
        self.max = self.max.max(ns);
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

/// Migration entries that are in place, and removals.
#[derive(Clone, Debug, Default)]
struct Entries {
    standing: Outstanding,
    /// Nothing is learned from events up to this time.
    blind_until: u64,
    removed: u64,
}

/// Overlaps that are kept of each rule: the longest.
const WORST: usize = 4;

/// A writer that waited for a task while that task waited for a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// The rule that measures it.
    #[serde(skip)]
    pub rule: &'static str,
    /// The task that waited for the migration.
    pub waiter: u32,
    /// The writer that waited for that task.
    pub writer: u32,
    /// The mm, as a kernel pointer.
    #[serde(serialize_with = "hex")]
    pub mm: u64,
    /// The VMA that the waiter held for read; 0 if it held the mmap_lock.
    #[serde(serialize_with = "hex")]
    pub vma: u64,
    /// The address on which the waiter faulted.
    #[serde(serialize_with = "hex")]
    pub addr: u64,
    /// How long both waited.
    pub ns: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn hex<S: serde::Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{value:#x}"))
}

/// The rules that measure, in the order of their histograms.
const MEASURES: [RuleId; 8] =
    [RuleId::M01, RuleId::M02, RuleId::M03, RuleId::M04, RuleId::M05, RuleId::M06, RuleId::M07, RuleId::M08];

/// A distribution of durations, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Distribution {
    /// Number of intervals.
    pub count: u64,
    /// Median.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// Longest.
    pub max_ns: u64,
    /// Sum.
    pub sum_ns: u64,
}

impl Measures {
    /// Forgets everything that is open.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self {
            intervals: Intervals::new(context.kernel.preempts_tracepoints(), |kind| context.has(kind)),
            entries: Entries::default(),
            ended: None,
            done: Default::default(),
            worst: Vec::new(),
            faults: Followed::default(),
            migration_waits: Followed::default(),
            retracts: 0,
            missing: [0; LOST_KINDS],
            uncounted: Vec::new(),
            uncounted_any: false,
        }
    }

    fn add(&mut self, rule: RuleId, nanoseconds: u64, record: &Record, sink: &mut Sink) {
        sink.held(rule, record.ts);
        let Some(index) = MEASURES.iter().position(|m| *m == rule) else { return };
        self.done[index].get_or_insert_with(Done::new).add(nanoseconds);
    }

    /// Takes an mmap_lock event, whatever rules may conclude from it. Returns whether it may be a downgrade.
    #[inline]
    pub(super) fn lock(&mut self, kind: Kind, record: &Record, sink: &mut Sink) -> bool {
        let ended = self.intervals.take(kind, record);
        self.ended = ended.interval;
        match ended.interval {
            Some(Interval::Wait { ns, .. }) => self.add(RuleId::M08, ns, record, sink),
            Some(Interval::WriteHold { ns, isolated, .. }) => {
                self.add(RuleId::M04, ns, record, sink);
                if isolated {
                    self.add(RuleId::M05, ns, record, sink);
                }
            }
            None => {}
        }
        ended.downgrade
    }

    /// The task is where it holds and waits for nothing: in user mode, newborn, or at its exit.
    #[inline]
    pub(super) fn forget_task(&mut self, tid: u32) {
        self.intervals.forget_task(tid);
    }

    /// A task isolates pages for a collapse.
    pub(super) fn isolated(&mut self, tid: u32) {
        self.intervals.isolated(tid);
    }

    /// A migration entry was set.
    pub(super) fn entry_set(&mut self, addr: u64, record: &Record) {
        if record.ts > self.entries.blind_until {
            self.entries.standing.set(addr & !0xfff, record.ts);
        }
    }

    /// A migration entry was removed.
    pub(super) fn entry_removed(&mut self, addr: u64, record: &Record, sink: &mut Sink) {
        self.entries.removed += 1;
        if record.ts > self.entries.blind_until
            && let Some(ns) = self.entries.standing.remove(addr & !0xfff, record.ts)
        {
            self.add(RuleId::M06, ns, record, sink);
        }
    }

    /// `handle_mm_fault()` has returned, with this effect.
    #[inline]
    pub(super) fn fault_followed(&mut self, effect: Option<&Effect>) {
        self.faults.add(matches!(effect, Some(Effect::Handled { call, .. }) if call.under != Under::Unknown));
    }

    /// `migration_entry_wait()` has returned, with this effect.
    pub(super) fn wait_followed(&mut self, effect: Option<&Effect>) {
        self.migration_waits.add(matches!(effect, Some(Effect::Waited { .. })));
    }

    /// `retract_page_tables()` has returned.
    pub(super) const fn retract_seen(&mut self) {
        self.retracts += 1;
    }

    /// Events are missing, as `missing` tells, up to a time; of all kinds unless `of` says which.
    pub(super) fn lost(&mut self, missing: Kind, of: Option<Kind>, count: u64, until: u64) {
        self.intervals.lost(missing, of, count, until);
        if matches!(of, None | Some(Kind::SetMigrationPte | Kind::RemoveMigrationPte)) {
            self.entries.standing.clear();
            self.entries.blind_until = self.entries.blind_until.max(until);
        }
        match of {
            None => self.uncounted_any = true,
            Some(kind) if count == 0 && !self.uncounted.contains(&kind) => self.uncounted.push(kind),
            Some(kind) => {
                let sum = &mut self.missing[kind as usize];
                *sum = sum.saturating_add(count);
            }
        }
    }

    /// Whether the missing events may be about an mmap_lock held for write.
    pub(super) const fn may_be_writes(&self, missing: Kind) -> bool {
        self.intervals.may_be_writes(missing)
    }

    /// The interval that the last event ended.
    #[must_use]
    pub const fn ended(&self) -> Option<Interval> {
        self.ended
    }

    /// Migration entries that are in place now, as far as is known.
    #[must_use]
    pub const fn standing(&self) -> &Outstanding {
        &self.entries.standing
    }

    fn missing(&self, kinds: &[Kind]) -> u64 {
        kinds.iter().fold(0, |sum, kind| sum.saturating_add(self.missing[*kind as usize]))
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

    /// Returns the coverage of a measure.
    #[must_use]
    pub fn coverage(&self, rule: RuleId) -> Coverage {
        let counted = self.count(rule);
        let of = |counted: u64, all: u64| Coverage::of(counted, all.saturating_sub(counted));
        let whole = match rule {
            RuleId::M04 => of(counted, self.intervals.writes.saturating_add(self.intervals.missing_writes)),
            RuleId::M05 => {
                of(counted, self.intervals.isolations.saturating_add(self.missing(&[Kind::CollapseIsolate])))
            }
            RuleId::M06 => of(counted, self.entries.removed.saturating_add(self.missing(&[Kind::RemoveMigrationPte]))),
            RuleId::M07 => of(counted, self.retracts.saturating_add(self.missing(&[Kind::RetractPageTablesReturn]))),
            RuleId::M08 => {
                let seen = self.intervals.acquired.saturating_add(self.intervals.waiting());
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

    /// What the [`Self::coverage`] of a rule counts.
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
        let index = MEASURES.iter().position(|m| *m == rule);
        index.and_then(|index| self.done[index].as_ref()).map_or(0, |done| done.histogram.len())
    }

    /// A writer had to wait for a task that waited for a migration.
    pub fn overlap(&mut self, rule: RuleId, overlap: Overlap, record: &Record, sink: &mut Sink) {
        self.add(rule, overlap.ns, record, sink);
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

    /// A fault that could not be handled under the VMA lock was handled after this time.
    pub fn fell_back(&mut self, ns: u64, record: &Record, sink: &mut Sink) {
        self.add(RuleId::M03, ns, record, sink);
    }

    /// `retract_page_tables()` took this long.
    pub fn retracted(&mut self, ns: u64, record: &Record, sink: &mut Sink) {
        self.add(RuleId::M07, ns, record, sink);
    }

    /// How many of the intervals were not longer than each bound, their sum and number, in nanoseconds.
    #[must_use]
    pub fn cumulative(&self, rule: RuleId, bounds_ns: &[u64]) -> Option<(Vec<u64>, u64, u64)> {
        let index = MEASURES.iter().position(|m| *m == rule)?;
        let Done { histogram, sum, .. } = self.done[index].as_ref()?;
        let upto = bounds_ns.iter().map(|bound| histogram.count_between(0, *bound)).collect();
        Some((upto, *sum, histogram.len()))
    }

    /// Returns the distribution that a measure measured.
    #[must_use]
    pub fn distribution(&self, rule: RuleId) -> Option<Distribution> {
        let index = MEASURES.iter().position(|m| *m == rule)?;
        let Done { histogram, sum, max } = self.done[index].as_ref()?;
        Some(Distribution {
            count: histogram.len(),
            p50_ns: histogram.value_at_quantile(0.5).min(*max),
            p99_ns: histogram.value_at_quantile(0.99).min(*max),
            max_ns: *max,
            sum_ns: *sum,
        })
    }
}
