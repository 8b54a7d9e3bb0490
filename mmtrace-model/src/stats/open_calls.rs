//! By which calls the tasks hold and await mmap_locks now.

use mmtrace_common::{Call, Kind};

use crate::{
    context::Context,
    model::{
        effect::{Effect, What},
        locks::{exclusion::Mode, mmap_lock::EPSILON_NS},
    },
    recent_map::RecentMap,
};

/// Tasks whose calls are known. A hash table is seven eighths full at most: one more would double it.
const TASKS_MAX: usize = (1 << 16) / 8 * 7;
/// Acquisitions or holds of one task that are open at once.
const NESTING_MAX: usize = 8;

/// Acquisitions and holds that a task has begun, with their calls: an interrupt on top of a task can take a lock while
/// the task waits or holds.
#[derive(Clone, Debug, Default)]
struct Begun {
    /// Acquisitions, oldest first: for write, and the call.
    waits: Vec<(bool, Option<Call>)>,
    /// Holds, oldest first: the mm, for write, and the call.
    holds: Vec<(u64, bool, Option<Call>)>,
    /// A fault in user mode was seen, and no acquisition by another call since.
    faults: bool,
    /// It blocked on its own mm's lock after it began to acquire one.
    blocked: bool,
}

/// Adds the newest, if need be in place of the oldest.
fn begin<T>(begun: &mut Vec<T>, new: T) {
    if begun.len() >= NESTING_MAX {
        begun.remove(0);
    }
    begun.push(new);
}

impl Begun {
    /// Takes the newest acquisition of this mode, and with it any that has begun after it: its end is missing.
    fn waited(&mut self, write: bool) -> Option<Call> {
        let at = self.waits.iter().rposition(|(of, _)| *of == write)?;
        let (_, call) = self.waits[at];
        self.waits.truncate(at);
        call
    }

    /// Takes the newest hold of this mode.
    fn held(&mut self, mm: u64, write: bool) -> Option<Call> {
        let at = self.holds.iter().rposition(|(of, mode, _)| *of == mm && *mode == write)?;
        self.holds.remove(at).2
    }
}

/// The call of an acquisition or hold that an event begins or ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Via {
    /// The call; `None` if the events do not say.
    pub(crate) call: Option<Call>,
    /// The task blocked in the wait that the event ends.
    pub(crate) blocked: bool,
    /// Nothing is missing that could tell another call.
    pub(crate) told: bool,
}

/// The calls of the acquisitions and holds that go on.
#[derive(Clone, Debug)]
pub struct OpenCalls {
    tasks: RecentMap<u32, Begun>,
    /// Events that tell calls may be missing up to this time.
    blind_until: u64,
    /// Faults in user mode are recorded.
    has_faults: bool,
}

impl OpenCalls {
    /// Nobody yet.
    #[must_use]
    pub(crate) fn new(context: &Context) -> Self {
        Self { tasks: RecentMap::default(), blind_until: 0, has_faults: context.has(Kind::PageFaultUser) }
    }

    /// Events of a kind are no longer recorded.
    pub(crate) fn without(&mut self, kind: Kind) {
        self.has_faults &= kind != Kind::PageFaultUser;
    }

    /// Returns the call by which a task awaits a lock for read or for write; `None` if it is not known.
    #[must_use]
    pub(crate) fn awaits(&self, tid: u32, write: bool) -> Option<Call> {
        let newest = self.tasks.get(tid)?.waits.iter().rfind(|(of, _)| *of == write)?;
        newest.1
    }

    /// Returns the call by which a task took the lock of an mm that it holds; `None` if it is not known.
    #[must_use]
    pub(crate) fn holds(&self, tid: u32, mm: u64, write: bool) -> Option<Call> {
        let newest = self.tasks.get(tid)?.holds.iter().rfind(|(of, mode, _)| *of == mm && *mode == write)?;
        newest.2
    }

    /// Takes what an event came to; returns the call of what it begins or ends.
    pub(crate) fn apply(&mut self, effect: &Effect) -> Via {
        let mut via = Via { told: effect.ts > self.blind_until, ..Via::default() };
        match effect.what {
            What::LockAwaited { write } if via.told => {
                let call = self.call(effect);
                let task = self.task(effect.tid);
                task.blocked = false;
                // A fault may take the lock more than once; a system call comes after its end.
                task.faults &= call == Some(Call::UserTrap);
                begin(&mut task.waits, (write, call));
                via.call = call;
            }
            What::LockBlocked => self.task(effect.tid).blocked = true,
            What::LockRefused { write, .. } => {
                let task = self.task(effect.tid);
                via.call = task.waited(write);
                via.blocked = std::mem::take(&mut task.blocked);
            }
            What::Locked { mode: Mode::Downgraded, .. } => {
                let task = self.task(effect.tid);
                via.call = task.held(effect.mm, true);
                begin(&mut task.holds, (effect.mm, false, via.call));
            }
            What::Locked { mode, .. } => {
                let write = mode == Mode::Write;
                let task = self.task(effect.tid);
                via.call = task.waited(write);
                via.blocked = std::mem::take(&mut task.blocked);
                begin(&mut task.holds, (effect.mm, write, via.call));
            }
            What::Unlocked { write, .. } => via.call = self.task(effect.tid).held(effect.mm, write),
            What::Faulted { user: true } => {
                // A task in user mode holds and awaits nothing. The lists keep their memory.
                let task = self.task(effect.tid);
                task.waits.clear();
                task.holds.clear();
                (task.faults, task.blocked) = (true, false);
            }
            What::Missing { of: None | Some(Kind::StartLocking | Kind::PageFaultUser), until, .. } => {
                self.tasks.clear();
                self.blind_until = self.blind_until.max(until.saturating_add(EPSILON_NS));
            }
            What::Exited => {
                self.tasks.remove(effect.tid);
            }
            _ => {}
        }
        via
    }

    /// The call of an acquisition. An interrupt in user mode looks like a fault there, but no fault was seen.
    fn call(&mut self, effect: &Effect) -> Option<Call> {
        let faults = self.has_faults && !self.task(effect.tid).faults;
        match effect.call {
            Some(Call::UserTrap) if faults => Some(Call::Interrupt),
            call => call,
        }
    }

    fn task(&mut self, tid: u32) -> &mut Begun {
        self.tasks.or_default_within(tid, TASKS_MAX, RecentMap::clear)
    }
}
