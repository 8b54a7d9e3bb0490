//! The operations of a step, [`Access`], and those of a check, [`Look`].
//!
//! A step reads and writes cells through [`Access`] alone. The reduction rests on that: it knows what each step touched,
//! and nobody declares it.

use super::super::{
    cells::{Cells, Local, Tid},
    property::{Broken, Property},
    state::{Cell, Footprint, State},
};
use super::Protocol;

/// The methods by which a step, and a check, say that a property is broken.
macro_rules! says_what_is_broken {
    () => {
        /// Says that a property is broken, and how. The first one counts.
        pub fn violate(&mut self, property: impl Into<&'static Property>, why: impl Into<String>) {
            if self.broken.is_none() {
                self.broken = Some(Broken { property: property.into(), why: why.into() });
            }
        }

        /// Says that a property is broken, unless it holds.
        pub fn require(&mut self, holds: bool, property: impl Into<&'static Property>, why: &str) {
            if !holds {
                self.violate(property, why);
            }
        }
    };
}

/// The remarks and events of a step. They are kept only for an execution that is shown.
#[derive(Debug)]
pub(crate) struct Log<E> {
    /// Remarks about what was read, decided or written.
    pub(crate) notes: Vec<String>,
    /// Events that the real system would have emitted.
    pub(crate) events: Vec<E>,
}

impl<E> Default for Log<E> {
    fn default() -> Self {
        Self { notes: Vec::new(), events: Vec::new() }
    }
}

/// The result of a step.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Shared cells that it touched.
    pub(crate) footprint: Footprint,
    /// The violation that it caused.
    pub(crate) broken: Option<Broken>,
    /// It could not be taken.
    pub(crate) blocked: bool,
    /// *Sometimes* properties that it has shown, bit by number.
    pub(crate) reached: u32,
}

/// A step while it runs: what it may read, write, break and remark.
pub struct Access<'a, P: Protocol> {
    pub(crate) protocol: &'a P,
    pub(crate) cells: &'a Cells,
    pub(crate) state: &'a mut State,
    me: Tid,
    choice: u8,
    footprint: Footprint,
    broken: Option<Broken>,
    reached: u32,
    log: Option<&'a mut Log<P::Event>>,
}

impl<'a, P: Protocol> Access<'a, P> {
    #[inline]
    pub(in crate::system) fn new(
        protocol: &'a P,
        cells: &'a Cells,
        state: &'a mut State,
        me: Tid,
        choice: u8,
        log: Option<&'a mut Log<P::Event>>,
    ) -> Self {
        Self { protocol, cells, state, me, choice, footprint: Footprint::default(), broken: None, reached: 0, log }
    }

    /// The step could not be taken.
    #[inline]
    pub(in crate::system) fn blocked(self) -> Outcome {
        Outcome { footprint: self.footprint, broken: None, blocked: true, reached: 0 }
    }

    /// The step is taken, and the thread goes on at `next`, or has come to its end.
    #[inline]
    pub(in crate::system) fn finish(mut self, next: u8, is_last: bool) -> Outcome {
        let pc = self.cells.thread(self.me).pc;
        self.state.0[usize::from(pc)] = next;
        if is_last {
            self.end();
        }
        let mut look = Look::new(self.state);
        self.protocol.always(&mut look);
        // A check that reads nothing of what the step wrote says what it said before the step. The order of the step and
        // of others that write what the check reads then does not matter to it.
        if look.reads & self.footprint.writes != 0 {
            self.footprint.reads |= look.reads;
        }
        let broken = self.broken.or(look.broken);
        Outcome { footprint: self.footprint, broken, blocked: false, reached: self.reached }
    }

    /// The end of this thread's program: its variables no longer matter.
    fn end(&mut self) {
        let thread = self.cells.thread(self.me);
        let from = usize::from(thread.locals);
        self.state.0[from..from + usize::from(thread.local_count)].fill(0);
        if !thread.daemon {
            self.protocol.at_thread_end(self);
        }
    }

    /// Returns the protocol: its objects, and what their cells are.
    #[must_use]
    pub const fn protocol(&self) -> &'a P {
        self.protocol
    }

    /// Returns the thread that runs.
    #[must_use]
    pub const fn me(&self) -> Tid {
        self.me
    }

    /// Returns which way the step goes, of those that [`Program::choice`](crate::Program::choice) gave it.
    #[must_use]
    pub const fn choice(&self) -> u8 {
        self.choice
    }

    /// Reads a shared cell.
    #[inline]
    pub fn get(&mut self, cell: Cell) -> u8 {
        self.footprint.reads |= 1 << cell.0;
        self.state.0[usize::from(cell.0)]
    }

    /// Writes a shared cell.
    #[inline]
    pub fn set(&mut self, cell: Cell, value: u8) {
        self.footprint.writes |= 1 << cell.0;
        self.state.0[usize::from(cell.0)] = value;
    }

    /// Reads a shared cell and leaves that out of the footprint: only for what no other thread can change, as this
    /// thread's bit of a lock word, or what no step depends on, as the fields of an event.
    pub(crate) fn peek(&self, cell: Cell) -> u8 {
        self.state.get(cell)
    }

    /// Reads a variable of this thread.
    #[must_use]
    pub fn local(&self, local: Local) -> u8 {
        self.state.0[usize::from(self.cells.thread(self.me).locals) + usize::from(local.0)]
    }

    /// Writes a variable of this thread.
    pub fn set_local(&mut self, local: Local, value: u8) {
        self.state.0[usize::from(self.cells.thread(self.me).locals) + usize::from(local.0)] = value;
    }

    /// Returns one of the counters that each thread has by [`Protocol::COUNTERS`].
    #[must_use]
    pub fn counter(&self, number: u8) -> u8 {
        debug_assert!(number < P::COUNTERS, "a thread has {} counters", P::COUNTERS);
        self.state.0[usize::from(self.cells.thread(self.me).counters + number)]
    }

    /// Sets one of the counters of this thread.
    pub fn set_counter(&mut self, number: u8, value: u8) {
        debug_assert!(number < P::COUNTERS, "a thread has {} counters", P::COUNTERS);
        self.state.0[usize::from(self.cells.thread(self.me).counters + number)] = value;
    }

    says_what_is_broken!();

    /// Notes that a *sometimes* property was reached: a number below 32, for [`Found::reached`](crate::Found::reached).
    pub fn reach(&mut self, number: u8) {
        self.reached |= 1 << number;
    }

    /// Adds a remark for whoever reads the schedule.
    pub fn note(&mut self, note: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.notes.push(note());
        }
    }

    /// Returns whether notes and events are kept.
    #[must_use]
    pub const fn is_logged(&self) -> bool {
        self.log.is_some()
    }

    /// Adds an event that the real system would have emitted here.
    pub fn emit(&mut self, event: impl FnOnce() -> P::Event) {
        if let Some(log) = &mut self.log {
            log.events.push(event());
        }
    }
}

/// A state that a check looks at.
pub struct Look<'a> {
    state: &'a State,
    reads: u128,
    broken: Option<Broken>,
}

impl<'a> Look<'a> {
    #[inline]
    pub(in crate::system) const fn new(state: &'a State) -> Self {
        Self { state, reads: 0, broken: None }
    }

    pub(in crate::system) fn broken(self) -> Option<Broken> {
        self.broken
    }

    /// Reads a shared cell.
    #[inline]
    pub fn get(&mut self, cell: Cell) -> u8 {
        self.reads |= 1 << cell.0;
        self.state.get(cell)
    }

    says_what_is_broken!();
}
