//! The walk to a PTE table (mm/pgtable-generic.c, 6.5 to 7.2).

use mmtrace_common::Kind;
use mmtrace_model::model::locks::exclusion::Mode;

use super::{Flow, Guard, Label, Local, Program, Slot};

/// The variables of the caller that get what a `pte_offset_map` call returns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    /// The number of the table that was mapped.
    pub(crate) table: Local,
    /// `pmdval`: the PMD entry that it was found by.
    pub(crate) pmdval: Local,
}

impl Mapped {
    /// Adds the variables.
    pub(crate) fn new(p: &mut Program) -> Self {
        Self { table: p.local("pte", 0), pmdval: p.local("pmdval", 0) }
    }
}

/// `__pte_offset_map()`: maps the table that `*pmd` points to, in an RCU section that
/// [`pte_unmap`] ends. Goes to `null` if `*pmd` points to none.
pub(crate) fn pte_offset_map(p: &mut Program, pmd: Slot, to: Mapped, null: Label) -> Guard {
    pte_offset_map_by(p, pmd, to, null, None)
}

/// [`pte_offset_map()`] inside another `pte_offset_map` call, which emits the event.
pub(crate) fn pte_offset_map_by(p: &mut Program, pmd: Slot, to: Mapped, null: Label, by: Option<Kind>) -> Guard {
    let rcu = p.rcu_read_lock();
    read_pmd(p, pmd, to, null, rcu, by);
    rcu
}

fn read_pmd(p: &mut Program, pmd: Slot, to: Mapped, null: Label, rcu: Guard, by: Option<Kind>) {
    p.step("pmdval = pmdp_get_lockless(pmd)", move |k| {
        let pmdval = k.pmd(pmd);
        k.set_local(to.pmdval, pmdval.encode());
        match pmdval.map() {
            Some(table) => {
                k.set_local(to.table, table);
                if let Some(kind) = by {
                    k.say_mapped(kind, pmd, table, pmdval.encode());
                }
                Flow::Next
            }
            None => {
                if rcu.is_active() {
                    k.rcu_read_unlock();
                }
                Flow::Goto(null)
            }
        }
    });
}

/// `pte_unmap()`.
pub(crate) fn pte_unmap(p: &mut Program, rcu: Guard) {
    p.release(rcu, "pte_unmap(pte)", |k| k.rcu_read_unlock());
}

/// The lock and the RCU section of a mapped and locked table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Locked {
    /// The table.
    pub(crate) to: Mapped,
    /// The RCU section.
    pub(crate) rcu: Guard,
    /// The lock.
    pub(crate) ptl: Guard,
}

/// `spin_lock(ptl)` of the mapped table.
pub(crate) fn lock_ptl(p: &mut Program, to: Mapped) -> Guard {
    p.lock("spin_lock(ptl)", move |k| {
        let table = k.table(k.local(to.table));
        k.access(table, "the lock is taken");
        let ptl = k.ptl(table);
        k.lock(ptl, Mode::Write)
    })
}

/// `spin_unlock(ptl)` of the mapped table.
pub(crate) fn unlock_ptl(p: &mut Program, to: Mapped, ptl: Guard) {
    p.release(ptl, "spin_unlock(ptl)", move |k| {
        let table = k.table(k.local(to.table));
        k.access(table, "the lock is released");
        let ptl = k.ptl(table);
        k.unlock(ptl);
    });
}

/// `pte_offset_map_lock()`: maps and locks the table, and begins again if `*pmd` no longer points to it. Goes to `null` if
/// there is no table.
pub(crate) fn pte_offset_map_lock(p: &mut Program, pmd: Slot, to: Mapped, null: Label) -> Locked {
    p.function("pte_offset_map_lock", |p| {
        let again = p.mark();
        let rcu = pte_offset_map(p, pmd, to, null);
        let ptl = lock_ptl(p, to);
        let looked = p.guarded_recheck("pmd_same(pmdval, pmdp_get_lockless(pmd)), else again", again, move |k| {
            let same = k.pmd(pmd).encode() == k.local(to.pmdval);
            if !same {
                let table = k.table(k.local(to.table));
                if ptl.is_active() {
                    k.unlock(k.ptl(table));
                }
                if rcu.is_active() {
                    k.rcu_read_unlock();
                }
            } else if ptl.is_active() {
                k.say_mapped(Kind::PteOffsetMapLock, pmd, k.local(to.table), k.local(to.pmdval));
            }
            same
        });
        if ptl.is_active() && !looked.is_active() {
            p.run("pte is returned as it was found", move |k| {
                k.say_mapped(Kind::PteOffsetMapLock, pmd, k.local(to.table), k.local(to.pmdval));
            });
        }
        Locked { to, rcu, ptl }
    })
}

/// `pte_unmap_unlock()`.
pub(crate) fn pte_unmap_unlock(p: &mut Program, locked: Locked) {
    unlock_ptl(p, locked.to, locked.ptl);
    pte_unmap(p, locked.rcu);
}

/// Returns whether `pmd_same()` holds for the PMD value that the table was mapped by.
pub(crate) fn pmd_same(p: &mut Program, pmd: Slot, to: Mapped, otherwise: Label) {
    p.recheck("pmd_same(pmdval, pmdp_get_lockless(pmd))", otherwise, move |k| {
        k.pmd(pmd).encode() == k.local(to.pmdval)
    });
}
