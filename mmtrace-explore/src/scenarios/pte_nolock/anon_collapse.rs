//! Anonymous collapse, which unlinks a table with entries in it: only locks protect against it, and no recheck does.

use mmtrace_model::model::{invariant::Invariant, locks::exclusion::Rank, page_tables::entry::Pte};

use super::{Tables, fresh, tables};
use crate::{
    mailing_list::PTE_NOLOCK,
    protocol::{
        World,
        anon_collapse::{AnonCollapse, Clear, Heavy, Order, Then, collapse_huge_page},
        anon_fault::{Fault, fault},
        mm::Mm,
        nolock::{Api, Nolock, Recheck, handle_pte_fault, map_pte},
        vma::{Flavour, Vma},
        walker_locks::{WalkerLocks, under},
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};

const OLD: Pte = Pte::present(1);
const WRITABLE: Pte = Pte::Present { page: 1, write: true, uffd_wp: false };
const FLAVOUR: Flavour = Flavour::Refcount;

/// The walker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walker {
    /// A fault under the mmap_lock.
    Mmap,
    /// A fault under the VMA lock.
    Vma,
    /// An rmap walk.
    Rmap,
}

/// The heavy locks that C takes. T takes the matching one, if C takes any.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locks {
    All,
    AllButVma,
    None,
}

/// T walks and changes the entry, C collapses.
fn walk_and_collapse(s: &Setup<'_>, who: Walker, recheck: Recheck, heavy: Locks, clear: Clear, then: Then) -> World {
    let mut w = World::default();
    let t = tables(&mut w, OLD);
    let mut locks = None;
    let mut regime = WalkerLocks::Unmodelled;
    if heavy != Locks::None {
        let mm = Mm::new(&mut w, 0, "");
        let vma = Vma::new(&mut w, mm, "vma");
        let anon_vma = w.lock("anon_vma", Some(Rank::AnonVma));
        locks = Some(Heavy {
            vma,
            flavour: FLAVOUR,
            vma_write: heavy == Locks::All,
            spans: None,
            anon_vma,
            order: Order::LockThenCheck,
        });
        regime = match who {
            Walker::Mmap => WalkerLocks::Mmap(mm),
            Walker::Vma => WalkerLocks::Vma(vma, FLAVOUR),
            Walker::Rmap => WalkerLocks::AnonVma(anon_vma),
        };
    }
    let mut p = s.program();
    let caller = if who == Walker::Rmap { "rmap_walk_anon" } else { "do_user_addr_fault" };
    p.function(caller, |p| {
        under(p, regime, |p| {
            let n = Nolock::new(Api::Rw, t.pmd, recheck);
            match who {
                Walker::Rmap => map_pte(p, n, WRITABLE),
                Walker::Mmap | Walker::Vma => handle_pte_fault(p, n, WRITABLE),
            }
        });
    });
    w.thread("T", p);
    let mut p = s.program();
    collapse_huge_page(&mut p, collapse(t, locks, clear, then));
    w.thread("C", p);
    w
}

const fn collapse(t: Tables, heavy: Option<Heavy>, clear: Clear, then: Then) -> AnonCollapse {
    AnonCollapse { pmd: t.pmd, pml: t.pml, heavy, clear, then, sync: true, page: None, reach: [1, 2] }
}

fn sc_1_6(s: &Setup<'_>, who: Walker, recheck: Recheck, heavy: Locks) -> World {
    walk_and_collapse(s, who, recheck, heavy, Clear::Pml, Then::Deposit)
}

const OUTCOMES: &[&str] = &["the entry is changed", "the collapse succeeds", "the collapse fails"];
/// The rule that would see it. Tracepoints show the mmap_lock, but not page tables.
const L23: Live = Live::Rule("L23");
const L28: Live = Live::Rule("L28");
const NO_KERNEL: Live = Live::Unseen("no kernel does so, and no event would show what it does");

/// The extent of the collapsed VMA, and its locks.
#[derive(Clone, Copy)]
struct Span {
    /// The VMA spans the PMD, so F can only be in the same VMA.
    spans: bool,
    /// The collapse checks that.
    check: bool,
    /// Whether the VMA is locked for write.
    vma_write: bool,
}

fn sc_1_7(s: &Setup<'_>, span: Span, entry: Pte, then: Then) -> World {
    let mut w = World::default();
    let t = tables(&mut w, entry);
    let b = fresh(&mut w, "B");
    let mm = Mm::new(&mut w, 0, "");
    let vma = Vma::new(&mut w, mm, "vma");
    let anon_vma = w.lock("anon_vma", Some(Rank::AnonVma));
    let spans = w.cell("vma spans the PMD", u8::from(span.spans));
    let other = if span.spans { vma } else { Vma::new(&mut w, mm, "neighbour") };
    for table in [t.a, b] {
        w.fill_locks(table, &[mm.mmap_lock, vma.lock, other.lock]);
    }
    let mut p = s.program();
    let heavy = Heavy {
        vma,
        flavour: FLAVOUR,
        vma_write: span.vma_write,
        spans: span.check.then_some(spans),
        anon_vma,
        order: Order::LockThenCheck,
    };
    collapse_huge_page(&mut p, collapse(t, Some(heavy), Clear::Pml, then));
    w.thread("C", p);
    let mut p = s.program();
    p.function("do_user_addr_fault", |p| {
        under(p, WalkerLocks::Vma(other, FLAVOUR), |p| {
            let f =
                Fault { function: "do_anonymous_page", pmd: t.pmd, pml: t.pml, index: 0, page: 3, fresh: b, reach: 0 };
            fault(p, f);
        });
    });
    w.thread("F", p);
    w
}

const NEIGHBOUR: Span = Span { spans: false, check: false, vma_write: true };
const MERGED: Span = Span { spans: true, check: true, vma_write: true };

fn sc_1_10(s: &Setup<'_>, recheck: Recheck, heavy: Locks, clear: Clear) -> World {
    walk_and_collapse(s, Walker::Mmap, recheck, heavy, clear, Then::Relink)
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    // A walker that only rechecks.
    Scenario {
        id: "SC-1.6",
        thread: Some(PTE_NOLOCK),
        title: "anonymous collapse against a walker without the PTL",
        question: "C collapses anonymous memory: it clears the PMD entry under PML alone, with entries still in the \
                   table. T changes an entry. Are T's rechecks enough, or must C's heavy locks keep T away?",
        source: "the thread, \"in collapse_huge_page() that is not the case. But here, we also currently grab all \
                 heavily locks\"; mm/khugepaged.c:collapse_huge_page",
        sometimes: OUTCOMES,
        variants: &[
            Variant {
                id: "m.rw+pte,nolocks",
                status: "what if: collapse without mmap_lock, VMA lock and anon_vma lock",
                expect: Breaks(Invariant::Lost),
                why: "the entry is the same, but the table is not linked: C unlinked it with entries in it",
                never: &[],
                live: L23,
                build: |s| sc_1_6(s, Walker::Mmap, Recheck::PteSame, Locks::None),
            },
            Variant {
                id: "m.rw+pmd,nolocks",
                status: "what if: collapse without mmap_lock, VMA lock and anon_vma lock",
                expect: Breaks(Invariant::Lost),
                why: "pmd_same() under the PTL passes, and then C clears the PMD entry under PML, which T does not \
                      hold",
                never: &[],
                live: L23,
                build: |s| sc_1_6(s, Walker::Mmap, Recheck::PmdSame, Locks::None),
            },
            Variant {
                id: "m.rw+pte+pmd,nolocks",
                status: "what if: collapse without mmap_lock, VMA lock and anon_vma lock",
                expect: Breaks(Invariant::Lost),
                why: "C clears the PMD entry after both rechecks, so two of them are no better than one",
                never: &[],
                live: L23,
                build: |s| sc_1_6(s, Walker::Mmap, Recheck::Both, Locks::None),
            },
            Variant {
                id: "m.rw+pte,mmap",
                status: "6.12, 7.2",
                expect: Safe,
                why: "C holds the mmap_lock for write, which excludes a fault that holds it for read",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_6(s, Walker::Mmap, Recheck::PteSame, Locks::All),
            },
            Variant {
                id: "m.rw+pte,vma",
                status: "6.12, 7.2",
                expect: Safe,
                why: "C holds the VMA lock for write, which excludes a fault that holds it for read",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_6(s, Walker::Vma, Recheck::PteSame, Locks::All),
            },
            Variant {
                id: "m.rw+pte,vma,noVW",
                status: "what if: collapse without vma_start_write()",
                expect: Breaks(Invariant::Lost),
                why: "a fault under the VMA lock does not need the mmap_lock, so C's write hold does not exclude it",
                never: &[],
                live: Live::Unseen("no rule checks whether the VMA is locked for write when its table is unlinked"),
                build: |s| sc_1_6(s, Walker::Vma, Recheck::PteSame, Locks::AllButVma),
            },
            Variant {
                id: "m.rw+pmd,rmap",
                status: "7.2, map_pte()",
                expect: Safe,
                why: "C holds the anon_vma lock for write until every page is locked and isolated, which excludes an \
                      rmap walk. After that, the walk finds no table",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_6(s, Walker::Rmap, Recheck::PmdSame, Locks::All),
            },
            Variant {
                id: "m.rw+none,mmap",
                status: "what if: no recheck at all",
                expect: Safe,
                why: "the locks are sufficient, and a recheck adds nothing",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_6(s, Walker::Mmap, Recheck::None, Locks::All),
            },
        ],
    },
    // A fault that finds the PMD empty.
    Scenario {
        id: "SC-1.7",
        thread: Some(PTE_NOLOCK),
        title: "a fault finds the PMD that a collapse has cleared",
        question: "C has cleared the PMD entry and comes back to set it. F faults under the lock of a VMA in the same \
                   PMD range, because it finds no table. What keeps F from installing a table of its own?",
        source: "mm/khugepaged.c:collapse_huge_page, BUG_ON(!pmd_none(*pmd)); hugepage_vma_revalidate, 7.2: why the \
                 VMA must span the PMD even for smaller orders",
        sometimes: &["the page is faulted in", "the collapse succeeds", "the collapse fails"],
        variants: &[
            Variant {
                id: "neighbour",
                status: "what if: the VMA need not span the PMD",
                expect: Breaks(Invariant::Clobber),
                why: "the lock of one VMA does not exclude faults in a neighbour in the same PMD range",
                never: &[],
                live: L28,
                build: |s| sc_1_7(s, NEIGHBOUR, OLD, Then::Deposit),
            },
            Variant {
                id: "neighbour,mthp",
                status: "what if: the VMA need not span the PMD for a smaller order",
                expect: Breaks(Invariant::Clobber),
                why: "C links its table again and overwrites the table that F has installed for the neighbour",
                never: &[],
                live: L28,
                build: |s| sc_1_7(s, NEIGHBOUR, OLD, Then::Relink),
            },
            Variant {
                id: "no-vma-write",
                status: "what if: collapse without vma_start_write()",
                expect: Breaks(Invariant::Clobber),
                why: "a fault under the VMA lock does not need the mmap_lock, so C's write hold excludes nothing",
                never: &[],
                live: L28,
                build: |s| sc_1_7(s, Span { vma_write: false, ..MERGED }, OLD, Then::Deposit),
            },
            Variant {
                id: "merged",
                status: "6.18, 7.2",
                expect: Safe,
                why: "the VMA spans the PMD and is locked for write, so no other thread can fault there",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_7(s, MERGED, Pte::None, Then::Deposit),
            },
            Variant {
                id: "merged,mthp",
                status: "7.2",
                expect: Safe,
                why: "the VMA must span the PMD for a smaller order too, and it is locked for write",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_7(s, MERGED, Pte::None, Then::Relink),
            },
            Variant {
                id: "merged,neighbour",
                status: "6.18, 7.2",
                expect: Safe,
                why: "the VMA does not span the PMD, so it is not collapsed",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_1_7(s, Span { spans: false, ..MERGED }, Pte::None, Then::Deposit),
            },
        ],
    },
    // The same table with other entries.
    Scenario {
        id: "SC-1.10",
        thread: Some(PTE_NOLOCK),
        title: "the same table comes back with other entries (ABA)",
        question: "T remembers an entry of A. C collapses to a smaller order: it unlinks A, replaces the entries, and \
                   links A again. pmd_same() cannot detect this. Can T act on the old entry?",
        source: "mm/khugepaged.c:collapse_huge_page, 7.2: pmd_populate() of the same table; \
                 mm/pgtable-generic.c:pte_offset_map_rw_nolock",
        sometimes: OUTCOMES,
        variants: &[
            Variant {
                id: "m.rw+pmd,nolocks",
                status: "what if: collapse without the heavy locks",
                expect: Breaks(Invariant::Lost),
                why: "A is unlinked before it comes back, and PML alone does not keep T out of it (SC-1.6)",
                never: &[],
                live: L23,
                build: |s| sc_1_10(s, Recheck::PmdSame, Locks::None, Clear::Pml),
            },
            Variant {
                id: "m.rw+pmd,ptl",
                status: "what if: C holds the PTL from the unlinking to the linking, in place of the heavy locks",
                expect: Breaks(Invariant::Stale),
                why: "the PMD entry has its old value again, but the entry of A has not",
                never: &[],
                live: NO_KERNEL,
                build: |s| sc_1_10(s, Recheck::PmdSame, Locks::None, Clear::PmlAndPtl),
            },
            Variant {
                id: "m.rw+pte,ptl",
                status: "what if: C holds the PTL from the unlinking to the linking, in place of the heavy locks",
                expect: Safe,
                why: "T acts on the entry, and T has checked the entry under the PTL",
                never: &[2],
                live: Live::Quiet,
                build: |s| sc_1_10(s, Recheck::PteSame, Locks::None, Clear::PmlAndPtl),
            },
            Variant {
                id: "m.rw+pte+pmd,ptl",
                status: "what if: C holds the PTL from the unlinking to the linking, in place of the heavy locks",
                expect: Safe,
                why: "pte_same() detects the change that pmd_same() cannot detect",
                never: &[2],
                live: Live::Quiet,
                build: |s| sc_1_10(s, Recheck::Both, Locks::None, Clear::PmlAndPtl),
            },
            Variant {
                id: "m.rw+pmd",
                status: "7.2",
                expect: Safe,
                why: "T holds the mmap_lock from before it reads the entry until it has written it, so C comes before \
                      or after",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_1_10(s, Recheck::PmdSame, Locks::All, Clear::Pml),
            },
        ],
    },
];
