//! `tlb:tlb_flush`. Fires in IPI handlers, nesting over whatever ran.

use mmtrace_common::Kind;

use super::atomic_probe;
use crate::{args::Args, filter::wanted, ring::emit};

#[inline(always)]
fn flush<const TYPED: bool>(args: Args) {
    if wanted(Kind::TlbFlush, 0) {
        emit(Kind::TlbFlush, 0, args.field::<1>() & 0xff, [args.field::<0>()]);
    }
}

// Preemption is off, or it is an interrupt.
atomic_probe!(Kind::TlbFlush, tlb_flush, tlb_flush_raw, POS_TLB_FLUSH, flush);
