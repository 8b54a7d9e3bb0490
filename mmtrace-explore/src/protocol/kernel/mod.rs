//! What a step may do: read and write cells, take locks, walk tables, in the kernel's words.
//!
//! Everything a step looks at goes through here, so that its footprint is known, and so that
//! what breaks an invariant is noticed where it happens.

mod expected_marker;
mod lock;
mod rcu;
mod table;

use mmtrace_model::model::invariant::Invariant;

use super::{
    layout::{Layout, Local, Tid},
    state::{Cell, Footprint, State},
};

/// An invariant that does not hold, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// A sentence.
    pub why: String,
}

/// What happened in a step besides its effect. Kept only when someone looks.
#[derive(Debug, Default)]
pub struct Log {
    /// What was read, decided or written.
    pub notes: Vec<String>,
    /// Events that the kernel would have emitted.
    pub events: Vec<super::event::Event>,
}

/// A step while it runs.
pub struct Kernel<'a> {
    pub(in crate::protocol) layout: &'a Layout,
    state: &'a mut State,
    me: Tid,
    choice: u8,
    footprint: Footprint,
    broken: Option<Broken>,
    reached: u32,
    log: Option<&'a mut Log>,
}

/// What came of a step.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Shared cells that it touched.
    pub footprint: Footprint,
    /// What it broke.
    pub broken: Option<Broken>,
    /// It could not be taken.
    pub blocked: bool,
    /// *Sometimes* properties that it has shown, bit by number.
    pub reached: u32,
}

impl<'a> Kernel<'a> {
    /// What the next step of this thread may do, if it goes this way.
    pub(in crate::protocol) fn new(
        layout: &'a Layout,
        state: &'a mut State,
        me: Tid,
        choice: u8,
        log: Option<&'a mut Log>,
    ) -> Self {
        Self { layout, state, me, choice, footprint: Footprint::default(), broken: None, reached: 0, log }
    }

    /// Looks at a state without being a thread.
    pub(in crate::protocol) fn look(
        layout: &'a Layout,
        state: &'a mut State,
        check: &dyn Fn(&mut Kernel<'_>),
    ) -> Option<Broken> {
        let mut kernel = Self::new(layout, state, 0, 0, None);
        check(&mut kernel);
        kernel.broken
    }
}

impl Kernel<'_> {
    /// The step could not be taken.
    pub(in crate::protocol) fn blocked(self) -> Outcome {
        Outcome { footprint: self.footprint, broken: None, blocked: true, reached: 0 }
    }

    /// The step is taken, and the thread goes on at `next`, or has come to its end.
    pub(in crate::protocol) fn finish(mut self, next: u8, is_last: bool) -> Outcome {
        let pc = self.layout.threads[usize::from(self.me)].pc;
        self.state.0[usize::from(pc)] = next;
        if is_last {
            self.end();
        }
        Outcome { footprint: self.footprint, broken: self.broken, blocked: false, reached: self.reached }
    }

    /// Who runs.
    #[must_use]
    pub const fn me(&self) -> Tid {
        self.me
    }

    /// Which way the step goes.
    #[must_use]
    pub const fn choice(&self) -> u8 {
        self.choice
    }

    /// Reads a cell.
    #[inline]
    pub fn get(&mut self, cell: Cell) -> u8 {
        self.footprint.reads |= 1 << cell.0;
        self.state.0[usize::from(cell.0)]
    }

    /// Writes a cell.
    #[inline]
    pub fn set(&mut self, cell: Cell, value: u8) {
        self.footprint.writes |= 1 << cell.0;
        self.state.0[usize::from(cell.0)] = value;
    }

    /// A look that is no part of the protocol and that nobody else can change: own bits of lock words.
    pub(in crate::protocol) fn peek(&self, cell: Cell) -> u8 {
        self.state.0[usize::from(cell.0)]
    }

    /// A variable of this thread.
    #[must_use]
    pub fn local(&self, local: Local) -> u8 {
        self.state.0[self.layout.local(self.me, local)]
    }

    /// Sets a variable of this thread.
    pub fn set_local(&mut self, local: Local, value: u8) {
        let at = self.layout.local(self.me, local);
        self.state.0[at] = value;
    }

    /// Says that an invariant is broken. The first one counts.
    pub fn violate(&mut self, invariant: Invariant, why: impl Into<String>) {
        if self.broken.is_none() {
            self.broken = Some(Broken { invariant, why: why.into() });
        }
    }

    /// Says what must be so.
    pub fn require(&mut self, holds: bool, invariant: Invariant, why: &str) {
        if !holds {
            self.violate(invariant, why);
        }
    }

    /// A *sometimes* property was reached.
    pub fn reach(&mut self, number: u8) {
        self.reached |= 1 << number;
    }

    /// A remark for whoever reads the schedule.
    pub fn note(&mut self, note: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.notes.push(note());
        }
    }

    /// Whether anybody looks at the events.
    pub const fn is_told(&self) -> bool {
        self.log.is_some()
    }

    /// An event that the kernel would have emitted here.
    pub fn emit(&mut self, event: impl FnOnce() -> super::event::Event) {
        if let Some(log) = &mut self.log {
            log.events.push(event());
        }
    }

    /// The end of this thread's program: variables no longer matter, and nothing may be held.
    fn end(&mut self) {
        let thread = &self.layout.threads[usize::from(self.me)];
        let from = usize::from(thread.locals);
        self.state.0[from..from + usize::from(thread.local_count)].fill(0);
        if thread.daemon {
            return;
        }
        let held = self.layout.held_by(self.state, self.me);
        if !held.is_empty() {
            let why = format!("{} is done and still holds {}", thread.name, held.join(", "));
            self.violate(Invariant::Bal, why);
        }
    }
}
