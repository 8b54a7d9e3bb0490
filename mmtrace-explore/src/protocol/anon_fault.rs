//! A fault that fills an entry that is none, and allocates the PTE table if there is none (mm/memory.c:
//! `do_anonymous_page()`, `finish_fault()`; 6.12 and 7.2).

use mmtrace_model::model::{
    locks::exclusion::Mode,
    page_tables::{
        entry::{Pmd, Pte},
        lifecycle::TableState,
    },
};

use super::{
    Flow, Label, Lock, Program, Slot, Table,
    kernel::Kernel,
    nolock::set_pte_seen,
    walk::{Mapped, pte_offset_map_lock, pte_unmap_unlock},
};

/// A fault: its address, and what it maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The kernel function that fills the entry.
    pub(crate) function: &'static str,
    /// The PMD entry.
    pub(crate) pmd: Slot,
    /// Its lock.
    pub(crate) pml: Lock,
    /// The entry in the table.
    pub(crate) index: u8,
    /// The page that is mapped.
    pub(crate) page: u8,
    /// The table that the allocator hands out.
    pub(crate) fresh: Table,
    /// Bit of [`Kernel::reach`] for "the entry is filled".
    pub(crate) reach: u8,
}

/// `pte_alloc(mm, pmd)`: goes on when `*pmd` is not none any more.
pub(crate) fn pte_alloc(
    p: &mut Program,
    pmd: Slot,
    pml: Lock,
    fresh: impl Fn(&mut Kernel<'_>) -> Option<Table> + Send + Sync + 'static,
    none: Label,
) {
    let done = p.label();
    p.branch("!pmd_none(*pmd)", done, move |k| k.pmd(pmd) != Pmd::None);
    p.function("pmd_install", |p| {
        let guard = p.lock("ptl = pmd_lock(mm, pmd)", move |k| k.lock(pml, Mode::Write));
        p.step("if (pmd_none(*pmd)) pmd_populate(mm, pmd, *pte)", move |k| {
            let install = k.pmd(pmd) == Pmd::None;
            if install {
                let Some(table) = fresh(k) else {
                    if guard.is_active() {
                        k.unlock(pml);
                    }
                    return Flow::Goto(none);
                };
                k.set_table_state(table, TableState::Linked);
                k.set_pmd(pmd, Pmd::Table(table.number()));
            }
            k.say_installed(pmd, install);
            Flow::Next
        });
        p.release(guard, "spin_unlock(ptl)", move |k| k.unlock(pml));
    });
    p.bind(done);
}

/// The fault, under the lock that the caller holds.
pub(crate) fn fault(p: &mut Program, f: Fault) {
    p.function(f.function, |p| {
        let (to, out, busy) = (Mapped::new(p), p.label(), p.label());
        pte_alloc(p, f.pmd, f.pml, move |_| Some(f.fresh), out);
        let locked = pte_offset_map_lock(p, f.pmd, to, out);
        p.recheck("pte_none(ptep_get(vmf->pte))", busy, move |k| {
            let table = k.table(k.local(to.table));
            k.pte(Slot { table, index: f.index }).is_none()
        });
        p.run("set_pte_at(vma->vm_mm, addr, vmf->pte, entry)", move |k| {
            let table = k.table(k.local(to.table));
            k.reach(f.reach);
            set_pte_seen(k, Slot { table, index: f.index }, 0, Pte::present(f.page));
        });
        p.bind(busy);
        pte_unmap_unlock(p, locked);
        p.bind(out);
    });
}
