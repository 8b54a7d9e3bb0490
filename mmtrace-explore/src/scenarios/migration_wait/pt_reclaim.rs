//! The removal of a table that a fault or a migrator is about to use: SC-2.10.

use super::{Area, fault_retry::io};
use crate::{
    mailing_list::MIGRATION_WAIT,
    protocol::{
        World,
        fault::{Convention, MigrationWait, do_user_addr_fault, do_user_addr_fault_mmap},
        migrate::migrate_folio,
        pt_reclaim::{PmlUnderPtl, Zap, zap_pte_range},
        rcu,
        unmap::TableFree,
        vma::Flavour,
        walker_locks::{WalkerLocks, under},
    },
    scenario::{Expect::Safe, Live, Scenario, Setup, Variant},
};
use mmtrace_model::model::page_tables::entry::Pte;

const FLAVOUR: Flavour = Flavour::Refcount;

/// T faults, Z zaps the range and reclaims its table.
fn reclaimed(s: &Setup<'_>, w: &mut World, entry: Pte, vma_lock: bool) -> Area {
    let area = Area::new(w, entry);
    let mut p = s.program();
    let fault = area.fault(FLAVOUR, MigrationWait::Hold, Convention::MERGED);
    if vma_lock {
        do_user_addr_fault(&mut p, fault);
    } else {
        do_user_addr_fault_mmap(&mut p, fault);
    }
    w.thread("T", p);
    let mut p = s.program();
    let (pmd, pml, reclaim) = (area.pmd, area.pml, Some(PmlUnderPtl::Trylock));
    let zap = Zap { pmd, pml, reclaim, free: TableFree::Rcu, at_once: 1, later: 2 };
    p.function("madvise_dontneed_single_vma", |p| under(p, WalkerLocks::Mmap(area.mm), |p| zap_pte_range(p, zap)));
    w.thread("Z", p);
    area
}

fn migrating(s: &Setup<'_>, vma_lock: bool) -> World {
    let mut w = World::default();
    let area = reclaimed(s, &mut w, Pte::present(0), vma_lock);
    let mut p = s.program();
    migrate_folio(&mut p, area.migration(), |_| {});
    w.thread("M", p);
    rcu::grace_periods(&mut w);
    w
}

fn swapping(s: &Setup<'_>, vma_lock: bool) -> World {
    let mut w = World::default();
    let area = reclaimed(s, &mut w, Pte::Swap(0), vma_lock);
    io(s, &mut w, area, false);
    rcu::grace_periods(&mut w);
    w
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    id: "SC-2.10",
    thread: Some(MIGRATION_WAIT),
    title: "a fault that waits for a folio, while its page table is reclaimed",
    question: "T faults on a migration or swap entry and waits for the folio. Z zaps the range under the mmap_lock for \
               read, which T may hold too, and reclaims the table. What keeps the table that T and M read, and does T \
               notice that its entry is gone?",
    source: "found missing; mm/memory.c:do_swap_page, mm/rmap.c:try_to_migrate_one, zap_pte_range with PT reclaim (7.2)",
    sometimes: &[
        "the fault waits for the folio",
        "the table is removed while the PTL is held since the zap",
        "the table is removed after another look",
    ],
    variants: &[
        Variant {
            id: "migration",
            status: "7.2",
            expect: Safe,
            why: "a thread that reads a table without the PTL does so in an RCU section, and checks again under the \
                  PTL",
            never: &[],
            live: Live::Quiet,
            build: |s| migrating(s, true),
        },
        Variant {
            id: "migration,mmap",
            status: "7.2, a fault without the VMA lock",
            expect: Safe,
            why: "neither the VMA lock nor the mmap_lock for read excludes a reclaim under the mmap_lock for read",
            never: &[],
            live: Live::Quiet,
            build: |s| migrating(s, false),
        },
        Variant {
            id: "swap",
            status: "7.2",
            expect: Safe,
            why: "once T has read the folio in, it compares the entry with the one that its fault began with",
            never: &[],
            live: Live::Quiet,
            build: |s| swapping(s, true),
        },
    ],
}];
