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
        question: "M reads the old PMD entry and then takes the locks to move the table. K, which no longer takes the \
                   mmap_lock, removes the table in between. What must M check again, and which locks must it hold?",
        source: "mm/mremap.c:move_normal_pmd; \"mm/mremap: fix move_normal_pmd/retract_page_tables race\", October 2024",
        sometimes: &["the table is removed", "it is moved"],
        variants: &[
            Variant {
                id: "no-recheck",
                status: "6.6 to 6.11",
                expect: Breaks(Invariant::BadPmd),
                why: "M reads the PMD entry before it takes the rmap locks and does not check it again, so it moves an \
                      empty PMD entry",
                never: &[],
                live: NO_RULE,
                build: |s| move_pmd(s, Retract::V6_6, MovePmd { rmap_locks: true, recheck: false }),
            },
            Variant {
                id: "merged",
                status: "6.12",
                expect: Safe,
                why: "M reads the PMD entry again under PML. M also holds i_mmap for write, so K is not in the middle \
                      of the VMA",
                never: &[],
                live: Live::Quiet,
                build: |s| move_pmd(s, Retract::V6_6, MovePmd { rmap_locks: true, recheck: true }),
            },
            Variant {
                id: "merged r.7.2",
                status: "7.2",
                expect: Safe,
                why: "as for merged",
                never: &[],
                live: Live::Quiet,
                build: |s| move_pmd(s, Retract::V7_2, MovePmd { rmap_locks: true, recheck: true }),
            },
            Variant {
                id: "no-rmap r.6.6",
                status: "negative test",
                expect: Breaks(Invariant::BadPmd),
                why: "K finds the table, M moves it away, and K looks up the lock of a table through an empty PMD \
                      entry",
                never: &[],
                live: NO_RULE,
                build: |s| move_pmd(s, Retract::V6_6, MovePmd { rmap_locks: false, recheck: true }),
            },
            Variant {
                id: "no-rmap r.7.2",
                status: "negative test of the rule of 6.12",
                expect: Safe,
                why: "in 7.2, K checks under PML that the PMD entry still points to a table. Both threads check, so no \
                      rmap lock is needed",
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
        question: "move_ptes() maps the new table and does not check the PMD entry again once it has the lock. A \
                   comment says that retract does not find the new table, because it is empty. But the new VMA is \
                   already in the rmap tree. Does M write an entry into a table that is gone?",
        source: "mm/mremap.c:move_ptes, the comment on pte_offset_map_rw_nolock (7.2)",
        sometimes: SOMETIMES,
        variants: &[
            Variant {
                id: "none",
                status: "6.13 to 7.2",
                expect: Safe,
                why: "K removes tables only while no page of the range is mapped. Without a marker there is nothing to \
                      move, so M writes nothing into the table that is gone",
                never: &[3],
                live: Live::Quiet,
                build: |s| move_entries(s, Retract::V7_2, MERGED, None, 0),
            },
            Variant {
                id: "wp",
                status: "6.13 to 7.2",
                expect: Safe,
                why: "mremap drops uffd-wp markers and does not move them, unless the VMA stays registered. K leaves a \
                      registered VMA alone",
                never: &[3],
                live: Live::Quiet,
                build: |s| move_entries(s, Retract::V7_2, MERGED, Some(Marker::UFFD_WP), UFFD_WP),
            },
            Variant {
                id: "guard r.6.6",
                status: "6.15 to 6.18",
                expect: Breaks(Invariant::Marker),
                why: "retract does not check for guards, in the old VMA or in the new one (SC-4.5)",
                never: &[],
                live: L25,
                build: |s| move_entries(s, Retract::V6_6, MERGED, Some(Marker::GUARD), 0),
            },
            Variant {
                id: "guard",
                status: "7.2",
                expect: Safe,
                why: "mremap copies VM_MAYBE_GUARD to the new VMA before that VMA is in the rmap tree, so K leaves it \
                      alone",
                never: &[0, 3],
                live: Live::Quiet,
                build: |s| move_entries(s, Retract::V7_2, MERGED, Some(Marker::GUARD), MAYBE_GUARD),
            },
            Variant {
                id: "poison",
                status: "7.2",
                expect: Breaks(Invariant::Marker),
                why: "retract does not check for poison (SC-4.4)",
                never: &[],
                live: L25,
                build: |s| move_entries(s, Retract::V7_2, MERGED, Some(Marker::POISONED), UFFD_MINOR),
            },
            Variant {
                id: "fix.scan poison",
                status: "a change that no kernel has: not enough here",
                expect: Breaks(Invariant::Lost),
                why: "the new table is empty when K scans it. M has mapped the table and moves the marker into it once \
                      it is gone",
                never: &[],
                live: NO_RULE,
                build: |s| move_entries(s, SCAN, MERGED, Some(Marker::POISONED), UFFD_MINOR),
            },
            Variant {
                id: "fix.scan+pmd-same poison",
                status: "a change that no kernel has",
                expect: Safe,
                why: "M checks the new PMD entry again under the new PTL, and begins again if it has changed",
                never: &[],
                live: Live::Quiet,
                build: |s| move_entries(s, SCAN, PMD_SAME, Some(Marker::POISONED), UFFD_MINOR),
            },
            Variant {
                id: "fix.scan+rmap poison",
                status: "a change that no kernel has",
                expect: Safe,
                why: "M takes the rmap locks for entries too, as it does for whole tables. K therefore cannot be \
                      between its check of the new PMD entry and the removal",
                never: &[],
                live: Live::Quiet,
                build: |s| move_entries(s, SCAN, RMAP, Some(Marker::POISONED), UFFD_MINOR),
            },
        ],
    },
];
