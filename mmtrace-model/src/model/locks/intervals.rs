//! Intervals that figures make of the events of mmap_locks: holds, and waits for them, each from two events of one
//! task.
//!
//! The holds are those of `MmapLock`; the waits are here. What rules conclude rests on
//! everybody who may hold a lock, so that one missing event makes all of it unknown. An interval rests on the events of its
//! own task alone. It is taken as one interval as long as the missing events cannot have been an end and another begin
//! inside it; what was measured is then at most too short.

use mmtrace_common::{Kind, Record};

use crate::model::{
    MMS_MAX, Model,
    effect::{Interval, What},
    locks::{
        exclusion::Mode,
        mmap_lock::{EPSILON_NS, Hold, LockStep, Measured, MmapLock},
    },
    mm_of,
};
use crate::recent_map::RecentMap;

/// Tasks that are followed; those that wait for nothing are forgotten beyond that, and then all.
const TASKS_MAX: usize = 1 << 15;
/// Waits of one task that are open at once; the oldest is forgotten beyond that.
const NESTING_MAX: usize = 16;

/// Kinds of events, as bits and as places in tables.
type Kinds = u8;
const START: usize = 0;
const ACQUIRED: usize = 1;
const RELEASED: usize = 2;
const fn bit(of: usize) -> Kinds {
    1 << of
}
/// The events that a task needs to release a lock and to get it again.
const AGAIN: Kinds = bit(START) | bit(ACQUIRED) | bit(RELEASED);
/// The events that a task needs to end one wait and to begin another.
const ANOTHER: Kinds = bit(START) | bit(ACQUIRED);

/// A wait that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The mm.
    pub(crate) mm: u64,
    /// For write.
    pub(crate) write: bool,
    /// Time when it began, nanoseconds.
    pub(crate) since: u64,
}

/// Open waits of a task, and the number from which its holds are measured.
#[derive(Clone, Debug, Default)]
struct Task {
    /// Waits that are open, oldest first.
    waits: Vec<Wait>,
    /// Its holds with smaller numbers have ended in events that are missing.
    from: u64,
}

/// What an acquisition or a downgrade came to for its task.
#[derive(Clone, Copy, Debug)]
struct Locked {
    mode: Mode,
    waited: Option<Interval>,
    ended: Option<Interval>,
}

impl Locked {
    /// With the time since which every other holder is known.
    const fn told(self, complete_since: Option<u64>) -> What {
        let Self { mode, waited, ended } = self;
        What::Locked { mode, waited, ended, complete_since }
    }
}

/// Takes the newest of which this is true.
fn take(open: &mut Vec<Wait>, is: impl Fn(&Wait) -> bool) -> Option<Wait> {
    open.iter().rposition(is).map(|at| open.remove(at))
}

/// The waits, which events are missing, and how many intervals there were to be measured.
#[derive(Clone, Debug)]
pub(in crate::model) struct Intervals {
    tasks: RecentMap<u32, Task>,
    /// Times up to which events of each kind may be missing, nanoseconds: those for read, those for write.
    until: [[u64; 3]; 2],
    /// Holds and waits that began up to this time, nanoseconds, may be over: their ends may be missing.
    unsure_until: u64,
    /// A task can be preempted in a program on a tracepoint, so that any event can be one that was skipped. Where it
    /// cannot, a program is skipped only for an interrupt on top of it, which never gets a lock for write
    /// (kernel/trace/bpf_trace.c:__bpf_trace_run).
    preempts: bool,
    /// Something is or was missing.
    lossy: bool,
    /// The state of locks was given up, since there were too many.
    forgot: bool,
    /// All events of mmap_locks are recorded, not only those that a filter lets through.
    unfiltered: bool,
    /// Time of the first event of an mmap_lock, nanoseconds; 0: there was none.
    first: u64,
    /// The number of the next hold.
    next: u64,
    /// As [`Task::from`], of all tasks.
    from: u64,
    /// Write acquisitions that were seen, and releases of such that were not.
    pub(in crate::model) writes: u64,
    /// Write acquisitions that may be missing.
    pub(in crate::model) missing_writes: u64,
    /// Successful acquisitions that are certainly no downgrade.
    pub(in crate::model) acquired: u64,
    /// Times that pages were isolated for a collapse: once in a hold.
    pub(in crate::model) isolations: u64,
}

impl Intervals {
    /// `filtered`: a filter decides which events are recorded; `has` says which kinds of events are.
    pub(in crate::model) fn new(preempts: bool, filtered: bool, has: impl Fn(Kind) -> bool) -> Self {
        let until = [Kind::StartLocking, Kind::AcquireReturned, Kind::Released];
        let until = until.map(|kind| if has(kind) { 0 } else { u64::MAX });
        Self {
            tasks: RecentMap::default(),
            until: [until; 2],
            unsure_until: 0,
            preempts,
            lossy: false,
            forgot: false,
            unfiltered: !filtered,
            first: 0,
            next: 1,
            from: 0,
            writes: 0,
            missing_writes: 0,
            acquired: 0,
            isolations: 0,
        }
    }

    /// Returns the kinds of events that may be missing after `since`.
    fn missing(&self, write: bool, since: u64) -> Kinds {
        let until = &self.until[usize::from(write)];
        (0..until.len()).filter(|of| until[*of] >= since).map(bit).fold(0, |kinds, bit| kinds | bit)
    }

    #[inline]
    fn task(&mut self, tid: u32) -> &mut Task {
        self.tasks.or_default_within(tid, TASKS_MAX, |tasks| {
            tasks.retain(|_, t| !t.waits.is_empty());
            if tasks.len() >= TASKS_MAX {
                tasks.clear();
            }
            if self.lossy {
                // With the tasks it is forgotten which of their holds have ended.
                self.from = self.next;
            }
        })
    }

    /// Holds of the task with smaller numbers have ended.
    fn from(&self, tid: u32) -> u64 {
        self.tasks.get(tid).map_or(0, |task| task.from).max(self.from)
    }

    const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Whether skipped runs of such a program may have been about a lock for write.
    pub(in crate::model) const fn may_be_writes(&self, missing: Kind) -> bool {
        self.preempts || !matches!(missing, Kind::Missed)
    }

    /// Events are missing, as `missing` tells, up to a time; of all kinds unless `of` says which. Returns whether they can
    /// be about mmap_locks.
    pub(in crate::model) fn lost(&mut self, missing: Kind, of: Option<Kind>, count: u64, until: u64) -> bool {
        let kinds = match of {
            None => START..RELEASED + 1,
            Some(Kind::StartLocking) => START..START + 1,
            Some(Kind::AcquireReturned) => ACQUIRED..ACQUIRED + 1,
            Some(Kind::Released) => RELEASED..RELEASED + 1,
            Some(_) => return false,
        };
        let writes = self.may_be_writes(missing);
        self.lossy = true;
        self.unsure_until = self.unsure_until.max(until);
        for until_of in self.until.iter_mut().take(1 + usize::from(writes)) {
            for kind in kinds.clone() {
                until_of[kind] = until_of[kind].max(until.saturating_add(EPSILON_NS));
            }
        }
        if writes && of == Some(Kind::AcquireReturned) {
            self.missing_writes = self.missing_writes.saturating_add(count);
        }
        true
    }

    /// Whether a lock's holds since its first event are known: no event is or may be missing, and no lock was forgotten.
    fn sees_all(&self) -> bool {
        !self.lossy && !self.forgot && self.until == [[0; 3]; 2]
    }

    /// Takes an event of an mmap_lock. Returns what it came to, and whether it is, or may be, a downgrade: something may
    /// have been unmapped.
    fn take(&mut self, lock: &mut MmapLock, step: LockStep, write: bool, record: &Record) -> (What, bool) {
        if self.first == 0 {
            self.first = record.ts;
        }
        let untouched_since = lock.comes(record.ts, matches!(step, LockStep::Acquired | LockStep::Released));
        let complete_since = lock.complete_since();
        match (step, write) {
            (LockStep::Starts, _) => {
                if write {
                    // It cannot wait for itself: a release is missing.
                    lock.forget_writes_of(record.tid);
                }
                let waits = &mut self.task(record.tid).waits;
                if waits.len() == NESTING_MAX {
                    waits.remove(0);
                }
                waits.push(Wait { mm: record.mm, write, since: record.ts });
                (What::LockAwaited { write }, false)
            }
            (LockStep::Failed, _) => {
                let wait = take(&mut self.task(record.tid).waits, |w| w.mm == record.mm && w.write == write);
                (What::LockRefused { write, waited: self.whole(wait, false), complete_since }, false)
            }
            (LockStep::Acquired, true) => (self.write_acquired(lock, record).told(complete_since), false),
            (LockStep::Acquired, false) => {
                let (locked, downgrade) = self.read_acquired(lock, record);
                (locked.told(complete_since), downgrade)
            }
            (LockStep::Released, _) => {
                let hold = lock.end(record.tid, write, self.from(record.tid));
                if !write && hold.is_none() {
                    // Nobody holds a lock for read beside its holder for write: the downgrade is missing.
                    lock.forget_writes_of(record.tid);
                }
                if write && hold.is_none() {
                    // From before recording, if its acquisition is not one of those that are missing.
                    self.writes += u64::from(self.missing_writes == 0);
                }
                // A hold for write excludes all others, so the lock's first such event ends a hold from before them all.
                let known_since = untouched_since.filter(|_| write && self.sees_all());
                let known_since = known_since.map(|first| if self.unfiltered { self.first } else { first });
                (What::Unlocked { write, ended: hold.and_then(|hold| self.held(hold)), known_since }, false)
            }
        }
    }

    fn write_acquired(&mut self, lock: &mut MmapLock, record: &Record) -> Locked {
        self.writes += 1;
        lock.forget_writes_of(record.tid);
        lock.begin(record, Mode::Write, self.number());
        let wait = take(&mut self.task(record.tid).waits, |w| w.mm == record.mm && w.write);
        Locked { mode: Mode::Write, waited: self.waited(wait, false), ended: None }
    }

    fn read_acquired(&mut self, lock: &mut MmapLock, record: &Record) -> (Locked, bool) {
        let is_wait = |w: &Wait| w.mm == record.mm && !w.write;
        let task = self.task(record.tid);
        let wait = task.waits.iter().rfind(|w| is_wait(w)).copied();
        let several = task.waits.iter().filter(|w| is_wait(w)).count() > 1;
        let written_since =
            wait.is_some_and(|wait| task.waits.iter().any(|w| w.write && w.mm == record.mm && w.since >= wait.since));
        let hold = lock.written(record.tid, self.from(record.tid));
        // A task that holds it for write gets it for read by a downgrade, or a release is missing.
        let mode = hold.filter(|hold| hold.since > self.unsure_until).map_or(Mode::Read, |_| Mode::Downgraded);
        if let Some(hold) = hold {
            let wait = wait.filter(|w| w.since >= hold.since);
            let may_have_let_go = self.missing(true, hold.since) & bit(RELEASED) != 0;
            let stale = wait.is_some_and(|w| self.missing(false, w.since) & bit(ACQUIRED) != 0);
            let unannounced = wait.is_none() && self.missing(false, hold.since) & bit(START) == 0;
            lock.forget_writes_of(record.tid);
            let task = self.task(record.tid);
            if !may_have_let_go || unannounced {
                // A task that holds the lock for write gets it for read only by a downgrade. An interrupt tried the
                // other acquisition that was announced meanwhile, and failed.
                task.waits.retain(|w| !is_wait(w) || w.since < hold.since);
                self.begin_read(lock, record, Mode::Downgraded);
                let ended = self.held(hold);
                return (Locked { mode: Mode::Downgraded, waited: None, ended }, true);
            }
            if wait.is_none() || stale {
                // This is a downgrade, or another acquisition after a release. One of the two events is missing.
                task.waits.retain(|w| !is_wait(w) || w.since < hold.since);
                self.acquired += 1;
                self.begin_read(lock, record, mode);
                return (Locked { mode, waited: None, ended: None }, true);
            }
        }
        take(&mut self.task(record.tid).waits, is_wait);
        let downgrade = wait.is_none_or(|w| written_since || self.missing(false, w.since) & bit(ACQUIRED) != 0);
        let wait = wait.filter(|_| !written_since);
        self.begin_read(lock, record, mode);
        (Locked { mode, waited: self.waited(wait, several), ended: None }, downgrade)
    }

    /// A release for read may be on behalf of another task, so that none from among missing events can be told from others.
    fn begin_read(&mut self, lock: &mut MmapLock, record: &Record, mode: Mode) {
        // A hold whose end is not recorded would stay for ever.
        if record.ts > self.unsure_until && self.missing(false, record.ts) & bit(RELEASED) == 0 {
            lock.begin(record, mode, self.number());
        }
    }

    fn held(&self, hold: Measured) -> Option<Interval> {
        let Measured { mode, since, isolated } = hold;
        let missing = self.missing(mode == Mode::Write, since);
        let whole = mode != Mode::Write || missing & AGAIN != AGAIN;
        whole.then_some(Interval { mode, since, across_loss: missing != 0, isolated })
    }

    /// `several`: others of its task are open, be it in an interrupt on top of it.
    fn waited(&mut self, wait: Option<Wait>, several: bool) -> Option<Interval> {
        self.acquired += 1;
        self.whole(wait, several)
    }

    /// The interval of a wait, if it was seen whole.
    fn whole(&self, wait: Option<Wait>, several: bool) -> Option<Interval> {
        let Wait { write, since, .. } = wait?;
        let missing = self.missing(write, since);
        let whole = missing & ANOTHER != ANOTHER && !(several && missing & bit(ACQUIRED) != 0);
        let mode = if write { Mode::Write } else { Mode::Read };
        whole.then_some(Interval { mode, since, across_loss: missing != 0, isolated: false })
    }

    /// The task is seen where it holds and waits for nothing: in user mode, newborn, at its exit. What is open all the
    /// same has ended in an event that is missing.
    #[inline]
    pub(in crate::model) fn forget_task(&mut self, tid: u32) {
        if self.lossy
            && let Some(task) = self.tasks.get_mut(tid)
        {
            task.waits.clear();
            task.from = self.next;
        }
    }

    /// Waits that still go on, as far as is known.
    pub(in crate::model) fn waiting(&self) -> u64 {
        let goes_on = |w: &&Wait| self.missing(w.write, w.since) & bit(ACQUIRED) == 0;
        self.tasks.values().map(|task| task.waits.iter().filter(goes_on).count() as u64).sum()
    }
}

impl Model {
    /// Takes an event of an mmap_lock, whatever rules may conclude from it. Returns whether it is, or may be, a downgrade.
    #[inline]
    pub(in crate::model) fn measure_lock(&mut self, step: LockStep, write: bool, record: &Record) -> bool {
        self.intervals.forgot |= self.mms.len() >= MMS_MAX / 2;
        let lock = &mut mm_of(&mut self.mms, record.mm).lock;
        let (what, downgrade) = self.intervals.take(lock, step, write, record);
        self.effect.what = what;
        downgrade
    }

    /// The task isolates pages for a collapse, in its write hold.
    pub(in crate::model) fn isolates(&mut self, tid: u32) {
        self.intervals.isolations += 1;
        let from = self.intervals.from(tid);
        let newest = self.mms.iter().filter_map(|(mm, m)| Some((m.lock.newest_write(tid, from)?, *mm))).max();
        if let Some((number, mm)) = newest
            && let Some(mm) = self.mms.get_mut(mm)
        {
            mm.lock.isolated(number);
        }
    }

    /// Returns the holds of mmap_locks that are open now, each with its mm; those of one lock oldest first. Holds from
    /// before events went missing are left out.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (u64, &Hold)> {
        let measured =
            self.mms.iter().flat_map(|(mm, m)| m.lock.measured().map(move |(hold, number)| (*mm, hold, number)));
        let now = move |(_, hold, number): &(u64, &Hold, u64)| {
            hold.since > self.intervals.unsure_until && *number >= self.intervals.from(hold.tid)
        };
        measured.filter(now).map(|(mm, hold, _)| (mm, hold))
    }

    /// Whether nobody was seen to acquire or to release an mm's mmap_lock, and no event of it can be missing: who holds it
    /// has held it since before the first event of it.
    #[must_use]
    pub fn is_untouched(&self, mm: u64) -> bool {
        self.intervals.sees_all() && self.mms.get(mm).is_some_and(|mm| mm.lock.is_untouched())
    }

    /// Returns the waits for mmap_locks that are open now, each with its task. Waits from before events went missing
    /// are left out.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (u32, Wait)> {
        let since = self.intervals.unsure_until;
        let tasks = self.intervals.tasks.iter();
        let waits = tasks.flat_map(|(tid, task)| task.waits.iter().map(move |wait| (*tid, *wait)));
        waits.filter(move |(_, wait)| wait.since > since)
    }
}
