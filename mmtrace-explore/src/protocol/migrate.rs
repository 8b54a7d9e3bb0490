//! Migration of a page, and the wait for it (mm/rmap.c, mm/migrate.c, mm/filemap.c; 6.12 and 7.2).

use mmtrace_common::{Column, Kind};
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::{Mode, Rank},
    page_tables::entry::Pte,
};

use super::{
    Cell, Flow, Guard, Label, Local, Lock, Program, Slot, Tid, World,
    event::Event,
    kernel::Kernel,
    mm::{drop, take},
    vma::Vma,
    walk::{self, Mapped, pte_offset_map_lock, pte_unmap_unlock},
};

/// A folio: its lock, and the threads that sleep until it is released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folio {
    /// `PG_locked`.
    pub(crate) lock: Lock,
    /// The threads on its wait queue, bit by thread.
    pub(crate) waiters: Cell,
}

impl Folio {
    /// Adds a folio, unlocked.
    pub(crate) fn new(w: &mut World) -> Self {
        Self { lock: w.lock("folio", Some(Rank::FolioLock)), waiters: w.cell("folio.waiters", 0) }
    }

    /// Makes this thread hold the folio lock from the beginning.
    pub(crate) fn locked_by(self, w: &mut World, tid: Tid) {
        w.held(self.lock, tid, Mode::Write);
    }

    /// Puts this thread on the wait queue if the folio is locked. No reference to the folio is taken.
    pub(crate) fn enqueue(self, k: &mut Kernel<'_>) {
        if k.readers(self.lock) != 0 {
            let waiters = k.get(self.waiters);
            k.set(self.waiters, waiters | 1 << k.me());
        }
    }

    /// Returns whether this thread is not on the wait queue.
    pub(crate) fn is_woken(self, k: &mut Kernel<'_>) -> bool {
        k.get(self.waiters) & 1 << k.me() == 0
    }

    /// Returns whether a thread is on the wait queue.
    pub(crate) fn has_waiters(self, k: &mut Kernel<'_>) -> bool {
        k.get(self.waiters) != 0
    }

    /// `folio_unlock()`, as part of a step: wakes every thread on the wait queue.
    pub(crate) fn unlock_now(self, k: &mut Kernel<'_>) {
        k.set(self.waiters, 0);
        k.unlock(self.lock);
    }
}

/// Sleeps until another thread takes this one off the folio's wait queue.
pub(crate) fn io_schedule(p: &mut Program, folio: Folio) {
    p.step(
        "io_schedule(): until the folio is unlocked",
        move |k| {
            if folio.is_woken(k) { Flow::Next } else { Flow::Block }
        },
    );
}

/// `folio_unlock(folio)`.
pub(crate) fn folio_unlock(p: &mut Program, folio: Folio, guard: Guard) {
    p.release(guard, "folio_unlock(folio)", move |k| folio.unlock_now(k));
}

/// The page that migrates: an anonymous one that is mapped once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    /// The VMA that maps it.
    pub(crate) vma: Vma,
    /// The PMD entry.
    pub(crate) pmd: Slot,
    /// The lock of its rmap tree.
    pub(crate) anon_vma: Lock,
    /// The folio.
    pub(crate) folio: Folio,
}

/// The page that migrates; its copy is number 1.
const PAGE: u8 = 0;
const ADDRESS: u64 = 0x7f00_0000_0000;
/// Values of x86-64: a swap entry that means migration, and a page that is present.
const MIGRATION_ENTRY: u64 = 30 << 59;
const PRESENT_ENTRY: u64 = 0x8000_0000_0012_3067;

fn event(kind: Kind, entry: u64) -> Event {
    Event { kind, mm: None, fields: vec![(Column::Addr, ADDRESS), (Column::Pte, entry), (Column::Order, 0)] }
}

/// `migrate_pages()` of the folio. A thread that meets the migration entry waits for its end. `copy` is run while the folio
/// is copied.
pub(crate) fn migrate_folio(p: &mut Program, m: Migration, copy: impl Fn(&mut Kernel<'_>) + Send + Sync + 'static) {
    p.function("migrate_pages", |p| {
        let guard = take(p, "folio_lock(src)", m.folio.lock, Mode::Write);
        try_to_migrate(p, m);
        p.run("folio_copy(dst, src)", copy);
        remove_migration_ptes(p, m);
        folio_unlock(p, m.folio, guard);
    });
}

/// The second half of `migrate_pages()`: the thread has the folio locked and the entry in place from the beginning.
pub(crate) fn migrate_rest(p: &mut Program, m: Migration) {
    p.function("migrate_pages", |p| {
        p.run("folio_copy(dst, src)", |_| {});
        remove_migration_ptes(p, m);
        p.run("folio_unlock(src)", move |k| m.folio.unlock_now(k));
    });
}

/// A migrator that holds the folio lock for ever.
pub(crate) fn migrate_for_ever(p: &mut Program) {
    p.function("migrate_pages", |p| p.step("folio_copy(dst, src) does not end", |_| Flow::Block));
}

/// `rmap_walk_anon()`: runs `one` for the VMA if it is in the tree.
fn rmap_walk(p: &mut Program, m: Migration, one: impl FnOnce(&mut Program, Label)) {
    let out = p.label();
    let guard = take(p, "anon_vma_lock_read(anon_vma)", m.anon_vma, Mode::Read);
    p.branch("anon_vma_interval_tree_foreach: no VMA is left", out, move |k| !m.vma.is_in_rmap(k, m.anon_vma));
    one(p, out);
    p.bind(out);
    drop(p, "anon_vma_unlock_read(anon_vma)", m.anon_vma, guard);
}

fn at(k: &Kernel<'_>, to: Mapped) -> Slot {
    Slot { table: k.table(k.local(to.table)), index: 0 }
}

/// `try_to_migrate()`: puts a migration entry in place of the page.
pub(crate) fn try_to_migrate(p: &mut Program, m: Migration) {
    p.function("try_to_migrate", |p| {
        rmap_walk(p, m, |p, out| {
            let (again, to, fail) = (p.mark(), Mapped::new(p), p.label());
            let rcu = walk::pte_offset_map(p, m.pmd, to, out);
            p.branch("check_pte(pvmw): it is not the page", fail, move |k| !maps(k.pte(at(k, to))));
            let ptl = walk::lock_ptl(p, to);
            p.recheck("pmd_same(pmdval, pmdp_get_lockless(pmd)), else again", again, move |k| {
                let same = k.pmd(m.pmd).encode() == k.local(to.pmdval);
                if !same {
                    if ptl.is_active() {
                        k.unlock(k.ptl(at(k, to).table));
                    }
                    if rcu.is_active() {
                        k.rcu_read_unlock();
                    }
                }
                same
            });
            let unlock = p.label();
            p.recheck("check_pte(pvmw), under the PTL", unlock, move |k| maps(k.pte(at(k, to))));
            p.run("set_pte_at(swp_pte); trace_set_migration_pte()", move |k| {
                k.set_pte(at(k, to), Pte::migration(PAGE));
                k.emit(|| event(Kind::SetMigrationPte, MIGRATION_ENTRY));
            });
            p.bind(unlock);
            walk::unlock_ptl(p, to, ptl);
            p.bind(fail);
            walk::pte_unmap(p, rcu);
        });
    });
}

fn maps(pte: Pte) -> bool {
    matches!(pte, Pte::Present { page: PAGE, .. })
}

/// `remove_migration_ptes()`: puts the copy in place of the migration entry, if that is still there.
pub(crate) fn remove_migration_ptes(p: &mut Program, m: Migration) {
    p.function("remove_migration_ptes", |p| {
        rmap_walk(p, m, |p, out| {
            let (to, unlock) = (Mapped::new(p), p.label());
            let locked = pte_offset_map_lock(p, m.pmd, to, out);
            p.recheck("check_pte(pvmw): it is the entry", unlock, move |k| is_migration(k.pte(at(k, to))));
            p.run("set_pte_at(new); trace_remove_migration_pte()", move |k| {
                k.set_pte(at(k, to), Pte::present(PAGE + 1));
                k.emit(|| event(Kind::RemoveMigrationPte, PRESENT_ENTRY));
            });
            p.bind(unlock);
            pte_unmap_unlock(p, locked);
        });
    });
}

/// `is_migration_entry()`.
#[must_use]
pub(crate) const fn is_migration(pte: Pte) -> bool {
    matches!(pte, Pte::Migration { .. })
}

/// Checks that the migration entry is still there (I-STALE): a thread that waits has no reference to the folio.
pub(crate) fn wait_is_for(k: &mut Kernel<'_>, now: Pte) {
    let why = "a folio is waited for without a reference, and the migration entry that kept it is gone";
    k.require(is_migration(now), Invariant::Stale, why);
}

/// The end of an outer RCU section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Once the PTL is held.
    Locked,
    /// Once the PTL is dropped.
    Unlocked,
}

/// A wait for a migration entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryWait {
    /// The PMD entry.
    pub(crate) pmd: Slot,
    /// The folio.
    pub(crate) folio: Folio,
    /// The VMA whose lock is dropped once the entry is seen under the PTL, and the variable that then gets the byte.
    pub(crate) end_read: Option<(Vma, Local, u8)>,
    /// An RCU section that was entered before, and its end.
    pub(crate) rcu: Option<(Guard, Until)>,
    /// Bit of [`Kernel::reach`] for "it sleeps".
    pub(crate) reached: u8,
    /// The mm, for events.
    pub(crate) mm: u8,
}

/// Emits that `migration_entry_wait()` is entered, or that it returns.
pub(crate) fn wait_event(kind: Kind, mm: u8) -> Event {
    Event { kind, mm: Some(mm), fields: vec![(Column::Addr, ADDRESS)] }
}

/// `migration_entry_wait(mm, pmd, addr)`: sleeps until the folio is unlocked. The PMD's page
/// must stay until the PTL is held; once that is dropped, nothing of the mm is touched.
pub(crate) fn migration_entry_wait(p: &mut Program, wait: EntryWait) {
    p.function("migration_entry_wait", |p| {
        let EntryWait { pmd, folio, end_read, rcu, reached, mm } = wait;
        let (to, null, done, other) = (Mapped::new(p), p.label(), p.label(), p.label());
        let pte = p.local("pte", 0);
        let leave = move |p: &mut Program, at: &[Until]| {
            if let Some((rcu, _)) = rcu.filter(|(_, until)| at.contains(until)) {
                p.rcu_read_unlock(rcu);
            }
        };
        let locked = pte_offset_map_lock(p, pmd, to, null);
        leave(p, &[Until::Locked]);
        p.run("pte = ptep_get(ptep)", move |k| {
            let seen = k.pte(at(k, to));
            k.set_local(pte, seen.encode());
        });
        walk::pte_unmap(p, locked.rcu);
        p.recheck("is_migration_entry(pte_to_swp_entry(pte))", other, move |k| is_migration(Pte::decode(k.local(pte))));
        if let Some((vma, local, value)) = end_read {
            p.run("vma_end_read(vma)", move |k| {
                vma.end_read_now(k);
                k.set_local(local, value);
            });
        }
        p.function("migration_entry_wait_on_locked", |p| {
            p.run("__add_wait_queue_entry_tail(q, wait)", move |k| {
                let now = k.read_entry(at(k, to));
                wait_is_for(k, Pte::decode(now));
                folio.enqueue(k);
                k.reach(reached);
            });
            p.bind(other);
            walk::unlock_ptl(p, to, locked.ptl);
            leave(p, &[Until::Unlocked]);
            p.step("io_schedule(): until the folio is unlocked", move |k| {
                if !folio.is_woken(k) {
                    return Flow::Block;
                }
                k.emit(|| wait_event(Kind::MigrationEntryWaitReturn, mm));
                Flow::Goto(done)
            });
        });
        p.bind(null);
        leave(p, &[Until::Locked, Until::Unlocked]);
        p.bind(done);
    });
}
