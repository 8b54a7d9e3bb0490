//! Zapping with page-table reclaim (`CONFIG_PT_RECLAIM`; mm/pt_reclaim.c in 6.14,
//! mm/memory.c in 7.2): MADV_DONTNEED of a whole PMD frees the emptied PTE table.

use mmtrace_common::Kind;
use mmtrace_model::model::{
    locks::exclusion::Mode,
    page_tables::{entry::Pte, lifecycle::Unlinker},
};

use super::{
    Flow, Guard, Lock, Program, Protection, Slot,
    kernel::Kernel,
    unmap::TableFree,
    walk::{Mapped, lock_ptl, pte_offset_map, pte_offset_map_lock, pte_unmap, pte_unmap_unlock, unlock_ptl},
};

/// The way to take the PML while the PTL is held, which is against the lock order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PmlUnderPtl {
    /// By `spin_trylock()`. If the PML is busy, the table is looked at again later.
    Trylock,
    /// By `spin_trylock()` until it succeeds.
    Spin,
    /// By `spin_lock()`.
    Lock,
}

/// A range that is zapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zap {
    /// The PMD entry of the range.
    pub(crate) pmd: Slot,
    /// The PML of that entry.
    pub(crate) pml: Lock,
    /// The way to take the PML if the emptied table is freed as well (`details->reclaim_pt`); `None` if it stays.
    pub(crate) reclaim: Option<PmlUnderPtl>,
    /// The moment at which the emptied table is freed.
    pub(crate) free: TableFree,
    /// Bit of [`Kernel::reach`] for "the table is removed", the PTL held since the zap.
    pub(crate) at_once: u8,
    /// Bit of [`Kernel::reach`] for "the table is removed", after it was looked at again.
    pub(crate) later: u8,
}

/// `zap_pte_range()`, as MADV_DONTNEED calls it.
pub(crate) fn zap_pte_range(p: &mut Program, z: Zap) {
    p.function("zap_pte_range", |p| {
        let (to, out, direct) = (Mapped::new(p), p.label(), p.local("direct_reclaim", 0));
        let locked = pte_offset_map_lock(p, z.pmd, to, out);
        p.run("zap_present_ptes()", move |k| {
            let table = k.table(k.local(to.table));
            for index in 0..k.entries(table) {
                let at = Slot { table, index };
                if !k.pte(at).is_none() {
                    k.set_pte(at, Pte::None);
                }
            }
        });
        if let Some(how) = z.reclaim {
            zap_empty_pte_table(p, z, how, to, direct);
        }
        pte_unmap_unlock(p, locked);
        if z.reclaim.is_some() {
            let (freed, kept) = (p.label(), p.label());
            p.branch("direct_reclaim", freed, move |k| k.local(direct) != 0);
            zap_pte_table_if_empty(p, z, to, kept);
            p.bind(freed);
            p.run("pte_free_tlb(tlb, pmd_pgtable(pmdval), addr)", move |k| {
                let table = k.table(k.local(to.table));
                k.say_freed(Kind::PteFreeTlb, table);
                match z.free {
                    TableFree::Rcu => k.free_rcu(table),
                    TableFree::Immediately => k.free_now(table),
                }
            });
            p.bind(kept);
        }
        p.bind(out);
    });
}

fn unlinker(k: &Kernel<'_>, pml: Lock, ptl: Lock) -> Unlinker {
    Unlinker {
        pml: k.holds(pml).is_some(),
        ptl: k.holds(ptl).is_some(),
        mmap_write: false,
        vma_write: false,
        rmap_write: false,
        torn_down: false,
    }
}

fn pmd_clear(k: &mut Kernel<'_>, z: Zap, to: Mapped, how: u8) {
    let ptl = k.ptl(k.table(k.local(to.table)));
    let by = unlinker(k, z.pml, ptl);
    if let Some(table) = k.unlink(z.pmd, by) {
        k.set_local(to.table, table.number());
        k.reach(how);
    }
}

/// The fast way: the PTL has been held since the entries were cleared.
fn zap_empty_pte_table(p: &mut Program, z: Zap, how: PmlUnderPtl, to: Mapped, direct: super::Local) {
    let busy = p.label();
    p.choice("need_resched(): direct_reclaim = false", 2, move |k| {
        if k.choice() == 0 {
            k.note(|| "no: the PTL is held since the beginning".to_owned());
            Flow::Next
        } else {
            k.note(|| "yes: the PTL is released for a moment".to_owned());
            Flow::Goto(busy)
        }
    });
    p.function("zap_empty_pte_table", |p| {
        let pml: Guard = match how {
            PmlUnderPtl::Lock => p.lock("spin_lock(pml)", move |k| k.lock(z.pml, Mode::Write)),
            PmlUnderPtl::Spin => {
                p.lock("while (!spin_trylock(pml)) cpu_relax()", move |k| k.trylock(z.pml, Mode::Write))
            }
            PmlUnderPtl::Trylock => {
                let guard = p.protect(Protection::Lock, "spin_trylock(pml)");
                if guard.is_active() {
                    p.step("spin_trylock(pml)", move |k| {
                        if k.trylock(z.pml, Mode::Write) { Flow::Next } else { Flow::Goto(busy) }
                    });
                }
                guard
            }
        };
        p.run("*pmdval = pmdp_get(pmd); pmd_clear(pmd)", move |k| {
            pmd_clear(k, z, to, z.at_once);
            k.set_local(direct, 1);
        });
        p.release(pml, "spin_unlock(pml)", move |k| k.unlock(z.pml));
    });
    p.bind(busy);
}

/// The slow way: the table may have been filled again, or be gone.
fn zap_pte_table_if_empty(p: &mut Program, z: Zap, to: Mapped, kept: super::Label) {
    p.function("zap_pte_table_if_empty", |p| {
        let (out, none, done) = (p.label(), p.label(), p.label());
        let pml = p.lock("pml = pmd_lock(mm, pmd)", move |k| k.lock(z.pml, Mode::Write));
        let rcu = p.function("pte_offset_map_rw_nolock", |p| pte_offset_map(p, z.pmd, to, none));
        let ptl = p.function("spin_lock_nested", |p| lock_ptl(p, to));
        p.recheck("pte_none(ptep_get(pte)) of every entry", out, move |k| {
            let table = k.table(k.local(to.table));
            k.all_none(table)
        });
        pte_unmap(p, rcu);
        p.run("pmd_clear(pmd)", move |k| pmd_clear(k, z, to, z.later));
        unlock_ptl(p, to, ptl);
        p.release(pml, "spin_unlock(pml)", move |k| k.unlock(z.pml));
        p.goto("return true", done);
        p.bind(out);
        unlock_ptl(p, to, ptl);
        pte_unmap(p, rcu);
        p.bind(none);
        p.release(pml, "spin_unlock(pml)", move |k| k.unlock(z.pml));
        p.goto("return false", kept);
        p.bind(done);
    });
}
