//! A hugetlb fault: it shares a PMD table or allocates one, maps a page, or waits for one that migrates (mm/hugetlb.c,
//! mm/migrate.c; 6.12 and 7.2).

use mmtrace_common::Kind;
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Mode,
    page_tables::{entry::Pte, lifecycle::TableState},
};

use super::{HugeVma, Pool, Sharing, first, huge_pte_lock, huge_pte_unlock, hugetlb_walk, show, vma_lock, vma_unlock};
use crate::protocol::{
    Flow, Guard, Local, Lock, Program, Table,
    migrate::wait_is_for,
    mm::{Mm, drop, mmap_read_lock, mmap_read_unlock, take},
};

/// The VMA with which a fault can share a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partner {
    /// The other VMA.
    pub(crate) vma: HugeVma,
    /// `page_table_shareable()` asks for its vma_lock.
    pub(crate) needs_lock: bool,
    /// The mm's `page_table_lock`.
    pub(crate) page_table_lock: Lock,
    /// The table that `pmd_alloc()` makes otherwise.
    pub(crate) fresh: Table,
}

/// The moment at which a fault that waits for a migrating huge page drops the hugetlb lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// As merged: the hugetlb lock is dropped with the table's lock held.
    DropUnderPtl,
    /// The hugetlb lock is dropped first.
    DropBeforePtl,
}

/// A hugetlb fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The mm, whose mmap_lock is held for read.
    pub(crate) mm: Mm,
    /// The VMA.
    pub(crate) vma: HugeVma,
    /// The file.
    pub(crate) sharing: Sharing,
    /// The mutex of the file's index.
    pub(crate) mutex: Lock,
    /// The VMA with which a table can be shared, if there is none.
    pub(crate) partner: Option<Partner>,
    /// The pool that huge pages come from; `None`: they come from the page cache.
    pub(crate) pool: Option<Pool>,
    /// The moment at which it drops the hugetlb lock to wait for a migrating huge page, and the folio's lock.
    pub(crate) wait: Option<(Wait, Lock)>,
    /// The *sometimes* properties that it reaches, by number: a page is mapped; it waits for a page that migrates; it
    /// shares a table.
    pub(crate) shows: [Option<u8>; 3],
}

/// `hugetlb_fault()`.
pub(crate) fn hugetlb_fault(p: &mut Program, f: Fault) {
    let v = f.vma;
    p.function("hugetlb_fault", |p| {
        let mmap = mmap_read_lock(p, f.mm);
        let (ptep, orig) = (p.local("vmf.pte", 0), p.local("vmf.orig_pte", 0));
        let (out, unmap, no_page) = (p.label(), p.label(), p.label());
        p.branch("vma = find_vma(mm, address): none", out, move |k| !v.find(k, f.mm));
        let mutex = take(p, "mutex_lock(&hugetlb_fault_mutex_table[hash])", f.mutex, Mode::Write);
        let lock = vma_lock(p, v, Mode::Read);
        p.function("huge_pte_alloc", |p| {
            let (have, share) = (p.label(), p.label());
            if let Some(partner) = f.partner {
                hugetlb_walk(p, "pmd_offset(pud)", v, ptep, share);
                p.goto("pte = pmd_alloc(mm, pud, addr)", have);
                p.bind(share);
                huge_pmd_share(p, f, partner, ptep);
            } else {
                // Without a table the fault would allocate one and have nothing to wait for.
                hugetlb_walk(p, "pte = pmd_alloc(mm, pud)", v, ptep, unmap);
            }
            p.bind(have);
        });
        p.step("vmf.orig_pte = huge_ptep_get(mm, vmf.address, vmf.pte)", move |k| {
            let pte = k.pte(first(k, ptep));
            k.set_local(orig, pte.encode());
            match pte {
                Pte::None => Flow::Goto(no_page),
                Pte::Migration { .. } if f.wait.is_some() => Flow::Next,
                _ => Flow::Goto(unmap),
            }
        });
        if let Some((wait, folio)) = f.wait {
            p.release(mutex, "mutex_unlock(&hugetlb_fault_mutex_table[hash])", move |k| {
                k.unlock(f.mutex);
                // No step can come between the two.
                k.say_hugetlb(Kind::MigrationEntryWaitHuge, v, None);
            });
            migration_entry_wait_huge(p, f, wait, folio, ptep, lock);
            p.goto("return 0", out);
        }
        p.bind(no_page);
        p.function("hugetlb_no_page", |p| no_page_steps(p, f, ptep, orig));
        p.bind(unmap);
        vma_unlock(p, v, Mode::Read, lock);
        drop(p, "mutex_unlock(&hugetlb_fault_mutex_table[hash])", f.mutex, mutex);
        p.bind(out);
        mmap_read_unlock(p, f.mm, mmap);
    });
}

fn no_page_steps(p: &mut Program, f: Fault, ptep: Local, orig: Local) {
    if let Some(pool) = f.pool {
        p.run("folio = alloc_hugetlb_folio(vma, vmf->address, 0)", move |k| {
            let free = k.get(pool.free);
            if free == 0 {
                let why = if k.get(pool.batch) == 0 {
                    "the pool is empty although a page is reserved: another fault has it; SIGBUS"
                } else {
                    "the pool is empty although a page is reserved: it is unmapped and not freed yet; SIGBUS"
                };
                k.violate(Invariant::Pool, why);
            }
            k.set(pool.free, free.saturating_sub(1));
        });
    }
    let ptl = huge_pte_lock(p, "vmf->ptl = huge_pte_lock(h, mm, vmf->pte)", ptep);
    let backout = p.label();
    p.recheck("pte_same(huge_ptep_get(mm, vmf->address, vmf->pte), vmf->orig_pte)", backout, move |k| {
        k.pte(first(k, ptep)).encode() == k.local(orig)
    });
    p.run("set_huge_pte_at(mm, vmf->address, vmf->pte, new_pte)", move |k| {
        show(k, f.shows[0]);
        k.set_pte(first(k, ptep), Pte::present(1));
    });
    p.bind(backout);
    huge_pte_unlock(p, ptep, ptl);
}

/// `huge_pmd_share()`: uses another VMA's table, or allocates one.
fn huge_pmd_share(p: &mut Program, f: Fault, partner: Partner, ptep: Local) {
    let (v, s, b) = (f.vma, f.sharing, partner.vma);
    p.function("huge_pmd_share", |p| {
        let (alone, out) = (p.label(), p.label());
        let immap = take(p, "i_mmap_lock_read(mapping)", s.i_mmap, Mode::Read);
        p.step(format!("vma_interval_tree_foreach({})", b.name), move |k| {
            if b.is_in_rmap(k, s) { Flow::Next } else { Flow::Goto(alone) }
        });
        if partner.needs_lock {
            p.recheck(format!("page_table_shareable(): {}->vm_private_data", b.name), alone, move |k| {
                k.get(b.private_data) != 0
            });
        }
        hugetlb_walk(p, "spte = hugetlb_walk", b, ptep, alone);
        p.run("ptdesc_pmd_pts_inc(spte)", move |k| {
            k.access(s.table, "the share count is written");
            let count = k.get(s.count);
            k.set(s.count, count + 1);
        });
        let lock = take(p, "spin_lock(&mm->page_table_lock)", partner.page_table_lock, Mode::Write);
        p.run("pud_none(*pud): pud_populate(mm, pud, spte & PAGE_MASK)", move |k| {
            let locked = k.holds(partner.page_table_lock).is_some();
            k.require(locked, Invariant::Wlock, "a PUD entry is set without page_table_lock");
            if k.get(v.pud) == 0 {
                show(k, f.shows[2]);
                v.set_table(k, Some(k.table(k.local(ptep))));
            } else {
                let count = k.get(s.count);
                k.set(s.count, count - 1);
            }
        });
        drop(p, "spin_unlock(&mm->page_table_lock)", partner.page_table_lock, lock);
        p.goto("pte = pmd_alloc(mm, pud, addr)", out);
        p.bind(alone);
        p.run("pte = pmd_alloc(mm, pud, addr), a new table", move |k| {
            k.set_table_state(partner.fresh, TableState::Linked);
            v.set_table(k, Some(partner.fresh));
            k.set_local(ptep, partner.fresh.number());
        });
        p.bind(out);
        drop(p, "i_mmap_unlock_read(mapping)", s.i_mmap, immap);
    });
}

/// `migration_entry_wait_huge()`: the caller's hugetlb lock is dropped here.
fn migration_entry_wait_huge(p: &mut Program, f: Fault, wait: Wait, folio: Lock, ptep: Local, lock: Guard) {
    p.function("migration_entry_wait_huge", |p| {
        let (other, done) = (p.label(), p.label());
        if wait == Wait::DropBeforePtl {
            vma_unlock(p, f.vma, Mode::Read, lock);
        }
        let ptl = huge_pte_lock(p, "spin_lock(ptl)", ptep);
        p.step("is_hugetlb_entry_migration(huge_ptep_get(ptep))", move |k| {
            if matches!(k.pte(first(k, ptep)), Pte::Migration { .. }) { Flow::Next } else { Flow::Goto(other) }
        });
        if wait == Wait::DropUnderPtl {
            vma_unlock(p, f.vma, Mode::Read, lock);
        }
        p.function("migration_entry_wait_on_locked", |p| {
            p.run("__add_wait_queue_entry_tail(q, wait)", move |k| {
                let now = k.read_entry(first(k, ptep));
                k.say(Kind::MigrationEntryWaitOnLocked);
                wait_is_for(k, Pte::decode(now));
            });
            huge_pte_unlock(p, ptep, ptl);
            p.step("io_schedule() until the folio is unlocked", move |k| {
                if k.readers(folio) != 0 {
                    return Flow::Block;
                }
                show(k, f.shows[1]);
                Flow::Goto(done)
            });
        });
        p.bind(other);
        huge_pte_unlock(p, ptep, ptl);
        if wait == Wait::DropUnderPtl {
            vma_unlock(p, f.vma, Mode::Read, lock);
        }
        p.bind(done);
    });
}

/// The end of a migration: `remove_migration_ptes()` and `folio_unlock()`. The thread has
/// the folio locked from the beginning.
pub(crate) fn finish_migration(p: &mut Program, vmas: &[HugeVma], s: Sharing, folio: Lock) {
    p.function("remove_migration_ptes", |p| {
        let immap = take(p, "i_mmap_lock_read(mapping)", s.i_mmap, Mode::Read);
        let ptep = p.local("pvmw.pte", 0);
        for v in vmas.iter().copied() {
            let next = p.label();
            p.step(format!("vma_interval_tree_foreach({})", v.name), move |k| {
                if v.is_in_rmap(k, s) { Flow::Next } else { Flow::Goto(next) }
            });
            hugetlb_walk(p, "pvmw->pte = hugetlb_walk", v, ptep, next);
            let ptl = huge_pte_lock(p, "pvmw->ptl = huge_pte_lock(hstate, mm, pvmw->pte)", ptep);
            p.run("set_huge_pte_at(vma->vm_mm, pvmw.address, pvmw.pte, pte)", move |k| {
                let slot = first(k, ptep);
                if matches!(k.pte(slot), Pte::Migration { .. }) {
                    k.set_pte(slot, Pte::present(1));
                }
            });
            huge_pte_unlock(p, ptep, ptl);
            p.bind(next);
        }
        drop(p, "i_mmap_unlock_read(mapping)", s.i_mmap, immap);
    });
    p.function("unmap_and_move_huge_page", |p| p.run("folio_unlock(src)", move |k| k.unlock(folio)));
}
