//! One mm's `mmap_lock`, as its tracepoints show it.
//!
//! Observed intervals lie inside the true ones: `acquire_returned` comes after the
//! acquisition, `released` before the release (include/linux/mmap_lock.h, 6.1 to
//! 7.2). So if two observed intervals overlap, the true ones do.

use mmtrace_common::Record;

use super::exclusion::Mode;

/// Two intervals observed on different CPUs overlap only if they do so by more
/// than this: `bpf_ktime_get_ns()` of two CPUs may differ by a little.
pub const EPSILON_NS: u64 = 2_000;

/// Holds of one kind of one mm that are followed one by one; beyond that the lock's state is given up.
const HOLDS_MAX: usize = 4096;

/// One observed hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The task that acquired it.
    pub tid: u32,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since: u64,
    /// How.
    pub mode: Mode,
}

/// An overlap that is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Who had the lock.
    pub holder: Hold,
    /// Who got it all the same.
    pub taker: Hold,
}

impl Breach {
    /// How the holder and the taker hold it: the row of the exclusivity table that is broken.
    #[must_use]
    pub const fn modes(&self) -> (Mode, Mode) {
        (self.holder.mode, self.taker.mode)
    }
}

/// What an acquisition or release meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// As it must be.
    Right,
    /// It cannot be judged: the history is not known.
    Unknown,
    /// A write release by a task that does not hold the lock for write.
    NotOwner(Option<Hold>),
    /// A read release of a lock that nobody holds for read.
    NotHeld,
}

/// The lock: the holds that are observed now.
///
/// Holds that exclude each other can be there at once for a moment: the clocks of
/// two CPUs differ, and a whole short hold may seem to lie in another one. Two holds
/// that are apart in truth overlap by no more than the clocks differ.
#[derive(Clone, Debug, Default)]
pub struct MmapLock {
    writers: Vec<Hold>,
    readers: Vec<Hold>,
    /// The holders above are all there are: a write acquisition has been seen
    /// since recording began, or since the last loss.
    complete: bool,
    /// Since when. What a holder from before does may still seem to come after.
    complete_since: u64,
    /// Time of the last event.
    now: u64,
    /// A rule was broken here; nothing is concluded before the next write acquisition.
    tainted: bool,
}

impl MmapLock {
    /// The task seen to hold it for write; of several, the first.
    #[must_use]
    pub fn writer(&self) -> Option<Hold> {
        self.writers.first().copied()
    }

    /// Observed read holds, downgraded ones among them.
    #[must_use]
    pub fn readers(&self) -> &[Hold] {
        &self.readers
    }

    /// Whether the holders seen are all there are.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete && !self.tainted && !self.overlaps() && is_over(self.complete_since, self.now)
    }

    /// There are holds that exclude each other: the clocks, or a breach. That is to say a writer
    /// and anybody else ([`Mode::excludes`]): two downgraded holds had a writer between them.
    const fn overlaps(&self) -> bool {
        self.writers.len() > 1 || (!self.writers.is_empty() && !self.readers.is_empty())
    }

    /// A rule was broken on this lock; what follows from that is not worth saying.
    pub fn taint(&mut self) {
        *self = Self { tainted: true, now: self.now, ..Self::default() };
    }

    /// There may be holders that were not seen after all.
    pub const fn doubt(&mut self) {
        self.complete = false;
    }

    /// Must be called before any event on this lock at time `ts`: an overlap that
    /// has lasted is real. Of several, the first.
    pub fn settle(&mut self, ts: u64) -> Option<Breach> {
        self.now = ts;
        if !self.overlaps() {
            return None;
        }
        // Both lists are in the order of time: the first to overlap are in front.
        let writer = *self.writers.first()?;
        let others = self.writers.get(1).into_iter().chain(self.readers.first());
        let breaches = others.filter(|other| writer.mode.excludes(other.mode)).map(|other| {
            let (holder, taker) = if other.since <= writer.since { (*other, writer) } else { (writer, *other) };
            Breach { holder, taker }
        });
        let first = breaches.filter(|b| is_over(b.taker.since, ts)).min_by_key(|b| b.taker.since);
        if first.is_some() {
            self.taint();
        }
        first
    }

    /// A successful write acquisition. Says whether the holders were known before.
    pub fn acquire_write(&mut self, record: &Record) -> bool {
        let known = self.complete && !self.tainted;
        if self.writers.len() == HOLDS_MAX {
            *self = Self::default();
        }
        self.writers.push(hold(record, Mode::Write));
        self.know(record.ts);
        known
    }

    /// Nobody else can hold it at this time.
    fn know(&mut self, ts: u64) {
        if !self.complete || self.tainted {
            self.complete_since = ts;
        }
        self.complete = true;
        self.tainted = false;
    }

    /// A successful read acquisition, not a downgrade. Says whether the holders were known before.
    pub fn acquire_read(&mut self, record: &Record) -> bool {
        let known = self.complete && !self.tainted;
        if self.readers.len() == HOLDS_MAX {
            *self = Self::default();
        }
        self.readers.push(hold(record, Mode::Read));
        known
    }

    /// The holder for write goes on holding it for read. `false` when that is not the task seen to hold it.
    pub fn downgrade(&mut self, record: &Record) -> bool {
        let held = self.end_write(record.tid);
        if held {
            self.readers.push(hold(record, Mode::Downgraded));
        }
        held
    }

    fn end_write(&mut self, tid: u32) -> bool {
        let own = self.writers.iter().rposition(|w| w.tid == tid);
        own.map(|index| self.writers.remove(index)).is_some()
    }

    /// A write release, before it happens.
    pub fn release_write(&mut self, record: &Record) -> Meaning {
        if self.end_write(record.tid) {
            return Meaning::Right;
        }
        if self.is_complete() {
            let writer = self.writer();
            self.taint();
            return Meaning::NotOwner(writer);
        }
        if self.writers.is_empty() && !self.tainted {
            // Nobody else can have held it; who seems to is ahead of it, or gone.
            self.readers.retain(|r| !is_over(r.since, record.ts));
            self.know(record.ts);
        }
        Meaning::Unknown
    }

    /// A read release, before it happens. The releasing task need not be the one
    /// that acquired (`mmap_read_unlock_non_owner`).
    pub fn release_read(&mut self, record: &Record) -> Meaning {
        let own = self.readers.iter().rposition(|r| r.tid == record.tid);
        // Just after the holders became known it may also be one from before.
        let early = self.complete && !is_over(self.complete_since, self.now);
        match own.or_else(|| (!self.readers.is_empty()).then_some(0)) {
            // Not his own: whether it is one of those that are seen, on behalf of its holder, cannot
            // be told. Who reads is known again when the next writer has got it.
            Some(_) if own.is_none() && early => {
                self.readers.clear();
                self.complete = false;
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

/// Whether it is longer ago than clocks may differ.
const fn is_over(since: u64, ts: u64) -> bool {
    ts > since.saturating_add(EPSILON_NS)
}

fn hold(record: &Record, mode: Mode) -> Hold {
    Hold { tid: record.tid, since: record.ts, mode }
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
        assert_eq!(lock.settle(2100), None);
        assert_eq!(lock.release_write(&at(2100, 1)), Meaning::Right);
        assert_eq!(lock.settle(9000), None);
        assert_eq!(lock.release_write(&at(9000, 2)), Meaning::Right);
    }

    #[test]
    fn an_overlap_that_lasts_is_one() {
        let mut lock = MmapLock::default();
        lock.acquire_read(&at(1000, 1));
        lock.acquire_write(&at(2000, 2));
        let breach = lock.settle(2000 + EPSILON_NS + 1).expect("a breach");
        assert_eq!((breach.modes(), breach.holder.tid, breach.taker.tid), ((Mode::Read, Mode::Write), 1, 2));
        // What follows from it is not reported again.
        assert_eq!(lock.release_read(&at(6000, 1)), Meaning::Unknown);
        assert_eq!(lock.release_write(&at(7000, 2)), Meaning::Unknown);
    }

    #[test]
    fn downgraded_holds_exclude_writers_and_not_readers() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 1));
        assert!(lock.downgrade(&at(2000, 1)));
        lock.acquire_read(&at(3000, 2));
        assert_eq!(lock.settle(9000), None);
        lock.acquire_write(&at(9000, 3));
        assert_eq!(lock.settle(20_000).expect("a breach").modes(), (Mode::Downgraded, Mode::Write));
    }

    #[test]
    fn what_began_before_recording_is_not_judged() {
        let mut lock = MmapLock::default();
        assert_eq!(lock.release_read(&at(1000, 1)), Meaning::Unknown);
        assert_eq!(lock.release_write(&at(2000, 1)), Meaning::Unknown);
        // But a write release says that nobody is left.
        lock.settle(9000);
        assert!(lock.is_complete());
        assert_eq!(lock.release_read(&at(9000, 1)), Meaning::NotHeld);
    }

    #[test]
    fn a_holder_from_before_recording_may_seem_to_let_go_late() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 2));
        lock.settle(1600);
        assert_eq!(lock.release_read(&at(1600, 1)), Meaning::Unknown);
        assert_eq!(lock.release_write(&at(1600, 3)), Meaning::Unknown);
        assert_eq!(lock.release_write(&at(1700, 2)), Meaning::Right);
        lock.acquire_read(&at(1800, 4));
        assert_eq!(lock.release_read(&at(1900, 1)), Meaning::Unknown);
        // Or to release on behalf of the one who is seen: then nobody is left.
        lock.settle(9000);
        assert_eq!(lock.release_read(&at(9000, 4)), Meaning::Unknown);
        lock.acquire_write(&at(9500, 4));
        assert_eq!(lock.settle(20_000), None);
        // From the next writer on all is known again, and a release too many is one.
        assert!(lock.is_complete());
        assert_eq!(lock.release_write(&at(20_000, 4)), Meaning::Right);
        lock.settle(30_000);
        assert_eq!(lock.release_read(&at(30_000, 4)), Meaning::NotHeld);
    }

    #[test]
    fn a_short_hold_may_seem_to_lie_in_another() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 1));
        lock.acquire_write(&at(1100, 2));
        assert_eq!(lock.release_write(&at(1300, 2)), Meaning::Right);
        lock.acquire_read(&at(1400, 3));
        assert_eq!(lock.release_read(&at(1500, 3)), Meaning::Right);
        assert_eq!(lock.settle(9000), None);
        assert_eq!(lock.release_write(&at(9000, 1)), Meaning::Right);
        // And a downgrade may seem to come after the reader that it let in.
        lock.acquire_write(&at(20_000, 1));
        lock.acquire_read(&at(21_000, 2));
        assert!(lock.downgrade(&at(21_500, 1)));
        assert_eq!(lock.settle(40_000), None);
    }

    #[test]
    fn who_never_lets_go_is_found_with_whoever_stays() {
        let mut lock = MmapLock::default();
        lock.acquire_write(&at(1000, 1));
        for (ts, tid) in [(2000, 2), (3000, 3)] {
            lock.acquire_write(&at(ts, tid));
            assert_eq!(lock.settle(ts + 500), None);
            lock.release_write(&at(ts + 500, tid));
        }
        lock.acquire_write(&at(4000, 4));
        let breach = lock.settle(9000).expect("a breach");
        assert_eq!((breach.modes(), breach.holder.tid, breach.taker.tid), ((Mode::Write, Mode::Write), 1, 4));
    }
}
