//! The operations that race with a speculative fault: munmap, `__vma_adjust()`, mprotect, MADV_DONTNEED, and a flush under
//! the PTL.

use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Mode,
    page_tables::{entry::Pte, lifecycle::TableState},
};

use super::{SpfMm, SpfVma};
use crate::protocol::{
    Flow, Guard, Kernel, Program, Slot, Table,
    mm::{drop, take},
    unmap::TORN_DOWN,
};

fn down_write(p: &mut Program, mm: SpfMm) -> Guard {
    take(p, "down_write(&mm->mmap_sem)", mm.mmap_sem, Mode::Write)
}

/// `up_write(&mm->mmap_sem)`. With `ask`, checks that the sequence is even (I-SEQ).
fn up_write(p: &mut Program, mm: SpfMm, guard: Guard, vmas: &[SpfVma], ask: bool) {
    let vmas = vmas.to_vec();
    p.run("up_write(&mm->mmap_sem)", move |k| {
        for v in &vmas {
            leave(k, *v);
            if ask && k.get(v.freed) == 0 && k.get(v.seq) % 2 != 0 {
                k.violate(Invariant::Seq, format!("vm_sequence of {} is odd and nobody is inside", v.name));
            }
        }
        if guard.is_active() {
            k.unlock(mm.mmap_sem);
        }
    });
}

/// Notes that this thread leaves the write section of the VMA.
fn leave(k: &mut Kernel<'_>, v: SpfVma) {
    let writers = k.get(v.writers);
    k.set(v.writers, writers & !(1 << k.me()));
}

fn step_sequence(k: &mut Kernel<'_>, v: SpfVma) {
    v.access(k, "vm_sequence");
    let seq = k.get(v.seq);
    k.set(v.seq, seq.wrapping_add(1));
    k.note(|| format!("{}->vm_sequence := {}", v.name, seq.wrapping_add(1)));
}

/// `write_seqcount_begin(&vma->vm_sequence)`, later `vm_write_begin()`. It waits for no reader.
fn write_begin(p: &mut Program, v: SpfVma) {
    p.run(format!("write_seqcount_begin(&{}->vm_sequence)", v.name), move |k| {
        let writers = k.get(v.writers);
        k.set(v.writers, writers | 1 << k.me());
        step_sequence(k, v);
    });
}

/// `write_seqcount_end(&vma->vm_sequence)`, later `vm_write_end()`.
fn write_end(p: &mut Program, v: SpfVma) {
    p.run(format!("write_seqcount_end(&{}->vm_sequence)", v.name), move |k| step_sequence(k, v));
}

fn lock_ptl(p: &mut Program, table: Table) -> Guard {
    p.lock("spin_lock(ptl)", move |k| k.lock(k.ptl(table), Mode::Write))
}

fn unlock_ptl(p: &mut Program, table: Table, guard: Guard) {
    p.release(guard, "spin_unlock(ptl)", move |k| k.unlock(k.ptl(table)));
}

/// The entries that are zapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zap {
    /// Every entry.
    All,
    /// This entry.
    One(u8),
}

/// `unmap_page_range()`, with the sequence around it (`q.wrap`) or without.
fn unmap_page_range(p: &mut Program, mm: SpfMm, v: SpfVma, zap: Zap, wrap: bool) {
    p.function("unmap_page_range", |p| {
        if wrap {
            write_begin(p, v);
        }
        p.function("zap_pte_range", |p| {
            let ptl = lock_ptl(p, mm.table);
            p.run("ptep_get_and_clear_full(mm, addr, pte)", move |k| {
                for index in 0..k.entries(mm.table) {
                    let slot = Slot { table: mm.table, index };
                    if (zap == Zap::All || zap == Zap::One(index)) && !k.pte(slot).is_none() {
                        k.set_pte(slot, Pte::None);
                    }
                }
            });
            unlock_ptl(p, mm.table, ptl);
        });
        if wrap {
            write_end(p, v);
        }
    });
}

/// `do_munmap()` of a whole VMA: erased from the tree, zapped, its tables freed when every
/// CPU has answered the flush, and itself freed by SRCU.
pub(crate) fn munmap(p: &mut Program, mm: SpfMm, v: SpfVma, wrap: bool, with_pmd_page: bool) {
    p.function("do_munmap", |p| {
        let sem = down_write(p, mm);
        p.function("detach_vmas_to_be_unmapped", |p| {
            p.run(format!("vma_rb_erase({}, &mm->mm_rb)", v.name), move |k| mm.write(k, v.erased, 1));
        });
        unmap_page_range(p, mm, v, Zap::All, wrap);
        free_pgtables(p, mm, with_pmd_page);
        p.function("remove_vma_list", |p| {
            p.run("call_srcu(&vma_srcu, &vma->vm_rcu, __free_vma)", move |k| free_srcu(k, mm, v));
        });
        up_write(p, mm, sem, &[v], true);
    });
}

fn free_srcu(k: &mut Kernel<'_>, mm: SpfMm, v: SpfVma) {
    let readers = k.get(mm.srcu);
    k.set(v.grace, readers);
    k.set(v.freed, 1);
}

fn free_pgtables(p: &mut Program, mm: SpfMm, with_pmd_page: bool) {
    p.function("free_pgtables", |p| {
        p.run("pmd_clear(pmd); pte_free_tlb(tlb, token, addr)", move |k| {
            if let Some(table) = k.unlink(mm.pmd, TORN_DOWN)
                && !k.all_none(table)
            {
                k.violate(Invariant::Leak, "a page table is freed with an entry in it");
            }
        });
        if with_pmd_page {
            p.run("pud_clear(pud); pmd_free_tlb(tlb, pmd, start)", move |k| {
                k.set(mm.pud, 0);
                k.set_table_state(mm.pmd.table, TableState::Unlinked);
            });
        }
    });
    p.function("tlb_finish_mmu", |p| {
        let tables = [Some(mm.table), with_pmd_page.then_some(mm.pmd.table)];
        p.run("flush_tlb_mm_range(): IPI to every CPU", move |k| {
            for table in tables.into_iter().flatten() {
                k.free_rcu(table);
            }
        });
        p.step("every CPU has answered: free_page_and_swap_cache(table)", move |k| {
            if !tables.into_iter().flatten().all(|table| k.grace_over(table)) {
                return Flow::Block;
            }
            for table in tables.into_iter().flatten() {
                k.free_now(table);
            }
            Flow::Next
        });
    });
}

/// MADV_DONTNEED of one page.
pub(crate) fn madvise_dontneed(p: &mut Program, mm: SpfMm, v: SpfVma, entry: u8, wrap: bool) {
    p.function("madvise_dontneed_single_vma", |p| {
        let (sem, out) = (take(p, "down_read(&mm->mmap_sem)", mm.mmap_sem, Mode::Read), p.label());
        p.branch("vma = find_vma(current->mm, start): none", out, move |k| !mm.find(k, v));
        unmap_page_range(p, mm, v, Zap::One(entry), wrap);
        p.bind(out);
        p.run("up_read(&mm->mmap_sem)", move |k| {
            leave(k, v);
            if sem.is_active() {
                k.unlock(mm.mmap_sem);
            }
        });
    });
}

/// mprotect of the head of `next`, which `vma` takes over: one page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merge {
    /// The mm.
    pub(crate) mm: SpfMm,
    /// The VMA before it, which has the rights that mprotect sets.
    pub(crate) vma: SpfVma,
    /// The VMA whose head is taken over.
    pub(crate) next: SpfVma,
    /// The entry of that page.
    pub(crate) entry: u8,
    /// Whether `__vma_adjust()` also bumps `next` (`q.next`).
    pub(crate) bump_next: bool,
}

/// `sys_mprotect()`: `__vma_adjust()`, then the entries are write-protected.
pub(crate) fn mprotect_merge(p: &mut Program, m: Merge) {
    let Merge { mm, vma, next, entry, bump_next } = m;
    p.function("mprotect_fixup", |p| {
        let sem = down_write(p, mm);
        p.function("__vma_adjust", |p| {
            write_begin(p, vma);
            if bump_next {
                write_begin(p, next);
            }
            p.run("vma->vm_end = end", move |k| {
                let end = k.get(vma.end);
                mm.write(k, vma.end, end + 1);
            });
            p.run("next->vm_start += adjust_next << PAGE_SHIFT", move |k| {
                let start = k.get(next.start);
                mm.write(k, next.start, start + 1);
            });
            p.run("next->vm_pgoff += adjust_next", move |k| {
                let pgoff = k.get(next.pgoff);
                mm.write(k, next.pgoff, pgoff + 1);
            });
            if bump_next {
                write_end(p, next);
            }
            write_end(p, vma);
        });
        let slot = Slot { table: mm.table, index: entry };
        p.function("change_pte_range", |p| {
            let ptl = lock_ptl(p, mm.table);
            p.run("ptep_modify_prot_commit(mm, addr, pte, ptent)", move |k| {
                if let Pte::Present { page, write: true, uffd_wp } = k.pte(slot) {
                    k.set_pte(slot, Pte::Present { page, write: false, uffd_wp });
                }
            });
            unlock_ptl(p, mm.table, ptl);
        });
        up_write(p, mm, sem, &[vma, next], true);
        p.run("return 0 to user space", move |k| {
            k.set(mm.denied, 1);
            if matches!(k.pte(slot), Pte::Present { write: true, .. }) {
                k.violate(Invariant::Prot, "mprotect has denied writing and returns, and an entry is writable");
            }
        });
    });
}

/// The VMA that `__vma_adjust()` removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// `next`: `remove_next` is 1.
    Next,
    /// `vma` itself, after a swap: `remove_next` is 3, and at the end `next` is `vma`.
    Itself {
        /// `next` is ended only if it is not `vma`.
        guarded: bool,
    },
}

/// The moment at which the removed VMA's write section ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// After it is freed, as posted.
    AfterFree,
    /// Before, as in later postings.
    BeforeFree,
}

/// A merge that removes a VMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remove {
    /// The mm.
    pub(crate) mm: SpfMm,
    /// The VMA that stays.
    pub(crate) stays: SpfVma,
    /// The VMA that is removed.
    pub(crate) goes: SpfVma,
    /// The case of `__vma_adjust()`.
    pub(crate) removed: Removed,
    /// The moment at which its write section ends.
    pub(crate) ends: Ends,
    /// Whether SRCU frees it. If not, it is freed at once.
    pub(crate) srcu: bool,
    /// Whether I-SEQ is checked.
    pub(crate) ask_seq: bool,
}

/// `__vma_adjust()` that removes a VMA.
pub(crate) fn remove(p: &mut Program, r: Remove) {
    let Remove { mm, stays, goes, removed, ends, srcu, ask_seq } = r;
    p.function("vma_merge", |p| {
        let sem = down_write(p, mm);
        p.function("__vma_adjust", |p| {
            write_begin(p, stays);
            write_begin(p, goes);
            match removed {
                Removed::Next => p.run("vma->vm_end = end", move |k| {
                    let end = k.get(goes.end);
                    mm.write(k, stays.end, end);
                }),
                Removed::Itself { .. } => {
                    p.run("vma->vm_start = start", move |k| {
                        let start = k.get(goes.start);
                        mm.write(k, stays.start, start);
                    });
                    p.run("vma->vm_pgoff = pgoff", move |k| {
                        let pgoff = k.get(goes.pgoff);
                        mm.write(k, stays.pgoff, pgoff);
                    });
                }
            }
            p.run(format!("__vma_unlink({})", goes.name), move |k| mm.write(k, goes.erased, 1));
            if ends == Ends::BeforeFree {
                write_end(p, goes);
            }
            if srcu {
                p.run(format!("call_srcu(&vma_srcu, &{}->vm_rcu, __free_vma)", goes.name), move |k| {
                    free_srcu(k, mm, goes);
                });
            } else {
                p.run(format!("kmem_cache_free(vm_area_cachep, {})", goes.name), move |k| k.set(goes.freed, 2));
            }
            if ends == Ends::AfterFree {
                write_end(p, goes);
            }
            if removed == (Removed::Itself { guarded: false }) {
                p.function("__vma_adjust, next == vma", |p| write_end(p, stays));
            }
            write_end(p, stays);
        });
        up_write(p, mm, sem, &[stays, goes], ask_seq);
    });
}

/// `wp_page_copy()` of another page of the table: it flushes other CPUs with the PTL held.
pub(crate) fn wp_page_copy(p: &mut Program, mm: SpfMm, v: SpfVma, entry: u8) {
    let bad_area = p.label();
    let sem = p.function("__do_page_fault", |p| {
        let sem = take(p, "down_read(&mm->mmap_sem)", mm.mmap_sem, Mode::Read);
        p.branch("vma = find_vma(mm, address): none", bad_area, move |k| !mm.find(k, v));
        sem
    });
    p.function("wp_page_copy", |p| {
        let slot = Slot { table: mm.table, index: entry };
        let ptl = lock_ptl(p, mm.table);
        p.run("ptep_get_and_clear(mm, address, ptep)", move |k| k.set_pte(slot, Pte::None));
        p.step("flush_tlb_page(vma, address): every CPU has answered the IPI", |k| {
            if k.irqs_off() == 0 { Flow::Next } else { Flow::Block }
        });
        p.run("set_pte_at_notify(mm, address, pte, entry)", move |k| k.set_pte(slot, Pte::present(2)));
        unlock_ptl(p, mm.table, ptl);
    });
    p.bind(bad_area);
    p.function("__do_page_fault", |p| drop(p, "up_read(&mm->mmap_sem)", mm.mmap_sem, sem));
}
