//! The objects of the kernel's mm, as cells: locks, page tables, the markers that user space expects.
//!
//! Nothing here runs: [`Kernel`] is what a step can do to the objects, and a [`World`] adds the threads.

use mmtrace_model::model::{
    invariant::{INVARIANTS, Invariant},
    locks::exclusion::{Mode, Rank},
    page_tables::{entry::Marker, lifecycle::TableState},
};

use super::event::Event;
use crate::system::{Access, Cell, Cells, Look, Property, Protocol, State, System, Tid};

/// A step of the kernel while it runs.
pub(crate) type Kernel<'a> = Access<'a, Layout>;

/// A lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock(pub(crate) u8);

/// A page table, upper level or PTE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table(pub(crate) u8);

impl Table {
    /// Its number, as it stands in an entry that points to it.
    #[must_use]
    pub(crate) const fn number(self) -> u8 {
        self.0
    }
}

/// A place in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Which table.
    pub(crate) table: Table,
    /// Which entry.
    pub(crate) index: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct LockInfo {
    pub(crate) name: String,
    pub(crate) rank: Option<Rank>,
    pub(crate) cell: Cell,
    /// The readers that have downgraded, bit by thread; only an mmap_lock has it.
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

/// A marker that user space may expect, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExpectedMarker(pub(crate) u8);

/// An address: its PMD entry, and which entry of the table under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The PMD entry.
    pub(crate) pmd: Slot,
    /// The entry.
    pub(crate) index: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct ExpectedMarkerInfo {
    pub(crate) marker: Marker,
    /// 0: not expected; else 1 + number of the place where the marker is to be.
    pub(crate) cell: Cell,
    pub(crate) places: Vec<Place>,
}

/// The objects of the kernel's mm, and what must be true of them: the [`Protocol`] of every
/// [`Scenario`](crate::Scenario).
pub struct Layout {
    pub(crate) locks: Vec<LockInfo>,
    pub(crate) tables: Vec<TableInfo>,
    /// The number of the mm that the page tables are of: the first.
    pub(crate) mm: Option<u8>,
    pub(crate) expected_markers: Vec<ExpectedMarkerInfo>,
    pub(crate) rcu: Cell,
    pub(crate) irq: Cell,
    /// The RCU readers for whom an object stays, bit by thread: of each table, and of each other object.
    pub(crate) graces: Vec<Cell>,
    /// Threads that are to get a lock for write, bit by thread.
    writers: u8,
    /// `mm->page_table_lock`, where page-table locks are not split.
    unsplit: Option<Lock>,
    at_end: Option<FinalCheck>,
}

/// A check of the last state.
type FinalCheck = Box<dyn Fn(&Layout, &mut Look<'_>) + Send + Sync>;

/// The objects of a scenario, and the threads that run its operations.
pub type World = System<Layout>;

/// The invariants of the model, as the properties of this protocol.
static PROPERTIES: [Property; INVARIANTS.len()] = {
    let mut properties = [Property { id: "", statement: "", source: "" }; INVARIANTS.len()];
    let mut at = 0;
    while at < INVARIANTS.len() {
        let row = INVARIANTS[at];
        properties[at] = Property { id: row.id, statement: row.statement, source: row.source };
        at += 1;
    }
    properties
};

impl From<Invariant> for &'static Property {
    fn from(invariant: Invariant) -> Self {
        &PROPERTIES[invariant as usize]
    }
}

impl Protocol for Layout {
    type Event = Event;

    /// The depth of a thread's RCU sections.
    const COUNTERS: u8 = 1;

    /// Nothing can be held (I-BAL).
    fn at_thread_end(&self, k: &mut Kernel<'_>) {
        let held = self.held_by(k.state, k.me());
        if !held.is_empty() {
            let why = format!("{} is done and still holds {}", k.cells.thread(k.me()).name, held.join(", "));
            k.violate(Invariant::Bal, why);
        }
    }

    fn finally(&self, look: &mut Look<'_>) {
        if let Some(check) = &self.at_end {
            check(self, look);
        }
    }

    fn held_by(&self, state: &State, tid: Tid) -> Vec<String> {
        let mut held = Vec::new();
        for lock in &self.locks {
            let word = state.get(lock.cell);
            if word & 1 << tid != 0 {
                let down = lock.downgraded.is_some_and(|d| state.get(d) & 1 << tid != 0);
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
            if state.get(cell) & 1 << tid != 0 {
                held.push(name.to_owned());
            }
        }
        held
    }

    /// G-WRITER if nobody but writers waits, or else G-DEAD.
    fn deadlock(&self, waiting: &[Tid]) -> &'static Property {
        let writers = waiting.iter().all(|tid| self.writers & 1 << tid != 0);
        if writers { Invariant::Writer.into() } else { Invariant::Dead.into() }
    }

    fn livelock(&self) -> &'static Property {
        Invariant::Retry.into()
    }
}

impl Layout {
    /// Returns the lock of a table's entries.
    pub(crate) fn ptl(&self, table: Table) -> Lock {
        self.tables[usize::from(table.0)].ptl
    }

    /// Returns the cell of a table's state.
    pub(crate) fn state_of(&self, table: Table) -> Cell {
        self.tables[usize::from(table.0)].state
    }
}

impl Default for World {
    /// No objects but CPUs.
    fn default() -> Self {
        let mut cells = Cells::new();
        let layout = Layout {
            locks: Vec::new(),
            tables: Vec::new(),
            mm: None,
            expected_markers: Vec::new(),
            rcu: cells.cell("rcu readers", 0),
            irq: cells.cell("irqs off", 0),
            graces: Vec::new(),
            writers: 0,
            unsplit: None,
            at_end: None,
        };
        Self::new(cells, layout)
    }
}

/// The construction of a scenario's world.
impl World {
    /// Adds a cell with its first value.
    pub(crate) fn cell(&mut self, name: impl Into<String>, value: u8) -> Cell {
        self.cells.cell(name, value)
    }

    /// Gives a cell another first value.
    pub(crate) fn set(&mut self, cell: Cell, value: u8) {
        self.cells.set(cell, value);
    }

    /// Adds a cell for the RCU readers for whom an object's memory stays:
    /// [`rcu::begin_grace`](super::rcu::begin_grace) fills it.
    pub(crate) fn grace(&mut self, name: impl Into<String>) -> Cell {
        let cell = self.cell(name, 0);
        self.protocol.graces.push(cell);
        cell
    }

    /// Adds a lock. With a rank, blocking acquisitions are held to the lock order.
    pub(crate) fn lock(&mut self, name: impl Into<String>, rank: Option<Rank>) -> Lock {
        let name = name.into();
        let cell = self.cell(name.clone(), 0);
        let downgraded = (rank == Some(Rank::MmapLock)).then(|| self.cell(format!("{name} downgraded"), 0));
        self.protocol.locks.push(LockInfo { name, rank, cell, downgraded });
        Lock(self.protocol.locks.len() as u8 - 1)
    }

    /// Makes a thread hold a lock from the beginning.
    pub(crate) fn held(&mut self, lock: Lock, by: Tid, mode: Mode) {
        let cell = self.protocol.locks[usize::from(lock.0)].cell;
        let word = self.cells.first(cell);
        self.set(cell, word | 1 << by | if mode == Mode::Write { WRITE } else { 0 });
    }

    /// Makes the tables that are added from now on share this lock: a kernel without split page-table locks.
    pub(crate) fn without_split_locks(&mut self, page_table_lock: Lock) {
        self.protocol.unsplit = Some(page_table_lock);
    }

    /// Adds a table, with a lock of its own where page-table locks are split.
    pub(crate) fn table(&mut self, name: &str, entries: u8, state: TableState) -> Table {
        let ptl = match self.protocol.unsplit {
            Some(page_table_lock) => page_table_lock,
            None => self.lock(format!("PTL({name})"), Some(Rank::Ptl)),
        };
        self.table_with(name, entries, state, ptl)
    }

    /// Adds a table under an existing lock: a PMD table under its PML, a PTE table without split locks.
    pub(crate) fn table_with(&mut self, name: &str, entries: u8, state: TableState, ptl: Lock) -> Table {
        let state = self.cell(format!("{name}.state"), state as u8);
        let grace = self.grace(format!("{name}.grace"));
        let first = self.cell(format!("{name}[0]"), 0);
        for i in 1..entries {
            self.cell(format!("{name}[{i}]"), 0);
        }
        self.protocol.tables.push(TableInfo { state, grace, ptl, entries: first, len: entries, fill: Vec::new() });
        Table(self.protocol.tables.len() as u8 - 1)
    }

    /// Notes that there is an mm with this number.
    pub(crate) fn has_mm(&mut self, id: u8) {
        self.protocol.mm.get_or_insert(id);
    }

    /// Lets empty entries of a table be filled by who holds one of these locks alone (I-FILL).
    pub(crate) fn fill_locks(&mut self, table: Table, locks: &[Lock]) {
        self.protocol.tables[usize::from(table.0)].fill = locks.to_vec();
    }

    /// Gives an entry its first value.
    pub(crate) fn entry(&mut self, slot: Slot, byte: u8) {
        let first = self.protocol.tables[usize::from(slot.table.0)].entries.0;
        self.set(Cell(first + slot.index), byte);
    }

    /// Adds a marker that user space can come to expect at one of these places: several, because mremap moves it.
    pub(crate) fn expected_marker(&mut self, marker: Marker, places: &[Place]) -> ExpectedMarker {
        let cell = self.cell(format!("expected: {}", marker.name()), 0);
        self.protocol.expected_markers.push(ExpectedMarkerInfo { marker, cell, places: places.to_vec() });
        ExpectedMarker(self.protocol.expected_markers.len() as u8 - 1)
    }

    /// Makes user space expect a marker from the beginning, at the place with this number.
    pub(crate) fn expected_from_start(&mut self, expected: ExpectedMarker, place: u8) {
        let cell = self.protocol.expected_markers[usize::from(expected.0)].cell;
        self.set(cell, place + 1);
    }

    /// Makes this thread a writer: if it waits for ever, G-WRITER is broken, not G-DEAD.
    pub(crate) fn writer(&mut self, tid: Tid) {
        self.protocol.writers |= 1 << tid;
    }

    /// Returns the number that the next thread will have.
    pub(crate) fn next_tid(&self) -> Tid {
        self.threads() as Tid
    }

    /// Returns how many tables there are.
    pub(crate) fn table_count(&self) -> u8 {
        self.protocol.tables.len() as u8
    }

    /// Says what must be true when every thread is done.
    pub(crate) fn at_end(&mut self, check: impl Fn(&Layout, &mut Look<'_>) + Send + Sync + 'static) {
        self.protocol.at_end = Some(Box::new(check));
    }
}

/// In a lock's byte: the holder is a writer. Below it, a bit for each holder.
pub(crate) const WRITE: u8 = 0x80;
