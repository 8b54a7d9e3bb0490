//! `exceptions:page_fault_*`: the hottest probes of all. And the calls that handle faults (mm/memory.c).

use mmtrace_common::Kind;

use super::{atomic_probe, entry, exit};
use crate::{
    args::{Args, current_mm, member, member32, pagefault_disabled},
    filter::wanted,
    offsets,
    ring::emit,
};

#[inline(always)]
fn user<const TYPED: bool>(args: Args) {
    let mm = current_mm();
    if wanted(Kind::PageFaultUser, mm) {
        let ip = member::<TYPED>(args.field::<1>(), offsets::regs_ip());
        emit(Kind::PageFaultUser, mm, args.field::<2>(), [args.field::<0>(), ip]);
    }
}

/// Interrupts read user memory too, a profiler's walk up the stack does: with page faults disabled, so that the fault of
/// the interrupted task's address is none of the task's.
#[inline(always)]
fn kernel<const TYPED: bool>(args: Args) {
    let mm = current_mm();
    if wanted(Kind::PageFaultKernel, mm) {
        let ip = member::<TYPED>(args.field::<1>(), offsets::regs_ip());
        emit(Kind::PageFaultKernel, mm, args.field::<2>(), [args.field::<0>(), ip, pagefault_disabled()]);
    }
}

// Interrupts are still off (arch/x86/mm/fault.c:exc_page_fault).
atomic_probe!(Kind::PageFaultUser, page_fault_user, page_fault_user_raw, POS_PAGE_FAULT_USER, user);
atomic_probe!(Kind::PageFaultKernel, page_fault_kernel, page_fault_kernel_raw, POS_PAGE_FAULT_KERNEL, kernel);

#[inline(always)]
fn handle(args: Args) {
    let mm = member::<true>(args.mm(), offsets::vma_mm());
    if wanted(Kind::HandleMmFault, mm) {
        let in_trap = u64::from(args.number::<3>() != 0);
        let aux = args.field::<2>() & 0xffff | in_trap << 31;
        emit(Kind::HandleMmFault, mm, aux, [args.field::<0>(), args.field::<1>()]);
    }
}

#[inline(always)]
fn handled(args: Args) {
    // The VMA may be gone: it is not looked into.
    let mm = current_mm();
    if wanted(Kind::HandleMmFaultReturn, mm) {
        emit(Kind::HandleMmFaultReturn, mm, args.field::<2>(), [args.field::<0>(), args.field::<1>()]);
    }
}

#[inline(always)]
fn find_vma(args: Args) {
    let mm = args.mm();
    if wanted(Kind::LockMmAndFindVma, mm) {
        emit(Kind::LockMmAndFindVma, mm, 0, [args.field::<0>(), args.field::<1>()]);
    }
}

#[inline(always)]
fn anon_vma(args: Args) {
    let mm = current_mm();
    if wanted(Kind::VmfAnonPrepare, mm) {
        let vma = member::<true>(args.field::<0>(), offsets::vmf_vma());
        let address = member::<true>(args.field::<1>(), offsets::vmf_address());
        emit(Kind::VmfAnonPrepare, mm, args.field::<2>(), [vma, address]);
    }
}

#[inline(always)]
fn folio_lock(args: Args) {
    let mm = current_mm();
    if wanted(Kind::FolioLockOrRetry, mm) {
        let flags = member32::<true>(args.field::<0>(), offsets::vmf_flags()) & 0xffff;
        emit(Kind::FolioLockOrRetry, mm, flags, [args.field::<1>() & 0xffff_ffff]);
    }
}

entry!(Kind::HandleMmFault, handle_mm_fault, POS_HANDLE_MM_FAULT, handle);
exit!(Kind::HandleMmFaultReturn, handle_mm_fault_return, POS_HANDLE_MM_FAULT_RETURN, handled);
exit!(Kind::LockMmAndFindVma, lock_mm_and_find_vma, POS_LOCK_MM_AND_FIND_VMA, find_vma);
exit!(Kind::VmfAnonPrepare, vmf_anon_prepare, POS_VMF_ANON_PREPARE, anon_vma);
exit!(Kind::FolioLockOrRetry, folio_lock_or_retry, POS_FOLIO_LOCK_OR_RETRY, folio_lock);
