//! Statistics over the stream that the model judges, for the views.
//!
//! Everything is made of effects alone. It is bounded and can be copied: a copy is a checkpoint to travel back to.

use mmtrace_common::{Call, Record};

use crate::model::{
    effect::{Effect, Fault, Under, What},
    mappings::Mappings,
};

pub(crate) mod blame;
pub mod blockers;
pub mod caller;
pub mod callers;
pub mod cgroups;
pub(crate) mod charges;
pub mod faults;
pub mod functions;
pub(crate) mod intervals;
pub mod locks;
pub mod mappings;
pub mod open_calls;
pub mod rates;
mod recent_faults;
pub mod work;

use faults::Faults;
use locks::Locks;
use rates::Rates;
use work::Work;

/// The figures of the views.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Events per second, by class.
    pub rates: Rates,
    /// The mmap_locks, and the locks of VMAs.
    pub locks: Locks,
    /// Page faults.
    pub faults: Faults,
    /// Collapse, migration, compaction.
    pub work: Work,
}

impl Stats {
    /// Takes an event that the model has just taken, what it came to, the call of the hold or wait that it ended, and what
    /// addresses belong to.
    #[inline]
    pub(crate) fn apply(&mut self, record: &Record, effect: &Effect, call: Option<Call>, mappings: &Mappings) {
        let Some(kind) = record.kind() else { return };
        // One record may say that many are missing.
        let n = if let What::Missing { count, .. } = effect.what { count.max(1) } else { 1 };
        if kind.is_missing() || !kind.is_synthetic() {
            self.rates.add(kind, record.ts, n);
        }
        self.work.add(effect);
        effect.faults.iter().flatten().for_each(|fault| self.faults.add(fault, mappings));
        match effect.what {
            What::Faulted { user } => {
                self.faults.begins(effect.tgid, effect.mm, effect.ts);
                if user {
                    self.locks.in_user_mode(effect);
                }
            }
            What::Handles(call) if call.under == Under::Vma => self.locks.handles(effect.tid, &call),
            What::Handled { call, outcome, major, trap, .. } => {
                if call.under == Under::Vma {
                    self.locks.handled(effect, &call, outcome);
                }
                self.faults.handled(effect, &call, outcome, major, trap);
            }
            What::HandledUnseen => self.faults.unpaired += 1,
            What::Accounted { .. } => self.faults.accounted(effect),
            What::LockAwaited { .. } | What::LockRefused { .. } | What::Locked { .. } | What::Unlocked { .. } => {
                self.locks.mmap_lock(effect, call, &self.faults);
            }
            What::VmaGranted { .. } | What::VmaAwaited { .. } | What::VmaLocked { .. } => {
                self.locks.vma_lock(effect, &self.faults);
            }
            What::VmaFreed { vma } => self.locks.freed(effect, vma),
            What::VmaStored { addr } => self.faults.vma(effect.tgid, addr),
            What::Unmapped => self.locks.unmapped(effect.mm),
            What::Exited if effect.tgid == effect.tid => self.faults.exit(effect.tgid),
            What::Missing { of, until, .. } => self.locks.lost(of, until),
            What::MigrationAwaited { mm, addr, .. } => self.faults.waited(mm, addr),
            What::Collapsed { begun: Some((addr, _)), succeeded: true, .. } | What::TableUnlinked { addr, .. } => {
                self.faults.collapsed(effect.mm, addr);
            }
            _ => {}
        }
    }

    /// Counts faults whose kind is settled.
    pub(crate) fn count(&mut self, faults: &[Fault], mappings: &Mappings) {
        faults.iter().for_each(|fault| self.faults.add(fault, mappings));
    }
}
