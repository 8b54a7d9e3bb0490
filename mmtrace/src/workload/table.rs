//! Which workloads there are.

use super::tally::Tally;
use super::{Job, compaction, faults, fork, khugepaged, mmap};
use mmtrace_common::Kind;
use std::collections::BTreeSet;
use std::io::Write;

/// One workload.
#[derive(Debug)]
pub struct Workload {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it drives, in a line.
    pub about: &'static str,
    /// Events that it provokes by itself; for `all`, [`Workload::events`] gathers those of the others.
    pub kinds: &'static [Kind],
    /// Further events, if the machine allows.
    pub sometimes: &'static [Kind],
    /// What it needs for all of them, and what it does without.
    pub needs: &'static str,
    pub(super) body: Body,
}

/// How a workload runs.
#[derive(Debug)]
pub(super) enum Body {
    /// In this process.
    One(fn(&Job<'_>, &Tally)),
    /// As a child process each.
    All,
}

impl Workload {
    /// Events that it provokes: (on every machine, if the machine allows).
    #[must_use]
    pub fn events(&self) -> (BTreeSet<Kind>, BTreeSet<Kind>) {
        let all = matches!(self.body, Body::All);
        let from = || WORKLOADS.iter().filter(|w| all || w.name == self.name);
        let sure: BTreeSet<_> = from().flat_map(|w| w.kinds).copied().collect();
        let sometimes = from().flat_map(|w| w.sometimes).copied().filter(|kind| !sure.contains(kind)).collect();
        (sure, sometimes)
    }
}

use Kind as K;

/// Every workload.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "faults",
        about: "page faults: fresh, copy-on-write, zero page, file, and in kernel mode through read(2)",
        kinds: &[K::PageFaultUser, K::PageFaultKernel, K::StartLocking, K::AcquireReturned, K::Released, K::TlbFlush],
        sometimes: &[],
        needs: "nothing",
        body: Body::One(faults::run),
    },
    Workload {
        name: "mmap",
        about: "mmap, mprotect and munmap against threads that fault in the same mm",
        kinds: &[
            K::StartLocking,
            K::AcquireReturned,
            K::Released,
            K::MaWrite,
            K::ContentionBegin,
            K::ContentionEnd,
            K::PageFaultUser,
            K::TlbFlush,
        ],
        sometimes: &[],
        needs: "contention is frequent with two CPUs or more, and rare with one",
        body: Body::One(mmap::run),
    },
    Workload {
        name: "khugepaged",
        about: "collapse into huge pages, by khugepaged and by MADV_COLLAPSE, of anonymous and shmem memory",
        kinds: &[K::ScanPmd, K::CollapseIsolate, K::CollapseHugePage, K::ScanFile, K::CollapseFile],
        sometimes: &[K::KhugepagedScan, K::CollapseSwapin],
        needs: "root to hurry khugepaged (which else sleeps for 10 s between scans), root and --allow-swap for the \
                swap-in; transparent huge pages not switched off; MADV_COLLAPSE (6.1); mm_khugepaged_scan is new in 7.x",
        body: Body::One(khugepaged::run),
    },
    Workload {
        name: "compaction",
        about: "migration: compaction of fragmented memory, and moves between NUMA nodes",
        kinds: &[],
        sometimes: &[
            K::CompactionBegin,
            K::CompactionEnd,
            K::MigratePagesStart,
            K::MigratePages,
            K::SetMigrationPte,
            K::RemoveMigrationPte,
            K::SetMigrationPmd,
            K::RemoveMigrationPmd,
        ],
        needs: "root to write /proc/sys/vm/compact_memory (without, it allocates huge pages from fragmented memory, \
                which compacts only if memory is short); two NUMA nodes for migration of huge PMDs",
        body: Body::One(compaction::run),
    },
    Workload {
        name: "fork",
        about: "fork, vfork, exec, exit, threads, and mremap of what children share",
        kinds: &[
            K::Fork,
            K::Exec,
            K::Exit,
            K::ExitMmap,
            K::MaWrite,
            K::PageFaultUser,
            K::StartLocking,
            K::AcquireReturned,
            K::Released,
            K::TlbFlush,
        ],
        sometimes: &[],
        needs: "nothing",
        body: Body::One(fork::run),
    },
    Workload {
        name: "all",
        about: "each of the others in its own process: alone for a slice, then all at once",
        kinds: &[],
        sometimes: &[],
        needs: "what each of them needs; 10 seconds or more give every path its turn",
        body: Body::All,
    },
];

fn names(kinds: &BTreeSet<Kind>) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.name()).collect()
}

/// Prints the table.
pub(super) fn list(json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        let rows: Vec<_> = WORKLOADS
            .iter()
            .map(|w| {
                let (sure, sometimes) = w.events();
                serde_json::json!({
                    "name": w.name, "about": w.about, "events": names(&sure),
                    "sometimes": names(&sometimes), "needs": w.needs,
                })
            })
            .collect();
        serde_json::to_writer(&mut *out, &rows)?;
        writeln!(out)?;
        return Ok(());
    }
    for w in WORKLOADS {
        let (sure, sometimes) = w.events();
        writeln!(out, "{:<11} {}", w.name, w.about)?;
        for (label, kinds) in [("events", sure), ("if possible", sometimes)] {
            if !kinds.is_empty() {
                writeln!(out, "            {label}: {}", names(&kinds).join(", "))?;
            }
        }
        writeln!(out, "            needs: {}", w.needs)?;
    }
    Ok(())
}

/// Names of the workloads that `all` consists of.
pub(super) fn parts() -> impl Iterator<Item = &'static str> {
    WORKLOADS.iter().filter(|w| matches!(w.body, Body::One(_))).map(|w| w.name)
}
