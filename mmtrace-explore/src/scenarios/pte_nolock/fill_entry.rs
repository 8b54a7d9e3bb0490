//! Entries that are none and are filled or only read.

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

/// The remover of the table that the reader reads.
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
            // The folio was locked before anything was unmapped, so everything that was mapped by then is gone.
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
    // One thread fills the entry, and one removes the table.
    Scenario {
        id: "SC-1.1",
        thread: Some(PTE_NOLOCK),
        title: "filling a none entry while its empty table is removed",
        question: "T moves a page to an entry that is none (UFFDIO_MOVE), through pte_offset_map_rw_nolock(). R \
                   reclaims the empty table under PML and PTL (MADV_DONTNEED). What must T check again once it holds \
                   the PTL?",
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
                why: "T checks nothing again, so it writes the entry into a table that is no longer linked",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_1(s, Api::Rw, Recheck::None, true),
            },
            Variant {
                id: "m.rw+pte",
                status: "documented for entries that are not none",
                expect: Breaks(Invariant::Lost),
                why: "every entry of a dead table is none, and none equals none, so pte_same() passes",
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
                why: "pmd_same() checks the table, and pte_same() checks the entry",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_1(s, Api::Rw, Recheck::Both, true),
            },
            Variant {
                id: "m.legacy",
                status: "6.8 to 6.12",
                expect: Safe,
                why: "pte_same() proves nothing here, but no thread of these kernels removes a table of anonymous \
                      memory while others may walk it",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_1_1(s, Api::Legacy, Recheck::PteSame, false),
            },
            Variant {
                id: "m.legacy+reclaim",
                status: "PT reclaim as first posted",
                expect: Breaks(Invariant::Lost),
                why: "the reason why pte_same() sufficed is gone: R removes the table under the mmap_lock for read",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_1(s, Api::Legacy, Recheck::PteSame, true),
            },
        ],
    },
    // One thread only reads.
    Scenario {
        id: "SC-1.5",
        thread: Some(PTE_NOLOCK),
        title: "a reader looks at a table that is replaced",
        question: "T checks through pte_offset_map_ro_nolock() whether an entry is still none. R removes the table. F \
                   faults the page into a new table. May T read the dead table, and may it act on what it reads?",
        source: "the thread, \"for R/O access this is sufficient\"; mm/filemap.c:filemap_fault_recheck_pte_none",
        sometimes: &[
            "the page is faulted in",
            "the table is removed",
            "the table is removed after another look",
            "the reader sees none under the PTL",
            "the reader sees a hole although the new table maps the page",
        ],
        variants: &[
            Variant {
                id: "m.ro",
                status: "merged after 6.12",
                expect: Safe,
                why: "the dead table stays as long as the RCU section, and nobody writes into it. T may use what it \
                      reads there only as a hint",
                never: &[2],
                live: Live::Quiet,
                build: |s| sc_1_5(s, Api::Ro, Remover::Retract, false),
            },
            Variant {
                id: "m.ro,reclaim",
                status: "6.14 to 7.2",
                expect: Safe,
                why: "it does not matter to a reader who removes the table",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_5(s, Api::Ro, Remover::Reclaim, false),
            },
            Variant {
                id: "m.ro+act",
                status: "negative test",
                expect: Breaks(Invariant::Lost),
                why: "the reader fills the hole that it saw, and no check says that the table is still linked",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_5(s, Api::Ro, Remover::Reclaim, true),
            },
            Variant {
                id: "m.legacy",
                status: "6.12",
                expect: Safe,
                why: "pte_offset_map_nolock() is the older name of the same operation",
                never: &[2],
                live: Live::Quiet,
                build: |s| sc_1_5(s, Api::Legacy, Remover::Retract, false),
            },
        ],
    },
    // Two threads fill the entry.
    Scenario {
        id: "SC-1.11",
        thread: Some(PTE_NOLOCK),
        title: "two threads fill the same none entry",
        question: "Two threads do UFFDIO_MOVE to one address, each through pte_offset_map_rw_nolock(). Nobody removes \
                   the table. Does pmd_same() make pte_same() unnecessary?",
        source: "mm/userfaultfd.c:is_pte_pages_stable looks at the entries and at the PMD",
        sometimes: &["the first thread fills the entry", "the second thread fills the entry"],
        variants: &[
            Variant {
                id: "m.rw+pmd",
                status: "negative test",
                expect: Breaks(Invariant::Clobber),
                why: "pmd_same() proves that the table is the current one, but not that the entry is unchanged",
                never: &[],
                live: Live::Unseen(UNSEEN),
                build: |s| sc_1_11(s, Recheck::PmdSame),
            },
            Variant {
                id: "m.rw+pte+pmd",
                status: "7.2, is_pte_pages_stable()",
                expect: Safe,
                why: "each thread checks pte_same() under the PTL, so the second one finds the entry filled",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_11(s, Recheck::Both),
            },
        ],
    },
];
