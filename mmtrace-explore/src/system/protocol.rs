//! The interface between a protocol and the explorer.

use std::fmt::Debug;

pub(super) mod access;

use super::{cells::Tid, property::Property, state::State};
use access::{Access, Look};

/// Threads that have to finish, and never can: what [`Protocol::deadlock`] returns by default.
pub static DEADLOCK: Property = Property {
    id: "DEADLOCK",
    statement: "a thread that has to finish can go on at some time",
    source: "mmtrace-explore",
};

/// A thread that goes round for ever, although no other runs: what [`Protocol::livelock`] returns by default.
pub static LIVELOCK: Property = Property {
    id: "LIVELOCK",
    statement: "a thread that runs alone comes to its end, or waits",
    source: "mmtrace-explore",
};

/// A protocol: the objects that threads share, and what must be true of them.
///
/// The type that implements it holds the [`Cell`](crate::Cell)s of its objects. A [`System`](crate::System) adds the
/// threads, each with a [`Program`](crate::Program). The kernel's mm is one such protocol
/// ([`Layout`](crate::Layout)); the explorer knows nothing of it that it does not know of any other.
///
/// Steps can also check what they do themselves: [`Access::violate`].
pub trait Protocol: Sized + Send + Sync + 'static {
    /// An event that the real system would emit in a step, kept in the [`Execution`](crate::schedule::Execution); `()`
    /// if there is none.
    type Event: Clone + Debug + PartialEq;

    /// The number of one-byte counters that each thread has besides the variables of its program, such as the depth of
    /// the RCU sections that it is in.
    const COUNTERS: u8 = 0;

    /// Checks what must be true in the first state and after every step.
    ///
    /// It looks at shared cells alone. What it is about stands in one even if no code has it: the number of threads in a
    /// critical section is a cell that the steps count up and down.
    fn always(&self, look: &mut Look<'_>) {
        let _ = look;
    }

    /// Checks what must be true of a thread that has come to the end of its program: as that it holds no lock. Daemons
    /// are not asked.
    fn at_thread_end(&self, step: &mut Access<'_, Self>) {
        let _ = step;
    }

    /// Checks what must be true when no thread can go on, and all that have to finish have.
    fn finally(&self, look: &mut Look<'_>) {
        let _ = look;
    }

    /// Lists what a thread holds, to be shown beside a schedule.
    fn held_by(&self, state: &State, tid: Tid) -> Vec<String> {
        let _ = (state, tid);
        Vec::new()
    }

    /// Returns the property that is broken when these threads have to finish, and no thread can go on.
    fn deadlock(&self, waiting: &[Tid]) -> &'static Property {
        let _ = waiting;
        &DEADLOCK
    }

    /// Returns the property that is broken when a thread that runs alone comes back to a state in which it was.
    fn livelock(&self) -> &'static Property {
        &LIVELOCK
    }
}
