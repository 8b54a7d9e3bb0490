//! The shadow of one address space: which ranges are mapped and which pages were faulted. It explains, as far as
//! tracepoints show it, why a fault happened.

use std::collections::BTreeMap;

pub use crate::model::fault_cause::Cause;

/// x86 page-fault error code: the entry was present.
const PRESENT: u64 = 1;
/// x86 page-fault error code: the access was a write.
const WRITE: u64 = 2;

/// Regions of 2 MiB whose pages are followed, in one mm.
const REGIONS_MAX: usize = 1 << 14;
/// Ranges that are followed, in one mm.
const PIECES_MAX: usize = 1 << 16;

const PAGE_SHIFT: u32 = 12;
const REGION_SHIFT: u32 = 21;

/// A range that is mapped. A VMA may consist of several ranges, of which different things are known.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Last address, inclusive.
    end: u64,
    /// The VMA.
    id: u64,
    /// The range was mapped while the model watched, so its untouched pages are known to be untouched.
    fresh: bool,
    /// The value of [`Space::unmaps`] when the range was stored.
    stored: u64,
}

/// The shadow. An empty shadow knows nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Space {
    pieces: BTreeMap<u64, Piece>,
    touched: BTreeMap<u64, [u64; 8]>,
    /// The mm was seen from its exec on, so a range that is not in `pieces` is not mapped.
    whole: bool,
    /// Number of times that something was unmapped. Tracepoints do not say which range: the tree stores an empty range
    /// through another function, which emits no event if the node stays. A VMA that was stored before may therefore be
    /// gone, and its object may be in use elsewhere.
    unmaps: u64,
}

/// The effect of a store into the VMA tree on the pages below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// A VMA grows, shrinks, is split or merged: pages stay as they are.
    Keeps,
    /// A new mapping: no page of it has been touched.
    Maps,
    /// One of the two; tracepoints do not say which.
    Unclear,
}

impl Space {
    /// An exec has just made this mm, so every later mapping is seen.
    pub(crate) fn begin(&mut self) {
        self.whole = true;
    }

    /// Returns the cause of this fault, and remembers that the page was touched.
    pub(crate) fn fault(&mut self, addr: u64, error_code: u64) -> Cause {
        if addr >> 63 != 0 {
            return Cause::KernelAddress;
        }
        let (region, bit) = (addr >> REGION_SHIFT, addr >> PAGE_SHIFT & 511);
        let (word, mask) = ((bit / 64) as usize, 1u64 << (bit % 64));
        let before = match self.touched.get_mut(&region) {
            Some(words) => {
                let before = words[word] & mask;
                words[word] |= mask;
                before
            }
            None => {
                if self.touched.len() == REGIONS_MAX {
                    *self = Self::default();
                }
                let mut words = [0; 8];
                words[word] = mask;
                self.touched.insert(region, words);
                0
            }
        };
        if error_code & PRESENT != 0 {
            return if error_code & WRITE != 0 { Cause::WriteProtect } else { Cause::Spurious };
        }
        if before != 0 {
            return Cause::Refault;
        }
        match self.piece(addr) {
            Some(piece) if piece.fresh => Cause::FirstTouch,
            _ => Cause::Unknown,
        }
    }

    /// Something has been unmapped: munmap has downgraded the mmap_lock.
    pub(crate) fn unmapped(&mut self) {
        self.unmaps += 1;
    }

    /// Marks pages from `start` to `end` that were not seen to be touched as possibly touched.
    pub(crate) fn doubt_touched(&mut self, start: u64, end: u64) {
        if start <= end {
            self.pieces.range_mut(start..=end).for_each(|(_, piece)| piece.fresh = false);
        }
    }

    /// Entries kept, for a bound on the memory of all mms.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.pieces.len() + self.touched.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn piece(&self, addr: u64) -> Option<&Piece> {
        let (_, piece) = self.pieces.range(..=addr).next_back()?;
        (addr <= piece.end).then_some(piece)
    }

    /// The VMA tree now has `id` (0: nothing) over `[start, end]`.
    pub(crate) fn store(&mut self, start: u64, end: u64, id: u64) {
        if end < start || self.pieces.len() >= PIECES_MAX {
            *self = Self::default();
            return;
        }
        let below = self.cut_out(start, end, id != 0);
        if id == 0 {
            self.forget_pages(start, end);
            return;
        }
        let change = self.change(start, end, id, &below);
        if change != Change::Keeps {
            self.forget_pages(start, end);
        }
        let stored = self.unmaps;
        let mut insert = |from: u64, to: u64, fresh: bool| {
            self.pieces.insert(from, Piece { end: to, id, fresh, stored });
        };
        if change != Change::Keeps {
            insert(start, end, change == Change::Maps && self.whole);
            return;
        }
        // A mapped range stays as known as it was. The range between is new. Neighbours of which the same is known become one.
        let mut known: Vec<(u64, u64, bool)> = Vec::new();
        let mut add = |from: u64, to: u64, fresh: bool| match known.last_mut() {
            Some((_, end, of)) if *of == fresh => *end = to,
            _ => known.push((from, to, fresh)),
        };
        let mut next = start;
        for (from, piece) in below {
            if next < from {
                add(next, from - 1, self.whole);
            }
            add(from, piece.end, piece.fresh);
            next = piece.end.saturating_add(1);
        }
        if next <= end && next >= start {
            add(next, end, self.whole);
        }
        known.into_iter().for_each(|(from, to, fresh)| insert(from, to, fresh));
    }

    /// Takes the pieces within `[start, end]` out, cut to that range, in order. If `is_replaced`, the caller puts another one at
    /// `start`, in the place of one that is there.
    fn cut_out(&mut self, start: u64, end: u64, is_replaced: bool) -> Vec<(u64, Piece)> {
        let mut found: Vec<(u64, Piece)> =
            self.pieces.range(..=end).rev().take_while(|(_, p)| p.end >= start).map(|(s, p)| (*s, *p)).collect();
        found.reverse();
        for (from, piece) in &mut found {
            if *from < start {
                if let Some(front) = self.pieces.get_mut(from) {
                    front.end = start - 1;
                }
                *from = start;
            } else if *from > start || !is_replaced {
                self.pieces.remove(from);
            }
            if piece.end > end {
                self.pieces.insert(end + 1, *piece);
                piece.end = end;
            }
        }
        found
    }

    /// Returns the effect of storing `id` over `[start, end]`, where `below` was until now.
    ///
    /// Before it maps over something, the kernel splits VMAs at both ends (mm/vma.c:
    /// vms_gather_munmap_vmas), so a new mapping always covers whole VMAs; and a
    /// split always leaves a part.
    fn change(&self, start: u64, end: u64, id: u64, below: &[(u64, Piece)]) -> Change {
        let Some((_, first)) = below.first() else { return Change::Maps };
        let current = below.iter().all(|(_, p)| p.stored == self.unmaps);
        if below.iter().any(|(_, p)| p.id == id) {
            return if current { Change::Keeps } else { Change::Unclear };
        }
        let before = start.checked_sub(1).and_then(|a| self.piece(a)).map(|p| p.id);
        let after = end.checked_add(1).and_then(|a| self.piece(a)).map(|p| p.id);
        let last = below.last().map_or(first, |(_, p)| p);
        let part = before == Some(first.id) || after == Some(last.id);
        match (part, current) {
            (false, _) => Change::Maps,
            (true, true) => Change::Keeps,
            (true, false) => Change::Unclear,
        }
    }

    fn forget_pages(&mut self, start: u64, end: u64) {
        let regions: Vec<u64> =
            self.touched.range(start >> REGION_SHIFT..=end >> REGION_SHIFT).map(|(r, _)| *r).collect();
        for region in regions {
            let base = region << REGION_SHIFT;
            let last = base | ((1 << REGION_SHIFT) - 1);
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
        // The VMA grows, and the known pages stay known.
        space.store(0x1000, 0x5fff, 7);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::Refault);
        assert_eq!(space.fault(0x3000, USER_WRITE), Cause::FirstTouch);
    }

    #[test]
    fn a_split_keeps_pages_and_a_new_mapping_over_a_whole_vma_does_not() {
        let mut space = Space::default();
        space.begin();
        space.store(0x1000, 0x4fff, 7);
        space.fault(0x1000, USER_WRITE);
        // mprotect of the first half.
        space.store(0x1000, 0x2fff, 8);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::Refault);
        assert_eq!(space.fault(0x3000, USER_WRITE), Cause::FirstTouch, "the rest of the old one");
        // A second mprotect merges the two.
        space.store(0x1000, 0x4fff, 7);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::Refault);
        // MAP_FIXED over all of it.
        space.store(0x1000, 0x4fff, 9);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::FirstTouch);
    }

    #[test]
    fn what_grows_beyond_what_was_known_is_known_there() {
        let mut space = Space::default();
        space.store(0x1000, 0x4fff, 7);
        space.begin();
        space.store(0x1000, 0x7fff, 7);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::Unknown);
        assert_eq!(space.fault(0x5000, USER_WRITE), Cause::FirstTouch);
    }

    #[test]
    fn after_something_was_unmapped_a_part_may_be_a_new_mapping() {
        let mut space = Space::default();
        space.begin();
        space.store(0x1000, 0x4fff, 7);
        space.fault(0x1000, USER_WRITE);
        space.unmapped();
        space.store(0x1000, 0x2fff, 8);
        assert_eq!(space.fault(0x1000, USER_WRITE), Cause::Unknown);
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
