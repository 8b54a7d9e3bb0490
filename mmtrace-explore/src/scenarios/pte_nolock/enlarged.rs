//! SC-1.1 `m.rw+pte+pmd` with more threads, entries and tables, to measure the search.

use crate::protocol::{
    Program, Slot, Table, Tid, World,
    anon_fault::pte_alloc,
    nolock::{Api, Nolock, Recheck, move_pages_pte},
    pt_reclaim::{PmlUnderPtl, Zap, zap_pte_range},
    rcu::grace_periods,
    unmap::TableFree,
};
use mmtrace_model::model::{
    locks::exclusion::Rank,
    page_tables::{entry::Pmd, lifecycle::TableState},
};

/// Names of the writers.
const WRITERS: [&str; 4] = ["T1", "T2", "T3", "T4"];
/// Names of the tables.
const TABLES: [&str; 4] = ["A", "B", "C", "E"];

/// One PMD entry and a pool of PTE tables. Every thread is right, as in 7.2, so the search has to visit every state.
///
/// - `writers` threads (1 to 4) move a page each to entry *i* modulo `slots` through
///   `pte_offset_map_rw_nolock()`, with `pte_same()` and `pmd_same()`; when there is no table
///   they allocate one, and when it has changed under them they begin again.
/// - One thread zaps the range and reclaims its table, `tables` times (1 to 4).
/// - `tables` tables of `slots` entries (1 to 4); the first is linked in the beginning. One
///   that is freed can be allocated again once its grace period is over; a writer that finds
///   none to allocate gives up.
/// - The grace-period engine.
///
/// States and transitions, breadth-first or depth-first without reduction:
///
/// | writers | slots | tables | states | transitions |
/// |---|---|---|---|---|
/// | 1 | 1 | 1 | 455 | 798 |
/// | 1 | 1 | 2 | 4 856 | 9 980 |
/// | 2 | 1 | 1 | 8 854 | 22 464 |
/// | 3 | 3 | 1 | 120 820 | 392 892 |
/// | 3 | 2 | 1 | 145 016 | 476 394 |
/// | 3 | 1 | 1 | 197 365 | 661 085 |
/// | 2 | 2 | 2 | 210 298 | 600 488 |
/// | 2 | 1 | 2 | 224 071 | 641 814 |
/// | 4 | 4 | 1 | 2 019 003 | 8 029 757 |
/// | 2 | 2 | 3 | 3 511 895 | 11 177 734 |
/// | 2 | 1 | 3 | 3 628 611 | 11 560 407 |
/// | 3 | 1 | 2 | 10 100 088 | 37 014 949 |
///
/// More slots than writers add nothing. With fewer slots, writers meet at an entry.
///
/// # Panics
///
/// A number is out of range.
#[must_use]
pub(crate) fn enlarged(writers: usize, slots: u8, tables: u8) -> World {
    assert!((1..=WRITERS.len()).contains(&writers), "1 to 4 writers");
    assert!((1..=4).contains(&slots) && (1..=4).contains(&tables), "1 to 4 slots, 1 to 4 tables");
    let mut w = World::default();
    let pml = w.lock("PML", Some(Rank::PageTableLock));
    let d = w.table_with("D", 1, TableState::Linked, pml);
    let pmd = Slot { table: d, index: 0 };
    let pool: Vec<Table> = TABLES
        .iter()
        .take(usize::from(tables))
        .enumerate()
        .map(|(i, name)| w.table(name, slots, if i == 0 { TableState::Linked } else { TableState::Free }))
        .collect();
    w.entry(pmd, Pmd::Table(pool[0].number()).encode());
    for (i, name) in WRITERS.iter().take(writers).enumerate() {
        let mut p = Program::new();
        let (again, out) = (p.mark(), p.label());
        let pool = pool.clone();
        let allocate = move |k: &mut crate::protocol::Kernel<'_>| {
            pool.iter().copied().find(|t| matches!(k.table_state(*t), TableState::Free | TableState::Freed))
        };
        p.function("move_pages", |p| pte_alloc(p, pmd, pml, allocate, out));
        let n = Nolock { index: i as Tid % slots, ..Nolock::new(Api::Rw, pmd, Recheck::Both) };
        move_pages_pte(&mut p, n, 1, again);
        p.bind(out);
        w.thread(name, p);
    }
    let mut p = Program::new();
    for _ in 0..tables {
        let z = Zap { pmd, pml, reclaim: Some(PmlUnderPtl::Trylock), free: TableFree::Rcu, at_once: 1, later: 2 };
        zap_pte_range(&mut p, z);
    }
    w.thread("R", p);
    grace_periods(&mut w);
    w
}

#[cfg(test)]
mod tests {
    use super::enlarged;
    use crate::search::{Limits, Order, search};

    #[test]
    fn it_is_as_large_as_documented_and_nothing_breaks() {
        for (writers, slots, tables, states) in [(1, 1, 1, 455), (1, 1, 2, 4856), (2, 1, 1, 8854)] {
            let world = enlarged(writers, slots, tables);
            for order in [Order::Breadth, Order::Depth, Order::Reduced] {
                let mut limits = Limits::default();
                let found = search(&world, order, &mut limits).expect("it fits");
                assert!(found.broken.is_none(), "{writers} {slots} {tables}: {:?}", found.broken);
                if order == Order::Reduced {
                    assert!(found.states <= states, "{writers} {slots} {tables}: {}", found.states);
                } else {
                    assert_eq!(found.states, states, "{writers} {slots} {tables}");
                }
            }
        }
    }
}
