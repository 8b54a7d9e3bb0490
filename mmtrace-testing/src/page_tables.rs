//! Page tables and hugetlb locks of a kernel made up.

use mmtrace_common::{Column, Kind};

use crate::kernel::{LENGTH, MM, Made, START, VMA};

/// `page_offset_base`
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
/// Address of the PMD entry for the first VMA's start.
pub const PMDP: u64 = 0xffff_8880_3000_0000;
/// A PMD entry that maps a huge page.
pub const HUGE: u64 = 0x8000_0004_0000_00e7;
/// A mapping of hugetlbfs.
pub const SHARED: u64 = 0x80;

/// A PMD entry that points to the table of this frame.
pub const fn table(frame: u64) -> u64 {
    frame << 12 | 0x67
}

/// Returns the address of the PTE for `addr` in the PTE table in `frame`.
pub const fn pte(frame: u64, addr: u64) -> u64 {
    DIRECT_MAP + (frame << 12) + (addr >> 12 & 511) * 8
}

/// An entry that is a marker (arch/x86/include/asm/pgtable_64.h: `__swp_entry`).
pub const fn marker(bits: u64) -> u64 {
    (!bits << 14 >> 5) | 31 << 59
}

/// Contents of a PTE table when it is unlinked.
#[derive(Clone, Copy, Default)]
pub struct Inside {
    pub markers: u64,
    pub presents: u64,
    pub entry: u64,
    pub vm_flags: u64,
}

impl Made {
    /// As [`Made::begun`], and where the direct map begins is known, from maps in another mm.
    pub fn learned() -> Self {
        let mut made = Self::begun();
        for n in 0..10 {
            let (pmdp, frame) = (PMDP + 0x1000 + n % 2 * 8, 0x900 + n % 2);
            made.locked(4, MM + 0x1000, pmdp, START, pte(frame, START), table(frame));
        }
        made
    }

    /// `pte_offset_map_lock()` returns; the PMD entry is then `pmd`.
    pub fn locked(&mut self, tid: u32, mm: u64, pmdp: u64, addr: u64, ptep: u64, pmd: u64) -> &mut Self {
        let values = [(Column::Pmdp, pmdp), (Column::Addr, addr), (Column::Ptep, ptep), (Column::Pmd, pmd)];
        self.at(tid, Kind::PteOffsetMapLock, mm, &values)
    }

    /// The first address is mapped and locked, in this table, by the first PMD entry.
    pub fn map_lock(&mut self, tid: u32, frame: u64) -> &mut Self {
        self.locked(tid, MM, PMDP, START, pte(frame, START), table(frame))
    }

    /// The first address is mapped without lock, by the entry `used`.
    pub fn map_nolock(&mut self, tid: u32, ptep: u64, used: u64) -> &mut Self {
        self.nolock(tid, PMDP, START, ptep, used)
    }

    pub fn nolock(&mut self, tid: u32, pmdp: u64, addr: u64, ptep: u64, used: u64) -> &mut Self {
        let values = [
            (Column::Pmdp, pmdp),
            (Column::Addr, addr),
            (Column::Ptep, ptep),
            (Column::Pmd, used),
            (Column::PmdUsed, used),
        ];
        self.say(tid, Kind::PteOffsetMapRwNolock, &values)
    }

    /// `pmd_install()` has linked this table.
    pub fn install(&mut self, tid: u32, pmdp: u64, frame: u64) -> &mut Self {
        let values = [(Column::Pmdp, pmdp), (Column::Pmd, table(frame)), (Column::Installed, 1)];
        self.say(tid, Kind::PmdInstall, &values)
    }

    /// `pmdp_collapse_flush()` is entered.
    pub fn unlink(&mut self, tid: u32, pmdp: u64, frame: u64, inside: Inside) -> &mut Self {
        let values = [
            (Column::Vma, VMA),
            (Column::Addr, START),
            (Column::Pmdp, pmdp),
            (Column::Pmd, table(frame)),
            (Column::Entry, inside.entry),
            (Column::VmFlags, inside.vm_flags),
            (Column::Markers, inside.markers),
            (Column::Presents, inside.presents),
            (Column::EntryIndex, 0),
            (Column::Scanned, 1),
        ];
        self.say(tid, Kind::PmdpCollapseFlush, &values)
    }

    /// And has returned.
    pub fn unlinked(&mut self, tid: u32, frame: u64) -> &mut Self {
        self.at(tid, Kind::PmdpCollapseFlushReturn, 0, &[(Column::Pmd, table(frame))])
    }

    /// An empty table is unlinked at the first PMD entry.
    pub fn take_out(&mut self, tid: u32, frame: u64) -> &mut Self {
        self.unlink(tid, PMDP, frame, Inside::default()).unlinked(tid, frame)
    }

    /// `pte_free_defer()`
    pub fn defer(&mut self, tid: u32, frame: u64) -> &mut Self {
        self.say(tid, Kind::PteFreeDefer, &[(Column::Table, frame)])
    }

    /// `pte_free_now()`, on top of whoever runs.
    pub fn freed(&mut self, tid: u32, frame: u64) -> &mut Self {
        self.at(tid, Kind::PteFreeNow, 0, &[(Column::Table, frame)])
    }

    pub fn pte_mapped(&mut self, tid: u32) -> &mut Self {
        self.say(tid, Kind::CollapsePteMappedThp, &[(Column::Addr, START)])
    }

    pub fn pte_mapped_done(&mut self, tid: u32) -> &mut Self {
        self.say(tid, Kind::CollapsePteMappedThpReturn, &[(Column::Addr, START), (Column::Status, 1)])
    }

    /// An event of the hugetlb lock of a VMA, whose lock is `object`.
    pub fn hugetlb(&mut self, tid: u32, kind: Kind, vma: u64, object: u64, vm_flags: u64) -> &mut Self {
        self.say(tid, kind, &[(Column::Vma, vma), (Column::LockObject, object), (Column::VmFlags, vm_flags)])
    }

    /// The hugetlb lock of a VMA was tried for writing, and got.
    pub fn trylock(&mut self, tid: u32, vma: u64, object: u64, got: bool) -> &mut Self {
        let values = [
            (Column::Vma, vma),
            (Column::LockObject, object),
            (Column::VmFlags, SHARED),
            (Column::Success, u64::from(got)),
        ];
        self.say(tid, Kind::HugetlbVmaTrylockWrite, &values)
    }

    pub fn unshare(&mut self, tid: u32, vma: u64) -> &mut Self {
        self.say(tid, Kind::HugePmdUnshare, &[(Column::Vma, vma), (Column::Addr, START + LENGTH)])
    }

    /// An event whose only value is the VMA.
    pub fn of_vma(&mut self, tid: u32, kind: Kind, vma: u64) -> &mut Self {
        self.say(tid, kind, &[(Column::Vma, vma)])
    }
}
