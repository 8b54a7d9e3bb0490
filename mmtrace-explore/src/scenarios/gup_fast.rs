//! gup-fast against collapse: the purpose of the recheck, and the purpose of the wait.

use crate::{
    mailing_list::RETRACT,
    protocol::{
        Slot, World,
        anon_collapse::{AnonCollapse, Clear, Heavy, Order, Page, Then, collapse_huge_page},
        gup::{GupFast, gup_fast, zap_and_reuse},
        mm::Mm,
        rcu::grace_periods,
        unmap::TableFree,
        vma::{Flavour, Vma},
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Rank,
    page_tables::{
        entry::{Pmd, Pte},
        lifecycle::TableState,
    },
};

fn sc_4_11(s: &Setup<'_>, recheck_pmd: bool, sync: bool, then: Then) -> World {
    let mut w = World::default();
    let pml = w.lock("PML", Some(Rank::PageTableLock));
    let d = w.table_with("D", 1, TableState::Linked, pml);
    let a = w.table("A", 1, TableState::Linked);
    let pmd = Slot { table: d, index: 0 };
    w.entry(pmd, Pmd::Table(a.number()).encode());
    w.entry(Slot { table: a, index: 0 }, Pte::present(1).encode());
    let page = Page::new(&mut w);
    let mm = Mm::new(&mut w, 0, "");
    let vma = Vma::new(&mut w, mm, "vma");
    let anon_vma = w.lock("anon_vma", Some(Rank::AnonVma));
    let mut p = s.program();
    gup_fast(&mut p, GupFast { pmd, index: 0, recheck_pmd, page, reach: [0, 1] });
    w.thread("G", p);
    let mut p = s.program();
    let heavy =
        Heavy { vma, flavour: Flavour::Refcount, vma_write: true, spans: None, anon_vma, order: Order::LockThenCheck };
    let c =
        AnonCollapse { pmd, pml, heavy: Some(heavy), clear: Clear::Pml, then, sync, page: Some(page), reach: [2, 3] };
    collapse_huge_page(&mut p, c);
    w.thread("C", p);
    grace_periods(&mut w);
    w
}

fn sc_4_12(s: &Setup<'_>) -> World {
    let mut w = World::default();
    let pml = w.lock("PML", Some(Rank::PageTableLock));
    let d = w.table_with("D", 1, TableState::Linked, pml);
    let a = w.table("A", 1, TableState::Linked);
    let pmd = Slot { table: d, index: 0 };
    w.entry(pmd, Pmd::Table(a.number()).encode());
    w.entry(Slot { table: a, index: 0 }, Pte::present(1).encode());
    let page = Page::new(&mut w);
    let mut p = s.program();
    gup_fast(&mut p, GupFast { pmd, index: 0, recheck_pmd: true, page, reach: [0, 1] });
    w.thread("G", p);
    let mut p = s.program();
    zap_and_reuse(&mut p, pmd, page, 2);
    w.thread("Z", p);
    w
}

const NOW: Then = Then::Free(TableFree::Immediately);
const RCU: Then = Then::Free(TableFree::Rcu);
const UNSEEN: Live = Live::Unseen("gup-fast takes no lock and has no tracepoint, so no rule can see it");

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    // The table goes.
    Scenario {
        id: "SC-4.11",
        thread: Some(RETRACT),
        title: "gup-fast while the table is collapsed",
        question: "G walks with interrupts off and without locks, takes a reference, and may check the PMD entry \
                   again. C clears the PMD entry and may wait for CPUs with interrupts off before it counts \
                   references. Which of the two is needed if the table is deposited, freed at once, or freed by RCU?",
        source: "mm/gup.c:gup_fast_pte_range, the comment on THP collapse; mm/khugepaged.c:collapse_huge_page, \
                 tlb_remove_table_sync_one(); mm/mmu_gather.c",
        sometimes: &[
            "gup-fast returns a page",
            "gup-fast drops a reference again",
            "the collapse succeeds",
            "the collapse fails",
        ],
        variants: &[
            Variant {
                id: "recheck+sync",
                status: "6.1 to 7.2, anonymous collapse",
                expect: Safe,
                why: "either of the two protects the page",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_4_11(s, true, true, Then::Deposit),
            },
            Variant {
                id: "recheck",
                status: "what if: no tlb_remove_table_sync_one(), the table is deposited",
                expect: Safe,
                why: "C clears the PMD entry before it counts references, and G checks it after it takes one, so one \
                      of the two sees the other. A deposited table is still memory",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_4_11(s, true, false, Then::Deposit),
            },
            Variant {
                id: "sync",
                status: "before 6.1 where the TLB flush is an IPI",
                expect: Safe,
                why: "a CPU that saw the old PMD entry has finished before C counts references",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_4_11(s, false, true, Then::Deposit),
            },
            Variant {
                id: "neither",
                status: "before 6.1 where the TLB flush is not an IPI",
                expect: Breaks(Invariant::Pin),
                why: "C counts references while G stands between reading the entry and taking one. The entry is still \
                      the same when G checks it again",
                never: &[],
                live: UNSEEN,
                build: |s| sc_4_11(s, false, false, Then::Deposit),
            },
            Variant {
                id: "recheck+sync,reuse",
                status: "6.1 to 6.5, file collapse",
                expect: Safe,
                why: "no CPU can be in the table any more when it is freed",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_4_11(s, true, true, NOW),
            },
            Variant {
                id: "recheck,reuse",
                status: "what if: no tlb_remove_table_sync_one()",
                expect: Breaks(Invariant::UafPt),
                why: "G checks too late: it reads the entry in memory that is no longer a page table",
                never: &[],
                live: UNSEEN,
                build: |s| sc_4_11(s, true, false, NOW),
            },
            Variant {
                id: "sync,reuse",
                status: "what if: the wait alone",
                expect: Safe,
                why: "the wait protects both the page and the table",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_4_11(s, false, true, NOW),
            },
            Variant {
                id: "neither,reuse",
                status: "before 6.1 where the TLB flush is not an IPI, file collapse",
                expect: Breaks(Invariant::Pin),
                why: "G returns a wrong page before the table is reused",
                never: &[],
                live: UNSEEN,
                build: |s| sc_4_11(s, false, false, NOW),
            },
            Variant {
                id: "recheck,rcu",
                status: "6.6 to 7.2, file collapse: pte_free_defer()",
                expect: Safe,
                why: "a CPU with interrupts off is an RCU reader, so the table outlives the walk without any wait",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_4_11(s, true, false, RCU),
            },
        ],
    },
    // The page goes.
    Scenario {
        id: "SC-4.12",
        thread: Some(RETRACT),
        title: "gup-fast while the page is zapped and used again",
        question: "G reads an entry and is about to take a reference to its page. Z zaps the entry and frees the page, \
                   and somebody else gets it. The table stays. Does G return a page that is not its own?",
        source: "found missing; mm/gup.c:gup_fast_pte_range, try_grab_folio_fast",
        sometimes: &["gup-fast returns a page", "gup-fast drops a reference again", "the page is used again"],
        variants: &[Variant {
            id: "merged",
            status: "6.12, 7.2, where the TLB flush is not an IPI",
            expect: Safe,
            why: "G compares the entry once it has a reference. If the entry is the same, the page cannot have been \
                  freed since. If it is not, G drops the reference",
            never: &[],
            live: Live::Quiet,
            build: sc_4_12,
        }],
    },
];
