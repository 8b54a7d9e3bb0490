//! Statistics over the stream that the model judges, for the views.
//!
//! Everything is bounded and can be copied; a copy is a checkpoint.

use mmtrace_common::{Column, Kind, Record};

use crate::model::{
    Model,
    effect::{Effect, Under},
    faults::address_space::Cause,
};

pub mod durations;
pub mod faults;
pub mod locks;
pub mod rates;
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
    /// Takes an event that the model has just taken.
    #[inline]
    pub fn apply(&mut self, record: &Record, model: &Model) {
        let Some(kind) = record.kind() else { return };
        // One record may say that many are missing.
        let n = if kind.is_missing() { value(record, Column::Count).max(1) } else { 1 };
        if kind.is_missing() || !kind.is_synthetic() {
            self.rates.add(kind, record.ts, n);
        }
        match kind {
            Kind::PageFaultUser | Kind::PageFaultKernel => {
                self.faults.add(record, model.last_cause().unwrap_or(Cause::Unknown));
                if kind == Kind::PageFaultUser {
                    self.locks.in_user_mode(record);
                }
            }
            Kind::LockVmaUnderRcu | Kind::VmaStartWrite | Kind::VmaStartWriteReturn => {
                self.locks.vma(kind, record, model.effect(), &self.faults);
            }
            Kind::VmAreaFree => self.locks.freed(record),
            Kind::HandleMmFault | Kind::HandleMmFaultReturn => self.call(record, model.effect()),
            Kind::StartLocking | Kind::AcquireReturned | Kind::Released => {
                self.locks.add(kind, record, model.measures().ended(), &self.faults);
            }
            Kind::MaWrite => self.faults.vma(record),
            Kind::ExitMmap => self.locks.forget(record.mm),
            Kind::Exit if record.tgid == record.tid => self.faults.exit(record.tgid),
            Kind::Loss | Kind::Missed | Kind::Gap | Kind::Foreign => {
                let of = record.get(Column::LostKind).and_then(|kind| Kind::from_u16(kind as u16));
                self.locks.lost(of, record.get(Column::Until).unwrap_or(u64::MAX));
            }
            _ => {
                let effect = model.effect();
                self.work.add(kind, record, effect);
                match effect {
                    Some(Effect::Waited { mm, addr, .. }) => self.faults.waited(*mm, *addr),
                    Some(Effect::Collapsed { mm, begun: Some((addr, _)), succeeded: true }) => {
                        self.faults.collapsed(*mm, *addr);
                    }
                    Some(Effect::Retracted | Effect::PteMapped) => {
                        self.faults.collapsed(record.mm, value(record, Column::Addr));
                    }
                    _ => {}
                }
            }
        }
    }

    /// `handle_mm_fault()`.
    fn call(&mut self, record: &Record, effect: Option<&Effect>) {
        match effect {
            Some(Effect::Handles(call)) if call.under == Under::Vma => self.locks.handles(record.tid, call),
            Some(Effect::Handled { call, outcome, major, trap_ns }) => {
                if call.under == Under::Vma {
                    self.locks.handled(record, call, *outcome);
                }
                self.faults.handled(record.ts, call, *outcome, *major, *trap_ns);
            }
            None if record.kind() == Some(Kind::HandleMmFaultReturn) => self.faults.unpaired += 1,
            _ => {}
        }
    }
}

/// The value of a column, or 0.
fn value(record: &Record, column: Column) -> u64 {
    record.get(column).unwrap_or(0)
}
