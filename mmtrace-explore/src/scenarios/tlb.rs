//! Translations that CPUs keep in their TLBs after the entry is gone.

use crate::{
    protocol::{
        Slot, World,
        tlb::{Free, Tlb, madvise_dontneed, user_reads},
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

fn sc_x_6(s: &Setup<'_>, free: Free) -> World {
    let mut w = World::default();
    let pml = w.lock("PML", Some(Rank::PageTableLock));
    let d = w.table_with("D", 1, TableState::Linked, pml);
    let a = w.table("A", 1, TableState::Linked);
    let pmd = Slot { table: d, index: 0 };
    w.entry(pmd, Pmd::Table(a.number()).encode());
    w.entry(Slot { table: a, index: 0 }, Pte::present(1).encode());
    let tlb = Tlb::new(&mut w);
    for name in ["U", "V"] {
        let mut p = s.program();
        user_reads(&mut p, pmd, 0, tlb, 0);
        w.thread(name, p);
    }
    let mut p = s.program();
    madvise_dontneed(&mut p, pmd, tlb, free, 1);
    w.thread("Z", p);
    w
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    id: "SC-X.6",
    thread: None,
    title: "a page is freed while CPUs may still have it in their TLBs",
    question: "U and V read a page in user mode. Z zaps it with MADV_DONTNEED. The entry is gone at once, but the CPUs \
               of U and V may have kept a translation. When may the page be freed?",
    source: "mm/mmu_gather.c:tlb_finish_mmu, tlb_flush_mmu; arch/x86/mm/tlb.c:flush_tlb_mm_range",
    sometimes: &[
        "the page is read through a translation that a CPU has kept",
        "a CPU has such a translation when the flush comes",
    ],
    variants: &[
        Variant {
            id: "t.gather",
            status: "6.1 to 7.2",
            expect: Safe,
            why: "the page stays on the gather's batch until every CPU has answered the flush",
            never: &[],
            live: Live::Quiet,
            build: |s| sc_x_6(s, Free::Flushed),
        },
        Variant {
            id: "t.free-first",
            status: "negative test",
            expect: Breaks(Invariant::Tlb),
            why: "Z frees the page as soon as the entry is gone. A CPU that has a translation does not read the entry",
            never: &[],
            live: Live::Unseen("tlb_flush shows flushes; no tracepoint shows which page a gather frees"),
            build: |s| sc_x_6(s, Free::Unflushed),
        },
    ],
}];
