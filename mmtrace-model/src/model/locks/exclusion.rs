//! Exclusion between holds of a lock, and the order in which locks are taken.

pub use crate::model::lock_mode::Mode;

/// A place in the lock order; the outermost lock is lowest (mm/rmap.c and mm/filemap.c, the comments on lock ordering,
/// 6.12 and 7.2). The numbers are mmtrace's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rank {
    /// `mmap_lock`.
    MmapLock = 20,
    /// `hugetlb_fault_mutex`.
    HugetlbFaultMutex = 24,
    /// The hugetlb lock: `hugetlb_vma_lock`, or `resv_map.rw_sema`.
    HugetlbVmaLock = 26,
    /// `mapping->invalidate_lock`.
    InvalidateLock = 30,
    /// The folio lock.
    FolioLock = 40,
    /// The VMA lock, for write.
    VmaWrite = 46,
    /// `i_mmap_rwsem`.
    ImmapRwsem = 50,
    /// The root anon_vma's rwsem.
    AnonVma = 60,
    /// `page_table_lock` and PML.
    PageTableLock = 70,
    /// PTL.
    Ptl = 72,
    /// A second PTL.
    PtlNested = 74,
}

#[cfg(test)]
mod tests {
    use super::Mode::{Downgraded, Read, Write};

    #[test]
    fn the_table_of_process_addrs() {
        for (a, b, excludes) in [
            (Read, Read, false),
            (Read, Downgraded, false),
            (Read, Write, true),
            (Downgraded, Downgraded, true),
            (Downgraded, Write, true),
            (Write, Write, true),
        ] {
            assert_eq!((a.excludes(b), b.excludes(a)), (excludes, excludes), "{a:?} {b:?}");
        }
    }
}
