//! mmap_locks, VMA locks and hugetlb locks: who holds them, and which rules that evaluates.

pub mod exclusion;
pub(in crate::model) mod hugetlb;
pub mod intervals;
pub mod mmap_lock;
pub(in crate::model) mod mmap_lock_rules;
pub(in crate::model) mod vma_lock;
