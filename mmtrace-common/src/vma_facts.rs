//! What is mapped at an address, as far as it decides how its faults are handled.

use core::fmt;

/// Facts about one VMA, or that there is none, as bits.
///
/// They travel as a number of [`VmaFacts::BITS`] bits; 0 stands for facts that are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmaFacts(u16);

/// `VM_READ | VM_WRITE | VM_EXEC` (include/linux/mm.h).
const VM_ACCESS: u64 = 7;
const VM_WRITE: u64 = 2;
const VM_SHARED: u64 = 8;
const VM_GROWSDOWN: u64 = 0x100;
const VM_UFFD_MISSING: u64 = 0x200;
/// `VM_PFNMAP | VM_MIXEDMAP`
const VM_DEVICE: u64 = 0x400 | 0x1000_0000;
const VM_UFFD_WP: u64 = 0x1000;
const VM_HUGETLB: u64 = 0x40_0000;
/// `VM_UFFD_MINOR` is bit 37 before 6.6, bit 38 before 6.16, then bit 41 (on x86-64). On a kernel where one of them means
/// something else, no VMA with `vm_ops` has it: since 6.6, bit 37 is `VM_SHADOW_STACK`, which is anonymous memory.
const VM_UFFD_MINOR: u64 = 1 << 37 | 1 << 38 | 1 << 41;

macro_rules! facts {
    ($($bit:literal $constant:ident $getter:ident $name:literal $doc:literal;)*) => {
        $(const $constant: u16 = 1 << $bit;)*

        impl VmaFacts {
            $(
                #[doc = $doc]
                #[inline]
                #[must_use]
                pub const fn $getter(self) -> bool {
                    self.0 & $constant != 0
                }
            )*
        }

        /// Every fact with its name.
        const NAMES: &[(u16, &str)] = &[$(($constant, $name)),*];
    };
}

facts! {
    1 ANONYMOUS is_anonymous "anonymous" "`vma_is_anonymous()`: it has no `vm_ops`.";
    2 FILE has_file "file" "It has a `vm_file`.";
    3 SHARED is_shared "shared" "`VM_SHARED`.";
    4 HUGETLB is_hugetlb "hugetlb" "`VM_HUGETLB`.";
    5 GROWS_DOWN grows_down "growsdown" "`VM_GROWSDOWN`: a stack.";
    6 UFFD_MISSING has_uffd_missing "uffd-missing" "`VM_UFFD_MISSING`.";
    7 UFFD_WP has_uffd_wp "uffd-wp" "`VM_UFFD_WP`.";
    8 SHMEM is_shmem "shmem" "Its file is one of tmpfs: shared memory, a memfd, System V shared memory.";
    9 DEVICE is_device "device" "`VM_PFNMAP` or `VM_MIXEDMAP`: a driver's, or the kernel's own pages.";
    10 ACCESSIBLE is_accessible "accessible" "`vma_is_accessible()`: some access is allowed.";
    11 WRITABLE is_writable "writable" "`VM_WRITE`.";
    12 NOTHING is_nothing "nothing" "There is no VMA.";
    13 BELOW_STACK is_below_stack "below-stack" "There is no VMA, and a stack may grow down to the address.";
    14 PAST_END is_past_end "past-end" "The address lies behind the end of the file.";
    15 UFFD_MINOR has_uffd_minor "uffd-minor" "`VM_UFFD_MINOR`. Captures of older versions of mmtrace do not have this.";
}

/// The facts are known.
const KNOWN: u16 = 1;

/// `TMPFS_MAGIC` (include/uapi/linux/magic.h): the `s_magic` of a tmpfs.
pub const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Whether a VMA with these flags is a stack that grows down.
#[inline(always)]
#[must_use]
pub const fn grows_down(vm_flags: u64) -> bool {
    vm_flags & VM_GROWSDOWN != 0
}

impl VmaFacts {
    /// Bits of a [`VmaFacts::number`].
    pub const BITS: u8 = 16;

    /// No VMA.
    pub const NO_VMA: Self = Self(KNOWN | NOTHING);
    /// No VMA, and the next one above is a stack that may grow.
    pub const NO_VMA_BELOW_STACK: Self = Self(KNOWN | BELOW_STACK);

    /// Puts facts together. `magic` is that of the file's file system, 0 if there is no file.
    #[inline(always)]
    #[must_use]
    pub const fn new(vm_flags: u64, has_ops: bool, has_file: bool, magic: u64) -> Self {
        let mut facts = KNOWN;
        facts |= (!has_ops as u16) << 1 | (has_file as u16) << 2 | ((magic == TMPFS_MAGIC) as u16) << 8;
        facts |= ((vm_flags & VM_SHARED != 0) as u16) << 3 | ((vm_flags & VM_HUGETLB != 0) as u16) << 4;
        facts |= ((vm_flags & VM_GROWSDOWN != 0) as u16) << 5 | ((vm_flags & VM_UFFD_MISSING != 0) as u16) << 6;
        facts |= ((vm_flags & VM_UFFD_WP != 0) as u16) << 7 | ((vm_flags & VM_DEVICE != 0) as u16) << 9;
        facts |= ((vm_flags & VM_ACCESS != 0) as u16) << 10 | ((vm_flags & VM_WRITE != 0) as u16) << 11;
        facts |= ((has_ops && vm_flags & VM_UFFD_MINOR != 0) as u16) << 15;
        Self(facts)
    }

    /// The same facts, and that the address lies behind the end of the file if `past` says so.
    #[inline(always)]
    #[must_use]
    pub const fn past_end(self, past: bool) -> Self {
        Self(self.0 | (past as u16) << 14)
    }

    /// Returns the number that stands for them in a record.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// Returns the facts that a number stands for, if they are known.
    #[inline]
    #[must_use]
    pub const fn of_number(number: u32) -> Option<Self> {
        if number & KNOWN as u32 == 0 { None } else { Some(Self(number as u16)) }
    }
}

impl fmt::Display for VmaFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (_, name) in NAMES.iter().filter(|(bit, _)| self.0 & bit != 0) {
            write!(f, "{space}{name}")?;
            space = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn facts_are_those_of_the_flags() {
        let heap = VmaFacts::new(0x10_0073, false, false, 0);
        assert!(heap.is_anonymous() && heap.is_writable() && !heap.is_shared() && !heap.has_file());
        assert_eq!(heap.to_string(), "anonymous accessible writable");
        let memfd = VmaFacts::new(VM_SHARED | 3, true, true, TMPFS_MAGIC);
        assert_eq!(memfd.to_string(), "file shared shmem accessible writable");
        let all = VmaFacts::new(u64::MAX, false, true, TMPFS_MAGIC);
        assert_eq!(all.number(), (1 << 12) - 1);
        assert!(memfd.past_end(true).is_past_end() && memfd.past_end(false) == memfd);
        for bit in [37, 38, 41] {
            assert!(VmaFacts::new(1 << bit | 3, true, true, TMPFS_MAGIC).has_uffd_minor(), "{bit}");
            assert!(!VmaFacts::new(1 << bit | 3, false, false, 0).has_uffd_minor(), "a shadow stack, {bit}");
        }
        let none = [VmaFacts::NO_VMA, VmaFacts::NO_VMA_BELOW_STACK];
        assert!(none.iter().all(|facts| facts.number() < 1 << VmaFacts::BITS && !facts.is_anonymous()));
        assert!(none[0].is_nothing() && none[1].is_below_stack());
        assert!(grows_down(VM_GROWSDOWN) && !grows_down(VM_SHARED));
        assert_eq!(VmaFacts::of_number(all.number()), Some(all));
        assert_eq!(VmaFacts::of_number(0), None);
    }
}
