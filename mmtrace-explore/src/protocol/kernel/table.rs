//! Page tables and their entries.

use mmtrace_model::model::{
    invariant::Invariant,
    page_tables::{
        entry::{Pmd, Pte},
        lifecycle::{TableState, Unlinker},
    },
};

use super::Kernel;
use crate::protocol::{Cell, Lock, Slot, Table};

impl Kernel<'_> {
    /// Returns the state of a table.
    pub(crate) fn table_state(&mut self, table: Table) -> TableState {
        let cell = self.protocol.tables[usize::from(table.0)].state;
        TableState::decode(self.get(cell))
    }

    /// Sets the state of a table.
    pub(crate) fn set_table_state(&mut self, table: Table, state: TableState) {
        let cell = self.protocol.tables[usize::from(table.0)].state;
        self.set(cell, state as u8);
    }

    /// Returns the table with the number that an entry has.
    #[must_use]
    pub(crate) fn table(&self, number: u8) -> Table {
        debug_assert!(usize::from(number) < self.protocol.tables.len(), "an entry points to table {number}");
        Table(number)
    }

    /// Returns the name of a table: A, B, C …
    #[must_use]
    pub(crate) fn table_name(&self, table: Table) -> String {
        let name = self.cells.name(self.protocol.tables[usize::from(table.0)].entries);
        name.trim_end_matches("[0]").to_owned()
    }

    /// Returns the lock of a table's entries.
    #[must_use]
    pub(crate) fn ptl(&self, table: Table) -> Lock {
        self.protocol.ptl(table)
    }

    /// Checks that a table is not freed (I-UAF-PT).
    pub(crate) fn access(&mut self, table: Table, what: &str) {
        if let Err(broken) = self.table_state(table).access() {
            let why = format!("{what} of table {}, which is freed", self.table_name(table));
            self.violate(broken, why);
        }
    }

    fn entry_cell(&self, slot: Slot) -> Cell {
        let info = &self.protocol.tables[usize::from(slot.table.0)];
        debug_assert!(slot.index < info.len, "entry {} of a table with {}", slot.index, info.len);
        Cell(info.entries.0 + slot.index)
    }

    /// Reads an entry's byte.
    pub(crate) fn read_entry(&mut self, slot: Slot) -> u8 {
        self.access(slot.table, "an entry is read");
        let cell = self.entry_cell(slot);
        self.get(cell)
    }

    /// Writes an entry's byte without any check but I-UAF-PT: upper levels, teardown.
    pub(crate) fn write_entry(&mut self, slot: Slot, byte: u8) {
        self.access(slot.table, "an entry is written");
        let cell = self.entry_cell(slot);
        self.set(cell, byte);
    }

    /// Reads a PMD entry.
    pub(crate) fn pmd(&mut self, slot: Slot) -> Pmd {
        let pmd = Pmd::decode(self.read_entry(slot));
        if self.is_logged() {
            let name = self.pmd_name(pmd);
            self.note(|| format!("*pmd = {name}"));
        }
        pmd
    }

    /// Writes a PMD entry, and checks that its lock is held (I-WLOCK).
    pub(crate) fn set_pmd(&mut self, slot: Slot, pmd: Pmd) {
        if self.holds(self.ptl(slot.table)).is_none() {
            self.violate(Invariant::Wlock, format!("the PMD is set to {pmd} without its lock"));
        }
        self.store_pmd(slot, pmd);
    }

    fn store_pmd(&mut self, slot: Slot, pmd: Pmd) {
        if self.is_logged() {
            let name = self.pmd_name(pmd);
            self.note(|| format!("*pmd := {name}"));
        }
        self.write_entry(slot, pmd.encode());
        self.check_expected_markers(|place| place.pmd == slot);
    }

    fn pmd_name(&self, pmd: Pmd) -> String {
        match pmd.map() {
            Some(number) => self.table_name(self.table(number)),
            None => pmd.to_string(),
        }
    }

    /// Reads a PTE.
    pub(crate) fn pte(&mut self, slot: Slot) -> Pte {
        let pte = Pte::decode(self.read_entry(slot));
        let name = self.is_logged().then(|| self.table_name(slot.table));
        self.note(|| format!("{}[{}] = {pte}", name.unwrap_or_default(), slot.index));
        pte
    }

    /// Writes a PTE. Checks that the table is linked and its PTL held (I-LOST, I-WLOCK), and that an empty entry is filled
    /// under the mmap_lock or the VMA lock (I-FILL).
    pub(crate) fn set_pte(&mut self, slot: Slot, pte: Pte) {
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
        let fill = &self.protocol.tables[usize::from(slot.table.0)].fill;
        if !fill.is_empty()
            && !pte.is_none()
            && Pte::decode(self.get(cell)).is_none()
            && !fill.iter().any(|lock| self.holds(*lock).is_some())
        {
            self.violate(Invariant::Fill, "an empty entry is filled with neither mmap_lock nor VMA lock held");
        }
        let name = self.is_logged().then(|| self.table_name(slot.table));
        self.note(|| format!("{}[{}] := {pte}", name.unwrap_or_default(), slot.index));
        self.set(cell, pte.encode());
        self.check_expected_markers(|place| place.index == slot.index);
    }

    /// Clears a PTE of a table that this thread has unlinked, which needs no lock.
    pub(crate) fn clear_own(&mut self, slot: Slot) {
        self.write_entry(slot, 0);
    }

    /// Returns how many entries a table has.
    #[must_use]
    pub(crate) fn entries(&self, table: Table) -> u8 {
        self.protocol.tables[usize::from(table.0)].len
    }

    /// Returns whether every entry is none.
    pub(crate) fn all_none(&mut self, table: Table) -> bool {
        (0..self.entries(table)).all(|index| self.read_entry(Slot { table, index }) == 0)
    }

    /// Unlinks the table that `slot` points to, and returns it. Checks I-UNLINK and I-EMPTY, and I-BADPMD if there is no
    /// table.
    pub(crate) fn unlink(&mut self, slot: Slot, by: Unlinker) -> Option<Table> {
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
        self.store_pmd(slot, Pmd::None);
        self.set_table_state(table, TableState::Unlinked);
        Some(table)
    }

    /// `pte_free_defer()`, `tlb_remove_table()` with RCU: frees a table after a grace period.
    pub(crate) fn free_rcu(&mut self, table: Table) {
        let readers = self.rcu_readers();
        let info = &self.protocol.tables[usize::from(table.0)];
        self.set(info.grace, readers);
        self.set_table_state(table, TableState::Pending);
    }

    /// Frees a table and its entries at once.
    pub(crate) fn free_now(&mut self, table: Table) {
        let info = &self.protocol.tables[usize::from(table.0)];
        self.set(info.state, TableState::Freed as u8);
        for i in 0..info.len {
            self.set(Cell(info.entries.0 + i), 0);
        }
    }

    /// Returns whether a table waits to be freed, and its grace period is over.
    pub(crate) fn grace_over(&mut self, table: Table) -> bool {
        let info = &self.protocol.tables[usize::from(table.0)];
        self.get(info.state) == TableState::Pending as u8 && self.get(info.grace) == 0
    }

    /// Frees a table that waits for its grace period, if that is over. Returns whether it is.
    pub(crate) fn grace_period(&mut self, table: Table) -> bool {
        let over = self.grace_over(table);
        if over {
            self.free_now(table);
        }
        over
    }
}
