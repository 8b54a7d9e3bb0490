//! The table of workloads.

use super::tally::Tally;
use super::{
    Job, cases, collapse_file, compaction, fault_kinds, faults, fork, gup, hugetlb, khugepaged, markers, migrate, mmap,
    mremap, swap, uffd_wp,
};
use mmtrace_common::Kind;
use std::collections::BTreeSet;
use std::io::Write;

/// One workload.
#[derive(Debug)]
pub struct Workload {
    /// Its name on the command line.
    pub name: &'static str,
    /// Summary of what it drives, in a line.
    pub(crate) about: &'static str,
    /// Events that it provokes by itself; for `all`, [`Workload::events`] gathers those of the others.
    pub(crate) kinds: &'static [Kind],
    /// Further events, if the machine allows.
    pub(crate) sometimes: &'static [Kind],
    /// Requirements for all of them, and its behaviour without.
    pub(crate) needs: &'static str,
    pub(super) body: Body,
}

/// Way to run a workload.
#[derive(Debug)]
pub(super) enum Body {
    /// In this process.
    One(fn(&Job<'_>, &Tally)),
    /// As `One`, but only by its name, never as a part of `all`.
    Alone(fn(&Job<'_>, &Tally)),
    /// As a child process each.
    All,
}

impl Workload {
    /// Events that it provokes: (on every machine, if the machine allows).
    #[must_use]
    pub(crate) fn events(&self) -> (BTreeSet<Kind>, BTreeSet<Kind>) {
        let all = matches!(self.body, Body::All);
        let part = |w: &&Self| matches!(w.body, Body::One(_));
        let from = || WORKLOADS.iter().filter(|w| if all { part(w) } else { w.name == self.name });
        let sure: BTreeSet<_> = from().flat_map(|w| w.kinds).copied().collect();
        let sometimes = from().flat_map(|w| w.sometimes).copied().filter(|kind| !sure.contains(kind)).collect();
        (sure, sometimes)
    }
}

use Kind as K;

/// Events of the cases whose culprit is known.
const LOCKED: &[Kind] = &[K::PageFaultUser, K::StartLocking, K::AcquireReturned, K::Released, K::MaWrite];
/// Requirements of most of them.
const CASE: &str = "nothing; it counts what happened in it, for a report to be compared with";

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
        needs: "root to hurry khugepaged (which otherwise sleeps for 10 s between scans), root and --allow-swap for the \
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
            K::TaskRename,
            K::Exit,
            K::ExitMmap,
            K::MaWrite,
            K::PageFaultUser,
            K::StartLocking,
            K::AcquireReturned,
            K::Released,
            K::TlbFlush,
        ],
        sometimes: &[K::CgroupAttachTask],
        needs: "nothing",
        body: Body::One(fork::run),
    },
    Workload {
        name: "migrate",
        about: "migration of pages that threads fault in, against mprotect and mmap in the same VMA",
        kinds: &[K::PageFaultUser, K::StartLocking, K::AcquireReturned, K::Released, K::MaWrite, K::TlbFlush],
        sometimes: &[
            K::CompactionBegin,
            K::CompactionEnd,
            K::MigratePagesStart,
            K::MigratePages,
            K::SetMigrationPte,
            K::RemoveMigrationPte,
        ],
        needs: "two NUMA nodes; with one, root, to have memory compacted instead",
        body: Body::One(migrate::run),
    },
    Workload {
        name: "collapse-file",
        about: "collapse of a file that several processes map, fault, unmap and read",
        kinds: &[K::ScanFile, K::CollapseFile, K::Fork, K::Exit, K::MaWrite, K::PageFaultUser, K::TlbFlush],
        sometimes: &[K::KhugepagedScan],
        needs: "MADV_COLLAPSE (6.1); root for khugepaged, which it lets collapse such files where it is asked to",
        body: Body::One(collapse_file::run),
    },
    Workload {
        name: "uffd-wp",
        about: "userfaultfd write protection of pages and holes of a file, against collapse through another mapping",
        kinds: &[K::PageFaultUser],
        sometimes: &[K::ScanFile, K::CollapseFile, K::StartLocking, K::AcquireReturned, K::Released, K::TlbFlush],
        needs: "userfaultfd, with write protection of files in memory (5.19); `markers_lost` is 0 where nothing is wrong",
        body: Body::One(uffd_wp::run),
    },
    Workload {
        name: "mremap",
        about: "mremap of whole page tables of a file, against collapses that take them away",
        kinds: &[K::ScanFile, K::CollapseFile, K::MaWrite, K::PageFaultUser, K::StartLocking, K::AcquireReturned],
        sometimes: &[],
        needs: "MADV_COLLAPSE (6.1)",
        body: Body::One(mremap::run),
    },
    Workload {
        name: "gup",
        about: "process_vm_readv, vmsplice and O_DIRECT writes from pages that collapse and MADV_DONTNEED take away",
        kinds: &[K::ScanPmd, K::CollapseIsolate, K::CollapseHugePage, K::PageFaultUser, K::TlbFlush],
        sometimes: &[],
        needs: "MADV_COLLAPSE (6.1); a file system with O_DIRECT in the folder for temporary files or in /var/tmp",
        body: Body::One(gup::run),
    },
    Workload {
        name: "fork-storm",
        about: "several children alive at a time, which copy pages that the parent's threads touch and give back",
        kinds: &[K::Fork, K::Exit, K::ExitMmap, K::PageFaultUser, K::StartLocking, K::AcquireReturned, K::TlbFlush],
        sometimes: &[],
        needs: "nothing; a busy machine loses events under it",
        body: Body::Alone(fork::storm),
    },
    Workload {
        name: "swap",
        about: "pages that are reclaimed to swap, and read again by several threads at a time, which wait for them",
        kinds: &[K::PageFaultUser, K::StartLocking, K::AcquireReturned, K::Released, K::TlbFlush],
        sometimes: &[K::FolioLockOrRetry],
        needs: "swap on a disk; if there is none, root and --allow-swap. It writes to it all the time",
        body: Body::Alone(swap::run),
    },
    Workload {
        name: "hugetlb",
        about: "hugetlb: page tables shared by processes, walked and unshared, pages moved, a private page zapped and faulted",
        kinds: &[],
        sometimes: &[K::Fork, K::Exit, K::MaWrite, K::PageFaultUser, K::StartLocking, K::AcquireReturned, K::TlbFlush],
        needs: "five free huge pages of 2 MiB; if there are fewer, root, to raise vm.nr_hugepages meanwhile. The pool is \
                the whole machine's. Root and two NUMA nodes to move pages. `sigbus` is 0 where nothing is wrong",
        body: Body::Alone(hugetlb::run),
    },
    Workload {
        name: "hugetlb-child",
        about: "a fault in a forked child's private huge page while the pool's only page is on its way back",
        kinds: &[],
        sometimes: &[K::Fork, K::Exit, K::PageFaultUser, K::StartLocking, K::AcquireReturned, K::TlbFlush],
        needs: "as hugetlb, with one page. `sigbus` is 0 for the owner, and not for a child, to which the kernel \
                promises nothing",
        body: Body::Alone(hugetlb::child),
    },
    Workload {
        name: "poison-collapse",
        about: "checks whether a poison marker outlives the collapse of its file through another mapping",
        kinds: &[],
        sometimes: &[K::ScanFile, K::CollapseFile, K::StartLocking, K::AcquireReturned, K::Released],
        needs: "userfaultfd with poison (6.6), MADV_COLLAPSE. `markers_lost` should be 0, and is not on known kernels",
        body: Body::Alone(markers::poison_collapse),
    },
    Workload {
        name: "guard-collapse",
        about: "checks whether a guard page can be read while its mapping is collapsed",
        kinds: &[],
        sometimes: &[K::ScanFile, K::CollapseFile, K::StartLocking, K::AcquireReturned, K::Released],
        needs: "guard pages in file mappings (6.15). `guard_pages_read` should be 0, and is not on known kernels",
        body: Body::Alone(markers::guard_collapse),
    },
    Workload {
        name: "poison-pte-collapse",
        about: "checks whether a poison marker outlives the collapse of its own mapping",
        kinds: &[],
        sometimes: &[K::ScanFile, K::CollapseFile, K::StartLocking, K::AcquireReturned, K::Released],
        needs: "as poison-collapse",
        body: Body::Alone(markers::poison_pte_collapse),
    },
    Workload {
        name: "fault-kinds",
        about: "page faults of each kind, each by a thread of its own, and how many there were: what a report is compared with",
        kinds: &[K::PageFaultUser, K::PageFaultKernel, K::StartLocking, K::AcquireReturned, K::Released, K::MaWrite],
        sometimes: &[
            K::HandleMmFault,
            K::HandleMmFaultReturn,
            K::PageFaultsMin,
            K::PageFaultsMaj,
            K::LockMmAndFindVma,
            K::HugePmdAnonymous,
            K::HandleUserfault,
            K::ExpandStack,
            K::Fork,
            K::Exit,
        ],
        needs: "a disk behind the folder for temporary files or /var/tmp; swap, or root and --allow-swap; root for two \
                huge pages; userfaultfd; guard pages (6.13)",
        body: Body::Alone(fault_kinds::run),
    },
    Workload {
        name: "case-turns",
        about: "mprotect, MAP_POPULATE with munmap, and fork, which hold the mmap_lock in turns: nobody waits",
        kinds: LOCKED,
        sometimes: &[],
        needs: CASE,
        body: Body::Alone(cases::turns),
    },
    Workload {
        name: "case-contend",
        about: "threads that map, touch and unmap, beside one that calls mprotect and one that reads /proc/self/maps",
        kinds: LOCKED,
        sometimes: &[K::ContentionBegin, K::ContentionEnd],
        needs: CASE,
        body: Body::Alone(cases::contend),
    },
    Workload {
        name: "case-monitor",
        about: "another process reads smaps_rollup, and a thread that maps pages waits for it",
        kinds: LOCKED,
        sometimes: &[K::ContentionBegin, K::ContentionEnd],
        needs: CASE,
        body: Body::Alone(cases::monitor),
    },
    Workload {
        name: "case-populate",
        about: "MAP_POPULATE of 32 MiB, and a thread that maps pages and waits for it",
        kinds: LOCKED,
        sometimes: &[K::ContentionBegin, K::ContentionEnd],
        needs: CASE,
        body: Body::Alone(cases::populate),
    },
    Workload {
        name: "case-snapshot",
        about: "fork of a large process, which then writes what the child shares; a thread that maps pages waits for it",
        kinds: LOCKED,
        sometimes: &[K::ContentionBegin, K::ContentionEnd],
        needs: CASE,
        body: Body::Alone(cases::snapshot),
    },
    Workload {
        name: "case-arena",
        about: "a heap as of a garbage collector: madvise in a loop, mprotect of fresh mappings, and touches",
        kinds: LOCKED,
        sometimes: &[K::ContentionBegin, K::ContentionEnd],
        needs: CASE,
        body: Body::Alone(cases::arena),
    },
    Workload {
        name: "case-cold-file",
        about: "threads that read a mapped file whose pages another thread takes out of the page cache",
        kinds: LOCKED,
        sometimes: &[],
        needs: "a disk behind /var/tmp, for faults that read from it",
        body: Body::Alone(cases::cold_file),
    },
    Workload {
        name: "case-handler",
        about: "faults that wait for a userfaultfd handler, 1.5 ms each",
        kinds: LOCKED,
        sometimes: &[K::HandleUserfault],
        needs: "userfaultfd",
        body: Body::Alone(cases::handler),
    },
    Workload {
        name: "case-names",
        about: "a thread for each of some names of strange bytes",
        kinds: LOCKED,
        sometimes: &[],
        needs: CASE,
        body: Body::Alone(cases::names),
    },
    Workload {
        name: "case-short",
        about: "processes that are over at once",
        kinds: &[K::Fork, K::Exec, K::Exit, K::TaskRename, K::PageFaultUser],
        sometimes: &[],
        needs: "the program true",
        body: Body::Alone(cases::short),
    },
    Workload {
        name: "all",
        about: "each of the others in its own process: alone for a slice, then all at once; without those marked",
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
        let alone = if matches!(w.body, Body::Alone(_)) { " (not part of all)" } else { "" };
        writeln!(out, "{:<19} {}{alone}", w.name, w.about)?;
        for (label, kinds) in [("events", sure), ("if possible", sometimes)] {
            if !kinds.is_empty() {
                writeln!(out, "{:19} {label}: {}", "", names(&kinds).join(", "))?;
            }
        }
        writeln!(out, "{:19} needs: {}", "", w.needs)?;
    }
    Ok(())
}

/// Names of the workloads that `all` consists of.
pub(super) fn parts() -> impl Iterator<Item = &'static str> {
    WORKLOADS.iter().filter(|w| matches!(w.body, Body::One(_))).map(|w| w.name)
}
