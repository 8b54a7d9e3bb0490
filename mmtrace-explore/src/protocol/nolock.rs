//! Users of `pte_offset_map_nolock()` (6.5 to 6.12) and of its successors
//! `pte_offset_map_ro_nolock()` and `pte_offset_map_rw_nolock()` (since 6.13, mm/pgtable-generic.c). They fill an entry, change
//! one, or read one.

use mmtrace_common::Kind;
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Mode,
    page_tables::entry::{Pmd, Pte},
};

use super::{
    Flow, Guard, Label, Local, Program, Slot,
    kernel::Kernel,
    walk::{self, Mapped},
};

/// The function that maps the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// `pte_offset_map_nolock()`: the PMD value is thrown away.
    Legacy,
    /// `pte_offset_map_ro_nolock()`: nothing is changed through it.
    Ro,
    /// `pte_offset_map_rw_nolock()`: the PMD value comes back too.
    Rw,
}

impl Api {
    const fn kind(self) -> Kind {
        match self {
            Self::Legacy | Self::Rw => Kind::PteOffsetMapRwNolock,
            Self::Ro => Kind::PteOffsetMapRoNolock,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "pte_offset_map_nolock",
            Self::Ro => "pte_offset_map_ro_nolock",
            Self::Rw => "pte_offset_map_rw_nolock",
        }
    }
}

/// The values that are read again once the PTL is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recheck {
    /// Nothing.
    None,
    /// The entry.
    PteSame,
    /// The PMD.
    PmdSame,
    /// Both, the entry first.
    Both,
}

/// The way in which the PTL is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockFrom {
    /// The call that mapped the table returned it: the lock of that table.
    Mapped,
    /// Computed again from `*pmd`, which is assumed to point to a table.
    Pmd,
    /// Computed again from `*pmd`, if that still points to a table, and compared once more when it is held.
    PmdTested,
}

/// The calls and tests with which a table is mapped and locked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nolock {
    /// The function.
    pub(crate) api: Api,
    /// The PMD entry.
    pub(crate) pmd: Slot,
    /// The entry in the table.
    pub(crate) index: u8,
    /// The values that are read again once the PTL is held.
    pub(crate) recheck: Recheck,
    /// The way in which the PTL is found.
    pub(crate) lock_from: LockFrom,
    /// Whether `pte_unmap()` comes at the end, as it must, or before the lock is taken.
    pub(crate) unmap_last: bool,
    /// Bit of [`Kernel::reach`] for "the entry is written", or for a reader "it is none".
    pub(crate) reach: u8,
}

impl Nolock {
    /// Uses the function as it is meant to be, and reads this again.
    #[must_use]
    pub(crate) const fn new(api: Api, pmd: Slot, recheck: Recheck) -> Self {
        Self { api, pmd, index: 0, recheck, lock_from: LockFrom::Mapped, unmap_last: true, reach: 0 }
    }

    fn at(self, k: &Kernel<'_>, to: Mapped) -> Slot {
        Slot { table: k.table(k.local(to.table)), index: self.index }
    }
}

/// A mapped table and the lock that was taken for it.
#[derive(Clone, Copy, Debug)]
struct Use {
    to: Mapped,
    /// Number of the table whose lock was taken.
    lock: Local,
    rcu: Guard,
}

/// Maps the table, which begins the RCU section.
fn map(p: &mut Program, n: Nolock, null: Label) -> Use {
    p.function(n.api.name(), |p| {
        let (to, lock) = (Mapped::new(p), p.local("ptl", 0));
        let rcu = walk::pte_offset_map_by(p, n.pmd, to, null, Some(n.api.kind()));
        Use { to, lock, rcu }
    })
}

/// `pte_unmap()` before the lock is taken, if that is asked for.
fn unmap_first(p: &mut Program, n: Nolock, u: Use) {
    if !n.unmap_last {
        walk::pte_unmap(p, u.rcu);
    }
}

/// Takes the lock. Goes to `gone` if what is read again shows that the table is gone.
fn lock(p: &mut Program, n: Nolock, u: Use, gone: Label) -> Guard {
    if n.lock_from == LockFrom::Mapped {
        return walk::lock_ptl(p, u.to);
    }
    p.step("ptl = pte_lockptr(mm, pmd)", move |k| match k.pmd(n.pmd) {
        Pmd::Table(table) => {
            k.set_local(u.lock, table);
            Flow::Next
        }
        _ if n.lock_from == LockFrom::PmdTested => Flow::Goto(gone),
        _ => {
            k.violate(Invariant::BadPmd, "the lock of a table is looked up in a PMD that points to none");
            Flow::Goto(gone)
        }
    });
    let guard = p.lock("spin_lock(ptl)", move |k| {
        let table = k.table(k.local(u.lock));
        k.access(table, "the lock is taken");
        let ptl = k.ptl(table);
        k.lock(ptl, Mode::Write)
    });
    if n.lock_from == LockFrom::PmdTested {
        p.recheck("ptl == pte_lockptr(mm, pmd)", gone, move |k| {
            let same = k.pmd(n.pmd).map() == Some(k.local(u.lock));
            if !same && guard.is_active() {
                let ptl = k.ptl(k.table(k.local(u.lock)));
                k.unlock(ptl);
            }
            same
        });
    }
    guard
}

fn unlock(p: &mut Program, n: Nolock, u: Use, ptl: Guard) {
    if n.lock_from == LockFrom::Mapped {
        walk::unlock_ptl(p, u.to, ptl);
        return;
    }
    p.release(ptl, "spin_unlock(ptl)", move |k| {
        let ptl = k.ptl(k.table(k.local(u.lock)));
        k.unlock(ptl);
    });
}

fn recheck(p: &mut Program, n: Nolock, u: Use, orig: Local, fail: Label) {
    if matches!(n.recheck, Recheck::PteSame | Recheck::Both) {
        p.recheck("pte_same(ptep_get(pte), orig_pte)", fail, move |k| {
            let at = n.at(k, u.to);
            k.pte(at).encode() == k.local(orig)
        });
    }
    if matches!(n.recheck, Recheck::PmdSame | Recheck::Both) {
        walk::pmd_same(p, n.pmd, u.to, fail);
    }
}

/// Writes an entry that was read earlier. Checks that it has not changed (I-CLOBBER if it was none, I-STALE if not), and
/// that the table's own lock is held.
pub(crate) fn set_pte_seen(k: &mut Kernel<'_>, at: Slot, seen: u8, pte: Pte) {
    let now = k.read_entry(at);
    let ptl = k.ptl(at.table);
    if k.holds(ptl).is_none() {
        let name = k.table_name(at.table);
        k.violate(Invariant::Wlock, format!("{pte} is written into table {name} without its PTL"));
    }
    k.set_pte(at, pte);
    if now != seen {
        let (seen, now) = (Pte::decode(seen), Pte::decode(now));
        let invariant = if seen.is_none() { Invariant::Clobber } else { Invariant::Stale };
        k.violate(invariant, format!("{pte} replaces {now}, on the strength of {seen} that was read earlier"));
    }
}

/// The destination of UFFDIO_MOVE, `move_pages_pte()`: the entry must be none, and is filled
/// with `page`. `fail`: there is no table, or something has changed (-EAGAIN).
pub(crate) fn move_pages_pte(p: &mut Program, n: Nolock, page: u8, fail: Label) {
    p.function("move_pages_pte", |p| {
        let (again, busy, orig, out) = (p.label(), p.label(), p.local("orig_dst_pte", 0), p.label());
        let u = map(p, n, fail);
        unmap_first(p, n, u);
        let first = lock(p, n, u, busy);
        p.run("orig_dst_pte = ptep_get(dst_pte)", move |k| {
            let at = n.at(k, u.to);
            let pte = k.pte(at);
            k.set_local(orig, pte.encode());
        });
        unlock(p, n, u, first);
        p.branch("!pte_none(orig_dst_pte): -EEXIST", busy, move |k| k.local(orig) != 0);
        let second = lock(p, n, u, busy);
        recheck(p, n, u, orig, again);
        p.run("set_pte_at(mm, dst_addr, dst_pte, orig_dst_pte)", move |k| {
            k.reach(n.reach);
            let at = n.at(k, u.to);
            set_pte_seen(k, at, k.local(orig), Pte::present(page));
        });
        unlock(p, n, u, second);
        p.bind(busy);
        unmap(p, n, u);
        p.goto("return 0 or -EEXIST", out);
        p.bind(again);
        unlock(p, n, u, second);
        unmap(p, n, u);
        p.goto("return -EAGAIN", fail);
        p.bind(out);
    });
}

fn unmap(p: &mut Program, n: Nolock, u: Use) {
    if n.unmap_last {
        walk::pte_unmap(p, u.rcu);
    }
}

/// `handle_pte_fault()` for an entry that is not none: makes it `pte`.
pub(crate) fn handle_pte_fault(p: &mut Program, n: Nolock, pte: Pte) {
    change(p, "handle_pte_fault", n, pte);
}

/// An rmap walk that changes an entry: `map_pte()` of `page_vma_mapped_walk()` maps and locks.
pub(crate) fn map_pte(p: &mut Program, n: Nolock, pte: Pte) {
    change(p, "map_pte", n, pte);
}

fn change(p: &mut Program, function: &'static str, n: Nolock, pte: Pte) {
    p.function(function, |p| {
        let (out, none, fail, orig) = (p.label(), p.label(), p.label(), p.local("orig_pte", 0));
        let u = map(p, n, out);
        unmap_first(p, n, u);
        p.step("orig_pte = ptep_get_lockless(pte)", move |k| {
            let at = n.at(k, u.to);
            let pte = k.pte(at);
            k.set_local(orig, pte.encode());
            if pte.is_none() { Flow::Goto(none) } else { Flow::Next }
        });
        let ptl = lock(p, n, u, none);
        recheck(p, n, u, orig, fail);
        p.run("set_pte_at(mm, addr, pte, entry)", move |k| {
            k.reach(n.reach);
            let at = n.at(k, u.to);
            set_pte_seen(k, at, k.local(orig), pte);
        });
        p.bind(fail);
        unlock(p, n, u, ptl);
        p.bind(none);
        unmap(p, n, u);
        p.bind(out);
    });
}

/// `filemap_fault_recheck_pte_none()`: reads the entry for a hint. With `act`, fills an entry that was none, which its
/// contract forbids.
pub(crate) fn filemap_fault_recheck_pte_none(p: &mut Program, n: Nolock, act: bool) {
    p.function("filemap_fault_recheck_pte_none", |p| {
        let (out, done) = (p.label(), p.label());
        let u = map(p, n, out);
        unmap_first(p, n, u);
        p.branch("!pte_none(ptep_get_lockless(ptep))", done, move |k| {
            let at = n.at(k, u.to);
            !k.pte(at).is_none()
        });
        let ptl = lock(p, n, u, done);
        p.run("pte_none(ptep_get(ptep))", move |k| {
            let at = n.at(k, u.to);
            if !k.pte(at).is_none() {
                return;
            }
            k.reach(n.reach);
            // The reader concludes that there is a hole.
            if let Some(table) = Pmd::decode(k.read_entry(n.pmd)).map()
                && table != at.table.number()
                && k.read_entry(Slot { table: k.table(table), index: n.index }) != 0
            {
                k.note(|| "the reader takes it for a hole, and a page is mapped there".to_owned());
                k.reach(n.reach + 1);
            }
        });
        if act {
            p.run("set_pte_at(mm, addr, ptep, entry)", move |k| {
                let at = n.at(k, u.to);
                k.set_pte(at, Pte::present(1));
            });
        }
        unlock(p, n, u, ptl);
        p.bind(done);
        unmap(p, n, u);
        p.bind(out);
    });
}
