//! PT reclaim against the two collapses.

use mmtrace_model::model::{invariant::Invariant, locks::exclusion::Rank, page_tables::entry::Pte};

use super::{UNSEEN, retract, tables};
use crate::{
    mailing_list::PTE_NOLOCK,
    protocol::{
        World,
        anon_collapse::{AnonCollapse, Clear, Heavy, Order, Then, collapse_huge_page},
        mm::Mm,
        pt_reclaim::{PmlUnderPtl, zap_pte_range},
        rcu::grace_periods,
        vma::{Flavour, Vma},
        walk::{Mapped, pte_offset_map_lock, pte_unmap_unlock},
        walker_locks::{WalkerLocks, under},
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};

/// The locks and the work of MADV_DONTNEED.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dontneed {
    /// Zaps under the mmap_lock.
    Off,
    /// Zaps and reclaims under the mmap_lock.
    Mmap,
    /// Zaps and reclaims under the VMA lock.
    Vma,
}

fn sc_1_8(s: &Setup<'_>, order: Order, flavour: Flavour, dontneed: Dontneed) -> World {
    let mut w = World::default();
    let t = tables(&mut w, Pte::present(1));
    let mm = Mm::new(&mut w, 0, "");
    let vma = Vma::new(&mut w, mm, "vma");
    let anon_vma = w.lock("anon_vma", Some(Rank::AnonVma));
    let mut p = s.program();
    let heavy = Heavy { vma, flavour, vma_write: true, spans: None, anon_vma, order };
    let c = AnonCollapse {
        pmd: t.pmd,
        pml: t.pml,
        heavy: Some(heavy),
        clear: Clear::Pml,
        then: Then::Deposit,
        sync: true,
        page: None,
        reach: [0, 3],
    };
    collapse_huge_page(&mut p, c);
    w.thread("C", p);
    let mut p = s.program();
    let regime = if dontneed == Dontneed::Vma { WalkerLocks::Vma(vma, flavour) } else { WalkerLocks::Mmap(mm) };
    let reclaim = (dontneed != Dontneed::Off).then_some(PmlUnderPtl::Trylock);
    p.function("madvise_dontneed_single_vma", |p| under(p, regime, |p| zap_pte_range(p, t.zap(reclaim))));
    w.thread("Z", p);
    grace_periods(&mut w);
    w
}

fn sc_1_9(s: &Setup<'_>, look_again: Option<bool>, pml: PmlUnderPtl) -> World {
    let mut w = World::default();
    let t = tables(&mut w, Pte::None);
    if let Some(look_again) = look_again {
        let mut p = s.program();
        retract(&mut p, t, look_again, 0);
        w.thread("K", p);
    }
    let mut p = s.program();
    zap_pte_range(&mut p, t.zap(Some(pml)));
    w.thread("Z", p);
    grace_periods(&mut w);
    w
}

fn sc_1_12(s: &Setup<'_>, look: bool) -> World {
    let mut w = World::default();
    let t = tables(&mut w, Pte::None);
    let mut p = s.program();
    p.function("zap_pmd_range", |p| {
        let (again, next, none) = (p.mark(), p.label(), p.label());
        p.branch("if (pmd_none_or_clear_bad(pmd)) continue", next, move |k| k.pmd(t.pmd).map().is_none());
        let inside = p.mark();
        let to = Mapped::new(p);
        let locked = p.function("zap_pte_range", |p| pte_offset_map_lock(p, t.pmd, to, none));
        p.run("every entry is none", |k| k.reach(1));
        pte_unmap_unlock(p, locked);
        p.goto("the next PMD", next);
        p.bind(none);
        p.run("zap_pte_range() comes back where it began", |k| k.reach(2));
        p.goto("if (addr != next) pmd--", if look { again } else { inside });
        p.bind(next);
    });
    w.thread("Z", p);
    let mut p = s.program();
    retract(&mut p, t, true, 0);
    w.thread("R", p);
    grace_periods(&mut w);
    w
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    // Two threads that are each right alone.
    Scenario {
        id: "SC-1.8",
        thread: Some(PTE_NOLOCK),
        title: "the order of collapse, against PT reclaim under the VMA lock",
        question: "C checks the PMD entry and write-locks the VMA, in one order or the other. Z zaps the range and \
                   reclaims its table, under the mmap_lock or the VMA lock. Is the PMD entry still valid when C uses \
                   it?",
        source: "mm/khugepaged.c:collapse_huge_page (6.12: check, then vma_start_write(); 6.18, 7.2: the other way \
                 round); mm/madvise.c:get_lock_mode; a crash report against linux-next, 2025-08",
        sometimes: &[
            "the collapse succeeds",
            "the table is removed while the PTL is held since the zap",
            "the table is removed after another look",
            "the collapse fails",
        ],
        variants: &[
            Variant {
                id: "check-then-VW,off",
                status: "6.12",
                expect: Safe,
                why: "without PT reclaim, nobody removes a table of anonymous memory under a read lock",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_1_8(s, Order::CheckThenLock, Flavour::Rwsem, Dontneed::Off),
            },
            Variant {
                id: "check-then-VW,mmapR",
                status: "6.14",
                expect: Safe,
                why: "C holds the mmap_lock for write from the check to the use, and PT reclaim needs it for read",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_8(s, Order::CheckThenLock, Flavour::Rwsem, Dontneed::Mmap),
            },
            Variant {
                id: "check-then-VW,vmaR",
                status: "linux-next, August 2025",
                expect: Breaks(Invariant::BadPmd),
                why: "Z gets the VMA lock before C gets the mmap_lock. C checks the PMD entry, waits for Z in \
                      vma_start_write(), and goes on with an entry that Z has cleared meanwhile",
                never: &[],
                live: Live::Unseen("no event shows when the PMD entry was checked"),
                build: |s| sc_1_8(s, Order::CheckThenLock, Flavour::Refcount, Dontneed::Vma),
            },
            Variant {
                id: "VW-then-check,off",
                status: "6.18 without PT reclaim",
                expect: Safe,
                why: "without PT reclaim, nobody removes a table of anonymous memory under a read lock",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_1_8(s, Order::LockThenCheck, Flavour::Refcount, Dontneed::Off),
            },
            Variant {
                id: "VW-then-check,mmapR",
                status: "6.18 when the VMA lock cannot be acquired",
                expect: Safe,
                why: "C's write hold of the mmap_lock excludes Z",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_8(s, Order::LockThenCheck, Flavour::Refcount, Dontneed::Mmap),
            },
            Variant {
                id: "VW-then-check,vmaR",
                status: "6.18, 7.2",
                expect: Safe,
                why: "once C has write-locked the VMA, nobody holds it for read, so the PMD entry that C then sees \
                      stays",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_8(s, Order::LockThenCheck, Flavour::Refcount, Dontneed::Vma),
            },
        ],
    },
    // Two threads that remove.
    Scenario {
        id: "SC-1.9",
        thread: Some(PTE_NOLOCK),
        title: "two threads remove the same table",
        question: "K retracts the table of a file mapping, and Z reclaims it. K finds the PMD entry before it takes \
                   PML, and Z holds the PTL when it wants PML. What must K check again, and how may Z take PML?",
        source: "mm/khugepaged.c:retract_page_tables, check_pmd_state() under PML since 6.14; \
                 mm/memory.c:zap_empty_pte_table",
        sometimes: &[
            "the table is retracted",
            "the table is removed while the PTL is held since the zap",
            "the table is removed after another look",
        ],
        variants: &[
            Variant {
                id: "r.7.2,trylock",
                status: "6.14 to 7.2",
                expect: Safe,
                why: "K checks the PMD entry again under PML, and Z never waits for PML under the PTL",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_9(s, Some(true), PmlUnderPtl::Trylock),
            },
            Variant {
                id: "r.6.12,trylock",
                status: "what if: retract of 6.12 with PT reclaim",
                expect: Breaks(Invariant::BadPmd),
                why: "the PMD entry pointed to a table only before K took PML. pte_lockptr() of an empty PMD entry is \
                      a wild pointer",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_9(s, Some(false), PmlUnderPtl::Trylock),
            },
            Variant {
                id: "r.7.2,spin",
                status: "what if: Z tries PML until it gets it",
                expect: Breaks(Invariant::Dead),
                why: "K holds PML and wants the PTL, and Z holds the PTL and wants PML",
                never: &[],
                live: Live::Unseen(
                    "both threads spin, so there is no tracepoint and no rule; lockdep does not see a trylock either",
                ),
                build: |s| sc_1_9(s, Some(true), PmlUnderPtl::Spin),
            },
            Variant {
                id: "blocking",
                status: "what if: spin_lock(pml); Z alone",
                expect: Breaks(Invariant::Order),
                why: "PML comes before the PTL in the lock order. One thread alone breaks that order, and two threads \
                      can deadlock",
                never: &[],
                live: Live::Unseen("spinlocks have no tracepoints without lockdep"),
                build: |s| sc_1_9(s, None, PmlUnderPtl::Lock),
            },
        ],
    },
    // The thread that walks.
    Scenario {
        id: "SC-1.12",
        thread: Some(PTE_NOLOCK),
        title: "a walk finds that there is no table",
        question: "Z zaps a range whose table R removes. pte_offset_map_lock() finds no table, and Z tries again. \
                   Where must Z begin again?",
        source: "mm/memory.c:zap_pmd_range, \"if (addr != next) pmd--\"; mm/pgtable-generic.c:__pte_offset_map_lock",
        sometimes: &["the table is removed", "Z gets the table", "Z finds no table after it has seen the PMD entry"],
        variants: &[
            Variant {
                id: "again",
                status: "6.5 to 7.2",
                expect: Safe,
                why: "Z reads the PMD entry again and finds it empty, so there is nothing to do",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_12(s, true),
            },
            Variant {
                id: "again-inside",
                status: "negative test",
                expect: Breaks(Invariant::Retry),
                why: "Z repeats only the pte_offset_map_lock() call. Nobody installs a table, so Z loops for ever",
                never: &[],
                live: Live::Unseen(
                    "nothing happens any more, so there is no event; the soft-lockup watchdog would report it",
                ),
                build: |s| sc_1_12(s, false),
            },
        ],
    },
];
