//! A shadow of one address space: which ranges are mapped, which pages were
//! faulted, and from that why a fault happened, as far as tracepoints can tell.

use std::collections::BTreeMap;

use serde::Serialize;

/// Why a fault happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// First fault on the page since its range was mapped.
    FirstTouch,
    /// A page that had been faulted before is not present: reclaimed, discarded
    /// (MADV_DONTNEED) or swapped out; tracepoints do not say which.
    Refault,
    /// A write to an entry that is present and read-only: copy-on-write, zero page,
    /// dirty tracking or write-protection.
    WriteProtect,
    /// A present entry refused the access otherwise, or was present by the time of a look: a spurious fault.
    Spurious,
    /// A migration entry is known to be at this address in some mm.
    Migration,
    /// An address of the kernel's half.
    KernelAddress,
    /// The page's history is not known.
    Unknown,
}

impl Cause {
    /// Every cause, in the order of reports.
    pub const ALL: [Self; 7] = [
        Self::FirstTouch,
        Self::Refault,
        Self::WriteProtect,
        Self::Spurious,
        Self::Migration,
        Self::KernelAddress,
        Self::Unknown,
    ];

    /// As reports call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstTouch => "first_touch",
            Self::Refault => "refault",
            Self::WriteProtect => "write_protect",
            Self::Spurious => "spurious",
            Self::Migration => "migration",
            Self::KernelAddress => "kernel_address",
            Self::Unknown => "unknown",
        }
    }
}

/// x86 page-fault error code: the entry was present.
const PRESENT: u64 = 1;
/// x86 page-fault error code: the access was a write.
const WRITE: u64 = 2;

/// Regions of 2 MiB whose pages are followed, over one mm.
const REGIONS_MAX: usize = 1 << 14;
/// VMAs that are followed, over one mm.
const VMAS_MAX: usize = 1 << 16;

const PAGE_SHIFT: u32 = 12;
const REGION_SHIFT: u32 = 21;

#[derive(Clone, Copy, Debug)]
struct Vma {
    end: u64,
    id: u64,
    /// Mapped while being watched, over a range known to be empty: an untouched page is known to be untouched.
    fresh: bool,
    /// [`Space::unmaps`] when it was stored.
    stored: u64,
}

/// The shadow. Empty means: nothing is known.
#[derive(Clone, Debug, Default)]
pub struct Space {
    vmas: BTreeMap<u64, Vma>,
    touched: BTreeMap<u64, [u64; 8]>,
    /// The mm was seen from its exec on: a range that is not in `vmas` is not mapped.
    whole: bool,
    /// How often something was unmapped. Tracepoints do not say what: the tree's
    /// stores of nothing go through another function, which is silent when the
    /// node stays. So from then on a VMA at a known address may be another object.
    unmaps: u64,
}

impl Space {
    /// An exec has just made this mm.
    pub fn begin(&mut self) {
        *self = Self { whole: true, ..Self::default() };
    }

    /// What this fault is about; remembers that the page was touched.
    pub fn fault(&mut self, addr: u64, error_code: u64) -> Cause {
        if addr >> 63 != 0 {
            return Cause::KernelAddress;
        }
        let (region, bit) = (addr >> REGION_SHIFT, addr >> PAGE_SHIFT & 511);
        let (word, mask) = ((bit / 64) as usize, 1u64 << (bit % 64));
        if !self.touched.contains_key(&region) {
            if self.touched.len() == REGIONS_MAX {
                *self = Self::default();
            }
            self.touched.insert(region, [0; 8]);
        }
        let before = self.touched.get_mut(&region).map_or(0, |words| {
            let before = words[word] & mask;
            words[word] |= mask;
            before
        });
        if error_code & PRESENT != 0 {
            return if error_code & WRITE != 0 { Cause::WriteProtect } else { Cause::Spurious };
        }
        if before != 0 {
            return Cause::Refault;
        }
        match self.vma(addr) {
            Some(vma) if vma.fresh => Cause::FirstTouch,
            _ => Cause::Unknown,
        }
    }

    /// Something has been unmapped: munmap has downgraded the mmap_lock.
    pub fn unmapped(&mut self) {
        self.unmaps += 1;
    }

    fn vma(&self, addr: u64) -> Option<&Vma> {
        let (_, vma) = self.vmas.range(..=addr).next_back()?;
        (addr <= vma.end).then_some(vma)
    }

    /// The VMA tree now has `id` (0: nothing) over `[start, end]`.
    pub fn store(&mut self, start: u64, end: u64, id: u64) {
        if end < start || self.vmas.len() >= VMAS_MAX {
            *self = Self::default();
            return;
        }
        // The same VMA may grow or shrink over its own range; any other one that is
        // still listed there was unmapped unseen, or is being split or merged.
        let overlapping: Vec<(u64, Vma)> =
            self.vmas.range(..=end).rev().take_while(|(_, v)| v.end >= start).map(|(s, v)| (*s, *v)).collect();
        let own = overlapping.iter().find(|(_, v)| v.id == id && v.stored == self.unmaps).map(|(_, v)| v.fresh);
        let empty = overlapping.is_empty();
        for (old_start, old) in overlapping {
            self.vmas.remove(&old_start);
            if old_start < start {
                self.vmas.insert(old_start, Vma { end: start - 1, ..old });
            }
            if old.end > end {
                self.vmas.insert(end + 1, old);
            }
        }
        if id == 0 {
            self.forget_pages(start, end);
            return;
        }
        let fresh = match own {
            Some(fresh) => fresh,
            None => empty && self.whole,
        };
        if own.is_none() {
            // Pages of what was here before are not this VMA's, or are: not known.
            self.forget_pages(start, end);
        }
        self.vmas.insert(start, Vma { end, id, fresh, stored: self.unmaps });
    }

    fn forget_pages(&mut self, start: u64, end: u64) {
        let regions: Vec<u64> =
            self.touched.range(start >> REGION_SHIFT..=end >> REGION_SHIFT).map(|(r, _)| *r).collect();
        for region in regions {
            let base = region << REGION_SHIFT;
            let last = base + (1 << REGION_SHIFT) - 1;
            if start <= base && end >= last {
                self.touched.remove(&region);
                continue;
            }
            let from = (start.max(base) - base) >> PAGE_SHIFT;
            let to = (end.min(last) - base) >> PAGE_SHIFT;
            if let Some(words) = self.touched.get_mut(&region) {
                for bit in from..=to {
                    words[(bit / 64) as usize] &= !(1 << (bit % 64));
                }
            }
        }
    }

    /// Number of VMAs that are followed.
    #[must_use]
    pub fn vmas(&self) -> usize {
        self.vmas.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER_WRITE: u64 = 4 | 2;

    #[test]
    fn a_page_is_touched_first_once() {
        let mut space = Space::default();
        space.begin();
        space.store(0x1000, 0x4fff, 7);
        assert_eq!(space.fault(0x1234, USER_WRITE), Cause::FirstTouch);
        assert_eq!(space.fault(0x1fff, USER_WRITE), Cause::Refault);
        assert_eq!(space.fault(0x2000, USER_WRITE | 1), Cause::WriteProtect);
        assert_eq!(space.fault(0x5000, USER_WRITE), Cause::Unknown);
        // It grows: what was known stays known.
        space.store(0x1000, 0x5fff, 7);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::Refault);
        assert_eq!(space.fault(0x3000, USER_WRITE), Cause::FirstTouch);
    }

    #[test]
    fn another_vma_over_a_range_that_was_not_seen_to_go_is_not_known() {
        let mut space = Space::default();
        space.begin();
        space.store(0x1000, 0x4fff, 7);
        space.fault(0x1000, USER_WRITE);
        space.store(0x1000, 0x2fff, 8);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::Unknown);
        assert_eq!(space.fault(0x3000, USER_WRITE), Cause::FirstTouch, "the rest of the old one");
    }

    #[test]
    fn a_vma_at_the_address_of_one_that_may_be_gone_is_not_known() {
        let mut space = Space::default();
        space.begin();
        space.store(0x1000, 0x4fff, 7);
        space.fault(0x1000, USER_WRITE);
        space.unmapped();
        // The slab hands the same object out again, for a new mapping of the same range.
        space.store(0x1000, 0x4fff, 7);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::Unknown);
    }

    #[test]
    fn nothing_is_claimed_of_an_mm_seen_in_the_middle_of_its_life() {
        let mut space = Space::default();
        space.store(0x1000, 0x4fff, 7);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::Unknown);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::Refault);
        assert_eq!(space.fault(0xffff_8000_0000_0000, 0), Cause::KernelAddress);
    }

    #[test]
    fn hostile_ranges_do_no_harm() {
        let mut space = Space::default();
        space.store(0, u64::MAX, 1);
        space.store(u64::MAX, u64::MAX, 2);
        space.store(5, 4, 3);
        space.store(0, 0, 0);
        space.fault(u64::MAX, u64::MAX);
    }
}
