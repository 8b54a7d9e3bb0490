//! `tlb:tlb_flush`. Fires in IPI handlers, nesting over whatever ran.

use mmtrace_common::{Kind, event};

use super::{atomic_probe, record};
use crate::args::{Args, arg};

#[inline(always)]
fn flush<const TYPED: bool>(args: Args) {
    record!(
        0,
        event::TlbFlush { flush_reason: arg!(args, TlbFlush, FlushReason) as u32, pages: arg!(args, TlbFlush, Pages) }
    );
}

// Preemption is off, or it is an interrupt.
atomic_probe!(Kind::TlbFlush, tlb_flush, tlb_flush_raw, POS_TLB_FLUSH, flush);
