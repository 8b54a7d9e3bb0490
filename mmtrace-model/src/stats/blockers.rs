//! Holds that a wait for an mmap_lock was behind: those that ended while it lasted.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::caller::Caller;

/// Locks that are awaited at once; all are forgotten beyond that.
const LOCKS_MAX: usize = 1 << 12;
/// Holds of one lock while somebody waits for it; the oldest are forgotten beyond that.
const HOLDS_MAX: usize = 1 << 13;
/// Holds of all locks; all are forgotten beyond that.
const HOLDS_ALL_MAX: usize = 1 << 16;

/// How a caller held a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HeldAs {
    /// For read.
    Read,
    /// For write.
    Write,
    /// For write, since before the recording.
    WriteBefore,
}

impl HeldAs {
    /// In a mode, since some time in the recording.
    #[must_use]
    pub const fn of(write: bool) -> Self {
        if write { Self::Write } else { Self::Read }
    }

    /// Whether it was for write.
    #[must_use]
    pub const fn is_write(self) -> bool {
        !matches!(self, Self::Read)
    }
}

/// A hold that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over {
    /// The holder.
    pub(super) by: Caller,
    /// Its mode.
    pub(super) held: HeldAs,
    /// Time when it began, or from which on it is known, nanoseconds.
    pub(super) since: u64,
    /// Time when it ended, nanoseconds.
    pub(super) until: u64,
}

/// A part of a wait, and the holder of the lock meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The holder of the lock.
    pub(super) by: Caller,
    /// The mode.
    pub(super) held: HeldAs,
    /// Nanoseconds of the wait.
    pub(super) ns: u64,
}

/// A lock that somebody waits for.
#[derive(Clone, Debug, Default)]
struct Awaited {
    /// Number of tasks that wait.
    waiting: u32,
    /// The holds that ended since somebody waits, oldest first.
    over: VecDeque<Over>,
}

/// The holds that ended while somebody waited, of each mmap_lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Blockers {
    locks: FxHashMap<u64, Awaited>,
    /// Holds of all locks.
    all: usize,
}

impl Blockers {
    /// A task begins to wait for this mm's lock.
    pub(super) fn awaited(&mut self, mm: u64) {
        if self.locks.len() >= LOCKS_MAX && !self.locks.contains_key(&mm) {
            self.clear();
        }
        self.locks.entry(mm).or_default().waiting += 1;
    }

    /// A task no longer waits for it.
    pub(super) fn waited(&mut self, mm: u64) {
        if let Some(lock) = self.locks.get_mut(&mm) {
            lock.waiting -= 1;
            if lock.waiting == 0 {
                self.all -= lock.over.len();
                self.locks.remove(&mm);
            }
        }
    }

    /// A hold of it is over.
    pub(super) fn over(&mut self, mm: u64, hold: Over) {
        let Some(lock) = self.locks.get_mut(&mm) else { return };
        if lock.over.len() == HOLDS_MAX {
            lock.over.pop_front();
            self.all -= 1;
        }
        lock.over.push_back(hold);
        self.all += 1;
        if self.all > HOLDS_ALL_MAX {
            self.clear();
        }
    }

    /// Events are missing: who waits is not known.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns whom a wait was behind, latest first.
    ///
    /// `write` says what was waited for, from `since` to `until`. The wait is walked from its end: the hold that ended last
    /// before it is the one that let the lock go. Before that hold had begun, the task was behind whoever excludes it; if it
    /// was a hold for write, it had waited in the same queue (kernel/locking/rwsem.c:rwsem_mark_wake), and the task was
    /// behind whoever excluded that hold. No nanosecond counts twice. What no hold covers is a hand-over, or a hold
    /// that was not seen.
    pub(super) fn of(&self, mm: u64, write: bool, since: u64, until: u64) -> impl Iterator<Item = Part> {
        let holds = self.locks.get(&mm).into_iter().flat_map(|lock| lock.over.iter().rev());
        let (mut reached, mut excluded_by_readers) = (until, write);
        holds.take_while(move |hold| hold.until > since).filter_map(move |hold| {
            let (from, to) = (hold.since.max(since), hold.until.min(reached));
            if from >= to || !(hold.held.is_write() || excluded_by_readers) {
                return None;
            }
            reached = from;
            excluded_by_readers = excluded_by_readers || hold.held.is_write();
            Some(Part { by: hold.by, held: hold.held, ns: to - from })
        })
    }
}

#[cfg(test)]
mod tests {
    use mmtrace_common::Call;

    use super::*;
    use crate::names::ThreadId;

    const MM: u64 = 0xffff_8880_0000_1000;

    fn by(nr: u16) -> Caller {
        Caller { thread: ThreadId::OTHERS, call: Some(Call::System(nr)) }
    }

    fn parts(holds: &[(u16, bool, u64, u64)], write: bool, since: u64, until: u64) -> Vec<(u16, u64)> {
        let mut blockers = Blockers::default();
        blockers.awaited(MM);
        for &(nr, write, since, until) in holds {
            blockers.over(MM, Over { by: by(nr), held: HeldAs::of(write), since, until });
        }
        let number = |part: &Part| match part.by.call {
            Some(Call::System(nr)) => nr,
            other => panic!("{other:?}"),
        };
        blockers.of(MM, write, since, until).map(|part| (number(&part), part.ns)).collect()
    }

    #[test]
    fn holds_one_after_another_share_the_wait() {
        let holds = [(1, true, 0, 100), (2, true, 110, 150), (3, true, 160, 200)];
        assert_eq!(parts(&holds, false, 50, 205), [(3, 40), (2, 40), (1, 50)]);
    }

    #[test]
    fn a_reader_does_not_wait_for_readers() {
        assert_eq!(parts(&[(1, false, 0, 100)], false, 50, 105), []);
        assert_eq!(parts(&[(1, false, 0, 100)], true, 50, 105), [(1, 50)]);
    }

    #[test]
    fn a_reader_behind_a_writer_is_behind_the_readers_before_it() {
        let holds = [(1, false, 0, 100), (2, true, 105, 120)];
        assert_eq!(parts(&holds, false, 60, 125), [(2, 15), (1, 40)]);
    }

    #[test]
    fn readers_together_count_once() {
        let holds = [(1, false, 0, 80), (2, false, 10, 90), (3, false, 70, 100)];
        assert_eq!(parts(&holds, true, 20, 105), [(3, 30), (2, 50)]);
    }

    #[test]
    fn what_ended_before_the_wait_is_no_part_of_it() {
        assert_eq!(parts(&[(1, true, 0, 50)], true, 50, 60), []);
    }

    #[test]
    fn holds_are_kept_while_somebody_waits() {
        let mut blockers = Blockers::default();
        let hold = Over { by: by(1), held: HeldAs::Write, since: 0, until: 9 };
        blockers.over(MM, hold);
        blockers.awaited(MM);
        assert_eq!(blockers.of(MM, true, 0, 9).count(), 0, "nobody waited for it");
        blockers.awaited(MM);
        blockers.over(MM, hold);
        blockers.waited(MM);
        assert_eq!(blockers.of(MM, true, 0, 9).count(), 1);
        blockers.waited(MM);
        blockers.waited(MM);
        assert_eq!((blockers.all, blockers.locks.len()), (0, 0));
    }

    #[test]
    fn memory_is_bounded() {
        let mut blockers = Blockers::default();
        for mm in 0..100 {
            blockers.awaited(mm);
            for n in 0..10_000 {
                blockers.over(mm, Over { by: by(1), held: HeldAs::WriteBefore, since: n, until: n + 1 });
                assert!(blockers.all <= HOLDS_ALL_MAX);
            }
        }
        (0..10_000).for_each(|mm| blockers.awaited(mm));
        assert!(blockers.locks.len() <= LOCKS_MAX);
        assert_eq!(blockers.all, blockers.locks.values().map(|lock| lock.over.len()).sum::<usize>());
    }
}
