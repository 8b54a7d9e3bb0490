//! Holds of mmap_locks, waits for them, and faults, by cgroup: sums that only grow.

use rustc_hash::FxHashMap;

use super::callers::Callers;
use crate::names::{CgroupId, Tasks, ThreadId};

/// What the tasks of one cgroup did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupUse {
    /// The cgroup; [`CgroupId::UNKNOWN`] stands for all tasks of which none is known.
    pub cgroup: CgroupId,
    /// Contended waits for mmap_locks, nanoseconds: for read, for write.
    pub waited_ns: [u64; 2],
    /// Holds of mmap_locks, nanoseconds: for read, for write.
    pub held_ns: [u64; 2],
    /// Page faults.
    pub faults: u64,
}

/// Returns what the tasks of each cgroup did. A cgroup keeps its place: those that are met later come behind.
#[must_use]
pub fn by_cgroup(callers: &Callers, tasks: &Tasks) -> Vec<CgroupUse> {
    let mut rows: FxHashMap<CgroupId, (ThreadId, CgroupUse)> = FxHashMap::default();
    let mut row = |thread: ThreadId, add: &dyn Fn(&mut CgroupUse)| {
        let cgroup = tasks.thread(thread).cgroup;
        let none = CgroupUse { cgroup, waited_ns: [0; 2], held_ns: [0; 2], faults: 0 };
        let (first, sums) = rows.entry(cgroup).or_insert((thread, none));
        *first = thread.min(*first);
        add(sums);
    };
    for (caller, write, used) in callers.locks() {
        row(caller.thread, &|sums| {
            let [waited, held] = [&mut sums.waited_ns, &mut sums.held_ns].map(|sums| &mut sums[usize::from(write)]);
            *waited = waited.saturating_add(used.contended.sum());
            *held = held.saturating_add(used.holds.sum());
        });
    }
    for (caller, causes) in callers.faults() {
        row(caller.thread, &|sums| sums.faults += causes.iter().sum::<u64>());
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|(first, _)| *first);
    rows.into_iter().map(|(_, sums)| sums).collect()
}
