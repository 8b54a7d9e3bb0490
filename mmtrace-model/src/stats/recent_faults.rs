//! The rows of the faults that were counted last.
//!
//! Each table of faults finds its row by a key of its own. Most faults are like one of the last: the same thread, by the same
//! instruction, in the same mapping. Such a fault is counted in the rows of that one, without a search.
//!
//! **Invariant:** the rows of an answer are those that a search would find. A search finds other ones only if the fault
//! differs in [`Like`], or if something has changed that [`State`] counts.

use mmtrace_common::Call;

use crate::{
    model::{
        effect::Fault,
        mappings::{At, MappingId},
    },
    names::ThreadId,
};

/// Answers that are kept, a power of two.
const SLOTS: usize = 256;

/// What a fault's rows depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Like {
    thread: ThreadId,
    mm: u64,
    mapping: MappingId,
    /// The instruction in user mode; 0: none, since the tables do not tell the kernel's apart.
    ip: u64,
    /// The call of a fault in the kernel.
    call: Option<Call>,
}

impl Like {
    /// Returns what the rows of a fault of a thread depend on; `None` if it is no fault that is often repeated.
    #[inline]
    pub(super) fn of(fault: &Fault, thread: ThreadId) -> Option<Self> {
        let At::Mapping(found) = &fault.at else { return None };
        let Fault { mm, ip, call, user, .. } = *fault;
        let ip = if user { ip } else { 0 };
        // A fault in user mode has an instruction, and no call.
        let is_clear = user == (ip != 0) && !(user && call.is_some());
        is_clear.then_some(Self { thread, mm, mapping: found.mapping.id, ip, call })
    }

    /// Returns the thread.
    #[inline]
    pub(super) const fn thread(&self) -> ThreadId {
        self.thread
    }

    #[inline]
    const fn slot(&self) -> usize {
        let number = self.thread.number() ^ self.ip.rotate_left(20) ^ self.mapping.number().rotate_left(40);
        (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SLOTS.ilog2())) as usize
    }
}

/// What moves rows, or gives a fault others: as numbers that grow with every such change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Of the mappings of the fault's mm.
    pub(super) mappings: u64,
    /// Rows were taken out of the table by mapping.
    pub(super) mapped: u64,
    /// Rows were taken out of the table by function.
    pub(super) functions: u64,
}

/// Place of a row in a table that has a table for each mm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlaceInMm {
    /// That of the mm.
    pub(super) mm: usize,
    /// That of the row among those of the mm.
    pub(super) row: usize,
}

/// Places of the rows of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    /// By caller.
    pub(super) caller: usize,
    /// By mapping.
    pub(super) mapping: PlaceInMm,
    /// By function.
    pub(super) function: PlaceInMm,
}

/// The newest answers, one for each slot.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentFaults(Vec<Option<(Like, State, Rows)>>);

impl RecentFaults {
    /// Returns the rows of a fault like this, if they are known.
    #[inline]
    pub(super) fn get(&self, like: &Like, state: &State) -> Option<&Rows> {
        let (of, at, rows) = self.0.get(like.slot())?.as_ref()?;
        (of == like && at == state).then_some(rows)
    }

    /// Keeps the rows of a fault like this.
    pub(super) fn put(&mut self, like: Like, state: State, rows: Rows) {
        self.0.resize(SLOTS, None);
        self.0[like.slot()] = Some((like, state, rows));
    }

    /// Forgets all: the tables begin again.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
