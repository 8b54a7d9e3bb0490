//! userfaultfd (fs/userfaultfd.c, mm/userfaultfd.c, mm/mprotect.c; 6.12 and 7.2).
//!
//! The calls that fill entries take the VMA lock or the mmap_lock for read; here it is the
//! latter. Removers of tables that hold neither cannot tell the difference.

use mmtrace_model::model::page_tables::entry::{Marker, Pmd, Pte};

use super::{
    ExpectedMarker, Flow, Program, Slot,
    alloc::pte_alloc,
    file::{At, FileVma, UFFD_ARMED, UFFD_WP, drop_huge_pmd},
    kernel::Kernel,
    mm::{mmap_read_lock, mmap_read_unlock, mmap_write_lock, mmap_write_unlock},
    nolock::set_pte_seen,
    vma::{Flavour, vma_start_write},
    walk::{Mapped, pte_offset_map_lock, pte_unmap_unlock},
};

/// *Sometimes*: a system call returned success for a marker or a page.
pub(crate) const RETURNS_SUCCESS: u8 = 1;

/// `UFFDIO_REGISTER` with these modes.
pub(crate) fn register(p: &mut Program, area: FileVma, modes: u8) {
    p.function("userfaultfd_register", |p| {
        let mmap = mmap_write_lock(p, area.vma.mm);
        vma_start_write(p, area.vma, Flavour::Refcount);
        p.run("userfaultfd_set_vm_flags(vma, new_flags)", move |k| area.set_flag(k, modes));
        mmap_write_unlock(p, area.vma.mm, mmap);
    });
}

/// `UFFDIO_UNREGISTER`: clears the modes. uffd-wp markers go, other markers stay.
pub(crate) fn unregister(p: &mut Program, area: FileVma) {
    p.function("userfaultfd_unregister", |p| {
        let mmap = mmap_write_lock(p, area.vma.mm);
        vma_start_write(p, area.vma, Flavour::Refcount);
        p.run("userfaultfd_reset_ctx(vma)", move |k| area.clear_flag(k, UFFD_ARMED));
        mmap_write_unlock(p, area.vma.mm, mmap);
    });
}

/// `UFFDIO_WRITEPROTECT` of one page. If no page is mapped, a marker is installed.
pub(crate) fn writeprotect(p: &mut Program, at: At, expected: ExpectedMarker) {
    let area = at.area;
    let failed = p.label();
    p.function("mwriteprotect_range", |p| {
        let (unlock, mapped) = (p.label(), Mapped::new(p));
        let mmap = mmap_read_lock(p, area.vma.mm);
        p.branch("if (!userfaultfd_wp(dst_vma)) return -ENOENT", unlock, move |k| !area.flag(k, UFFD_WP));
        p.function("change_pmd_range", |p| {
            let again = p.mark();
            drop_huge_pmd(p, area, "__split_huge_pmd(vma, pmd, addr): of a file, it goes");
            pte_alloc(p, area.pmd, area.pml, at.fresh);
            p.function("change_pte_range", |p| {
                let locked = pte_offset_map_lock(p, area.pmd, mapped, again);
                p.run("set_pte_at(): pte_mkuffd_wp(), or a marker", move |k| {
                    let slot = Slot { table: k.table(k.local(mapped.table)), index: at.index };
                    let new = match k.pte(slot) {
                        Pte::None => Pte::Marker(Marker::UFFD_WP),
                        Pte::Present { page, .. } => Pte::Present { page, write: false, uffd_wp: true },
                        Pte::Migration { page, .. } => Pte::Migration { page, write: false, uffd_wp: true },
                        other => other,
                    };
                    k.set_pte(slot, new);
                });
                pte_unmap_unlock(p, locked);
            });
        });
        mmap_read_unlock(p, area.vma.mm, mmap);
        succeed(p, expected);
        p.goto("return 0", failed);
        p.bind(unlock);
        mmap_read_unlock(p, area.vma.mm, mmap);
    });
    p.bind(failed);
}

fn succeed(p: &mut Program, expected: ExpectedMarker) {
    p.run("the ioctl returns 0", move |k| {
        k.reach(RETURNS_SUCCESS);
        k.expect_marker(expected, 0);
    });
}

/// The value that `mfill_atomic()` puts into the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// `UFFDIO_POISON`.
    Poison(ExpectedMarker),
    /// `UFFDIO_POISON` with a VMA flag that is set first (`true`) or last. No kernel has such a flag.
    PoisonFlag(ExpectedMarker, bool),
    /// `UFFDIO_COPY` into a private VMA: a page of its own.
    CopyPrivate,
}

/// The page that `UFFDIO_COPY` makes.
pub(crate) const COPY: u8 = 2;

/// `mfill_atomic()` of one page.
pub(crate) fn mfill_atomic(p: &mut Program, at: At, fill: Fill) {
    let area = at.area;
    let done = p.label();
    p.function("mfill_atomic", |p| {
        let (unlock, mapped) = (p.label(), Mapped::new(p));
        let mmap = mmap_read_lock(p, area.vma.mm);
        p.branch("if (!dst_vma->vm_userfaultfd_ctx.ctx) return -ENOENT", unlock, move |k| !area.flag(k, UFFD_ARMED));
        if !area.shared {
            p.run("anon_vma_prepare(dst_vma)", move |k| k.set(area.anon_vma, 1));
        }
        let flag = |p: &mut Program| {
            p.run("vma_set_atomic_flag(vma, maybe poison)", move |k| area.set_flag(k, super::file::MAYBE_POISON));
        };
        if matches!(fill, Fill::PoisonFlag(_, true)) {
            flag(p);
        }
        pte_alloc(p, area.pmd, area.pml, at.fresh);
        p.branch("if (pmd_trans_huge(*dst_pmd)) return -EFAULT", unlock, move |k| {
            matches!(k.pmd(area.pmd), Pmd::Huge(_))
        });
        let (name, text) = match fill {
            Fill::CopyPrivate => ("mfill_atomic_install_pte", "set_pte_at(dst_mm, dst_addr, dst_pte, _dst_pte)"),
            _ => ("mfill_atomic_pte_poison", "set_pte_at(dst_mm, dst_addr, dst_pte, marker)"),
        };
        p.function(name, |p| {
            let busy = p.label();
            let locked = pte_offset_map_lock(p, area.pmd, mapped, unlock);
            let slot = move |k: &Kernel<'_>| Slot { table: k.table(k.local(mapped.table)), index: at.index };
            p.recheck("pte_none(ptep_get(dst_pte)), else -EEXIST", busy, move |k| {
                let slot = slot(k);
                k.pte(slot).is_none()
            });
            p.run(text, move |k| {
                let slot = slot(k);
                let new = match fill {
                    Fill::CopyPrivate => Pte::Present { page: COPY, write: true, uffd_wp: false },
                    _ => Pte::Marker(Marker::POISONED),
                };
                set_pte_seen(k, slot, 0, new);
            });
            pte_unmap_unlock(p, locked);
            if matches!(fill, Fill::PoisonFlag(_, false)) {
                flag(p);
            }
            mmap_read_unlock(p, area.vma.mm, mmap);
            match fill {
                Fill::Poison(expected) | Fill::PoisonFlag(expected, _) => succeed(p, expected),
                Fill::CopyPrivate => p.run("the ioctl returns 0", |k| k.reach(RETURNS_SUCCESS)),
            }
            p.goto("return 0", done);
            p.bind(busy);
            pte_unmap_unlock(p, locked);
        });
        p.bind(unlock);
        mmap_read_unlock(p, area.vma.mm, mmap);
        p.step("the ioctl fails", |_| Flow::Next);
    });
    p.bind(done);
}
