//! VMA locks, as far as functions show them.
//!
//! A task holds a VMA for read from the return of `lock_vma_under_rcu()` to the end of the fault (`faults::handling`);
//! its release is inlined. A task holds a VMA for write from the return of `__vma_start_write()` to its release or
//! downgrade of the mm's mmap_lock (include/linux/mmap_lock.h:vma_end_write_all). The kernel can reuse a VMA object at
//! once, for any mm (SLAB_TYPESAFE_BY_RCU), so the knowledge of a VMA ends at `vm_area_free()`.

use mmtrace_common::{Record, View as _, event};
use rustc_hash::FxHashMap;

use crate::model::{Model, clock_skew::EPSILON_NS, effect::What, suspects::Suspect};
use crate::verdict::{RuleId, Sink};

/// VMAs that are followed: 8 MiB. All of them are forgotten beyond that number.
const VMAS_MAX: usize = 1 << 16;
/// Write holds of mmap_locks that are followed.
const SECTIONS_MAX: usize = 1 << 12;
/// Write acquisitions of one VMA that are remembered.
const WRITES: usize = 4;

/// One write hold of an mmap_lock; its number is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) struct Section {
    number: u64,
    mm: u64,
    tid: u32,
}

/// The known state of one VMA.
#[derive(Clone, Debug, Default)]
struct Vma {
    /// The last write acquisitions: when, and by which task. 0: none.
    writes: [(u64, u32); WRITES],
    next: u8,
    /// The write hold of the mmap_lock in which the last one was, and when.
    section: Option<(Section, u64)>,
    /// Time when the object was last freed, nanoseconds, and the task.
    freed: (u64, u32),
}

/// All VMAs, and the open write holds of mmap_locks.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct VmaLocks {
    vmas: FxHashMap<u64, Vma>,
    /// By mm.
    sections: FxHashMap<u64, Section>,
    numbers: u64,
}

/// The acts of other tasks on a VMA while it was held for read: when, and which task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::model) struct Intrusion {
    /// The first lock for write.
    pub(in crate::model) written: Option<(u64, u32)>,
    /// The VMA was freed.
    pub(in crate::model) freed: Option<(u64, u32)>,
}

impl VmaLocks {
    fn vma(&mut self, vma: u64) -> &mut Vma {
        if self.vmas.len() >= VMAS_MAX && !self.vmas.contains_key(&vma) {
            self.vmas.clear();
        }
        self.vmas.entry(vma).or_default()
    }

    pub(in crate::model) fn forget(&mut self, vma: u64) {
        if vma != 0 {
            self.vmas.remove(&vma);
        }
    }

    /// A task has got an mmap_lock for write.
    pub(in crate::model) fn section_begins(&mut self, record: &Record) {
        if self.sections.len() >= SECTIONS_MAX {
            self.sections.clear();
        }
        self.numbers += 1;
        let section = Section { number: self.numbers, mm: record.mm, tid: record.tid };
        self.sections.insert(record.mm, section);
    }

    /// Ends the write hold: its task has released the lock, or is about to.
    pub(in crate::model) fn section_ends(&mut self, mm: u64) -> Option<Section> {
        if self.sections.is_empty() { None } else { self.sections.remove(&mm) }
    }

    /// Returns what another task did to the VMA in a read hold, later than its begin and earlier than its end by more
    /// than clocks may differ.
    #[inline]
    pub(in crate::model) fn intrusion(&self, vma: u64, tid: u32, since: u64, until: u64) -> Intrusion {
        let Some(vma) = self.vmas.get(&vma) else { return Intrusion::default() };
        let inside = |(ts, by): &(u64, u32)| {
            *by != tid && *ts > since.saturating_add(EPSILON_NS) && ts.saturating_add(EPSILON_NS) < until
        };
        let written = vma.writes.iter().filter(|write| inside(write)).min_by_key(|(ts, _)| *ts).copied();
        Intrusion { written, freed: Some(vma.freed).filter(inside) }
    }
}

impl Model {
    /// `lock_vma_under_rcu()` has returned.
    pub(in crate::model) fn vma_read_lock(&mut self, record: &Record, sink: &mut Sink) {
        let event::LockVmaUnderRcu { addr, vma, vma_start: start, vma_end: end, same_mm: same } =
            event::LockVmaUnderRcu::of(record);
        self.granted(record, vma);
        if vma == 0 {
            return;
        }
        self.alive(record, sink);
        if (start, end) == (0, 0) {
            // The program could not read the range.
            sink.unjudged(RuleId::L12);
        } else if start <= addr && addr < end && same {
            sink.held(RuleId::L12, record.ts);
        } else {
            self.functions.callers.forget_task(record.tid);
            let whose = if same { "" } else { ", and it is another mm's" };
            let what = format!(
                "task {} asked for the VMA of {addr:#x} in mm {:#x} and got {vma:#x}, which spans {start:#x}-{end:#x}{whose}",
                record.tid, record.mm
            );
            sink.violated(RuleId::L12, record, record.mm, &[record.tid], what);
            return;
        }
        let Some(known) = self.functions.vmas.vmas.get(&vma) else { return };
        let Some((section, since)) = known.section else { return };
        if self.functions.vmas.sections.get(&section.mm) != Some(&section) {
            sink.held(RuleId::L20, record.ts);
            return;
        }
        if section.mm != record.mm {
            // The VMA's vm_area_free was not seen, so it is another mm's VMA by now.
            sink.unjudged(RuleId::L20);
            return;
        }
        if record.ts <= since.saturating_add(EPSILON_NS) {
            return;
        }
        let what = format!(
            "task {} got VMA {vma:#x} of mm {:#x} for read {} ns after task {} had locked it for write",
            record.tid,
            record.mm,
            record.ts - since,
            section.tid
        );
        let other = (section.tid != record.tid).then_some(section.tid);
        let suspect = Suspect { rule: RuleId::L20, record: *record, vma, section: Some(section.number), other, what };
        self.functions.suspects.add(suspect);
    }

    /// `__vma_start_write()` is entered.
    pub(in crate::model) fn vma_write_begins(&mut self, record: &Record, sink: &mut Sink) {
        self.functions.waiting.vma_writer(record);
        self.settle(record, sink);
        let lock = &mut self.mm(record.mm).lock;
        let writer = lock.writer();
        if writer.is_some_and(|w| w.tid == record.tid) {
            sink.held(RuleId::L21, record.ts);
        } else if lock.is_complete() && sink.is_open(RuleId::L21) {
            lock.taint();
            let what = format!(
                "task {} locks VMA {:#x} for write without holding the mmap_lock of mm {:#x} for write",
                record.tid,
                event::VmaStartWrite::of(record).vma,
                record.mm
            );
            let mut tids = vec![record.tid];
            tids.extend(writer.map(|w| w.tid));
            self.forget_writes(record.mm);
            sink.violated(RuleId::L21, record, record.mm, &tids, what);
        } else {
            sink.unjudged(RuleId::L21);
        }
    }

    /// `__vma_start_write()` has returned.
    pub(in crate::model) fn vma_write_locked(&mut self, record: &Record, sink: &mut Sink) {
        self.vma_writer_ends(record, sink);
        let event::VmaStartWriteReturn { vma, ret } = event::VmaStartWriteReturn::of(record);
        if ret < 0 {
            // The task was killed while it waited.
            return;
        }
        self.alive(record, sink);
        let section = self.functions.vmas.sections.get(&record.mm).copied().filter(|s| s.tid == record.tid);
        self.effect.what = What::VmaLocked { vma, locked: true, in_hold: section.is_some() };
        let vma = self.functions.vmas.vma(vma);
        let next = usize::from(vma.next) % WRITES;
        vma.writes[next] = (record.ts, record.tid);
        vma.next = (next as u8 + 1) % WRITES as u8;
        vma.section = section.map(|s| (s, record.ts));
    }

    /// `vm_area_free()` is entered: the object may become another VMA at once.
    pub(in crate::model) fn vma_freed(&mut self, record: &Record) {
        let event::VmAreaFree { vma: pointer } = event::VmAreaFree::of(record);
        self.functions.retracting.vma_freed(pointer);
        let vma = self.functions.vmas.vma(pointer);
        vma.section = None;
        vma.freed = (record.ts, record.tid);
        self.explain(|s| s.rule == RuleId::L20 && s.vma == pointer);
    }

    /// An mmap_lock event shows that the write hold that was seen to begin is over, or never was.
    pub(in crate::model) fn vma_writes_end(&mut self, mm: u64) {
        if let Some(section) = self.functions.vmas.section_ends(mm) {
            self.explain(|s| s.section == Some(section.number));
        }
    }
}
