//! The five mailing-list threads that most scenarios come from.

/// A mailing-list thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailingListThread {
    /// Its number, 0 to 4, as in the ids of its scenarios: `SC-4.1` comes from thread 4.
    pub number: u8,
    /// Its name: the folder of its scenarios, and its page in docs/threads/.
    pub name: &'static str,
    /// The subject of its first message.
    pub subject: &'static str,
    /// Who wrote, and when.
    pub posted: &'static str,
    /// The question that it argues about.
    pub question: &'static str,
    /// What was merged, and what the answer means for kernels today.
    pub merged: &'static str,
}

/// The threads, by number.
pub const THREADS: [&MailingListThread; 5] = [HUGETLB_WALK, PTE_NOLOCK, MIGRATION_WAIT, SPECULATIVE_FAULT, RETRACT];

/// Page-table walks over hugetlb VMAs.
pub const HUGETLB_WALK: &MailingListThread = &MailingListThread {
    number: 0,
    name: "hugetlb_walk",
    subject: "[PATCH RFC 04/12] mm: Introduce vma_pgtable_walk_{begin|end}()",
    posted: "Peter Xu, Aneesh Kumar K.V, November 2023",
    question: "A page-table walk over a hugetlb VMA takes the hugetlb vma lock. Is that needed only where PMD pages \
               can be shared? And what is the lock of private mappings there for?",
    merged: "vma_pgtable_walk_begin() and _end() are in 6.12 and 7.2 as posted. The walk needs the lock only where \
             PMD sharing is possible; taking it always is harmless. Holding i_mmap_rwsem does as well, since an \
             unshare holds it for write. The lock of private mappings protects no page table: it orders \
             MADV_DONTNEED, whose pages sit in the gather batch until the flush, before a fault that needs one of \
             them. A child of fork() has no such lock, so its faults can still find the pool empty.",
};

/// PTE tables mapped without their lock.
pub const PTE_NOLOCK: &MailingListThread = &MailingListThread {
    number: 1,
    name: "pte_nolock",
    subject: "[PATCH v2 01/14] mm: pgtable: introduce pte_offset_map_{ro|rw}_nolock()",
    posted: "Qi Zheng, David Hildenbrand, August 2024",
    question: "A table that was mapped without its lock may be removed before the lock is taken, and freed after \
               the RCU section. What must be looked at again, and by whom?",
    merged: "Who fills an empty entry needs pmd_same(): a dead table is all none, so pte_same() passes on it. Who \
             changes an entry that was there may use pte_same(), as long as every remover empties a table before \
             it unlinks it. Anon collapse does not, and clears the PMD without the PTL: against it no recheck \
             helps, only its locks do (mmap_lock and VMA for write, anon_vma for write).",
};

/// Faults that wait for a migration.
pub const MIGRATION_WAIT: &MailingListThread = &MailingListThread {
    number: 2,
    name: "migration_wait",
    subject: "[PATCH v2 4/6] mm: drop VMA lock before waiting for migration",
    posted: "Suren Baghdasaryan, Peter Xu, June 2023",
    question: "A fault that waits for a migration keeps the VMA lock, and with it every writer. May it drop the \
               lock first, and how does it say that it has?",
    merged: "Not merged: dropping the lock before migration_entry_wait() leaves nothing that keeps the page with \
             the PMD entry. 6.12 and 7.2 wait with the lock held. Dropping it after the PTL is taken would be \
             safe, as hugetlb does with its own lock. What was merged is the convention: in VMA mode \
             VM_FAULT_RETRY and VM_FAULT_COMPLETED mean that the lock is gone.",
};

/// Faults that take no lock.
pub const SPECULATIVE_FAULT: &MailingListThread = &MailingListThread {
    number: 3,
    name: "speculative_fault",
    subject: "[RFC v5 04/11] mm: VMA sequence count",
    posted: "Peter Zijlstra, Laurent Dufour, Anshuman Khandual, June to August 2017",
    question: "A speculative fault takes no lock and looks at a sequence count. Why is unmap_page_range() wrapped \
               in it, why does vma_adjust() bump the next VMA too, and what is it that cannot be told apart?",
    merged: "Never merged; per-VMA locks took its place. Either the count goes up around the zap, or `erased` is \
             looked at together with the count under the PTL: one of the two is needed, and looking at it only \
             before the count is not enough. The next VMA must be bumped because its start, offset or rights \
             change in the same call.",
};

/// Page tables that khugepaged removes without mmap_lock.
pub const RETRACT: &MailingListThread = &MailingListThread {
    number: 4,
    name: "retract",
    subject: "[PATCH 09/12] mm/khugepaged: retract_page_tables() without mmap or vma lock",
    posted: "Hugh Dickins, Peter Xu, May 2023",
    question: "retract_page_tables() looks for userfaultfd-wp before it takes the page-table locks. Can a marker \
               spring up in between, and would the mmap_lock be needed against it?",
    merged: "It can, and the mmap_lock is not needed: looking again under the locks is enough, and was merged in \
             6.6. But that test knows only of the markers it was written for: poison markers in a VMA that is not \
             registered for write-protection (6.12, 7.2), and guard markers where a PTE-mapped huge page is \
             collapsed (7.2), are still lost. Both were seen on real kernels.",
};
