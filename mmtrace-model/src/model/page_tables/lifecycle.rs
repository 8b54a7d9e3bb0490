//! The life of a page table, and the operations that each stage allows.

use crate::model::invariant::Invariant;

/// The stage of a table's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum TableState {
    /// Not allocated.
    Free,
    /// Allocated, not published.
    New,
    /// Reachable from its mm.
    Linked,
    /// Reachable only through pointers that were read earlier.
    Unlinked,
    /// In reserve under a huge PMD (`pgtable_trans_huge_deposit`).
    Deposited,
    /// On its way to be freed after a grace period or a flush.
    Pending,
    /// Freed: its memory may be anything.
    Freed,
}

impl TableState {
    /// From a byte that `as u8` made.
    #[must_use]
    pub const fn decode(byte: u8) -> Self {
        match byte {
            0 => Self::Free,
            1 => Self::New,
            2 => Self::Linked,
            3 => Self::Unlinked,
            4 => Self::Deposited,
            5 => Self::Pending,
            _ => Self::Freed,
        }
    }

    /// Checks that a thread may read its entries, its lock or its share count.
    ///
    /// # Errors
    ///
    /// The invariant that an access breaks.
    pub const fn access(self) -> Result<(), Invariant> {
        match self {
            Self::Freed | Self::Free => Err(Invariant::UafPt),
            _ => Ok(()),
        }
    }

    /// Checks that a thread may write an entry if it holds the table's PTL (`locked`), or if it made or unlinked the
    /// table (`owner`).
    ///
    /// # Errors
    ///
    /// The invariant that a write breaks.
    pub const fn write(self, locked: bool, owner: bool) -> Result<(), Invariant> {
        if let Err(broken) = self.access() {
            return Err(broken);
        }
        if owner {
            return Ok(());
        }
        match self {
            Self::Linked | Self::New => {}
            _ => return Err(Invariant::Lost),
        }
        if locked { Ok(()) } else { Err(Invariant::Wlock) }
    }
}

/// The locks and conditions under which a table is unlinked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlinker {
    /// PML is held.
    pub pml: bool,
    /// The table's PTL is held.
    pub ptl: bool,
    /// The mmap_lock is held for write.
    pub mmap_write: bool,
    /// The VMA is write-locked.
    pub vma_write: bool,
    /// The rmap locks of the VMA are held for write.
    pub rmap_write: bool,
    /// The VMA has left the tree and the rmap trees.
    pub torn_down: bool,
}

impl Unlinker {
    /// Checks that they suffice, for a table that still holds an entry that is not a marker (`occupied`).
    ///
    /// # Errors
    ///
    /// The invariant that is broken.
    pub const fn may(self, occupied: bool) -> Result<(), Invariant> {
        if self.torn_down || (self.mmap_write && self.vma_write && self.rmap_write) {
            return Ok(());
        }
        if !(self.pml && self.ptl) {
            return Err(Invariant::Unlink);
        }
        if occupied { Err(Invariant::Empty) } else { Ok(()) }
    }
}
