//! What the page tables had at the address of a fault, when the CPU raised it.

use core::fmt;

/// The entry at which a walk of the page tables ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing: `pte_none()`.
    None,
    /// A page, or a huge page.
    Present {
        /// Writes are allowed.
        writable: bool,
        /// Instruction fetches are not allowed.
        no_exec: bool,
        /// userfaultfd has write-protected it.
        uffd_wp: bool,
    },
    /// A page that the CPU may not touch: `pte_protnone()`. A NUMA hint, or a mapping without any access.
    ProtNone,
    /// No page: where it is instead, or a mark.
    Swap {
        /// The swap type (include/linux/swap.h): that of a swap file, or one that the kernel keeps for itself.
        of: u8,
        /// The lowest three bits of the offset. A marker has its bits there.
        offset: u8,
        /// userfaultfd has write-protected it.
        uffd_wp: bool,
    },
    /// A huge page whose entry was being changed: not present, and no swap entry either.
    Changing,
    /// The error code has bits beyond the 16 that are recorded, so the entry does not tell why the access was refused.
    Refused,
}

/// The end of a walk: a level of the page tables, and the entry there.
///
/// It travels as a number of 16 bits: see [`Walk::number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// 1: the PTE table, 2: the PMD table, 3: PUD, 4: P4D or the PGD of four levels, 5: PGD.
    pub level: u8,
    /// The entry.
    pub entry: Entry,
}

/// `_PAGE_PRESENT` (arch/x86/include/asm/pgtable_types.h).
const PRESENT: u64 = 1;
/// `_PAGE_ACCESSED | _PAGE_DIRTY`: `pte_none()` does not mind them, since the CPU may set them.
const NONE_MAY_HAVE: u64 = 0x60;
/// `_PAGE_PSE`.
const HUGE: u64 = 0x80;
/// `_PAGE_PROTNONE`.
const PROT_NONE: u64 = 0x100;

const LEVEL_SHIFT: u32 = 3;
const NONE: u32 = 1;
const PRESENT_ENTRY: u32 = 2;
const PROT_NONE_ENTRY: u32 = 3;
const SWAP: u32 = 4;
const CHANGING: u32 = 5;
const REFUSED: u32 = 6;

impl Walk {
    /// Bits of a [`Walk::number`].
    pub const BITS: u8 = 16;

    /// The number of a fault for which no page table was walked.
    pub const NOT_WALKED: u32 = 0;

    /// The number of a fault whose error code has bits that are not recorded.
    pub const REFUSED: u32 = REFUSED;

    /// Whether a walk ends at this entry of this level, since it leads to no table.
    #[inline(always)]
    #[must_use]
    pub const fn ends_at(level: u32, entry: u64) -> bool {
        level == 1 || entry & PRESENT == 0 || entry & HUGE != 0
    }

    /// Returns the number that stands for the end of a walk at this entry, as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn number(level: u32, entry: u64) -> u32 {
        let level_bits = level << LEVEL_SHIFT;
        if entry & !NONE_MAY_HAVE == 0 {
            return level_bits | NONE;
        }
        if entry & PRESENT != 0 {
            let flags = (entry >> 1 & 1) << 6 | (entry >> 10 & 1) << 7 | (entry >> 63) << 8;
            return level_bits | PRESENT_ENTRY | flags as u32;
        }
        if entry & PROT_NONE != 0 {
            return level_bits | PROT_NONE_ENTRY;
        }
        if level > 1 && entry & HUGE != 0 {
            return level_bits | CHANGING;
        }
        // The offset is stored inverted, and begins above _PAGE_PROTNONE (arch/x86/include/asm/pgtable_64.h).
        let (of, offset, uffd_wp) = (entry >> 59, !entry >> 9 & 7, entry >> 2 & 1);
        level_bits | SWAP | (offset << 6 | uffd_wp << 9 | of << 11) as u32
    }

    /// Returns what a number stands for; `None` if nothing was walked, or for a number that no program writes.
    #[inline]
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        let bit = |shift: u32| number >> shift & 1 != 0;
        let entry = match number & 7 {
            NONE => Entry::None,
            PRESENT_ENTRY => Entry::Present { writable: bit(6), uffd_wp: bit(7), no_exec: bit(8) },
            PROT_NONE_ENTRY => Entry::ProtNone,
            SWAP => Entry::Swap { of: (number >> 11 & 31) as u8, offset: (number >> 6 & 7) as u8, uffd_wp: bit(9) },
            CHANGING => Entry::Changing,
            REFUSED => return Some(Self { level: 0, entry: Entry::Refused }),
            _ => return None,
        };
        match (number >> LEVEL_SHIFT & 7) as u8 {
            level @ 1..=5 => Some(Self { level, entry }),
            _ => None,
        }
    }
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = ["-", "pte", "pmd", "pud", "p4d", "pgd"].get(usize::from(self.level)).copied().unwrap_or("-");
        match self.entry {
            Entry::None => write!(f, "{level} none"),
            Entry::Present { writable, no_exec, uffd_wp } => {
                let access = if writable { "writable" } else { "read-only" };
                write!(f, "{level} present {access}")?;
                f.write_str(if no_exec { "" } else { " exec" })?;
                f.write_str(if uffd_wp { " uffd-wp" } else { "" })
            }
            Entry::ProtNone => write!(f, "{level} protnone"),
            Entry::Swap { of, offset, uffd_wp } => {
                write!(f, "{level} swap type {of}, offset ..{offset}")?;
                f.write_str(if uffd_wp { " uffd-wp" } else { "" })
            }
            Entry::Changing => write!(f, "{level} changing"),
            Entry::Refused => f.write_str("refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString as _;

    fn walk(level: u32, entry: u64) -> Walk {
        let number = Walk::number(level, entry);
        assert!(number < 1 << Walk::BITS);
        Walk::of_number(number).expect("a walk")
    }

    #[test]
    fn entries_are_told_apart() {
        let present = |writable, no_exec, uffd_wp| Entry::Present { writable, no_exec, uffd_wp };
        for (level, raw, entry, text) in [
            (1, 0, Entry::None, "pte none"),
            // What the CPU leaves in an empty entry (erratum).
            (2, 0x60, Entry::None, "pmd none"),
            (1, 0x8000_0001_2345_6867, present(true, true, false), "pte present writable"),
            (2, 0x0000_0001_2340_00a5, present(false, false, false), "pmd present read-only exec"),
            (1, 0x8000_0001_2345_6425, present(false, true, true), "pte present read-only uffd-wp"),
            (1, 0x8000_0001_2345_6120, Entry::ProtNone, "pte protnone"),
            (2, 0x8000_0001_2340_00e2, Entry::Changing, "pmd changing"),
        ] {
            let found = walk(level, raw);
            assert_eq!((found.level, found.entry), (level as u8, entry), "{raw:#x}");
            assert_eq!(found.to_string(), text);
        }
    }

    #[test]
    fn a_swap_entry_has_its_type_and_the_end_of_its_offset() {
        // __swp_entry() of arch/x86/include/asm/pgtable_64.h.
        let swap = |of: u64, offset: u64| (!offset << 14 >> 5) | of << 59;
        for of in [0, 3, 28, 31] {
            for offset in [0_u64, 1, 2, 4, 0x1234_5677] {
                let expected = Entry::Swap { of: of as u8, offset: (offset & 7) as u8, uffd_wp: false };
                assert_eq!(walk(1, swap(of, offset)).entry, expected, "{of} {offset}");
            }
        }
        assert_eq!(walk(1, swap(31, 4) | 4).entry, Entry::Swap { of: 31, offset: 4, uffd_wp: true });
    }

    #[test]
    fn no_number_is_too_strange() {
        assert_eq!(Walk::of_number(Walk::NOT_WALKED), None);
        assert_eq!(Walk::of_number(Walk::REFUSED).map(|w| w.entry), Some(Entry::Refused));
        for number in 0..=u32::from(u16::MAX) {
            let _ = Walk::of_number(number).map(|walk| walk.to_string());
        }
        assert!(!Walk::ends_at(2, 0x1234_5067) && Walk::ends_at(2, 0x1234_50e7) && Walk::ends_at(3, 0));
    }
}
