//! Dropping the VMA lock before waiting for migration, and how a fault says that it has dropped it.

use crate::{
    protocol::{
        Lock, Program, Slot, World,
        fault::{Convention, Fault, MigrationWait, Signal},
        migrate::{Folio, Migration},
        mm::Mm,
        rcu,
        unmap::{self, Munmap, TableFree},
        vma::{Flavour, Vma},
    },
    scenario::{Scenario, Setup},
};
use mmtrace_model::model::{
    locks::exclusion::Rank,
    page_tables::{
        entry::{Pmd, Pte},
        lifecycle::TableState,
    },
};

mod fault_retry;
mod pt_reclaim;
mod wait;

/// An mm with one VMA, whose one page is the folio. The page with its PMD entry is freed with the VMA.
#[derive(Clone, Copy)]
struct Area {
    mm: Mm,
    vma: Vma,
    pmd: Slot,
    pml: Lock,
    anon_vma: Lock,
    folio: Folio,
}

impl Area {
    fn new(w: &mut World, entry: Pte) -> Self {
        let mm = Mm::new(w, 1, "");
        let vma = Vma::new(w, mm, "vma");
        let anon_vma = w.lock("anon_vma", Some(Rank::AnonVma));
        let pml = w.lock("PML", Some(Rank::PageTableLock));
        let d = w.table_with("D", 1, TableState::Linked, pml);
        let a = w.table("A", 1, TableState::Linked);
        w.fill_locks(a, &[mm.mmap_lock, vma.lock]);
        let pmd = Slot { table: d, index: 0 };
        w.entry(pmd, Pmd::Table(a.number()).encode());
        w.entry(Slot { table: a, index: 0 }, entry.encode());
        Self { mm, vma, pmd, pml, anon_vma, folio: Folio::new(w) }
    }

    const fn fault(self, flavour: Flavour, wait: MigrationWait, convention: Convention) -> Fault {
        Fault {
            mm: self.mm,
            vma: self.vma,
            flavour,
            pmd: self.pmd,
            folio: self.folio,
            wait,
            convention,
            signal: Signal::None,
            waits: 0,
            stays: false,
            sanitized: true,
        }
    }

    const fn migration(self) -> Migration {
        Migration { vma: self.vma, pmd: self.pmd, anon_vma: self.anon_vma, folio: self.folio }
    }

    const fn munmap(self, flavour: Flavour, free: TableFree) -> Munmap {
        Munmap {
            mm: self.mm,
            vma: self.vma,
            flavour,
            pmd: self.pmd,
            rmap: unmap::RMAP_ANON,
            rmap_locks: [Some(self.anon_vma), None],
            free,
            with_pmd_page: true,
        }
    }

    /// munmap(). *Sometimes* property 2: munmap has returned while a fault still sleeps.
    fn unmap(self, s: &Setup<'_>, flavour: Flavour, free: TableFree) -> Program {
        let mut p = s.program();
        unmap::munmap(&mut p, self.munmap(flavour, free));
        p.function("munmap", |p| {
            p.run("return 0", move |k| {
                if self.folio.has_waiters(k) {
                    k.reach(2);
                }
            });
        });
        p
    }
}

fn finish(mut w: World, free: TableFree) -> World {
    if free == TableFree::Rcu {
        rcu::grace_periods(&mut w);
    }
    w
}

const UNSEEN_TABLES: &str = "no event shows what the waiter still reads; H06 counts how often the window was open";
const UNSEEN_INLINE: &str = "vma_end_read() is inlined, so no event shows that it is called once too often or not at \
                             all";

/// The scenarios, module by module.
pub(super) const SCENARIOS: &[&[Scenario]] = &[wait::SCENARIOS, fault_retry::SCENARIOS, pt_reclaim::SCENARIOS];
