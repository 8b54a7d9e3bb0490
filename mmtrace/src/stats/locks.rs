//! mmap_locks, mm by mm: who holds them how long, and who waits for whom.

use hdrhistogram::Histogram;
use mmtrace_common::{Column, Kind, Record};
use rustc_hash::FxHashMap;

use super::value;

/// mms that are followed.
const MMS_MAX: usize = 256;
/// Acquisitions and holds of one mm that are followed at once.
const OPEN_MAX: usize = 512;
/// Longest duration told apart, nanoseconds: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// A distribution of durations, nanoseconds; values are right to a tenth.
#[derive(Clone, Debug)]
pub struct Durations(Histogram<u32>);

impl Default for Durations {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 1).expect("constant bounds are valid"))
    }
}

impl Durations {
    fn add(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// So much of them was not longer.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.max()
    }
}

/// Somebody who holds a lock, or waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The task.
    pub tid: u32,
    /// For write.
    pub write: bool,
    /// Since when, nanoseconds.
    pub since: u64,
}

/// One mm's lock.
#[derive(Clone, Debug, Default)]
pub struct MmLock {
    /// The process that used it last.
    pub tgid: u32,
    /// Time of the last event.
    pub last: u64,
    /// Holds for read.
    pub read_hold: Durations,
    /// Holds for write.
    pub write_hold: Durations,
    /// Waits of readers.
    pub read_wait: Durations,
    /// Waits of writers.
    pub write_wait: Durations,
    /// Acquisitions that failed: trylocks, and waits that were killed.
    pub failed: u64,
    /// The longest hold that is over: who, and how long.
    pub longest: Option<(Holder, u64)>,
    /// Who holds it now, oldest first.
    pub holders: Vec<Holder>,
    /// Who waits now, oldest first.
    pub waiting: Vec<Holder>,
}

impl MmLock {
    /// All acquisitions.
    #[must_use]
    pub fn acquired(&self) -> u64 {
        self.read_wait.count() + self.write_wait.count()
    }

    /// Nanoseconds that this lock was waited for, roughly: medians times numbers.
    #[must_use]
    pub fn pressure(&self) -> u64 {
        self.read_wait.count() * self.read_wait.quantile(0.5) + self.write_wait.count() * self.write_wait.quantile(0.5)
    }

    fn acquire(&mut self, record: &Record, write: bool) {
        let waited = self.waiting.iter().rposition(|w| w.tid == record.tid && w.write == write);
        match waited.map(|i| self.waiting.remove(i)) {
            Some(waiter) => {
                let waits = if write { &mut self.write_wait } else { &mut self.read_wait };
                waits.add(record.ts.saturating_sub(waiter.since));
            }
            // Nobody had announced it: a downgrade ends the write hold.
            None if !write => self.release(record, true),
            None => {}
        }
        if self.holders.len() < OPEN_MAX {
            self.holders.push(Holder { tid: record.tid, write, since: record.ts });
        }
    }

    fn release(&mut self, record: &Record, write: bool) {
        let own = self.holders.iter().rposition(|h| h.tid == record.tid && h.write == write);
        let Some(holder) = own.map(|i| self.holders.remove(i)) else { return };
        let ns = record.ts.saturating_sub(holder.since);
        let holds = if write { &mut self.write_hold } else { &mut self.read_hold };
        holds.add(ns);
        if self.longest.is_none_or(|(_, longest)| ns > longest) {
            self.longest = Some((holder, ns));
        }
    }
}

/// All locks.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    mms: FxHashMap<u64, MmLock>,
}

impl Locks {
    pub(super) fn add(&mut self, kind: Kind, record: &Record) {
        if self.mms.len() >= MMS_MAX && !self.mms.contains_key(&record.mm) {
            // The one that was quiet for longest makes room.
            let quiet = self.mms.iter().min_by_key(|(_, l)| l.last).map(|(mm, _)| *mm);
            if let Some(mm) = quiet {
                self.mms.remove(&mm);
            }
        }
        let lock = self.mms.entry(record.mm).or_default();
        lock.tgid = record.tgid;
        lock.last = record.ts;
        let write = value(record, Column::Write) != 0;
        match kind {
            Kind::StartLocking => {
                if lock.waiting.len() < OPEN_MAX {
                    lock.waiting.push(Holder { tid: record.tid, write, since: record.ts });
                }
            }
            Kind::AcquireReturned if value(record, Column::Success) != 0 => lock.acquire(record, write),
            Kind::AcquireReturned => {
                lock.failed += 1;
                if let Some(i) = lock.waiting.iter().rposition(|w| w.tid == record.tid && w.write == write) {
                    lock.waiting.remove(i);
                }
            }
            _ => lock.release(record, write),
        }
    }

    pub(super) fn forget(&mut self, mm: u64) {
        if let Some(lock) = self.mms.get_mut(&mm) {
            lock.waiting.clear();
        }
    }

    /// Events are missing: who holds what now is no longer known.
    pub(super) fn lost(&mut self) {
        for lock in self.mms.values_mut() {
            lock.holders.clear();
            lock.waiting.clear();
        }
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
