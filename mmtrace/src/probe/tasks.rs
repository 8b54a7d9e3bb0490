//! Tasks as the programs see them: their ids in the initial pid namespace, their mms, their names.
//!
//! In a pid namespace `/proc` and the system calls know other ids than the programs, and nothing in user space tells
//! which id of the one is which of the other. A BPF iterator does: the kernel takes a thread id of the caller's namespace
//! and hands the task to a program. The program is put together here, from offsets of this kernel's BTF. It also shows
//! which tasks the kernel keeps from BPF programs, as some hosts do: those are not in the answer.

use std::{
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
};

use super::sys;
use crate::btf::{Btf, BtfError};

/// One task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id in the initial pid namespace, as in events.
    pub(crate) tid: u32,
    /// Its process's id there.
    pub(crate) tgid: u32,
    /// Its mm, as a kernel pointer; 0 for a kernel thread, and for a task that has ended and was not waited for.
    pub(crate) mm: u64,
    /// Its command name, padded with zeros.
    pub(crate) comm: [u8; 16],
    /// The id of its cgroup v2; 0 if this kernel's BTF does not tell.
    pub(crate) cgroup: u64,
}

/// Bytes that the program writes of each task.
const ROW: usize = 40;

/// Reason why tasks cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TasksError {
    /// BTF does not say what the program needs.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The kernel refused the program.
    #[error("the kernel refused the BPF program that lists tasks: {0}")]
    Refused(io::Error),
}

/// The kernel's tasks, to be asked for.
pub struct Tasks {
    program: OwnedFd,
}

impl Tasks {
    /// Brings the program in.
    ///
    /// # Errors
    /// See [`TasksError`]. Iterators over tasks came with Linux 5.8.
    pub(crate) fn new(btf: &Btf) -> Result<Self, TasksError> {
        let offset = |member| btf.member_offset("task_struct", member);
        let cgroup = || {
            Some([
                offset("cgroups").ok()?,
                btf.member_offset("css_set", "dfl_cgrp").ok()?,
                btf.member_offset("cgroup", "kn").ok()?,
                btf.member_offset("kernfs_node", "id").ok()?,
            ])
        };
        let code = program(offset("pid")?, offset("tgid")?, offset("mm")?, offset("comm")?, cgroup());
        let at = btf.func_id("bpf_iter_task")?;
        Ok(Self { program: sys::load_iterator(&code, at).map_err(TasksError::Refused)? })
    }

    /// All tasks of this pid namespace and of those below it.
    ///
    /// # Errors
    /// The iterator could not be created or read.
    pub(crate) fn all(&self) -> io::Result<Vec<Task>> {
        self.read(None)
    }

    /// The task that has this id in this process's pid namespace; nothing if there is none, or if the kernel keeps it
    /// from programs.
    ///
    /// # Errors
    /// The iterator could not be created or read. `Unsupported`: the kernel lists all tasks whichever is asked for, as
    /// before 6.1.
    pub(crate) fn find(&self, tid: u32) -> io::Result<Option<Task>> {
        let rows = self.read(Some(tid))?;
        if rows.len() > 1 {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel cannot look up one task (Linux 6.1)"));
        }
        Ok(rows.first().copied())
    }

    fn read(&self, tid: Option<u32>) -> io::Result<Vec<Task>> {
        let mut bytes = Vec::new();
        std::fs::File::from(sys::iterate(self.program.as_fd(), tid)?).read_to_end(&mut bytes)?;
        let (rows, _) = bytes.as_chunks::<ROW>();
        Ok(rows.iter().map(task).collect())
    }
}

/// A row of the program's.
fn task(row: &[u8; ROW]) -> Task {
    let (words, _) = row.as_chunks::<8>();
    let (ids, _) = row.as_chunks::<4>();
    let (halves, _) = row.as_chunks::<16>();
    Task {
        tid: u32::from_ne_bytes(ids[0]),
        tgid: u32::from_ne_bytes(ids[1]),
        mm: u64::from_ne_bytes(words[1]),
        comm: halves[1],
        cgroup: u64::from_ne_bytes(words[4]),
    }
}

/// One instruction (Documentation/bpf/standardization/instruction-set.rst).
const fn instruction(code: u8, dst: u8, src: u8, off: i16, imm: u32) -> u64 {
    code as u64 | (dst as u64) << 8 | (src as u64) << 12 | (off as u16 as u64) << 16 | (imm as u64) << 32
}

/// `dst = *(u64 *)(src + off)`
const LOAD_DW: u8 = 0x79;
/// `dst = *(u32 *)(src + off)`
const LOAD_W: u8 = 0x61;
/// `*(u64 *)(dst + off) = src`
const STORE_DW: u8 = 0x7b;
/// `*(u32 *)(dst + off) = src`
const STORE_W: u8 = 0x63;
/// `*(u64 *)(dst + off) = imm`
const ZERO_DW: u8 = 0x7a;
/// `dst = src`
const MOVE: u8 = 0xbf;
/// `dst = imm`
const SET: u8 = 0xb7;
/// `dst += imm`
const ADD: u8 = 0x07;
/// `dst = imm`, 64 bits of it, the upper half in a second instruction
const SET_DW: u8 = 0x18;
/// `if dst != src goto off`
const UNLESS_SAME: u8 = 0x5d;
/// `dst >>= imm`
const SHIFT_RIGHT: u8 = 0x77;
/// `if dst == imm goto off`
const IF_EQUAL: u8 = 0x15;
/// A helper by its number.
const CALL: u8 = 0x85;
/// `return r0`
const EXIT: u8 = 0x95;

/// The helper `bpf_get_current_pid_tgid`.
const CURRENT_PID_TGID: u32 = 14;
/// The helper `bpf_get_current_ancestor_cgroup_id`.
const ANCESTOR_CGROUP: u32 = 123;
/// The helper `bpf_probe_read_kernel`.
const PROBE_READ_KERNEL: u32 = 113;
/// The helper `bpf_seq_write`.
const SEQ_WRITE: u32 = 127;

/// `task = ctx->task; if (!task) return 0; row = { task->pid, task->tgid, task->mm, task->comm, task->cgroups->dfl_cgrp->kn->id };
/// bpf_seq_write(ctx->meta->seq, row)`; `cgroup`: the offsets of the members that lead to the last of these.
fn program(pid: u32, tgid: u32, mm: u32, comm: u32, cgroup: Option<[u32; 4]>) -> Vec<u64> {
    let at = |offset: u32| offset as i16;
    let mut read = vec![instruction(ZERO_DW, 10, 0, -8, 0)];
    if let Some([cgroups, dfl_cgrp, kn, id]) = cgroup {
        read.extend([
            instruction(LOAD_DW, 1, 7, at(cgroups), 0),
            instruction(LOAD_DW, 1, 1, at(dfl_cgrp), 0),
            instruction(LOAD_DW, 1, 1, at(kn), 0),
            instruction(LOAD_DW, 1, 1, at(id), 0),
            instruction(STORE_DW, 10, 1, -8, 0),
        ]);
    }
    read.extend([
        instruction(LOAD_W, 1, 7, at(pid), 0),
        instruction(STORE_W, 10, 1, -40, 0),
        instruction(LOAD_W, 1, 7, at(tgid), 0),
        instruction(STORE_W, 10, 1, -36, 0),
        instruction(LOAD_DW, 1, 7, at(mm), 0),
        instruction(STORE_DW, 10, 1, -32, 0),
        instruction(ZERO_DW, 10, 0, -24, 0),
        instruction(ZERO_DW, 10, 0, -16, 0),
        instruction(MOVE, 1, 10, 0, 0),
        instruction(ADD, 1, 0, 0, -24i32 as u32),
        instruction(SET, 2, 0, 0, 16),
        instruction(MOVE, 3, 7, 0, 0),
        instruction(ADD, 3, 0, 0, comm),
        instruction(CALL, 0, 0, 0, PROBE_READ_KERNEL),
        instruction(LOAD_DW, 1, 6, 0, 0),
        instruction(LOAD_DW, 1, 1, 0, 0),
        instruction(MOVE, 2, 10, 0, 0),
        instruction(ADD, 2, 0, 0, -(ROW as i32) as u32),
        instruction(SET, 3, 0, 0, ROW as u32),
        instruction(CALL, 0, 0, 0, SEQ_WRITE),
    ]);
    let mut code = vec![
        instruction(MOVE, 6, 1, 0, 0),
        instruction(LOAD_DW, 7, 6, 8, 0),
        // After the last task the program runs once without one.
        instruction(IF_EQUAL, 7, 0, read.len() as i16, 0),
    ];
    code.extend(read);
    code.extend([instruction(SET, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    code
}

/// This process's id in the initial pid namespace, as in events.
///
/// # Errors
/// The kernel refused the program; programs that are run on request came with Linux 5.10.
pub(crate) fn own_tgid() -> io::Result<u32> {
    let code = [
        instruction(CALL, 0, 0, 0, CURRENT_PID_TGID),
        instruction(SHIFT_RIGHT, 0, 0, 0, 32),
        instruction(EXIT, 0, 0, 0, 0),
    ];
    sys::run_once(sys::load_raw_tracepoint(&code)?.as_fd())
}

/// Levels of the hierarchy, from its root, that are searched for a cgroup.
const LEVELS: u32 = 64;

/// The level of that cgroup of the whole v2 hierarchy which has this id and holds this process, itself or by cgroups
/// below it; `None` if none is it.
///
/// # Errors
/// The kernel refused the program; programs that are run on request came with Linux 5.10.
pub(crate) fn own_cgroup_level(id: u64) -> io::Result<Option<u32>> {
    let mut code = vec![instruction(SET_DW, 6, 0, 0, id as u32), instruction(0, 0, 0, 0, (id >> 32) as u32)];
    for level in 0..LEVELS {
        code.extend([
            instruction(SET, 1, 0, 0, level),
            instruction(CALL, 0, 0, 0, ANCESTOR_CGROUP),
            instruction(UNLESS_SAME, 0, 6, 2, 0),
            instruction(SET, 0, 0, 0, level + 1),
            instruction(EXIT, 0, 0, 0, 0),
        ]);
    }
    code.extend([instruction(SET, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    Ok(sys::run_once(sys::load_raw_tracepoint(&code)?.as_fd())?.checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_the_program_writes_it() {
        let mut row = [0; ROW];
        row[..4].copy_from_slice(&7u32.to_ne_bytes());
        row[4..8].copy_from_slice(&5u32.to_ne_bytes());
        row[8..16].copy_from_slice(&0xffff_8881_0001_0203u64.to_ne_bytes());
        row[16..20].copy_from_slice(b"bash");
        row[32..].copy_from_slice(&0x1_0000_0009u64.to_ne_bytes());
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"bash");
        assert_eq!(task(&row), Task { tid: 7, tgid: 5, mm: 0xffff_8881_0001_0203, comm, cgroup: 0x1_0000_0009 });
    }

    /// Only where programs may be loaded.
    #[test]
    fn the_kernel_knows_this_process_by_the_same_ids() {
        let Ok(own) = own_tgid() else {
            eprintln!("not allowed to load programs: nothing to see");
            return;
        };
        let tasks = Tasks::new(&Btf::from_kernel().expect("BTF")).expect("loaded");
        let all = tasks.all().expect("listed");
        let me = all.iter().find(|task| task.tgid == own).expect("this process");
        assert_ne!(me.mm, 0);
        assert_ne!(me.comm, [0; 16]);
        assert!(me.cgroup != 0 && own_cgroup_level(me.cgroup).expect("run").is_some(), "its cgroup, by another way");
        match tasks.find(std::process::id()) {
            Ok(found) => assert_eq!(found.expect("this process").tgid, own),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
        }
        assert_eq!(tasks.find(4_194_304).ok().flatten(), None);
        // The root's directory has inode 1.
        assert_eq!(own_cgroup_level(1).expect("run"), Some(0));
        assert_eq!(own_cgroup_level(u64::MAX).expect("run"), None);
    }
}
