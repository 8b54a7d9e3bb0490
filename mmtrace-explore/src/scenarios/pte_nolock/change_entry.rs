//! Entries that are not none and are changed.

use mmtrace_model::model::{invariant::Invariant, page_tables::entry::Pte};

use super::{Tables, UNSEEN, fresh, tables};
use crate::{
    mailing_list::PTE_NOLOCK,
    protocol::{
        Program, World,
        anon_fault::{Fault, fault},
        nolock::{Api, LockFrom, Nolock, Recheck, handle_pte_fault, move_pages_pte},
        pt_reclaim::{PmlUnderPtl, Zap, zap_pte_range},
        rcu::grace_periods,
        unmap::TableFree,
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};

const OLD: Pte = Pte::present(1);
const WRITABLE: Pte = Pte::Present { page: 1, write: true, uffd_wp: false };

/// T makes the page writable, Z zaps it and reclaims the table.
fn two(w: &mut World, s: &Setup<'_>, n: impl FnOnce(Tables) -> Nolock, free: TableFree) -> Tables {
    let t = tables(w, OLD);
    let mut p: Program = s.program();
    handle_pte_fault(&mut p, n(t), WRITABLE);
    w.thread("T", p);
    let mut p = s.program();
    zap_pte_range(&mut p, Zap { free, ..t.zap(Some(PmlUnderPtl::Trylock)) });
    w.thread("Z", p);
    t
}

fn sc_1_2(s: &Setup<'_>, api: Api, recheck: Recheck) -> World {
    let mut w = World::default();
    two(&mut w, s, |t| Nolock::new(api, t.pmd, recheck), TableFree::Rcu);
    grace_periods(&mut w);
    w
}

const CHANGED: &[&str] = &[
    "the entry is changed",
    "the table is removed while the PTL is held since the zap",
    "the table is removed after another look",
];

fn sc_1_3(s: &Setup<'_>) -> World {
    let mut w = World::default();
    let n = |t: Tables| Nolock { lock_from: LockFrom::Pmd, ..Nolock::new(Api::Legacy, t.pmd, Recheck::PteSame) };
    two(&mut w, s, n, TableFree::Rcu);
    grace_periods(&mut w);
    w
}

fn sc_1_3_refault(s: &Setup<'_>) -> World {
    let mut w = World::default();
    let t = tables(&mut w, Pte::None);
    let b = fresh(&mut w, "B");
    let mut p = s.program();
    let fail = p.label();
    let n = Nolock { lock_from: LockFrom::PmdTested, ..Nolock::new(Api::Legacy, t.pmd, Recheck::PteSame) };
    move_pages_pte(&mut p, n, 1, fail);
    p.bind(fail);
    w.thread("T", p);
    let mut p = s.program();
    zap_pte_range(&mut p, t.zap(Some(PmlUnderPtl::Trylock)));
    w.thread("Z", p);
    let mut p = s.program();
    fault(
        &mut p,
        Fault { function: "do_anonymous_page", pmd: t.pmd, pml: t.pml, index: 0, page: 2, fresh: b, reach: 3 },
    );
    w.thread("F", p);
    grace_periods(&mut w);
    w
}

fn sc_1_4(s: &Setup<'_>, unmap_last: bool, free: TableFree) -> World {
    let mut w = World::default();
    let n = |t: Tables| Nolock { unmap_last, ..Nolock::new(Api::Rw, t.pmd, Recheck::Both) };
    two(&mut w, s, n, free);
    grace_periods(&mut w);
    w
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    // The recheck.
    Scenario {
        id: "SC-1.2",
        thread: Some(PTE_NOLOCK),
        title: "changing an entry while it is zapped and its table removed",
        question: "T handles a fault on an entry that is not none, through pte_offset_map_rw_nolock(). Z zaps the \
                   range and reclaims the table. What must T check again once it holds the PTL?",
        source: "the thread, \"using pte_same() one can achieve a similar result\"; mm/memory.c:handle_pte_fault",
        sometimes: CHANGED,
        variants: &[
            Variant {
                id: "m.rw+none",
                status: "negative test",
                expect: Breaks(Invariant::Stale),
                why: "T checks nothing again. The entry was zapped meanwhile, and a little later the table is dead too",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_2(s, Api::Rw, Recheck::None),
            },
            Variant {
                id: "m.rw+pte",
                status: "merged after 6.12",
                expect: Safe,
                why: "a table is emptied before it is unlinked. An entry that is not none and still the same is \
                      therefore in a linked table",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_2(s, Api::Rw, Recheck::PteSame),
            },
            Variant {
                id: "m.rw+pmd",
                status: "negative test",
                expect: Breaks(Invariant::Stale),
                why: "the table is still linked, but its entry is gone between the zap and the reclaim's second look",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_2(s, Api::Rw, Recheck::PmdSame),
            },
            Variant {
                id: "m.rw+pte+pmd",
                status: "merged after 6.12",
                expect: Safe,
                why: "T checks more than it needs to",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_2(s, Api::Rw, Recheck::Both),
            },
            Variant {
                id: "m.legacy",
                status: "6.5 to 6.12, against PT reclaim of 6.14",
                expect: Safe,
                why: "handle_pte_fault() has always used pte_same(), which needs no PMD value",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_2(s, Api::Legacy, Recheck::PteSame),
            },
        ],
    },
    // The owner of the lock.
    Scenario {
        id: "SC-1.3",
        thread: Some(PTE_NOLOCK),
        title: "the lock is computed from the PMD again",
        question: "T maps A and only then asks pte_lockptr(mm, *pmd) for the lock. Z zaps and reclaims A. F may fault \
                   in a new table B. Whose lock does T get?",
        source: "mm/pgtable-generic.c, the comment on pte_offset_map_ro_nolock(): *pmd may have changed by then",
        sometimes: CHANGED,
        variants: &[
            Variant {
                id: "m.relock",
                status: "negative test",
                expect: Breaks(Invariant::BadPmd),
                why: "the PMD entry is none by then, so pte_lockptr() makes a pointer to a page out of nothing",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: sc_1_3,
            },
            Variant {
                id: "m.relock+refault",
                status: "negative test; the lock is certainly that of the current table",
                expect: Breaks(Invariant::Wlock),
                why: "the PMD entry points to B by then. T holds the PTL of B and fills a none entry of A, and \
                      pte_same() passes",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: sc_1_3_refault,
            },
        ],
    },
    // The RCU section that keeps the table.
    Scenario {
        id: "SC-1.4",
        thread: Some(PTE_NOLOCK),
        title: "the pointer is used after pte_unmap()",
        question: "T maps A, unmaps it, and goes on with the pointer and the lock. Z reclaims A, and a grace period \
                   ends. What keeps the memory?",
        source: "the thread, \"the RCU lock will ensure that the PTE page will not be freed\"; \
                 mm/pgtable-generic.c:__pte_offset_map; mm/Kconfig:PT_RECLAIM",
        sometimes: CHANGED,
        variants: &[
            Variant {
                id: "m.norcu",
                status: "negative test",
                expect: Breaks(Invariant::UafPt),
                why: "pte_unmap() ends the RCU section, and the table is freed before T takes its lock",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_4(s, false, TableFree::Rcu),
            },
            Variant {
                id: "m.rw+pte+pmd",
                status: "merged after 6.12",
                expect: Safe,
                why: "the RCU section lasts until T releases the lock",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_4(s, true, TableFree::Rcu),
            },
            Variant {
                id: "m.rw+pte+pmd,imm",
                status: "PT reclaim without MMU_GATHER_RCU_TABLE_FREE: cannot be configured",
                expect: Breaks(Invariant::UafPt),
                why: "an RCU section is worth nothing if tables are freed without a grace period. CONFIG_PT_RECLAIM \
                      selects MMU_GATHER_RCU_TABLE_FREE for this reason",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_4(s, true, TableFree::Immediately),
            },
        ],
    },
];
