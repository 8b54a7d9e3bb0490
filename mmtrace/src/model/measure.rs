//! Durations that the events give: how long locks are waited for and held, how
//! long migration entries stand.

use hdrhistogram::Histogram;
use mmtrace_common::Record;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::verdict::{RuleId, Sink};

/// Intervals in flight that are followed.
const OPEN_MAX: usize = 1 << 14;

/// The measured durations, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    waits: Open,
    holds: Open,
    collapsing: FxHashMap<u32, bool>,
    done: [Option<Histogram<u64>>; MEASURES.len()],
    worst: Vec<Overlap>,
}

/// Overlaps kept of each rule: the longest.
const WORST: usize = 4;

/// A writer waited while the task that it waited for waited for a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// The rule that measures it.
    #[serde(skip)]
    pub rule: &'static str,
    /// The task that waited for the migration.
    pub waiter: u32,
    /// The task that waited for that one.
    pub writer: u32,
    /// The mm, as a kernel pointer.
    #[serde(serialize_with = "hex")]
    pub mm: u64,
    /// The VMA that the waiter held for reading; 0: it held the mmap_lock.
    #[serde(serialize_with = "hex")]
    pub vma: u64,
    /// The address that it faulted on.
    #[serde(serialize_with = "hex")]
    pub addr: u64,
    /// How long both waited.
    pub ns: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn hex<S: serde::Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{value:#x}"))
}

/// Intervals that have begun: (tid, mm) → time.
#[derive(Clone, Debug, Default)]
struct Open(FxHashMap<(u32, u64), u64>);

impl Open {
    fn begin(&mut self, record: &Record) {
        if self.0.len() >= OPEN_MAX {
            self.0.clear();
        }
        self.0.insert((record.tid, record.mm), record.ts);
    }

    fn end(&mut self, record: &Record) -> Option<u64> {
        self.0.remove(&(record.tid, record.mm)).map(|since| record.ts.saturating_sub(since))
    }
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
    /// 99 of 100 were not longer.
    pub p99_ns: u64,
    /// Longest.
    pub max_ns: u64,
    /// All together.
    pub sum_ns: u64,
}

impl Measures {
    fn add(&mut self, rule: RuleId, nanoseconds: u64, record: &Record, sink: &mut Sink) {
        sink.held(rule, record.ts);
        let Some(index) = MEASURES.iter().position(|m| *m == rule) else { return };
        let histogram = self.done[index].get_or_insert_with(|| {
            // Two digits, an hour at most: about 20 KiB.
            Histogram::new_with_bounds(1, 3_600_000_000_000, 2).expect("constant bounds are valid")
        });
        histogram.saturating_record(nanoseconds.max(1));
    }

    /// An acquisition starts.
    pub fn wait_begins(&mut self, record: &Record) {
        self.waits.begin(record);
    }

    /// It has failed.
    pub fn wait_fails(&mut self, record: &Record) {
        self.waits.end(record);
    }

    /// It has succeeded.
    pub fn wait_ends(&mut self, record: &Record, sink: &mut Sink) {
        if let Some(ns) = self.waits.end(record) {
            self.add(RuleId::M08, ns, record, sink);
        }
    }

    /// A write hold begins.
    pub fn hold_begins(&mut self, record: &Record) {
        self.holds.begin(record);
        self.collapsing.remove(&record.tid);
    }

    /// The task isolates pages for a collapse in its write hold.
    pub fn isolated(&mut self, tid: u32) {
        if self.collapsing.len() >= OPEN_MAX {
            self.collapsing.clear();
        }
        self.collapsing.insert(tid, true);
    }

    /// A write hold ends, by release or downgrade.
    pub fn hold_ends(&mut self, record: &Record, sink: &mut Sink) {
        if let Some(ns) = self.holds.end(record) {
            self.add(RuleId::M04, ns, record, sink);
            if self.collapsing.remove(&record.tid).is_some() {
                self.add(RuleId::M05, ns, record, sink);
            }
        }
    }

    /// A migration entry has stood for so long.
    pub fn migration(&mut self, ns: u64, record: &Record, sink: &mut Sink) {
        self.add(RuleId::M06, ns, record, sink);
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

    /// A fault that could not be handled under its VMA's lock was handled, after so long.
    pub fn fell_back(&mut self, ns: u64, record: &Record, sink: &mut Sink) {
        self.add(RuleId::M03, ns, record, sink);
    }

    /// `retract_page_tables()` took so long.
    pub fn retracted(&mut self, ns: u64, record: &Record, sink: &mut Sink) {
        self.add(RuleId::M07, ns, record, sink);
    }

    /// How many of the intervals were not longer than each bound, their sum and number, in nanoseconds.
    #[must_use]
    pub fn cumulative(&self, rule: RuleId, bounds_ns: &[u64]) -> Option<(Vec<u64>, u64, u64)> {
        let index = MEASURES.iter().position(|m| *m == rule)?;
        let histogram = self.done[index].as_ref()?;
        let upto = bounds_ns.iter().map(|bound| histogram.count_between(0, *bound)).collect();
        Some((upto, self.distribution(rule)?.sum_ns, histogram.len()))
    }

    /// What a measuring rule measured.
    #[must_use]
    pub fn distribution(&self, rule: RuleId) -> Option<Distribution> {
        let index = MEASURES.iter().position(|m| *m == rule)?;
        let histogram = self.done[index].as_ref()?;
        Some(Distribution {
            count: histogram.len(),
            p50_ns: histogram.value_at_quantile(0.5),
            p99_ns: histogram.value_at_quantile(0.99),
            max_ns: histogram.max(),
            sum_ns: histogram
                .iter_recorded()
                .map(|v| v.value_iterated_to().saturating_mul(v.count_at_value()))
                .fold(0, u64::saturating_add),
        })
    }
}
