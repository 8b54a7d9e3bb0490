//! The current task's entry into the kernel.

use aya_ebpf::{bindings::task_struct, helpers::bpf_get_current_task_btf};
use core::ffi::c_void;
use mmtrace_common::{Call, SYSCALLS_MAX};

use crate::{
    args::{member, member32},
    offsets,
    stack::{is_on_stack_of, low_half},
};

/// `PF_KTHREAD` (include/linux/sched.h).
const KTHREAD: u32 = 0x0020_0000;
/// `PF_EXITING`.
const EXITING: u32 = 0x0000_0004;
/// `PF_IO_WORKER`, and `PF_USER_WORKER`, which 6.1 does not have and uses for nothing else.
const USER_WORKER: u32 = 0x0000_0010 | 0x0000_4000;
/// `TS_COMPAT` (arch/x86/include/asm/thread_info.h).
const COMPAT: u32 = 2;
/// `__X32_SYSCALL_BIT` (arch/x86/include/uapi/asm/unistd.h).
const X32: u64 = 0x4000_0000;

/// Number of the helper `bpf_task_pt_regs` (Linux 5.15), which the bindings lack.
const TASK_PT_REGS: usize = 175;

/// Returns the [`Call::number`] of the current task's entry into the kernel. `ctx` is the program's context.
///
/// The flags are looked at first: what lies at the top of a kernel thread's stack, or of a worker's, is no call of its own.
#[inline(always)]
pub fn call(ctx: *mut c_void) -> u32 {
    // SAFETY: always returns the current task, with its BTF type.
    let task = unsafe { bpf_get_current_task_btf() };
    let at = task as u64;
    if !is_on_stack_of(at, low_half(ctx)) {
        return Call::Interrupt.number().into();
    }
    let flags = member32::<true>(at, offsets::task_flags()) as u32;
    if flags & (KTHREAD | USER_WORKER | EXITING) != 0 {
        let call = if flags & KTHREAD != 0 {
            Call::KernelThread
        } else if flags & EXITING != 0 {
            Call::Exiting
        } else {
            Call::UserWorker
        };
        return call.number().into();
    }
    // SAFETY: the helper takes a task and returns its saved registers, with their BTF type.
    let regs = unsafe {
        let helper: unsafe extern "C" fn(*mut task_struct) -> u64 = core::mem::transmute(TASK_PT_REGS);
        helper(task)
    };
    // What the kernel starts a program by (modprobe, a core dump's helper) is no kernel thread any more, and has no saved
    // registers yet: arch/x86/kernel/process.c:copy_thread.
    if member::<true>(regs, offsets::regs_ip()) == 0 {
        return Call::KernelThread.number().into();
    }
    let number = member::<true>(regs, offsets::regs_orig_ax());
    let bare = number & !X32;
    if bare >= u64::from(SYSCALLS_MAX) {
        let call = if number == u64::MAX { Call::UserTrap } else { Call::Unknown };
        return call.number().into();
    }
    let status = member32::<true>(at, offsets::task_thread_info() + offsets::thread_info_status()) as u32;
    let call = if status & COMPAT != 0 {
        Call::Compat(bare as u16)
    } else if number & X32 != 0 {
        Call::X32(bare as u16)
    } else {
        Call::System(bare as u16)
    };
    call.number().into()
}
