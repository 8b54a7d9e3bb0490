//! Collapses, and what they unlink (mm/khugepaged.c, mm/pgtable-generic.c).

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_probe_read_kernel,
    macros::{kprobe, kretprobe, map},
    maps::PerCpuArray,
    programs::{ProbeContext, RetProbeContext},
};
use core::ptr::addr_of;
use mmtrace_common::{ABSENT, Kind, POSITIONS, event};

use super::{entry, exit, record};
use crate::{
    args::{Args, Positions, Regs, arg, member},
    filter::wanted,
    offsets,
    ring::emit,
};

/// Where the direct map begins. Set once, by the program that the loader runs before all others.
#[unsafe(no_mangle)]
pub static mut PAGE_OFFSET: u64 = 0;

/// Entries of a PTE table.
const ENTRIES: usize = 512;
/// `_PAGE_PRESENT | _PAGE_PROTNONE`: `pte_present()` (arch/x86/include/asm/pgtable.h).
const PTE_PRESENT: u64 = 0x101;
/// `_PAGE_ACCESSED | _PAGE_DIRTY`: `pte_none()` does not mind them, since the CPU may set them.
const PTE_NONE_MAY_HAVE: u64 = 0x60;
/// `SWP_PTE_MARKER`: the last swap type, in an entry's highest bits.
const PTE_MARKER: u64 = 31;
/// `_PAGE_PSE`
const PMD_HUGE: u64 = 0x80;
/// Bits of an entry that are a physical address.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// A copy of the table that is being looked at.
#[map]
static TABLE: PerCpuArray<[u64; ENTRIES]> = PerCpuArray::with_max_entries(1, 0);

/// The contents of a table that is unlinked.
struct Holds {
    /// The first marker, or else the first present entry, or else the first that is not none.
    entry: u64,
    /// Markers, present entries, and the place of `entry`, each in 10 bits. As three values they would take registers
    /// that the loop needs, and it 2 instructions more for an entry.
    numbers: u64,
    scanned: bool,
}

impl Holds {
    #[inline(always)]
    fn markers(&self) -> u32 {
        (self.numbers & 0x3ff) as u32
    }

    #[inline(always)]
    fn presents(&self) -> u32 {
        (self.numbers >> 10 & 0x3ff) as u32
    }

    #[inline(always)]
    fn index(&self) -> u32 {
        (self.numbers >> 20) as u32
    }
}

/// Looks at every entry of the table that a PMD entry points to. The PML is held, and all who could
/// fill the table are kept out, if the rule that asks for this holds.
#[inline(always)]
fn scan(pmd: u64) -> Holds {
    let mut holds = Holds { entry: 0, numbers: 0, scanned: false };
    // SAFETY: a word of ours, written once before this program is attached.
    let base = unsafe { addr_of!(PAGE_OFFSET).read_volatile() };
    if base == 0 || pmd & (PTE_PRESENT | PMD_HUGE) != 1 {
        return holds;
    }
    let Some(table) = TABLE.get_ptr_mut(0) else { return holds };
    let at = base.wrapping_add(pmd & FRAME);
    // SAFETY: the map's value is that long, and this CPU's own: a kprobe is not preempted.
    if unsafe { bpf_probe_read_kernel(table.cast(), 8 * ENTRIES as u32, at as *const _) } != 0 {
        return holds;
    }
    holds.scanned = true;
    // 3: a marker, 2: present, 1: not none.
    let mut rank = 0;
    let (mut markers, mut presents, mut index) = (0, 0, 0);
    let mut i = 0;
    while i < ENTRIES {
        // SAFETY: within the map's value.
        let pte = unsafe { (*table)[i] };
        let is = if pte & PTE_PRESENT != 0 {
            presents += 1;
            2
        } else if pte >> 59 == PTE_MARKER {
            markers += 1;
            3
        } else {
            u64::from(pte & !PTE_NONE_MAY_HAVE != 0)
        };
        if is > rank {
            rank = is;
            holds.entry = pte;
            index = i as u64;
        }
        i += 1;
    }
    holds.numbers = markers | presents << 10 | index << 20;
    holds
}

#[unsafe(no_mangle)]
static POS_PMDP_COLLAPSE_FLUSH: Positions = [ABSENT; POSITIONS];

#[kprobe]
pub fn pmdp_collapse_flush(ctx: ProbeContext) -> u32 {
    let regs = Regs::new(ctx.as_ptr(), &raw const POS_PMDP_COLLAPSE_FLUSH);
    let vma = arg!(regs, PmdpCollapseFlush, Vma);
    let mm = member::<false>(vma, offsets::vma_mm());
    if wanted(Kind::PmdpCollapseFlush, mm) {
        let pmdp = arg!(regs, PmdpCollapseFlush, Pmdp);
        let pmd = member::<false>(pmdp, 0);
        let holds = scan(pmd);
        emit(
            mm,
            event::PmdpCollapseFlush {
                vma,
                addr: arg!(regs, PmdpCollapseFlush, Addr),
                pmdp,
                pmd,
                entry: holds.entry,
                vm_flags: member::<false>(vma, offsets::vma_flags()),
                markers: holds.markers(),
                presents: holds.presents(),
                entry_index: holds.index(),
                scanned: holds.scanned,
            },
        );
    }
    0
}

#[kretprobe]
pub fn pmdp_collapse_flush_return(ctx: RetProbeContext) -> u32 {
    let regs = Regs::new(ctx.as_ptr(), &raw const POS_PMDP_COLLAPSE_FLUSH);
    record!(0, event::PmdpCollapseFlushReturn { pmd: regs.returned() });
    0
}

#[unsafe(no_mangle)]
static POS_PMDP_COLLAPSE_FLUSH_RETURN: Positions = [ABSENT; POSITIONS];

#[inline(always)]
fn retract(args: Args) {
    record!(
        0,
        event::RetractPageTables {
            mapping: arg!(args, RetractPageTables, Mapping),
            index: arg!(args, RetractPageTables, Index),
        }
    );
}

#[inline(always)]
fn retracted(args: Args) {
    record!(0, event::RetractPageTablesReturn { mapping: arg!(args, RetractPageTablesReturn, Mapping) });
}

#[inline(always)]
fn collapse_mapped(args: Args) {
    record!(args.mm(), event::CollapsePteMappedThp { addr: arg!(args, CollapsePteMappedThp, Addr) });
}

#[inline(always)]
fn collapsed_mapped(args: Args) {
    record!(
        args.mm(),
        event::CollapsePteMappedThpReturn {
            addr: arg!(args, CollapsePteMappedThpReturn, Addr),
            status: arg!(args, CollapsePteMappedThpReturn, Status) as u32,
        }
    );
}

#[inline(always)]
fn collapse(args: Args) {
    record!(args.mm(), event::CollapseHugePageEnter { addr: arg!(args, CollapseHugePageEnter, Addr) });
}

entry!(Kind::RetractPageTables, retract_page_tables, POS_RETRACT_PAGE_TABLES, retract);
exit!(Kind::RetractPageTablesReturn, retract_page_tables_return, POS_RETRACT_PAGE_TABLES_RETURN, retracted);
entry!(Kind::CollapsePteMappedThp, collapse_pte_mapped_thp, POS_COLLAPSE_PTE_MAPPED_THP, collapse_mapped);
exit!(
    Kind::CollapsePteMappedThpReturn,
    collapse_pte_mapped_thp_return,
    POS_COLLAPSE_PTE_MAPPED_THP_RETURN,
    collapsed_mapped
);
entry!(Kind::CollapseHugePageEnter, collapse_huge_page, POS_COLLAPSE_HUGE_PAGE, collapse);
