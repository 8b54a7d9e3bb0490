//! The column of cgroups.

use mmtrace_common::{Column as Carried, Kind};
use mmtrace_model::names::Tasks;

use super::listing::Cell;
use crate::tui::column::{Column, left};

/// The column: only where forks say in which cgroup the child is.
pub(super) const CGROUP: Column = left("cgroup", 20).of(&[Kind::Fork]).carrying(Carried::CgroupId);

/// The container or service of a task; nothing of the root cgroup.
pub(super) fn cgroup(tasks: &Tasks, tid: u32, tgid: u32) -> Cell {
    let cgroups = tasks.cgroups();
    match cgroups.name(cgroups.of(tid, tgid)) {
        Some(name) if name.is_root() => Cell::text(""),
        Some(name) => Cell::text(name.label.clone()),
        None => Cell::none(),
    }
}
