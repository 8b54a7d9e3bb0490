//! Processes and the end of their mm.

use aya_ebpf::helpers::bpf_probe_read_kernel_str_bytes;
use mmtrace_common::{Kind, event};

use super::{cgroup::cgroup_of, entry, probe, record};
use crate::{
    args::{Args, arg, current_mm, int, member, member32},
    filter::{dying, forget_process, fork as want_child, wanted},
    offsets,
    ring::emit,
};

#[inline(always)]
fn exit_mm<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::ExitMmap, mm) {
        emit(mm, event::ExitMmap {});
        dying(mm);
    }
}

#[inline(always)]
fn fork<const TYPED: bool>(args: Args) {
    let child = args.mm();
    let mm = member::<TYPED>(child, offsets::task_mm());
    let tgid = member32::<TYPED>(child, offsets::task_tgid());
    if want_child(tgid as u32, mm) {
        let tid = member32::<TYPED>(child, offsets::task_pid());
        let cgroup_id = cgroup_of::<TYPED>(child);
        emit(mm, event::Fork { child_pid: int(tgid), child_tid: int(tid), cgroup_id });
    }
}

#[inline(always)]
fn exec<const TYPED: bool>(args: Args) {
    record!(current_mm(), event::Exec { old_pid: int(arg!(args, Exec, OldPid)) });
}

#[inline(always)]
fn exit<const TYPED: bool>(args: Args) {
    let mm = current_mm();
    if wanted(Kind::Exit, mm) {
        // Kernels that do not say which thread is the last keep the id; at worst its next owner is recorded.
        let group_dead = arg!(args, Exit, GroupDead) & 1;
        emit(mm, event::Exit { group_dead: group_dead != 0 });
        if group_dead != 0 {
            forget_process();
        }
    }
}

/// Recorded of every task, whatever the filter: who works on a wanted mm may be called anything, and be of any process.
#[inline(always)]
fn rename<const TYPED: bool>(args: Args) {
    let mut name = [0u8; 16];
    // SAFETY: the helper checks the address. What the caller passes may be shorter than 16 bytes, and longer in an exec.
    let _ = unsafe { bpf_probe_read_kernel_str_bytes(arg!(args, TaskRename, Comm) as *const u8, &mut name) };
    let (words, _) = name.as_chunks::<8>();
    emit(
        0,
        event::TaskRename {
            of_tid: int(member32::<TYPED>(arg!(args, TaskRename, OfTid), offsets::task_pid())),
            comm: u64::from_ne_bytes(words[0]),
            comm_tail: u64::from_ne_bytes(words[1]),
        },
    );
}

probe!(Kind::ExitMmap, exit_mmap, exit_mmap_raw, POS_EXIT_MMAP, exit_mm);
probe!(Kind::Fork, sched_process_fork, sched_process_fork_raw, POS_SCHED_PROCESS_FORK, fork);
probe!(Kind::Exec, sched_process_exec, sched_process_exec_raw, POS_SCHED_PROCESS_EXEC, exec);
probe!(Kind::TaskRename, task_rename, task_rename_raw, POS_TASK_RENAME, rename);
probe!(Kind::Exit, sched_process_exit, sched_process_exit_raw, POS_SCHED_PROCESS_EXIT, exit);

#[inline(always)]
fn drop_mm(args: Args) {
    record!(args.mm(), event::Mmdrop {});
}

entry!(Kind::Mmdrop, mmdrop, POS_MMDROP, drop_mm);
