//! Dead mms: `exit_mmap()` is over, and `__mmdrop()` has not come yet (kernel/fork.c).
//!
//! In between, other tasks (khugepaged, KSM, the OOM reaper) may still hold the struct and take its lock, check whether
//! the mm is dead, and leave. No task may fault, link a page table or lock a VMA, because the mm has none.

use mmtrace_common::{Kind, Record};
use rustc_hash::FxHashMap;

use crate::model::{Model, clock_skew::EPSILON_NS, suspects::Suspect};
use crate::verdict::{RuleId, Sink};

/// Dead mms that are followed. All of them are forgotten beyond that number.
const DEAD_MAX: usize = 1 << 14;

/// mm → when its `exit_mmap` was seen.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Dead(FxHashMap<u64, u64>);

impl Dead {
    pub(in crate::model) fn died(&mut self, mm: u64, ts: u64) {
        if self.0.len() >= DEAD_MAX {
            self.0.clear();
        }
        self.0.insert(mm, ts);
    }

    /// Forgets this mm, because another mm takes its address. Returns whether it was dead.
    pub(in crate::model) fn forget(&mut self, mm: u64) -> bool {
        !self.is_empty() && self.0.remove(&mm).is_some()
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    fn since(&self, mm: u64) -> Option<u64> {
        if self.is_empty() { None } else { self.0.get(&mm).copied() }
    }
}

impl Model {
    /// This event happens only to an mm that is alive.
    #[inline]
    pub(in crate::model) fn alive(&mut self, record: &Record, sink: &mut Sink) {
        let Some(since) = self.functions.dead.since(record.mm) else { return };
        if record.ts <= since.saturating_add(EPSILON_NS) {
            return;
        }
        if !sink.is_open(RuleId::L09) {
            return;
        }
        if !self.is_seen_on(record.tid, record.mm) {
            // The __mmdrop of this mm, and the birth of another mm at its address, may not have been seen.
            sink.unjudged(RuleId::L09);
            return;
        }
        let name = record.kind().map_or("event", Kind::name);
        let what =
            format!("task {}: {name} on mm {:#x}, {} ns after its exit_mmap", record.tid, record.mm, record.ts - since);
        let suspect = Suspect { rule: RuleId::L09, record: *record, vma: 0, section: None, other: None, what };
        self.functions.suspects.add(suspect);
    }

    /// The task was seen to run on this mm, and to leave it neither by an exec nor by its exit.
    fn is_seen_on(&self, tid: u32, mm: u64) -> bool {
        self.tasks.get(tid).is_some_and(|t| t.runs_on == mm)
    }

    /// A fault in user mode, before the model of tasks takes it. A task that was not seen on this mm before shows that
    /// this is another mm, whose fork or exec was not seen.
    pub(in crate::model) fn runs(&mut self, record: &Record, sink: &mut Sink) {
        if self.functions.dead.since(record.mm).is_some()
            && !self.is_seen_on(record.tid, record.mm)
            && self.functions.dead.forget(record.mm)
        {
            self.explain(|s| s.rule == RuleId::L09 && s.record.mm == record.mm);
            sink.unjudged(RuleId::L09);
        }
    }

    /// `__mmdrop()`: the next mm at this address is another one.
    pub(in crate::model) fn given_back(&mut self, record: &Record, sink: &mut Sink) {
        self.explain(|s| s.rule == RuleId::L09 && s.record.mm == record.mm);
        if self.functions.dead.forget(record.mm) {
            sink.held(RuleId::L09, record.ts);
        }
    }

    /// A fork or exec announces another mm at this address.
    pub(in crate::model) fn reborn(&mut self, mm: u64) {
        self.explain(|s| s.rule == RuleId::L09 && s.record.mm == mm);
        self.functions.dead.forget(mm);
    }
}
