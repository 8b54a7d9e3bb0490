//! What is at the address of a page fault: in the page tables, and in the VMA tree.
//!
//! Both walks together are a dozen reads of kernel memory. Most faults of a thread are near its last ones, so each CPU
//! remembers what the walks found in the 2 MiB around an address: the VMA, and where the entry of the PMD table is. Then
//! two reads are left, of that entry and of the one in the PTE table.
//!
//! **What is remembered still holds** if `mm_lock_seq` is even, and what it was before and after the walks. It is odd
//! while the mmap_lock is held for write, and each such hold raises it (include/linux/mmap_lock.h:mmap_write_lock,
//! vma_end_write_all; a seqcount since 6.13). VMAs change only under that lock, and a PMD table is freed only after it was
//! held: munmap, exit and mremap take it first (mm/memory.c:free_pgd_range), and free no table whose 1 GiB has a VMA left.
//! hugetlb is the exception, since it gives up shared PMD tables under locks of its own
//! (mm/hugetlb.c:huge_pmd_unshare): its VMAs are not remembered. The mm is known by `ctx_id`, which no other mm ever gets
//! (arch/x86/include/asm/mmu_context.h:init_new_context).
//!
//! The programs run with interrupts off, and what an NMI may nest in them is not remembered: it reads user memory with
//! page faults disabled. So no other program sees a row that is half written.

use aya_ebpf::{helpers::bpf_get_current_task_btf, macros::map, maps::PerCpuArray};
use mmtrace_common::{VmaFacts, Walk};

use crate::{
    args::{member, member32},
    offsets,
    vma::{Mapping, mapping_at},
    walk::{End, reach, top, walk, walk_from},
};

/// What was found.
#[derive(Clone, Copy)]
pub struct Place {
    /// A [`Walk::number`].
    pub walk: u32,
    /// A [`VmaFacts::number`].
    pub facts: u32,
}

/// What a CPU remembers of 2 MiB.
#[derive(Clone, Copy)]
#[repr(C)]
struct Region {
    /// `ctx_id` of the mm; 0: nothing is remembered.
    mm: u64,
    /// `mm_lock_seq`, even.
    seq: u64,
    /// The address, in units of 2 MiB.
    number: u64,
    /// Where the entry of the PMD table is.
    pmd: u64,
    mapping: Mapping,
}

/// Regions that a CPU remembers; a power of two.
const REGIONS: u32 = 16;

#[map]
static RECENT: PerCpuArray<Region> = PerCpuArray::with_max_entries(REGIONS, 0);

/// The state that what is remembered holds for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    mm: u64,
    seq: u64,
}

impl Version {
    #[inline(always)]
    fn of(mm: u64) -> Self {
        let seq = member32::<true>(mm, offsets::mm_lock_seq());
        Self { mm: member::<true>(mm, offsets::mm_ctx_id()), seq }
    }

    /// Whether anything may be remembered of it.
    #[inline(always)]
    fn is_settled(self) -> bool {
        self.mm != 0 && self.seq & 1 == 0
    }
}

/// Returns what is at an address of the current task. `remembers` is whether it may use and leave what this CPU
/// remembers: not within a program that runs on top of another one.
#[inline(always)]
pub fn place_at(addr: u64, error_code: u64, remembers: bool) -> Place {
    // SAFETY: always returns the current task, with its BTF type.
    let mm = member::<true>(unsafe { bpf_get_current_task_btf() } as u64, offsets::task_mm());
    if addr >> 63 != 0 {
        return Place { walk: Walk::NOT_WALKED, facts: 0 };
    }
    // X86_PF_RMP, bit 31, is the only one that is not recorded.
    let refused = error_code as u32 >> 16 != 0;
    let number = addr >> 21;
    let mut region = None;
    if remembers && offsets::mm_lock_seq() != 0 && offsets::mm_ctx_id() != 0 {
        region = RECENT.get_ptr_mut((number ^ number >> 4 ^ number >> 9) as u32 & (REGIONS - 1));
    }
    let before = if region.is_some() { Version::of(mm) } else { Version { mm: 0, seq: 1 } };
    if let Some(region) = region
        && before.is_settled()
        && let Some(reach) = reach()
    {
        // SAFETY: a value of the map, which only this CPU uses.
        let known = unsafe { &*region };
        if known.mm == before.mm && known.seq == before.seq && known.number == number {
            let Mapping { start, end, .. } = known.mapping;
            if addr >= start && addr < end {
                let walk = if refused { Walk::REFUSED } else { walk_from(known.pmd, addr, reach).number() };
                return Place { walk, facts: known.mapping.facts_at(addr) };
            }
        }
    }
    let end = match reach() {
        Some(reach) => walk(top(mm), addr, reach),
        None => End::UNREADABLE,
    };
    let mapping = mapping_at(mm, addr);
    if let Some(region) = region
        && before.is_settled()
        && end.pmd != 0
        && mapping.end != 0
        && VmaFacts::of_number(mapping.facts).is_some_and(|facts| !facts.is_hugetlb())
        && Version::of(mm) == before
    {
        // SAFETY: as above.
        unsafe { *region = Region { mm: before.mm, seq: before.seq, number, pmd: end.pmd, mapping } };
    }
    Place { walk: if refused { Walk::REFUSED } else { end.number() }, facts: mapping.facts_at(addr) }
}
