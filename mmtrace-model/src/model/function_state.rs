//! The state that the events of kernel functions show.
//!
//! The model of the tracepoints does not rest on this state, so the loss of a function's event costs only the rules
//! that need it. The functions' state also uses tracepoints: lock events and faults in user mode.

use mmtrace_common::Record;
use rustc_hash::FxHashMap;

use super::Model;
use crate::model::{
    collapse::retract::Retracting,
    faults::handling::Caller,
    lifetime::dead_mm::Dead,
    locks::{
        mmap_lock::EPSILON_NS,
        vma_lock::{Section, VmaLocks},
    },
    migration::wait::Waiting,
};
use crate::{
    context::Context,
    verdict::{RuleId, Sink},
};

/// Findings that wait for an event that may explain them.
const SUSPECTS_MAX: usize = 64;

/// The state that function events show.
#[derive(Clone, Debug, Default)]
pub(super) struct Functions {
    /// Tasks, by their id.
    pub(super) callers: FxHashMap<u32, Caller>,
    pub(super) vmas: VmaLocks,
    pub(super) waiting: Waiting,
    pub(super) retracting: Retracting,
    pub(super) dead: Dead,
    suspects: Vec<Suspect>,
    /// Only some mms are recorded.
    pub(super) filtered: bool,
    /// Nothing is learned from events up to this time.
    blind_until: u64,
}

/// A finding that an event with an earlier time on another CPU may still explain, because clocks differ.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) rule: RuleId,
    pub(super) record: Record,
    /// The finding is dropped if this VMA's life, or this write hold, turns out to have ended before.
    pub(super) vma: u64,
    pub(super) section: Option<Section>,
    /// The other task, if there is one.
    pub(super) other: Option<u32>,
    pub(super) what: String,
}

impl Functions {
    pub(super) fn new(context: &Context) -> Self {
        // By their clocks, other CPUs' events from before may come after the first events.
        let blind_until = context.start.saturating_add(EPSILON_NS);
        Self { filtered: context.filter.is_some(), blind_until, ..Self::default() }
    }

    /// Whether the model learns from events of this time.
    #[inline]
    pub(super) const fn is_blind(&self, ts: u64) -> bool {
        ts <= self.blind_until
    }

    /// Events are missing, and the model learns nothing from events up to this time. It forgets everything: a missing
    /// end leaves something open, and a missing begin makes an end look like another one's.
    pub(super) fn lost(&mut self, until: u64) {
        *self = Self { filtered: self.filtered, blind_until: self.blind_until.max(until), ..Self::default() };
    }

    pub(super) fn suspect(&mut self, suspect: Suspect) {
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.push(suspect);
        }
    }

    /// The task is gone, or another task has its id.
    pub(super) fn forget_task(&mut self, tid: u32) {
        self.callers.remove(&tid);
        self.waiting.forget_task(tid);
        self.retracting.forget_task(tid);
    }
}

impl Model {
    /// Reports the findings that no event explained in time.
    #[inline]
    pub(super) fn settle_suspects(&mut self, ts: u64, sink: &mut Sink) {
        if self.functions.suspects.is_empty() {
            return;
        }
        let old = |s: &Suspect| ts > s.record.ts.saturating_add(EPSILON_NS);
        let mut at = 0;
        while let Some(suspect) = self.functions.suspects.get(at) {
            if !old(suspect) {
                at += 1;
                continue;
            }
            let Suspect { rule, record, vma, other, what, .. } = self.functions.suspects.remove(at);
            let tids: Vec<u32> = [Some(record.tid), other].into_iter().flatten().collect();
            // One fault of the kernel is reported once.
            self.functions.vmas.forget(vma);
            self.functions.dead.forget(record.mm);
            sink.violated(rule, &record, record.mm, &tids, what);
        }
    }

    /// Drops the findings about this VMA, write hold or dead mm, because they are explained.
    pub(super) fn explain(&mut self, explained: impl Fn(&Suspect) -> bool) {
        if !self.functions.suspects.is_empty() {
            self.functions.suspects.retain(|s| !explained(s));
        }
    }
}
