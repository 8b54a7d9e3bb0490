//! A small system that can run: the objects of a few threads of execution, and the programs that these run.

use std::ops::{Deref, DerefMut};

use super::{
    kernel::{Broken, Kernel, Log, Outcome},
    layout::{Layout, Tid},
    program::{Flow, Program, Site},
    state::State,
};

/// A look at a state.
type Check = Box<dyn Fn(&mut Kernel<'_>) + Send + Sync>;

/// The objects of a scenario, and the program of each thread. Objects are made as its [`Layout`] makes them.
#[derive(Default)]
pub struct World {
    layout: Layout,
    programs: Vec<Program>,
    at_end: Option<Check>,
}

impl Deref for World {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Layout {
        &mut self.layout
    }
}

impl World {
    /// Nothing but CPUs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A thread that runs this program. Returns its number.
    ///
    /// # Panics
    ///
    /// When there are more threads or locals than a state has room for.
    pub fn thread(&mut self, name: &'static str, program: Program) -> Tid {
        self.add(name, program, false)
    }

    /// A thread that need not finish.
    ///
    /// # Panics
    ///
    /// As [`World::thread`].
    pub fn daemon(&mut self, name: &'static str, program: Program) -> Tid {
        self.add(name, program, true)
    }

    fn add(&mut self, name: &'static str, program: Program, daemon: bool) -> Tid {
        let locals: Vec<u8> = program.initial().collect();
        self.programs.push(program);
        self.layout.add_thread(name, &locals, daemon)
    }

    /// Protections of all threads, in the order of their code.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.programs.iter().flat_map(Program::sites)
    }

    /// What must be true when everybody is done.
    pub fn at_end(&mut self, check: impl Fn(&mut Kernel<'_>) + Send + Sync + 'static) {
        self.at_end = Some(Box::new(check));
    }

    /// Checks that.
    #[must_use]
    pub fn check_end(&self, state: &State) -> Option<Broken> {
        let check = self.at_end.as_ref()?;
        let mut state = *state;
        Kernel::look(&self.layout, &mut state, check)
    }

    /// Whether a thread has run to its end.
    #[must_use]
    pub fn is_done(&self, state: &State, tid: Tid) -> bool {
        usize::from(self.pc(state, tid)) >= self.programs[usize::from(tid)].steps.len()
    }

    /// Ways that a thread's next step can go: 0 when it is done.
    #[must_use]
    pub fn choices(&self, state: &State, tid: Tid) -> u8 {
        self.programs[usize::from(tid)].steps.get(usize::from(self.pc(state, tid))).map_or(0, |s| s.choices)
    }

    /// A thread's place in its program.
    #[must_use]
    pub fn pc(&self, state: &State, tid: Tid) -> u8 {
        state.0[usize::from(self.layout.threads[usize::from(tid)].pc)]
    }

    /// Function and text of a thread's next step.
    #[must_use]
    pub fn next_step(&self, state: &State, tid: Tid) -> Option<(&'static str, &str)> {
        let step = self.programs[usize::from(tid)].steps.get(usize::from(self.pc(state, tid)))?;
        Some((step.function, &step.text))
    }

    /// Lets a thread take its next step. The state is unchanged, up to rubbish, if it blocks:
    /// callers hand in a copy.
    pub fn step(&self, state: &mut State, tid: Tid, choice: u8, log: Option<&mut Log>) -> Outcome {
        let program = &self.programs[usize::from(tid)];
        let pc = self.pc(state, tid);
        let mut kernel = Kernel::new(&self.layout, state, tid, choice, log);
        let next = match program.steps[usize::from(pc)].take(&mut kernel) {
            Flow::Block => return kernel.blocked(),
            Flow::Goto(label) => program.target(label),
            Flow::Next => pc + 1,
        };
        kernel.finish(next, usize::from(next) >= program.steps.len())
    }
}
