//! The VMA sequence count: speculative page faults.

use crate::{
    mailing_list::SPECULATIVE_FAULT,
    protocol::{
        Slot, World,
        spf::{
            Range, SpfMm, SpfVma,
            fault::{Dead, LockOf, PtlBy, ReadEntry, Spf, Switches, speculative_fault},
            srcu_callback,
            writer::{Ends, Merge, Remove, Removed, madvise_dontneed, mprotect_merge, munmap, remove, wp_page_copy},
        },
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::{invariant::Invariant, page_tables::entry::Pte};

/// A fault on page `addr` of a VMA; the entry must get this index.
fn fault(mm: SpfMm, vma: SpfVma, addr: u8, index: u8, switches: Switches) -> Spf {
    let index = Some(index);
    Spf { mm, vma, addr, index, entry: 0, write: false, switches, shows: [0, 1, 2], ask_spec: false }
}

fn thread(w: &mut World, s: &Setup<'_>, f: Spf) {
    let mut p = s.program();
    speculative_fault(&mut p, f);
    w.thread("T1", p);
}

fn sc_3_1(s: &Setup<'_>, wrap: bool, switches: Switches) -> World {
    unmapping(s, wrap, switches, false)
}

/// T1 faults in n, T2 unmaps n.
fn unmapping(s: &Setup<'_>, wrap: bool, switches: Switches, with_pmd_page: bool) -> World {
    let mut w = World::default();
    let mm = SpfMm::new(&mut w, 1);
    let n = SpfVma::new(&mut w, "n", Range(0, 1, 10), false);
    thread(&mut w, s, fault(mm, n, 0, 10, switches));
    let mut p = s.program();
    munmap(&mut p, mm, n, wrap, with_pmd_page);
    w.thread("T2", p);
    srcu_callback(&mut w, n);
    w
}

/// T1 faults in next, T2 gives the head of next to vma.
fn merging(s: &Setup<'_>, addr: u8, write: bool, bump_next: bool, switches: Switches) -> World {
    let mut w = World::default();
    let mm = SpfMm::new(&mut w, 2);
    let vma = SpfVma::new(&mut w, "vma", Range(0, 2, 10), false);
    let next = SpfVma::new(&mut w, "next", Range(2, 4, 12), true);
    let f = fault(mm, next, addr, 10 + addr, switches);
    // A fault for writing is checked for rights, not for the index.
    let f = Spf { write, entry: addr - 2, index: if write { None } else { f.index }, ..f };
    thread(&mut w, s, f);
    let mut p = s.program();
    mprotect_merge(&mut p, Merge { mm, vma, next, entry: 0, bump_next });
    w.thread("T2", p);
    w
}

fn sc_3_2(s: &Setup<'_>, bump_next: bool, switches: Switches) -> World {
    merging(s, 3, false, bump_next, switches)
}

fn sc_3_3(s: &Setup<'_>, bump_next: bool, switches: Switches) -> World {
    merging(s, 2, true, bump_next, switches)
}

fn sc_3_4(s: &Setup<'_>, ptl: PtlBy) -> World {
    let mut w = World::default();
    let mm = SpfMm::new(&mut w, 2);
    w.entry(Slot { table: mm.table, index: 1 }, Pte::present(3).encode());
    let vma = SpfVma::new(&mut w, "vma", Range(0, 2, 10), false);
    thread(&mut w, s, fault(mm, vma, 0, 10, Switches { ptl, ..Switches::V12 }));
    let mut p = s.program();
    wp_page_copy(&mut p, mm, vma, 1);
    w.thread("Z", p);
    w
}

/// T1 faults in the VMA that stays, T2 removes the other.
fn removing(s: &Setup<'_>, removed: Removed, ends: Ends, srcu: bool, ask_seq: bool) -> World {
    let mut w = World::default();
    let mm = SpfMm::new(&mut w, 1);
    let (stays, goes) = match removed {
        Removed::Next => (Range(0, 1, 10), Range(1, 2, 11)),
        Removed::Itself { .. } => (Range(1, 2, 11), Range(0, 1, 10)),
    };
    let index = stays.2;
    let addr = stays.0;
    let name = if removed == Removed::Next { ["vma", "next"] } else { ["next", "vma"] };
    let stays = SpfVma::new(&mut w, name[0], stays, false);
    let goes = SpfVma::new(&mut w, name[1], goes, false);
    thread(&mut w, s, Spf { ask_spec: !ask_seq, ..fault(mm, stays, addr, index, Switches::V12) });
    let mut p = s.program();
    remove(&mut p, Remove { mm, stays, goes, removed, ends, srcu, ask_seq });
    w.thread("T2", p);
    if srcu {
        srcu_callback(&mut w, goes);
    }
    w
}

/// T1 faults, T2 drops another page of the same VMA.
fn dropping(s: &Setup<'_>, wrap: bool) -> World {
    let mut w = World::default();
    let mm = SpfMm::new(&mut w, 2);
    w.entry(Slot { table: mm.table, index: 1 }, Pte::present(3).encode());
    let vma = SpfVma::new(&mut w, "vma", Range(0, 2, 10), false);
    thread(&mut w, s, fault(mm, vma, 0, 10, Switches::V12));
    let mut p = s.program();
    madvise_dontneed(&mut p, mm, vma, 1, wrap);
    w.thread("T2", p);
    w
}

/// T1 and T2 fault on the same page.
fn twice(s: &Setup<'_>) -> World {
    let mut w = World::default();
    let mm = SpfMm::new(&mut w, 1);
    let vma = SpfVma::new(&mut w, "vma", Range(0, 1, 10), false);
    for name in ["T1", "T2"] {
        let mut p = s.program();
        speculative_fault(&mut p, fault(mm, vma, 0, 10, Switches::V12));
        w.thread(name, p);
    }
    w
}

const UNSEEN: Live = Live::Unseen("the series was never merged, so no kernel has it, and no event shows page tables");

const MAPPED: &[&str] = &["the speculative fault maps its page", "the speculative fault gives up"];
const SAVED: &[&str] = &[
    "the speculative fault maps its page",
    "the speculative fault gives up",
    "it gives up because of the sequence, although the VMA's bounds still hold",
];

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "SC-3.1",
        thread: Some(SPECULATIVE_FAULT),
        title: "a speculative fault in a VMA that is unmapped",
        question: "T1 faults speculatively in n, and T2 unmaps n. Must the zap bump the sequence (wrap), and when must \
                   T1 check whether n is still in the tree?",
        source: "the thread; RFC v5 04/11, 08/11; vma_has_changed()",
        sometimes: MAPPED,
        variants: &[
            Variant {
                id: "wrap.final",
                status: "as posted, RFC v5 04/11 and 08/11; and later postings to v12",
                expect: Safe,
                why: "T1 checks `erased` and the sequence together under the PTL, and the zap comes after that",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_3_1(s, true, Switches { dead: Dead::Final, ..Switches::V12 }),
            },
            Variant {
                id: "wrap.early-after",
                status: "what-if",
                expect: Safe,
                why: "a thread that has seen an even sequence and then the VMA in the tree sees the zap change the \
                      sequence",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_3_1(s, true, Switches { dead: Dead::EarlyAfter, ..Switches::V12 }),
            },
            Variant {
                id: "wrap.early-before",
                status: "what-if",
                expect: Breaks(Invariant::Leak),
                why: "T1 sees the VMA in the tree and reads the sequence after the zap has ended. Nothing changes any \
                      more, and T1 puts the page into a table that is being freed",
                never: &[],
                live: UNSEEN,
                build: |s| sc_3_1(s, true, Switches { dead: Dead::EarlyBefore, ..Switches::V12 }),
            },
            Variant {
                id: "wrap.none",
                status: "what-if",
                expect: Breaks(Invariant::Leak),
                why: "T1 reads the sequence after the zap has ended. Nothing changes any more, and T1 puts the page \
                      into a table that is being freed",
                never: &[],
                live: UNSEEN,
                build: |s| sc_3_1(s, true, Switches { dead: Dead::Never, ..Switches::V12 }),
            },
            Variant {
                id: "nowrap.final",
                status: "what-if",
                expect: Safe,
                why: "T2 erases the VMA before the zap, and T1 checks that under the PTL. munmap does not need the \
                      sequence",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_3_1(s, false, Switches { dead: Dead::Final, ..Switches::V12 }),
            },
            Variant {
                id: "nowrap.early-after",
                status: "what-if",
                expect: Breaks(Invariant::Leak),
                why: "T2 bumps nothing, and T1, which checked early, takes the PTL after the zap",
                never: &[],
                live: UNSEEN,
                build: |s| sc_3_1(s, false, Switches { dead: Dead::EarlyAfter, ..Switches::V12 }),
            },
            Variant {
                id: "nowrap.early-before",
                status: "what-if",
                expect: Breaks(Invariant::Leak),
                why: "T2 bumps nothing, and T1, which checked early, takes the PTL after the zap",
                never: &[],
                live: UNSEEN,
                build: |s| sc_3_1(s, false, Switches { dead: Dead::EarlyBefore, ..Switches::V12 }),
            },
            Variant {
                id: "nowrap.none",
                status: "what-if",
                expect: Breaks(Invariant::Leak),
                why: "T2 bumps nothing and T1 checks nothing, so T1 takes the PTL after the zap",
                never: &[],
                live: UNSEEN,
                build: |s| sc_3_1(s, false, Switches { dead: Dead::Never, ..Switches::V12 }),
            },
            Variant {
                id: "sequence",
                status: "as posted, RFC v5: no PMD value is compared",
                expect: Safe,
                why: "as for wrap.final, because pmd_same() is for collapses and not for munmap",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_3_1(s, true, Switches::SEQUENCE),
            },
        ],
    },
    Scenario {
        id: "SC-3.2",
        thread: Some(SPECULATIVE_FAULT),
        title: "the index of a page while its VMA's start moves",
        question: "T1 faults for reading in next. T2 gives the head of next to the VMA before it: the start and the \
                   pgoff of next change one after the other. Must __vma_adjust() bump next as well?",
        source: "the thread, the last question; RFC v5 04/11, __vma_adjust()",
        sometimes: SAVED,
        variants: &[
            Variant {
                id: "next.no",
                status: "what-if: only vma is bumped",
                expect: Breaks(Invariant::Idx),
                why: "T1 reads the old start and the new pgoff, and the sequence of next never changes",
                never: &[],
                live: UNSEEN,
                build: |s| sc_3_2(s, false, Switches::SEQUENCE),
            },
            Variant {
                id: "next.yes",
                status: "as posted, RFC v5 04/11",
                expect: Safe,
                why: "whatever T1 reads of next in between, it finds the sequence of next changed under the PTL",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_3_2(s, true, Switches::SEQUENCE),
            },
            Variant {
                id: "v12",
                status: "later postings to v12: also pmd_same() before the PTL",
                expect: Safe,
                why: "as for next.yes",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_3_2(s, true, Switches::V12),
            },
        ],
    },
    Scenario {
        id: "SC-3.3",
        thread: Some(SPECULATIVE_FAULT),
        title: "a writable entry while mprotect takes the page over",
        question: "T1 faults for writing on the first page of next. T2 denies writing there: it gives the page to the \
                   read-only VMA before next, and write-protects the mapped entries. Must __vma_adjust() bump next as \
                   well?",
        source: "the thread, the last question; RFC v5 04/11, __vma_adjust()",
        sometimes: SAVED,
        variants: &[
            Variant {
                id: "next.no",
                status: "what-if: only vma is bumped",
                expect: Breaks(Invariant::Prot),
                why: "T1 waits for the PTL while T2 finds nothing to write-protect, and then T1 makes a writable entry",
                never: &[],
                live: UNSEEN,
                build: |s| sc_3_3(s, false, Switches::SEQUENCE),
            },
            Variant {
                id: "next.yes",
                status: "as posted, RFC v5 04/11",
                expect: Safe,
                why: "either T1 stores its entry before T2 write-protects, or T1 sees that the sequence of next has \
                      changed",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_3_3(s, true, Switches::SEQUENCE),
            },
            Variant {
                id: "v12",
                status: "later postings to v12: also pmd_same() before the PTL",
                expect: Safe,
                why: "as for next.yes",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_3_3(s, true, Switches::V12),
            },
        ],
    },
    Scenario {
        id: "SC-3.4",
        thread: Some(SPECULATIVE_FAULT),
        title: "waiting for the PTL with interrupts off",
        question: "T1 wants the PTL with interrupts off. Z holds it and waits for every CPU to answer a flush IPI. May \
                   T1 wait?",
        source: "RFC v5 08/11 and 09/11, pte_map_lock()",
        sometimes: MAPPED,
        variants: &[
            Variant {
                id: "spin",
                status: "RFC v5 08/11",
                expect: Breaks(Invariant::Dead),
                why: "T1 spins on Z's lock and does not answer the IPI, and Z does not release the lock before T1 \
                      answers",
                never: &[],
                live: UNSEEN,
                build: |s| sc_3_4(s, PtlBy::Spin),
            },
            Variant {
                id: "trylock",
                status: "RFC v5 09/11, and later postings to v12",
                expect: Safe,
                why: "T1 gives up instead of waiting",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_3_4(s, PtlBy::Try),
            },
        ],
    },
    Scenario {
        id: "SC-3.5",
        thread: Some(SPECULATIVE_FAULT),
        title: "a pointer to a PMD entry kept with interrupts on",
        question: "T1 walks to the PMD entry with interrupts off and keeps the pointer. T2 unmaps the range and frees \
                   the PMD page. When must T1 read the entries?",
        source: "RFC v5 08/11, handle_speculative_fault(), handle_pte_fault(); later postings to v12",
        sometimes: MAPPED,
        variants: &[
            Variant {
                id: "v5",
                status: "RFC v5 08/11",
                expect: Breaks(Invariant::UafPt),
                why: "T1 reads *pmd and the PTE after local_irq_enable(), when nothing keeps either table",
                never: &[],
                live: UNSEEN,
                build: |s| unmapping(s, true, Switches { read: ReadEntry::Outside, ..Switches::SEQUENCE }, true),
            },
            Variant {
                id: "inside",
                status: "what-if: read in the section, no PMD value compared",
                expect: Safe,
                why: "T1 reads tables only in sections with interrupts off. In the second section it checks the tree \
                      and the sequence first",
                never: &[],
                live: Live::Quiet,
                build: |s| unmapping(s, true, Switches::SEQUENCE, true),
            },
            Variant {
                id: "v12",
                status: "later postings to v12: also pmd_same() before the PTL",
                expect: Safe,
                why: "as for inside, because T1 reads the PMD page again only after it found tree and sequence \
                      unchanged",
                never: &[],
                live: Live::Quiet,
                build: |s| unmapping(s, true, Switches::V12, true),
            },
        ],
    },
    Scenario {
        id: "SC-3.6",
        thread: Some(SPECULATIVE_FAULT),
        title: "__vma_adjust() removes a VMA",
        question: "T2 merges two VMAs and removes one, whose write section is open. T1 faults in the VMA that stays. \
                   When must the write sections end, and how often?",
        source: "the thread, the hunks of __vma_adjust(); later postings to v12",
        sometimes: SAVED,
        variants: &[
            Variant {
                id: "posted",
                status: "RFC v5 04/11, VMAs freed at once",
                expect: Breaks(Invariant::UafVma),
                why: "write_seqcount_end() of next comes after kmem_cache_free(next)",
                never: &[],
                live: UNSEEN,
                build: |s| removing(s, Removed::Next, Ends::AfterFree, false, true),
            },
            Variant {
                id: "posted.srcu",
                status: "RFC v5 04/11 with 05/11, VMAs freed by SRCU",
                expect: Breaks(Invariant::UafVma),
                why: "the writer is no SRCU reader: the grace period may end before write_seqcount_end()",
                never: &[],
                live: UNSEEN,
                build: |s| removing(s, Removed::Next, Ends::AfterFree, true, true),
            },
            Variant {
                id: "v12",
                status: "later postings to v12",
                expect: Safe,
                why: "the section ends before the VMA is freed",
                never: &[],
                live: Live::Quiet,
                build: |s| removing(s, Removed::Next, Ends::BeforeFree, true, true),
            },
            Variant {
                id: "alias",
                status: "RFC v5 04/11 when vma itself is removed (end moved before the free)",
                expect: Breaks(Invariant::Seq),
                why: "next is vma at the end, so its section is ended twice and the sequence stays odd",
                never: &[],
                live: UNSEEN,
                build: |s| removing(s, Removed::Itself { guarded: false }, Ends::BeforeFree, true, true),
            },
            Variant {
                id: "alias.spec",
                status: "as alias, with the check whether faults still succeed",
                expect: Breaks(Invariant::Spec),
                why: "every later speculative fault in that VMA finds a writer that does not exist",
                never: &[],
                live: UNSEEN,
                build: |s| removing(s, Removed::Itself { guarded: false }, Ends::BeforeFree, true, false),
            },
            Variant {
                id: "v12.alias",
                status: "later postings to v12, when vma itself is removed",
                expect: Safe,
                why: "T2 ends the section of next only if next is not vma",
                never: &[],
                live: Live::Quiet,
                build: |s| removing(s, Removed::Itself { guarded: true }, Ends::BeforeFree, true, true),
            },
        ],
    },
    Scenario {
        id: "SC-3.7",
        thread: Some(SPECULATIVE_FAULT),
        title: "faults that give up for nothing",
        question: "T1 faults speculatively, and T2 changes something else of the same VMA. The sequence does not say \
                   what has changed. Does T1 give up although its page, its bounds and its tables are as they were?",
        source: "the thread: the flip side is that vma_adjust() and unmap_page_range() cannot be told apart",
        sometimes: SAVED,
        variants: &[
            Variant {
                id: "wrap",
                status: "as posted: MADV_DONTNEED of another page",
                expect: Safe,
                why: "the zap bumps the sequence of the whole VMA. Nothing breaks, but T1 gives up without need",
                never: &[],
                live: Live::Quiet,
                build: |s| dropping(s, true),
            },
            Variant {
                id: "nowrap",
                status: "what-if: the zap does not bump the sequence",
                expect: Safe,
                why: "T1 gives up only with reason, and its check of the tree under the PTL notices munmap",
                never: &[2],
                live: Live::Quiet,
                build: |s| dropping(s, false),
            },
            Variant {
                id: "adjust",
                status: "as posted: the VMA only grows",
                expect: Safe,
                why: "the bounds still hold, but T1 cannot tell the growth from a zap",
                never: &[],
                live: Live::Quiet,
                build: |s| removing(s, Removed::Next, Ends::BeforeFree, true, true),
            },
        ],
    },
    Scenario {
        id: "SC-3.8",
        thread: Some(SPECULATIVE_FAULT),
        title: "the PTL is looked up through the PMD entry once more",
        question: "With interrupts off, T1 has found n unchanged and looks for the PTL through the current value of \
                   *pmd. T2 unmaps n and clears *pmd. Disabled interrupts keep the tables, but not the entries that \
                   point to them. Which PMD value must T1 use?",
        source: "RFC v5 08/11 to v12, pte_map_lock(): pte_lockptr(mm, vmf->pmd) after the checks",
        sometimes: MAPPED,
        variants: &[
            Variant {
                id: "v5",
                status: "RFC v5 09/11",
                expect: Breaks(Invariant::BadPmd),
                why: "T2 clears *pmd between vma_has_changed() and pte_lockptr(), so T1 takes the lock of no table",
                never: &[],
                live: UNSEEN,
                build: |s| unmapping(s, true, Switches { lock_of: LockOf::Reread, ..Switches::SEQUENCE }, false),
            },
            Variant {
                id: "v12",
                status: "later postings to v12, and the RFC of 2021: pmd_same() and then pte_lockptr(mm, vmf->pmd)",
                expect: Breaks(Invariant::BadPmd),
                why: "pmd_same() makes the window smaller, but T1 reads *pmd again after it",
                never: &[],
                live: UNSEEN,
                build: |s| unmapping(s, true, Switches { lock_of: LockOf::Reread, ..Switches::V12 }, false),
            },
            Variant {
                id: "remembered",
                status: "what-if: the lock of the table that T1's walk has read",
                expect: Safe,
                why: "the disabled interrupts keep the table, and T1's check under the PTL decides",
                never: &[],
                live: Live::Quiet,
                build: |s| unmapping(s, true, Switches::SEQUENCE, false),
            },
        ],
    },
    Scenario {
        id: "SC-3.9",
        thread: Some(SPECULATIVE_FAULT),
        title: "two speculative faults on the same page",
        question: "T1 and T2 fault speculatively on one page, and nobody changes the VMA, so the sequence does not \
                   change. What keeps the slower thread from mapping a second page over the first?",
        source: "found missing; do_anonymous_page() of the series, pte_none() under the PTL",
        sometimes: MAPPED,
        variants: &[Variant {
            id: "v12",
            status: "as posted, RFC v5; later postings to v12",
            expect: Safe,
            why: "each thread checks the entry under the PTL, as every fault does. The sequence protects only the VMA",
            never: &[],
            live: Live::Quiet,
            build: twice,
        }],
    },
];
