//! Entries that are none, and are filled or only looked at.

use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::{Mode, Rank},
    page_tables::entry::Pte,
};

use super::{UNSEEN, fresh, retract, tables};
use crate::{
    mailing_list::PTE_NOLOCK,
    protocol::{
        World,
        anon_fault::{Fault, fault},
        mm,
        nolock::{Api, Nolock, Recheck, filemap_fault_recheck_pte_none, move_pages_pte},
        pt_reclaim::{PmlUnderPtl, zap_pte_range},
        rcu::grace_periods,
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};

fn sc_1_1(s: &Setup<'_>, api: Api, recheck: Recheck, reclaim: bool) -> World {
    let mut w = World::default();
    let t = tables(&mut w, Pte::None);
    let mut p = s.program();
    let fail = p.label();
    move_pages_pte(&mut p, Nolock::new(api, t.pmd, recheck), 1, fail);
    p.bind(fail);
    w.thread("T", p);
    let mut p = s.program();
    zap_pte_range(&mut p, t.zap(reclaim.then_some(PmlUnderPtl::Trylock)));
    w.thread("R", p);
    grace_periods(&mut w);
    w
}

/// The thread that removes the table that T reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remover {
    Retract,
    Reclaim,
}

fn sc_1_5(s: &Setup<'_>, api: Api, remover: Remover, act: bool) -> World {
    let mut w = World::default();
    let t = tables(&mut w, Pte::None);
    let b = fresh(&mut w, "B");
    let folio = w.lock("folio", Some(Rank::FolioLock));
    let mut p = s.program();
    let n = Nolock { reach: 3, ..Nolock::new(api, t.pmd, Recheck::None) };
    filemap_fault_recheck_pte_none(&mut p, n, act);
    w.thread("T", p);
    let mut p = s.program();
    match remover {
        Remover::Retract => {
            // It was locked before anything was unmapped: what was mapped by then is gone.
            let holder = w.next_tid();
            w.held(folio, holder, Mode::Write);
            retract(&mut p, t, true, 1);
            p.function("collapse_file", |p| p.run("folio_unlock(new_folio)", move |k| k.unlock(folio)));
        }
        Remover::Reclaim => zap_pte_range(&mut p, t.zap(Some(PmlUnderPtl::Trylock))),
    }
    w.thread("R", p);
    let mut p = s.program();
    let guard = p.function("__do_fault", |p| mm::take(p, "folio_lock(vmf->page)", folio, Mode::Write));
    let f = Fault { function: "finish_fault", pmd: t.pmd, pml: t.pml, index: 0, page: 1, fresh: b, reach: 0 };
    fault(&mut p, f);
    p.function("do_read_fault", |p| mm::drop(p, "folio_unlock(vmf->page)", folio, guard));
    w.thread("F", p);
    grace_periods(&mut w);
    w
}

fn sc_1_11(s: &Setup<'_>, recheck: Recheck) -> World {
    let mut w = World::default();
    let t = tables(&mut w, Pte::None);
    for (name, page) in [("T1", 1), ("T2", 2)] {
        let mut p = s.program();
        let fail = p.label();
        let n = Nolock { reach: page - 1, ..Nolock::new(Api::Rw, t.pmd, recheck) };
        move_pages_pte(&mut p, n, page, fail);
        p.bind(fail);
        w.thread(name, p);
    }
    w
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    // One fills, one removes.
    Scenario {
        id: "SC-1.1",
        thread: Some(PTE_NOLOCK),
        title: "filling a none entry while its empty table is removed",
        question: "T moves a page to an entry that is none (UFFDIO_MOVE), through pte_offset_map_rw_nolock(); R reclaims \
               the empty table under PML and PTL (MADV_DONTNEED). What must T look at again once it holds the PTL?",
        source: "the thread, the comment on pte_offset_map_rw_nolock(); mm/userfaultfd.c:move_pages_pte; \
             Documentation/mm/split_page_table_lock.rst",
        sometimes: &[
            "the entry is filled",
            "the table is removed while the PTL is held since the zap",
            "the table is removed after another look",
        ],
        variants: &[
            Variant {
                id: "m.rw+none",
                status: "negative test",
                expect: Breaks(Invariant::Lost),
                why: "nothing is looked at again: the entry goes into a table that is no longer linked",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_1(s, Api::Rw, Recheck::None, true),
            },
            Variant {
                id: "m.rw+pte",
                status: "documented for entries that are not none",
                expect: Breaks(Invariant::Lost),
                why: "a dead table is all none: none equals none, and pte_same() passes",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_1(s, Api::Rw, Recheck::PteSame, true),
            },
            Variant {
                id: "m.rw+pmd",
                status: "merged after 6.12",
                expect: Safe,
                why: "the remover holds the PTL while it clears the PMD, so pmd_same() under the PTL is final",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_1(s, Api::Rw, Recheck::PmdSame, true),
            },
            Variant {
                id: "m.rw+pte+pmd",
                status: "7.2, is_pte_pages_stable()",
                expect: Safe,
                why: "pmd_same() for the table, pte_same() for the entry",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_1(s, Api::Rw, Recheck::Both, true),
            },
            Variant {
                id: "m.legacy",
                status: "6.8 to 6.12",
                expect: Safe,
                why: "pte_same() proves nothing here, but these kernels have nobody who removes a table of anonymous \
                  memory while others may walk it",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_1_1(s, Api::Legacy, Recheck::PteSame, false),
            },
            Variant {
                id: "m.legacy+reclaim",
                status: "PT reclaim as first posted",
                expect: Breaks(Invariant::Lost),
                why: "what kept pte_same() out of trouble is gone: the table is removed under the mmap_lock for read",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_1(s, Api::Legacy, Recheck::PteSame, true),
            },
        ],
    },
    // One only looks.
    Scenario {
        id: "SC-1.5",
        thread: Some(PTE_NOLOCK),
        title: "a reader looks at a table that is replaced",
        question: "T looks through pte_offset_map_ro_nolock() whether an entry still is none; R removes the table; F \
               faults the page in, into a new one. May T look at the dead one, and may it act on what it sees?",
        source: "the thread, \"for R/O access this is sufficient\"; mm/filemap.c:filemap_fault_recheck_pte_none",
        sometimes: &[
            "the page is faulted in",
            "the table is removed",
            "the table is removed after another look",
            "the reader sees none under the PTL",
            "the reader takes for a hole what is mapped in the new table",
        ],
        variants: &[
            Variant {
                id: "m.ro",
                status: "merged after 6.12",
                expect: Safe,
                why: "the dead table stays as long as the RCU section, and nothing is written into it; what is seen there \
                  is a hint and may be wrong",
                never: &[2],
                live: Live::Quiet,
                build: |s| sc_1_5(s, Api::Ro, Remover::Retract, false),
            },
            Variant {
                id: "m.ro,reclaim",
                status: "6.14 to 7.2",
                expect: Safe,
                why: "for who only looks it does not matter who removes",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_5(s, Api::Ro, Remover::Reclaim, false),
            },
            Variant {
                id: "m.ro+act",
                status: "negative test",
                expect: Breaks(Invariant::Lost),
                why: "the reader fills the hole that it saw, and nothing says that the table is still linked",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_5(s, Api::Ro, Remover::Reclaim, true),
            },
            Variant {
                id: "m.legacy",
                status: "6.12",
                expect: Safe,
                why: "the same mechanics under the older name",
                never: &[2],
                live: Live::Quiet,
                build: |s| sc_1_5(s, Api::Legacy, Remover::Retract, false),
            },
        ],
    },
    // Two fill.
    Scenario {
        id: "SC-1.11",
        thread: Some(PTE_NOLOCK),
        title: "two fill the same none entry",
        question: "Two UFFDIO_MOVE to one address, each through pte_offset_map_rw_nolock(); nobody removes the table. \
               Does pmd_same() make pte_same() unnecessary?",
        source: "mm/userfaultfd.c:is_pte_pages_stable looks at the entries and at the PMD",
        sometimes: &["the first fills the entry", "the second fills the entry"],
        variants: &[
            Variant {
                id: "m.rw+pmd",
                status: "negative test",
                expect: Breaks(Invariant::Clobber),
                why: "pmd_same() says that the table is the current one, not that the entry is what it was",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_11(s, Recheck::PmdSame),
            },
            Variant {
                id: "m.rw+pte+pmd",
                status: "7.2, is_pte_pages_stable()",
                expect: Safe,
                why: "pte_same() under the PTL: whoever comes second finds the entry filled",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_11(s, Recheck::Both),
            },
        ],
    },
];
