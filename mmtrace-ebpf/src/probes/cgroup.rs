//! Cgroups of tasks. Only the v2 hierarchy is followed: a task is in one cgroup of it.

use mmtrace_common::{Kind, event};

use super::probe;
use crate::{
    args::{Args, arg, int, member, member32},
    offsets,
    ring::emit,
};

/// Id of the v2 hierarchy (kernel/cgroup/cgroup.c:cgroup_init sets up `cgrp_dfl_root` first).
const V2: u64 = 0;

/// Returns the id of a task's cgroup v2; 0 where this kernel's BTF does not tell. The task is alive, and a reader of RCU as
/// every program is: neither its `css_set` nor the cgroup is freed meanwhile.
#[inline(always)]
pub fn cgroup_of<const TYPED: bool>(task: u64) -> u64 {
    if offsets::task_cgroups() == 0 || offsets::css_set_dfl_cgrp() == 0 || offsets::cgroup_kn() == 0 {
        return 0;
    }
    let set = member::<TYPED>(task, offsets::task_cgroups());
    id::<TYPED>(member::<TYPED>(set, offsets::css_set_dfl_cgrp()))
}

/// Returns the id of a cgroup: the number of its kernfs node, which is the inode of its directory.
#[inline(always)]
fn id<const TYPED: bool>(cgroup: u64) -> u64 {
    member::<TYPED>(member::<TYPED>(cgroup, offsets::cgroup_kn()), offsets::kernfs_id())
}

/// Recorded of every task, whatever the filter, as its name is.
#[inline(always)]
fn attach<const TYPED: bool>(args: Args) {
    let cgroup = arg!(args, CgroupAttachTask, CgroupId);
    let root = member::<TYPED>(cgroup, offsets::cgroup_root());
    if member32::<TYPED>(root, offsets::root_hierarchy_id()) != V2 {
        return;
    }
    let task = arg!(args, CgroupAttachTask, OfTid);
    emit(
        0,
        event::CgroupAttachTask {
            of_tid: int(member32::<TYPED>(task, offsets::task_pid())),
            of_pid: int(member32::<TYPED>(task, offsets::task_tgid())),
            cgroup_id: id::<TYPED>(cgroup),
            threadgroup: arg!(args, CgroupAttachTask, Threadgroup) & 1 != 0,
        },
    );
}

probe!(Kind::CgroupAttachTask, cgroup_attach_task, cgroup_attach_task_raw, POS_CGROUP_ATTACH_TASK, attach);
