//! Page tables that are allocated (mm/memory.c: `__pte_alloc`, `pmd_install`).

use mmtrace_model::model::{
    locks::exclusion::Mode,
    page_tables::{entry::Pmd, lifecycle::TableState},
};

use super::{Flow, Lock, Program, Slot, Table, World, kernel::Kernel};

/// *Sometimes*: a table was put where there was none.
pub(crate) const NEW_TABLE: u8 = 2;

/// Tables that one thread may allocate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fresh {
    first: u8,
    count: u8,
}

impl Fresh {
    /// Adds a table for each name. Their empty entries are filled only under one of these locks.
    pub(crate) fn new(w: &mut World, names: &[&str], entries: u8, fill: &[Lock]) -> Self {
        let first = w.table_count();
        for name in names {
            let table = w.table(name, entries, TableState::Free);
            w.fill_locks(table, fill);
        }
        Self { first, count: names.len() as u8 }
    }

    fn find(self, k: &mut Kernel<'_>, state: TableState) -> Option<Table> {
        (self.first..self.first + self.count).map(Table).find(|t| k.table_state(*t) == state)
    }
}

/// `pte_alloc()`: makes sure that there is something under this PMD entry.
pub(crate) fn pte_alloc(p: &mut Program, pmd: Slot, pml: Lock, fresh: Fresh) {
    let done = p.label();
    p.branch("pte_alloc(mm, pmd): if (pmd_none(*pmd))", done, move |k| k.pmd(pmd) != Pmd::None);
    p.function("__pte_alloc", |p| {
        p.step("new = pte_alloc_one(mm)", move |k| {
            let Some(table) = fresh.find(k, TableState::Free) else { return Flow::Block };
            k.set_table_state(table, TableState::New);
            Flow::Next
        });
        let lock = p.lock("pmd_install: ptl = pmd_lock(mm, pmd)", move |k| k.lock(pml, Mode::Write));
        p.run("if (pmd_none(*pmd)) pmd_populate(mm, pmd, *pte)", move |k| {
            let mut installed = false;
            if k.pmd(pmd) == Pmd::None
                && let Some(table) = fresh.find(k, TableState::New)
            {
                k.set_pmd(pmd, Pmd::Table(table.number()));
                k.set_table_state(table, TableState::Linked);
                k.reach(NEW_TABLE);
                installed = true;
            }
            k.say_installed(pmd, installed);
        });
        p.release(lock, "spin_unlock(ptl)", move |k| k.unlock(pml));
        p.run("if (new) pte_free(mm, new)", move |k| {
            if let Some(table) = fresh.find(k, TableState::New) {
                k.set_table_state(table, TableState::Free);
            }
        });
    });
    p.bind(done);
}
