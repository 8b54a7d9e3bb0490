//! Names for the numbers that events carry: what a task is called, in which cgroup it is, and by which call it came into
//! the kernel.

mod calls;
mod cgroups;
mod comm;
mod place;
mod recent;
mod tasks;

pub use calls::{CALLS, call_name, call_of_name};
pub use cgroups::{CGROUPS_MAX, CgroupId, CgroupName, Cgroups, cgroup_path_records, task_cgroup_record};
pub use comm::Comm;
pub use tasks::{Tasks, Thread, ThreadId};
