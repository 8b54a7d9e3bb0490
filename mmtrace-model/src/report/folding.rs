//! Folding of callers into rows: those of one process and name are one row; many processes of one name are one row as
//! well.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    names::{CgroupId, Comm, Tasks, ThreadId},
    stats::caller::Caller,
};

/// Processes of one name that have rows of their own; more are one row.
const PROCESSES_MAX: usize = 8;

/// The names of a process and of a thread.
type Names = (Option<Comm>, Option<Comm>);

/// Finds the row of a caller.
#[derive(Default)]
pub(super) struct Folding {
    /// The thread that stands for each thread.
    rows: BTreeMap<ThreadId, ThreadId>,
    /// Number of processes of each thread that stands for several; `None`: more than are known.
    processes: BTreeMap<ThreadId, Option<u32>>,
}

impl Folding {
    /// Looks through the callers. `of` gives the thread that tells rows apart, of each of them.
    pub(super) fn new(callers: impl Iterator<Item = Caller>, tasks: &Tasks, of: impl Fn(Caller) -> Caller) -> Self {
        let threads: BTreeSet<ThreadId> = callers.map(|caller| of(caller).thread).collect();
        // Beyond the processes that figures tell apart there are names alone.
        let (known, names_alone): (Vec<_>, Vec<_>) =
            threads.into_iter().map(|id| (id, tasks.thread(id))).partition(|(_, thread)| thread.tgid != 0);
        let mut by_names: BTreeMap<Names, (ThreadId, BTreeSet<u32>)> = BTreeMap::new();
        for (id, thread) in known.iter().filter(|(_, thread)| thread.comm.is_some()) {
            let names = (thread.process, thread.comm);
            by_names.entry(names).or_insert_with(|| (*id, BTreeSet::new())).1.insert(thread.tgid);
        }
        let mut folding = Self::default();
        // The same process and thread, before and after an exec.
        let mut same: BTreeMap<(u32, Names, u32), ThreadId> = BTreeMap::new();
        for (id, thread) in known {
            let names = (thread.process, thread.comm);
            let row = match by_names.get(&names) {
                Some((first, processes)) if processes.len() > PROCESSES_MAX => {
                    folding.processes.insert(*first, Some(processes.len() as u32));
                    *first
                }
                _ => {
                    let nameless = if thread.comm.is_some() { 0 } else { thread.tid };
                    *same.entry((thread.tgid, names, nameless)).or_insert(id)
                }
            };
            folding.rows.insert(id, row);
        }
        for (id, thread) in names_alone {
            if let Some((first, processes)) = by_names.get(&(thread.process, thread.comm))
                && processes.len() > PROCESSES_MAX
            {
                folding.processes.insert(*first, None);
                folding.rows.insert(id, *first);
            }
        }
        folding
    }

    /// Makes all threads of one cgroup one row. Those of which none is known are a row as well.
    pub(super) fn by_cgroup(callers: impl Iterator<Item = Caller>, tasks: &Tasks) -> Self {
        let threads: BTreeSet<ThreadId> = callers.map(|caller| caller.thread).collect();
        let mut first: BTreeMap<CgroupId, ThreadId> = BTreeMap::new();
        let row = |id: ThreadId| (id, *first.entry(tasks.thread(id).cgroup).or_insert(id));
        Self { rows: threads.into_iter().map(row).collect(), processes: BTreeMap::new() }
    }

    /// Returns what stands for a caller.
    pub(super) fn row(&self, caller: Caller) -> Caller {
        Caller { thread: self.rows.get(&caller.thread).copied().unwrap_or(caller.thread), ..caller }
    }

    /// Returns how many processes a row stands for, if it is about several; `Some(None)`: more than are known.
    pub(super) fn processes(&self, row: ThreadId) -> Option<Option<u32>> {
        self.processes.get(&row).copied()
    }
}
