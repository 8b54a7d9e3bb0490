//! retract_page_tables() against threads that fill entries without the folio lock.

use super::{
    L25, SOMETIMES,
    initial_states::{Base, Installer, retract_against, retract_in},
};
use crate::{
    mailing_list::RETRACT,
    protocol::{
        World,
        file::At,
        guard::Mark,
        khugepaged::{Retract, Scan, Tests},
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::invariant::Invariant;

const POSTED: &str = "posted, May 2023: v1 of the series";
const V6_6: &str = "merged; 6.6 to 6.12";
const V7_2: &str = "7.2";
const CANDIDATE: &str = "a change that no kernel has";

/// `fix.scan`: 7.2 with a scan of the table under both locks, in place of the tests under them.
pub(super) const SCAN: Retract = Retract { under: Tests::NONE, scan: Scan::UnderBoth, ..Retract::V7_2 };

const ARMED: Retract = Retract { early: Tests::ARMED, under: Tests::ARMED, ..Retract::V7_2 };
const FLAG: Retract = Retract { early: Tests::POISON, under: Tests::POISON, ..Retract::V7_2 };

/// SC-4.1 `r.6.6`, enlarged: khugepaged retracts the tables of up to three VMAs of the file in one mm, with `entries`
/// entries each. VMA i has `threads[i]` threads, and all VMAs together have at most four. Each thread registers the VMA
/// for uffd-wp and write-protects an entry, one of its own if there are enough. It is safe.
///
/// Distinct states of every interleaving (order `reduced` in brackets):
///
/// | `threads` | states | |
/// | --- | --- | --- |
/// | `[1]` | 659 | (279) |
/// | `[2]` | 17,774 | (9,264) |
/// | `[1, 1]` | 75,010 | (35,200) |
/// | `[3]` | 649,655 | (337,435) |
/// | `[2, 1]` | 3,556,202 | (1,609,358) |
/// | `[1, 1, 1]` | 12,634,303 | (4,218,144) |
/// | `[2, 2]` | more than 33 million | |
///
/// `entries` makes each state larger, but adds no states: an entry that no thread writes does not vary.
///
/// # Panics
///
/// There are more VMAs or threads than that, or no entries.
#[must_use]
pub(crate) fn enlarged(entries: u8, threads: &[u8]) -> World {
    const VMAS: [(&str, &str); 3] = [("vma1", "A"), ("vma2", "B"), ("vma3", "C")];
    const THREADS: [(&str, &str); 4] = [("U1", "E"), ("U2", "F"), ("U3", "G"), ("U4", "H")];
    assert!(threads.len() <= VMAS.len() && entries > 0, "no more than three VMAs, with entries");
    let setup = Setup::default();
    let mut b = Base::new(threads.len() as u8);
    let areas: Vec<_> =
        VMAS.iter().take(threads.len()).map(|(name, table)| b.area(name, Some(table), entries, true)).collect();
    b.khugepaged(&setup, Retract::V6_6, &areas);
    let mut next = 0;
    for (area, count) in areas.iter().zip(threads) {
        for i in 0..*count {
            let (name, table) = THREADS[next];
            next += 1;
            let fresh = b.fresh(&[table], entries);
            Installer::RegisterWp.thread(&setup, &mut b, name, At { area: *area, index: i % entries, fresh });
        }
    }
    b.done()
}

fn unsplit(s: &Setup<'_>, rules: Retract, installer: Installer) -> World {
    retract_in(s, Base::without_split_locks(1), rules, installer, true)
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "SC-4.1",
        thread: Some(RETRACT),
        title: "retract while a VMA is registered for uffd-wp and a hole is write-protected",
        question: "K removes the empty table of a file mapping. U registers the VMA with userfaultfd and \
                   write-protects a page that is not mapped, which puts a marker into the table. U needs neither the \
                   folio lock nor i_mmap. Is the marker lost?",
        source: "the thread, Peter Xu's question of 2023-05-29 and Hugh Dickins's answer; mm/khugepaged.c:retract_page_tables",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "r.trylock",
                status: "until 6.5",
                expect: Safe,
                why: "K holds the mmap_lock for write while it removes the table, so U comes before or after",
                never: &[3],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::TRYLOCK, Installer::RegisterWp, true),
            },
            Variant {
                id: "r.posted",
                status: POSTED,
                expect: Breaks(Invariant::Marker),
                why: "K tests uffd-wp before it takes the locks. After the test, U registers and puts its marker into \
                      the table that K removes",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::POSTED, Installer::RegisterWp, true),
            },
            Variant {
                id: "r.6.6",
                status: V6_6,
                expect: Safe,
                why: "K tests again under PML and PTL. Either K sees the flag, or U comes later and finds that the PMD \
                      entry has changed",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V6_6, Installer::RegisterWp, true),
            },
            Variant {
                id: "r.7.2",
                status: V7_2,
                expect: Safe,
                why: "as for r.6.6",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V7_2, Installer::RegisterWp, true),
            },
        ],
    },
    Scenario {
        id: "SC-4.3",
        thread: Some(RETRACT),
        title: "retract while UFFDIO_COPY fills an entry of a private mapping",
        question: "UFFDIO_COPY into a private mapping sets anon_vma and puts a page of its own into the table. It uses \
                   neither the page cache nor the folio lock. Is the page lost?",
        source: "the thread; mm/khugepaged.c, the comment on racing userfaultfd_ioctl() in retract_page_tables",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "r.trylock",
                status: "until 6.5",
                expect: Safe,
                why: "K holds the mmap_lock for write and tests anon_vma under it",
                never: &[3],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::TRYLOCK, Installer::Copy, false),
            },
            Variant {
                id: "r.posted",
                status: POSTED,
                expect: Breaks(Invariant::Empty),
                why: "K tests anon_vma before it takes the locks, and the folio lock does not keep UFFDIO_COPY away. K \
                      removes the table with the page in it",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::POSTED, Installer::Copy, false),
            },
            Variant {
                id: "r.6.6",
                status: V6_6,
                expect: Safe,
                why: "UFFDIO_COPY sets anon_vma before it maps the page, and K tests anon_vma again under the locks",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V6_6, Installer::Copy, false),
            },
            Variant {
                id: "r.7.2",
                status: V7_2,
                expect: Safe,
                why: "as for r.6.6",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V7_2, Installer::Copy, false),
            },
            Variant {
                id: "fix.scan",
                status: CANDIDATE,
                expect: Safe,
                why: "K scans the table under both locks in place of the tests, and finds the page",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, SCAN, Installer::Copy, false),
            },
        ],
    },
    Scenario {
        id: "SC-4.4",
        thread: Some(RETRACT),
        title: "retract of a table with a poison marker",
        question: "U poisons a page in a shared mapping that is registered for minor faults. The VMA has no anon_vma, \
                   no uffd-wp and no guard flag. Does anything keep K from removing the table with the marker, and \
                   which change would?",
        source: "the thread's question, asked of poison; mm/userfaultfd.c:mfill_atomic_pte_poison; observed on 6.12 and 7.2",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "r.trylock",
                status: "until 6.5",
                expect: Breaks(Invariant::Marker),
                why: "nothing tests for poison, whatever locks K holds",
                never: &[],
                live: Live::Unseen("L25 is true of kernels from 6.6 on; earlier kernels freed page tables differently"),
                build: |s| retract_against(s, Retract::TRYLOCK, Installer::Poison, true),
            },
            Variant {
                id: "r.6.6",
                status: V6_6,
                expect: Breaks(Invariant::Marker),
                why: "none of the tests is about poison, so K loses the marker without a race",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::V6_6, Installer::Poison, true),
            },
            Variant {
                id: "r.7.2",
                status: V7_2,
                expect: Breaks(Invariant::Marker),
                why: "none of the tests is about poison, so K loses the marker without a race",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::V7_2, Installer::Poison, true),
            },
            Variant {
                id: "r.7.2 private",
                status: V7_2,
                expect: Safe,
                why: "in a private mapping, U sets anon_vma before the marker, and K tests anon_vma",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V7_2, Installer::Poison, false),
            },
            Variant {
                id: "fix.scan",
                status: CANDIDATE,
                expect: Safe,
                why: "K scans every entry once it holds PML and PTL, and gives up if one is not none. It is the \
                      smallest change that is safe for every marker: it needs no new lock and no flag, and the tests \
                      under the locks can go. A scan without either lock, or before them, is not enough",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, SCAN, Installer::Poison, true),
            },
            Variant {
                id: "fix.scan unregister",
                status: CANDIDATE,
                expect: Safe,
                why: "K looks for the marker itself, so the state of the VMA does not matter",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, SCAN, Installer::PoisonUnregister, true),
            },
            Variant {
                id: "fix.scan-early",
                status: "smaller than fix.scan: not enough",
                expect: Breaks(Invariant::Marker),
                why: "K scans before it takes any lock, and the marker comes after the scan",
                never: &[],
                live: L25,
                build: |s| {
                    let rules = Retract { scan: Scan::Unlocked, ..Retract::V7_2 };
                    retract_against(s, rules, Installer::Poison, true)
                },
            },
            Variant {
                id: "fix.scan-ptl",
                status: "smaller than fix.scan: not enough",
                expect: Breaks(Invariant::Marker),
                why: "K scans under the PTL alone and drops it, because PML comes before it. The marker comes in \
                      between",
                never: &[],
                live: L25,
                build: |s| {
                    let rules = Retract { scan: Scan::UnderPtl, ..Retract::V7_2 };
                    retract_against(s, rules, Installer::Poison, true)
                },
            },
            Variant {
                id: "fix.scan-pml",
                status: "smaller than fix.scan: not enough",
                expect: Breaks(Invariant::Marker),
                why: "K scans under PML alone, but entries change under the PTL",
                never: &[],
                live: L25,
                build: |s| {
                    let rules = Retract { scan: Scan::UnderPml, ..Retract::V7_2 };
                    retract_against(s, rules, Installer::Poison, true)
                },
            },
            Variant {
                id: "fix.armed",
                status: CANDIDATE,
                expect: Safe,
                why: "K tests userfaultfd_armed() in place of userfaultfd_wp(), before and under the locks. This is \
                      enough while the VMA stays registered, but not after that (fix.armed unregister)",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, ARMED, Installer::RegisterPoison, true),
            },
            Variant {
                id: "fix.armed unregister",
                status: "smaller than fix.scan: not enough",
                expect: Breaks(Invariant::Marker),
                why: "the marker outlives UFFDIO_UNREGISTER, mremap and the end of the userfaultfd, and the flag does \
                      not",
                never: &[],
                live: L25,
                build: |s| retract_against(s, ARMED, Installer::PoisonUnregister, true),
            },
            Variant {
                id: "fix.flag",
                status: CANDIDATE,
                expect: Safe,
                why: "U sets a sticky flag for poison before the marker, and K tests it as it tests VM_MAYBE_GUARD. \
                      This is safe but larger, because the kernel must keep the flag through merge, split and mremap",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, FLAG, Installer::PoisonFlag(true), true),
            },
            Variant {
                id: "fix.flag-late",
                status: "negative test",
                expect: Breaks(Invariant::Marker),
                why: "U sets the flag after the marker, and K comes in between",
                never: &[],
                live: L25,
                build: |s| retract_against(s, FLAG, Installer::PoisonFlag(false), true),
            },
        ],
    },
    Scenario {
        id: "SC-4.5",
        thread: Some(RETRACT),
        title: "retract while a guard is installed",
        question: "MADV_GUARD_INSTALL puts a marker into the table of a file mapping. Does K see that the VMA may have \
                   guards?",
        source: "mm/madvise.c:madvise_guard_install, mm/khugepaged.c:file_backed_vma_is_retractable (7.2)",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "r.6.6",
                status: "6.15 to 6.18: guards in file mappings, retract as in 6.6",
                expect: Breaks(Invariant::Marker),
                why: "nothing tests for guards, so K loses the marker without a race",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::V6_6, Installer::Guard(Mark::Never), true),
            },
            Variant {
                id: "r.7.2",
                status: V7_2,
                expect: Safe,
                why: "U sets VM_MAYBE_GUARD before it takes the PTL for the marker, and K tests the flag under the PTL",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V7_2, Installer::Guard(Mark::Before), true),
            },
            Variant {
                id: "r.7.2 flag-late",
                status: "negative test",
                expect: Breaks(Invariant::Marker),
                why: "U sets the flag after the marker, and K tests it in between",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::V7_2, Installer::Guard(Mark::After), true),
            },
            Variant {
                id: "fix.scan",
                status: CANDIDATE,
                expect: Safe,
                why: "K finds the marker, so it needs no flag under the locks, and the order of flag and marker does \
                      not matter",
                never: &[],
                live: Live::Quiet,
                build: |s| {
                    let rules = Retract { early: Tests::WP, ..SCAN };
                    retract_against(s, rules, Installer::Guard(Mark::Never), true)
                },
            },
        ],
    },
    Scenario {
        id: "SC-4.16",
        thread: Some(RETRACT),
        title: "retract where PMD and PTE tables share one lock",
        question: "Where there are few CPUs or spinlocks are large, page-table locks are not split: \
                   mm->page_table_lock is both PML and PTL. K needs both. Does K wait for itself, and is U's marker as \
                   safe as with two locks?",
        source: "mm/khugepaged.c:retract_page_tables, if (ptl != pml); include/linux/mm.h:pte_lockptr, \
                 mm/Kconfig:SPLIT_PTE_PTLOCKS",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "r.posted",
                status: POSTED,
                expect: Breaks(Invariant::Marker),
                why: "as with split locks, U registers after the test and puts its marker into the table that K \
                      removes",
                never: &[],
                live: L25,
                build: |s| unsplit(s, Retract::POSTED, Installer::RegisterWp),
            },
            Variant {
                id: "r.6.6",
                status: V6_6,
                expect: Safe,
                why: "PML keeps U out of the table as the PTL does, and K tests uffd-wp again under it",
                never: &[],
                live: Live::Quiet,
                build: |s| unsplit(s, Retract::V6_6, Installer::RegisterWp),
            },
            Variant {
                id: "r.7.2",
                status: V7_2,
                expect: Safe,
                why: "as for r.6.6",
                never: &[],
                live: Live::Quiet,
                build: |s| unsplit(s, Retract::V7_2, Installer::RegisterWp),
            },
            Variant {
                id: "r.7.2 guard",
                status: V7_2,
                expect: Safe,
                why: "U sets the flag before the marker, and K tests it again under the lock",
                never: &[],
                live: Live::Quiet,
                build: |s| unsplit(s, Retract::V7_2, Installer::Guard(Mark::Before)),
            },
            Variant {
                id: "both",
                status: "negative test",
                expect: Breaks(Invariant::Dead),
                why: "K takes the PTL without checking whether it is PML, which K holds",
                never: &[],
                live: Live::Unseen(
                    "K spins, so there is no event; lockdep and the soft-lockup watchdog would report it",
                ),
                build: |s| unsplit(s, Retract { if_split: false, ..Retract::V7_2 }, Installer::RegisterWp),
            },
        ],
    },
];

#[cfg(test)]
mod tests {
    use crate::search::{Limits, Order, search};

    #[test]
    fn two_threads_in_one_vma_are_as_large_as_documented() {
        let mut limits = Limits::default();
        let found = search(&super::enlarged(2, &[2]), Order::Depth, &mut limits).expect("it is small");
        assert!(found.broken.is_none(), "{:?}", found.broken);
        assert_eq!(found.states, 17_774);
    }
}
