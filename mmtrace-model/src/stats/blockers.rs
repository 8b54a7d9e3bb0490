//! What a wait for an mmap_lock was behind: the holds that ended while it lasted, and the writers ahead of it in the queue.
//!
//! A wait is divided where holds begin and end; each piece is charged to one `Culprit`, so the pieces add up to the wait.
//! What the kernel does is in kernel/locking/rwsem.c:
//!
//! * A hold for write excludes every waiter.
//! * Holds for read exclude a writer. Of several at once, the one that ends last is charged: the writer gets the lock no
//!   sooner without the others.
//! * A reader that is queued behind a writer waits for what that writer waits for (`rwsem_down_read_slowpath()`). The queue
//!   itself emits no event. A writer is taken to be ahead of a reader while both wait if it gets the lock before the reader
//!   does: a reader that had been granted the lock by then would have kept the writer out.
//! * In the rest, nobody was seen to be in the way: the lock was free, was being handed to a waiter that was not running
//!   yet, or was granted already while this one waited for a CPU. Events do not tell these apart.

use std::collections::VecDeque;

use super::caller::Caller;
use crate::recent_map::RecentMap;

/// Locks that are followed; those that nobody waits for are forgotten beyond that, and then all.
const LOCKS_MAX: usize = 1 << 12;
/// Holds of one lock while somebody waits for it; the oldest are forgotten beyond that.
const HOLDS_MAX: usize = 1 << 13;
/// Holds of all locks; all are forgotten beyond that.
const HOLDS_ALL_MAX: usize = 1 << 16;
/// Tasks that wait for one lock at once; the oldest is forgotten beyond that.
const WAITERS_MAX: usize = 1 << 12;
/// Waits for write that ended without the lock, of one lock while somebody waits for it; the oldest are forgotten beyond that.
const GAVE_UP_MAX: usize = 64;
/// Room for holds or waiters that a lock keeps while nobody waits for it.
const ROOM_KEPT: usize = 16;

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

/// What a piece of a wait is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Culprit {
    /// A hold.
    Hold {
        /// The holder.
        by: Caller,
        /// Its mode.
        held: HeldAs,
        /// The writer that waited for that hold, if the waiter is a reader that was queued behind it.
        via: Option<Caller>,
    },
    /// No hold in the way, while another task got the lock first afterwards.
    HandOverAhead,
    /// No hold in the way, until the waiter itself had the lock.
    HandOver,
    /// A hold or a writer in the queue may not be known: events are missing, or it came before the recording.
    Unknown,
    /// One that came when there were too many to tell apart.
    Others,
}

/// A hold that is over, or is taken as such.
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

/// A wait that ends with an acquisition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// The lock's mm.
    pub(super) mm: u64,
    /// For write.
    pub(super) write: bool,
    /// Time when it began, nanoseconds.
    pub(super) since: u64,
    /// Time when it ended, nanoseconds.
    pub(super) until: u64,
    /// Time since which every holder of the lock is known, nanoseconds.
    pub(super) complete_since: Option<u64>,
}

/// A piece of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// What it is charged to.
    pub(super) culprit: Culprit,
    /// Nanoseconds of the wait.
    pub(super) ns: u64,
}

/// Since when a holder for write had waited for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queued {
    /// Since this time, nanoseconds.
    Since(u64),
    /// The begin of its wait was not seen.
    Unseen,
    /// It got the lock while nobody was seen to wait: before every wait that goes on.
    Before,
}

/// A task that waits.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    tid: u32,
    write: bool,
    since: u64,
}

/// A lock, while somebody waits for it.
#[derive(Clone, Debug, Default)]
struct Awaited {
    waiting: Vec<Waiter>,
    /// Time from which on the holds in `over` are all that ended, nanoseconds.
    since: u64,
    /// The holds that ended since then, in the order of their ends; of those for write, since when they had been awaited.
    over: VecDeque<(Over, Queued)>,
    /// The current or last holder for write: time of its acquisition, nanoseconds, and since when it had waited.
    writer: Option<(u64, Queued)>,
    /// Waits for write that ended without the lock: their begins and ends, nanoseconds.
    gave_up: Vec<(u64, u64)>,
}

impl Awaited {
    /// Nobody waits any more.
    fn clear(&mut self) {
        self.over.clear();
        self.over.shrink_to(ROOM_KEPT);
        self.waiting.shrink_to(ROOM_KEPT);
        self.gave_up = Vec::new();
        self.writer = None;
    }

    fn take(&mut self, tid: u32, write: bool) -> Option<Waiter> {
        let at = self.waiting.iter().rposition(|waiter| waiter.tid == tid && waiter.write == write)?;
        Some(self.waiting.swap_remove(at))
    }
}

/// What ended while somebody waited, of each mmap_lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Blockers {
    locks: RecentMap<u64, Awaited>,
    /// Holds of all locks.
    all: usize,
    /// Events of locks may be missing up to this time, nanoseconds; 0: none was.
    blind_until: u64,
    /// Holds or waiters that began up to this time, nanoseconds, may be forgotten.
    forgotten_until: u64,
}

impl Blockers {
    /// A task begins to wait for this mm's lock.
    #[inline]
    pub(super) fn awaited(&mut self, mm: u64, tid: u32, write: bool, ts: u64) {
        let (all, forgotten) = (&mut self.all, &mut self.forgotten_until);
        let lock = self.locks.or_default_within(mm, LOCKS_MAX, |locks| {
            locks.retain(|_, lock| !lock.waiting.is_empty());
            if locks.len() >= LOCKS_MAX {
                locks.clear();
                (*all, *forgotten) = (0, ts);
            }
        });
        if lock.waiting.is_empty() {
            lock.since = ts;
        }
        if lock.waiting.len() >= WAITERS_MAX {
            lock.waiting.remove(0);
        }
        lock.waiting.push(Waiter { tid, write, since: ts });
    }

    /// A task has given up.
    pub(super) fn refused(&mut self, mm: u64, tid: u32, write: bool, ts: u64) {
        let Some(lock) = self.locks.get_mut(mm) else { return };
        // The begin of a wait that is not followed was not seen.
        let since = lock.take(tid, write).map_or(0, |waiter| waiter.since);
        if write && !lock.waiting.is_empty() {
            if lock.gave_up.len() >= GAVE_UP_MAX {
                let (_, until) = lock.gave_up.remove(0);
                lock.since = lock.since.max(until);
            }
            lock.gave_up.push((since, ts));
        }
        self.leave(mm);
    }

    /// A task has got the lock. `waited_since`: when its wait began, nanoseconds, if it was seen whole.
    #[inline]
    pub(super) fn acquired(&mut self, mm: u64, tid: u32, write: bool, ts: u64, waited_since: Option<u64>) {
        let Some(lock) = self.locks.get_mut(mm) else { return };
        lock.take(tid, write);
        if write && !lock.waiting.is_empty() {
            lock.writer = Some((ts, waited_since.map_or(Queued::Unseen, Queued::Since)));
        }
        self.leave(mm);
    }

    /// A task has left the queue: if it was the last one, nothing is kept.
    #[inline]
    fn leave(&mut self, mm: u64) {
        if let Some(lock) = self.locks.get_mut(mm)
            && lock.waiting.is_empty()
        {
            self.all -= lock.over.len();
            lock.clear();
        }
    }

    /// A hold of it is over.
    #[inline]
    pub(super) fn over(&mut self, mm: u64, hold: Over) {
        let Some(lock) = self.locks.get_mut(mm) else { return };
        if lock.waiting.is_empty() {
            return;
        }
        if lock.over.len() == HOLDS_MAX
            && let Some((gone, _)) = lock.over.pop_front()
        {
            lock.since = lock.since.max(gone.until);
            self.all -= 1;
        }
        let queued = match lock.writer {
            Some((since, queued)) if since == hold.since => queued,
            _ => Queued::Before,
        };
        lock.over.push_back((hold, queued));
        self.all += 1;
        if self.all > HOLDS_ALL_MAX {
            self.forget(hold.until);
        }
    }

    /// Takes holds that go on as ones that end now, for a wait that ends before they do. Returns their number, for
    /// [`Self::withdraw`].
    pub(super) fn suppose(&mut self, mm: u64, holds: &[Over]) -> usize {
        let Some(lock) = self.locks.get_mut(mm) else { return 0 };
        for hold in holds {
            let queued = match lock.writer {
                Some((since, queued)) if since == hold.since => queued,
                _ => Queued::Before,
            };
            lock.over.push_back((*hold, queued));
        }
        holds.len()
    }

    /// Takes back the holds that were supposed last.
    pub(super) fn withdraw(&mut self, mm: u64, supposed: usize) {
        if let Some(lock) = self.locks.get_mut(mm) {
            lock.over.truncate(lock.over.len() - supposed);
        }
    }

    fn forget(&mut self, ts: u64) {
        self.locks.clear();
        self.all = 0;
        self.forgotten_until = ts;
    }

    /// Events are missing up to a time: who waits is not known.
    pub(super) fn lost(&mut self, until: u64) {
        self.locks.clear();
        self.all = 0;
        self.blind_until = self.blind_until.max(until);
    }

    /// The lock, if somebody is known to wait for it: otherwise nothing is kept.
    #[inline]
    fn followed(&self, mm: u64) -> Option<&Awaited> {
        self.locks.get(mm).filter(|lock| !lock.waiting.is_empty())
    }

    /// Time up to which events may be missing, nanoseconds.
    pub(super) const fn blind_until(&self) -> u64 {
        self.blind_until
    }

    /// Whether a hold ended in the wait.
    #[inline]
    pub(super) fn has_holds(&self, wait: &Wait) -> bool {
        let last = self.followed(wait.mm).and_then(|lock| lock.over.back());
        last.is_some_and(|(hold, _)| hold.until > wait.since)
    }

    /// Divides a wait into pieces, latest first, before its task leaves the queue. They add up to the wait. `charge` takes
    /// each of them.
    pub(super) fn divide(&self, wait: &Wait, charge: impl FnMut(Part)) {
        let mut division = Division::new(self, wait, charge);
        let lock = self.followed(wait.mm);
        for (hold, queued) in lock.into_iter().flat_map(|lock| lock.over.iter().rev()) {
            if hold.until <= wait.since {
                break;
            }
            division.hold(hold, *queued);
        }
        division.free(wait.since);
    }
}

/// Division of one wait, from its end to its begin.
struct Division<'a, F> {
    wait: &'a Wait,
    /// What is later is divided.
    reached: u64,
    /// From this time on, nanoseconds, every hold and every writer in the queue is known.
    known_from: u64,
    /// From this time on, nanoseconds, holds for read that were seen are named. As long as no event is missing that is
    /// always: who is seen to hold the lock is in the way, whoever held it beside.
    named_from: u64,
    /// Waits for write that ended without the lock.
    gave_up: &'a [(u64, u64)],
    /// Writers that got the lock in the wait, each with the time from which on it had waited; `None`: the begin of its wait
    /// was not seen. The one that got the lock next is the last, and those that waited no longer than it are left out.
    ahead: Vec<(u64, Option<Caller>)>,
    /// Somebody else has got the lock after what is divided now.
    passed: bool,
    take: F,
}

impl<'a, F: FnMut(Part)> Division<'a, F> {
    fn new(blockers: &'a Blockers, wait: &'a Wait, take: F) -> Self {
        let lock = blockers.followed(wait.mm);
        let seen_from = lock.map_or(wait.until, |lock| if lock.since > wait.since { lock.since } else { 0 });
        let forgotten = blockers.forgotten_until.max(seen_from);
        let known_from = wait.complete_since.unwrap_or(u64::MAX).max(blockers.blind_until).max(forgotten);
        let named_from = if blockers.blind_until == 0 { forgotten } else { known_from };
        let gave_up = lock.map_or(&[][..], |lock| &lock.gave_up);
        Self { wait, reached: wait.until, known_from, named_from, gave_up, ahead: Vec::new(), passed: false, take }
    }

    fn charge(&mut self, culprit: Culprit, to: u64) {
        let ns = self.reached.saturating_sub(to);
        if ns > 0 {
            self.reached = to;
            (self.take)(Part { culprit, ns });
        }
    }

    /// Charges what lies before what is reached, as far back as `to`: to one culprit from `known_from` on, else to nobody
    /// who is known.
    fn charge_known(&mut self, culprit: Culprit, to: u64, known_from: u64) {
        self.charge(culprit, known_from.clamp(to, self.reached.max(to)));
        self.charge(Culprit::Unknown, to);
    }

    /// No hold in the way was seen.
    fn free(&mut self, to: u64) {
        let culprit = if self.passed { Culprit::HandOverAhead } else { Culprit::HandOver };
        // A writer that gave up may have been ahead of a reader, and have waited for readers that go on.
        while !self.wait.write
            && self.reached > to
            && let Some((since, until)) = self.last_to_give_up(to)
        {
            self.charge_known(culprit, until.min(self.reached), self.known_from);
            self.charge(Culprit::Unknown, since.max(to));
        }
        self.charge_known(culprit, to, self.known_from);
    }

    /// The wait without the lock that ended last, of those in what is left down to `to`.
    fn last_to_give_up(&self, to: u64) -> Option<(u64, u64)> {
        let within = self.gave_up.iter().filter(|(since, until)| *since < self.reached && *until > to);
        within.max_by_key(|(_, until)| *until).copied()
    }

    fn hold(&mut self, hold: &Over, queued: Queued) {
        let from = hold.since.max(self.wait.since);
        let Over { by, held, until, .. } = *hold;
        if held.is_write() {
            if from < self.reached {
                self.free(until.clamp(from, self.reached));
                self.passed = true;
                self.charge(Culprit::Hold { by, held, via: None }, from);
            }
            if !self.wait.write {
                self.queue(by, queued);
            }
            return;
        }
        if self.wait.write {
            if from < self.reached && from < until {
                self.free(until.min(self.reached));
                self.passed = true;
                self.charge_known(Culprit::Hold { by, held, via: None }, from, self.named_from);
            }
            return;
        }
        // A reader does not wait for readers, unless a writer ahead of it does.
        let Some((since, _)) = self.ahead.first() else { return };
        let behind_from = from.max(*since);
        if behind_from >= self.reached || behind_from >= until {
            return;
        }
        self.free(until.min(self.reached));
        for at in (0..self.ahead.len()).rev() {
            let (since, writer) = self.ahead[at];
            let culprit = writer.map_or(Culprit::Unknown, |writer| Culprit::Hold { by, held, via: Some(writer) });
            self.charge_known(culprit, since.clamp(behind_from, self.reached), self.named_from);
        }
    }

    /// A writer had waited for what is divided next.
    fn queue(&mut self, by: Caller, queued: Queued) {
        let (since, writer) = match queued {
            Queued::Since(since) => (since, Some(by)),
            Queued::Unseen => (0, None),
            Queued::Before => return,
        };
        while self.ahead.last().is_some_and(|(earlier, _)| *earlier >= since) {
            self.ahead.pop();
        }
        self.ahead.push((since, writer));
    }
}

#[cfg(test)]
mod tests;
