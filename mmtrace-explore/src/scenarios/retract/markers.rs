//! retract_page_tables() against what fills entries without the folio lock.

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

/// `fix.scan`: as 7.2, with a scan of the table under both locks in place of the tests there.
pub(super) const SCAN: Retract = Retract { under: Tests::NONE, scan: Scan::UnderBoth, ..Retract::V7_2 };

const ARMED: Retract = Retract { early: Tests::ARMED, under: Tests::ARMED, ..Retract::V7_2 };
const FLAG: Retract = Retract { early: Tests::POISON, under: Tests::POISON, ..Retract::V7_2 };

/// SC-4.1 `r.6.6`, enlarged: khugepaged retracts the tables of up to three VMAs of the file in one
/// mm, `entries` entries each; VMA i has `threads[i]` threads, in all no more than four, of which each registers the
/// VMA for uffd-wp and write-protects an entry, its own one as long as there are enough of them. Safe.
///
/// Distinct states, every interleaving (order `reduced` in brackets):
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
/// `entries` makes a state larger, and adds no states: an entry that no thread writes does not vary.
///
/// # Panics
///
/// When there are more VMAs or threads than that, or no entries.
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
        question: "K removes the empty table of a file mapping; U registers the VMA with userfaultfd and write-protects a \
               page that is not mapped: a marker is put into the table. U needs neither the folio lock nor i_mmap. Is \
               the marker lost?",
        source: "the thread, Peter Xu's question of 2023-05-29 and Hugh Dickins's answer; mm/khugepaged.c:retract_page_tables",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "r.trylock",
                status: "until 6.5",
                expect: Safe,
                why: "the mmap_lock is held for write while the table goes: U is before it or after it",
                never: &[3],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::TRYLOCK, Installer::RegisterWp, true),
            },
            Variant {
                id: "r.posted",
                status: POSTED,
                expect: Breaks(Invariant::Marker),
                why: "uffd-wp is tested before the locks are taken; after the test U registers, and puts its marker into \
                  the table that K removes",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::POSTED, Installer::RegisterWp, true),
            },
            Variant {
                id: "r.6.6",
                status: V6_6,
                expect: Safe,
                why: "tested again under PML and PTL: either K sees the flag, or U comes later and finds that the PMD has \
                  changed",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V6_6, Installer::RegisterWp, true),
            },
            Variant {
                id: "r.7.2",
                status: V7_2,
                expect: Safe,
                why: "as 6.6",
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
        question: "UFFDIO_COPY into a private mapping sets anon_vma and puts a page of its own into the table: no page \
               cache, no folio lock. Is the page lost?",
        source: "the thread; mm/khugepaged.c, the comment on racing userfaultfd_ioctl() in retract_page_tables",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "r.trylock",
                status: "until 6.5",
                expect: Safe,
                why: "the mmap_lock is held for write, and anon_vma is tested under it",
                never: &[3],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::TRYLOCK, Installer::Copy, false),
            },
            Variant {
                id: "r.posted",
                status: POSTED,
                expect: Breaks(Invariant::Empty),
                why: "anon_vma is tested before the locks are taken, and the folio lock does not keep UFFDIO_COPY away: \
                  the table is removed with the page in it",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::POSTED, Installer::Copy, false),
            },
            Variant {
                id: "r.6.6",
                status: V6_6,
                expect: Safe,
                why: "anon_vma is set before the page is put there, and tested again under the locks",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V6_6, Installer::Copy, false),
            },
            Variant {
                id: "r.7.2",
                status: V7_2,
                expect: Safe,
                why: "as 6.6",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V7_2, Installer::Copy, false),
            },
            Variant {
                id: "fix.scan",
                status: CANDIDATE,
                expect: Safe,
                why: "the table is looked into under both locks in place of the tests: the page is found",
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
        question: "UFFDIO_POISON in a shared mapping that is registered for minor faults: no anon_vma, no uffd-wp, no \
               guard flag. Does anything keep K from removing the table with the marker, and what would?",
        source: "the thread's question, asked of poison; mm/userfaultfd.c:mfill_atomic_pte_poison; observed on 6.12 and 7.2",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "r.trylock",
                status: "until 6.5",
                expect: Breaks(Invariant::Marker),
                why: "no lock matters: nothing tests for poison",
                never: &[],
                live: Live::Unseen("L25 is true of kernels from 6.6 on: before, page tables were freed otherwise"),
                build: |s| retract_against(s, Retract::TRYLOCK, Installer::Poison, true),
            },
            Variant {
                id: "r.6.6",
                status: V6_6,
                expect: Breaks(Invariant::Marker),
                why: "none of the tests is about poison; it needs no race",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::V6_6, Installer::Poison, true),
            },
            Variant {
                id: "r.7.2",
                status: V7_2,
                expect: Breaks(Invariant::Marker),
                why: "none of the tests is about poison; it needs no race",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::V7_2, Installer::Poison, true),
            },
            Variant {
                id: "r.7.2 private",
                status: V7_2,
                expect: Safe,
                why: "in a private mapping anon_vma is set before the marker, and tested",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V7_2, Installer::Poison, false),
            },
            Variant {
                id: "fix.scan",
                status: CANDIDATE,
                expect: Safe,
                why: "every entry is looked at once PML and PTL are held, and K gives up if one is not none. The smallest \
                  change that is safe for every marker: no new lock, no flag, and the tests under the locks can go; \
                  without either lock, or before them, it is not enough",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, SCAN, Installer::Poison, true),
            },
            Variant {
                id: "fix.scan unregister",
                status: CANDIDATE,
                expect: Safe,
                why: "the marker itself is looked for, so it does not matter what the VMA has become",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, SCAN, Installer::PoisonUnregister, true),
            },
            Variant {
                id: "fix.scan-early",
                status: "smaller than fix.scan: not enough",
                expect: Breaks(Invariant::Marker),
                why: "looked into before any lock is taken: the marker comes after the look",
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
                why: "looked into under the PTL alone, which is dropped because PML comes before it: the marker comes in \
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
                why: "looked into under PML alone: entries change under the PTL",
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
                why: "userfaultfd_armed() in place of userfaultfd_wp(), before and under the locks: enough while the VMA \
                  stays registered, see the next one",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, ARMED, Installer::RegisterPoison, true),
            },
            Variant {
                id: "fix.armed unregister",
                status: "smaller than fix.scan: not enough",
                expect: Breaks(Invariant::Marker),
                why: "the marker outlives UFFDIO_UNREGISTER (and mremap, and the end of the userfaultfd); the flag does not",
                never: &[],
                live: L25,
                build: |s| retract_against(s, ARMED, Installer::PoisonUnregister, true),
            },
            Variant {
                id: "fix.flag",
                status: CANDIDATE,
                expect: Safe,
                why: "a sticky flag for poison, set before the marker and tested as VM_MAYBE_GUARD is: safe, but larger, \
                  since the flag has to be kept through merge, split and mremap",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, FLAG, Installer::PoisonFlag(true), true),
            },
            Variant {
                id: "fix.flag-late",
                status: "negative test",
                expect: Breaks(Invariant::Marker),
                why: "the flag is set after the marker: K comes in between",
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
                why: "nothing tests for guards; it needs no race",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::V6_6, Installer::Guard(Mark::Never), true),
            },
            Variant {
                id: "r.7.2",
                status: V7_2,
                expect: Safe,
                why: "VM_MAYBE_GUARD is set before the PTL is taken for the marker, and tested under it",
                never: &[],
                live: Live::Quiet,
                build: |s| retract_against(s, Retract::V7_2, Installer::Guard(Mark::Before), true),
            },
            Variant {
                id: "r.7.2 flag-late",
                status: "negative test",
                expect: Breaks(Invariant::Marker),
                why: "the flag is set after the marker: K tests it in between",
                never: &[],
                live: L25,
                build: |s| retract_against(s, Retract::V7_2, Installer::Guard(Mark::After), true),
            },
            Variant {
                id: "fix.scan",
                status: CANDIDATE,
                expect: Safe,
                why: "the marker is found; the flag is not needed under the locks, and its order does not matter",
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
        question: "Page-table locks are not split where there are few CPUs or spinlocks are large: mm->page_table_lock is \
                   PML and PTL. K needs both. Does it wait for itself, and is the marker of U as safe as with two locks?",
        source: "mm/khugepaged.c:retract_page_tables, if (ptl != pml); include/linux/mm.h:pte_lockptr, \
                 mm/Kconfig:SPLIT_PTE_PTLOCKS",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "r.posted",
                status: POSTED,
                expect: Breaks(Invariant::Marker),
                why: "as with split locks: after the test U registers, and puts its marker into the table that K removes",
                never: &[],
                live: L25,
                build: |s| unsplit(s, Retract::POSTED, Installer::RegisterWp),
            },
            Variant {
                id: "r.6.6",
                status: V6_6,
                expect: Safe,
                why: "PML keeps U out of the table as the PTL does, and uffd-wp is tested again under it",
                never: &[],
                live: Live::Quiet,
                build: |s| unsplit(s, Retract::V6_6, Installer::RegisterWp),
            },
            Variant {
                id: "r.7.2",
                status: V7_2,
                expect: Safe,
                why: "as 6.6",
                never: &[],
                live: Live::Quiet,
                build: |s| unsplit(s, Retract::V7_2, Installer::RegisterWp),
            },
            Variant {
                id: "r.7.2 guard",
                status: V7_2,
                expect: Safe,
                why: "the flag is set before the marker, and tested again under the lock",
                never: &[],
                live: Live::Quiet,
                build: |s| unsplit(s, Retract::V7_2, Installer::Guard(Mark::Before)),
            },
            Variant {
                id: "both",
                status: "negative test",
                expect: Breaks(Invariant::Dead),
                why: "K takes PTL without asking whether it is PML, which it holds",
                never: &[],
                live: Live::Unseen("it spins, so there is no event; lockdep and the soft-lockup watchdog would say so"),
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
