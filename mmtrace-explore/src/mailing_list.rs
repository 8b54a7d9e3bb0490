//! The five mailing-list threads from which most scenarios come: the question of each, and the answer.

/// A mailing-list thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailingListThread {
    /// 0 to 4, as in the ids of its scenarios: `SC-4.1` comes from the thread with number 4.
    pub number: u8,
    /// Its short name: the folder of its scenarios, and its page in docs/threads/.
    pub name: &'static str,
    /// Its subject line.
    pub subject: &'static str,
    /// The participants of the discussion, and its date.
    pub posted: &'static str,
    /// The question.
    pub question: &'static str,
    /// The answer, as kernels have it today.
    pub merged: &'static str,
}

/// All five, by number.
pub const THREADS: [&MailingListThread; 5] = [HUGETLB_WALK, PTE_NOLOCK, MIGRATION_WAIT, SPECULATIVE_FAULT, RETRACT];

/// Page-table walks over hugetlb VMAs.
pub(crate) const HUGETLB_WALK: &MailingListThread = &MailingListThread {
    number: 0,
    name: "hugetlb_walk",
    subject: "[PATCH RFC 04/12] mm: Introduce vma_pgtable_walk_{begin|end}()",
    posted: "Peter Xu, Aneesh Kumar K.V, November 2023",
    question: "A page-table walk over a hugetlb VMA takes the hugetlb lock. Is that needed only where PMD pages \
               can be shared? What does the lock of private mappings protect?",
    merged: "vma_pgtable_walk_begin() and vma_pgtable_walk_end() are in 6.12 and 7.2 as posted. A walk needs the lock \
             only where PMD sharing is possible. Taking it always is harmless. Holding i_mmap_rwsem protects a walk \
             too, because an unshare holds it for write. The lock of private mappings protects no page table. It \
             orders MADV_DONTNEED, whose pages sit in the gather batch until the flush, before a fault that needs one \
             of those pages. A child of fork() has no such lock, so its faults can still find the pool empty.",
};

/// PTE tables mapped without their lock.
pub(crate) const PTE_NOLOCK: &MailingListThread = &MailingListThread {
    number: 1,
    name: "pte_nolock",
    subject: "[PATCH v2 01/14] mm: pgtable: introduce pte_offset_map_{ro|rw}_nolock()",
    posted: "Qi Zheng, David Hildenbrand, August 2024",
    question: "A table that a thread mapped without its lock may be removed before the thread takes the lock, and may \
               be freed after the thread's RCU section. What must the thread check again?",
    merged: "A thread that fills an empty entry needs pmd_same(): every entry of a dead table is none, so pte_same() \
             passes on it. A thread that changes an existing entry may use pte_same() if every remover empties a table \
             before it unlinks the table. An anonymous collapse does not: it clears the PMD entry without the PTL. No \
             recheck helps against it. Only the locks that it takes for write help: the mmap_lock, the VMA lock and \
             anon_vma.",
};

/// Faults that wait for a migration.
pub(crate) const MIGRATION_WAIT: &MailingListThread = &MailingListThread {
    number: 2,
    name: "migration_wait",
    subject: "[PATCH v2 4/6] mm: drop VMA lock before waiting for migration",
    posted: "Suren Baghdasaryan, Peter Xu, June 2023",
    question: "A fault that waits for a migration keeps the VMA lock, and every writer of the VMA waits too. May the \
               fault drop the lock first, and how does it say that it has dropped it?",
    merged: "The patch was not merged. Nothing keeps the page with the PMD entry if a fault drops the lock before \
             migration_entry_wait(). In 6.12 and 7.2, a fault waits with the lock held. Dropping the lock after the \
             PTL is taken would be safe; hugetlb does so with its own lock. The convention was merged: in VMA mode, \
             VM_FAULT_RETRY and VM_FAULT_COMPLETED mean that the lock is released.",
};

/// Faults that take no lock.
pub(crate) const SPECULATIVE_FAULT: &MailingListThread = &MailingListThread {
    number: 3,
    name: "speculative_fault",
    subject: "[RFC v5 04/11] mm: VMA sequence count",
    posted: "Peter Zijlstra, Laurent Dufour, Anshuman Khandual, June to August 2017",
    question: "A speculative fault takes no lock and checks a sequence count. Why does the count go up around \
               unmap_page_range()? Why does vma_adjust() bump the count of the next VMA too? Which changes can a fault \
               not tell apart?",
    merged: "The series was never merged, and per-VMA locks took its place. A fault is safe if the count goes up \
             around the zap, or if it checks `erased` together with the count under the PTL. One of the two is needed. \
             Checking `erased` only before the count is not enough. The writer must bump the next VMA because its \
             start, offset or rights change in the same call.",
};

/// Page tables that khugepaged removes without mmap_lock.
pub(crate) const RETRACT: &MailingListThread = &MailingListThread {
    number: 4,
    name: "retract",
    subject: "[PATCH 09/12] mm/khugepaged: retract_page_tables() without mmap or vma lock",
    posted: "Hugh Dickins, Peter Xu, May 2023",
    question: "retract_page_tables() checks for userfaultfd-wp before it takes the page-table locks. Can a marker \
               appear in between, and is the mmap_lock needed against that?",
    merged: "A marker can appear in between, and the mmap_lock is not needed: a second check under the locks is \
             enough, and was merged in 6.6. This check knows only the markers that it was written for. The kernel \
             still loses poison markers in a VMA that is not registered for write-protection (6.12, 7.2), and guard \
             markers where it collapses a PTE-mapped huge page (7.2). Both losses were seen on real kernels.",
};
