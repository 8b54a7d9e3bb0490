//! A mapping of a file, and the walks of its page tables: faults, rmap walks (mm/memory.c, mm/rmap.c, mm/migrate.c; 6.12
//! and 7.2).

use mmtrace_model::model::{
    locks::exclusion::Mode,
    page_tables::{
        entry::{Pmd, Pte},
        lifecycle::Unlinker,
    },
};

use super::{
    Cell, Flow, Lock, Program, Slot, Table,
    alloc::{Fresh, pte_alloc},
    kernel::Kernel,
    layout::Place,
    mm::{drop, mmap_read_lock, mmap_read_unlock, take},
    nolock::set_pte_seen,
    unmap::zap_pte_range,
    vma::Vma,
    walk::{Mapped, pte_offset_map_lock, pte_unmap_unlock},
};

/// `VM_UFFD_WP`.
pub(crate) const UFFD_WP: u8 = 1;
/// `VM_UFFD_MINOR`.
pub(crate) const UFFD_MINOR: u8 = 2;
/// `VM_UFFD_MISSING`.
pub(crate) const UFFD_MISSING: u8 = 4;
/// The flags that `userfaultfd_armed()` tests.
pub(crate) const UFFD_ARMED: u8 = UFFD_WP | UFFD_MINOR | UFFD_MISSING;
/// `VM_MAYBE_GUARD` (7.2).
pub(crate) const MAYBE_GUARD: u8 = 8;
/// A flag as `VM_MAYBE_GUARD`, for poison. No kernel has it.
pub(crate) const MAYBE_POISON: u8 = 16;

/// The number of the file's page that faults map.
pub(crate) const PAGE: u8 = 1;

/// A file: its rmap lock, and the huge folio of one range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    /// `i_mmap_rwsem`.
    pub(crate) i_mmap: Lock,
    /// The folio lock.
    pub(crate) folio: Lock,
}

/// A VMA of a file, as large as one PTE table covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileVma {
    /// The VMA.
    pub(crate) vma: Vma,
    /// `vm_file->f_mapping`.
    pub(crate) mapping: Mapping,
    /// Its PMD entry.
    pub(crate) pmd: Slot,
    /// The lock of the PMD entry.
    pub(crate) pml: Lock,
    /// `VM_SHARED`.
    pub(crate) shared: bool,
    /// `vma->anon_vma` is set.
    pub(crate) anon_vma: Cell,
    /// The bits of `vm_flags` that steps here test.
    pub(crate) vm_flags: Cell,
}

impl FileVma {
    /// Returns whether one of these flags is set.
    pub(crate) fn flag(self, k: &mut Kernel<'_>, flags: u8) -> bool {
        let now = k.get(self.vm_flags);
        k.note(|| format!("vm_flags = {}", names(now)));
        now & flags != 0
    }

    /// Returns whether `vma->anon_vma` is set.
    pub(crate) fn has_anon_vma(self, k: &mut Kernel<'_>) -> bool {
        let set = k.get(self.anon_vma) != 0;
        k.note(|| format!("anon_vma is {}", if set { "set" } else { "NULL" }));
        set
    }

    /// Sets flags.
    pub(crate) fn set_flag(self, k: &mut Kernel<'_>, flags: u8) {
        let old = k.get(self.vm_flags);
        k.set(self.vm_flags, old | flags);
    }

    /// Clears flags.
    pub(crate) fn clear_flag(self, k: &mut Kernel<'_>, flags: u8) {
        let old = k.get(self.vm_flags);
        k.set(self.vm_flags, old & !flags);
    }

    /// Returns the locks by which this thread can unlink the VMA's table now.
    pub(crate) fn rights(self, k: &mut Kernel<'_>, table: Table) -> Unlinker {
        let mmap_write = k.holds(self.vma.mm.mmap_lock) == Some(Mode::Write);
        Unlinker {
            pml: k.holds(self.pml).is_some(),
            ptl: k.holds(k.ptl(table)).is_some(),
            mmap_write,
            vma_write: mmap_write && self.vma.is_write_locked(k),
            rmap_write: k.holds(self.mapping.i_mmap) == Some(Mode::Write),
            torn_down: false,
        }
    }
}

fn names(flags: u8) -> String {
    let all = [
        (UFFD_WP, "uffd-wp"),
        (UFFD_MINOR, "uffd-minor"),
        (UFFD_MISSING, "uffd-missing"),
        (MAYBE_GUARD, "maybe guard"),
        (MAYBE_POISON, "maybe poison"),
    ];
    let set: Vec<&str> = all.iter().filter(|(f, _)| flags & f != 0).map(|(_, n)| *n).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
}

/// One address in a VMA, and the tables that can be allocated for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// The VMA.
    pub(crate) area: FileVma,
    /// The entry.
    pub(crate) index: u8,
    /// The tables that a fault can allocate.
    pub(crate) fresh: Fresh,
}

impl At {
    /// The address.
    #[must_use]
    pub(crate) const fn place(&self) -> Place {
        Place { pmd: self.area.pmd, index: self.index }
    }
}

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// `do_read_fault()`: maps the page, or the whole folio where there is no table.
    Read,
    /// `do_cow_fault()`: a private copy.
    Cow,
}

/// A fault on an entry that was none when the fault read it. The page is locked until it is mapped.
pub(crate) fn file_fault(p: &mut Program, at: At, access: Access) {
    let (area, mapping) = (at.area, at.area.mapping);
    let mm = area.vma.mm;
    let bad = p.label();
    let mmap = p.function("do_user_addr_fault", |p| {
        let mmap = mmap_read_lock(p, mm);
        p.branch("vma = find_vma(mm, address), else bad_area", bad, move |k| !area.vma.find(k, 0));
        mmap
    });
    let name = if access == Access::Cow { "do_cow_fault" } else { "do_read_fault" };
    p.function(name, |p| {
        if access == Access::Cow {
            p.run("vmf_anon_prepare(vmf)", move |k| k.set(area.anon_vma, 1));
        }
        let folio = p.lock("__do_fault(vmf): the folio is locked", move |k| k.lock(mapping.folio, Mode::Write));
        finish_fault(p, at, access);
        p.release(folio, "folio_unlock(folio)", move |k| k.unlock(mapping.folio));
    });
    p.bind(bad);
    p.function("do_user_addr_fault", |p| mmap_read_unlock(p, mm, mmap));
}

/// `finish_fault()`: the folio is locked.
pub(crate) fn finish_fault(p: &mut Program, at: At, access: Access) {
    let area = at.area;
    p.function("finish_fault", |p| {
        let (out, mapped) = (p.label(), Mapped::new(p));
        match access {
            Access::Cow => pte_alloc(p, area.pmd, area.pml, at.fresh),
            Access::Read => {
                let table = p.label();
                p.branch("if (pmd_none(*vmf->pmd))", table, move |k| k.pmd(area.pmd) != Pmd::None);
                let pml = p.lock("do_set_pmd: vmf->ptl = pmd_lock(mm, pmd)", move |k| k.lock(area.pml, Mode::Write));
                p.run("if (pmd_none(*vmf->pmd)) set_pmd_at(…)", move |k| {
                    if k.pmd(area.pmd) == Pmd::None {
                        k.set_pmd(area.pmd, Pmd::Huge(PAGE));
                    }
                });
                p.release(pml, "spin_unlock(vmf->ptl)", move |k| k.unlock(area.pml));
                p.bind(table);
            }
        }
        let locked = pte_offset_map_lock(p, area.pmd, mapped, out);
        let changed = p.label();
        let slot = move |k: &Kernel<'_>| Slot { table: k.table(k.local(mapped.table)), index: at.index };
        // The entry that the fault saw when it began was none.
        p.recheck("pte_none(ptep_get(vmf->pte))", changed, move |k| {
            let slot = slot(k);
            k.pte(slot).is_none()
        });
        p.run("set_pte_range(vmf, folio, page, 1, addr)", move |k| {
            let slot = slot(k);
            set_pte_seen(k, slot, 0, Pte::present(if access == Access::Cow { 3 } else { PAGE }));
        });
        p.bind(changed);
        pte_unmap_unlock(p, locked);
        p.bind(out);
    });
}

/// Changes one entry that an rmap walk finds, under i_mmap for read.
fn rmap_walk(
    p: &mut Program,
    function: &'static str,
    at: At,
    text: &'static str,
    change: impl Fn(&mut Kernel<'_>, Slot) + Send + Sync + 'static,
) {
    let area = at.area;
    p.function(function, |p| {
        let (out, mapped) = (p.label(), Mapped::new(p));
        let i_mmap = take(p, "i_mmap_lock_read(mapping)", area.mapping.i_mmap, Mode::Read);
        p.branch("vma_interval_tree_foreach(vma, &mapping->i_mmap)", out, move |k| {
            !area.vma.is_in_rmap(k, area.mapping.i_mmap)
        });
        let locked = p.function("page_vma_mapped_walk", |p| pte_offset_map_lock(p, area.pmd, mapped, out));
        p.run(text, move |k| {
            let slot = Slot { table: k.table(k.local(mapped.table)), index: at.index };
            change(k, slot);
        });
        pte_unmap_unlock(p, locked);
        p.bind(out);
        drop(p, "i_mmap_unlock_read(mapping)", area.mapping.i_mmap, i_mmap);
    });
}

/// `try_to_unmap()` of one page that the folio lock keeps from being mapped again.
pub(crate) fn try_to_unmap(p: &mut Program, at: At, page: u8) {
    rmap_walk(p, "try_to_unmap_one", at, "ptep_get_and_clear() if it maps the folio", move |k, slot| {
        if matches!(k.pte(slot), Pte::Present { page: found, .. } if found == page) {
            k.set_pte(slot, Pte::None);
        }
    });
}

/// Migration of one page that fails half-way or succeeds in place: to migration entries and
/// back. The folio lock is held.
pub(crate) fn migrate(p: &mut Program, at: At, page: u8) {
    rmap_walk(p, "try_to_migrate_one", at, "set_pte_at(migration entry) if it maps the folio", move |k, slot| {
        if let Pte::Present { page: found, write, uffd_wp } = k.pte(slot)
            && found == page
        {
            k.set_pte(slot, Pte::Migration { page, write, uffd_wp });
        }
    });
    rmap_walk(p, "remove_migration_pte", at, "set_pte_at() in place of the migration entry", move |k, slot| {
        if let Pte::Migration { page: found, write, uffd_wp } = k.pte(slot)
            && found == page
        {
            k.set_pte(slot, Pte::Present { page, write, uffd_wp });
        }
    });
}

/// Migration of the folio that faults map.
pub(crate) fn migrate_folio(p: &mut Program, at: At) {
    let folio = at.area.mapping.folio;
    p.function("migrate_folio_unmap", |p| {
        let lock = p.lock("folio_lock(src)", move |k| k.lock(folio, Mode::Write));
        migrate(p, at, PAGE);
        p.release(lock, "folio_unlock(src)", move |k| k.unlock(folio));
    });
}

/// `unmap_mapping_pages()`: a hole is punched; pages go, markers stay. Only i_mmap is held.
pub(crate) fn unmap_mapping_pages(p: &mut Program, area: FileVma) {
    p.function("unmap_mapping_pages", |p| {
        let out = p.label();
        let i_mmap = take(p, "i_mmap_lock_read(mapping)", area.mapping.i_mmap, Mode::Read);
        p.branch("vma_interval_tree_foreach(vma, &mapping->i_mmap)", out, move |k| {
            !area.vma.is_in_rmap(k, area.mapping.i_mmap)
        });
        zap_pte_range(p, area.pmd, 7);
        p.bind(out);
        drop(p, "i_mmap_unlock_read(mapping)", area.mapping.i_mmap, i_mmap);
    });
}

/// Clears a huge PMD of a file, under which there is no table.
pub(crate) fn drop_huge_pmd(p: &mut Program, area: FileVma, text: &'static str) {
    let done = p.label();
    p.branch("if (pmd_trans_huge(*pmd))", done, move |k| !matches!(k.pmd(area.pmd), Pmd::Huge(_)));
    let pml = p.lock("ptl = pmd_lock(mm, pmd)", move |k| k.lock(area.pml, Mode::Write));
    p.step(text, move |k| {
        if matches!(k.pmd(area.pmd), Pmd::Huge(_)) {
            k.set_pmd(area.pmd, Pmd::None);
        }
        Flow::Next
    });
    p.release(pml, "spin_unlock(ptl)", move |k| k.unlock(area.pml));
    p.bind(done);
}
