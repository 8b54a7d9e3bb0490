//! The waits of faults and writers while a page migrates: SC-2.1 to SC-2.4 and SC-2.8.

use super::{Area, UNSEEN_TABLES, finish};
use crate::{
    mailing_list::MIGRATION_WAIT,
    protocol::{
        World,
        fault::{Convention, MigrationWait, do_user_addr_fault, do_user_addr_fault_mmap},
        migrate::{self, Until, migrate_folio},
        mm::{drop, mmap_write_lock, mmap_write_unlock, take},
        unmap::TableFree,
        vma::{Flavour, vma_start_write},
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::{invariant::Invariant, locks::exclusion::Mode, page_tables::entry::Pte};

/// The lock with which the fault begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    VmaLock,
    MmapLock,
}

fn sc_2_1(s: &Setup<'_>, wait: MigrationWait, flavour: Flavour, first: First) -> World {
    let mut w = World::default();
    let area = Area::new(&mut w, Pte::present(0));
    let mut p = s.program();
    let fault = area.fault(flavour, wait, Convention::MERGED);
    match first {
        First::VmaLock => do_user_addr_fault(&mut p, fault),
        First::MmapLock => do_user_addr_fault_mmap(&mut p, fault),
    }
    let t = w.thread("T", p);
    let u = w.next_tid();
    w.thread("U", area.unmap(s, flavour, TableFree::Rcu));
    w.writer(u);
    let mut p = s.program();
    migrate_folio(&mut p, area.migration(), move |k| {
        let sleeps = area.folio.has_waiters(k);
        let writer = k.get(area.mm.lock_seq) % 2 == 1 && k.get(area.vma.granted) & 1 << t != 0;
        if sleeps && writer {
            k.reach(1);
        }
    });
    w.thread("M", p);
    finish(w, TableFree::Rcu)
}

/// The entry is in place. M has locked the folio and will finish.
fn sc_2_2(s: &Setup<'_>, wait: MigrationWait, free: TableFree) -> World {
    let mut w = World::default();
    let area = Area::new(&mut w, Pte::migration(0));
    let mut p = s.program();
    do_user_addr_fault(&mut p, area.fault(Flavour::Rwsem, wait, Convention::MERGED));
    w.thread("T", p);
    w.thread("U", area.unmap(s, Flavour::Rwsem, free));
    let mut p = s.program();
    migrate::migrate_rest(&mut p, area.migration());
    let m = w.thread("M", p);
    area.folio.locked_by(&mut w, m);
    finish(w, free)
}

/// M never finishes. T may wait for ever, but U may not.
fn sc_2_4(s: &Setup<'_>, wait: MigrationWait, flavour: Flavour) -> World {
    let mut w = World::default();
    let area = Area::new(&mut w, Pte::migration(0));
    let mut p = s.program();
    do_user_addr_fault(&mut p, area.fault(flavour, wait, Convention::MERGED));
    w.daemon("T", p);
    let u = w.thread("U", area.unmap(s, flavour, TableFree::Rcu));
    w.writer(u);
    let mut p = s.program();
    migrate::migrate_for_ever(&mut p);
    let m = w.daemon("M", p);
    area.folio.locked_by(&mut w, m);
    finish(w, TableFree::Rcu)
}

/// The order in which a writer takes the VMA lock and the rmap lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WriterOrder {
    VmaFirst,
    RmapFirst,
}

fn sc_2_8(s: &Setup<'_>, order: WriterOrder, wait: MigrationWait) -> World {
    let flavour = Flavour::Refcount;
    let mut w = World::default();
    let area = Area::new(&mut w, Pte::migration(0));
    let mut p = s.program();
    do_user_addr_fault(&mut p, area.fault(flavour, wait, Convention::MERGED));
    w.thread("F", p);
    let mut p = s.program();
    migrate::migrate_rest(&mut p, area.migration());
    let m = w.thread("M", p);
    area.folio.locked_by(&mut w, m);
    let mut p = s.program();
    p.function("vma_adjust", |p| {
        let mmap = mmap_write_lock(p, area.mm);
        if order == WriterOrder::VmaFirst {
            vma_start_write(p, area.vma, flavour);
        }
        let rmap = take(p, "anon_vma_lock_write(anon_vma)", area.anon_vma, Mode::Write);
        if order == WriterOrder::RmapFirst {
            vma_start_write(p, area.vma, flavour);
        }
        p.run("vma_set_range(vma, …)", move |k| {
            if area.folio.has_waiters(k) {
                k.reach(1);
            }
            k.needs_write(area.anon_vma, "the range of a VMA changes");
            if !area.vma.is_write_locked(k) {
                k.violate(Invariant::State, "the range changes without the VMA locked for write");
            }
        });
        drop(p, "anon_vma_unlock_write(anon_vma)", area.anon_vma, rmap);
        mmap_write_unlock(p, area.mm, mmap);
    });
    w.thread("W", p);
    w
}

/// Situations that must occur if the lock is dropped before the sleep.
const SLEEPS: &[&str] = &[
    "the fault sleeps until the migration is over",
    "munmap waits for a fault that waits for the migration",
    "munmap is through and the fault still sleeps",
];

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "SC-2.1",
        thread: Some(MIGRATION_WAIT),
        title: "munmap behind a fault that waits for a migration",
        question: "T faults on an entry that M is migrating, and U unmaps the area. T sleeps until the folio is \
                   unlocked. Does T keep the lock that its fault began with, and who waits for how long?",
        source: "the thread; mm/memory.c:do_swap_page, mm/migrate.c:migration_entry_wait (6.12, 7.2)",
        sometimes: SLEEPS,
        variants: &[
            Variant {
                id: "w.hold",
                status: "7.2, and so since 6.4",
                expect: Safe,
                why: "T holds the VMA lock during the wait. Nothing can go away, and munmap waits for the rest of the \
                      migration as well",
                never: &[2],
                live: Live::Quiet,
                build: |s| sc_2_1(s, MigrationWait::Hold, Flavour::Refcount, First::VmaLock),
            },
            Variant {
                id: "w.hold-6.12",
                status: "6.12, and so since 6.4",
                expect: Safe,
                why: "as for w.hold, with the rwsem as VMA lock",
                never: &[2],
                live: Live::Quiet,
                build: |s| sc_2_1(s, MigrationWait::Hold, Flavour::Rwsem, First::VmaLock),
            },
            Variant {
                id: "w.hold-mmap",
                status: "before 6.4, and every fault without a VMA lock",
                expect: Safe,
                why: "T holds the mmap_lock for read during the wait, so every writer of the mm waits for the \
                      migration",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_2_1(s, MigrationWait::Hold, Flavour::Refcount, First::MmapLock),
            },
            Variant {
                id: "w.drop-ptl",
                status: "suggested after version 3 of the series, not implemented",
                expect: Safe,
                why: "T drops the VMA lock once it holds the PTL. munmap's zap needs that PTL, so the table stays \
                      until T sleeps, and T touches nothing after that",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_2_1(s, MigrationWait::DropUnderPtl, Flavour::Refcount, First::VmaLock),
            },
        ],
    },
    Scenario {
        id: "SC-2.2",
        thread: Some(MIGRATION_WAIT),
        title: "the VMA lock is dropped before the PMD is read again",
        question: "T has seen a migration entry, drops the VMA lock and calls migration_entry_wait(), which reads \
                   *pmd. U unmaps the area and frees its tables, and the page with the PMD entry too. Is that page \
                   still there?",
        source: "the thread, versions 1 to 3; Peter Xu's objection to version 3; mm/migrate.c:migration_entry_wait",
        sometimes: SLEEPS,
        variants: &[
            Variant {
                id: "w.drop-early-imm",
                status: "versions 1 to 3 of the series, tables freed at once",
                expect: Breaks(Invariant::UafPt),
                why: "nothing keeps the page with the PMD entry once the VMA lock is dropped",
                never: &[],
                live: Live::Unseen(UNSEEN_TABLES),
                build: |s| sc_2_2(s, MigrationWait::DropEarly, TableFree::Immediately),
            },
            Variant {
                id: "w.drop-early-rcu",
                status: "versions 1 to 3 of the series, tables freed by RCU",
                expect: Breaks(Invariant::UafPt),
                why: "a whole grace period fits between the drop and the RCU section of the pte_offset_map call",
                never: &[],
                live: Live::Unseen(UNSEEN_TABLES),
                build: |s| sc_2_2(s, MigrationWait::DropEarly, TableFree::Rcu),
            },
            Variant {
                id: "w.drop-rcu-imm",
                status: "exploration only",
                expect: Breaks(Invariant::UafPt),
                why: "an RCU section keeps only memory that is freed by RCU, however long the section lasts",
                never: &[],
                live: Live::Unseen(UNSEEN_TABLES),
                build: |s| sc_2_2(s, MigrationWait::DropUnderRcu(Until::Unlocked), TableFree::Immediately),
            },
            Variant {
                id: "w.drop-rcu",
                status: "exploration only",
                expect: Breaks(Invariant::UafPt),
                why: "T ends the section once it holds the PTL, but a held PTL keeps the table only from a zap that is \
                      still to come. If the zap came first, free_pgtables() frees the table without any check, and T \
                      drops the lock of a freed table",
                never: &[],
                live: Live::Unseen(UNSEEN_TABLES),
                build: |s| sc_2_2(s, MigrationWait::DropUnderRcu(Until::Locked), TableFree::Rcu),
            },
            Variant {
                id: "w.drop-rcu-unlock",
                status: "exploration only",
                expect: Safe,
                why: "RCU frees the tables and the page with the PMD entry, so they stay for a section that lasts \
                      until T drops the PTL or sees the PMD entry empty",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_2_2(s, MigrationWait::DropUnderRcu(Until::Unlocked), TableFree::Rcu),
            },
        ],
    },
    Scenario {
        id: "SC-2.3",
        thread: Some(MIGRATION_WAIT),
        title: "the VMA lock is dropped under the PTL",
        question: "As in SC-2.2, but T drops the lock only once it holds the PTL and has seen the entry. Does it \
                   matter how tables are freed?",
        source: "the thread, after version 3; mm/migrate.c:migration_entry_wait_huge does so with the hugetlb lock",
        sometimes: SLEEPS,
        variants: &[
            Variant {
                id: "w.drop-ptl-imm",
                status: "suggested, tables freed at once",
                expect: Safe,
                why: "the zap that precedes the freeing of tables waits for the PTL. After T drops the PTL, it reads \
                      only the folio",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_2_2(s, MigrationWait::DropUnderPtl, TableFree::Immediately),
            },
            Variant {
                id: "w.drop-ptl-rcu",
                status: "suggested, tables freed by RCU",
                expect: Safe,
                why: "the PTL keeps the tables, however they are freed",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_2_2(s, MigrationWait::DropUnderPtl, TableFree::Rcu),
            },
        ],
    },
    Scenario {
        id: "SC-2.4",
        thread: Some(MIGRATION_WAIT),
        title: "a migration that never ends",
        question: "M holds the folio lock and gets no further. T waits for it in a fault. Can U unmap the area?",
        source: "the thread, the purpose of the series",
        sometimes: &[
            "the fault sleeps until the migration is over",
            "(not here)",
            "munmap is through and the fault still sleeps",
        ],
        variants: &[
            Variant {
                id: "w.hold",
                status: "7.2, and so since 6.4",
                expect: Breaks(Invariant::Writer),
                why: "U waits for T's VMA lock, and T waits for M. A thread that U has nothing to do with delays U",
                never: &[],
                live: Live::Unseen("a wait that does not end is no event; M01 measures those that do"),
                build: |s| sc_2_4(s, MigrationWait::Hold, Flavour::Refcount),
            },
            Variant {
                id: "w.hold-6.12",
                status: "6.12, and so since 6.4",
                expect: Breaks(Invariant::Writer),
                why: "as for w.hold, with the rwsem as VMA lock",
                never: &[],
                live: Live::Unseen("a wait that does not end is no event; M01 measures those that do"),
                build: |s| sc_2_4(s, MigrationWait::Hold, Flavour::Rwsem),
            },
            Variant {
                id: "w.drop-ptl",
                status: "suggested after version 3 of the series, not implemented",
                expect: Safe,
                why: "only T waits",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_2_4(s, MigrationWait::DropUnderPtl, Flavour::Refcount),
            },
        ],
    },
    Scenario {
        id: "SC-2.8",
        thread: Some(MIGRATION_WAIT),
        title: "fault, migrator and writer in a ring",
        question: "F holds the VMA lock and waits for the folio. M holds the folio and wants the anon_vma lock for \
                   read. W holds the mmap_lock and takes the VMA lock and the anon_vma lock for write. In which order \
                   may W take them?",
        source: "mm/rmap.c, lock ordering: vma_start_write before i_mmap_rwsem and anon_vma; mm/vma.c:vma_prepare",
        sometimes: &["the fault sleeps until the migration is over", "W changes the VMA while the fault sleeps"],
        variants: &[
            Variant {
                id: "vma-first",
                status: "6.4 to 7.2",
                expect: Safe,
                why: "W waits for F before it holds anything that M needs",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_2_8(s, WriterOrder::VmaFirst, MigrationWait::Hold),
            },
            Variant {
                id: "rmap-first",
                status: "negative test",
                expect: Breaks(Invariant::Dead),
                why: "W waits for F, F waits for M, and M waits for W",
                never: &[],
                live: Live::Unseen("no thread goes on, so there is no event; the hung-task watchdog would report it"),
                build: |s| sc_2_8(s, WriterOrder::RmapFirst, MigrationWait::Hold),
            },
            Variant {
                id: "rmap-first+w.drop-ptl",
                status: "exploration only",
                expect: Safe,
                why: "F sleeps without the VMA lock, so it is not part of the ring. The order matters only where F \
                      keeps the lock, as in w.hold",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_2_8(s, WriterOrder::RmapFirst, MigrationWait::DropUnderPtl),
            },
        ],
    },
];
