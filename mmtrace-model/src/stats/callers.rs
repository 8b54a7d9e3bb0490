//! Holds of mmap_locks, waits for them, and faults, by caller.
//!
//! Threads of one name in one process are one row, as `comm` is in other tools: the name is that of the time of the event.

use std::cmp::Reverse;

use mmtrace_common::{Call, Kind};
use rustc_hash::FxHashMap;

use crate::{
    coverage::Coverage,
    durations::Durations,
    model::{
        effect::{Effect, Fault, Interval, What},
        faults::address_space::Cause,
        locks::{exclusion::Mode, mmap_lock::EPSILON_NS},
    },
    names::{Tasks, ThreadId},
    recent_map::RecentMap,
    stats::{
        blame::Blame,
        blockers::{Blockers, Culprit, HeldAs, Over, Part, Wait},
        caller::Caller,
        intervals::{Intervals, Longest},
        open_calls::Via,
    },
};

/// Rows of each table that tell processes apart. As many again tell callers apart by their names alone.
const ROWS_MAX: usize = 1 << 13;
/// Histograms, 5 KiB each. Rows that would need another one have no quantiles.
const HISTOGRAMS_MAX: usize = 1 << 12;

/// Holders that are told apart behind one row; the rest is one sum.
const BEHIND_MAX: usize = 64;
/// Holders that are told apart behind all rows.
const BEHIND_ALL_MAX: usize = 1 << 16;
/// Holds from before the recording that are kept: the longest.
const BEFORE_MAX: usize = 64;
/// A wait that was not seen to be behind anybody counts as contended if it took so long, nanoseconds: its holder may be a
/// process that is not recorded. Shorter ones are what two events and the code between them take.
const LONG_NS: u64 = 10_000;

/// A hold that goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenHold {
    /// The task.
    pub(crate) tid: u32,
    /// Its process.
    pub(crate) tgid: u32,
    /// For write.
    pub(crate) write: bool,
    /// Time when it began, nanoseconds.
    pub(crate) since: u64,
    /// The call by which the task took the lock; `None` if it is not known.
    pub(crate) call: Option<Call>,
}

impl OpenHold {
    /// Takes it as one that ends at `until`, nanoseconds.
    fn over(&self, until: u64, names: &mut Tasks) -> Over {
        let by = Caller { thread: names.of_ids(self.tid, self.tgid), call: self.call };
        Over { by, held: HeldAs::of(self.write), since: self.since, until }
    }
}

/// Whether an acquisition that failed after so many nanoseconds was a wait that a signal ended, where no event says that the
/// task blocked. A trylock returns at once. A task may lose its CPU in one, which is rare, and a system call rarely tries.
fn is_given_up(call: Option<Call>, ns: u64) -> bool {
    const LONG_NS: u64 = 1_000_000;
    matches!(call, Some(Call::System(_) | Call::Compat(_) | Call::X32(_) | Call::OnProc(..))) && ns >= LONG_NS
}

/// A hold of an mmap_lock for write that began before the recording. Its length is not known: it is in no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBefore {
    /// The task.
    pub tid: u32,
    /// Its process.
    pub tgid: u32,
    /// The lock's mm.
    pub mm: u64,
    /// Time from which on it held the lock at least, nanoseconds.
    pub known_since: u64,
    /// Time when it released the lock, nanoseconds.
    pub until: u64,
}

impl HeldBefore {
    /// Returns how long it held the lock at least, nanoseconds.
    #[must_use]
    pub const fn at_least(&self) -> u64 {
        self.until.saturating_sub(self.known_since)
    }
}

/// Time that waits spent behind others, nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behind {
    by: FxHashMap<(Caller, HeldAs), u64>,
    others: u64,
    unknown: u64,
}

impl Behind {
    /// Behind whom, how they held the lock, and for how many nanoseconds.
    pub(crate) fn callers(&self) -> impl Iterator<Item = (Caller, HeldAs, u64)> {
        self.by.iter().map(|((caller, held), ns)| (*caller, *held, *ns))
    }

    /// Behind holders that came when there were too many to tell apart.
    #[must_use]
    pub(crate) const fn others(&self) -> u64 {
        self.others
    }

    /// Of waits in which events are missing that may have told whom they were behind.
    #[must_use]
    pub(crate) const fn unknown(&self) -> u64 {
        self.unknown
    }

    fn add(&mut self, by: (Caller, HeldAs), ns: u64, all: &mut usize) {
        if let Some(sum) = self.by.get_mut(&by) {
            *sum = sum.saturating_add(ns);
        } else if self.by.len() < BEHIND_MAX && *all < BEHIND_ALL_MAX {
            *all += 1;
            self.by.insert(by, ns);
        } else {
            self.others = self.others.saturating_add(ns);
        }
    }

    /// Takes those of another row as well. `key` says which holders are put together.
    pub(crate) fn merge(&mut self, other: &Self, key: impl Fn(Caller) -> Caller) {
        for (caller, held, ns) in other.callers() {
            let sum = self.by.entry((key(caller), held)).or_default();
            *sum = sum.saturating_add(ns);
        }
        self.others = self.others.saturating_add(other.others);
        self.unknown = self.unknown.saturating_add(other.unknown);
    }
}

/// Use of mmap_locks by one caller, in one mode.
#[derive(Clone, Debug, Default)]
pub(crate) struct LockUse {
    /// Times that it got a lock; a downgrade is none.
    pub(crate) acquired: u64,
    /// Times that it downgraded a hold for write to one for read. Stands in the row for read.
    pub(crate) downgraded: u64,
    /// Times that it did not get one: a failed trylock, or a wait that was killed.
    pub(crate) refused: u64,
    /// The waits among them that a signal ended. They are among the waits.
    pub(crate) given_up: u64,
    /// Waits that were seen whole, however short: most are the time that an acquisition takes when nobody is in the way.
    pub(crate) waits: Intervals,
    /// The waits among them for a lock that another task held in the way, that blocked, or that took 10 us and more.
    pub(crate) contended: Intervals,
    /// Holders that the contended waits were behind.
    pub(crate) behind: Behind,
    /// Holds that were seen whole.
    pub(crate) holds: Intervals,
}

impl LockUse {
    /// Returns a copy without quantiles.
    fn trimmed(&self) -> Self {
        let Self { acquired, downgraded, refused, given_up, .. } = *self;
        let [waits, contended, holds] = [&self.waits, &self.contended, &self.holds].map(Intervals::trimmed);
        Self { acquired, downgraded, refused, given_up, waits, contended, behind: self.behind.clone(), holds }
    }

    /// Takes those of another row as well. `key` says which holders it was behind are put together.
    pub(crate) fn merge(&mut self, other: &Self, key: impl Fn(Caller) -> Caller) {
        self.acquired += other.acquired;
        self.downgraded += other.downgraded;
        self.refused += other.refused;
        self.given_up += other.given_up;
        self.waits.merge(&other.waits);
        self.contended.merge(&other.contended);
        self.behind.merge(&other.behind, key);
        self.holds.merge(&other.holds);
    }
}

/// Faults by cause, in the order of [`Cause::ALL`].
pub(crate) type Causes = [u64; Cause::ALL.len()];

/// Time that faults in user mode take, from the exception to the end of their handling.
#[derive(Clone, Debug)]
pub struct FaultTimes {
    /// Of those whose end was seen.
    pub took: Durations,
    /// Those that did not fail, and whose end was not seen.
    pub untimed: u64,
}

impl Default for FaultTimes {
    fn default() -> Self {
        Self { took: Durations::two_digits(), untimed: 0 }
    }
}

impl FaultTimes {
    fn add(&mut self, fault: &Fault, took: Option<u64>) {
        /// Faults that may have no end, or none that is seen.
        const ENDLESS: [Cause; 4] = [Cause::Failed, Cause::Marker, Cause::PagefaultDisabled, Cause::KernelAddress];
        if let Some(ns) = took {
            self.took.add(ns);
        } else if fault.user && !ENDLESS.contains(&fault.cause) {
            self.untimed += 1;
        }
    }

    /// The share of these faults whose end was seen.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        Coverage::of(self.took.count(), self.untimed)
    }
}

/// All callers.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    locks: RecentMap<(Caller, bool), LockUse>,
    faults: RecentMap<Caller, Causes>,
    fault_times: FaultTimes,
    blockers: Blockers,
    blame: Blame,
    before: Vec<HeldBefore>,
    /// Holds of the lock that go on while somebody gives up waiting for it.
    open: Vec<OpenHold>,
    histograms: usize,
    /// Entries of [`Behind`] in all rows.
    behind: usize,
    /// Rows were left out of the checkpoint that this was made of.
    partial: bool,
}

impl Callers {
    /// Returns a copy for a checkpoint, with at most `most` rows of each table: those with the longest holds and waits in
    /// all, and with most faults. It has no quantiles. Rows that it lacks begin again from nothing.
    #[must_use]
    pub(crate) fn trimmed(&self, most: usize) -> Self {
        let mut locks: Vec<_> = self.locks.iter().collect();
        locks.sort_by_key(|(key, used)| (Reverse(used.holds.sum().saturating_add(used.contended.sum())), **key));
        let mut faults: Vec<_> = self.faults.iter().map(|(caller, causes)| (*caller, *causes)).collect();
        faults.sort_by_key(|(caller, causes)| (Reverse(causes.iter().sum::<u64>()), *caller));
        let locks: RecentMap<_, _> = locks.into_iter().take(most).map(|(key, used)| (*key, used.trimmed())).collect();
        Self {
            behind: locks.values().map(|used| used.behind.by.len()).sum(),
            locks,
            faults: faults.into_iter().take(most).collect(),
            fault_times: self.fault_times.clone(),
            blockers: self.blockers.clone(),
            blame: self.blame.trimmed(most),
            before: self.before.clone(),
            open: Vec::new(),
            histograms: 0,
            partial: self.partial
                || self.locks.len() > most
                || self.faults.len() > most
                || self.blame.is_longer_than(most),
        }
    }

    /// Whether rows were left out of the checkpoint that this was made of: those callers began again from nothing.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.partial
    }

    /// Forgets what was counted, but not what goes on.
    pub(crate) fn count_from_here(&mut self) {
        self.locks.clear();
        self.faults.clear();
        self.fault_times = FaultTimes::default();
        self.before.clear();
        self.blame = Blame::default();
        (self.histograms, self.behind) = (0, 0);
    }

    /// Takes what an event came to, but for its faults. `via` is the call of it, and `names` says who did it.
    #[inline]
    pub(crate) fn apply(&mut self, effect: &Effect, via: Via, names: &mut Tasks) {
        let Via { call, blocked, told } = via;
        match effect.what {
            What::LockAwaited { write } if told => self.blockers.awaited(effect.mm, effect.tid, write, effect.ts),
            What::LockRefused { write, waited, complete_since } => {
                let key = self.key(effect, call, write, names);
                self.lock(key).refused += 1;
                if let Some(waited) = waited.filter(|wait| blocked || is_given_up(call, effect.since(wait.since))) {
                    self.lock(key).given_up += 1;
                    let open = std::mem::take(&mut self.open);
                    let holds: Vec<Over> = open.iter().map(|hold| hold.over(effect.ts, names)).collect();
                    let supposed = self.blockers.suppose(effect.mm, &holds);
                    self.waited(key, effect, waited, complete_since, true);
                    self.blockers.withdraw(effect.mm, supposed);
                }
                self.blockers.refused(effect.mm, effect.tid, write, effect.ts);
            }
            What::Locked { mode: Mode::Downgraded, ended, .. } => {
                let key = self.key(effect, call, false, names);
                self.lock(key).downgraded += 1;
                self.ended(effect, ended, call, names);
            }
            What::Locked { mode, waited, ended, complete_since } => {
                let write = mode == Mode::Write;
                let key = self.key(effect, call, write, names);
                self.lock(key).acquired += 1;
                if let Some(waited) = waited {
                    self.waited(key, effect, waited, complete_since, blocked);
                }
                let since = waited.map(|waited| waited.since);
                self.blockers.acquired(effect.mm, effect.tid, write, effect.ts, since);
                self.ended(effect, ended, call, names);
            }
            What::Unlocked { known_since: Some(since), .. } => self.ended_before(effect, since, names),
            What::Unlocked { ended, .. } => self.ended(effect, ended, call, names),
            What::Missing {
                of: None | Some(Kind::AcquireReturned | Kind::Released | Kind::StartLocking | Kind::PageFaultUser),
                until,
                ..
            } => self.blockers.lost(until.saturating_add(EPSILON_NS)),
            _ => {}
        }
    }

    /// Tells which holds of a lock go on, before the effect is taken that somebody has given up waiting for it.
    #[cold]
    pub(crate) fn go_on(&mut self, holds: Vec<OpenHold>) {
        self.open = holds;
    }

    /// Counts how long a fault took, if that was seen.
    #[inline]
    pub(crate) fn timed(&mut self, fault: &Fault, took: Option<u64>) {
        self.fault_times.add(fault, took);
    }

    /// Counts a fault of a thread.
    pub(crate) fn fault(&mut self, fault: &Fault, thread: ThreadId, names: &mut Tasks) {
        let mut caller = fault_caller(fault, thread);
        if self.faults.len() >= ROWS_MAX && !self.faults.contains_key(caller) {
            caller = late(&self.faults, caller, names);
        }
        self.faults.or_insert_with(caller, || [0; Cause::ALL.len()])[fault.cause as usize] += 1;
    }

    /// Returns the place of the row that counts such faults of a thread, if there is one of its own.
    pub(super) fn fault_place(&self, fault: &Fault, thread: ThreadId) -> Option<usize> {
        self.faults.place(fault_caller(fault, thread))
    }

    /// Counts a fault in the row at a place.
    #[inline]
    pub(super) fn fault_at(&mut self, place: usize, cause: Cause) {
        if let Some(causes) = self.faults.at_place(place) {
            causes[cause as usize] += 1;
        }
    }

    fn ended(&mut self, effect: &Effect, ended: Option<Interval>, call: Option<Call>, names: &mut Tasks) {
        if let Some(ended) = ended {
            let write = ended.mode == Mode::Write;
            let key = self.key(effect, call, write, names);
            let row = self.locks.or_insert_with(key, LockUse::default);
            row.holds.add(longest(effect, ended), &mut self.histograms, HISTOGRAMS_MAX);
            let held = HeldAs::of(write);
            self.blockers.over(effect.mm, Over { by: key.0, held, since: ended.since, until: effect.ts });
        }
    }

    /// A hold for write from before the recording is over. By which call the task took the lock is not known.
    fn ended_before(&mut self, effect: &Effect, known_since: u64, names: &mut Tasks) {
        let Effect { tid, tgid, mm, ts: until, .. } = *effect;
        let by = Caller { thread: names.of_ids(tid, tgid), call: None };
        self.blockers.over(mm, Over { by, held: HeldAs::WriteBefore, since: known_since, until });
        self.before.push(HeldBefore { tid, tgid, mm, known_since, until });
        if self.before.len() > BEFORE_MAX {
            self.before.sort_by_key(|hold| Reverse(hold.at_least()));
            self.before.truncate(BEFORE_MAX);
        }
    }

    /// Returns the holds for write that began before the recording; of more than 64, the longest.
    #[must_use]
    pub fn held_before(&self) -> &[HeldBefore] {
        &self.before
    }

    /// A wait that was seen whole is over.
    fn waited(
        &mut self,
        key: (Caller, bool),
        effect: &Effect,
        waited: Interval,
        complete_since: Option<u64>,
        blocked: bool,
    ) {
        let interval = longest(effect, waited);
        let row = self.locks.or_insert_with(key, LockUse::default);
        row.waits.add(interval, &mut self.histograms, HISTOGRAMS_MAX);
        let wait = Wait { mm: effect.mm, write: key.1, since: waited.since, until: effect.ts, complete_since };
        let long = blocked || interval.ns >= LONG_NS;
        if !long && !self.blockers.has_holds(&wait) {
            return;
        }
        let blind = waited.since <= self.blockers.blind_until();
        let (blockers, behind) = (&self.blockers, &mut self.behind);
        let divide = |take: &mut dyn FnMut(Part)| blockers.divide(&wait, take);
        let charge = |part: &Part| match part.culprit {
            Culprit::Hold { by, held, .. } => row.behind.add((by, held), part.ns, behind),
            _ if blind => row.behind.unknown = row.behind.unknown.saturating_add(part.ns),
            _ => {}
        };
        if self.blame.charge(key, interval, long, divide, charge) {
            row.contended.add(interval, &mut self.histograms, HISTOGRAMS_MAX);
        }
    }

    /// The row of a caller; of its names alone if there are too many.
    fn key(&self, effect: &Effect, call: Option<Call>, write: bool, names: &mut Tasks) -> (Caller, bool) {
        let mut caller = Caller { thread: names.of_ids(effect.tid, effect.tgid), call };
        if self.locks.len() >= ROWS_MAX && !self.locks.contains_key((caller, write)) {
            caller.thread = names.of_names(caller.thread);
            if self.locks.len() >= 2 * ROWS_MAX && !self.locks.contains_key((caller, write)) {
                caller.thread = ThreadId::OTHERS;
            }
        }
        (caller, write)
    }

    fn lock(&mut self, key: (Caller, bool)) -> &mut LockUse {
        self.locks.or_insert_with(key, LockUse::default)
    }

    /// Returns what each caller did with mmap_locks; the flag says for write.
    pub(crate) fn locks(&self) -> impl Iterator<Item = (Caller, bool, &LockUse)> {
        self.locks.iter().map(|((caller, write), used)| (*caller, *write, used))
    }

    /// Returns what the contended waits are charged to.
    #[must_use]
    pub(crate) const fn blame(&self) -> &Blame {
        &self.blame
    }

    /// Returns how long faults in user mode took.
    #[must_use]
    pub const fn fault_times(&self) -> &FaultTimes {
        &self.fault_times
    }

    /// Returns the faults of each caller. The call of a fault in user mode is [`Call::UserTrap`].
    pub(crate) fn faults(&self) -> impl Iterator<Item = (Caller, &Causes)> {
        self.faults.iter().map(|(caller, causes)| (*caller, causes))
    }
}

/// Whom a fault of a thread is charged to.
const fn fault_caller(fault: &Fault, thread: ThreadId) -> Caller {
    let call = if fault.user { Some(Call::UserTrap) } else { fault.call };
    Caller { thread, call }
}

/// A row for a caller that comes when there are too many: by names alone, or by its call alone.
fn late(rows: &RecentMap<Caller, Causes>, caller: Caller, names: &mut Tasks) -> Caller {
    let named = Caller { thread: names.of_names(caller.thread), ..caller };
    if rows.len() < 2 * ROWS_MAX || rows.contains_key(named) {
        named
    } else {
        Caller { thread: ThreadId::OTHERS, ..caller }
    }
}

fn longest(effect: &Effect, interval: Interval) -> Longest {
    Longest { ns: effect.since(interval.since), since: interval.since, tid: effect.tid, mm: effect.mm }
}
