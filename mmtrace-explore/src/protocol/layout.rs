//! What the cells of a state mean: locks, page tables, markers that user space expects, variables of threads.
//!
//! Nothing here runs: [`Kernel`](super::Kernel) is what a step may do to the cells, and a [`World`](super::World) adds the
//! programs that do it.

use mmtrace_model::model::{
    locks::exclusion::{Mode, Rank},
    page_tables::{entry::Marker, lifecycle::TableState},
};

use super::state::{CELLS, Cell, SHARED, State};

/// Threads that a scenario may have: their bits share a lock's byte with the mode.
pub const THREADS_MAX: usize = 6;

/// A thread's number.
pub type Tid = u8;

/// A lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock(pub(crate) u8);

/// A page table, upper level or PTE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(pub(crate) u8);

impl Table {
    /// Its number, as it stands in an entry that points to it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A place in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which table.
    pub table: Table,
    /// Which entry.
    pub index: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct LockInfo {
    pub(crate) name: String,
    pub(crate) rank: Option<Rank>,
    pub(crate) cell: Cell,
    /// Who of the readers has downgraded; only an mmap_lock has it.
    pub(crate) downgraded: Option<Cell>,
}

#[derive(Clone, Debug)]
pub(crate) struct TableInfo {
    pub(crate) state: Cell,
    /// RCU readers, bit by thread, that a deferred free still waits for.
    pub(crate) grace: Cell,
    pub(crate) ptl: Lock,
    pub(crate) entries: Cell,
    pub(crate) len: u8,
    /// Locks of which one must be held to fill an empty entry; none: not checked.
    pub(crate) fill: Vec<Lock>,
}

/// A thread's own variable: one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local(pub(crate) u8);

/// A marker that user space may expect, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedMarker(pub(crate) u8);

/// An address: its PMD entry, and which entry of the table under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The PMD entry.
    pub pmd: Slot,
    /// The entry.
    pub index: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct ExpectedMarkerInfo {
    pub(crate) marker: Marker,
    /// 0: not expected; else 1 + number of the place where the marker is to be.
    pub(crate) cell: Cell,
    pub(crate) places: Vec<Place>,
}

/// A thread's cells, and what it has to do.
#[derive(Clone, Debug)]
pub(crate) struct ThreadInfo {
    pub(crate) name: &'static str,
    pub(crate) pc: u8,
    pub(crate) nest: u8,
    pub(crate) locals: u8,
    /// How many variables it has.
    pub(crate) local_count: u8,
    /// It need not finish, and may hold locks for ever: the grace-period engine, a migrator that is stuck.
    pub(crate) daemon: bool,
    /// When it cannot finish, that is about writers (G-WRITER).
    pub(crate) writer: bool,
}

/// What the cells of a scenario mean, and their first values.
pub struct Layout {
    pub(crate) names: Vec<String>,
    pub(crate) locks: Vec<LockInfo>,
    pub(crate) tables: Vec<TableInfo>,
    pub(crate) threads: Vec<ThreadInfo>,
    /// The number of the mm that the page tables are of: the first.
    pub(crate) mm: Option<u8>,
    pub(crate) expected_markers: Vec<ExpectedMarkerInfo>,
    pub(crate) rcu: Cell,
    pub(crate) irq: Cell,
    /// RCU readers, bit by thread, for whom an object stays: of each table, and of each other one.
    pub(crate) graces: Vec<Cell>,
    pub(crate) initial: State,
    pub(crate) len: usize,
    shared: usize,
    /// Where page-table locks are not split: `mm->page_table_lock`.
    unsplit: Option<Lock>,
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

impl Layout {
    /// Nothing but CPUs.
    #[must_use]
    pub fn new() -> Self {
        let mut layout = Self {
            names: Vec::new(),
            locks: Vec::new(),
            tables: Vec::new(),
            threads: Vec::new(),
            expected_markers: Vec::new(),
            mm: None,
            rcu: Cell(0),
            irq: Cell(0),
            graces: Vec::new(),
            initial: State::default(),
            len: SHARED,
            shared: 0,
            unsplit: None,
        };
        layout.rcu = layout.cell("rcu readers", 0);
        layout.irq = layout.cell("irqs off", 0);
        layout
    }

    /// A cell of its own, with its first value.
    ///
    /// # Panics
    ///
    /// When there are more than [`SHARED`]: a scenario is too large for its footprints.
    pub fn cell(&mut self, name: impl Into<String>, value: u8) -> Cell {
        assert!(self.shared < SHARED, "a scenario has more than {SHARED} shared cells");
        let cell = Cell(self.shared as u8);
        self.shared += 1;
        self.names.push(name.into());
        self.initial.0[usize::from(cell.0)] = value;
        cell
    }

    /// A cell for the RCU readers that an object's memory stays for: [`rcu::begin_grace`](super::rcu::begin_grace) fills it.
    pub fn grace(&mut self, name: impl Into<String>) -> Cell {
        let cell = self.cell(name, 0);
        self.graces.push(cell);
        cell
    }

    /// Gives a cell another first value.
    pub fn set(&mut self, cell: Cell, value: u8) {
        self.initial.0[usize::from(cell.0)] = value;
    }

    /// A lock. With a rank, blocking acquisitions are held to the lock order.
    pub fn lock(&mut self, name: impl Into<String>, rank: Option<Rank>) -> Lock {
        let name = name.into();
        let cell = self.cell(name.clone(), 0);
        let downgraded = (rank == Some(Rank::MmapLock)).then(|| self.cell(format!("{name} downgraded"), 0));
        self.locks.push(LockInfo { name, rank, cell, downgraded });
        Lock(self.locks.len() as u8 - 1)
    }

    /// A lock that a thread holds from the beginning.
    pub fn held(&mut self, lock: Lock, by: Tid, mode: Mode) {
        let cell = self.locks[usize::from(lock.0)].cell;
        let word = self.initial.0[usize::from(cell.0)];
        self.set(cell, word | 1 << by | if mode == Mode::Write { WRITE } else { 0 });
    }

    /// From now on tables have no locks of their own but share this one: a kernel without split page-table locks.
    pub fn without_split_locks(&mut self, page_table_lock: Lock) {
        self.unsplit = Some(page_table_lock);
    }

    /// A table with a lock of its own, where they are split.
    pub fn table(&mut self, name: &str, entries: u8, state: TableState) -> Table {
        let ptl = match self.unsplit {
            Some(page_table_lock) => page_table_lock,
            None => self.lock(format!("PTL({name})"), Some(Rank::Ptl)),
        };
        self.table_with(name, entries, state, ptl)
    }

    /// A table under an existing lock: PMD tables under their PML, PTE tables without split locks.
    pub fn table_with(&mut self, name: &str, entries: u8, state: TableState, ptl: Lock) -> Table {
        let state = self.cell(format!("{name}.state"), state as u8);
        let grace = self.grace(format!("{name}.grace"));
        let first = self.cell(format!("{name}[0]"), 0);
        for i in 1..entries {
            self.cell(format!("{name}[{i}]"), 0);
        }
        self.tables.push(TableInfo { state, grace, ptl, entries: first, len: entries, fill: Vec::new() });
        Table(self.tables.len() as u8 - 1)
    }

    /// There is an mm with this number.
    pub(crate) fn has_mm(&mut self, id: u8) {
        self.mm.get_or_insert(id);
    }

    /// Empty entries of this table may be filled only by who holds one of these locks (I-FILL).
    pub fn fill_locks(&mut self, table: Table, locks: &[Lock]) {
        self.tables[usize::from(table.0)].fill = locks.to_vec();
    }

    /// The first value of an entry.
    pub fn entry(&mut self, slot: Slot, byte: u8) {
        let first = self.tables[usize::from(slot.table.0)].entries.0;
        self.set(Cell(first + slot.index), byte);
    }

    /// The lock of a table's entries.
    #[must_use]
    pub fn ptl(&self, table: Table) -> Lock {
        self.tables[usize::from(table.0)].ptl
    }

    /// The cell of a table's state.
    #[must_use]
    pub fn state_of(&self, table: Table) -> Cell {
        self.tables[usize::from(table.0)].state
    }

    /// A marker that user space may come to expect at one of these addresses (several: mremap moves it).
    pub fn expected_marker(&mut self, marker: Marker, places: &[Place]) -> ExpectedMarker {
        let cell = self.cell(format!("expected: {}", marker.name()), 0);
        self.expected_markers.push(ExpectedMarkerInfo { marker, cell, places: places.to_vec() });
        ExpectedMarker(self.expected_markers.len() as u8 - 1)
    }

    /// User space expects it from the beginning, at the place with this number.
    pub fn expected_from_start(&mut self, expected: ExpectedMarker, place: u8) {
        let cell = self.expected_markers[usize::from(expected.0)].cell;
        self.set(cell, place + 1);
    }

    /// Adds a thread's cells. Returns its number.
    ///
    /// # Panics
    ///
    /// When there are more threads or variables than a state has room for.
    pub(crate) fn add_thread(&mut self, name: &'static str, locals: &[u8], daemon: bool) -> Tid {
        assert!(self.threads.len() < THREADS_MAX, "a scenario has more than {THREADS_MAX} threads");
        let pc = self.len;
        self.len += 2 + locals.len();
        assert!(self.len <= CELLS, "a scenario's threads have too many locals");
        self.initial.0[pc + 2..self.len].copy_from_slice(locals);
        let pc = pc as u8;
        let local_count = locals.len() as u8;
        self.threads.push(ThreadInfo { name, pc, nest: pc + 1, locals: pc + 2, local_count, daemon, writer: false });
        self.threads.len() as Tid - 1
    }

    /// This thread wants a lock for write, and the question is for whom it may have to wait: if
    /// it waits for ever, G-WRITER is broken, not G-DEAD.
    pub fn writer(&mut self, tid: Tid) {
        self.threads[usize::from(tid)].writer = true;
    }

    /// Whether it is.
    #[must_use]
    pub fn is_writer(&self, tid: Tid) -> bool {
        self.threads[usize::from(tid)].writer
    }

    /// The number that the next thread will have.
    #[must_use]
    pub fn next_tid(&self) -> Tid {
        self.threads.len() as Tid
    }

    /// How many tables there are.
    #[must_use]
    pub fn table_count(&self) -> u8 {
        self.tables.len() as u8
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// A thread's name.
    #[must_use]
    pub fn thread_name(&self, tid: Tid) -> &'static str {
        self.threads[usize::from(tid)].name
    }

    /// Whether a thread has to come to its end.
    #[must_use]
    pub fn must_finish(&self, tid: Tid) -> bool {
        !self.threads[usize::from(tid)].daemon
    }

    /// The first state.
    #[must_use]
    pub const fn initial(&self) -> &State {
        &self.initial
    }

    /// The cells that mean something, by their place in a state, in order.
    pub(crate) fn cells(&self) -> impl Iterator<Item = usize> {
        (0..self.shared).chain(SHARED..self.len)
    }

    /// What a thread holds, by name, with the mode.
    #[must_use]
    pub fn held_by(&self, state: &State, tid: Tid) -> Vec<String> {
        let mut held = Vec::new();
        for lock in &self.locks {
            let word = state.0[usize::from(lock.cell.0)];
            if word & 1 << tid != 0 {
                let down = lock.downgraded.is_some_and(|d| state.0[usize::from(d.0)] & 1 << tid != 0);
                let mode = match (lock.rank, word & WRITE != 0, down) {
                    (Some(Rank::Ptl | Rank::PtlNested | Rank::PageTableLock | Rank::FolioLock), ..) => "",
                    (_, true, _) => " W",
                    (_, false, true) => " D",
                    (_, false, false) => " R",
                };
                held.push(format!("{}{mode}", lock.name));
            }
        }
        for (cell, name) in [(self.rcu, "rcu"), (self.irq, "irqs off")] {
            if state.0[usize::from(cell.0)] & 1 << tid != 0 {
                held.push(name.to_owned());
            }
        }
        held
    }

    /// Where a thread's local stands.
    pub(crate) fn local(&self, tid: Tid, local: Local) -> usize {
        usize::from(self.threads[usize::from(tid)].locals) + usize::from(local.0)
    }
}

/// In a lock's byte: the holder is a writer. Below it, a bit for each holder.
pub(crate) const WRITE: u8 = 0x80;
