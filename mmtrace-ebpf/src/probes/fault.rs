//! `exceptions:page_fault_*`, the hottest probes of all, the calls that handle faults, and the software events that count
//! them (mm/memory.c).

use aya_ebpf::{EbpfContext as _, macros::perf_event, programs::PerfEventContext};
use mmtrace_common::{Kind, event};

use super::{atomic_probe, entry, exit, record};
use crate::{
    args::{Args, arg, current_mm, member, member32, number, pagefault_disabled, sample_addr},
    call::call,
    fault_place::place_at,
    filter::wanted,
    offsets,
    ring::emit,
};

#[inline(always)]
fn user<const TYPED: bool>(args: Args) {
    let mm = current_mm();
    if wanted(Kind::PageFaultUser, mm) {
        let (addr, error_code) = (arg!(args, PageFaultUser, Addr), arg!(args, PageFaultUser, ErrorCode));
        let place = place_at(addr, error_code, true);
        emit(
            mm,
            event::PageFaultUser {
                addr,
                ip: member::<TYPED>(arg!(args, PageFaultUser, Ip), offsets::regs_ip()),
                error_code: error_code as u32,
                walk: place.walk,
                vma_facts: place.facts,
            },
        );
    }
}

/// Interrupts read user memory too, a profiler's walk up the stack does: with page faults disabled, so that the fault of
/// the interrupted task's address is none of the task's.
#[inline(always)]
fn kernel<const TYPED: bool>(args: Args) {
    let mm = current_mm();
    if wanted(Kind::PageFaultKernel, mm) {
        let (addr, error_code) = (arg!(args, PageFaultKernel, Addr), arg!(args, PageFaultKernel, ErrorCode));
        let pagefault_disabled = pagefault_disabled();
        let place = place_at(addr, error_code, !pagefault_disabled);
        emit(
            mm,
            event::PageFaultKernel {
                addr,
                ip: member::<TYPED>(arg!(args, PageFaultKernel, Ip), offsets::regs_ip()),
                error_code: error_code as u32,
                walk: place.walk,
                vma_facts: place.facts,
                pagefault_disabled,
                call: call(args.context()),
            },
        );
    }
}

// Interrupts are still off (arch/x86/mm/fault.c:exc_page_fault).
atomic_probe!(Kind::PageFaultUser, page_fault_user, page_fault_user_raw, POS_PAGE_FAULT_USER, user);
atomic_probe!(Kind::PageFaultKernel, page_fault_kernel, page_fault_kernel_raw, POS_PAGE_FAULT_KERNEL, kernel);

#[inline(always)]
fn handle(args: Args) {
    record!(
        args.mm_of_vma(),
        event::HandleMmFault {
            vma: arg!(args, HandleMmFault, Vma),
            addr: arg!(args, HandleMmFault, Addr),
            fault_flags: arg!(args, HandleMmFault, FaultFlags) as u32,
            in_trap: number!(args, HandleMmFault, InTrap) != 0,
        }
    );
}

#[inline(always)]
fn handled(args: Args) {
    // The VMA may be freed by now: its mm is not read from it.
    record!(
        current_mm(),
        event::HandleMmFaultReturn {
            vma: arg!(args, HandleMmFaultReturn, Vma),
            addr: arg!(args, HandleMmFaultReturn, Addr),
            fault_result: arg!(args, HandleMmFaultReturn, FaultResult) as u32,
        }
    );
}

#[inline(always)]
fn find_vma(args: Args) {
    record!(
        args.mm(),
        event::LockMmAndFindVma { addr: arg!(args, LockMmAndFindVma, Addr), vma: arg!(args, LockMmAndFindVma, Vma) }
    );
}

#[inline(always)]
fn anon_vma(args: Args) {
    record!(
        current_mm(),
        event::VmfAnonPrepare {
            vma: member::<true>(arg!(args, VmfAnonPrepare, Vma), offsets::vmf_vma()),
            addr: member::<true>(arg!(args, VmfAnonPrepare, Addr), offsets::vmf_address()),
            fault_result: arg!(args, VmfAnonPrepare, FaultResult) as u32,
        }
    );
}

#[inline(always)]
fn folio_lock(args: Args) {
    record!(
        current_mm(),
        event::FolioLockOrRetry {
            fault_flags: member32::<true>(arg!(args, FolioLockOrRetry, FaultFlags), offsets::vmf_flags()) as u32,
            fault_result: arg!(args, FolioLockOrRetry, FaultResult) & 0xffff_ffff,
        }
    );
}

#[inline(always)]
fn huge(args: Args) {
    record!(
        current_mm(),
        event::HugePmdAnonymous {
            vma: member::<true>(arg!(args, HugePmdAnonymous, Vma), offsets::vmf_vma()),
            addr: member::<true>(arg!(args, HugePmdAnonymous, Addr), offsets::vmf_address()),
            fault_result: arg!(args, HugePmdAnonymous, FaultResult) as u32,
        }
    );
}

#[inline(always)]
fn userfault(args: Args) {
    record!(
        current_mm(),
        event::HandleUserfault {
            vma: member::<true>(arg!(args, HandleUserfault, Vma), offsets::vmf_vma()),
            addr: member::<true>(arg!(args, HandleUserfault, Addr), offsets::vmf_address()),
        }
    );
}

#[inline(always)]
fn grow(args: Args) {
    record!(
        args.mm_of_vma(),
        event::ExpandStack {
            vma: arg!(args, ExpandStack, Vma),
            addr: arg!(args, ExpandStack, Addr),
            ret: arg!(args, ExpandStack, Ret) as i32,
        }
    );
}

exit!(Kind::HugePmdAnonymous, do_huge_pmd_anonymous_page, POS_DO_HUGE_PMD_ANONYMOUS_PAGE, huge);
entry!(Kind::HandleUserfault, handle_userfault, POS_HANDLE_USERFAULT, userfault);
exit!(Kind::ExpandStack, expand_stack_locked, POS_EXPAND_STACK_LOCKED, grow);
entry!(Kind::HandleMmFault, handle_mm_fault, POS_HANDLE_MM_FAULT, handle);
exit!(Kind::HandleMmFaultReturn, handle_mm_fault_return, POS_HANDLE_MM_FAULT_RETURN, handled);
exit!(Kind::LockMmAndFindVma, lock_mm_and_find_vma, POS_LOCK_MM_AND_FIND_VMA, find_vma);
exit!(Kind::VmfAnonPrepare, vmf_anon_prepare, POS_VMF_ANON_PREPARE, anon_vma);
exit!(Kind::FolioLockOrRetry, folio_lock_or_retry, POS_FOLIO_LOCK_OR_RETRY, folio_lock);

// Preemption is off (kernel/events/core.c:__perf_sw_event), so there are no standby programs. The kernel skips a run while
// another task of this CPU is in a part of bpf(2) that no program may come into (kernel/events/core.c:bpf_overflow_handler).
// It does not count that: the end of this fault is then not known, and the model supposes none.
#[perf_event]
pub fn page_faults_min(ctx: PerfEventContext) -> u32 {
    record!(current_mm(), event::PageFaultsMin { addr: sample_addr(ctx.as_ptr()) });
    0
}

#[perf_event]
pub fn page_faults_maj(ctx: PerfEventContext) -> u32 {
    record!(current_mm(), event::PageFaultsMaj { addr: sample_addr(ctx.as_ptr()) });
    0
}
