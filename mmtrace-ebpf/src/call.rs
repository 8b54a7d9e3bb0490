//! The current task's entry into the kernel.

use aya_ebpf::{bindings::task_struct, helpers::bpf_get_current_task_btf};
use core::ffi::c_void;
use mmtrace_common::{Call, ProcFile, SYSCALLS_MAX};

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

/// Where `struct pt_regs` has a system call's first argument (`di`), which is ABI.
const FIRST_ARGUMENT: usize = 112;
/// `PROC_SUPER_MAGIC` (include/uapi/linux/magic.h).
const PROC_MAGIC: u64 = 0x9fa0;

/// Number of the helper `bpf_task_pt_regs` (Linux 5.15), which the bindings lack.
const TASK_PT_REGS: usize = 175;

/// Returns the registers that a task entered the kernel with, with their BTF type.
#[inline(always)]
fn saved_registers(task: *mut task_struct) -> u64 {
    // SAFETY: the helper takes a task.
    unsafe {
        let helper: unsafe extern "C" fn(*mut task_struct) -> u64 = core::mem::transmute(TASK_PT_REGS);
        helper(task)
    }
}

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
    let regs = saved_registers(task);
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

/// As [`call`], but tells a call on a file of /proc from others ([`Call::OnProc`]).
#[inline(always)]
pub fn call_on_file(ctx: *mut c_void) -> u32 {
    let number = call(ctx);
    if number >= u32::from(SYSCALLS_MAX) || Call::place_on_proc(number as u16).is_none() {
        return number;
    }
    match proc_file() {
        Some(file) => Call::OnProc(number as u16, file).number().into(),
        None => number,
    }
}

/// Returns the file of /proc that the current task's system call is about, by its first argument, a descriptor. If another
/// thread has replaced the file behind the descriptor since the call began, it is that one.
#[inline(always)]
fn proc_file() -> Option<ProcFile> {
    if [offsets::task_files(), offsets::files_table(), offsets::table_files(), offsets::qstr_name()].contains(&0)
        || [offsets::file_path(), offsets::path_dentry(), offsets::dentry_name(), offsets::super_magic()].contains(&0)
    {
        return None;
    }
    // SAFETY: always returns the current task, with its BTF type.
    let task = unsafe { bpf_get_current_task_btf() };
    let descriptor = member::<true>(saved_registers(task), FIRST_ARGUMENT) & 0xffff_ffff;
    let table = member::<false>(member::<false>(task as u64, offsets::task_files()), offsets::files_table());
    if descriptor >= member32::<false>(table, offsets::table_size()) {
        return None;
    }
    let file = member::<false>(member::<false>(table, offsets::table_files()).wrapping_add(8 * descriptor), 0);
    let inode = member::<false>(file, offsets::file_inode());
    if member::<false>(member::<false>(inode, offsets::inode_sb()), offsets::super_magic()) != PROC_MAGIC {
        return None;
    }
    let dentry = member::<false>(file, offsets::file_path() + offsets::path_dentry());
    let name = member::<false>(dentry, offsets::dentry_name() + offsets::qstr_name());
    // A name that short stands in the dentry itself, which has room for 32 bytes and more (include/linux/dcache.h).
    ProcFile::of_words([member::<false>(name, 0), member::<false>(name, 8)])
}
