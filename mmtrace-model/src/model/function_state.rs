//! What is known from events of kernel functions.
//!
//! The model of the tracepoints does not rest on any of this, so that the loss of a function's
//! event costs only the rules that need it. What is here also looks at tracepoints: at locks,
//! and at user mode.

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

/// Findings that wait for what may explain them.
const SUSPECTS_MAX: usize = 64;

/// What is known from functions.
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

/// A finding that an event with an earlier time on another CPU may still explain: clocks differ.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) rule: RuleId,
    pub(super) record: Record,
    /// Goes away when this VMA's life, or this write hold, turns out to have ended before.
    pub(super) vma: u64,
    pub(super) section: Option<Section>,
    /// The other task, if there is one.
    pub(super) other: Option<u32>,
    pub(super) what: String,
}

impl Functions {
    pub(super) fn new(context: &Context) -> Self {
        // Others' events from before may have come after the first ones, by their clocks.
        let blind_until = context.start.saturating_add(EPSILON_NS);
        Self { filtered: context.filter.is_some(), blind_until, ..Self::default() }
    }

    /// Whether events of this time teach anything.
    #[inline]
    pub(super) const fn is_blind(&self, ts: u64) -> bool {
        ts <= self.blind_until
    }

    /// Events are missing, and nothing up to this time teaches anything. Everything is forgotten: an end that is
    /// missing leaves something open, a begin makes an end look like another's.
    pub(super) fn lost(&mut self, until: u64) {
        *self = Self { filtered: self.filtered, blind_until: self.blind_until.max(until), ..Self::default() };
    }

    pub(super) fn suspect(&mut self, suspect: Suspect) {
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.push(suspect);
        }
    }

    /// A task is gone, or its id another's.
    pub(super) fn forget_task(&mut self, tid: u32) {
        self.callers.remove(&tid);
        self.waiting.forget_task(tid);
        self.retracting.forget_task(tid);
    }
}

impl Model {
    /// Reports what nothing has explained in time.
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
            // One fault is not reported twice.
            self.functions.vmas.forget(vma);
            self.functions.dead.forget(record.mm);
            sink.violated(rule, &record, record.mm, &tids, what);
        }
    }

    /// What is suspected of this VMA, write hold or dead mm is explained.
    pub(super) fn explain(&mut self, explained: impl Fn(&Suspect) -> bool) {
        if !self.functions.suspects.is_empty() {
            self.functions.suspects.retain(|s| !explained(s));
        }
    }
}
