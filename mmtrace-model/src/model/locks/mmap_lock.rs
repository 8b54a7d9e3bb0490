//! One mm's `mmap_lock`, as its tracepoints show it.
//!
//! Observed holds lie inside the true ones: `acquire_returned` comes after the acquisition, and `released` before the
//! release (include/linux/mmap_lock.h, 6.1 to 7.2). If two observed holds overlap, the true ones therefore do.

use mmtrace_common::{Kind, Record, View as _, event};

use crate::model::locks::exclusion::Mode;

/// Two holds that were observed on different CPUs overlap only if they do so by more than this: `bpf_ktime_get_ns()` of
/// two CPUs may differ by a little.
pub const EPSILON_NS: u64 = 2_000;

/// Holds of one kind of one mm that are followed one by one. Beyond that number, the lock's state is given up.
const HOLDS_MAX: usize = 4096;

/// The step of a task that an mmap_lock event shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum LockStep {
    /// It begins to acquire the lock.
    Starts,
    /// It has given up: a failed trylock, or a wait that was killed.
    Failed,
    /// It has acquired the lock, or downgraded it.
    Acquired,
    /// It is about to release the lock.
    Released,
}

impl LockStep {
    /// Reads an event of one of the three kinds. Returns the step, and whether the task wants or has the lock for
    /// write.
    pub(in crate::model) fn of(kind: Kind, record: &Record) -> (Self, bool) {
        match kind {
            Kind::StartLocking => (Self::Starts, event::StartLocking::of(record).write),
            Kind::AcquireReturned => {
                let event::AcquireReturned { write, success } = event::AcquireReturned::of(record);
                (if success { Self::Acquired } else { Self::Failed }, write)
            }
            _ => (Self::Released, event::Released::of(record).write),
        }
    }
}

/// One observed hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The task that acquired it.
    pub tid: u32,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since: u64,
    /// The mode.
    pub mode: Mode,
    /// The event that showed the acquisition, or the downgrade.
    pub shown_by: Record,
}

/// An overlap that is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Who had the lock.
    pub holder: Hold,
    /// Who got it although the holder had it.
    pub taker: Hold,
}

impl Breach {
    /// How the holder and the taker hold it: the row of the exclusivity table that is broken.
    #[must_use]
    pub const fn modes(&self) -> (Mode, Mode) {
        (self.holder.mode, self.taker.mode)
    }
}

/// The meaning of an acquisition or a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The release is right.
    Right,
    /// It cannot be judged: the history is not known.
    Unknown,
    /// A write release by a task that does not hold the lock for write.
    NotOwner(Option<Hold>),
    /// A read release of a lock that nobody holds for read.
    NotHeld,
    /// A read release by a task that held the lock before another task got it for write.
    Overtaken(Breach),
}

/// The overlaps of excluding holds that have lasted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Two tasks held the lock at the same time.
    pub breach: Option<Breach>,
    /// Readers that may have left when a writer came.
    pub doubts: usize,
}

/// The lock: the holds that are observed now.
///
/// Two holds that exclude each other can be there for a moment, because the clocks of two CPUs differ. A whole short
/// hold may seem to lie in another one. Two holds that do not overlap in truth seem to overlap by no more than the
/// clocks differ.
#[derive(Clone, Debug, Default)]
pub struct MmapLock {
    writers: Vec<Hold>,
    readers: Vec<Hold>,
    /// The holders above are all holders: a write acquisition has been seen since recording began, or since the last
    /// loss.
    complete: bool,
    /// Since when that is so. An event of an earlier holder may still seem to come after that time.
    complete_since: u64,
    /// Time of the last event.
    now: u64,
    /// A rule was broken here. Nothing is concluded before the next write acquisition that finds nobody in
    /// [`MmapLock::inside`].
    tainted: bool,
    /// Who held the lock when a rule was broken, and has not been seen to release it since.
    inside: Vec<Hold>,
    /// Readers that were not seen to release before a writer acquired, and that writer. Either the kernel let the
    /// writer in beside them, or their release was not seen: a BPF program's `mmap_read_unlock_non_owner` may run on
    /// top of a task that some hosts hide from BPF programs. The reader's own release tells the two apart.
    overtaken: Vec<Breach>,
    /// There were more holders than can be followed. Nothing is concluded about this lock again.
    abandoned: bool,
}

impl MmapLock {
    /// The task that was seen to hold the lock for write; the first of several.
    #[must_use]
    pub fn writer(&self) -> Option<Hold> {
        self.writers.first().copied()
    }

    /// Observed read holds, downgraded ones among them.
    #[must_use]
    pub fn readers(&self) -> &[Hold] {
        &self.readers
    }

    /// Whether the observed holders are all holders.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete && !self.tainted && !self.overlaps() && is_over(self.complete_since, self.now)
    }

    /// Whether there are holds that exclude each other, because of the clocks or a breach. These are a writer and
    /// anybody else ([`Mode::excludes`]): two downgraded holds had a writer between them.
    const fn overlaps(&self) -> bool {
        self.writers.len() > 1 || (!self.writers.is_empty() && !self.readers.is_empty())
    }

    /// A rule was broken on this lock, and its consequences are not reported. A holder stays in `inside` until its
    /// release, whoever acquires the lock meanwhile.
    pub fn taint(&mut self) {
        let mut inside = std::mem::take(&mut self.inside);
        inside.append(&mut self.writers);
        inside.append(&mut self.readers);
        let abandoned = self.abandoned || inside.len() > HOLDS_MAX;
        if abandoned {
            inside = Vec::new();
        }
        *self = Self { tainted: true, now: self.now, inside, abandoned, ..Self::default() };
    }

    /// There are more holders than can be followed, so the current ones are not known.
    fn forget_holders(&mut self) {
        let (now, tainted, abandoned) = (self.now, self.tainted, self.abandoned);
        *self = Self { now, tainted, abandoned, inside: std::mem::take(&mut self.inside), ..Self::default() };
    }

    /// Removes the releasing task from `inside`. Returns whether it held the lock when a rule was broken.
    fn leaves(&mut self, tid: u32, write: bool) -> bool {
        let own = self.inside.iter().rposition(|h| h.tid == tid && (h.mode == Mode::Write) == write);
        own.map(|index| self.inside.swap_remove(index)).is_some()
    }

    /// The readers are not known until the next writer has acquired.
    fn doubt_readers(&mut self) {
        self.readers.clear();
        self.complete = false;
    }

    /// There may be holders that were not seen.
    pub const fn doubt(&mut self) {
        self.complete = false;
    }

    /// Must be called before any event on this lock at time `ts`: an overlap that has lasted is real. Returns the first
    /// of several.
    pub fn settle(&mut self, ts: u64) -> Settled {
        self.now = ts;
        let mut settled = Settled::default();
        while let Some(first) = self.lasting(ts) {
            if first.holder.mode != Mode::Read {
                self.taint();
                settled.breach = Some(first);
                break;
            }
            if self.overtaken.len() == HOLDS_MAX {
                self.overtaken.clear();
            }
            self.readers.retain(|r| *r != first.holder);
            self.overtaken.push(first);
            settled.doubts += 1;
        }
        settled
    }

    /// The first overlap that has lasted until `ts`.
    fn lasting(&self, ts: u64) -> Option<Breach> {
        if !self.overlaps() {
            return None;
        }
        // Both lists are in order of time, so the first to overlap are in front.
        let writer = *self.writers.first()?;
        let others = self.writers.get(1).into_iter().chain(self.readers.first());
        let breaches = others.filter(|other| writer.mode.excludes(other.mode)).map(|other| {
            let (holder, taker) = if other.since <= writer.since { (*other, writer) } else { (writer, *other) };
            Breach { holder, taker }
        });
        breaches.filter(|b| is_over(b.taker.since, ts)).min_by_key(|b| b.taker.since)
    }

    /// Takes a successful write acquisition. Returns whether the holders were known before.
    pub fn acquire_write(&mut self, record: &Record) -> bool {
        let known = self.complete && !self.tainted;
        if self.writers.len() == HOLDS_MAX {
            self.forget_holders();
        }
        self.writers.push(hold(record, Mode::Write));
        if self.inside.is_empty() && !self.abandoned {
            self.know(record.ts);
        }
        known
    }

    /// No other task can hold the lock at this time.
    fn know(&mut self, ts: u64) {
        if !self.complete || self.tainted {
            self.complete_since = ts;
        }
        self.complete = true;
        self.tainted = false;
    }

    /// Takes a successful read acquisition that is not a downgrade. Returns whether the holders were known before.
    pub fn acquire_read(&mut self, record: &Record) -> bool {
        let known = self.complete && !self.tainted;
        if self.readers.len() == HOLDS_MAX {
            self.forget_holders();
        }
        self.readers.push(hold(record, Mode::Read));
        known
    }

    /// The writer goes on to hold the lock for read. Returns `false` if this task was not seen to hold it for write.
    pub fn downgrade(&mut self, record: &Record) -> bool {
        let held = self.end_write(record.tid);
        if held {
            self.readers.push(hold(record, Mode::Downgraded));
        } else if let Some(inside) = self.inside.iter_mut().rev().find(|h| h.tid == record.tid && h.mode == Mode::Write)
        {
            *inside = hold(record, Mode::Downgraded);
        }
        held
    }

    fn end_write(&mut self, tid: u32) -> bool {
        let own = self.writers.iter().rposition(|w| w.tid == tid);
        own.map(|index| self.writers.remove(index)).is_some()
    }

    /// Takes a write release, before it happens.
    pub fn release_write(&mut self, record: &Record) -> Meaning {
        if self.end_write(record.tid) {
            return Meaning::Right;
        }
        self.leaves(record.tid, true);
        if self.is_complete() {
            let writer = self.writer();
            self.taint();
            return Meaning::NotOwner(writer);
        }
        if self.writers.is_empty() && !self.tainted {
            // No other task can have held the lock. A task that seems to hold it is ahead by its clock, or gone.
            self.readers.retain(|r| !is_over(r.since, record.ts));
            self.know(record.ts);
        }
        Meaning::Unknown
    }

    /// Takes a read release, before it happens. The releasing task need not be the one that acquired
    /// (`mmap_read_unlock_non_owner`). `all_seen`: no acquisition of this lock can be that of a task that BPF programs
    /// do not see.
    pub fn release_read(&mut self, record: &Record, all_seen: bool) -> Meaning {
        // A downgraded hold is always the task's own. Another hold may be that of an interrupt on top of it.
        let of = |r: &Hold| r.tid == record.tid;
        let downgraded = self.readers.iter().rposition(|r| of(r) && r.mode == Mode::Downgraded);
        let own = downgraded.or_else(|| self.readers.iter().rposition(of));
        if own.is_none() {
            if self.leaves(record.tid, false) {
                return Meaning::Unknown;
            }
            if let Some(index) = self.overtaken.iter().position(|b| b.holder.tid == record.tid) {
                let breach = self.overtaken.swap_remove(index);
                if self.readers.is_empty() && self.complete && !self.tainted && is_over(self.complete_since, self.now) {
                    self.taint();
                    return Meaning::Overtaken(breach);
                }
                // The release may be on behalf of another reader.
                self.doubt_readers();
                return Meaning::Unknown;
            }
            if !all_seen {
                self.doubt_readers();
                return Meaning::Unknown;
            }
        }
        // Just after the holders became known, the release may also be that of an earlier holder.
        let early = self.complete && !is_over(self.complete_since, self.now);
        match own.or_else(|| (!self.readers.is_empty()).then_some(0)) {
            // The release is not the task's own. Whether it is on behalf of an observed holder cannot be told. The
            // readers are known again when the next writer has the lock.
            Some(_) if own.is_none() && early => {
                self.doubt_readers();
                Meaning::Unknown
            }
            Some(index) => {
                self.readers.remove(index);
                Meaning::Right
            }
            None if self.is_complete() => {
                self.taint();
                Meaning::NotHeld
            }
            None => Meaning::Unknown,
        }
    }
}

/// Whether `since` is longer ago than clocks may differ.
const fn is_over(since: u64, ts: u64) -> bool {
    ts > since.saturating_add(EPSILON_NS)
}

fn hold(record: &Record, mode: Mode) -> Hold {
    Hold { tid: record.tid, since: record.ts, mode, shown_by: *record }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ts: u64, tid: u32) -> Record {
        Record { ts, tid, ..Record::default() }
    }

    #[test]
    fn a_release_that_is_late_by_less_than_the_clocks_may_differ_is_no_overlap() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 1));
        lock.acquire_write(&at(2000, 2));
        assert_eq!(lock.settle(2100), Settled::default());
        assert_eq!(lock.release_write(&at(2100, 1)), Meaning::Right);
        assert_eq!(lock.settle(9000), Settled::default());
        assert_eq!(lock.release_write(&at(9000, 2)), Meaning::Right);
    }

    #[test]
    fn an_overlap_that_lasts_is_one() {
        let mut lock = MmapLock::default();
        lock.acquire_read(&at(1000, 1));
        lock.acquire_write(&at(2000, 2));
        assert_eq!(lock.settle(2000 + EPSILON_NS + 1), Settled { breach: None, doubts: 1 });
        // Its own release shows that the reader was still inside.
        lock.settle(6000);
        let Meaning::Overtaken(breach) = lock.release_read(&at(6000, 1), true) else { panic!("a breach") };
        assert_eq!((breach.modes(), breach.holder.tid, breach.taker.tid), ((Mode::Read, Mode::Write), 1, 2));
        // The consequences are not reported.
        assert_eq!(lock.release_write(&at(7000, 2)), Meaning::Unknown);
    }

    #[test]
    fn a_reader_whose_release_was_not_seen_does_not_break_a_rule() {
        let mut lock = MmapLock::default();
        // A BPF program on top of task 1; its release ran on top of a task that is not seen.
        lock.acquire_read(&at(1000, 1));
        lock.acquire_write(&at(9000, 2));
        assert_eq!(lock.settle(20_000), Settled { breach: None, doubts: 1 });
        assert_eq!(lock.release_write(&at(20_000, 2)), Meaning::Right);
        lock.settle(30_000);
        lock.acquire_read(&at(30_000, 1));
        assert_eq!(lock.release_read(&at(31_000, 1), true), Meaning::Right);
        // Nor does one on behalf of another reader, on top of task 1.
        lock.acquire_read(&at(32_000, 3));
        assert_eq!(lock.release_read(&at(33_000, 1), true), Meaning::Unknown);
        assert!(!lock.is_complete());
    }

    #[test]
    fn a_release_on_an_mm_whose_tasks_are_not_seen_is_nobodys() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 1));
        lock.release_write(&at(2000, 1));
        lock.settle(9000);
        lock.acquire_read(&at(9000, 2));
        assert_eq!(lock.release_read(&at(9500, 3), false), Meaning::Unknown);
        assert_eq!((lock.readers().len(), lock.is_complete()), (0, false));
    }

    #[test]
    fn who_was_inside_when_a_rule_was_broken_stays_there_until_its_release() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 1));
        lock.acquire_write(&at(2000, 2));
        assert!(lock.settle(9000).breach.is_some());
        // The next acquisition does not make the lock known: both are still inside.
        lock.acquire_write(&at(9000, 3));
        lock.settle(20_000);
        assert!(!lock.is_complete());
        assert_eq!(lock.release_write(&at(20_000, 3)), Meaning::Right);
        assert_eq!(lock.release_write(&at(21_000, 1)), Meaning::Unknown);
        lock.acquire_write(&at(22_000, 3));
        lock.settle(30_000);
        assert!(!lock.is_complete());
        assert_eq!(lock.release_write(&at(30_000, 2)), Meaning::Unknown);
        assert_eq!(lock.release_write(&at(31_000, 3)), Meaning::Right);
        // Both have left: the next writer is alone.
        lock.acquire_write(&at(32_000, 3));
        lock.settle(40_000);
        assert!(lock.is_complete());
        assert_eq!(lock.release_write(&at(40_000, 1)), Meaning::NotOwner(lock_holder(32_000, 3)));
    }

    fn lock_holder(ts: u64, tid: u32) -> Option<Hold> {
        Some(hold(&at(ts, tid), Mode::Write))
    }

    #[test]
    fn a_reader_inside_leaves_for_itself_and_for_nobody_else() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 9));
        lock.release_write(&at(1500, 9));
        lock.settle(8000);
        lock.acquire_write(&at(8000, 2));
        lock.acquire_read(&at(9000, 1));
        assert!(lock.settle(20_000).breach.is_some());
        lock.acquire_read(&at(21_000, 3));
        assert_eq!(lock.release_read(&at(22_000, 1), true), Meaning::Unknown);
        assert_eq!(lock.readers().len(), 1);
    }

    #[test]
    fn downgraded_holds_exclude_writers_and_not_readers() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 1));
        assert!(lock.downgrade(&at(2000, 1)));
        lock.acquire_read(&at(3000, 2));
        assert_eq!(lock.settle(9000), Settled::default());
        lock.acquire_write(&at(9000, 3));
        assert_eq!(lock.settle(20_000).breach.expect("a breach").modes(), (Mode::Downgraded, Mode::Write));
    }

    #[test]
    fn what_began_before_recording_is_not_judged() {
        let mut lock = MmapLock::default();
        assert_eq!(lock.release_read(&at(1000, 1), true), Meaning::Unknown);
        assert_eq!(lock.release_write(&at(2000, 1)), Meaning::Unknown);
        // A write release shows that nobody is left.
        lock.settle(9000);
        assert!(lock.is_complete());
        assert_eq!(lock.release_read(&at(9000, 1), true), Meaning::NotHeld);
    }

    #[test]
    fn a_holder_from_before_recording_may_seem_to_let_go_late() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 2));
        lock.settle(1600);
        assert_eq!(lock.release_read(&at(1600, 1), true), Meaning::Unknown);
        assert_eq!(lock.release_write(&at(1600, 3)), Meaning::Unknown);
        assert_eq!(lock.release_write(&at(1700, 2)), Meaning::Right);
        lock.acquire_read(&at(1800, 4));
        assert_eq!(lock.release_read(&at(1900, 1), true), Meaning::Unknown);
        // The release may be on behalf of the observed holder; then nobody is left.
        lock.settle(9000);
        assert_eq!(lock.release_read(&at(9000, 4), true), Meaning::Unknown);
        lock.acquire_write(&at(9500, 4));
        assert_eq!(lock.settle(20_000), Settled::default());
        // From the next writer on all is known again, and a release too many is one.
        assert!(lock.is_complete());
        assert_eq!(lock.release_write(&at(20_000, 4)), Meaning::Right);
        lock.settle(30_000);
        assert_eq!(lock.release_read(&at(30_000, 4), true), Meaning::NotHeld);
    }

    #[test]
    fn a_short_hold_may_seem_to_lie_in_another() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 1));
        lock.acquire_write(&at(1100, 2));
        assert_eq!(lock.release_write(&at(1300, 2)), Meaning::Right);
        lock.acquire_read(&at(1400, 3));
        assert_eq!(lock.release_read(&at(1500, 3), true), Meaning::Right);
        assert_eq!(lock.settle(9000), Settled::default());
        assert_eq!(lock.release_write(&at(9000, 1)), Meaning::Right);
        // A downgrade may seem to come after the reader that it let in.
        lock.acquire_write(&at(20_000, 1));
        lock.acquire_read(&at(21_000, 2));
        assert!(lock.downgrade(&at(21_500, 1)));
        assert_eq!(lock.settle(40_000), Settled::default());
    }

    #[test]
    fn who_never_lets_go_is_found_with_whoever_stays() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 1));
        for (ts, tid) in [(2000, 2), (3000, 3)] {
            lock.acquire_write(&at(ts, tid));
            assert_eq!(lock.settle(ts + 500), Settled::default());
            lock.release_write(&at(ts + 500, tid));
        }
        lock.acquire_write(&at(4000, 4));
        let breach = lock.settle(9000).breach.expect("a breach");
        assert_eq!((breach.modes(), breach.holder.tid, breach.taker.tid), ((Mode::Write, Mode::Write), 1, 4));
    }
}
