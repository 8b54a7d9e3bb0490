//! Write holds of mmap_locks, and waits for them: each from two events of one task.
//!
//! The rules' conclusions rest on every task that may hold a lock, so one missing event makes all of them unknown. An
//! interval rests on the events of its own task alone. It counts as one interval if the missing events cannot have been
//! an end and another begin inside it. The measured duration is then at most too short.

use mmtrace_common::{Kind, Record};
use rustc_hash::FxHashMap;

use crate::model::locks::mmap_lock::{EPSILON_NS, LockStep};

/// Tasks that are followed. Beyond that number, tasks with nothing open are forgotten first, and then all.
const TASKS_MAX: usize = 1 << 15;
/// Intervals of one task that are open at the same time. The oldest is forgotten beyond that number.
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

/// An interval that has begun.
#[derive(Clone, Copy, Debug)]
struct Open {
    mm: u64,
    write: bool,
    since: u64,
    /// Pages were isolated for a collapse in it.
    isolated: bool,
}

/// The open intervals of one task, oldest first.
#[derive(Clone, Debug, Default)]
struct Task {
    waits: Vec<Open>,
    holds: Vec<Open>,
}

/// Removes the newest interval for which this is true.
fn take(open: &mut Vec<Open>, is: impl Fn(&Open) -> bool) -> Option<Open> {
    open.iter().rposition(is).map(|at| open.remove(at))
}

fn push(open: &mut Vec<Open>, new: Open) {
    if open.len() == NESTING_MAX {
        open.remove(0);
    }
    open.push(new);
}

/// An interval that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// From start_locking to acquire_returned.
    Wait {
        /// For write.
        write: bool,
        /// How long, nanoseconds.
        ns: u64,
    },
    /// From acquire_returned for write to the release or downgrade.
    WriteHold {
        /// Since when.
        since: u64,
        /// How long, nanoseconds.
        ns: u64,
        /// A collapse isolated its pages in it.
        isolated: bool,
    },
}

/// The outcome of an mmap_lock event.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::model) struct Ended {
    /// The interval that was measured.
    pub(in crate::model) interval: Option<Interval>,
    /// The event is, or may be, a downgrade, so something may have been unmapped.
    pub(in crate::model) downgrade: bool,
}

/// All open intervals, and how many there were.
#[derive(Clone, Debug)]
pub(in crate::model) struct Intervals {
    tasks: FxHashMap<u32, Task>,
    /// Until when events of each kind may be missing: those for read, those for write.
    until: [[u64; 3]; 2],
    /// A task can be preempted in a tracepoint program, so any event can be one that was skipped. If it cannot, a
    /// program is skipped only for an interrupt on top of it, which never gets a lock for write
    /// (kernel/trace/bpf_trace.c:__bpf_trace_run).
    preempts: bool,
    /// Something is or was missing.
    lossy: bool,
    /// Write acquisitions that were seen, and releases whose acquisition was not seen.
    pub(in crate::model) writes: u64,
    /// Write acquisitions that may be missing.
    pub(in crate::model) missing_writes: u64,
    /// Successful acquisitions that are certainly no downgrade.
    pub(in crate::model) acquired: u64,
    /// Times that pages were isolated for a collapse: once in a hold.
    pub(in crate::model) isolations: u64,
}

impl Intervals {
    /// `has` says which kinds of events are recorded.
    pub(in crate::model) fn new(preempts: bool, has: impl Fn(Kind) -> bool) -> Self {
        let until = [Kind::StartLocking, Kind::AcquireReturned, Kind::Released];
        let until = until.map(|kind| if has(kind) { 0 } else { u64::MAX });
        Self {
            tasks: FxHashMap::default(),
            until: [until; 2],
            preempts,
            lossy: false,
            writes: 0,
            missing_writes: 0,
            acquired: 0,
            isolations: 0,
        }
    }

    /// Which kinds may be missing after `since`.
    fn missing(&self, write: bool, since: u64) -> Kinds {
        let until = &self.until[usize::from(write)];
        (0..until.len()).filter(|of| until[*of] >= since).map(bit).fold(0, |kinds, bit| kinds | bit)
    }

    #[inline]
    fn task(&mut self, tid: u32) -> &mut Task {
        if self.tasks.len() >= TASKS_MAX && !self.tasks.contains_key(&tid) {
            self.tasks.retain(|_, t| !t.waits.is_empty() || !t.holds.is_empty());
            if self.tasks.len() >= TASKS_MAX {
                self.tasks.clear();
            }
        }
        self.tasks.entry(tid).or_default()
    }

    /// Whether skipped runs of such a program may have been about a lock for write.
    pub(in crate::model) const fn may_be_writes(&self, missing: Kind) -> bool {
        self.preempts || !matches!(missing, Kind::Missed)
    }

    /// Events are missing, as `missing` tells, up to a time; of all kinds unless `of` says which.
    pub(in crate::model) fn lost(&mut self, missing: Kind, of: Option<Kind>, count: u64, until: u64) {
        let kinds = match of {
            None => START..RELEASED + 1,
            Some(Kind::StartLocking) => START..START + 1,
            Some(Kind::AcquireReturned) => ACQUIRED..ACQUIRED + 1,
            Some(Kind::Released) => RELEASED..RELEASED + 1,
            Some(_) => return,
        };
        let writes = self.may_be_writes(missing);
        self.lossy = true;
        for until_of in self.until.iter_mut().take(1 + usize::from(writes)) {
            for kind in kinds.clone() {
                until_of[kind] = until_of[kind].max(until.saturating_add(EPSILON_NS));
            }
        }
        if writes && of == Some(Kind::AcquireReturned) {
            self.missing_writes = self.missing_writes.saturating_add(count);
        }
    }

    /// Takes an event of an mmap_lock.
    pub(in crate::model) fn take(&mut self, kind: Kind, record: &Record) -> Ended {
        match LockStep::of(kind, record) {
            (LockStep::Starts, write) => {
                let task = self.task(record.tid);
                if write {
                    // The task cannot wait for itself, so a release is missing.
                    task.holds.retain(|h| h.mm != record.mm);
                }
                push(&mut task.waits, open(record, write));
                Ended::default()
            }
            (LockStep::Failed, write) => {
                take(&mut self.task(record.tid).waits, |w| w.mm == record.mm && w.write == write);
                Ended::default()
            }
            (LockStep::Acquired, true) => self.write_acquired(record),
            (LockStep::Acquired, false) => self.read_acquired(record),
            (LockStep::Released, true) => self.write_released(record),
            (LockStep::Released, false) => Ended::default(),
        }
    }

    fn write_acquired(&mut self, record: &Record) -> Ended {
        self.writes += 1;
        let task = self.task(record.tid);
        task.holds.retain(|h| h.mm != record.mm);
        push(&mut task.holds, open(record, true));
        let wait = take(&mut task.waits, |w| w.mm == record.mm && w.write);
        Ended { interval: self.waited(wait, false, record), downgrade: false }
    }

    fn read_acquired(&mut self, record: &Record) -> Ended {
        let is_wait = |w: &Open| w.mm == record.mm && !w.write;
        let task = self.task(record.tid);
        let wait = task.waits.iter().rfind(|w| is_wait(w)).copied();
        let several = task.waits.iter().filter(|w| is_wait(w)).count() > 1;
        let written_since =
            wait.is_some_and(|wait| task.waits.iter().any(|w| w.write && w.mm == record.mm && w.since >= wait.since));
        let hold = task.holds.iter().rfind(|h| h.mm == record.mm).copied();
        if let Some(hold) = hold {
            let wait = wait.filter(|w| w.since >= hold.since);
            let may_have_let_go = self.missing(true, hold.since) & bit(RELEASED) != 0;
            let stale = wait.is_some_and(|w| self.missing(false, w.since) & bit(ACQUIRED) != 0);
            let unannounced = wait.is_none() && self.missing(false, hold.since) & bit(START) == 0;
            let task = self.task(record.tid);
            task.holds.retain(|h| h.mm != record.mm);
            if !may_have_let_go || unannounced {
                // A task that holds the lock for write gets it for read only by a downgrade. An interrupt tried the
                // other acquisition that was announced meanwhile, and failed.
                task.waits.retain(|w| !is_wait(w) || w.since < hold.since);
                return Ended { interval: self.held(hold, record), downgrade: true };
            }
            if wait.is_none() || stale {
                // This is a downgrade, or another acquisition after a release. One of the two events is missing.
                task.waits.retain(|w| !is_wait(w) || w.since < hold.since);
                self.acquired += 1;
                return Ended { interval: None, downgrade: true };
            }
        }
        take(&mut self.task(record.tid).waits, is_wait);
        let downgrade = wait.is_none_or(|w| written_since || self.missing(false, w.since) & bit(ACQUIRED) != 0);
        let wait = wait.filter(|_| !written_since);
        Ended { interval: self.waited(wait, several, record), downgrade }
    }

    fn write_released(&mut self, record: &Record) -> Ended {
        let hold = take(&mut self.task(record.tid).holds, |h| h.mm == record.mm);
        let Some(hold) = hold else {
            // The hold is from before recording, unless its acquisition is one of the missing events.
            self.writes += u64::from(self.missing_writes == 0);
            return Ended::default();
        };
        Ended { interval: self.held(hold, record), downgrade: false }
    }

    fn held(&self, hold: Open, record: &Record) -> Option<Interval> {
        let ns = record.ts.saturating_sub(hold.since);
        let whole = self.missing(true, hold.since) & AGAIN != AGAIN;
        whole.then_some(Interval::WriteHold { since: hold.since, ns, isolated: hold.isolated })
    }

    /// `several`: other intervals of the task are open, perhaps in an interrupt on top of it.
    fn waited(&mut self, wait: Option<Open>, several: bool, record: &Record) -> Option<Interval> {
        self.acquired += 1;
        let wait = wait?;
        let missing = self.missing(wait.write, wait.since);
        let whole = missing & ANOTHER != ANOTHER && !(several && missing & bit(ACQUIRED) != 0);
        whole.then_some(Interval::Wait { write: wait.write, ns: record.ts.saturating_sub(wait.since) })
    }

    /// The task isolates pages for a collapse, in its write hold.
    pub(in crate::model) fn isolated(&mut self, tid: u32) {
        self.isolations += 1;
        if let Some(hold) = self.tasks.get_mut(&tid).and_then(|task| task.holds.last_mut()) {
            hold.isolated = true;
        }
    }

    /// The task is seen where it holds and waits for nothing: in user mode, newborn, or at its exit. An interval that
    /// is still open has ended in an event that is missing.
    pub(in crate::model) fn forget_task(&mut self, tid: u32) {
        if self.lossy
            && let Some(task) = self.tasks.get_mut(&tid)
        {
            task.waits.clear();
            task.holds.clear();
        }
    }

    /// Waits that still go on, as far as is known.
    pub(in crate::model) fn waiting(&self) -> u64 {
        let goes_on = |w: &&Open| self.missing(w.write, w.since) & bit(ACQUIRED) == 0;
        self.tasks.values().map(|task| task.waits.iter().filter(goes_on).count() as u64).sum()
    }
}

const fn open(record: &Record, write: bool) -> Open {
    Open { mm: record.mm, write, since: record.ts, isolated: false }
}
