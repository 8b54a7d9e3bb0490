//! `exceptions:page_fault_*`: the hottest probes of all.

use mmtrace_common::Kind;

use super::probe;
use crate::{
    args::{Args, current_mm, member},
    filter::wanted,
    offsets,
    ring::emit,
};

#[inline(always)]
fn fault<const TYPED: bool>(args: Args, kind: Kind) {
    let mm = current_mm();
    if !wanted(kind, mm) {
        return;
    }
    let ip = member::<TYPED>(args.field::<1>(), offsets::regs_ip());
    emit(kind, mm, args.field::<2>(), [args.field::<0>(), ip]);
}

#[inline(always)]
fn user<const TYPED: bool>(args: Args) {
    fault::<TYPED>(args, Kind::PageFaultUser);
}

#[inline(always)]
fn kernel<const TYPED: bool>(args: Args) {
    fault::<TYPED>(args, Kind::PageFaultKernel);
}

probe!(page_fault_user, page_fault_user_raw, POS_PAGE_FAULT_USER, user);
probe!(page_fault_kernel, page_fault_kernel_raw, POS_PAGE_FAULT_KERNEL, kernel);
