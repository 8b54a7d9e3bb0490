//! The removal of hugetlb mappings: unsharing by an rmap walk, munmap, truncation, MADV_DONTNEED
//! (mm/hugetlb.c, mm/rmap.c, fs/hugetlbfs/inode.c; 6.12 and 7.2).

use mmtrace_common::Kind;
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Mode,
    page_tables::{entry::Pte, lifecycle::TableState},
};

use super::{
    HugeVma, Pool, Serial, Sharing, first, huge_pte_lock, huge_pte_unlock, hugetlb_walk, show, vma_lock,
    vma_trylock_write, vma_unlock, vma_unlock_tried,
};
use crate::protocol::{
    Flow, Guard, Kernel, Label, Program, Protection, Slot,
    mm::{Mm, drop, mmap_read_lock, mmap_read_unlock, mmap_write_downgrade, mmap_write_lock, mmap_write_unlock, take},
};

/// `huge_pmd_unshare()`: clears this VMA's PUD entry if the table has other users, or goes to `last`. The caller holds the
/// table's lock.
fn huge_pmd_unshare(p: &mut Program, v: HugeVma, s: Sharing, last: Label) {
    unshare(p, v, s, last, false);
}

/// With `rmap`, by an rmap walk; other callers do not pass through the symbol.
fn unshare(p: &mut Program, v: HugeVma, s: Sharing, last: Label, rmap: bool) {
    p.function("huge_pmd_unshare", |p| {
        p.branch("!ptdesc_pmd_pts_count(ptep)", last, move |k| {
            if rmap {
                k.say_hugetlb(Kind::HugePmdUnshare, v, None);
            }
            k.access(s.table, "the share count is read");
            assert_locked(k, v, s);
            k.get(s.count) == 0
        });
        p.run(format!("pud_clear(pud({}))", v.name), move |k| v.set_table(k, None));
        if s.sync {
            let wait = "tlb_remove_table_sync_one(): every CPU has answered";
            if p.protect(Protection::Wait, wait).is_active() {
                p.step(wait, |k| if k.irqs_off() == 0 { Flow::Next } else { Flow::Block });
            }
        }
        p.run("ptdesc_pmd_pts_dec(ptep)", move |k| {
            k.access(s.table, "the share count is written");
            let count = k.get(s.count);
            k.require(count != 0, Invariant::Share, "the share count falls below none");
            k.set(s.count, count.saturating_sub(1));
        });
    });
}

/// Checks the locks that `huge_pmd_unshare()` asserts and asks for in its comment (I-WLOCK).
fn assert_locked(k: &mut Kernel<'_>, v: HugeVma, s: Sharing) {
    let by_vma = match v.lock {
        Serial::Shareable(lock) if k.get(v.private_data) != 0 => k.holds(lock.sem).is_some(),
        _ => true,
    };
    let missing = [
        (k.holds(s.i_mmap) == Some(Mode::Write), "i_mmap_rwsem held for write"),
        (by_vma, "the VMA's hugetlb lock"),
        (k.holds(k.ptl(s.table)).is_some(), "the lock of the table"),
    ];
    for (held, what) in missing {
        k.require(held, Invariant::Wlock, &format!("a PUD entry is taken away without {what}"));
    }
}

/// `try_to_migrate()` of a page of the shared table, in one VMA: unshares the table if the trylock of the VMA's lock succeeds.
/// Reaches: the lock is busy; the entry is cleared.
pub(crate) fn rmap_unshare(p: &mut Program, v: HugeVma, s: Sharing, shows: [Option<u8>; 2]) {
    let (done, unlock, ptep) = (p.label(), p.label(), p.local("pvmw.pte", 0));
    p.function("try_to_migrate", |p| {
        let immap = take(p, "i_mmap_lock_write(mapping)", s.i_mmap, Mode::Write);
        p.step(format!("vma_interval_tree_foreach({})", v.name), move |k| {
            if v.is_in_rmap(k, s) { Flow::Next } else { Flow::Goto(done) }
        });
        let ptl = p.function("page_vma_mapped_walk", |p| {
            hugetlb_walk(p, "pvmw->pte = hugetlb_walk", v, ptep, done);
            huge_pte_lock(p, "pvmw->ptl = huge_pte_lock(hstate, mm, pvmw->pte)", ptep)
        });
        p.function("try_to_migrate_one", |p| {
            let (busy, after, last) = (p.label(), p.label(), p.label());
            let tried = vma_trylock_write(p, v, busy);
            unshare(p, v, s, last, true);
            p.run("flush_tlb_range(vma, range.start, range.end)", move |k| show(k, shows[1]));
            p.bind(last);
            vma_unlock_tried(p, v, tried);
            p.goto("page_vma_mapped_walk_done(&pvmw)", after);
            p.bind(busy);
            p.run("ret = false", move |k| show(k, shows[0]));
            p.bind(after);
        });
        p.bind(unlock);
        huge_pte_unlock(p, ptep, ptl);
        p.bind(done);
        drop(p, "i_mmap_unlock_write(mapping)", s.i_mmap, immap);
    });
}

/// The moment at which the last unmap of a VMA frees its vma_lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockFree {
    /// Before i_mmap_rwsem is released, as merged.
    BeforeImmap,
    /// After.
    AfterImmap,
}

/// `__hugetlb_vma_unlock_write_put()`.
fn vma_unlock_write_free(p: &mut Program, v: HugeVma, guard: Guard) {
    let Serial::Shareable(lock) = v.lock else { return };
    p.function("__hugetlb_vma_unlock_write_put", |p| {
        p.run(format!("vma_lock->vma = NULL; {}->vm_private_data = NULL", v.name), move |k| {
            // The enclosing function took it.
            k.say_hugetlb(Kind::HugetlbZapEnd, v, None);
            k.set(lock.vma, 0);
            k.set(v.private_data, 0);
        });
        p.release(guard, "up_write(&vma_lock->rw_sema)", move |k| {
            lock.access(k, "rw_sema");
            k.unlock(lock.sem);
        });
        p.run("kref_put(&vma_lock->refs, hugetlb_vma_lock_release)", move |k| lock.put(k));
    });
}

/// `unmap_single_vma()` of a hugetlb VMA that is unmapped: `__hugetlb_zap_begin()`,
/// `__unmap_hugepage_range()`, `__hugetlb_zap_end()` with `ZAP_FLAG_UNMAP`.
fn zap_final(p: &mut Program, v: HugeVma, s: Sharing, order: LockFree) {
    let (lock, immap) = p.function("__hugetlb_zap_begin", |p| {
        let lock = vma_lock(p, v, Mode::Write);
        (lock, take(p, "i_mmap_lock_write(mapping)", s.i_mmap, Mode::Write))
    });
    unmap_hugepage_range(p, v, s);
    p.function("__hugetlb_zap_end", |p| {
        if order == LockFree::BeforeImmap {
            vma_unlock_write_free(p, v, lock);
        }
        drop(p, "i_mmap_unlock_write(mapping)", s.i_mmap, immap);
        if order == LockFree::AfterImmap {
            vma_unlock_write_free(p, v, lock);
        }
    });
}

/// `__unmap_hugepage_range()`: unshares, or clears the entries.
fn unmap_hugepage_range(p: &mut Program, v: HugeVma, s: Sharing) {
    p.function("__unmap_hugepage_range", |p| {
        let (done, last, unlock, ptep) = (p.label(), p.label(), p.label(), p.local("ptep", 0));
        hugetlb_walk(p, "ptep = hugetlb_walk", v, ptep, done);
        let ptl = huge_pte_lock(p, "ptl = huge_pte_lock(h, mm, ptep)", ptep);
        huge_pmd_unshare(p, v, s, last);
        p.goto("tlb_flush_pmd_range(tlb, address & PUD_MASK, PUD_SIZE)", unlock);
        p.bind(last);
        p.run("huge_ptep_get_and_clear(mm, address, ptep)", move |k| {
            let slot = first(k, ptep);
            if !k.pte(slot).is_none() {
                k.set_pte(slot, Pte::None);
            }
        });
        p.bind(unlock);
        huge_pte_unlock(p, ptep, ptl);
        p.bind(done);
    });
}

/// A munmap of a hugetlb VMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Munmap {
    /// The mm.
    pub(crate) mm: Mm,
    /// The VMA that is unmapped.
    pub(crate) vma: HugeVma,
    /// Its file.
    pub(crate) sharing: Sharing,
    /// The moment at which its vma_lock is freed.
    pub(crate) order: LockFree,
    /// The *sometimes* property that it reaches, by number: the table is freed.
    pub(crate) shows: u8,
}

/// `do_vmi_munmap()` of a whole hugetlb VMA.
pub(crate) fn munmap(p: &mut Program, m: Munmap) {
    let Munmap { mm, vma: v, sharing: s, order, shows } = m;
    p.function("do_vmi_munmap", |p| {
        let mmap = mmap_write_lock(p, mm);
        p.run("vma_iter_clear_gfp(&vmi)", move |k| {
            k.needs_write(mm.mmap_lock, "the tree of VMAs is changed");
            k.set(v.in_tree, 0);
        });
        mmap_write_downgrade(p, mm, mmap);
        zap_final(p, v, s, order);
        unlink_file_vma(p, v, s);
        p.function("hugetlb_free_pgd_range", |p| {
            p.run(format!("pud_clear(pud({})); pmd_free_tlb(tlb, pmd, start)", v.name), move |k| {
                let Some(table) = v.table(k) else { return };
                v.set_table(k, None);
                k.access(table, "the freeing");
                if table == s.table {
                    let (users, count) = (s.entries(|pud| k.get(pud)), k.get(s.count));
                    if users != 0 || count != 0 {
                        k.violate(
                            Invariant::Share,
                            "a PMD table is freed with this PUD entry, and another PUD entry points to it",
                        );
                    }
                }
                if !k.all_none(table) {
                    k.violate(Invariant::Leak, "a PMD table is freed with a huge page in it");
                }
                k.reach(shows);
                k.set_table_state(table, TableState::Unlinked);
                k.free_rcu(table);
            });
        });
        p.run(format!("vm_area_free({})", v.name), move |k| k.set(v.freed, 1));
        mmap_read_unlock(p, mm, mmap);
    });
}

fn unlink_file_vma(p: &mut Program, v: HugeVma, s: Sharing) {
    p.function("unlink_file_vma", |p| {
        let immap = take(p, "i_mmap_lock_write(mapping)", s.i_mmap, Mode::Write);
        p.run(format!("vma_interval_tree_remove({})", v.name), move |k| {
            k.needs_write(s.i_mmap, "the rmap tree is changed");
            k.set(v.in_rmap, 0);
        });
        drop(p, "i_mmap_unlock_write(mapping)", s.i_mmap, immap);
    });
}

/// munmap of a hugetlb VMA whose table stays, because its mm has other VMAs there, then a fault in an anonymous VMA that is
/// mapped in its place. Reaches: the fault uses the table.
pub(crate) fn munmap_and_reuse(p: &mut Program, m: Munmap) {
    let Munmap { mm, vma: v, sharing: s, order, shows } = m;
    p.function("do_vmi_munmap", |p| {
        let mmap = mmap_write_lock(p, mm);
        zap_final(p, v, s, order);
        unlink_file_vma(p, v, s);
        mmap_write_unlock(p, mm, mmap);
    });
    let again = p.function("do_user_addr_fault", |p| mmap_read_lock(p, mm));
    p.function("do_huge_pmd_anonymous_page", |p| {
        let out = p.label();
        p.branch(format!("*pud({}) points to another table", v.name), out, move |k| v.table(k) != Some(s.table));
        let ptl = p.lock("vmf->ptl = pmd_lock(vma->vm_mm, vmf->pmd)", move |k| k.lock(k.ptl(s.table), Mode::Write));
        p.run("set_pmd_at(vma->vm_mm, haddr, vmf->pmd, entry)", move |k| {
            k.reach(shows);
            k.set_pte(Slot { table: s.table, index: 0 }, Pte::present(2));
        });
        p.release(ptl, "spin_unlock(vmf->ptl)", move |k| k.unlock(k.ptl(s.table)));
        p.bind(out);
    });
    p.function("do_user_addr_fault", |p| mmap_read_unlock(p, mm, again));
}

/// `hugetlb_vmdelete_list()`: truncation of the file. It looks at every VMA of the interval
/// tree, whether something is mapped there or not. Reaches: a VMA has a lock; a VMA has none.
pub(crate) fn vmdelete_list(p: &mut Program, v: HugeVma, s: Sharing, shows: [u8; 2]) {
    p.function("hugetlb_vmdelete_list", |p| {
        let done = p.label();
        let immap = take(p, "i_mmap_lock_write(mapping)", s.i_mmap, Mode::Write);
        p.step(format!("vma_interval_tree_foreach({})", v.name), move |k| {
            if v.is_in_rmap(k, s) { Flow::Next } else { Flow::Goto(done) }
        });
        let tried = vma_trylock_write(p, v, done);
        p.run("hugetlb_vma_trylock_write() succeeded", move |k| {
            k.reach(if k.local(tried.1) != 0 { shows[0] } else { shows[1] });
        });
        unmap_hugepage_range(p, v, s);
        vma_unlock_tried(p, v, tried);
        p.bind(done);
        drop(p, "i_mmap_unlock_write(mapping)", s.i_mmap, immap);
    });
}

/// The protections of a hole punch against the freeing of the vma_lock that it waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Punch {
    /// It takes a reference.
    pub(crate) reference: bool,
    /// It tests whether the lock still belongs to a VMA.
    pub(crate) look_again: bool,
}

/// `hugetlb_unmap_file_folio()`: punches a hole. It holds i_mmap_rwsem, and so can only try the
/// VMA's lock; if that is busy it takes both in order, and the VMA can be gone by then. Reaches: it waits for the lock, and
/// the VMA is there; it waits, and the VMA is gone.
pub(crate) fn unmap_file_folio(p: &mut Program, v: HugeVma, s: Sharing, punch: Punch, shows: [u8; 2]) {
    let Serial::Shareable(lock) = v.lock else { return };
    p.function("hugetlb_unmap_file_folio", |p| {
        let (done, busy, gone) = (p.label(), p.label(), p.label());
        let immap = take(p, "i_mmap_lock_write(mapping)", s.i_mmap, Mode::Write);
        let retry = p.mark();
        p.step(format!("vma_interval_tree_foreach({})", v.name), move |k| {
            if v.is_in_rmap(k, s) { Flow::Next } else { Flow::Goto(done) }
        });
        p.step(format!("hugetlb_vma_maps_page({})", v.name), move |k| {
            let Some(table) = v.table(k) else { return Flow::Goto(done) };
            if k.pte(Slot { table, index: 0 }).is_none() { Flow::Goto(done) } else { Flow::Next }
        });
        let tried = vma_trylock_write(p, v, busy);
        unmap_hugepage_range(p, v, s);
        vma_unlock_tried(p, v, tried);
        p.goto("break", done);
        p.bind(busy);
        if punch.reference {
            p.run("kref_get(&vma_lock->refs)", move |k| {
                let refs = k.get(lock.refs);
                k.set(lock.refs, refs + 1);
            });
        }
        drop(p, "i_mmap_unlock_write(mapping), before waiting", s.i_mmap, immap);
        let sem = p.lock("down_write(&vma_lock->rw_sema)", move |k| {
            lock.access(k, "rw_sema");
            k.lock(lock.sem, Mode::Write)
        });
        p.step("i_mmap_lock_write(mapping), in order", move |k| {
            if !immap.is_active() || k.lock(s.i_mmap, Mode::Write) { Flow::Next } else { Flow::Block }
        });
        if punch.look_again {
            p.recheck("vma = vma_lock->vma, none: retry", gone, move |k| {
                lock.access(k, "vma");
                k.get(lock.vma) != 0
            });
        }
        unmap_hugepage_range(p, v, s);
        let put = move |k: &mut Kernel<'_>, shown: u8| {
            k.reach(shown);
            if punch.reference {
                lock.put(k);
            }
        };
        let up = move |k: &mut Kernel<'_>| {
            lock.access(k, "rw_sema");
            k.unlock(lock.sem);
        };
        p.run("kref_put(&vma_lock->refs, hugetlb_vma_lock_release)", move |k| put(k, shows[0]));
        p.release(sem, format!("hugetlb_vma_unlock_write({})", v.name), up);
        p.goto("goto retry", retry);
        p.bind(gone);
        p.release(sem, "up_write(&vma_lock->rw_sema)", up);
        p.run("kref_put(&vma_lock->refs, hugetlb_vma_lock_release)", move |k| put(k, shows[1]));
        p.goto("goto retry", retry);
        p.bind(done);
        drop(p, "i_mmap_unlock_write(mapping)", s.i_mmap, immap);
    });
}

/// The moment at which MADV_DONTNEED releases the hugetlb lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZapEnd {
    /// After the batch is freed, as merged.
    AfterFlush,
    /// Before.
    BeforeFlush,
}

/// MADV_DONTNEED of a huge page of a private VMA. Reaches: a page is freed to the pool.
pub(crate) fn zap_private(p: &mut Program, mm: Mm, (v, s): (HugeVma, Sharing), pool: Pool, end: ZapEnd, shows: u8) {
    p.function("zap_page_range_single", |p| {
        let (mmap, gone) = (mmap_read_lock(p, mm), p.label());
        p.branch("vma = find_vma(mm, start): none", gone, move |k| !v.find(k, mm));
        let (lock, immap) = p.function("__hugetlb_zap_begin", |p| {
            let lock = vma_lock(p, v, Mode::Write);
            (lock, take(p, "i_mmap_lock_write(mapping)", s.i_mmap, Mode::Write))
        });
        let zap_end = |p: &mut Program| {
            p.function("__hugetlb_zap_end", |p| {
                vma_unlock(p, v, Mode::Write, lock);
                drop(p, "i_mmap_unlock_write(mapping)", s.i_mmap, immap);
            });
        };
        p.function("__unmap_hugepage_range", |p| {
            let (done, ptep) = (p.label(), p.local("ptep", 0));
            hugetlb_walk(p, "ptep = hugetlb_walk", v, ptep, done);
            let ptl = huge_pte_lock(p, "ptl = huge_pte_lock(h, mm, ptep)", ptep);
            p.run("huge_ptep_get_and_clear(mm, address, ptep); tlb_remove_page_size()", move |k| {
                let slot = first(k, ptep);
                if !k.pte(slot).is_none() {
                    k.set_pte(slot, Pte::None);
                    k.set(pool.batch, 1);
                }
            });
            huge_pte_unlock(p, ptep, ptl);
            p.bind(done);
        });
        if end == ZapEnd::BeforeFlush {
            zap_end(p);
        }
        p.run("tlb_finish_mmu(&tlb)", move |k| {
            let (free, batch) = (k.get(pool.free), k.get(pool.batch));
            if batch != 0 {
                k.reach(shows);
            }
            k.set(pool.free, free + batch);
            k.set(pool.batch, 0);
        });
        if end == ZapEnd::AfterFlush {
            zap_end(p);
        }
        p.bind(gone);
        mmap_read_unlock(p, mm, mmap);
    });
}
