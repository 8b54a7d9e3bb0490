//! One mm's `mmap_lock`, as its tracepoints show it.
//!
//! Observed intervals lie inside the true ones: `acquire_returned` comes after the
//! acquisition, `released` before the release (include/linux/mmap_lock.h, 6.1 to
//! 7.2). So if two observed intervals overlap, the true ones do.

mod measured;
#[cfg(test)]
mod tests;

use mmtrace_common::Record;

pub(in crate::model) use measured::Measured;

pub use crate::model::clock_skew::EPSILON_NS;
use crate::model::locks::exclusion::Mode;

/// Holds of one kind of one mm that are followed one by one; beyond that the lock's state is given up.
const HOLDS_MAX: usize = 4096;
/// Holds from before a breach that are followed to their release; beyond that nothing is concluded of the lock again.
const BROKEN_MAX: usize = 256;

/// Step of a task toward or away from an mmap_lock, as an event shows it.
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

/// One observed hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// The task that acquired it.
    pub(crate) tid: u32,
    /// Time when it began, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) since: u64,
    /// Its mode.
    pub(crate) mode: Mode,
    /// The event that showed the acquisition, or the downgrade.
    pub(crate) shown_by: Record,
}

/// An overlap that is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    /// The hold that began first.
    pub(crate) holder: Hold,
    /// The hold that began although the first one excludes it.
    pub(crate) taker: Hold,
}

impl Breach {
    /// Returns the modes of the holder and the taker: the row of the exclusivity table that is broken.
    #[must_use]
    pub(crate) const fn modes(&self) -> (Mode, Mode) {
        (self.holder.mode, self.taker.mode)
    }
}

/// Meaning of an acquisition or release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// As it must be.
    Right,
    /// It cannot be judged: the history is not known.
    Unknown,
    /// A write release by a task that does not hold the lock for write.
    NotOwner(Option<Hold>),
    /// A read release of a lock that nobody holds for read.
    NotHeld,
    /// A read release of what the task held before another got the lock for write.
    Overtaken(Breach),
}

/// Result of [`MmapLock::settle`]: the overlaps that have lasted, of holds that exclude each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Two tasks were inside at once.
    pub(crate) breach: Option<Breach>,
    /// Readers that are not known to have been inside any more when a writer came.
    pub(crate) doubts: usize,
}

/// State of a hold, as rules know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing: it is there for figures alone.
    No,
    /// Its task is inside.
    Held,
    /// Its task was inside when a rule was broken, and has not been seen to release the lock since.
    Broken,
}

/// A hold that was seen to begin.
#[derive(Clone, Copy, Debug)]
struct Open {
    hold: Hold,
    known: Known,
    /// Figures measure it, and its number; `None`: its end is missing, or has come.
    measured: Option<u64>,
    /// Pages were isolated for a collapse in it.
    isolated: bool,
}

impl Open {
    fn is(&self, known: Known, write: bool) -> bool {
        self.known == known && (self.hold.mode == Mode::Write) == write
    }

    /// Whether figures measure it: a hold of this task of which nothing is forgotten.
    fn is_measured(&self, tid: u32, write: bool, from: u64) -> bool {
        self.hold.tid == tid && (self.hold.mode == Mode::Write) == write && self.measured >= Some(from)
    }

    fn is_followed(&self) -> bool {
        self.known != Known::No || self.measured.is_some()
    }
}

/// The lock: the holds that are observed now, each of them once.
///
/// Holds that exclude each other can be there at once for a moment: the clocks of
/// two CPUs differ, and a whole short hold may seem to lie in another one. Two holds
/// that are apart in truth overlap by no more than the clocks differ.
///
/// Rules and figures read the same holds and conclude different things. What rules know rests on everybody who may hold the
/// lock: one missing event makes all of it unknown. What figures measure rests on two events of one task: it lasts until
/// one of these may be missing (`locks::intervals`).
#[derive(Clone, Debug, Default)]
pub(crate) struct MmapLock {
    /// In the order in which they were observed to begin.
    holds: Vec<Open>,
    /// Numbers of the holds that rules know to be for write, to be for read, and to be from before a breach.
    writers: usize,
    readers: usize,
    broken: usize,
    /// The holders that are known are all there are: a write acquisition has been seen
    /// since recording began, or since the last loss.
    complete: bool,
    /// Time since which they are, nanoseconds. An event of an earlier holder may still seem to come later.
    complete_since: u64,
    /// Time of the last event.
    now: u64,
    /// A rule was broken here; nothing is concluded before the next write acquisition that finds
    /// nobody from before the breach.
    tainted: bool,
    /// Readers that were not seen to release before a writer acquired, and that writer. Either the kernel
    /// let it in beside them, or their release went unseen: a BPF program's `mmap_read_unlock_non_owner`
    /// may run on top of a task that some hosts hide from BPF programs. The reader's own release tells.
    overtaken: Vec<Breach>,
    /// They were more than can be followed: nothing is concluded about this lock again.
    abandoned: bool,
    /// Time of the first event of the lock, nanoseconds; 0: there was none.
    first: u64,
    /// A task was seen to have acquired the lock, or to release it.
    entered: bool,
}

/// The part that rules read and write. Figures have theirs in `measured`.
impl MmapLock {
    /// The task known to hold it for write; of several, the first.
    #[must_use]
    pub(crate) fn writer(&self) -> Option<Hold> {
        if self.writers == 0 { None } else { self.known(true).next().copied() }
    }

    /// Whether somebody is known to hold it for read, downgraded or not.
    #[cfg(test)]
    #[must_use]
    pub(crate) const fn is_read(&self) -> bool {
        self.readers > 0
    }

    /// The one who is known to hold it for read; `None` if there are none or several.
    #[must_use]
    pub(crate) fn only_reader(&self) -> Option<Hold> {
        if self.readers == 1 { self.known(false).next().copied() } else { None }
    }

    /// Whether anybody is known to hold it.
    #[must_use]
    pub(crate) const fn is_held(&self) -> bool {
        self.writers > 0 || self.readers > 0
    }

    /// Whether anything would be lost if it were forgotten after a loss.
    pub(in crate::model) const fn is_followed(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Whether the holders known are all there are.
    #[must_use]
    pub(crate) const fn is_complete(&self) -> bool {
        self.complete && !self.tainted && !self.overlaps() && is_over(self.complete_since, self.now)
    }

    /// Returns the time since which every holder is known, nanoseconds, if that holds until now.
    #[must_use]
    pub(in crate::model) const fn complete_since(&self) -> Option<u64> {
        if self.complete && !self.tainted { Some(self.complete_since) } else { None }
    }

    /// There are holds that exclude each other: the clocks, or a breach. That is to say a writer
    /// and anybody else ([`Mode::excludes`]): two downgraded holds had a writer between them.
    const fn overlaps(&self) -> bool {
        self.writers > 1 || (self.writers > 0 && self.readers > 0)
    }

    /// Holds that are known, for write or for read, in the order of time.
    fn known(&self, write: bool) -> impl Iterator<Item = &Hold> {
        self.holds.iter().filter(move |open| open.is(Known::Held, write)).map(|open| &open.hold)
    }

    const fn count(&mut self, known: Known, mode: Mode) -> Option<&mut usize> {
        match (known, mode) {
            (Known::No, _) => None,
            (Known::Held, Mode::Write) => Some(&mut self.writers),
            (Known::Held, Mode::Read | Mode::Downgraded) => Some(&mut self.readers),
            (Known::Broken, _) => Some(&mut self.broken),
        }
    }

    /// Rules know the hold that this event shows.
    fn know_hold(&mut self, record: &Record, mode: Mode) {
        match self.holds.last_mut() {
            // Figures have taken it already.
            Some(open) if open.known == Known::No && open.hold.shown_by == *record => {
                open.known = Known::Held;
                open.hold.mode = mode;
            }
            _ => {
                let hold = hold(record, mode);
                self.holds.push(Open { hold, known: Known::Held, measured: None, isolated: false });
            }
        }
        if let Some(count) = self.count(Known::Held, mode) {
            *count += 1;
        }
    }

    /// Rules know nothing of this hold any more.
    fn unknow(&mut self, at: usize) {
        let Open { known, hold, .. } = self.holds[at];
        if let Some(count) = self.count(known, hold.mode) {
            *count -= 1;
        }
        self.holds[at].known = Known::No;
        if !self.holds[at].is_followed() {
            self.holds.remove(at);
        }
    }

    /// Rules know nothing any more of the holds that this is true of.
    fn unknow_all(&mut self, is: impl Fn(&Open) -> bool) {
        for at in 0..self.holds.len() {
            let open = self.holds[at];
            if open.known != Known::No && is(&open) {
                self.holds[at].known = Known::No;
                if let Some(count) = self.count(open.known, open.hold.mode) {
                    *count -= 1;
                }
            }
        }
        self.holds.retain(Open::is_followed);
    }

    /// A rule was broken on this lock; what follows from that is not worth saying. Who is inside
    /// stays there until its release, whoever acquires the lock meanwhile.
    pub(crate) fn taint(&mut self) {
        for open in self.holds.iter_mut().filter(|open| open.known == Known::Held) {
            open.known = Known::Broken;
        }
        self.broken += std::mem::take(&mut self.writers) + std::mem::take(&mut self.readers);
        self.abandoned |= self.broken > BROKEN_MAX;
        if self.abandoned {
            self.unknow_all(|open| open.known == Known::Broken);
        }
        self.tainted = true;
        self.forget_history();
    }

    /// More holders than can be followed: the current ones are not known.
    fn forget_holders(&mut self) {
        self.unknow_all(|open| open.known == Known::Held);
        self.forget_history();
    }

    fn forget_history(&mut self) {
        self.complete = false;
        self.complete_since = 0;
        self.overtaken.clear();
    }

    /// Rules know nothing of the lock: events are missing, or it is another mm's by now.
    pub(in crate::model) fn forget(&mut self) {
        self.unknow_all(|_| true);
        let Self { first, entered, .. } = *self;
        *self = Self { holds: std::mem::take(&mut self.holds), first, entered, ..Self::default() };
    }

    /// Whether the releasing task was inside when a rule was broken. It is not any more.
    fn leaves(&mut self, tid: u32, write: bool) -> bool {
        let own = self.holds.iter().rposition(|open| open.hold.tid == tid && open.is(Known::Broken, write));
        if let Some(at) = own {
            self.unknow(at);
        }
        own.is_some()
    }

    /// Forgets the readers: they are unknown until the next writer has acquired the lock.
    fn doubt_readers(&mut self) {
        self.unknow_all(|open| open.is(Known::Held, false));
        self.complete = false;
    }

    /// There may be holders that were not seen after all.
    pub(crate) const fn doubt(&mut self) {
        self.complete = false;
    }

    /// Must be called before any event on this lock at time `ts`: an overlap that
    /// has lasted is real. Of several, the first.
    pub(crate) fn settle(&mut self, ts: u64) -> Settled {
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
            self.unknow_all(|open| open.is(Known::Held, false) && open.hold == first.holder);
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
        // The holds are in the order of time: the first to overlap are in front.
        let mut writers = self.known(true).copied();
        let writer = writers.next()?;
        let others = writers.next().into_iter().chain(self.known(false).next().copied());
        let breaches = others.filter(|other| writer.mode.excludes(other.mode)).map(|other| {
            let (holder, taker) = if other.since <= writer.since { (other, writer) } else { (writer, other) };
            Breach { holder, taker }
        });
        breaches.filter(|b| is_over(b.taker.since, ts)).min_by_key(|b| b.taker.since)
    }

    /// A successful write acquisition. Says whether the holders were known before.
    pub(crate) fn acquire_write(&mut self, record: &Record) -> bool {
        let known = self.complete && !self.tainted;
        if self.writers == HOLDS_MAX {
            self.forget_holders();
        }
        self.know_hold(record, Mode::Write);
        if self.broken == 0 && !self.abandoned {
            self.know(record.ts);
        }
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
    pub(crate) fn acquire_read(&mut self, record: &Record) -> bool {
        let known = self.complete && !self.tainted;
        if self.readers == HOLDS_MAX {
            self.forget_holders();
        }
        self.know_hold(record, Mode::Read);
        known
    }

    /// The holder for write goes on holding it for read. `false` when that is not the task known to hold it.
    pub(crate) fn downgrade(&mut self, record: &Record) -> bool {
        let held = self.end_write(record.tid);
        if held {
            self.know_hold(record, Mode::Downgraded);
        } else {
            let broken = |open: &&mut Open| open.hold.tid == record.tid && open.is(Known::Broken, true);
            if let Some(open) = self.holds.iter_mut().rev().find(broken) {
                open.hold = hold(record, Mode::Downgraded);
            }
        }
        held
    }

    fn end_write(&mut self, tid: u32) -> bool {
        let own = self.holds.iter().rposition(|open| open.hold.tid == tid && open.is(Known::Held, true));
        if let Some(at) = own {
            self.unknow(at);
        }
        own.is_some()
    }

    /// A write release, before it happens.
    pub(crate) fn release_write(&mut self, record: &Record) -> Meaning {
        if self.end_write(record.tid) {
            return Meaning::Right;
        }
        self.leaves(record.tid, true);
        if self.is_complete() {
            let writer = self.writer();
            self.taint();
            return Meaning::NotOwner(writer);
        }
        if self.writers == 0 && !self.tainted {
            // Nobody else can have held it; who seems to is ahead of it, or gone.
            self.unknow_all(|open| open.is(Known::Held, false) && is_over(open.hold.since, record.ts));
            self.know(record.ts);
        }
        Meaning::Unknown
    }

    /// A read release, before it happens. The releasing task need not be the one
    /// that acquired (`mmap_read_unlock_non_owner`). `all_seen`: no acquisition of this lock can be that of
    /// a task which BPF programs do not see.
    pub(crate) fn release_read(&mut self, record: &Record, all_seen: bool) -> Meaning {
        // A downgraded hold is always the task's own; the other may be that of an interrupt on top of it.
        let of = |open: &Open| open.hold.tid == record.tid && open.is(Known::Held, false);
        let downgraded = self.holds.iter().rposition(|open| of(open) && open.hold.mode == Mode::Downgraded);
        let own = downgraded.or_else(|| self.holds.iter().rposition(of));
        if own.is_none() {
            if self.leaves(record.tid, false) {
                return Meaning::Unknown;
            }
            if let Some(index) = self.overtaken.iter().position(|b| b.holder.tid == record.tid) {
                let breach = self.overtaken.swap_remove(index);
                if self.readers == 0 && self.complete && !self.tainted && is_over(self.complete_since, self.now) {
                    self.taint();
                    return Meaning::Overtaken(breach);
                }
                // It may be on behalf of another reader.
                self.doubt_readers();
                return Meaning::Unknown;
            }
            if !all_seen {
                self.doubt_readers();
                return Meaning::Unknown;
            }
        }
        // Just after the holders became known it may also be one from before.
        let early = self.complete && !is_over(self.complete_since, self.now);
        match own.or_else(|| self.holds.iter().position(|open| open.is(Known::Held, false))) {
            // Not his own: whether it is one of those that are seen, on behalf of its holder, cannot
            // be told. Who reads is known again when the next writer has got it.
            Some(_) if own.is_none() && early => {
                self.doubt_readers();
                Meaning::Unknown
            }
            Some(index) => {
                self.unknow(index);
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
    Hold { tid: record.tid, since: record.ts, mode, shown_by: *record }
}
