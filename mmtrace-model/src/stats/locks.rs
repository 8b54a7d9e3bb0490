//! mmap_locks and VMA locks, by mm: who holds them and how long, and who waits for whom.

use mmtrace_common::{Call, Class, Kind, spec};
use rustc_hash::FxHashMap;

use super::{faults::Faults, open_calls::OpenCalls};
use crate::{
    coverage::Coverage,
    durations::Durations,
    model::{
        Model,
        effect::{Effect, Handling, Interval, Outcome, What},
        locks::exclusion::Mode,
    },
};

/// mms that are followed.
const MMS_MAX: usize = 256;
/// Acquisitions and holds of the VMA locks of one mm that are followed at once.
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
    /// Time when it began, nanoseconds.
    pub since: u64,
    /// The entry into the kernel by which it took or awaits an mmap_lock; `None` if the events do not say, and for VMA
    /// locks.
    pub call: Option<Call>,
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
    fn add(&mut self, holder: Holder, ns: u64) {
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
    /// Returns the number of times that a VMA was locked, for read or for write.
    #[must_use]
    pub fn acquired(&self) -> u64 {
        self.granted + self.write_wait.count()
    }

    /// The mmap_lock was released or downgraded: `vma_end_write_all()`.
    fn end_writes(&mut self, effect: &Effect) {
        // Whoever else seems to hold one: an event was not recorded.
        for holder in self.writers.drain(..).filter(|holder| holder.tid == effect.tid) {
            self.holds.add(holder, effect.since(holder.since));
        }
    }

    fn write_begins(&mut self, effect: &Effect, vma: u64) {
        self.waiting.retain(|w| w.tid != effect.tid);
        begin(&mut self.waiting, Holder { tid: effect.tid, vma, write: true, since: effect.ts, call: None });
    }

    /// `__vma_start_write()` has returned. `in_hold`: the write hold of the mmap_lock was seen to begin.
    fn written(&mut self, effect: &Effect, vma: u64, locked: bool, in_hold: bool) {
        let waiter = end(&mut self.waiting, |w| w.tid == effect.tid && w.vma == vma);
        if !locked {
            self.killed += 1;
            return;
        }
        if let Some(waiter) = waiter {
            self.write_wait.add(effect.since(waiter.since));
        }
        if in_hold {
            begin(&mut self.writers, Holder { tid: effect.tid, vma, write: true, since: effect.ts, call: None });
        }
    }

    fn handles(&mut self, tid: u32, call: &Handling) {
        self.readers.retain(|r| r.tid != tid);
        let since = call.granted.unwrap_or(call.since);
        begin(&mut self.readers, Holder { tid, vma: call.vma, write: false, since, call: None });
    }

    fn handled(&mut self, effect: &Effect, call: &Handling, outcome: Outcome) {
        self.readers.retain(|r| r.tid != effect.tid);
        match (outcome, call.granted) {
            (Outcome::Retry | Outcome::Completed, _) => self.dropped += 1,
            (_, Some(since)) => {
                let holder = Holder { tid: effect.tid, vma: call.vma, write: false, since, call: None };
                self.holds.add(holder, effect.since(since));
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

    /// Returns the share of the holds that was measured, those that go on `now` not counted: for read, for write.
    #[must_use]
    pub fn holds_measured(&self, now: &Now) -> [Coverage; 2] {
        let now = |write: bool| now.holders.iter().filter(|h| h.write == write).count() as u64;
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

    fn locked(
        &mut self,
        effect: &Effect,
        call: Option<Call>,
        mode: Mode,
        waited: Option<Interval>,
        ended: Option<Interval>,
    ) {
        let count = match mode {
            Mode::Read => &mut self.reads,
            Mode::Downgraded => &mut self.downgrades,
            Mode::Write => &mut self.writes,
        };
        *count += 1;
        match waited {
            Some(wait) if mode == Mode::Write => self.write_wait.add(effect.since(wait.since)),
            Some(wait) if mode == Mode::Read => self.read_wait.add(effect.since(wait.since)),
            _ => {}
        }
        if mode == Mode::Downgraded {
            self.ended(effect, call, true, ended);
        }
        // Nobody else is in.
        self.doubt &= mode != Mode::Write;
    }

    /// A hold has ended.
    fn ended(&mut self, effect: &Effect, call: Option<Call>, write: bool, hold: Option<Interval>) {
        if write && let Some(vmas) = &mut self.vmas {
            vmas.end_writes(effect);
        }
        // The model alone decides which holds were measured.
        if let Some(Interval { since, .. }) = hold {
            self.holds.add(Holder { tid: effect.tid, vma: 0, write, since, call }, effect.since(since));
        }
    }
}

/// Tasks that hold an mmap_lock and tasks that wait for it now, as far as the model knows them.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// Tasks that hold it, oldest hold first.
    pub holders: Vec<Holder>,
    /// Tasks that wait for it, oldest wait first.
    pub waiting: Vec<Holder>,
}

impl Now {
    /// That of every mmap_lock that anybody holds or waits for, by mm.
    #[must_use]
    pub fn all(model: &Model, calls: &OpenCalls) -> FxHashMap<u64, Self> {
        let mut locks: FxHashMap<u64, Self> = FxHashMap::default();
        for (mm, hold) in model.holders() {
            let write = hold.mode == Mode::Write;
            let call = calls.holds(hold.tid, mm, write);
            let holder = Holder { tid: hold.tid, vma: 0, write, since: hold.since, call };
            locks.entry(mm).or_default().holders.push(holder);
        }
        for (tid, wait) in model.waiting() {
            let call = calls.awaits(tid, wait.write);
            let waiter = Holder { tid, vma: 0, write: wait.write, since: wait.since, call };
            locks.entry(wait.mm).or_default().waiting.push(waiter);
        }
        for now in locks.values_mut() {
            now.waiting.sort_unstable_by_key(|waiter| (waiter.since, waiter.tid));
        }
        locks
    }
}

/// All locks.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    mms: FxHashMap<u64, MmLock>,
    /// Nothing is learned about current holders from events up to this time.
    blind_until: u64,
    /// Acquisitions of the mmap_locks of mms that are no longer followed.
    pub(crate) forgotten: u64,
}

impl Locks {
    fn lock(&mut self, effect: &Effect, faults: &Faults) -> &mut MmLock {
        if self.mms.len() >= MMS_MAX && !self.mms.contains_key(&effect.mm) {
            // The one that was quiet for longest makes room.
            let quiet = self.mms.iter().min_by_key(|(_, l)| l.last).map(|(mm, _)| *mm);
            if let Some(gone) = quiet.and_then(|mm| self.mms.remove(&mm)) {
                self.forgotten += gone.acquired();
            }
        }
        let lock = self.mms.entry(effect.mm).or_default();
        if !lock.owned {
            // Others work on it too: khugepaged, ptrace, /proc.
            let owner = faults.owner_of(effect.mm);
            (lock.tgid, lock.owned) = (owner.unwrap_or(effect.tgid), owner.is_some());
        }
        lock.last = effect.ts;
        lock
    }

    /// The VMA locks of an mm, if one of them was seen to be used.
    fn vmas_of(&mut self, mm: u64) -> Option<&mut VmaLocks> {
        self.mms.get_mut(&mm)?.vmas.as_deref_mut()
    }

    /// `call`: that of the hold or wait that the event ends.
    pub(super) fn mmap_lock(&mut self, effect: &Effect, call: Option<Call>, faults: &Faults) {
        let blind = effect.ts <= self.blind_until;
        let lock = self.lock(effect, faults);
        match effect.what {
            What::LockRefused { .. } => lock.failed += 1,
            What::Locked { mode, waited, ended, .. } => lock.locked(effect, call, mode, waited, ended),
            What::Unlocked { write, ended, .. } => lock.ended(effect, call, write, ended),
            _ => {}
        }
        lock.doubt |= blind;
    }

    /// A function's event about VMA locks.
    pub(super) fn vma_lock(&mut self, effect: &Effect, faults: &Faults) {
        let vmas = self.lock(effect, faults).vmas.get_or_insert_default();
        match effect.what {
            What::VmaGranted { vma: 0 } => vmas.refused += 1,
            What::VmaGranted { .. } => vmas.granted += 1,
            What::VmaAwaited { vma } => vmas.write_begins(effect, vma),
            What::VmaLocked { vma, locked, in_hold } => vmas.written(effect, vma, locked, in_hold),
            _ => {}
        }
    }

    /// A VMA object is given back; nobody locks it any more.
    pub(super) fn freed(&mut self, effect: &Effect, vma: u64) {
        if let Some(vmas) = self.vmas_of(effect.mm)
            && let Some(holder) = end(&mut vmas.writers, |w| w.vma == vma)
        {
            vmas.holds.add(holder, effect.since(holder.since));
        }
    }

    /// A fault under the VMA lock begins.
    pub(super) fn handles(&mut self, tid: u32, call: &Handling) {
        if let Some(vmas) = self.vmas_of(call.mm) {
            vmas.handles(tid, call);
        }
    }

    /// A fault under the VMA lock has ended.
    pub(super) fn handled(&mut self, effect: &Effect, call: &Handling, outcome: Outcome) {
        if let Some(vmas) = self.vmas_of(call.mm) {
            vmas.handled(effect, call, outcome);
        }
    }

    /// A task is seen in user mode: it is its mm, and it holds and waits for no VMA's lock there.
    pub(super) fn in_user_mode(&mut self, effect: &Effect) {
        let Some(lock) = self.mms.get_mut(&effect.mm) else { return };
        (lock.tgid, lock.owned) = (effect.tgid, true);
        if let Some(vmas) = &mut lock.vmas {
            vmas.readers.retain(|r| r.tid != effect.tid);
            vmas.waiting.retain(|w| w.tid != effect.tid);
        }
    }

    /// `exit_mmap()`: there is no VMA any more.
    pub(super) fn unmapped(&mut self, mm: u64) {
        if let Some(vmas) = self.vmas_of(mm) {
            vmas.readers.clear();
            vmas.waiting.clear();
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
            lock.doubt |= mmap;
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
