//! Seed 1: `pte_offset_map_{ro,rw}_nolock()`: walking PTE tables that RCU may be freeing.

use crate::{
    explore::scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
    model::{
        entry::{Pmd, Pte},
        exclusion::{Mode, Rank},
        invariant::Invariant,
        table::{TableState, Unlinker},
    },
    protocol::{
        Flow, Lock, Program, Slot, Table, World,
        walk::{self, Mapped},
    },
};

/// A PMD that points to table A; B is there to be allocated.
struct Tables {
    pmd: Slot,
    pml: Lock,
    a: Table,
}

fn tables(w: &mut World) -> Tables {
    let pml = w.lock("PML", Some(Rank::PageTableLock));
    let d = w.table_with("D", 1, TableState::Linked, pml);
    let a = w.table("A", 1, TableState::Linked);
    let pmd = Slot { table: d, index: 0 };
    w.entry(pmd, Pmd::Table(a.number()).encode());
    Tables { pmd, pml, a }
}

/// What a `pte_offset_map_rw_nolock()` caller looks at again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recheck {
    None,
    PteSame,
    PmdSame,
}

/// Fills the entry at `pmd` through `pte_offset_map_rw_nolock()`.
fn fill_rw(p: &mut Program, t: &Tables, recheck: Recheck) {
    let pmd = t.pmd;
    p.function("pte_offset_map_rw_nolock", |p| {
        let (out, to, orig) = (p.label(), Mapped::new(p), p.local("orig_pte", 0));
        let rcu = walk::pte_offset_map(p, pmd, to, out);
        let at = move |k: &crate::protocol::Kernel<'_>| Slot { table: k.table(k.local(to.table)), index: 0 };
        p.run("orig_pte = ptep_get_lockless(pte)", move |k| {
            let pte = k.pte(at(k));
            k.set_local(orig, pte.encode());
        });
        let ptl = walk::lock_ptl(p, to);
        let fail = p.label();
        match recheck {
            Recheck::None => {}
            Recheck::PteSame => {
                p.recheck("pte_same(ptep_get(pte), orig_pte)", fail, move |k| k.pte(at(k)).encode() == k.local(orig));
            }
            Recheck::PmdSame => walk::pmd_same(p, pmd, to, fail),
        }
        p.run("set_pte_at(pte)", move |k| {
            k.reach(0);
            k.set_pte(at(k), Pte::present(1));
        });
        p.bind(fail);
        walk::unlock_ptl(p, to, ptl);
        walk::pte_unmap(p, rcu);
        p.bind(out);
    });
}

/// Removes the table if it is empty, with PML and PTL, as retract does.
fn remove(p: &mut Program, t: &Tables) {
    let (pmd, pml, a) = (t.pmd, t.pml, t.a);
    p.function("retract_page_tables", |p| {
        let g = p.lock("pml = pmd_lock(mm, pmd)", move |k| k.lock(pml, Mode::Write));
        let h = p.lock("spin_lock_nested(ptl)", move |k| k.lock(k.ptl(a), Mode::Write));
        p.step("pmdp_collapse_flush(vma, addr, pmd)", move |k| {
            if k.all_none(a) {
                let unlinker = Unlinker {
                    pml: k.holds(pml).is_some(),
                    ptl: k.holds(k.ptl(a)).is_some(),
                    mmap_write: false,
                    vma_write: false,
                    rmap_write: false,
                    torn_down: false,
                };
                k.unlink(pmd, unlinker);
                k.reach(1);
            }
            Flow::Next
        });
        p.release(h, "spin_unlock(ptl)", move |k| k.unlock(k.ptl(a)));
        p.release(g, "spin_unlock(pml)", move |k| k.unlock(pml));
        p.run("pte_free_defer(mm, pgtable)", move |k| {
            if k.table_state(a) == TableState::Unlinked {
                k.free_rcu(a);
            }
        });
    });
}

fn sc_1_1(s: &Setup<'_>, recheck: Recheck) -> World {
    let mut w = World::new();
    let t = tables(&mut w);
    let mut p = s.program();
    fill_rw(&mut p, &t, recheck);
    w.thread("T", p);
    let mut p = s.program();
    remove(&mut p, &t);
    w.thread("R", p);
    crate::protocol::rcu::grace_periods(&mut w);
    w
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    id: "SC-1.1",
    seed: Some(1),
    title: "filling a none entry while its empty table is removed",
    question: "T fills an entry that is none through pte_offset_map_rw_nolock(); R removes the empty table under PML \
               and PTL. What must T look at again once it holds the PTL?",
    source: "seed 1, the patch's comment on pte_offset_map_rw_nolock(); Documentation/mm/split_page_table_lock.rst",
    sometimes: &["the entry is filled", "the table is removed"],
    variants: &[
        Variant {
            id: "m.rw+none",
            status: "negative test",
            expect: Breaks(Invariant::Lost),
            why: "nothing is looked at again: the entry goes into a table that is no longer linked",
            never: &[],
            live: Live::Unseen("tracepoints do not show page tables"),
            build: |s| sc_1_1(s, Recheck::None),
        },
        Variant {
            id: "m.rw+pte",
            status: "documented for entries that are not none",
            expect: Breaks(Invariant::Lost),
            why: "a dead table is all none: none equals none, and pte_same() passes",
            never: &[],
            live: Live::Unseen("tracepoints do not show page tables"),
            build: |s| sc_1_1(s, Recheck::PteSame),
        },
        Variant {
            id: "m.rw+pmd",
            status: "merged after 6.12",
            expect: Safe,
            why: "the remover holds the PTL while it clears the PMD, so pmd_same() under the PTL is final",
            never: &[],
            live: Live::Quiet,
            build: |s| sc_1_1(s, Recheck::PmdSame),
        },
    ],
}];
