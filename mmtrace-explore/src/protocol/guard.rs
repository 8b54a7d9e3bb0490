//! Guard regions (mm/madvise.c, mm/pagewalk.c; for files since 6.15, `VM_MAYBE_GUARD` in 7.2).

use mmtrace_model::model::page_tables::entry::{Marker, Pte};

use super::{
    ExpectedMarker, Flow, Program, Slot,
    alloc::pte_alloc,
    file::{At, MAYBE_GUARD, drop_huge_pmd},
    mm::{mmap_read_lock, mmap_read_unlock},
    uffd::RETURNS_SUCCESS,
    walk::{Mapped, pte_offset_map_lock, pte_unmap_unlock},
};

/// The moment at which the VMA is marked as one that can have guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Never: 6.15 to 6.18.
    Never,
    /// Before the marker is installed: 7.2.
    Before,
    /// After it.
    After,
}

/// `MADV_GUARD_INSTALL` of one page.
pub(crate) fn madvise_guard_install(p: &mut Program, at: At, mark: Mark, expected: ExpectedMarker) {
    let area = at.area;
    p.function("madvise_guard_install", |p| {
        let mapped = Mapped::new(p);
        let mmap = mmap_read_lock(p, area.vma.mm);
        let flag = |p: &mut Program| {
            p.run("vma_set_atomic_flag(vma, VMA_MAYBE_GUARD_BIT)", move |k| area.set_flag(k, MAYBE_GUARD));
        };
        if mark == Mark::Before {
            flag(p);
        }
        p.function("walk_pmd_range", |p| {
            let again = p.mark();
            drop_huge_pmd(p, area, "zap_huge_pmd(tlb, vma, pmd, addr)");
            pte_alloc(p, area.pmd, area.pml, at.fresh);
            p.function("walk_pte_range", |p| {
                let locked = pte_offset_map_lock(p, area.pmd, mapped, again);
                // A page that is in the way is zapped, and the walk begins again; here the
                // zap and the walk are one hold of the PTL.
                p.step("set_pte_at(install_pte: guard)", move |k| {
                    let slot = Slot { table: k.table(k.local(mapped.table)), index: at.index };
                    k.set_pte(slot, Pte::Marker(Marker::GUARD));
                    Flow::Next
                });
                pte_unmap_unlock(p, locked);
            });
        });
        if mark == Mark::After {
            flag(p);
        }
        mmap_read_unlock(p, area.vma.mm, mmap);
        p.run("madvise() returns 0", move |k| {
            k.reach(RETURNS_SUCCESS);
            k.expect_marker(expected, 0);
        });
    });
}
