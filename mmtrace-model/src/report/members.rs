//! The tasks that a row of a report is about.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::names::{CgroupId, CgroupName, Tasks, ThreadId};

/// The tasks that a row is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    tids: BTreeSet<u32>,
    processes: BTreeSet<u32>,
    cgroups: BTreeSet<CgroupId>,
    /// Some of them came when there were too many to tell apart.
    or_more: bool,
}

impl Members {
    /// Takes in the tasks of a thread. `tids`: the thread ids that each thread stood for.
    pub(super) fn add(&mut self, id: ThreadId, tids: &FxHashMap<ThreadId, Vec<u32>>, tasks: &Tasks) {
        let thread = tasks.thread(id);
        self.tids.extend(tids.get(&id).into_iter().flatten());
        self.cgroups.insert(thread.cgroup);
        self.or_more |= thread.tgid == 0;
        if thread.tgid != 0 {
            self.processes.insert(thread.tgid);
        }
    }

    /// Returns the number of threads.
    pub(super) fn threads(&self) -> u32 {
        self.tids.len() as u32
    }

    /// Returns the number of processes; `None`: more than are known.
    pub(super) fn processes(&self) -> Option<u32> {
        (!self.or_more).then_some(self.processes.len() as u32)
    }

    /// Returns the cgroup that all of them were in, as far as that is known; nothing if they were in several.
    pub(super) fn cgroup<'a>(&self, tasks: &'a Tasks) -> Option<&'a CgroupName> {
        self.single().and_then(|cgroup| tasks.cgroups().name(cgroup))
    }

    /// Returns the number of cgroups that they were in, if they were in several.
    pub(super) fn cgroups(&self) -> Option<u32> {
        let told = self.told().count();
        (told > 1).then_some(told as u32)
    }

    /// Whether all of them were in cgroups beyond those that are told apart.
    pub(super) fn are_beyond(&self) -> bool {
        self.single() == Some(CgroupId::BEYOND)
    }

    fn told(&self) -> impl Iterator<Item = CgroupId> {
        self.cgroups.iter().copied().filter(|cgroup| *cgroup != CgroupId::UNKNOWN)
    }

    /// The cgroup that all of them were in, as far as any is told.
    fn single(&self) -> Option<CgroupId> {
        let mut told = self.told();
        told.next().filter(|_| told.next().is_none())
    }
}
