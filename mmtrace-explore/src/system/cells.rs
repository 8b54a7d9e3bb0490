//! The cells of a system: the shared ones by name, and those of each thread.

use super::state::{CELLS, Cell, SHARED, State};

/// Most threads of a system: a lock's byte has a bit for each beside its mode.
pub const THREADS_MAX: usize = 6;

/// A thread's number, in the order in which the threads were added.
pub type Tid = u8;

/// A thread's own variable: one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local(pub(super) u8);

/// The cells of one thread.
#[derive(Clone, Debug)]
pub(crate) struct ThreadCells {
    pub(crate) name: &'static str,
    pub(crate) pc: u8,
    /// The first of the counters that the protocol asks for.
    pub(crate) counters: u8,
    /// The first of the program's variables, and how many they are.
    pub(crate) locals: u8,
    pub(crate) local_count: u8,
    /// The thread need not finish, and may hold locks for ever: the grace-period engine, a migrator that is stuck.
    pub(crate) daemon: bool,
}

/// The cells of a system, with their first values.
#[derive(Clone, Debug)]
pub struct Cells {
    names: Vec<String>,
    threads: Vec<ThreadCells>,
    initial: State,
    len: usize,
}

impl Default for Cells {
    fn default() -> Self {
        Self { names: Vec::new(), threads: Vec::new(), initial: State::default(), len: SHARED }
    }
}

impl Cells {
    /// No cells yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a shared cell with its first value.
    ///
    /// # Panics
    ///
    /// There are more than [`SHARED`] shared cells.
    pub fn cell(&mut self, name: impl Into<String>, value: u8) -> Cell {
        assert!(self.names.len() < SHARED, "a system has more than {SHARED} shared cells");
        let cell = Cell(self.names.len() as u8);
        self.names.push(name.into());
        self.set(cell, value);
        cell
    }

    /// Gives a shared cell another first value.
    pub fn set(&mut self, cell: Cell, value: u8) {
        self.initial.0[usize::from(cell.0)] = value;
    }

    /// Returns the first value of a shared cell.
    pub(crate) fn first(&self, cell: Cell) -> u8 {
        self.initial.get(cell)
    }

    /// Returns the name of a shared cell.
    #[must_use]
    pub fn name(&self, cell: Cell) -> &str {
        &self.names[usize::from(cell.0)]
    }

    pub(super) fn add_thread(&mut self, name: &'static str, counters: u8, locals: &[u8], daemon: bool) -> Tid {
        assert!(self.threads.len() < THREADS_MAX, "a system has more than {THREADS_MAX} threads");
        let pc = self.len;
        let first = pc + 1 + usize::from(counters);
        self.len = first + locals.len();
        assert!(self.len <= CELLS, "the threads have more than {} variables in all", CELLS - SHARED);
        self.initial.0[first..self.len].copy_from_slice(locals);
        self.threads.push(ThreadCells {
            name,
            pc: pc as u8,
            counters: pc as u8 + 1,
            locals: first as u8,
            local_count: locals.len() as u8,
            daemon,
        });
        self.threads.len() as Tid - 1
    }

    pub(crate) fn thread(&self, tid: Tid) -> &ThreadCells {
        &self.threads[usize::from(tid)]
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }

    pub(crate) const fn initial(&self) -> &State {
        &self.initial
    }

    /// Lists the cells that the system has, by their place in a state, in order.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> {
        (0..self.names.len()).chain(SHARED..self.len)
    }
}
