//! `vma_pgtable_walk_begin/end()`: stabilising hugetlb page tables.

mod pool;

use crate::{
    mailing_list::HUGETLB_WALK,
    protocol::{
        Cell, Lock, Program, Slot, Table, World,
        hugetlb::{
            Hold, HugeVma, Serial, Sharing, VmaLock,
            fault::{Fault, Partner, Wait, finish_migration, hugetlb_fault},
            folio_walk, gup_fast, hold_vma_lock,
            unmap::{LockFree, Munmap, Punch, munmap, munmap_and_reuse, rmap_unshare, unmap_file_folio, vmdelete_list},
        },
        mm::{Mm, mmap_read_lock, mmap_read_unlock},
        rcu,
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::{Mode, Rank},
    page_tables::{entry::Pte, lifecycle::TableState},
};

/// A file with a PMD table that its VMAs may share, and one huge page in it.
struct File {
    table: Table,
    i_mmap: Lock,
    count: Cell,
}

impl File {
    fn new(w: &mut World, users: u8, pte: Pte) -> Self {
        let i_mmap = w.lock("i_mmap_rwsem", Some(Rank::ImmapRwsem));
        let table = w.table("P", 1, TableState::Linked);
        w.entry(Slot { table, index: 0 }, pte.encode());
        Self { table, i_mmap, count: w.cell("P.pt_share_count", users - 1) }
    }

    fn sharing(&self, vmas: &[HugeVma]) -> Sharing {
        let mut puds = [None; 2];
        for (to, v) in puds.iter_mut().zip(vmas) {
            *to = Some(v.pud);
        }
        Sharing { i_mmap: self.i_mmap, table: self.table, count: self.count, puds, sync: false }
    }
}

/// The locks of the walk, and the question about it.
#[derive(Clone, Copy)]
enum Held {
    Nothing,
    Own,
    Immap(Mode),
    Sharer,
    Unrelated,
}

fn sc_walk(s: &Setup<'_>, held: Held, stale: bool) -> World {
    let mut w = World::default();
    let file = File::new(&mut w, 2, Pte::present(1));
    let (mm_a, mm_b) = (Mm::new(&mut w, 1, "a "), Mm::new(&mut w, 2, "b "));
    let a = HugeVma::shareable(&mut w, "a", Some(file.table));
    // A thread that uses the lock of another VMA has a reference to it.
    let lock_b = VmaLock::new(&mut w, "b", u8::from(matches!(held, Held::Sharer)));
    let b = HugeVma::new(&mut w, "b", Serial::Shareable(lock_b), Some(file.table));
    let hold = match held {
        Held::Nothing => Hold::Nothing,
        Held::Own => Hold::Own,
        Held::Immap(mode) => Hold::Immap(mode),
        Held::Sharer => Hold::Other("b", lock_b),
        Held::Unrelated => Hold::Other("c", VmaLock::new(&mut w, "c", 1)),
    };
    let sharing = file.sharing(&[a, b]);
    let mut p = s.program();
    p.function("do_pages_stat_array", |p| {
        let (mmap, out) = (mmap_read_lock(p, mm_a), p.label());
        p.branch("vma = vma_lookup(mm, addr): none", out, move |k| !a.find(k, mm_a));
        folio_walk(p, a, sharing, hold, stale, [0, 1]);
        p.bind(out);
        mmap_read_unlock(p, mm_a, mmap);
    });
    w.thread("T1", p);
    let mut p = s.program();
    rmap_unshare(&mut p, a, sharing, [Some(2), Some(3)]);
    w.thread("T2", p);
    let mut p = s.program();
    munmap(&mut p, Munmap { mm: mm_b, vma: b, sharing, order: LockFree::BeforeImmap, shows: 4 });
    w.thread("T3", p);
    w.at_end(move |layout, look| sharing.check_count(layout, look));
    rcu::grace_periods(&mut w);
    w
}

fn sc_0_6(s: &Setup<'_>, order: LockFree) -> World {
    let mut w = World::default();
    let file = File::new(&mut w, 1, Pte::present(1));
    let mm = Mm::new(&mut w, 1, "");
    let b = HugeVma::shareable(&mut w, "b", Some(file.table));
    let sharing = file.sharing(&[b]);
    let mut p = s.program();
    munmap(&mut p, Munmap { mm, vma: b, sharing, order, shows: 2 });
    w.thread("T1", p);
    let mut p = s.program();
    vmdelete_list(&mut p, b, sharing, [0, 1]);
    w.thread("T2", p);
    rcu::grace_periods(&mut w);
    w
}

fn sc_0_7(s: &Setup<'_>, order: LockFree, needs_lock: bool) -> World {
    let mut w = World::default();
    let file = File::new(&mut w, 1, Pte::present(1));
    let fresh = w.table("N", 1, TableState::Free);
    let (mm_a, mm_b) = (Mm::new(&mut w, 1, "a "), Mm::new(&mut w, 2, "b "));
    let a = HugeVma::shareable(&mut w, "a", None);
    let b = HugeVma::shareable(&mut w, "b", Some(file.table));
    let page_table_lock = w.lock("a page_table_lock", Some(Rank::PageTableLock));
    let mutex = w.lock("hugetlb_fault_mutex", Some(Rank::HugetlbFaultMutex));
    let sharing = file.sharing(&[a, b]);
    let partner = Some(Partner { vma: b, needs_lock, page_table_lock, fresh });
    let mut p = s.program();
    let fault =
        Fault { mm: mm_a, vma: a, sharing, mutex, partner, pool: None, wait: None, shows: [Some(0), None, Some(1)] };
    hugetlb_fault(&mut p, fault);
    w.thread("T1", p);
    let mut p = s.program();
    munmap(&mut p, Munmap { mm: mm_b, vma: b, sharing, order, shows: 2 });
    w.thread("T2", p);
    w.at_end(move |layout, look| sharing.check_count(layout, look));
    rcu::grace_periods(&mut w);
    w
}

fn sc_0_8(s: &Setup<'_>, wait: Wait) -> World {
    let mut w = World::default();
    let file = File::new(&mut w, 2, Pte::migration(0));
    let (mm_a, mm_b) = (Mm::new(&mut w, 1, "a "), Mm::new(&mut w, 2, "b "));
    let a = HugeVma::shareable(&mut w, "a", Some(file.table));
    let b = HugeVma::shareable(&mut w, "b", Some(file.table));
    let folio = w.lock("folio lock", Some(Rank::FolioLock));
    let mutex = w.lock("hugetlb_fault_mutex", Some(Rank::HugetlbFaultMutex));
    let sharing = file.sharing(&[a, b]);
    let mut p = s.program();
    let wait = Some((wait, folio));
    let fault =
        Fault { mm: mm_a, vma: a, sharing, mutex, partner: None, pool: None, wait, shows: [None, Some(0), None] };
    hugetlb_fault(&mut p, fault);
    w.thread("T1", p);
    let mut p = s.program();
    rmap_unshare(&mut p, a, sharing, [Some(1), Some(2)]);
    w.thread("T2", p);
    let mut p = s.program();
    munmap(&mut p, Munmap { mm: mm_b, vma: b, sharing, order: LockFree::BeforeImmap, shows: 3 });
    w.thread("T3", p);
    let mut p: Program = s.program();
    finish_migration(&mut p, &[a, b], sharing, folio);
    let holder = w.next_tid();
    w.held(folio, holder, Mode::Write);
    w.thread("M", p);
    w.at_end(move |layout, look| sharing.check_count(layout, look));
    rcu::grace_periods(&mut w);
    w
}

fn sc_0_9(s: &Setup<'_>, sync: bool) -> World {
    let mut w = World::default();
    let file = File::new(&mut w, 2, Pte::present(1));
    let mm_b = Mm::new(&mut w, 2, "b ");
    let a = HugeVma::shareable(&mut w, "a", Some(file.table));
    let b = HugeVma::shareable(&mut w, "b", Some(file.table));
    let sharing = Sharing { sync, ..file.sharing(&[a, b]) };
    let mut p = s.program();
    gup_fast(&mut p, a, 0);
    w.thread("G", p);
    let mut p = s.program();
    rmap_unshare(&mut p, a, sharing, [None, Some(1)]);
    w.thread("T2", p);
    let mut p = s.program();
    munmap_and_reuse(&mut p, Munmap { mm: mm_b, vma: b, sharing, order: LockFree::BeforeImmap, shows: 2 });
    w.thread("T3", p);
    w
}

fn sc_0_10(s: &Setup<'_>, punch: Punch) -> World {
    let mut w = World::default();
    let file = File::new(&mut w, 1, Pte::present(1));
    let mm = Mm::new(&mut w, 1, "");
    let b = HugeVma::shareable(&mut w, "b", Some(file.table));
    let sharing = file.sharing(&[b]);
    let mut p = s.program();
    munmap(&mut p, Munmap { mm, vma: b, sharing, order: LockFree::BeforeImmap, shows: 1 });
    w.thread("T1", p);
    let mut p = s.program();
    unmap_file_folio(&mut p, b, sharing, punch, [2, 0]);
    w.thread("T2", p);
    let mut p = s.program();
    hold_vma_lock(&mut p, mm, b);
    w.thread("T3", p);
    rcu::grace_periods(&mut w);
    w
}

const UNSEEN: Live = Live::Unseen("no event shows a walk of a PMD table, or how long the table lives");
const UNSEEN_LOCK: Live =
    Live::Unseen("the lock excludes as it must (L30), and no event shows which object it belongs to");

/// The *sometimes* properties of a walk.
const WALK: &[&str] = &[
    "the walk finds the page",
    "the walk finds the page in a table that its PUD entry no longer points to: the table is stale, not freed",
    "the rmap walk finds the hugetlb lock busy and gives up",
    "the rmap walk takes the PUD entry away",
    "munmap frees the table",
];
const WALK_QUESTION: &str = "VMAs a and b of two mms share PMD table P. T1 walks to a page of a with the mmap_lock of \
                             its mm held for read. T2 unshares a through the rmap. T3 unmaps b, the other user. What \
                             else must T1 hold?";

/// The scenarios, module by module.
pub(super) const SCENARIOS: &[&[Scenario]] = &[WALKS, pool::SCENARIOS];

/// The scenarios about walks, and about the lives of the locks.
const WALKS: &[Scenario] = &[
    Scenario {
        id: "SC-0.1",
        thread: Some(HUGETLB_WALK),
        title: "walking a shared hugetlb table with only the mmap_lock",
        question: WALK_QUESTION,
        source: "the thread; include/linux/hugetlb.h, the comment on huge_pte_offset()",
        sometimes: WALK,
        variants: &[Variant {
            id: "h.none",
            status: "some walkers before 6.1, which brought the hugetlb lock",
            expect: Breaks(Invariant::UafPt),
            why: "the rmap walk needs no lock of a's mm to clear a's PUD entry. After that, b is the last user and \
                  frees the table",
            never: &[],
            live: Live::Unseen("no event shows a walk of a PMD table"),
            build: |s| sc_walk(s, Held::Nothing, false),
        }],
    },
    Scenario {
        id: "SC-0.2",
        thread: Some(HUGETLB_WALK),
        title: "walking a shared hugetlb table with its VMA's hugetlb lock",
        question: WALK_QUESTION,
        source: "the thread, vma_pgtable_walk_begin(); mm/memory.c, mm/pagewalk.c",
        sometimes: WALK,
        variants: &[Variant {
            id: "h.own",
            status: "posted in this thread, merged for 6.10",
            expect: Safe,
            why: "an unshare needs the VMA's hugetlb lock for write. The rmap walk tries to get it, fails and gives up",
            never: &[1],
            live: Live::Quiet,
            build: |s| sc_walk(s, Held::Own, false),
        }],
    },
    Scenario {
        id: "SC-0.3",
        thread: Some(HUGETLB_WALK),
        title: "walking a shared hugetlb table with i_mmap_rwsem",
        question: WALK_QUESTION,
        source: "include/linux/hugetlb.h, the comment on huge_pte_offset(), option 2.2; mm/hugetlb.c:huge_pmd_unshare",
        sometimes: WALK,
        variants: &[
            Variant {
                id: "h.immap",
                status: "rmap walks since 6.1",
                expect: Safe,
                why: "an unshare asserts that i_mmap_rwsem is held for write. T1's hold therefore stops the unshare, \
                      and not only the freeing that the comment names",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_walk(s, Held::Immap(Mode::Read), false),
            },
            Variant {
                id: "h.immap.stale",
                status: "rmap walks since 6.1, with the check that a still maps the page",
                expect: Safe,
                why: "while T1 holds i_mmap_rwsem, nobody unshares a table of the file, so the PUD entry stays as well",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_walk(s, Held::Immap(Mode::Read), true),
            },
            Variant {
                id: "h.immap.write",
                status: "truncation and migration",
                expect: Safe,
                why: "the hold protects as a hold for read does, and no other walk runs at the same time",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_walk(s, Held::Immap(Mode::Write), false),
            },
        ],
    },
    Scenario {
        id: "SC-0.4",
        thread: Some(HUGETLB_WALK),
        title: "walking a shared hugetlb table with another VMA's hugetlb lock",
        question: WALK_QUESTION,
        source: "the thread: what the lock is for; mm/hugetlb.c:hugetlb_vma_lock_read",
        sometimes: WALK,
        variants: &[
            Variant {
                id: "h.other",
                status: "what-if: the lock of b, which shares P",
                expect: Safe,
                why: "b cannot be unmapped, and its PUD entry keeps the table. T1 may look at a stale table, but not \
                      at a freed one",
                never: &[2],
                live: Live::Quiet,
                build: |s| sc_walk(s, Held::Sharer, false),
            },
            Variant {
                id: "h.other.stale",
                status: "what-if: the lock of b, with the check that a still maps the page",
                expect: Breaks(Invariant::Stale),
                why: "b's lock does not keep a's PUD entry, so the walk uses a page that a no longer maps",
                never: &[],
                live: UNSEEN_LOCK,
                build: |s| sc_walk(s, Held::Sharer, true),
            },
            Variant {
                id: "h.other.unrelated",
                status: "what-if: the lock of a VMA that does not share P",
                expect: Breaks(Invariant::UafPt),
                why: "the lock keeps neither a's PUD entry nor another user of the table. It protects nothing here",
                never: &[],
                live: UNSEEN_LOCK,
                build: |s| sc_walk(s, Held::Unrelated, false),
            },
        ],
    },
    Scenario {
        id: "SC-0.6",
        thread: Some(HUGETLB_WALK),
        title: "the vma_lock is freed while truncation looks for it",
        question: "T1 unmaps b for good and frees its vma_lock. T2 truncates the file, finds b in the interval tree \
                   and tries its vma_lock. When may T1 free the vma_lock?",
        source: "mm/hugetlb.c:__hugetlb_zap_end; fs/hugetlbfs/inode.c:hugetlb_vmdelete_list",
        sometimes: &[
            "truncation gets the hugetlb lock",
            "truncation finds the VMA without a vma_lock",
            "munmap frees the table",
        ],
        variants: &[
            Variant {
                id: "h.free-early",
                status: "merged for 6.1, in 6.12 and 7.2",
                expect: Safe,
                why: "T1 detaches and frees the vma_lock with i_mmap_rwsem held for write, so a thread that finds b in \
                      the tree finds no vma_lock",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_0_6(s, LockFree::BeforeImmap),
            },
            Variant {
                id: "h.free-late",
                status: "what-if: T1 frees it after it releases i_mmap_rwsem",
                expect: Breaks(Invariant::UafHl),
                why: "T2 reads b's pointer to the vma_lock, T1 frees the vma_lock, and T2 tries it",
                never: &[],
                live: UNSEEN_LOCK,
                build: |s| sc_0_6(s, LockFree::AfterImmap),
            },
        ],
    },
    Scenario {
        id: "SC-0.7",
        thread: Some(HUGETLB_WALK),
        title: "sharing a table with a VMA that is being unmapped",
        question: "T1 faults in a and looks for a VMA to share a PMD table with. T2 unmaps b, the only candidate. What \
                   makes b ineligible in time?",
        source: "mm/hugetlb.c:__hugetlb_zap_end, page_table_shareable, huge_pmd_share",
        sometimes: &["a page is mapped in a table of a's own", "the table is shared", "munmap frees the table"],
        variants: &[
            Variant {
                id: "h.free-early",
                status: "merged for 6.1, in 6.12 and 7.2",
                expect: Safe,
                why: "a VMA without a vma_lock is not shareable, and b loses its vma_lock before T2 releases \
                      i_mmap_rwsem",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_0_7(s, LockFree::BeforeImmap, true),
            },
            Variant {
                id: "h.free-late",
                status: "what-if: T2 frees the vma_lock after it releases i_mmap_rwsem",
                expect: Breaks(Invariant::Share),
                why: "b is still shareable after its last unmap, so T1 takes a table that T2 frees",
                never: &[],
                live: UNSEEN,
                build: |s| sc_0_7(s, LockFree::AfterImmap, true),
            },
            Variant {
                id: "h.partner",
                status: "what-if: page_table_shareable() does not check the partner's vma_lock",
                expect: Breaks(Invariant::Share),
                why: "b is in the interval tree until after its last unmap, so T1 chooses it",
                never: &[],
                live: UNSEEN,
                build: |s| sc_0_7(s, LockFree::BeforeImmap, false),
            },
        ],
    },
    Scenario {
        id: "SC-0.8",
        thread: Some(HUGETLB_WALK),
        title: "waiting for the migration of a huge page in a shared table",
        question: "T1 faults on a huge page that M moves. T2 unshares T1's table, and T3 unmaps the other user. Until \
                   when does T1 need its hugetlb lock?",
        source: "mm/migrate.c:migration_entry_wait_huge; mm/hugetlb.c:hugetlb_fault",
        sometimes: &[
            "the fault waits for the page to be moved",
            "the rmap walk finds the hugetlb lock busy and gives up",
            "the rmap walk takes the PUD entry away",
            "munmap frees the table",
        ],
        variants: &[
            Variant {
                id: "w.under-ptl",
                status: "merged for 6.2, in 6.12 and 7.2",
                expect: Safe,
                why: "T1 drops the hugetlb lock while it holds the table's lock, which an unshare and a zap need as \
                      well",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_0_8(s, Wait::DropUnderPtl),
            },
            Variant {
                id: "w.before-ptl",
                status: "what-if: T1 drops the hugetlb lock before it takes the table's lock",
                expect: Breaks(Invariant::UafPt),
                why: "between the two, T2 clears the PUD entry and T3 frees the table with the lock in it",
                never: &[],
                live: Live::Unseen(
                    "T1 releases the lock before the sleep, as L32 demands; no event shows whether T1 held the table's \
                     lock then",
                ),
                build: |s| sc_0_8(s, Wait::DropBeforePtl),
            },
        ],
    },
    Scenario {
        id: "SC-0.9",
        thread: Some(HUGETLB_WALK),
        title: "gup-fast in a table that is unshared and then used for something else",
        question: "G looks up a huge page of a without any lock, with interrupts off. T2 unshares a. T3 unmaps b, \
                   keeps the table, and maps a page of its own in it. May T2 let go of the table before G is done?",
        source: "1013af4f585f; mm/hugetlb.c:huge_pmd_unshare; mm/gup.c:gup_fast",
        sometimes: &["gup-fast returns a page", "the rmap walk takes the PUD entry away", "T3 uses the table"],
        variants: &[
            Variant {
                id: "g.nosync",
                status: "before 6.16 and its stable backports",
                expect: Breaks(Invariant::Pin),
                why: "gup-fast checks the PMD entry again, but not the PUD entry, so it returns a page of another mm",
                never: &[],
                live: Live::Unseen("no event shows gup-fast, or how long a PMD table lives"),
                build: |s| sc_0_9(s, false),
            },
            Variant {
                id: "g.sync",
                status: "merged for 6.16",
                expect: Safe,
                why: "T2 holds i_mmap_rwsem while it waits for every CPU that has interrupts off, and T3 cannot unmap \
                      b without i_mmap_rwsem",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_0_9(s, true),
            },
        ],
    },
    Scenario {
        id: "SC-0.10",
        thread: Some(HUGETLB_WALK),
        title: "a hole punch waits for a vma_lock",
        question: "T2 punches a hole and finds b's vma_lock busy, because T3 faults. T2 drops i_mmap_rwsem to wait for \
                   the vma_lock, and T1 unmaps b meanwhile. What keeps the vma_lock, and how does T2 know that b is \
                   gone?",
        source: "fs/hugetlbfs/inode.c:hugetlb_unmap_file_folio",
        sometimes: &["the VMA is gone when T2 gets the lock", "munmap frees the table", "the VMA is there"],
        variants: &[
            Variant {
                id: "k.ref",
                status: "merged for 6.1, in 6.12 and 7.2",
                expect: Safe,
                why: "T2's reference keeps the vma_lock, and vma_lock->vma says whether it still belongs to a VMA",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_0_10(s, Punch { reference: true, look_again: true }),
            },
            Variant {
                id: "k.noref",
                status: "what-if: T2 takes no reference",
                expect: Breaks(Invariant::UafHl),
                why: "T1 frees the vma_lock while T2 waits for it",
                never: &[],
                live: UNSEEN_LOCK,
                build: |s| sc_0_10(s, Punch { reference: false, look_again: true }),
            },
            Variant {
                id: "k.nolook",
                status: "what-if: T2 does not check vma_lock->vma",
                expect: Breaks(Invariant::UafVma),
                why: "T2 holds the lock of a VMA that is freed, and walks it",
                never: &[],
                live: UNSEEN_LOCK,
                build: |s| sc_0_10(s, Punch { reference: true, look_again: false }),
            },
        ],
    },
];
