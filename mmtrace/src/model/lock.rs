//! One mm's `mmap_lock`, as its tracepoints show it.
//!
//! Observed intervals lie inside the true ones: `acquire_returned` comes after the
//! acquisition, `released` before the release (include/linux/mmap_lock.h, 6.1 to
//! 7.2). So if two observed intervals overlap, the true ones do.

use mmtrace_common::Record;

/// Two intervals observed on different CPUs overlap only if they do so by more
/// than this: `bpf_ktime_get_ns()` of two CPUs may differ by a little.
pub const EPSILON_NS: u64 = 2_000;

/// Readers of one mm that are followed one by one; beyond that the lock's state is given up.
const READERS_MAX: usize = 4096;

/// One observed hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The task that acquired it.
    pub tid: u32,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since: u64,
    /// It was a write hold before (`mmap_write_downgrade`).
    pub downgraded: bool,
}

/// Which row of the exclusivity table (process_addrs.rst, "mmap_lock") was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Two writers.
    WriteWrite,
    /// A reader and a writer.
    ReadWrite,
    /// A downgraded hold and a writer.
    DowngradedWrite,
}

/// An overlap that is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub overlap: Overlap,
    /// Who had the lock.
    pub holder: Hold,
    /// Who got it all the same.
    pub taker: Hold,
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

/// An overlap that may still turn out to be two clocks that differ.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    overlap: Overlap,
    taker: Hold,
    /// The writer that the taker displaced, until its release is seen.
    displaced: Option<Hold>,
}

/// The lock.
#[derive(Clone, Debug, Default)]
pub struct MmapLock {
    writer: Option<Hold>,
    readers: Vec<Hold>,
    suspect: Option<Suspect>,
    /// The holders above are all there are: a write acquisition has been seen
    /// since recording began, or since the last loss.
    complete: bool,
    /// A rule was broken here; nothing is concluded before the next write acquisition.
    tainted: bool,
}

impl MmapLock {
    /// The task seen to hold it for write.
    #[must_use]
    pub const fn writer(&self) -> Option<Hold> {
        self.writer
    }

    /// Observed read holds, downgraded ones among them.
    #[must_use]
    pub fn readers(&self) -> &[Hold] {
        &self.readers
    }

    /// Whether the holders seen are all there are.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete && !self.tainted && self.suspect.is_none()
    }

    /// A rule was broken on this lock; what follows from that is not worth saying.
    pub fn taint(&mut self) {
        *self = Self { tainted: true, ..Self::default() };
    }

    /// Must be called before any event on this lock at time `ts`: an overlap that
    /// has lasted is real.
    pub fn settle(&mut self, ts: u64) -> Option<Breach> {
        let suspect = self.suspect?;
        if ts <= suspect.taker.since + EPSILON_NS {
            return None;
        }
        let holder = suspect.displaced.or_else(|| self.readers.first().copied())?;
        self.taint();
        Some(Breach { overlap: suspect.overlap, holder, taker: suspect.taker })
    }

    /// A successful write acquisition. Says whether the holders were known before.
    pub fn acquire_write(&mut self, record: &Record) -> bool {
        if self.overlapping_twice() {
            return false;
        }
        let known = self.complete && !self.tainted;
        let taker = hold(record);
        let overlap = if self.writer.is_some() {
            Some(Overlap::WriteWrite)
        } else if self.readers.iter().any(|r| r.downgraded) {
            Some(Overlap::DowngradedWrite)
        } else if self.readers.is_empty() {
            None
        } else {
            Some(Overlap::ReadWrite)
        };
        self.tainted = false;
        self.suspect = overlap.map(|overlap| Suspect { overlap, taker, displaced: self.writer });
        self.writer = Some(taker);
        self.complete = true;
        known
    }

    /// A successful read acquisition, not a downgrade. Says whether the holders were known before.
    pub fn acquire_read(&mut self, record: &Record) -> bool {
        if self.overlapping_twice() {
            return false;
        }
        let known = self.complete && !self.tainted;
        let taker = hold(record);
        if let Some(writer) = self.writer.take() {
            self.suspect = Some(Suspect { overlap: Overlap::ReadWrite, taker, displaced: Some(writer) });
        }
        if self.readers.len() == READERS_MAX {
            *self = Self::default();
        }
        self.readers.push(taker);
        known
    }

    /// A second overlap within what clocks may differ by cannot be told from the first:
    /// nothing is concluded.
    fn overlapping_twice(&mut self) -> bool {
        let twice = self.suspect.is_some();
        if twice {
            self.taint();
        }
        twice
    }

    /// The holder for write goes on holding it for read. `false` when that is not the task seen to hold it.
    pub fn downgrade(&mut self, record: &Record) -> bool {
        match self.writer {
            Some(writer) if writer.tid == record.tid => {
                self.writer = None;
                self.readers.push(Hold { downgraded: true, ..hold(record) });
                true
            }
            _ => false,
        }
    }

    /// A write release, before it happens.
    pub fn release_write(&mut self, record: &Record) -> Meaning {
        if let Some(suspect) = &mut self.suspect {
            if suspect.displaced.is_some_and(|d| d.tid == record.tid) && suspect.taker.tid != record.tid {
                // The holder was only late in saying so.
                suspect.displaced = None;
                self.absolve();
                return Meaning::Right;
            }
        }
        if self.tainted {
            return Meaning::Unknown;
        }
        match self.writer {
            Some(writer) if writer.tid == record.tid => {
                self.writer = None;
                Meaning::Right
            }
            Some(writer) => {
                self.taint();
                Meaning::NotOwner(Some(writer))
            }
            None if self.complete => {
                self.taint();
                Meaning::NotOwner(None)
            }
            None => {
                // Nobody else can have held it.
                self.readers.clear();
                self.complete = true;
                Meaning::Unknown
            }
        }
    }

    /// A read release, before it happens. The releasing task need not be the one
    /// that acquired (`mmap_read_unlock_non_owner`).
    pub fn release_read(&mut self, record: &Record) -> Meaning {
        let own = self.readers.iter().position(|r| r.tid == record.tid);
        match own.or(if self.readers.is_empty() { None } else { Some(0) }) {
            Some(index) => {
                self.readers.remove(index);
                self.absolve();
                Meaning::Right
            }
            None if self.is_complete() => {
                self.taint();
                Meaning::NotHeld
            }
            None => Meaning::Unknown,
        }
    }

    /// Drops a suspicion once everybody it was about has released.
    fn absolve(&mut self) {
        if let Some(suspect) = self.suspect {
            let readers_gone =
                suspect.overlap == Overlap::WriteWrite || self.writer.is_none() || self.readers.is_empty();
            if suspect.displaced.is_none() && readers_gone {
                self.suspect = None;
            }
        }
    }
}

fn hold(record: &Record) -> Hold {
    Hold { tid: record.tid, since: record.ts, downgraded: false }
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
        assert_eq!((breach.overlap, breach.holder.tid, breach.taker.tid), (Overlap::ReadWrite, 1, 2));
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
        assert_eq!(lock.settle(20_000).expect("a breach").overlap, Overlap::DowngradedWrite);
    }

    #[test]
    fn what_began_before_recording_is_not_judged() {
        let mut lock = MmapLock::default();
        assert_eq!(lock.release_read(&at(1000, 1)), Meaning::Unknown);
        assert_eq!(lock.release_write(&at(2000, 1)), Meaning::Unknown);
        // But a write release says that nobody is left.
        assert!(lock.is_complete());
        assert_eq!(lock.release_read(&at(3000, 1)), Meaning::NotHeld);
    }
}
