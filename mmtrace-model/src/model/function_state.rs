//! The state that the events of kernel functions show.
//!
//! The model of the tracepoints does not rest on this state, so the loss of a function's event costs only the rules
//! that need it. The functions' state also uses tracepoints: lock events and faults in user mode.

use super::suspects::Suspects;
use crate::context::Context;
use crate::model::{
    collapse::retract::Retracting,
    faults::handling::Callers,
    lifetime::dead_mm::Dead,
    locks::{mmap_lock::EPSILON_NS, vma_lock::VmaLocks},
    migration::wait::Waiting,
};

/// The state that function events show.
#[derive(Clone, Debug, Default)]
pub(super) struct Functions {
    pub(super) callers: Callers,
    pub(super) vmas: VmaLocks,
    pub(super) waiting: Waiting,
    pub(super) retracting: Retracting,
    pub(super) dead: Dead,
    pub(super) suspects: Suspects,
    /// Only some mms are recorded.
    pub(super) filtered: bool,
    /// Nothing is learned from events up to this time.
    blind_until: u64,
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

    /// A task is gone, or its id another's.
    pub(super) fn forget_task(&mut self, tid: u32) {
        self.callers.forget_task(tid);
        self.waiting.forget_task(tid);
        self.retracting.forget_task(tid);
    }
}
