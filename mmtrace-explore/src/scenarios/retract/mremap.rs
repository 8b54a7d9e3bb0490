//! mremap against retract: the table moves, or its entries do.

use super::{
    L25, NO_RULE, SOMETIMES,
    initial_states::{Base, place},
    markers::SCAN,
};
use crate::{
    mailing_list::RETRACT,
    protocol::{
        World,
        file::{MAYBE_GUARD, UFFD_MINOR, UFFD_WP},
        khugepaged::Retract,
        mremap::{Move, MovePmd, MovePtes, move_normal_pmd, move_ptes},
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::{
    invariant::Invariant,
    page_tables::entry::{Marker, Pte},
};

fn move_pmd(s: &Setup<'_>, rules: Retract, how: MovePmd) -> World {
    let mut b = Base::new(2);
    let old = b.area("old", Some("A"), 1, true);
    let new = b.unborn("new", 1);
    b.khugepaged(s, rules, &[old, new]);
    let mut p = s.program();
    move_normal_pmd(&mut p, Move { old, new }, how);
    b.w.thread("M", p);
    b.done()
}

const MERGED: MovePtes = MovePtes { rmap_locks: false, pmd_same: false };
const RMAP: MovePtes = MovePtes { rmap_locks: true, pmd_same: false };
const PMD_SAME: MovePtes = MovePtes { rmap_locks: false, pmd_same: true };

/// `old` has this marker and these flags at first.
fn move_entries(s: &Setup<'_>, rules: Retract, how: MovePtes, marker: Option<Marker>, flags: u8) -> World {
    let mut b = Base::new(2);
    let old = b.area("old", Some("A"), 1, true);
    let a = b.first_table();
    let new = b.unborn("new", 1);
    b.w.set(old.vm_flags, flags);
    // Once the VMA moves, user space may no longer expect uffd-wp.
    let expected = marker.filter(|m| *m != Marker::UFFD_WP).map(|m| {
        let expected = b.w.expected_marker(m, &[place(old, 0), place(new, 0)]);
        b.w.expected_from_start(expected, 0);
        expected
    });
    if let Some(marker) = marker {
        b.fill(a, 0, Pte::Marker(marker).encode());
    }
    let fresh = b.fresh(&["B", "E"], 1);
    b.khugepaged(s, rules, &[old, new]);
    let mut p = s.program();
    move_ptes(&mut p, Move { old, new }, fresh, how, expected);
    b.w.thread("M", p);
    b.done()
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "SC-4.6",
        thread: Some(RETRACT),
        title: "mremap moves the table that retract removes",
        question: "M reads the old PMD and then takes the locks to move the table; K, which no longer takes the mmap_lock, \
               removes it in between. What must M look at again, and what must it hold?",
        source: "mm/mremap.c:move_normal_pmd; \"mm/mremap: fix move_normal_pmd/retract_page_tables race\", October 2024",
        sometimes: &["the table is removed", "it is moved"],
        variants: &[
            Variant {
                id: "no-recheck",
                status: "6.6 to 6.11",
                expect: Breaks(Invariant::BadPmd),
                why: "M has read the PMD before the rmap locks and does not look again: it moves a PMD that is empty",
                never: &[],
                live: NO_RULE,
                build: |s| move_pmd(s, Retract::V6_6, MovePmd { rmap_locks: true, recheck: false }),
            },
            Variant {
                id: "merged",
                status: "6.12",
                expect: Safe,
                why: "the PMD is read again under PML; with i_mmap held for write K is not in the middle of the VMA",
                never: &[],
                live: Live::Quiet,
                build: |s| move_pmd(s, Retract::V6_6, MovePmd { rmap_locks: true, recheck: true }),
            },
            Variant {
                id: "merged r.7.2",
                status: "7.2",
                expect: Safe,
                why: "as 6.12",
                never: &[],
                live: Live::Quiet,
                build: |s| move_pmd(s, Retract::V7_2, MovePmd { rmap_locks: true, recheck: true }),
            },
            Variant {
                id: "no-rmap r.6.6",
                status: "negative test",
                expect: Breaks(Invariant::BadPmd),
                why: "K has found the table, M moves it away, and K looks up the lock of a table through an empty PMD",
                never: &[],
                live: NO_RULE,
                build: |s| move_pmd(s, Retract::V6_6, MovePmd { rmap_locks: false, recheck: true }),
            },
            Variant {
                id: "no-rmap r.7.2",
                status: "negative test of 6.12's rule",
                expect: Safe,
                why: "7.2 looks again whether the PMD points to a table once it has PML: both sides do, and no rmap lock \
                  is needed",
                never: &[],
                live: Live::Quiet,
                build: |s| move_pmd(s, Retract::V7_2, MovePmd { rmap_locks: false, recheck: true }),
            },
        ],
    },
    Scenario {
        id: "SC-X.4",
        thread: Some(RETRACT),
        title: "mremap moves entries into a table that retract removes",
        question: "move_ptes() maps the new table without looking at the PMD again once it has its lock: retract is said \
               not to find it, because it is empty. But the new VMA is in the rmap tree already. Is anything written \
               into a table that is gone?",
        source: "mm/mremap.c:move_ptes, the comment on pte_offset_map_rw_nolock (7.2)",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "none",
                status: "6.13 to 7.2",
                expect: Safe,
                why: "K removes tables only while no page of the range is mapped: with no marker there is nothing to move, \
                  and nothing is written into the table that is gone",
                never: &[3],
                live: Live::Quiet,
                build: |s| move_entries(s, Retract::V7_2, MERGED, None, 0),
            },
            Variant {
                id: "wp",
                status: "6.13 to 7.2",
                expect: Safe,
                why: "uffd-wp markers are dropped, not moved, unless the VMA stays registered; then K leaves it alone",
                never: &[3],
                live: Live::Quiet,
                build: |s| move_entries(s, Retract::V7_2, MERGED, Some(Marker::UFFD_WP), UFFD_WP),
            },
            Variant {
                id: "guard r.6.6",
                status: "6.15 to 6.18",
                expect: Breaks(Invariant::Marker),
                why: "retract does not know of guards, in the old VMA or in the new one (SC-4.5)",
                never: &[],
                live: L25,
                build: |s| move_entries(s, Retract::V6_6, MERGED, Some(Marker::GUARD), 0),
            },
            Variant {
                id: "guard",
                status: "7.2",
                expect: Safe,
                why: "VM_MAYBE_GUARD is copied to the new VMA before it is in the rmap tree: K leaves it alone",
                never: &[0, 3],
                live: Live::Quiet,
                build: |s| move_entries(s, Retract::V7_2, MERGED, Some(Marker::GUARD), MAYBE_GUARD),
            },
            Variant {
                id: "poison",
                status: "7.2",
                expect: Breaks(Invariant::Marker),
                why: "retract does not know of poison (SC-4.4)",
                never: &[],
                live: L25,
                build: |s| move_entries(s, Retract::V7_2, MERGED, Some(Marker::POISONED), UFFD_MINOR),
            },
            Variant {
                id: "fix.scan poison",
                status: "a change that no kernel has: not enough here",
                expect: Breaks(Invariant::Lost),
                why: "even if retract looks into the table: the new one is empty when K looks, and M, which has mapped it, \
                  moves the marker into it once it is gone",
                never: &[],
                live: NO_RULE,
                build: |s| move_entries(s, SCAN, MERGED, Some(Marker::POISONED), UFFD_MINOR),
            },
            Variant {
                id: "fix.scan+pmd-same poison",
                status: "a change that no kernel has",
                expect: Safe,
                why: "M looks at the new PMD again under the new PTL, and begins again if it has changed",
                never: &[],
                live: Live::Quiet,
                build: |s| move_entries(s, SCAN, PMD_SAME, Some(Marker::POISONED), UFFD_MINOR),
            },
            Variant {
                id: "fix.scan+rmap poison",
                status: "a change that no kernel has",
                expect: Safe,
                why: "M takes the rmap locks for entries too, as it does for whole tables: K cannot be between its look \
                  at the new PMD and the removal",
                never: &[],
                live: Live::Quiet,
                build: |s| move_entries(s, SCAN, RMAP, Some(Marker::POISONED), UFFD_MINOR),
            },
        ],
    },
];
