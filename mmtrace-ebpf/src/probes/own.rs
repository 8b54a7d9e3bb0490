//! Not a probe: run once by the loader, through `BPF_PROG_TEST_RUN`, to learn
//! which mm is mmtrace's own, and where the kernel has its page tables.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use core::ptr::{addr_of, addr_of_mut};

use super::{collapse::PAGE_OFFSET, page_table::VMEMMAP};
use crate::{
    args::{current_mm_number, member},
    filter::OWN_MM,
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
