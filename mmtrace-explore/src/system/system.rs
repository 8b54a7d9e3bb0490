//! A protocol with threads: what is searched.

use super::{
    cells::{Cells, Tid},
    program::{Flow, Program, Site},
    property::Broken,
    protocol::{
        Protocol,
        access::{Access, Log, Look, Outcome},
    },
    state::State,
};

/// A transition: the thread that takes its next step, and the way if that step has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The thread.
    pub tid: Tid,
    /// The way, from 0.
    pub choice: u8,
}

/// A protocol, its cells with their first values, and the threads that run.
///
/// It has one initial state. To look at several, make a system of each, or let the first step of a thread choose
/// ([`Program::choice`]).
pub struct System<P: Protocol> {
    pub(crate) cells: Cells,
    pub(crate) protocol: P,
    programs: Vec<Program<P>>,
}

impl<P: Protocol> System<P> {
    /// No threads yet.
    #[must_use]
    pub const fn new(cells: Cells, protocol: P) -> Self {
        Self { cells, protocol, programs: Vec::new() }
    }

    /// Adds a thread that runs this program, and has to finish. Returns its number.
    ///
    /// # Panics
    ///
    /// There are more than [`THREADS_MAX`](crate::THREADS_MAX) threads, or more variables than a state has room for; or
    /// a branch of the program goes to a label that stands nowhere. If a closure returns such a label, the search
    /// panics.
    pub fn thread(&mut self, name: &'static str, program: Program<P>) -> Tid {
        self.add(name, program, false)
    }

    /// Adds a thread that need not finish.
    ///
    /// # Panics
    ///
    /// As [`System::thread`].
    pub fn daemon(&mut self, name: &'static str, program: Program<P>) -> Tid {
        self.add(name, program, true)
    }

    fn add(&mut self, name: &'static str, program: Program<P>, daemon: bool) -> Tid {
        if let Some(step) = program.lost_branch() {
            panic!("\"{step}\" of {name} goes to a label that stands nowhere");
        }
        let locals: Vec<u8> = program.initial().collect();
        self.programs.push(program);
        self.cells.add_thread(name, P::COUNTERS, &locals, daemon)
    }

    /// Lists the protections of all threads, in the order of their code.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.programs.iter().flat_map(Program::sites)
    }

    /// Returns the initial state.
    #[must_use]
    pub const fn initial(&self) -> &State {
        self.cells.initial()
    }

    /// Returns how many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.cells.threads()
    }

    /// Returns a thread's name.
    #[must_use]
    pub fn thread_name(&self, tid: Tid) -> &'static str {
        self.cells.thread(tid).name
    }

    /// Returns whether a thread has run to its end.
    #[must_use]
    pub fn is_done(&self, state: &State, tid: Tid) -> bool {
        usize::from(self.pc(state, tid)) >= self.programs[usize::from(tid)].steps.len()
    }

    /// Returns the state after a move; `None` if the thread is done, waits, or has no such way.
    #[must_use]
    pub fn next_state(&self, state: &State, by: Move) -> Option<State> {
        if by.choice >= self.choices(state, by.tid) {
            return None;
        }
        let mut next = *state;
        let outcome = self.step(&mut next, by.tid, by.choice, None);
        (!outcome.blocked).then_some(next)
    }

    /// Returns what the first state breaks.
    pub(crate) fn check_initial(&self) -> Option<Broken> {
        let mut look = Look::new(self.initial());
        self.protocol.always(&mut look);
        look.broken()
    }

    /// Returns what a state breaks in which every thread that has to finish has.
    pub(crate) fn check_end(&self, state: &State) -> Option<Broken> {
        let mut look = Look::new(state);
        self.protocol.finally(&mut look);
        look.broken()
    }

    /// Returns in how many ways a thread's next step can go: 0 when it is done.
    #[inline]
    pub(crate) fn choices(&self, state: &State, tid: Tid) -> u8 {
        self.programs[usize::from(tid)].steps.get(usize::from(self.pc(state, tid))).map_or(0, |s| s.choices)
    }

    /// Returns a thread's place in its program.
    #[inline]
    pub(crate) fn pc(&self, state: &State, tid: Tid) -> u8 {
        state.0[usize::from(self.cells.thread(tid).pc)]
    }

    /// Returns whether a thread has to come to its end.
    pub(crate) fn must_finish(&self, tid: Tid) -> bool {
        !self.cells.thread(tid).daemon
    }

    /// Returns function and text of a thread's next step.
    pub(crate) fn next_step(&self, state: &State, tid: Tid) -> Option<(&'static str, &str)> {
        let step = self.programs[usize::from(tid)].steps.get(usize::from(self.pc(state, tid)))?;
        Some((step.function, &step.text))
    }

    /// Lets a thread take its next step. A state in which it blocks may be changed: callers hand in a copy.
    #[inline]
    pub(crate) fn step(&self, state: &mut State, tid: Tid, choice: u8, log: Option<&mut Log<P::Event>>) -> Outcome {
        let program = &self.programs[usize::from(tid)];
        let pc = self.pc(state, tid);
        let mut access = Access::new(&self.protocol, &self.cells, state, tid, choice, log);
        let next = match program.steps[usize::from(pc)].take(&mut access) {
            Flow::Block => return access.blocked(),
            Flow::Goto(label) => program.target(label),
            Flow::Next => pc + 1,
        };
        access.finish(next, usize::from(next) >= program.steps.len())
    }
}
