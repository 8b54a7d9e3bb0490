//! Hugetlb locks and walks of page tables that other mms may share (mm/hugetlb.c).

use mmtrace_common::{Kind, Record, View as _, event};
use rustc_hash::FxHashMap;

use crate::model::{
    Model,
    locks::{exclusion::Mode, mmap_lock::EPSILON_NS},
};
use crate::{
    kernel_version::KernelVersion,
    verdict::{RuleId, Sink},
};

/// `VM_MAYSHARE`
const VM_MAYSHARE: u64 = 0x80;
/// `HPAGE_RESV_OWNER`
const HPAGE_RESV_OWNER: u64 = 1;
/// `HPAGE_RESV_MASK`
const HPAGE_RESV_MASK: u64 = 3;
/// Suspicions kept with their events; more are only counted, and stay unknown.
const SUSPICIONS_MAX: usize = 1 << 10;
/// Locks that are followed, and holds of one lock.
const LOCKS_MAX: usize = 1 << 12;
const HOLDS_MAX: usize = 256;

/// One observed hold.
#[derive(Clone, Copy, Debug)]
struct Hold {
    tid: u32,
    vma: u64,
    mode: Mode,
    /// The event that showed the acquisition.
    shown_by: Record,
}

/// Calls that look wrong on a kernel on which no right call has been seen yet: if a compiler inlines what makes a call
/// right, no call looks right. They are judged when a right call is seen.
#[derive(Clone, Debug, Default)]
struct Suspicions(Vec<(Record, String)>);

impl Suspicions {
    fn add(&mut self, rule: RuleId, record: &Record, what: String, sink: &mut Sink) {
        sink.suspected(rule);
        if self.0.len() < SUSPICIONS_MAX {
            self.0.push((*record, what));
        }
    }

    /// A right call was seen, so right calls can be recognised on this kernel.
    fn confirm(&mut self, rule: RuleId, sink: &mut Sink) {
        for (record, what) in self.0.drain(..) {
            sink.confirmed(rule, &record, record.mm, &[record.tid], what);
        }
    }
}

/// The hugetlb locks that are held, by the object that identifies the lock.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct HugetlbLocks {
    held: FxHashMap<u64, Vec<Hold>>,
    /// A task was seen where it can hold none, and its release had not been seen. Some releases are inlined on this
    /// kernel, so the holds are not known.
    inlined: bool,
    /// Private reservations have a lock.
    private: bool,
    /// `hugetlb_vma_unlock_read()` was seen inside `migration_entry_wait_huge()`: it is called there.
    unlocks_in_wait: bool,
    /// Sleeps before that was seen.
    sleeps: Suspicions,
    /// A call of `huge_pmd_unshare()` was seen between a trylock and its unlock.
    unshares_in_lock: bool,
    /// Calls before that was seen.
    unshares: Suspicions,
}

impl HugetlbLocks {
    pub(in crate::model) fn new(kernel: Option<KernelVersion>) -> Self {
        Self { private: kernel.is_some_and(KernelVersion::has_private_hugetlb_locks), ..Self::default() }
    }

    /// Forgets the holds, because they are not known.
    pub(in crate::model) fn forget(&mut self) {
        self.held.clear();
    }

    /// Returns which lock it is; `None` if the VMA has none (`__vma_shareable_lock`, `__vma_private_lock`).
    const fn identity(&self, object: u64, vm_flags: u64) -> Option<u64> {
        if vm_flags & VM_MAYSHARE != 0 {
            return if object == 0 { None } else { Some(object) };
        }
        let reservation = object & !HPAGE_RESV_MASK;
        if self.private && object & HPAGE_RESV_OWNER != 0 && reservation != 0 { Some(reservation) } else { None }
    }

    fn take(&mut self, lock: u64, hold: Hold) -> Option<Hold> {
        if self.held.len() >= LOCKS_MAX && !self.held.contains_key(&lock) {
            self.held.clear();
        }
        let holds = self.held.entry(lock).or_default();
        if holds.len() >= HOLDS_MAX {
            holds.clear();
        }
        if holds.iter().any(|h| h.tid == hold.tid) {
            // The task cannot wait for itself, so its release was not seen.
            self.inlined = true;
            holds.retain(|h| h.tid != hold.tid);
        }
        let other = holds.iter().find(|h| h.mode.excludes(hold.mode)).copied();
        holds.push(hold);
        other
    }

    /// Takes a release of this lock by this task, and returns the hold that it ends.
    fn release(&mut self, lock: u64, tid: u32, mode: Mode) -> Option<Hold> {
        let holds = self.held.get_mut(&lock)?;
        let index = holds.iter().rposition(|h| h.tid == tid && h.mode == mode)?;
        let hold = holds.remove(index);
        if holds.is_empty() {
            self.held.remove(&lock);
        }
        Some(hold)
    }

    /// A release for write of whichever lock this VMA has (`__hugetlb_vma_unlock_write_free`).
    fn release_of(&mut self, vma: u64, tid: u32) -> Option<u64> {
        let of = |h: &Hold| h.tid == tid && h.vma == vma && h.mode == Mode::Write;
        let lock = self.held.iter().find(|(_, holds)| holds.iter().any(of)).map(|(l, _)| *l)?;
        self.release(lock, tid, Mode::Write).map(|_| lock)
    }

    /// Whether the task holds the lock of this VMA for write.
    fn writes(&self, vma: u64, tid: u32) -> bool {
        self.held.values().flatten().any(|h| h.tid == tid && h.vma == vma && h.mode == Mode::Write)
    }

    /// The task holds nothing now. Returns `true` if that shows that releases are inlined.
    fn leave(&mut self, tid: u32) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let mut unseen = false;
        self.held.retain(|_, holds| {
            let before = holds.len();
            holds.retain(|h| h.tid != tid);
            unseen |= holds.len() < before;
            !holds.is_empty()
        });
        self.inlined |= unseen;
        unseen
    }
}

impl Model {
    /// A hugetlb lock was taken, or is about to be released.
    pub(in crate::model) fn hugetlb_lock(&mut self, kind: Kind, record: &Record, sink: &mut Sink) {
        self.tables.walk(record.tid).hugetlb = true;
        // All of these events name the VMA, and identify its lock.
        let event::HugetlbVmaLockRead { vma, lock_object, vm_flags } = event::HugetlbVmaLockRead::of(record);
        if vm_flags & VM_MAYSHARE == 0 || lock_object == 0 {
            self.shareable.remove(&(record.mm, vma));
        } else {
            if self.shareable.len() >= LOCKS_MAX {
                self.shareable.clear();
            }
            self.shareable.insert((record.mm, vma));
        }
        let lock = self.hugetlb.identity(lock_object, vm_flags);
        match kind {
            Kind::HugetlbVmaUnlockRead => {
                if let Some((waiting, unlocked)) = &mut self.tables.walk(record.tid).huge_wait
                    && *waiting == vma
                {
                    *unlocked = true;
                    self.hugetlb.unlocks_in_wait = true;
                    self.hugetlb.sleeps.confirm(RuleId::L32, sink);
                }
                if let Some(lock) = lock
                    && self.hugetlb.release(lock, record.tid, Mode::Read).is_some()
                {
                    self.hugetlb_released(lock, record, sink);
                }
            }
            Kind::HugetlbVmaUnlockWrite => {
                if let Some(lock) = lock
                    && self.hugetlb.release(lock, record.tid, Mode::Write).is_some()
                {
                    self.hugetlb_released(lock, record, sink);
                }
            }
            Kind::HugetlbVmaTrylockWrite if !event::HugetlbVmaTrylockWrite::of(record).success => {}
            _ => {
                let Some(lock) = lock else { return };
                let mode = if kind == Kind::HugetlbVmaLockRead { Mode::Read } else { Mode::Write };
                let hold = Hold { tid: record.tid, vma, mode, shown_by: *record };
                self.hugetlb_taken(lock, hold, record, sink);
            }
        }
    }

    /// L30 is judged when both holds were seen to end: on some kernels the compiler inlines releases, and the open
    /// holds are not known.
    fn hugetlb_taken(&mut self, lock: u64, hold: Hold, record: &Record, sink: &mut Sink) {
        let other = self.hugetlb.take(lock, hold);
        if self.hugetlb.inlined {
            self.hugetlb_inlined(sink);
            sink.unjudged(RuleId::L30);
            return;
        }
        let Some(other) = other else {
            sink.held(RuleId::L30, record.ts);
            return;
        };
        if self.hugetlb_overlaps.len() >= HOLDS_MAX {
            self.hugetlb_overlaps.clear();
        }
        let overlap = Overlap { lock, holder: other, taker: hold, ended: None };
        self.hugetlb_overlaps.push(overlap);
    }

    /// L30: a hold has ended.
    fn hugetlb_released(&mut self, lock: u64, record: &Record, sink: &mut Sink) {
        let of = |o: &Overlap| o.lock == lock && (o.holder.tid == record.tid || o.taker.tid == record.tid);
        let mut over = None;
        self.hugetlb_overlaps.retain_mut(|overlap| match overlap.ended {
            _ if !of(overlap) => true,
            None => {
                overlap.ended = Some((record.tid, record.ts));
                true
            }
            Some((first, _)) if first == record.tid => true,
            Some((_, end)) => {
                if end > overlap.taker.shown_by.ts.saturating_add(EPSILON_NS) {
                    over = Some(*overlap);
                } else {
                    // By the clocks, the two need not have overlapped.
                    sink.unjudged(RuleId::L30);
                }
                false
            }
        });
        let Some(over) = over else { return };
        // One fault of the kernel is reported once.
        self.hugetlb.held.remove(&lock);
        self.hugetlb_overlaps.retain(|o| o.lock != lock);
        let (holder, taker) = (over.holder, over.taker);
        let what = format!(
            "task {} got hugetlb lock {lock:#x} for {} while task {} held it for {}",
            taker.tid,
            taker.mode.name(),
            holder.tid,
            holder.mode.name()
        );
        let acquisitions = [holder.shown_by, taker.shown_by];
        sink.violated_by(RuleId::L30, record, record.mm, &[holder.tid, taker.tid], what, &acquisitions);
    }

    /// Releases are inlined on this kernel, so the findings of L30 may be wrong.
    fn hugetlb_inlined(&mut self, sink: &mut Sink) {
        self.hugetlb_overlaps.clear();
        sink.withdraw(RuleId::L30);
    }

    /// `__hugetlb_zap_end()`: the final unmap releases the lock inline, and frees it.
    pub(in crate::model) fn hugetlb_zap_end(&mut self, record: &Record, sink: &mut Sink) {
        self.tables.walk(record.tid).hugetlb = true;
        let event::HugetlbZapEnd { vma } = event::HugetlbZapEnd::of(record);
        self.shareable.remove(&(record.mm, vma));
        if let Some(lock) = self.hugetlb.release_of(vma, record.tid) {
            self.hugetlb_released(lock, record, sink);
        }
    }

    /// L31: an rmap walk drops its use of a shared PMD table.
    pub(in crate::model) fn huge_pmd_unshare(&mut self, record: &Record, sink: &mut Sink) {
        let event::HugePmdUnshare { vma, .. } = event::HugePmdUnshare::of(record);
        if self.hugetlb.writes(vma, record.tid) {
            self.hugetlb.unshares_in_lock = true;
            self.hugetlb.unshares.confirm(RuleId::L31, sink);
            sink.held(RuleId::L31, record.ts);
            return;
        }
        let known = self.tables.walk(record.tid).hugetlb && !self.hugetlb.inlined;
        let task = self.task(record.tid);
        // Splitting a VMA unshares under the mmap_lock instead.
        let exclusive = task.writes.contains(&record.mm) || !task.anchored;
        if known && !exclusive && self.shareable.contains(&(record.mm, vma)) {
            let what = format!(
                "task {} unshares a PMD table of VMA {vma:#x} in mm {:#x} without holding its hugetlb lock for write",
                record.tid, record.mm
            );
            if self.hugetlb.unshares_in_lock {
                sink.violated(RuleId::L31, record, record.mm, &[record.tid], what);
            } else {
                self.hugetlb.unshares.add(RuleId::L31, record, what, sink);
            }
        } else {
            sink.unjudged(RuleId::L31);
        }
    }

    /// `migration_entry_wait_huge()` is entered with the VMA's hugetlb lock held for read.
    pub(in crate::model) fn huge_wait(&mut self, record: &Record) {
        self.tables.walk(record.tid).huge_wait = Some((event::MigrationEntryWaitHuge::of(record).vma, false));
    }

    /// L32: the task is about to sleep until the migration is over.
    pub(in crate::model) fn huge_sleep(&mut self, record: &Record, sink: &mut Sink) {
        let Some(walk) = self.tables.walk_of(record.tid) else { return };
        let Some((vma, unlocked)) = walk.huge_wait.take() else { return };
        if unlocked {
            sink.held(RuleId::L32, record.ts);
            return;
        }
        let what = format!(
            "task {} sleeps until a migration is over without having released the hugetlb lock of VMA {vma:#x}",
            record.tid
        );
        if self.hugetlb.unlocks_in_wait {
            sink.violated(RuleId::L32, record, record.mm, &[record.tid], what);
        } else {
            self.hugetlb.sleeps.add(RuleId::L32, record, what, sink);
        }
    }

    /// L29: a walk that may meet hugetlb tables begins or ends.
    pub(in crate::model) fn walk_bracket(&mut self, kind: Kind, record: &Record, sink: &mut Sink) {
        let Some(depth) = &mut self.tables.walk(record.tid).depth else {
            sink.unjudged(RuleId::L29);
            return;
        };
        if kind == Kind::VmaPgtableWalkBegin {
            *depth = depth.saturating_add(1);
            return;
        }
        if *depth > 0 {
            *depth -= 1;
            sink.held(RuleId::L29, record.ts);
            return;
        }
        self.tables.walk(record.tid).depth = None;
        let what = format!("task {} ends a page-table walk in mm {:#x} that it has not begun", record.tid, record.mm);
        sink.violated(RuleId::L29, record, record.mm, &[record.tid], what);
    }

    /// The task is in user mode or exits, so it is in no call of the kernel and holds no lock.
    pub(in crate::model) fn walk_over(&mut self, record: &Record, place: &str, sink: &mut Sink) {
        if record.ts < self.start || record.ts <= self.tables.blind_until {
            return;
        }
        let left = self.tables.walk(record.tid).outside();
        if self.hugetlb.leave(record.tid) {
            self.hugetlb_inlined(sink);
        }
        if let Some(open) = left.filter(|open| *open > 0) {
            let what = format!("task {} {place} and has not ended {open} page-table walks", record.tid);
            sink.violated(RuleId::L29, record, record.mm, &[record.tid], what);
        }
    }
}

/// Two holds of one lock that exclude each other.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Overlap {
    lock: u64,
    holder: Hold,
    taker: Hold,
    /// The first of the two to end: its task, and when.
    ended: Option<(u32, u64)>,
}
