//! Who took mmap_locks by which call, how long they held them and waited for them, and whose faults there were.
//!
//! Threads of one name in one process are one row, as `comm` is in other tools: the name is that of the time of the event.

use mmtrace_common::{Call, Kind};
use rustc_hash::FxHashMap;

use crate::{
    durations::Durations,
    model::{
        effect::{Effect, Interval, What},
        faults::address_space::Cause,
        locks::{exclusion::Mode, mmap_lock::EPSILON_NS},
    },
    names::ThreadId,
};

/// Rows of each table; whoever comes later is added to one row.
const ROWS_MAX: usize = 1 << 15;
/// Tasks whose last call is known.
const TASKS_MAX: usize = 1 << 16;
/// Durations of a row that are kept as they are; of more there is a histogram.
const FEW: usize = 24;
/// Histograms, 5 KiB each. Rows that would need another one have no quantiles.
const HISTOGRAMS_MAX: usize = 1 << 12;

/// Who did something, and by which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// The thread.
    pub thread: ThreadId,
    /// Its entry into the kernel; `None` if the events do not say.
    pub call: Option<Call>,
}

/// The longest of some intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longest {
    /// How long, nanoseconds.
    pub ns: u64,
    /// Since when, nanoseconds.
    pub since: u64,
    /// Whose.
    pub tid: u32,
    /// Of which mm's lock.
    pub mm: u64,
}

/// Intervals of one kind in one row: the number, the sum and the longest are exact.
#[derive(Clone, Debug, Default)]
pub struct Intervals {
    count: u64,
    sum: u64,
    longest: Option<Longest>,
    few: Vec<u64>,
    many: Option<Box<Durations>>,
}

impl Intervals {
    fn add(&mut self, interval: Longest, histograms: &mut usize) {
        self.count += 1;
        self.sum = self.sum.saturating_add(interval.ns);
        if self.longest.is_none_or(|longest| interval.ns > longest.ns) {
            self.longest = Some(interval);
        }
        if let Some(many) = &mut self.many {
            many.add(interval.ns);
        } else if self.few.len() < FEW && self.count == self.few.len() as u64 + 1 {
            self.few.push(interval.ns);
        } else if !self.few.is_empty() && *histograms < HISTOGRAMS_MAX {
            *histograms += 1;
            let mut many = Box::<Durations>::default();
            std::mem::take(&mut self.few).into_iter().chain([interval.ns]).for_each(|ns| many.add(ns));
            self.many = Some(many);
        } else {
            self.few = Vec::new();
        }
    }

    /// How many.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// All together, nanoseconds.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The longest.
    #[must_use]
    pub const fn longest(&self) -> Option<Longest> {
        self.longest
    }

    /// So much of them was not longer, nanoseconds; `None` if there were too many rows to know.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        if let Some(many) = &self.many {
            return Some(many.quantile(quantile));
        }
        let mut few = self.few.clone();
        few.sort_unstable();
        let at = (quantile * few.len() as f64).ceil() as usize;
        (self.count == few.len() as u64).then(|| few.get(at.max(1) - 1).copied()).flatten()
    }

    /// Takes those of another row as well.
    pub fn merge(&mut self, other: &Self) {
        let both = self.count > 0 && other.count > 0;
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.longest = self.longest.into_iter().chain(other.longest).max_by_key(|longest| longest.ns);
        if !both {
            if other.count > 0 {
                (self.few, self.many) = (other.few.clone(), other.many.clone());
            }
            return;
        }
        let known = |row: &Self| row.many.is_some() || !row.few.is_empty();
        if !known(self) || !known(other) {
            (self.few, self.many) = (Vec::new(), None);
            return;
        }
        let mut many = self.many.take().unwrap_or_default();
        std::mem::take(&mut self.few).into_iter().for_each(|ns| many.add(ns));
        other.few.iter().for_each(|ns| many.add(*ns));
        other.many.iter().for_each(|other| many.merge(other));
        self.many = Some(many);
    }
}

/// What one caller did with mmap_locks, in one mode.
#[derive(Clone, Debug, Default)]
pub struct LockUse {
    /// Times that it got a lock; a downgrade is none.
    pub acquired: u64,
    /// Times that it downgraded a hold for write to one for read. Stands in the row for read.
    pub downgraded: u64,
    /// Times that it did not get one: a failed trylock, or a wait that was killed.
    pub refused: u64,
    /// Waits that were seen whole.
    pub waits: Intervals,
    /// Holds that were seen whole.
    pub holds: Intervals,
}

impl LockUse {
    /// Takes those of another row as well.
    pub fn merge(&mut self, other: &Self) {
        self.acquired += other.acquired;
        self.downgraded += other.downgraded;
        self.refused += other.refused;
        self.waits.merge(&other.waits);
        self.holds.merge(&other.holds);
    }
}

/// Faults by cause, in the order of [`Cause::ALL`].
pub type Causes = [u64; Cause::ALL.len()];

/// All callers.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    locks: FxHashMap<(Caller, bool), LockUse>,
    faults: FxHashMap<Caller, Causes>,
    /// The call that each task came into the kernel by when it last wanted a lock, for read and for write: an interrupt
    /// on top of a task takes locks for read only.
    calls: FxHashMap<(u32, bool), Option<Call>>,
    /// Events that tell calls may be missing up to this time.
    blind_until: u64,
    histograms: usize,
}

impl Callers {
    /// Takes what an event came to. `thread` is asked for who did it.
    pub(crate) fn apply(&mut self, effect: &Effect, thread: impl FnOnce() -> ThreadId) {
        match effect.what {
            What::LockAwaited { write } => {
                let task = (effect.tid, write);
                if self.calls.len() >= TASKS_MAX && !self.calls.contains_key(&task) {
                    self.calls.clear();
                }
                if effect.ts > self.blind_until {
                    self.calls.insert(task, effect.call);
                }
            }
            What::Missing { of: None | Some(Kind::StartLocking), until, .. } => {
                self.calls.clear();
                self.blind_until = self.blind_until.max(until.saturating_add(EPSILON_NS));
            }
            What::LockRefused { write } => self.lock(effect, thread(), write).0.refused += 1,
            What::Locked { mode, waited, ended } => {
                let thread = thread();
                if mode == Mode::Downgraded {
                    // The rest of the hold has the call that it began with.
                    let call = self.calls.get(&(effect.tid, true)).copied().flatten();
                    self.calls.insert((effect.tid, false), call);
                    self.lock(effect, thread, false).0.downgraded += 1;
                } else {
                    let (row, histograms) = self.lock(effect, thread, mode == Mode::Write);
                    row.acquired += 1;
                    if let Some(waited) = waited {
                        row.waits.add(longest(effect, waited), histograms);
                    }
                }
                if let Some(ended) = ended {
                    let (row, histograms) = self.lock(effect, thread, true);
                    row.holds.add(longest(effect, ended), histograms);
                }
            }
            What::Unlocked { ended: Some(ended), .. } => {
                let (row, histograms) = self.lock(effect, thread(), ended.mode == Mode::Write);
                row.holds.add(longest(effect, ended), histograms);
            }
            What::Faulted { cause, user, .. } => {
                let call = if user { Some(Call::UserTrap) } else { effect.call };
                let caller = room(&self.faults, Caller { thread: thread(), call });
                self.faults.entry(caller).or_insert([0; Cause::ALL.len()])[cause as usize] += 1;
            }
            _ => {}
        }
    }

    fn lock(&mut self, effect: &Effect, thread: ThreadId, write: bool) -> (&mut LockUse, &mut usize) {
        let call = self.calls.get(&(effect.tid, write)).copied().flatten();
        let key = (Caller { thread, call }, write);
        let key = if self.locks.len() < ROWS_MAX || self.locks.contains_key(&key) { key } else { (OTHERS, write) };
        (self.locks.entry(key).or_default(), &mut self.histograms)
    }

    /// Returns what each caller did with mmap_locks; the flag says for write.
    pub fn locks(&self) -> impl Iterator<Item = (Caller, bool, &LockUse)> {
        self.locks.iter().map(|((caller, write), used)| (*caller, *write, used))
    }

    /// Returns the faults of each caller. The call of a fault in user mode is [`Call::UserTrap`].
    pub fn faults(&self) -> impl Iterator<Item = (Caller, &Causes)> {
        self.faults.iter().map(|(caller, causes)| (*caller, causes))
    }
}

/// Stands for all callers that came when there were too many.
const OTHERS: Caller = Caller { thread: ThreadId::OTHERS, call: None };

fn room<V>(rows: &FxHashMap<Caller, V>, caller: Caller) -> Caller {
    if rows.len() < ROWS_MAX || rows.contains_key(&caller) { caller } else { OTHERS }
}

fn longest(effect: &Effect, interval: Interval) -> Longest {
    Longest { ns: effect.since(interval.since), since: interval.since, tid: effect.tid, mm: effect.mm }
}
