//! What the cells of a state mean: locks, tables, VMAs, threads.

use mmtrace_model::model::{
    locks::exclusion::{Mode, Rank},
    page_tables::lifecycle::TableState,
};

use super::{
    kernel::{Broken, Kernel},
    program::{Local, Program, Site},
    state::{CELLS, Cell, SHARED, State},
};

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

#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) pc: u8,
    pub(crate) nest: u8,
    pub(crate) locals: u8,
    /// It need not finish, and may hold locks for ever: the grace-period engine, a migrator that is stuck.
    pub(crate) daemon: bool,
    /// When it cannot finish, that is about writers (G-WRITER).
    pub(crate) writer: bool,
}

/// A look at a state.
type Check = Box<dyn Fn(&mut Kernel<'_>) + Send + Sync>;

/// What the cells of a scenario mean.
pub struct World {
    pub(crate) names: Vec<String>,
    pub(crate) locks: Vec<LockInfo>,
    pub(crate) tables: Vec<TableInfo>,
    pub(crate) threads: Vec<Thread>,
    /// The number of the mm that the page tables are of: the first.
    pub(crate) mm: Option<u8>,
    pub(crate) promises: Vec<super::expected_marker::ExpectedMarkerInfo>,
    pub(crate) rcu: Cell,
    pub(crate) irq: Cell,
    /// RCU readers, bit by thread, for whom an object stays: of each table, and of each other one.
    pub(crate) graces: Vec<Cell>,
    pub(crate) initial: State,
    pub(crate) len: usize,
    shared: usize,
    /// Where page-table locks are not split: `mm->page_table_lock`.
    unsplit: Option<Lock>,
    at_end: Option<Check>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Nothing but CPUs.
    #[must_use]
    pub fn new() -> Self {
        let mut world = Self {
            names: Vec::new(),
            locks: Vec::new(),
            tables: Vec::new(),
            threads: Vec::new(),
            promises: Vec::new(),
            mm: None,
            rcu: Cell(0),
            irq: Cell(0),
            graces: Vec::new(),
            initial: State::default(),
            len: SHARED,
            shared: 0,
            unsplit: None,
            at_end: None,
        };
        world.rcu = world.cell("rcu readers", 0);
        world.irq = world.cell("irqs off", 0);
        world
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
        assert!(self.threads.len() < THREADS_MAX, "a scenario has more than {THREADS_MAX} threads");
        let pc = self.len;
        self.len += 2 + usize::from(program.locals());
        assert!(self.len <= CELLS, "a scenario's threads have too many locals");
        for (local, value) in program.initial() {
            self.initial.0[pc + 2 + usize::from(local.0)] = value;
        }
        self.threads.push(Thread {
            name,
            program,
            pc: pc as u8,
            nest: pc as u8 + 1,
            locals: pc as u8 + 2,
            daemon,
            writer: false,
        });
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

    /// Protections of all threads, in the order of their code.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.threads.iter().flat_map(|t| t.program.sites())
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
        Kernel::look(self, &mut state, check)
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
