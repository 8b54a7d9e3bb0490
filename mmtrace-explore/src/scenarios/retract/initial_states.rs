//! The initial states of the scenarios about retract: VMAs of one file, each with a page table.

use crate::{
    protocol::{
        ExpectedMarker, Lock, Program, Slot, Table, World,
        alloc::Fresh,
        file::{At, FileVma, Mapping},
        guard::{Mark, madvise_guard_install},
        khugepaged::{CollapsePte, Retract, collapse_file, collapse_pte_mapped_thp},
        layout::Place,
        mm::Mm,
        rcu::grace_periods,
        uffd::{self, Fill, mfill_atomic},
        vma::Vma,
    },
    scenario::Setup,
};
use mmtrace_model::model::{
    locks::exclusion::{Mode, Rank},
    page_tables::{
        entry::{Marker, Pmd},
        lifecycle::TableState,
    },
};

/// An mm, a file, and a page with PMD entries.
pub(crate) struct Base {
    pub(crate) w: World,
    pub(crate) mm: Mm,
    pub(crate) mapping: Mapping,
    pml: Lock,
    pmds: Table,
    next: u8,
}

impl Base {
    /// Makes the mm and the file, with so many PMD entries.
    pub(crate) fn new(pmds: u8) -> Self {
        let mut w = World::default();
        let mm = Mm::new(&mut w, 1, "");
        let mapping = Mapping {
            i_mmap: w.lock("i_mmap", Some(Rank::ImmapRwsem)),
            folio: w.lock("folio lock", Some(Rank::FolioLock)),
        };
        let pml = w.lock("PML", Some(Rank::PageTableLock));
        let pmds = w.table_with("D", pmds, TableState::Linked, pml);
        Self { w, mm, mapping, pml, pmds, next: 0 }
    }

    /// Makes the same where page-table locks are not split: PMD and PTE tables share one lock.
    pub(crate) fn without_split_locks(pmds: u8) -> Self {
        let mut base = Self::new(pmds);
        base.w.without_split_locks(base.pml);
        base
    }

    /// Adds a VMA at the next PMD entry, with a table of this name, or with none yet.
    pub(crate) fn area(&mut self, name: &str, table: Option<&str>, entries: u8, shared: bool) -> FileVma {
        let w = &mut self.w;
        let vma = Vma::new(w, self.mm, name);
        let pmd = Slot { table: self.pmds, index: self.next };
        self.next += 1;
        if let Some(table) = table {
            let table = w.table(table, entries, TableState::Linked);
            w.fill_locks(table, &[self.mm.mmap_lock]);
            w.entry(pmd, Pmd::Table(table.number()).encode());
        }
        FileVma {
            vma,
            mapping: self.mapping,
            pmd,
            pml: self.pml,
            shared,
            anon_vma: w.cell(format!("{name}->anon_vma"), 0),
            vm_flags: w.cell(format!("{name}->vm_flags"), 0),
        }
    }

    /// Adds a VMA at the next PMD entry that mremap has still to make.
    pub(crate) fn unborn(&mut self, name: &str, entries: u8) -> FileVma {
        let area = self.area(name, None, entries, true);
        self.w.set(area.vma.in_tree, 0);
        self.w.set(area.vma.in_rmap, 0);
        area
    }

    /// Adds the tables that one thread can allocate.
    pub(crate) fn fresh(&mut self, names: &[&str], entries: u8) -> Fresh {
        Fresh::new(&mut self.w, names, entries, &[self.mm.mmap_lock])
    }

    /// Sets the first value of an entry of the table under a PMD entry.
    pub(crate) fn fill(&mut self, table: Table, index: u8, byte: u8) {
        self.w.entry(Slot { table, index }, byte);
    }

    /// Returns the table with the number after the PMD page's: A.
    pub(crate) const fn first_table(&self) -> Table {
        Table(self.pmds.0 + 1)
    }

    /// Adds khugepaged at the end of `collapse_file()`: it has locked the new folio.
    pub(crate) fn khugepaged(&mut self, s: &Setup<'_>, rules: Retract, areas: &[FileVma]) {
        let mut p = s.program();
        collapse_file(&mut p, rules, self.mapping, areas);
        let k = self.w.thread("K", p);
        self.w.held(self.mapping.folio, k, Mode::Write);
    }

    /// Adds `MADV_COLLAPSE` of a range whose page cache is a huge folio already.
    pub(crate) fn collapse(&mut self, s: &Setup<'_>, rules: CollapsePte, area: FileVma) {
        let mut p = s.program();
        collapse_pte_mapped_thp(&mut p, rules, area);
        self.w.thread("C", p);
    }

    /// Adds the grace-period engine, and returns the world.
    pub(crate) fn done(mut self) -> World {
        grace_periods(&mut self.w);
        self.w
    }
}

/// The threads that put something into an empty entry without the folio lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installer {
    /// `UFFDIO_REGISTER` for write-protection, then `UFFDIO_WRITEPROTECT` of a hole.
    RegisterWp,
    /// `UFFDIO_WRITEPROTECT` of a hole in a VMA that was registered before.
    Wp,
    /// `UFFDIO_POISON`, registered for minor faults.
    Poison,
    /// `UFFDIO_REGISTER` for minor faults, then `UFFDIO_POISON`.
    RegisterPoison,
    /// `UFFDIO_POISON`, then `UFFDIO_UNREGISTER`.
    PoisonUnregister,
    /// `UFFDIO_POISON` of a kernel with a flag for it, set before the marker (`true`) or after it.
    PoisonFlag(bool),
    /// `MADV_GUARD_INSTALL`.
    Guard(Mark),
    /// `UFFDIO_COPY`, private.
    Copy,
}

impl Installer {
    /// The marker that user space was told of.
    pub(crate) const fn marker(self) -> Option<Marker> {
        match self {
            Self::RegisterWp | Self::Wp => Some(Marker::UFFD_WP),
            Self::Poison | Self::RegisterPoison | Self::PoisonUnregister | Self::PoisonFlag(_) => {
                Some(Marker::POISONED)
            }
            Self::Guard(_) => Some(Marker::GUARD),
            Self::Copy => None,
        }
    }

    /// The modes with which the VMA is registered at first.
    const fn modes(self) -> u8 {
        use crate::protocol::file::{UFFD_MINOR, UFFD_MISSING, UFFD_WP};
        match self {
            Self::Wp => UFFD_WP,
            Self::Poison | Self::PoisonUnregister | Self::PoisonFlag(_) => UFFD_MINOR,
            Self::Copy => UFFD_MISSING,
            Self::RegisterWp | Self::RegisterPoison | Self::Guard(_) => 0,
        }
    }

    /// Adds the thread that makes the call.
    pub(crate) fn thread(self, s: &Setup<'_>, b: &mut Base, name: &'static str, at: At) {
        let expected = self.marker().map(|marker| b.w.expected_marker(marker, &[at.place()]));
        b.w.set(at.area.vm_flags, self.modes());
        let mut p = s.program();
        self.program(&mut p, at, expected);
        b.w.thread(name, p);
    }

    fn program(self, p: &mut Program, at: At, expected: Option<ExpectedMarker>) {
        let Some(expected) = expected else { return mfill_atomic(p, at, Fill::CopyPrivate) };
        match self {
            Self::RegisterWp => {
                uffd::register(p, at.area, crate::protocol::file::UFFD_WP);
                uffd::writeprotect(p, at, expected);
            }
            Self::Wp => uffd::writeprotect(p, at, expected),
            Self::Poison | Self::Copy => mfill_atomic(p, at, Fill::Poison(expected)),
            Self::RegisterPoison => {
                uffd::register(p, at.area, crate::protocol::file::UFFD_MINOR);
                mfill_atomic(p, at, Fill::Poison(expected));
            }
            Self::PoisonFlag(first) => mfill_atomic(p, at, Fill::PoisonFlag(expected, first)),
            Self::PoisonUnregister => {
                mfill_atomic(p, at, Fill::Poison(expected));
                uffd::unregister(p, at.area);
            }
            Self::Guard(mark) => madvise_guard_install(p, at, mark, expected),
        }
    }
}

/// A place of its own for an expected marker that mremap moves.
pub(super) const fn place(area: FileVma, index: u8) -> Place {
    Place { pmd: area.pmd, index }
}

/// Retract against one installer: one VMA, one entry.
pub(super) fn retract_against(s: &Setup<'_>, rules: Retract, installer: Installer, shared: bool) -> World {
    retract_in(s, Base::new(1), rules, installer, shared)
}

/// The same, from this initial state.
pub(super) fn retract_in(s: &Setup<'_>, mut b: Base, rules: Retract, installer: Installer, shared: bool) -> World {
    let area = b.area("vma", Some("A"), 1, shared);
    let fresh = b.fresh(&["B"], 1);
    b.khugepaged(s, rules, &[area]);
    installer.thread(s, &mut b, "U", At { area, index: 0, fresh });
    b.done()
}

/// PTE-mapped collapse against one installer: the table maps a page and has a hole.
pub(super) fn collapse_against(s: &Setup<'_>, rules: CollapsePte, installer: Installer, shared: bool) -> World {
    use crate::protocol::file::PAGE;
    use mmtrace_model::model::page_tables::entry::Pte;
    let mut b = Base::new(1);
    let area = b.area("vma", Some("A"), 2, shared);
    let a = b.first_table();
    b.fill(a, 0, Pte::present(PAGE).encode());
    let fresh = b.fresh(&["B"], 2);
    b.collapse(s, rules, area);
    installer.thread(s, &mut b, "U", At { area, index: 1, fresh });
    b.done()
}
