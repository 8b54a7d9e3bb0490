//! The invariants that must always be true, each written once.
//!
//! The explorer checks them at every step of every interleaving. A live rule that can observe an invariant names it as
//! its source.

/// An invariant, or a property of progress. The names are those of the documentation: `I-` must hold in every state,
/// and `G-` promises progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Invariant {
    /// A freed page table is not accessed.
    UafPt,
    /// A VMA that may be reused is not accessed.
    UafVma,
    /// A freed hugetlb lock is not accessed.
    UafHl,
    /// Nothing is written into an unlinked table.
    Lost,
    /// Tables are unlinked under the right locks only.
    Unlink,
    /// A table is empty when it is unlinked.
    Empty,
    /// A marker that user space was told of stays.
    Marker,
    /// Teardown frees empty tables.
    Leak,
    /// An entry that was seen none is none when it is filled.
    Clobber,
    /// A PMD value that is used as a pointer is one.
    BadPmd,
    /// Entries change under their lock.
    Wlock,
    /// A folio's index is the one that its VMA implies.
    Idx,
    /// A right that was taken away stays away.
    Prot,
    /// Empty entries are filled under mmap_lock or VMA lock.
    Fill,
    /// VMA readers and writers exclude each other.
    Vexcl,
    /// A VMA lock is for the right VMA.
    Vid,
    /// A thread that is done holds nothing.
    Bal,
    /// Nothing is released twice.
    Dbl,
    /// The holder releases.
    Own,
    /// RETRY and COMPLETED mean that the lock was dropped.
    Flag,
    /// The exclusivity table of the mmap_lock.
    Down,
    /// Locks are taken in order.
    Order,
    /// VMAs and their trees change under the documented locks.
    State,
    /// The share count is right.
    Share,
    /// A reserved huge page is available.
    Pool,
    /// gup-fast returns mapped pages.
    Pin,
    /// No translation outlives its page.
    Tlb,
    /// `vm_sequence` is even when no writer is in its write section.
    Seq,
    /// A value that was acted on was current.
    Stale,
    /// No deadlock.
    Dead,
    /// A writer waits only for threads that need not wait for it.
    Writer,
    /// Every retry is caused by another thread.
    Retry,
    /// Speculation is accepted again.
    Spec,
    /// No lock outlives the call that took it.
    HeldForever,
}

/// A row about an invariant.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// The invariant.
    pub invariant: Invariant,
    /// Its name.
    pub id: &'static str,
    /// The statement.
    pub statement: &'static str,
    /// Place where the kernel states it or relies on it.
    pub source: &'static str,
}

use Invariant as I;

const fn row(invariant: Invariant, id: &'static str, statement: &'static str, source: &'static str) -> Statement {
    Statement { invariant, id, statement, source }
}

/// Every invariant, in the order of [`Invariant`].
pub const INVARIANTS: &[Statement] = &[
    row(
        I::UafPt,
        "I-UAF-PT",
        "no access to a freed page table, its lock or its share count",
        "mm/pgtable-generic.c:__pte_offset_map",
    ),
    row(
        I::UafVma,
        "I-UAF-VMA",
        "no access to a VMA after its memory may be reused",
        "Documentation/mm/process_addrs.rst",
    ),
    row(I::UafHl, "I-UAF-HL", "no access to a freed hugetlb vma_lock or resv_map", "mm/hugetlb.c:__hugetlb_zap_end"),
    row(
        I::Lost,
        "I-LOST",
        "no entry is written into a table that is not linked, except by the thread that unlinked it",
        "mm/pgtable-generic.c:pte_offset_map_lock",
    ),
    row(
        I::Unlink,
        "I-UNLINK",
        "a PTE table is unlinked under PML and PTL, or with mmap_lock, VMA and rmap held for write, or after its VMA left tree and rmap",
        "Documentation/mm/process_addrs.rst, page table freeing",
    ),
    row(
        I::Empty,
        "I-EMPTY",
        "a table unlinked under PML and PTL maps nothing at that moment",
        "mm/khugepaged.c:retract_page_tables",
    ),
    row(
        I::Marker,
        "I-MARKER",
        "a marker (uffd-wp, poison, guard) that user space was told of stays until user space removes it",
        "mm/userfaultfd.c, mm/madvise.c:madvise_guard_install",
    ),
    row(I::Leak, "I-LEAK", "teardown never frees a table with an entry in it", "mm/memory.c:free_pgtables"),
    row(
        I::Clobber,
        "I-CLOBBER",
        "an entry seen none and then filled was none when it was filled",
        "mm/memory.c:do_anonymous_page",
    ),
    row(
        I::BadPmd,
        "I-BADPMD",
        "a PMD value that is used as a pointer to a table is one at the time of use",
        "mm/khugepaged.c:check_pmd_state",
    ),
    row(
        I::Wlock,
        "I-WLOCK",
        "an entry changes only under its lock: a PTE under the PTL of its own table, a PMD under PML, a PUD under page_table_lock or what huge_pmd_unshare() asserts, the page cache under xa_lock",
        "Documentation/mm/process_addrs.rst, page table locks",
    ),
    row(
        I::Idx,
        "I-IDX",
        "the index stored in a folio is the one that its VMA implies",
        "mm/rmap.c:__page_set_anon_rmap",
    ),
    row(
        I::Prot,
        "I-PROT",
        "no writable entry in a VMA that denies writing once the system call that took the right has returned",
        "mm/mprotect.c:mprotect_fixup",
    ),
    row(
        I::Fill,
        "I-FILL",
        "empty entries are filled only with the mmap_lock or the VMA lock held",
        "Documentation/mm/process_addrs.rst, page table walks",
    ),
    row(
        I::Vexcl,
        "I-VEXCL",
        "a reader and a writer of one VMA never hold it at the same time",
        "include/linux/mmap_lock.h:vma_start_read",
    ),
    row(
        I::Vid,
        "I-VID",
        "a granted VMA read lock is for an attached VMA of that mm that covers the address",
        "mm/mmap_lock.c:lock_vma_under_rcu",
    ),
    row(I::Bal, "I-BAL", "a thread that is done holds nothing", "arch/x86/mm/fault.c:do_user_addr_fault"),
    row(I::Dbl, "I-DBL", "no lock is released more often than it was taken", "arch/x86/mm/fault.c:do_user_addr_fault"),
    row(I::Own, "I-OWN", "an exclusive lock is released by its holder", "kernel/locking/rwsem.c:__up_write"),
    row(
        I::Flag,
        "I-FLAG",
        "VM_FAULT_RETRY and VM_FAULT_COMPLETED mean that the lock was dropped, and every other result means that it \
         was not",
        "mm/memory.c:handle_mm_fault",
    ),
    row(
        I::Down,
        "I-DOWN",
        "holds of the mmap_lock exclude each other as process_addrs.rst says, downgraded ones too",
        "Documentation/mm/process_addrs.rst, mmap_lock",
    ),
    row(I::Order, "I-ORDER", "blocking acquisitions follow the lock order", "mm/rmap.c, mm/filemap.c: lock ordering"),
    row(
        I::State,
        "I-STATE",
        "VMA fields are written, and the trees that VMAs are in changed and walked, under the documented locks",
        "Documentation/mm/process_addrs.rst, VMA fields",
    ),
    row(
        I::Share,
        "I-SHARE",
        "the share count of a PMD table is the number of PUD entries that point to it, and the table is freed when \
         there is none",
        "mm/hugetlb.c:huge_pmd_unshare",
    ),
    row(
        I::Pool,
        "I-POOL",
        "a hugetlb fault within the reservation never finds the pool empty because of an unfinished zap",
        "mm/hugetlb.c:__hugetlb_zap_begin",
    ),
    row(
        I::Pin,
        "I-PIN",
        "gup-fast returns only pages that were mapped there during the call and not replaced",
        "mm/gup.c:gup_fast_pte_range",
    ),
    row(I::Tlb, "I-TLB", "a page is freed only after no CPU can hold a translation to it", "mm/mmu_gather.c"),
    row(
        I::Seq,
        "I-SEQ",
        "vm_sequence is even when no writer is in its write section",
        "the thread on speculative faults: vm_write_begin, vm_write_end",
    ),
    row(
        I::Stale,
        "I-STALE",
        "no decision rests on a value that an entry no longer has",
        "mm/pgtable-generic.c:pte_offset_map_rw_nolock",
    ),
    row(I::Dead, "G-DEAD", "no deadlock: every thread that must finish can finish", "mm/rmap.c: lock ordering"),
    row(
        I::Writer,
        "G-WRITER",
        "a blocked writer waits only for threads that need not wait for it",
        "the thread on waiting for migration",
    ),
    row(
        I::Retry,
        "G-RETRY",
        "every retry is caused by a step of another thread",
        "mm/pgtable-generic.c:pte_offset_map_lock",
    ),
    row(I::Spec, "G-SPEC", "a VMA without an active writer accepts speculation", "the thread on speculative faults"),
    row(
        I::HeldForever,
        "G-LEAK",
        "no lock is held for ever by a thread that has returned to user space",
        "arch/x86/mm/fault.c:do_user_addr_fault",
    ),
];

impl Invariant {
    /// Its row.
    #[must_use]
    pub(crate) fn statement(self) -> &'static Statement {
        &INVARIANTS[self as usize]
    }

    /// Its name: `I-LOST`, `G-DEAD`.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.statement().id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_where_they_are_looked_up() {
        for (i, row) in INVARIANTS.iter().enumerate() {
            assert_eq!(row.invariant as usize, i, "{}", row.id);
        }
    }
}
