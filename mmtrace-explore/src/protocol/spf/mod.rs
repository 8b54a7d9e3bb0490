//! Speculative page faults under a VMA's sequence count (the series of 2017 to 2019, never
//! merged: RFC v5 on 4.12 to v12 on 5.1): `handle_speculative_fault()` and what races with it.
//!
//! Page tables are freed as these kernels did: a thread with interrupts off is a reader, and the freeing waits for the flush
//! IPI. SRCU frees VMAs, and does not keep page tables.

pub(crate) mod fault;
pub(crate) mod writer;

use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Rank,
    page_tables::{entry::Pmd, lifecycle::TableState},
};

use super::{Cell, Flow, Lock, Program, Slot, Table, World, kernel::Kernel};

/// A VMA with a sequence count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpfVma {
    /// Its name in the steps.
    pub(crate) name: &'static str,
    /// `vm_sequence`.
    pub(crate) seq: Cell,
    /// Threads that are inside a write section, bit by thread. No kernel has this.
    pub(crate) writers: Cell,
    /// `RB_EMPTY_NODE(&vma->vm_rb)`: it is erased from the tree.
    pub(crate) erased: Cell,
    /// `vm_start`, in pages.
    pub(crate) start: Cell,
    /// `vm_end`, in pages.
    pub(crate) end: Cell,
    /// `vm_pgoff`.
    pub(crate) pgoff: Cell,
    /// `vm_flags & VM_WRITE`.
    pub(crate) write: Cell,
    /// 1 while it waits for SRCU to be freed, 2 once it is freed.
    pub(crate) freed: Cell,
    /// The SRCU readers that it waits for, bit by thread.
    pub(crate) grace: Cell,
}

/// The range of a VMA: first page, page after the last one, index of the first page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range(pub(crate) u8, pub(crate) u8, pub(crate) u8);

impl SpfVma {
    /// Adds a VMA that is in the tree.
    pub(crate) fn new(w: &mut World, name: &'static str, Range(start, end, pgoff): Range, write: bool) -> Self {
        Self {
            name,
            seq: w.cell(format!("{name}.vm_sequence"), 0),
            writers: w.cell(format!("{name}.writers"), 0),
            erased: w.cell(format!("{name}.erased"), 0),
            start: w.cell(format!("{name}.vm_start"), start),
            end: w.cell(format!("{name}.vm_end"), end),
            pgoff: w.cell(format!("{name}.vm_pgoff"), pgoff),
            write: w.cell(format!("{name}.VM_WRITE"), u8::from(write)),
            freed: w.cell(format!("{name}.freed"), 0),
            grace: w.cell(format!("{name}.grace"), 0),
        }
    }

    /// Checks that it is not freed (I-UAF-VMA).
    pub(crate) fn access(self, k: &mut Kernel<'_>, what: &str) {
        if k.get(self.freed) == 2 {
            k.violate(Invariant::UafVma, format!("{what} of {}, which is freed", self.name));
        }
    }

    /// Reads a field.
    fn read(self, k: &mut Kernel<'_>, field: Cell, what: &'static str) -> u8 {
        self.access(k, what);
        let value = k.get(field);
        k.note(|| format!("{}->{what} = {value}", self.name));
        value
    }
}

impl SpfMm {
    /// `find_vma()`, with mmap_sem held (I-STATE).
    pub(crate) fn find(self, k: &mut Kernel<'_>, v: SpfVma) -> bool {
        k.needs(self.mmap_sem, "the tree of VMAs is walked");
        k.get(v.erased) == 0
    }

    /// Writes a field of a VMA, or erases it from the tree (I-STATE).
    fn write(self, k: &mut Kernel<'_>, field: Cell, value: u8) {
        k.needs_write(self.mmap_sem, "a VMA is changed");
        k.set(field, value);
    }
}

/// The objects that all faults and writers of an mm share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpfMm {
    /// `mmap_sem`.
    pub(crate) mmap_sem: Lock,
    /// SRCU readers (`vma_srcu`), bit by thread.
    pub(crate) srcu: Cell,
    /// `*pud`: whether it points to the PMD page.
    pub(crate) pud: Cell,
    /// The PMD entry.
    pub(crate) pmd: Slot,
    /// The PTE table.
    pub(crate) table: Table,
    /// Whether mprotect has returned, so that writing is denied. No kernel has this.
    pub(crate) denied: Cell,
}

impl SpfMm {
    /// Adds an mm with one PMD page D and one PTE table A with this many entries.
    pub(crate) fn new(w: &mut World, entries: u8) -> Self {
        let mmap_sem = w.lock("mmap_sem", Some(Rank::MmapLock));
        let pml = w.lock("PML", Some(Rank::PageTableLock));
        let d = w.table_with("D", 1, TableState::Linked, pml);
        let table = w.table("A", entries, TableState::Linked);
        let pmd = Slot { table: d, index: 0 };
        w.entry(pmd, Pmd::Table(table.number()).encode());
        Self {
            mmap_sem,
            srcu: w.cell("srcu readers", 0),
            pud: w.cell("pud", 1),
            pmd,
            table,
            denied: w.cell("denied", 0),
        }
    }
}

/// Adds the thread that frees a VMA when its SRCU readers are gone.
pub(crate) fn srcu_callback(w: &mut World, v: SpfVma) {
    let mut p = Program::new();
    p.function("srcu", |p| {
        p.step(format!("__free_vma({}): the readers are gone", v.name), move |k| {
            if k.get(v.freed) != 1 || k.get(v.grace) != 0 {
                return Flow::Block;
            }
            k.set(v.freed, 2);
            Flow::Next
        });
    });
    w.daemon("SRCU", p);
}
