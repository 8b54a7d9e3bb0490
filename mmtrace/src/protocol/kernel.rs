//! What a step may do: read and write cells, take locks, walk tables, in the kernel's words.
//!
//! Everything a step looks at goes through here, so that its footprint is known, and so that
//! what breaks an invariant is noticed where it happens.

use crate::model::{
    entry::{Pmd, Pte},
    exclusion::{Mode, Rank},
    invariant::Invariant,
    table::{TableState, Unlinker},
};

use super::{
    program::{Flow, Local},
    state::{Cell, Footprint, State},
    world::{Lock, Slot, Table, Tid, WRITE, World},
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
    pub(super) world: &'a World,
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

impl World {
    /// Whether a thread has run to its end.
    #[must_use]
    pub fn is_done(&self, state: &State, tid: Tid) -> bool {
        let thread = &self.threads[usize::from(tid)];
        usize::from(state.0[usize::from(thread.pc)]) >= thread.program.steps.len()
    }

    /// Ways that a thread's next step can go: 0 when it is done.
    #[must_use]
    pub fn choices(&self, state: &State, tid: Tid) -> u8 {
        let thread = &self.threads[usize::from(tid)];
        thread.program.steps.get(usize::from(state.0[usize::from(thread.pc)])).map_or(0, |s| s.choices)
    }

    /// A thread's place in its program.
    #[must_use]
    pub fn pc(&self, state: &State, tid: Tid) -> u8 {
        state.0[usize::from(self.threads[usize::from(tid)].pc)]
    }

    /// Function and text of a thread's next step.
    #[must_use]
    pub fn next_step(&self, state: &State, tid: Tid) -> Option<(&'static str, &str)> {
        let thread = &self.threads[usize::from(tid)];
        let step = thread.program.steps.get(usize::from(self.pc(state, tid)))?;
        Some((step.function, &step.text))
    }

    /// Lets a thread take its next step. The state is unchanged, up to rubbish, if it blocks:
    /// callers hand in a copy.
    pub fn step(&self, state: &mut State, tid: Tid, choice: u8, log: Option<&mut Log>) -> Outcome {
        let thread = &self.threads[usize::from(tid)];
        let pc = usize::from(thread.pc);
        let step = &thread.program.steps[usize::from(state.0[pc])];
        let mut kernel = Kernel {
            world: self,
            state,
            me: tid,
            choice,
            footprint: Footprint::default(),
            broken: None,
            reached: 0,
            log,
        };
        let flow = (step.run)(&mut kernel);
        if flow == Flow::Block {
            return Outcome { footprint: kernel.footprint, broken: None, blocked: true, reached: 0 };
        }
        let next = match flow {
            Flow::Goto(label) => thread.program.target(label),
            _ => kernel.state.0[pc] + 1,
        };
        kernel.state.0[pc] = next;
        if usize::from(next) >= thread.program.steps.len() {
            kernel.end();
        }
        Outcome { footprint: kernel.footprint, broken: kernel.broken, blocked: false, reached: kernel.reached }
    }
}

impl<'a> Kernel<'a> {
    /// Looks at a state without being a thread.
    pub(super) fn look(world: &'a World, state: &'a mut State, check: &dyn Fn(&mut Kernel<'_>)) -> Option<Broken> {
        let footprint = Footprint::default();
        let mut kernel = Self { world, state, me: 0, choice: 0, footprint, broken: None, reached: 0, log: None };
        check(&mut kernel);
        kernel.broken
    }
}

impl Kernel<'_> {
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
    fn peek(&self, cell: Cell) -> u8 {
        self.state.0[usize::from(cell.0)]
    }

    /// A variable of this thread.
    #[must_use]
    pub fn local(&self, local: Local) -> u8 {
        self.state.0[self.world.local(self.me, local)]
    }

    /// Sets a variable of this thread.
    pub fn set_local(&mut self, local: Local, value: u8) {
        let at = self.world.local(self.me, local);
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

    /// An event that the kernel would have emitted here.
    pub fn emit(&mut self, event: impl FnOnce() -> super::event::Event) {
        if let Some(log) = &mut self.log {
            log.events.push(event());
        }
    }

    /// The end of this thread's program: variables no longer matter, and nothing may be held.
    fn end(&mut self) {
        let thread = &self.world.threads[usize::from(self.me)];
        let from = usize::from(thread.locals);
        self.state.0[from..from + usize::from(thread.program.locals())].fill(0);
        if thread.daemon {
            return;
        }
        let held = self.world.held_by(self.state, self.me);
        if !held.is_empty() {
            let why = format!("{} is done and still holds {}", thread.name, held.join(", "));
            self.violate(Invariant::Bal, why);
        }
    }

    // Locks.

    /// How this thread holds a lock.
    #[must_use]
    pub fn holds(&self, lock: Lock) -> Option<Mode> {
        let info = &self.world.locks[usize::from(lock.0)];
        let word = self.peek(info.cell);
        let mine = 1 << self.me;
        if word & mine == 0 {
            return None;
        }
        let downgraded = info.downgraded.is_some_and(|d| self.peek(d) & mine != 0);
        Some(match (word & WRITE != 0, downgraded) {
            (true, _) => Mode::Write,
            (false, true) => Mode::Downgraded,
            (false, false) => Mode::Read,
        })
    }

    /// `…_trylock()`: whether it was taken.
    pub fn trylock(&mut self, lock: Lock, mode: Mode) -> bool {
        let cell = self.world.locks[usize::from(lock.0)].cell;
        let word = self.get(cell);
        let free = match mode {
            Mode::Write => word == 0,
            _ => word & WRITE == 0,
        };
        if free {
            self.set(cell, word | 1 << self.me | if mode == Mode::Write { WRITE } else { 0 });
        }
        free
    }

    /// Takes a lock, or says that it must be waited for. Held to the lock order.
    pub fn lock(&mut self, lock: Lock, mode: Mode) -> bool {
        let free = self.trylock(lock, mode);
        if free {
            self.check_order(lock);
        }
        free
    }

    fn check_order(&mut self, lock: Lock) {
        let world = self.world;
        let info = &world.locks[usize::from(lock.0)];
        let Some(rank) = info.rank else { return };
        let inner = world.locks.iter().enumerate().find(|(i, other)| {
            let higher =
                other.rank.is_some_and(|r| r > rank || (r == rank && rank != Rank::Ptl && rank != Rank::PageTableLock));
            *i != usize::from(lock.0) && higher && self.peek(other.cell) & 1 << self.me != 0
        });
        if let Some((_, inner)) = inner {
            let why = format!("{} is waited for while {} is held, which comes after it", info.name, inner.name);
            self.violate(Invariant::Order, why);
        }
    }

    /// Who holds a lock, bit by thread.
    pub fn readers(&mut self, lock: Lock) -> u8 {
        self.get(self.world.locks[usize::from(lock.0)].cell) & !WRITE
    }

    /// Releases a lock.
    pub fn unlock(&mut self, lock: Lock) {
        let info = &self.world.locks[usize::from(lock.0)];
        let mine = 1 << self.me;
        let word = self.get(info.cell);
        if word & mine == 0 {
            let why = format!("{} is released, and this thread does not hold it", info.name);
            let exclusive = word & WRITE != 0;
            self.violate(if exclusive { Invariant::Own } else { Invariant::Dbl }, why);
            return;
        }
        self.set(info.cell, if word & WRITE != 0 { 0 } else { word & !mine });
        if let Some(downgraded) = info.downgraded {
            let was = self.peek(downgraded);
            if was & mine != 0 {
                self.set(downgraded, was & !mine);
            }
        }
    }

    /// `mmap_write_downgrade()`.
    pub fn downgrade(&mut self, lock: Lock) {
        let info = &self.world.locks[usize::from(lock.0)];
        let mine = 1 << self.me;
        let word = self.get(info.cell);
        if word != mine | WRITE {
            let why = format!("{} is downgraded by a thread that does not hold it for write", info.name);
            self.violate(Invariant::Own, why);
            return;
        }
        self.set(info.cell, mine);
        if let Some(downgraded) = info.downgraded {
            let others = self.get(downgraded);
            if others != 0 {
                self.violate(Invariant::Down, "two threads hold the mmap_lock downgraded");
            }
            self.set(downgraded, others | mine);
        }
    }

    // RCU.

    fn nest(&self) -> usize {
        usize::from(self.world.threads[usize::from(self.me)].nest)
    }

    /// `rcu_read_lock()`.
    pub fn rcu_read_lock(&mut self) {
        let nest = self.nest();
        self.state.0[nest] += 1;
        if self.state.0[nest] == 1 {
            let readers = self.get(self.world.rcu);
            self.set(self.world.rcu, readers | 1 << self.me);
        }
    }

    /// `rcu_read_unlock()`: grace periods no longer wait for this thread.
    pub fn rcu_read_unlock(&mut self) {
        let nest = self.nest();
        if self.state.0[nest] == 0 {
            self.violate(Invariant::Dbl, "rcu_read_unlock() outside a section");
            return;
        }
        self.state.0[nest] -= 1;
        if self.state.0[nest] == 0 {
            let readers = self.get(self.world.rcu);
            self.set(self.world.rcu, readers & !(1 << self.me));
            self.leave_grace();
        }
    }

    /// `local_irq_save()`.
    pub fn irq_disable(&mut self) {
        let off = self.get(self.world.irq);
        self.set(self.world.irq, off | 1 << self.me);
    }

    /// `local_irq_restore()`.
    pub fn irq_enable(&mut self) {
        let off = self.get(self.world.irq);
        self.set(self.world.irq, off & !(1 << self.me));
        if self.state.0[self.nest()] == 0 {
            self.leave_grace();
        }
    }

    fn leave_grace(&mut self) {
        // The bit was set by whoever began to wait, who read this thread's bit in the
        // readers' cell: the footprints meet there already.
        if self.peek(self.world.rcu) & 1 << self.me != 0 || self.peek(self.world.irq) & 1 << self.me != 0 {
            return;
        }
        for cell in &self.world.graces {
            let waiting = self.peek(*cell);
            if waiting & 1 << self.me != 0 {
                self.set(*cell, waiting & !(1 << self.me));
            }
        }
    }

    /// Threads in a section now: what a grace period that begins here waits for.
    pub fn rcu_readers(&mut self) -> u8 {
        let rcu = self.get(self.world.rcu);
        rcu | self.get(self.world.irq)
    }

    /// Threads with interrupts off: what an IPI waits for.
    pub fn irqs_off(&mut self) -> u8 {
        self.get(self.world.irq)
    }

    // Tables.

    /// Where a table is in its life.
    pub fn table_state(&mut self, table: Table) -> TableState {
        let cell = self.world.tables[usize::from(table.0)].state;
        TableState::decode(self.get(cell))
    }

    /// Sets where a table is in its life.
    pub fn set_table_state(&mut self, table: Table, state: TableState) {
        let cell = self.world.tables[usize::from(table.0)].state;
        self.set(cell, state as u8);
    }

    /// A table by the number in an entry.
    #[must_use]
    pub fn table(&self, number: u8) -> Table {
        debug_assert!(usize::from(number) < self.world.tables.len(), "an entry points to table {number}");
        Table(number)
    }

    /// Name of a table: A, B, C …
    #[must_use]
    pub fn table_name(&self, table: Table) -> String {
        let name = &self.world.names[usize::from(self.world.tables[usize::from(table.0)].entries.0)];
        name.trim_end_matches("[0]").to_owned()
    }

    /// The lock of a table's entries.
    #[must_use]
    pub fn ptl(&self, table: Table) -> Lock {
        self.world.ptl(table)
    }

    /// Looks at a table: its memory must be there (I-UAF-PT).
    pub fn access(&mut self, table: Table, what: &str) {
        if let Err(broken) = self.table_state(table).access() {
            let why = format!("{what} of table {}, which is freed", self.table_name(table));
            self.violate(broken, why);
        }
    }

    fn entry_cell(&self, slot: Slot) -> Cell {
        let info = &self.world.tables[usize::from(slot.table.0)];
        debug_assert!(slot.index < info.len, "entry {} of a table with {}", slot.index, info.len);
        Cell(info.entries.0 + slot.index)
    }

    /// Reads an entry's byte.
    pub fn read_entry(&mut self, slot: Slot) -> u8 {
        self.access(slot.table, "an entry is read");
        let cell = self.entry_cell(slot);
        self.get(cell)
    }

    /// Writes an entry's byte without any check but I-UAF-PT: upper levels, teardown.
    pub fn write_entry(&mut self, slot: Slot, byte: u8) {
        self.access(slot.table, "an entry is written");
        let cell = self.entry_cell(slot);
        self.set(cell, byte);
    }

    /// Reads a PMD entry.
    pub fn pmd(&mut self, slot: Slot) -> Pmd {
        let pmd = Pmd::decode(self.read_entry(slot));
        if self.log.is_some() {
            let name = self.pmd_name(pmd);
            self.note(|| format!("*pmd = {name}"));
        }
        pmd
    }

    /// Writes a PMD entry; its lock must be held, except in teardown.
    pub fn set_pmd(&mut self, slot: Slot, pmd: Pmd) {
        if self.log.is_some() {
            let name = self.pmd_name(pmd);
            self.note(|| format!("*pmd := {name}"));
        }
        self.write_entry(slot, pmd.encode());
        self.check_promises(|place| place.pmd == slot);
    }

    fn pmd_name(&self, pmd: Pmd) -> String {
        match pmd.map() {
            Some(number) => self.table_name(self.table(number)),
            None => pmd.to_string(),
        }
    }

    /// Reads a PTE.
    pub fn pte(&mut self, slot: Slot) -> Pte {
        let pte = Pte::decode(self.read_entry(slot));
        let name = self.log.is_some().then(|| self.table_name(slot.table));
        self.note(|| format!("{}[{}] = {pte}", name.unwrap_or_default(), slot.index));
        pte
    }

    /// Writes a PTE: the table must be linked and its PTL held (I-LOST, I-WLOCK), and an
    /// empty entry is filled only under mmap_lock or VMA lock (I-FILL).
    pub fn set_pte(&mut self, slot: Slot, pte: Pte) {
        let state = self.table_state(slot.table);
        let locked = self.holds(self.ptl(slot.table)).is_some();
        if let Err(broken) = state.write(locked, false) {
            let name = self.table_name(slot.table);
            let why = match broken {
                Invariant::UafPt => format!("{pte} is written into table {name}, which is freed"),
                Invariant::Lost => format!("{pte} is written into table {name}, which is no longer linked: it is lost"),
                _ => format!("{pte} is written into table {name} without its PTL"),
            };
            self.violate(broken, why);
        }
        let cell = self.entry_cell(slot);
        let fill = &self.world.tables[usize::from(slot.table.0)].fill;
        if !fill.is_empty()
            && !pte.is_none()
            && Pte::decode(self.get(cell)).is_none()
            && !fill.iter().any(|lock| self.holds(*lock).is_some())
        {
            self.violate(Invariant::Fill, "an empty entry is filled with neither mmap_lock nor VMA lock held");
        }
        let name = self.log.is_some().then(|| self.table_name(slot.table));
        self.note(|| format!("{}[{}] := {pte}", name.unwrap_or_default(), slot.index));
        self.set(cell, pte.encode());
        self.check_promises(|place| place.index == slot.index);
    }

    /// Clears a PTE of a table that this thread has unlinked: its own business.
    pub fn clear_own(&mut self, slot: Slot) {
        self.write_entry(slot, 0);
    }

    /// Entries of a table.
    #[must_use]
    pub fn entries(&self, table: Table) -> u8 {
        self.world.tables[usize::from(table.0)].len
    }

    /// Whether every entry is none.
    pub fn all_none(&mut self, table: Table) -> bool {
        (0..self.entries(table)).all(|index| self.read_entry(Slot { table, index }) == 0)
    }

    /// Takes the table that `slot` points to out of the tree: I-UNLINK, I-EMPTY, and I-BADPMD
    /// when there is none. Returns it.
    pub fn unlink(&mut self, slot: Slot, by: Unlinker) -> Option<Table> {
        let Some(number) = self.pmd(slot).map() else {
            self.violate(Invariant::BadPmd, "a table is to be unlinked, and the PMD does not point to one");
            return None;
        };
        let table = self.table(number);
        self.access(table, "the unlinking");
        let occupied = (0..self.entries(table))
            .any(|index| !matches!(Pte::decode(self.read_entry(Slot { table, index })), Pte::None | Pte::Marker(_)));
        if let Err(broken) = by.may(occupied) {
            let name = self.table_name(table);
            let why = match broken {
                Invariant::Empty => format!("table {name} is unlinked and still maps something"),
                _ => format!("table {name} is unlinked without the locks for it"),
            };
            self.violate(broken, why);
        }
        self.set_pmd(slot, Pmd::None);
        self.set_table_state(table, TableState::Unlinked);
        Some(table)
    }

    /// `pte_free_defer()`, `tlb_remove_table()` with RCU: freed after a grace period.
    pub fn free_rcu(&mut self, table: Table) {
        let readers = self.rcu_readers();
        let info = &self.world.tables[usize::from(table.0)];
        self.set(info.grace, readers);
        self.set_table_state(table, TableState::Pending);
    }

    /// Frees a table at once, contents and all.
    pub fn free_now(&mut self, table: Table) {
        let info = &self.world.tables[usize::from(table.0)];
        self.set(info.state, TableState::Freed as u8);
        for i in 0..info.len {
            self.set(Cell(info.entries.0 + i), 0);
        }
    }

    /// Whether the readers that a table's freeing waits for are gone.
    pub fn grace_over(&mut self, table: Table) -> bool {
        let info = &self.world.tables[usize::from(table.0)];
        self.get(info.state) == TableState::Pending as u8 && self.get(info.grace) == 0
    }

    /// The grace period of a table that waits for one is over: frees it. `false` if it is not, or none is waited for.
    pub fn grace_period(&mut self, table: Table) -> bool {
        let over = self.grace_over(table);
        if over {
            self.free_now(table);
        }
        over
    }

    /// Tables of this world.
    #[must_use]
    pub fn tables(&self) -> u8 {
        self.world.tables.len() as u8
    }
}
