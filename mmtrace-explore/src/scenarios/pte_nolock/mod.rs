//! `pte_offset_map_{ro,rw}_nolock()`: walking PTE tables that RCU may be freeing.

mod anon_collapse;
mod change_entry;
mod enlarged;
mod fill_entry;
mod pt_reclaim;

use crate::{
    protocol::{
        Flow, Lock, Program, Slot, Table, World,
        pt_reclaim::{PmlUnderPtl, Zap},
        unmap::TableFree,
    },
    scenario::Scenario,
};
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::{Mode, Rank},
    page_tables::{
        entry::{Pmd, Pte},
        lifecycle::{TableState, Unlinker},
    },
};

pub(crate) use enlarged::enlarged;

/// The scenarios, module by module.
pub(super) const SCENARIOS: &[&[Scenario]] =
    &[fill_entry::SCENARIOS, change_entry::SCENARIOS, anon_collapse::SCENARIOS, pt_reclaim::SCENARIOS];

const UNSEEN: &str = "no event shows a write into a page table";

/// A PMD that points to table A.
#[derive(Clone, Copy)]
struct Tables {
    pmd: Slot,
    pml: Lock,
    a: Table,
}

/// The only entry of A.
fn tables(w: &mut World, entry: Pte) -> Tables {
    let pml = w.lock("PML", Some(Rank::PageTableLock));
    let d = w.table_with("D", 1, TableState::Linked, pml);
    let a = w.table("A", 1, TableState::Linked);
    let pmd = Slot { table: d, index: 0 };
    w.entry(pmd, Pmd::Table(a.number()).encode());
    w.entry(Slot { table: a, index: 0 }, entry.encode());
    Tables { pmd, pml, a }
}

/// A table that can be allocated.
fn fresh(w: &mut World, name: &str) -> Table {
    w.table(name, 1, TableState::New)
}

impl Tables {
    /// MADV_DONTNEED of the whole PMD. Reaches 1 and 2 when the table is removed.
    const fn zap(self, reclaim: Option<PmlUnderPtl>) -> Zap {
        Zap { pmd: self.pmd, pml: self.pml, reclaim, free: TableFree::Rcu, at_once: 1, later: 2 }
    }
}

/// `retract_page_tables()` of one VMA, without what it asks of the VMA. `look_again`: the PMD
/// is looked at under PML (7.2).
fn retract(p: &mut Program, t: Tables, look_again: bool, reach: u8) {
    let Tables { pmd, pml, .. } = t;
    p.function("retract_page_tables", |p| {
        let (out, drop_pml, table) = (p.label(), p.label(), p.local("table", 0));
        p.branch("find_pmd_or_thp_or_none(mm, addr, &pmd) != SCAN_SUCCEED", out, move |k| k.pmd(pmd).map().is_none());
        let g = p.lock("pml = pmd_lock(mm, pmd)", move |k| k.lock(pml, Mode::Write));
        if look_again {
            p.recheck("check_pmd_state(pmd) == SCAN_SUCCEED", drop_pml, move |k| k.pmd(pmd).map().is_some());
        }
        p.step("ptl = pte_lockptr(mm, pmd)", move |k| {
            if let Some(number) = k.pmd(pmd).map() {
                k.set_local(table, number);
                return Flow::Next;
            }
            k.violate(Invariant::BadPmd, "the lock of a table is looked up in a PMD that points to none");
            Flow::Goto(drop_pml)
        });
        let mine = move |k: &crate::protocol::Kernel<'_>| k.table(k.local(table));
        let h = p.lock("spin_lock_nested(ptl, SINGLE_DEPTH_NESTING)", move |k| {
            let ptl = k.ptl(mine(k));
            k.lock(ptl, Mode::Write)
        });
        p.run("pgt_pmd = pmdp_collapse_flush(vma, addr, pmd)", move |k| {
            let by = Unlinker {
                pml: k.holds(pml).is_some(),
                ptl: k.holds(k.ptl(mine(k))).is_some(),
                mmap_write: false,
                vma_write: false,
                rmap_write: false,
                torn_down: false,
            };
            k.unlink(pmd, by);
            k.reach(reach);
        });
        p.release(h, "spin_unlock(ptl)", move |k| k.unlock(k.ptl(mine(k))));
        p.release(g, "spin_unlock(pml)", move |k| k.unlock(pml));
        p.run("pte_free_defer(mm, pmd_pgtable(pgt_pmd))", move |k| k.free_rcu(mine(k)));
        p.goto("the next VMA", out);
        p.bind(drop_pml);
        p.release(g, "spin_unlock(pml)", move |k| k.unlock(pml));
        p.bind(out);
    });
}
