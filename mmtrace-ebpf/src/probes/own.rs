//! Not a probe: run once by the loader, through `BPF_PROG_TEST_RUN`, to learn
//! which mm is mmtrace's own.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use core::ptr::addr_of_mut;

use crate::{args::current_mm_number, filter::OWN_MM};

#[raw_tracepoint]
pub fn own_mm(ctx: RawTracePointContext) -> u32 {
    let mm = current_mm_number();
    // SAFETY: a word of ours; no other program runs yet.
    unsafe { addr_of_mut!(OWN_MM).write_volatile(mm) };
    debug!(&ctx, "events on mm {:x} are mmtrace's own and not recorded", mm);
    0
}
