//! Not probes: run by the loader, through `BPF_PROG_TEST_RUN`, to learn which mm is mmtrace's own, where the kernel has
//! its page tables, and how they are walked.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use core::{
    ffi::c_void,
    ptr::{addr_of, addr_of_mut},
};

use super::{collapse::PAGE_OFFSET, page_table::VMEMMAP};
use crate::{
    args::{current_mm_number, load, member},
    filter::OWN_MM,
    walk::{End, Reach, WALK_BASE, WALK_FRAME, WALK_LEVELS, top, walk},
};

/// Set by the loader: address of the kernel's `page_offset_base`; 0 where it is not known.
#[unsafe(no_mangle)]
static ADDR_PAGE_OFFSET_BASE: u64 = 0;
/// Set by the loader: address of the kernel's `vmemmap_base`; 0 where it is not known.
#[unsafe(no_mangle)]
static ADDR_VMEMMAP_BASE: u64 = 0;

/// The word at an address that the loader has set.
#[inline(always)]
fn variable(address: *const u64) -> u64 {
    // SAFETY: a static of ours; volatile, since the loader sets it.
    match unsafe { address.read_volatile() } {
        0 => 0,
        address => member::<false>(address, 0),
    }
}

#[raw_tracepoint]
pub fn own_mm(ctx: RawTracePointContext) -> u32 {
    let mm = current_mm_number();
    // SAFETY: a word of ours; no other program runs yet.
    unsafe { addr_of_mut!(OWN_MM).write_volatile(mm) };
    let (direct, pages) = (variable(addr_of!(ADDR_PAGE_OFFSET_BASE)), variable(addr_of!(ADDR_VMEMMAP_BASE)));
    // SAFETY: as above.
    unsafe {
        addr_of_mut!(PAGE_OFFSET).write_volatile(direct);
        addr_of_mut!(VMEMMAP).write_volatile(pages);
    }
    debug!(&ctx, "events on mm {:x} are mmtrace's own and not recorded", mm);
    0
}

/// log2 of the alignment of the direct map (arch/x86/mm/kaslr.c:kernel_randomize_memory).
const DIRECT_MAP_SHIFT: u32 = 30;

/// Tries to find a word of the calling process through its page tables, and returns whether it did. From then on, the
/// programs on page faults walk in the same way.
/// The macro for raw tracepoints would have it return 0.
///
/// The arguments: by how many GiB the direct map begins below the top page table, or all ones to go by the kernel's own
/// `page_offset_base`; the bits of an entry that are a physical address; the number of levels; the address of the word;
/// the word.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp")]
extern "C" fn find_page_tables(ctx: *mut c_void) -> u32 {
    let (below, frame, levels) = (load::<0>(ctx), load::<8>(ctx), load::<16>(ctx));
    let (address, word) = (load::<24>(ctx), load::<32>(ctx));
    let top = top(current_mm_number());
    // SAFETY: a word of ours; no other program runs yet.
    let told = unsafe { addr_of!(PAGE_OFFSET).read_volatile() };
    let base = if below == u64::MAX { told } else { (top >> DIRECT_MAP_SHIFT).wrapping_sub(below) << DIRECT_MAP_SHIFT };
    if base == 0 || top == 0 {
        return 0;
    }
    let End { level, entry, .. } = walk(top, address, Reach { base, frame, levels });
    // A small page, or a huge one of 2 MiB.
    let within = if level == 1 { 0xfff } else { 0x1f_ffff };
    if level == 0 || level > 2 || entry & 1 == 0 {
        return 0;
    }
    if member::<false>(base.wrapping_add(entry & frame & !within).wrapping_add(address & within), 0) != word {
        return 0;
    }
    // SAFETY: words of ours; no other program runs yet.
    unsafe {
        addr_of_mut!(WALK_BASE).write_volatile(base);
        addr_of_mut!(WALK_FRAME).write_volatile(frame);
        addr_of_mut!(WALK_LEVELS).write_volatile(levels);
    }
    1
}
