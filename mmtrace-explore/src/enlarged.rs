//! Scenarios with more threads, by which the explorer's speed is measured. A scenario that asks a question takes a few
//! milliseconds.

use super::scenarios::{pte_nolock, retract, vma_lock};
use crate::protocol::World;

/// A scenario with more threads.
#[derive(Clone, Copy)]
pub struct Enlarged {
    /// Its name, for `mmtrace explore --enlarged`.
    pub name: &'static str,
    /// The scenario and variant that it enlarges, its threads, and the number of its states.
    pub what: &'static str,
    /// Makes the objects and the threads.
    pub build: fn() -> World,
}

/// The enlarged scenarios.
pub const ALL: &[Enlarged] = &[
    Enlarged {
        name: "fill-3-3-1",
        what: "SC-1.1 m.rw+pmd: 3 threads fill, 3 slots, 1 table; 120,820 states",
        build: || pte_nolock::enlarged(3, 3, 1),
    },
    Enlarged {
        name: "fill-4-4-1",
        what: "SC-1.1 m.rw+pmd: 4 threads fill, 4 slots, 1 table; 2,019,003 states",
        build: || pte_nolock::enlarged(4, 4, 1),
    },
    Enlarged {
        name: "vma-lock-3-3",
        what: "SC-X.1 v.7.2: 3 readers, 3 writers; 228,341 states",
        build: || vma_lock::enlarged(3, 3),
    },
    Enlarged {
        name: "vma-lock-4-2",
        what: "SC-X.1 v.7.2: 4 readers, 2 writers; 1,178,130 states",
        build: || vma_lock::enlarged(4, 2),
    },
    Enlarged {
        name: "vma-lock-5-1",
        what: "SC-X.1 v.7.2: 5 readers, 1 writer; 4,736,991 states",
        build: || vma_lock::enlarged(5, 1),
    },
    Enlarged {
        name: "retract-3",
        what: "SC-4.1 r.6.6: one VMA with 3 threads that set markers; 649,655 states",
        build: || retract::enlarged(2, &[3]),
    },
    Enlarged {
        name: "retract-2-1",
        what: "SC-4.1 r.6.6: two VMAs, with 2 and 1 threads; 3,556,202 states",
        build: || retract::enlarged(2, &[2, 1]),
    },
];

/// Returns the one with this name, in any case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Enlarged> {
    ALL.iter().find(|e| e.name.eq_ignore_ascii_case(name))
}
