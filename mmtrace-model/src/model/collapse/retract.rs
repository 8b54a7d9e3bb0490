//! `retract_page_tables()` (mm/khugepaged.c), and the events of other tasks during a call.

use mmtrace_common::{Record, View as _, event};
use rustc_hash::FxHashMap;

use crate::model::{Model, clock_skew::EPSILON_NS};
use crate::verdict::{RuleId, Sink};

/// VM_UFFD_WP (include/linux/mm.h, the same from 6.1 to 7.2).
const VM_UFFD_WP: u64 = 0x1000;
/// Calls that are followed at the same time.
const OPEN_MAX: usize = 1 << 12;
/// Registered VMAs that are followed. All of them are forgotten beyond that number.
const REGISTERED_MAX: usize = 1 << 14;

/// A VMA that was registered for write-protection.
#[derive(Clone, Copy, Debug)]
struct Registered {
    mm: u64,
    /// The task that registered it, until that task releases the mmap_lock; then the time of the release.
    by: Result<u64, u32>,
}

/// Retracts that run, and the registrations that they must take notice of.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Retracting {
    /// Time when each task entered the call, nanoseconds, by task.
    running: FxHashMap<u32, u64>,
    /// Tasks in `mwriteprotect_range()`.
    protecting: FxHashMap<u32, u64>,
    registered: FxHashMap<u64, Registered>,
    /// Some registrations still wait for the release.
    registering: bool,
}

impl Retracting {
    pub(in crate::model) fn forget_task(&mut self, tid: u32) {
        self.running.remove(&tid);
        self.protecting.remove(&tid);
    }

    fn by_another(map: &FxHashMap<u32, u64>, tid: u32) -> Option<u32> {
        map.keys().copied().filter(|t| *t != tid).min()
    }

    fn begin(map: &mut FxHashMap<u32, u64>, record: &Record) {
        if map.len() >= OPEN_MAX {
            map.clear();
        }
        map.insert(record.tid, record.ts);
    }

    /// `userfaultfd_set_ctx()`.
    pub(in crate::model) fn registers(&mut self, record: &Record) {
        let event::UserfaultfdSetCtx { vma, ctx, vm_flags } = event::UserfaultfdSetCtx::of(record);
        if ctx == 0 || vm_flags & VM_UFFD_WP == 0 {
            self.registered.remove(&vma);
            return;
        }
        if self.registered.len() >= REGISTERED_MAX {
            self.registered.clear();
        }
        self.registered.insert(vma, Registered { mm: record.mm, by: Err(record.tid) });
        self.registering = true;
    }

    /// A task releases an mmap_lock for write.
    pub(in crate::model) fn released(&mut self, record: &Record) {
        if !self.registering {
            return;
        }
        self.registering = false;
        for vma in self.registered.values_mut() {
            if vma.by == Err(record.tid) && vma.mm == record.mm {
                vma.by = Ok(record.ts);
            }
            self.registering |= vma.by.is_err();
        }
    }

    pub(in crate::model) fn vma_freed(&mut self, vma: u64) {
        if !self.registered.is_empty() {
            self.registered.remove(&vma);
        }
    }

    pub(in crate::model) fn protect_ends(&mut self, tid: u32) {
        self.protecting.remove(&tid);
    }
}

impl Model {
    pub(in crate::model) fn retract_begins(&mut self, record: &Record, sink: &mut Sink) {
        Retracting::begin(&mut self.functions.retracting.running, record);
        self.proximity(Retracting::by_another(&self.functions.retracting.protecting, record.tid), record, sink);
    }

    pub(in crate::model) fn retract_ends(&mut self, record: &Record, sink: &mut Sink) {
        if self.functions.retracting.running.remove(&record.tid).is_some() {
            sink.held(RuleId::L27, record.ts);
        }
    }

    /// `mwriteprotect_range()` is entered.
    pub(in crate::model) fn protect_begins(&mut self, record: &Record, sink: &mut Sink) {
        Retracting::begin(&mut self.functions.retracting.protecting, record);
        self.proximity(Retracting::by_another(&self.functions.retracting.running, record.tid), record, sink);
    }

    fn proximity(&self, other: Option<u32>, record: &Record, sink: &mut Sink) {
        if let Some(other) = other {
            let what = format!(
                "tasks {} and {other} retract page tables and write-protect a range at the same time",
                record.tid
            );
            sink.violated(RuleId::H04, record, 0, &[record.tid, other], what);
        } else {
            sink.held(RuleId::H04, record.ts);
        }
    }

    /// `__vmf_anon_prepare()` has returned.
    pub(in crate::model) fn anon_vma_prepared(&self, record: &Record, sink: &mut Sink) {
        let event::VmfAnonPrepare { vma, fault_result, .. } = event::VmfAnonPrepare::of(record);
        if fault_result != 0 {
            return;
        }
        if let Some(other) = Retracting::by_another(&self.functions.retracting.running, record.tid) {
            let what =
                format!("task {} gives VMA {vma:#x} an anon_vma while task {other} retracts page tables", record.tid);
            sink.violated(RuleId::H05, record, 0, &[record.tid, other], what);
        } else {
            sink.held(RuleId::H05, record.ts);
        }
    }

    /// `pmdp_collapse_flush()` is entered.
    pub(in crate::model) fn flushed_in_retract(&self, record: &Record, sink: &mut Sink) {
        let retracting = &self.functions.retracting;
        let Some(since) = retracting.running.get(&record.tid).copied() else { return };
        let event::PmdpCollapseFlush { vma, addr, vm_flags, .. } = event::PmdpCollapseFlush::of(record);
        if vm_flags & VM_UFFD_WP == 0 {
            sink.held(RuleId::L26, record.ts);
            return;
        }
        match retracting.registered.get(&vma) {
            Some(Registered { mm, by: Ok(released) })
                if *mm == record.mm && released.saturating_add(EPSILON_NS) < since =>
            {
                let what = format!(
                    "task {} retracts the PTE table of {addr:#x} in mm {mm:#x}, but VMA {vma:#x} was registered for write-protection {} ns before the retract began",
                    record.tid,
                    since - released
                );
                sink.violated(RuleId::L26, record, record.mm, &[record.tid], what);
            }
            // The task registered it before recording began, or during the retract.
            _ => sink.unjudged(RuleId::L26),
        }
    }

    /// The task takes an mmap_lock for write, or is about to sleep for one; neither may happen inside a retract.
    /// Attempts for read may be those of an interrupt on top of the task.
    pub(in crate::model) fn locks_in_retract(&mut self, record: &Record, sink: &mut Sink) {
        let running = &mut self.functions.retracting.running;
        if running.is_empty() || !sink.is_open(RuleId::L27) {
            return;
        }
        if let Some(since) = running.remove(&record.tid) {
            let what = format!(
                "task {} takes the mmap_lock of mm {:#x}, {} ns after it began to retract page tables",
                record.tid,
                record.mm,
                record.ts.saturating_sub(since)
            );
            sink.violated(RuleId::L27, record, record.mm, &[record.tid], what);
        }
    }
}
