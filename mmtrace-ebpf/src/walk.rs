//! A walk of the current task's page tables.
//!
//! The programs on page faults run in the exception, with interrupts off (arch/x86/mm/fault.c:handle_page_fault). Until
//! they are on again, no page table of the task's mm is freed: whoever frees one waits for an interrupt on this CPU, or for
//! an RCU grace period. `gup_fast()` rests on the same (mm/gup.c). Entries may change meanwhile, as they may for the CPU.

use core::ptr::addr_of;
use mmtrace_common::Walk;

use crate::{args::member, memory::word_at, offsets};

/// Where the direct map begins; 0: no page table can be walked. Set by [`crate::probes::own`], once it has found a word of
/// mmtrace's own through the page tables.
#[unsafe(no_mangle)]
pub static mut WALK_BASE: u64 = 0;
/// Bits of an entry that are a physical address. Memory encryption takes some for itself.
#[unsafe(no_mangle)]
pub static mut WALK_FRAME: u64 = 0;
/// Levels of page tables: 4 or 5.
#[unsafe(no_mangle)]
pub static mut WALK_LEVELS: u64 = 0;

/// How this kernel's page tables are reached.
#[derive(Clone, Copy)]
pub struct Reach {
    /// Where the direct map begins.
    pub base: u64,
    /// Bits of an entry that are a physical address.
    pub frame: u64,
    /// 4 or 5.
    pub levels: u64,
}

/// The end of a walk.
#[derive(Clone, Copy)]
pub struct End {
    /// Its level, from 1 on; 0: a table could not be read.
    pub level: u32,
    /// The entry there.
    pub entry: u64,
    /// Where the entry of the PMD table is that the walk went through; 0 if it ended above.
    pub pmd: u64,
}

impl End {
    /// A table could not be read.
    pub const UNREADABLE: Self = Self { level: 0, entry: 0, pmd: 0 };

    /// Returns the [`Walk::number`] for it.
    #[inline(always)]
    pub fn number(self) -> u32 {
        if self.level == 0 { Walk::NOT_WALKED } else { Walk::number(self.level, self.entry) }
    }
}

/// Returns how the page tables are reached, if that is known.
#[inline(always)]
pub fn reach() -> Option<Reach> {
    // SAFETY: words of ours, written once before the programs on page faults are attached.
    let (base, frame, levels) = unsafe {
        (
            addr_of!(WALK_BASE).read_volatile(),
            addr_of!(WALK_FRAME).read_volatile(),
            addr_of!(WALK_LEVELS).read_volatile(),
        )
    };
    if base == 0 { None } else { Some(Reach { base, frame, levels }) }
}

/// Returns the address of an mm's top page table.
#[inline(always)]
pub fn top(mm: u64) -> u64 {
    // A load from a typed pointer would give a typed pointer, which could not be calculated with.
    member::<false>(mm, offsets::mm_pgd())
}

/// Walks to the entry that maps `addr`, or to that at which the walk ends before.
#[inline(always)]
pub fn walk(top: u64, addr: u64, reach: Reach) -> End {
    let mut table = top;
    let mut end = End::UNREADABLE;
    macro_rules! step {
        ($($level:literal $shift:literal),*) => {
            $(
                if $level <= reach.levels {
                    let at = table.wrapping_add((addr >> $shift & 511) * 8);
                    let Some(entry) = word_at(at) else { return End::UNREADABLE };
                    end = End { level: $level, entry, pmd: if $level == 2 { at } else { end.pmd } };
                    if Walk::ends_at($level, entry) {
                        return end;
                    }
                    table = reach.base.wrapping_add(entry & reach.frame);
                }
            )*
        };
    }
    step!(5 48, 4 39, 3 30, 2 21, 1 12);
    // No further table is read.
    let _ = table;
    end
}

/// As [`walk`], from the entry of the PMD table on.
#[inline(always)]
pub fn walk_from(pmd: u64, addr: u64, reach: Reach) -> End {
    let Some(entry) = word_at(pmd) else { return End::UNREADABLE };
    if Walk::ends_at(2, entry) {
        return End { level: 2, entry, pmd };
    }
    let at = reach.base.wrapping_add(entry & reach.frame).wrapping_add((addr >> 12 & 511) * 8);
    let Some(entry) = word_at(at) else { return End::UNREADABLE };
    End { level: 1, entry, pmd }
}
