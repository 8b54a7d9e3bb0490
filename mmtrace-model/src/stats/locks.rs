//! mmap_locks and VMA locks, by mm: who holds them and how long, and who waits for whom.

use mmtrace_common::{Class, Column, Kind, Record, spec};
use rustc_hash::FxHashMap;

use super::{durations::Durations, faults::Faults, value};
use crate::{
    coverage::Coverage,
    model::{
        effect::{Effect, Handling, Outcome},
        locks::intervals::Interval,
    },
};

/// mms that are followed.
const MMS_MAX: usize = 256;
/// Acquisitions and holds of one mm that are followed at the same time.
const OPEN_MAX: usize = 512;
/// A task that holds a lock, or waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The task.
    pub tid: u32,
    /// The VMA whose lock it is; 0 for the mmap_lock.
    pub vma: u64,
    /// For write.
    pub write: bool,
    /// Since when, nanoseconds.
    pub since: u64,
}

/// Completed holds.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    /// For read.
    pub read: Durations,
    /// For write.
    pub write: Durations,
    /// The longest: who, and how long.
    pub longest: Option<(Holder, u64)>,
}

impl Holds {
    fn add(&mut self, holder: Holder, ts: u64) {
        let ns = ts.saturating_sub(holder.since);
        let holds = if holder.write { &mut self.write } else { &mut self.read };
        holds.add(ns);
        if self.longest.is_none_or(|(_, longest)| ns > longest) {
            self.longest = Some((holder, ns));
        }
    }
}

/// Adds a holder or waiter, unless there are too many already.
fn begin(open: &mut Vec<Holder>, holder: Holder) {
    if open.len() < OPEN_MAX {
        open.push(holder);
    }
}

/// Removes the newest holder or waiter for which this is true.
fn end(open: &mut Vec<Holder>, is: impl Fn(&Holder) -> bool) -> Option<Holder> {
    let at = open.iter().rposition(is)?;
    Some(open.remove(at))
}

/// One mm's lock.
#[derive(Clone, Debug, Default)]
pub struct MmLock {
    /// The process with this mm; until that is seen in user mode, the process that used the mm last.
    pub tgid: u32,
    /// The process was seen in user mode.
    owned: bool,
    /// Time of the last event.
    pub last: u64,
    /// Completed holds.
    pub holds: Holds,
    /// Number of acquisitions for read, without downgrades.
    pub reads: u64,
    /// Number of acquisitions for write.
    pub writes: u64,
    /// Number of downgrades.
    pub downgrades: u64,
    /// Waits of readers.
    pub read_wait: Durations,
    /// Waits of writers.
    pub write_wait: Durations,
    /// The current holders are not known: events are missing, and no task has got the lock for write since.
    pub doubt: bool,
    /// Acquisitions that failed: trylocks, and waits that were killed.
    pub failed: u64,
    /// Who holds it now, oldest first.
    pub holders: Vec<Holder>,
    /// Who waits now, oldest first.
    pub waiting: Vec<Holder>,
    /// The locks of the mm's VMAs, once one of them was seen to be used.
    pub vmas: Option<Box<VmaLocks>>,
}

/// The locks of all VMAs of an mm, together.
///
/// A reader holds a VMA from `lock_vma_under_rcu()` to the end of its fault. Other users (madvise, userfaultfd, /proc)
/// are counted as granted; the ends of their holds are not seen.
#[derive(Clone, Debug, Default)]
pub struct VmaLocks {
    /// `lock_vma_under_rcu()` calls that granted a VMA.
    pub granted: u64,
    /// Calls that granted none; the task takes the mmap_lock instead.
    pub refused: u64,
    /// Faults that dropped the lock on the way, with RETRY or COMPLETED. No event shows when.
    pub dropped: u64,
    /// Completed holds: for read, of faults that kept the lock to their end; for write, until the release or downgrade
    /// of the mmap_lock.
    pub holds: Holds,
    /// Writers in `__vma_start_write()`: they wait until the readers are gone.
    pub write_wait: Durations,
    /// Writers that were killed while they waited.
    pub killed: u64,
    /// Tasks that handle a fault under the VMA lock now.
    pub readers: Vec<Holder>,
    /// VMAs that are locked for write now, oldest first.
    pub writers: Vec<Holder>,
    /// Tasks that wait to lock a VMA for write now, oldest first.
    pub waiting: Vec<Holder>,
}

impl VmaLocks {
    /// How often a VMA was locked, for read or for write.
    #[must_use]
    pub fn acquired(&self) -> u64 {
        self.granted + self.write_wait.count()
    }

    /// The mmap_lock was released or downgraded: `vma_end_write_all()`.
    fn end_writes(&mut self, tid: u32, ts: u64) {
        // Any other seeming holder is one whose event was not recorded.
        for holder in self.writers.drain(..).filter(|holder| holder.tid == tid) {
            self.holds.add(holder, ts);
        }
    }

    fn write_begins(&mut self, record: &Record) {
        self.waiting.retain(|w| w.tid != record.tid);
        let vma = value(record, Column::Vma);
        begin(&mut self.waiting, Holder { tid: record.tid, vma, write: true, since: record.ts });
    }

    /// `__vma_start_write()` has returned. `section`: the write hold of the mmap_lock was seen to begin.
    fn written(&mut self, record: &Record, section: bool) {
        let vma = value(record, Column::Vma);
        let waiter = end(&mut self.waiting, |w| w.tid == record.tid && w.vma == vma);
        if (value(record, Column::Ret) as u32 as i32) < 0 {
            self.killed += 1;
            return;
        }
        if let Some(waiter) = waiter {
            self.write_wait.add(record.ts.saturating_sub(waiter.since));
        }
        if section {
            begin(&mut self.writers, Holder { tid: record.tid, vma, write: true, since: record.ts });
        }
    }

    fn handles(&mut self, tid: u32, call: &Handling) {
        self.readers.retain(|r| r.tid != tid);
        let since = call.granted.unwrap_or(call.since);
        begin(&mut self.readers, Holder { tid, vma: call.vma, write: false, since });
    }

    fn handled(&mut self, record: &Record, call: &Handling, outcome: Outcome) {
        self.readers.retain(|r| r.tid != record.tid);
        match (outcome, call.granted) {
            (Outcome::Retry | Outcome::Completed, _) => self.dropped += 1,
            (_, Some(since)) => {
                self.holds.add(Holder { tid: record.tid, vma: call.vma, write: false, since }, record.ts);
            }
            (_, None) => {}
        }
    }

    fn lost(&mut self) {
        self.readers.clear();
        self.writers.clear();
        self.waiting.clear();
    }
}

impl MmLock {
    /// All acquisitions.
    #[must_use]
    pub const fn acquired(&self) -> u64 {
        self.reads.saturating_add(self.writes)
    }

    /// The share of the completed waits that was measured: readers', writers'.
    #[must_use]
    pub fn waits_measured(&self) -> [Coverage; 2] {
        let of = |waits: &Durations, all: u64| Coverage::of(waits.count(), all.saturating_sub(waits.count()));
        [of(&self.read_wait, self.reads), of(&self.write_wait, self.writes)]
    }

    /// The share of the holds that was measured, without those that go on: for read, for write.
    #[must_use]
    pub fn holds_measured(&self) -> [Coverage; 2] {
        let now = |write: bool| self.holders.iter().filter(|h| h.write == write).count() as u64;
        let of = |holds: &Durations, all: u64, now: u64| {
            Coverage::of(holds.count(), all.saturating_sub(now).saturating_sub(holds.count()))
        };
        let reads = self.reads.saturating_add(self.downgrades);
        [of(&self.holds.read, reads, now(false)), of(&self.holds.write, self.writes, now(true))]
    }

    /// Approximate nanoseconds that tasks waited for this lock and for the VMA locks: medians times numbers.
    #[must_use]
    pub fn pressure(&self) -> u64 {
        let vmas = self.vmas.as_ref().map(|vmas| &vmas.write_wait);
        let waits = [Some(&self.read_wait), Some(&self.write_wait), vmas].into_iter().flatten();
        waits.fold(0, |sum, waits| sum.saturating_add(waits.count().saturating_mul(waits.quantile(0.5))))
    }

    fn acquire(&mut self, record: &Record, write: bool, ended: Option<Interval>) {
        let own_write = |h: &Holder| h.tid == record.tid && h.write;
        end(&mut self.waiting, |w| w.tid == record.tid && w.write == write);
        match ended {
            // A task that holds the lock for write gets it for read by a downgrade.
            Some(Interval::WriteHold { .. }) => {
                self.downgrades += 1;
                self.release(record, true, ended);
            }
            _ if !write && self.holders.iter().any(own_write) => {
                // This is a downgrade, or a release is missing.
                self.downgrades += 1;
                self.release(record, true, None);
            }
            Some(Interval::Wait { ns, .. }) => {
                let waits = if write { &mut self.write_wait } else { &mut self.read_wait };
                waits.add(ns);
                *self.count(write) += 1;
            }
            None => *self.count(write) += 1,
        }
        // No other task holds the lock.
        self.doubt &= !write;
        begin(&mut self.holders, Holder { tid: record.tid, vma: 0, write, since: record.ts });
    }

    /// The current holders and waiters are not known.
    fn give_up(&mut self) {
        self.holders.clear();
        self.waiting.clear();
        self.doubt = true;
    }

    const fn count(&mut self, write: bool) -> &mut u64 {
        if write { &mut self.writes } else { &mut self.reads }
    }

    fn release(&mut self, record: &Record, write: bool, ended: Option<Interval>) {
        if write && let Some(vmas) = &mut self.vmas {
            vmas.end_writes(record.tid, record.ts);
        }
        let holder = end(&mut self.holders, |h| h.tid == record.tid && h.write == write);
        match (write, ended, holder) {
            // The model alone decides what was measured.
            (true, Some(Interval::WriteHold { since, .. }), _) => {
                self.holds.add(Holder { tid: record.tid, vma: 0, write, since }, record.ts);
            }
            (false, _, Some(holder)) => self.holds.add(holder, record.ts),
            _ => {}
        }
    }
}

/// All locks.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    mms: FxHashMap<u64, MmLock>,
    /// Nothing is learned about current holders from events up to this time.
    blind_until: u64,
    /// Acquisitions of the mmap_locks of mms that are no longer followed.
    pub forgotten: u64,
}

impl Locks {
    fn lock(&mut self, record: &Record, faults: &Faults) -> &mut MmLock {
        if self.mms.len() >= MMS_MAX && !self.mms.contains_key(&record.mm) {
            // The mm that was quiet for longest is dropped.
            let quiet = self.mms.iter().min_by_key(|(_, l)| l.last).map(|(mm, _)| *mm);
            if let Some(gone) = quiet.and_then(|mm| self.mms.remove(&mm)) {
                self.forgotten += gone.acquired();
            }
        }
        let lock = self.mms.entry(record.mm).or_default();
        if !lock.owned {
            // Other tasks work on it too: khugepaged, ptrace, /proc.
            let owner = faults.owner_of(record.mm);
            (lock.tgid, lock.owned) = (owner.unwrap_or(record.tgid), owner.is_some());
        }
        lock.last = record.ts;
        lock
    }

    /// The VMA locks of an mm, if one of them was seen to be used.
    fn vmas_of(&mut self, mm: u64) -> Option<&mut VmaLocks> {
        self.mms.get_mut(&mm)?.vmas.as_deref_mut()
    }

    /// `ended`: the interval that the event has ended, according to the model.
    pub(super) fn add(&mut self, kind: Kind, record: &Record, ended: Option<Interval>, faults: &Faults) {
        let blind = record.ts <= self.blind_until;
        let lock = self.lock(record, faults);

        let write = value(record, Column::Write) != 0;
        match kind {
            Kind::StartLocking => {
                begin(&mut lock.waiting, Holder { tid: record.tid, vma: 0, write, since: record.ts });
            }
            Kind::AcquireReturned if value(record, Column::Success) != 0 => lock.acquire(record, write, ended),
            Kind::AcquireReturned => {
                lock.failed += 1;
                end(&mut lock.waiting, |w| w.tid == record.tid && w.write == write);
            }
            _ => lock.release(record, write, ended),
        }
        if blind {
            lock.give_up();
        }
    }

    /// A function's event about VMA locks.
    pub(super) fn vma(&mut self, kind: Kind, record: &Record, effect: Option<&Effect>, faults: &Faults) {
        let vmas = self.lock(record, faults).vmas.get_or_insert_default();
        match kind {
            Kind::LockVmaUnderRcu if value(record, Column::Vma) != 0 => vmas.granted += 1,
            Kind::LockVmaUnderRcu => vmas.refused += 1,
            Kind::VmaStartWrite => vmas.write_begins(record),
            Kind::VmaStartWriteReturn => vmas.written(record, effect == Some(&Effect::VmaWritten)),
            _ => {}
        }
    }

    /// A VMA object is freed, so nobody locks it any more.
    pub(super) fn freed(&mut self, record: &Record) {
        if let Some(vmas) = self.vmas_of(record.mm)
            && let Some(holder) = end(&mut vmas.writers, |w| w.vma == value(record, Column::Vma))
        {
            vmas.holds.add(holder, record.ts);
        }
    }

    /// A fault under the VMA lock begins.
    pub(super) fn handles(&mut self, tid: u32, call: &Handling) {
        if let Some(vmas) = self.vmas_of(call.mm) {
            vmas.handles(tid, call);
        }
    }

    /// A fault under the VMA lock has ended.
    pub(super) fn handled(&mut self, record: &Record, call: &Handling, outcome: Outcome) {
        if let Some(vmas) = self.vmas_of(call.mm) {
            vmas.handled(record, call, outcome);
        }
    }

    /// A task is seen in user mode. The mm is the task's own, and the task holds and waits for no VMA lock there.
    pub(super) fn in_user_mode(&mut self, record: &Record) {
        let Some(lock) = self.mms.get_mut(&record.mm) else { return };
        (lock.tgid, lock.owned) = (record.tgid, true);
        if let Some(vmas) = &mut lock.vmas {
            vmas.readers.retain(|r| r.tid != record.tid);
            vmas.waiting.retain(|w| w.tid != record.tid);
        }
    }

    pub(super) fn forget(&mut self, mm: u64) {
        if let Some(lock) = self.mms.get_mut(&mm) {
            lock.waiting.clear();
            if let Some(vmas) = &mut lock.vmas {
                vmas.readers.clear();
                vmas.waiting.clear();
            }
        }
    }

    /// Events are missing up to a time, of all kinds unless `of` says which. The current holders are no longer known.
    pub(super) fn lost(&mut self, of: Option<Kind>, until: u64) {
        let mmap = matches!(of, None | Some(Kind::StartLocking | Kind::AcquireReturned | Kind::Released));
        if mmap {
            self.blind_until = self.blind_until.max(until);
        }
        let about_vmas = |kind| matches!(spec(kind).class, Class::Fault | Class::Lock | Class::Layout | Class::Life);
        let vmas = mmap || of.is_some_and(about_vmas);
        for lock in self.mms.values_mut() {
            if mmap {
                lock.give_up();
            }
            if vmas && let Some(vmas) = &mut lock.vmas {
                vmas.lost();
            }
        }
    }

    /// The share of all mmap_lock acquisitions that the followed mms count.
    #[must_use]
    pub fn kept(&self) -> Coverage {
        Coverage::of(self.mms.values().map(MmLock::acquired).sum(), self.forgotten)
    }

    /// Every lock that is followed.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &MmLock)> {
        self.mms.iter().map(|(mm, lock)| (*mm, lock))
    }

    /// One mm's.
    #[must_use]
    pub fn get(&self, mm: u64) -> Option<&MmLock> {
        self.mms.get(&mm)
    }
}
