//! The removal of a mapping: zap, free_pgtables, munmap (mm/memory.c, mm/vma.c; 6.12 and 7.2).

use mmtrace_common::Kind;
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Mode,
    page_tables::{
        entry::{Pmd, Pte},
        lifecycle::Unlinker,
    },
};

use super::{
    Lock, Program, Slot,
    mm::{Mm, drop, mmap_read_unlock, mmap_write_downgrade, mmap_write_lock, take},
    vma::{Flavour, Vma, Waits, vma_mark_detached_with, vma_start_write},
    walk::{Mapped, pte_offset_map_lock, pte_unmap_unlock},
};

/// The moment at which page tables are freed (mm/mmu_gather.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableFree {
    /// After the TLB flush, at once.
    Immediately,
    /// After a grace period (`MMU_GATHER_RCU_TABLE_FREE`).
    Rcu,
}

/// `zap_pte_range()` of every entry of one table. Markers go too, unless `keep` has their bits.
pub(crate) fn zap_pte_range(p: &mut Program, pmd: Slot, keep: u8) {
    p.function("zap_pte_range", |p| {
        let (to, out) = (Mapped::new(p), p.label());
        let locked = pte_offset_map_lock(p, pmd, to, out);
        p.run("pte_clear() of every entry", move |k| {
            let table = k.table(k.local(to.table));
            for index in 0..k.entries(table) {
                let slot = Slot { table, index };
                let pte = k.pte(slot);
                if !pte.is_none() && pte.markers() & keep == 0 {
                    k.set_pte(slot, Pte::None);
                }
            }
        });
        pte_unmap_unlock(p, locked);
        p.bind(out);
    });
}

/// `free_pgtables()`: unlinks the PTE table and the page with its PMD entry (`with_pmd_page`), without locks, because the VMA
/// has left the mm's tree and the rmap tree. Checks that the table maps nothing (I-LEAK).
pub(crate) fn free_pgtables(p: &mut Program, pmd: Slot, free: TableFree, with_pmd_page: bool) {
    p.function("free_pgtables", |p| {
        p.run("pmd_clear(pmd); pte_free_tlb(tlb, token, addr)", move |k| {
            if k.pmd(pmd) == Pmd::None {
                return;
            }
            let Some(table) = k.unlink(pmd, TORN_DOWN) else { return };
            if !k.all_none(table) {
                k.violate(Invariant::Leak, "a page table is freed with an entry in it");
            }
            k.say_freed(Kind::PteFreeTlb, table);
            match free {
                TableFree::Rcu => k.free_rcu(table),
                TableFree::Immediately => k.free_now(table),
            }
        });
        if with_pmd_page {
            p.run("pud_clear(pud); pmd_free_tlb(tlb, pmd, start)", move |k| match free {
                TableFree::Rcu => k.free_rcu(pmd.table),
                TableFree::Immediately => k.free_now(pmd.table),
            });
        }
    });
}

/// The locks by which teardown unlinks a table: none.
pub(crate) const TORN_DOWN: Unlinker =
    Unlinker { pml: false, ptl: false, mmap_write: false, vma_write: false, rmap_write: false, torn_down: true };

/// A munmap of one VMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Munmap {
    /// The mm.
    pub(crate) mm: Mm,
    /// The VMA that is unmapped.
    pub(crate) vma: Vma,
    /// The kernel whose VMA lock it has.
    pub(crate) flavour: Flavour,
    /// The PMD entry of the range.
    pub(crate) pmd: Slot,
    /// The VMA's rmap locks, outermost first, with the text that takes and releases them.
    pub(crate) rmap: &'static [(&'static str, &'static str)],
    /// Those locks.
    pub(crate) rmap_locks: [Option<Lock>; 2],
    /// The moment at which tables are freed.
    pub(crate) free: TableFree,
    /// Whether the page with the PMD entry is freed as well.
    pub(crate) with_pmd_page: bool,
}

/// The text of taking and releasing one rmap lock, i_mmap.
pub(crate) const RMAP_FILE: &[(&str, &str)] = &[("i_mmap_lock_write(mapping)", "i_mmap_unlock_write(mapping)")];
/// The text of taking and releasing one rmap lock, anon_vma.
pub(crate) const RMAP_ANON: &[(&str, &str)] = &[("anon_vma_lock_write(anon_vma)", "anon_vma_unlock_write(anon_vma)")];
/// `do_vmi_munmap()` of one whole VMA: write-lock and detach it, downgrade, zap, unlink from
/// rmap, free the tables, free the VMA.
pub(crate) fn munmap(p: &mut Program, m: Munmap) {
    munmap_with(p, m, Waits::ForReaders);
}

/// [`munmap`], with or without 7.2's wait for temporary references when the VMA is detached.
pub(crate) fn munmap_with(p: &mut Program, m: Munmap, waits: Waits) {
    p.function("do_vmi_munmap", |p| {
        let mmap = mmap_write_lock(p, m.mm);
        vma_start_write(p, m.vma, m.flavour);
        vma_mark_detached_with(p, m.vma, m.flavour, waits);
        p.run("vma_iter_clear_gfp(&vmi)", move |k| m.vma.set_in_tree(k, false));
        mmap_write_downgrade(p, m.mm, mmap);
        zap_pte_range(p, m.pmd, 0);
        unlink_from_rmap(p, m);
        free_pgtables(p, m.pmd, m.free, m.with_pmd_page);
        p.run("vm_area_free(vma)", move |k| m.vma.free_now(k));
        mmap_read_unlock(p, m.mm, mmap);
    });
}

/// `unlink_file_vma()`, `unlink_anon_vmas()`.
pub(crate) fn unlink_from_rmap(p: &mut Program, m: Munmap) {
    p.function("unlink_file_vma", |p| {
        let guards: Vec<_> = m
            .rmap
            .iter()
            .zip(m.rmap_locks.iter().flatten())
            .map(|((lock, unlock), l)| (*unlock, *l, take(p, lock, *l, Mode::Write)))
            .collect();
        p.run("vma_interval_tree_remove(vma)", move |k| {
            for lock in m.rmap_locks.into_iter().flatten() {
                m.vma.set_in_rmap(k, lock, false);
            }
        });
        for (text, lock, guard) in guards.into_iter().rev() {
            drop(p, text, lock, guard);
        }
    });
}
