//! Collapse of a range that maps a huge folio by PTEs, against markers.

use super::{
    L25, SOMETIMES,
    initial_states::{Installer, collapse_against},
};
use crate::{
    mailing_list::RETRACT,
    protocol::{
        file::{MAYBE_GUARD, UFFD_ARMED},
        guard::Mark,
        khugepaged::{CollapsePte, Last, PmlFirst, Tests},
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Variant,
    },
};
use mmtrace_model::model::invariant::Invariant;

const CANDIDATE: &str = "a change that no kernel has";
const SMALLER: &str = "smaller than fix.pml-first: not enough";

const PML_FIRST: CollapsePte = CollapsePte { pml_first: PmlFirst::Always, ..CollapsePte::V7_2 };
const UFFD: CollapsePte = CollapsePte { pml_first: PmlFirst::Uffd, ..CollapsePte::V7_2 };
const RESCAN: CollapsePte = CollapsePte { last: Last::Scan, ..CollapsePte::V7_2 };
const TRYLOCK: CollapsePte = CollapsePte { trylock: true, ..CollapsePte::V7_2 };
const GUARD: CollapsePte =
    CollapsePte { last: Last::Tests(Tests { anon_vma: false, vm_flags: MAYBE_GUARD }), ..CollapsePte::V7_2 };
const ARMED: CollapsePte =
    CollapsePte { last: Last::Tests(Tests { anon_vma: false, vm_flags: UFFD_ARMED }), ..CollapsePte::V7_2 };

const fn breaks(id: &'static str, status: &'static str, why: &'static str, build: Build) -> Variant {
    Variant { id, status, expect: Breaks(Invariant::Marker), why, never: &[], live: L25, build }
}

const fn safe(
    id: &'static str,
    status: &'static str,
    why: &'static str,
    never: &'static [u8],
    build: Build,
) -> Variant {
    Variant { id, status, expect: Safe, why, never, live: Live::Quiet, build }
}

type Build = fn(&crate::scenario::Setup<'_>) -> crate::protocol::World;

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    id: "SC-4.9",
    thread: Some(RETRACT),
    title: "collapse of a PTE-mapped huge page while a marker is installed",
    question: "C empties the table under the PTL, drops it, takes PML and PTL and removes the table. U puts a guard or \
               a poison marker into it in between, under mmap_lock for read or the VMA lock, as C. Is the marker \
               lost, and what is the least that keeps it?",
    source: "mm/khugepaged.c:collapse_pte_mapped_thp (6.12), try_collapse_pte_mapped_thp (7.2); observed on 6.12, 6.18 \
             and 7.2",
    sometimes: SOMETIMES,
    variants: &[
        breaks(
            "r.6.6 guard",
            "6.15 to 6.18: guards in file mappings",
            "the PTL is dropped between the second scan and the removal",
            |s| collapse_against(s, CollapsePte::V6_12, Installer::Guard(Mark::Never), true),
        ),
        breaks(
            "r.7.2 guard",
            "7.2",
            "the PTL is dropped between the second scan and the removal; then only the PMD is compared, and \
             VM_MAYBE_GUARD is not tested",
            |s| collapse_against(s, CollapsePte::V7_2, Installer::Guard(Mark::Before), true),
        ),
        breaks("r.7.2 guard private", "7.2", "as in a shared mapping: PML comes first only with a userfaultfd", |s| {
            collapse_against(s, CollapsePte::V7_2, Installer::Guard(Mark::Before), false)
        }),
        breaks("r.6.6 poison", "6.6 to 6.12", "the same window", |s| {
            collapse_against(s, CollapsePte::V6_12, Installer::Poison, true)
        }),
        breaks("r.7.2 poison", "7.2", "the same window", |s| {
            collapse_against(s, CollapsePte::V7_2, Installer::Poison, true)
        }),
        safe(
            "r.7.2 poison private",
            "7.2",
            "for private mappings with a userfaultfd PML is taken first, and the PTL is kept",
            &[],
            |s| collapse_against(s, CollapsePte::V7_2, Installer::Poison, false),
        ),
        safe("r.6.6 copy", "6.6 to 6.12", "the case that PML is taken first for: UFFDIO_COPY, private", &[], |s| {
            collapse_against(s, CollapsePte::V6_12, Installer::Copy, false)
        }),
        safe("r.7.2 copy", "7.2", "as r.6.6 copy", &[], |s| {
            collapse_against(s, CollapsePte::V7_2, Installer::Copy, false)
        }),
        safe(
            "r.7.2 wp",
            "7.2",
            "registering needs the mmap_lock for write; with it held for read the test at the start is final",
            &[3],
            |s| collapse_against(s, CollapsePte::V7_2, Installer::RegisterWp, true),
        ),
        safe(
            "fix.pml-first guard",
            CANDIDATE,
            "PML before the second scan for every VMA, as it is for private ones with a userfaultfd: the condition \
             goes, and nothing is added; the PTL is not dropped between the scan and the removal. The smallest change \
             that is safe for every marker; it costs a longer hold of PML",
            &[],
            |s| collapse_against(s, PML_FIRST, Installer::Guard(Mark::Before), true),
        ),
        safe("fix.pml-first poison", CANDIDATE, "as for guards", &[], |s| {
            collapse_against(s, PML_FIRST, Installer::Poison, true)
        }),
        safe(
            "fix.rescan guard",
            CANDIDATE,
            "the table is looked into once more under both locks, beside pmd_same(): as safe, one scan more, and PML \
             is held as short as now",
            &[],
            |s| collapse_against(s, RESCAN, Installer::Guard(Mark::Before), true),
        ),
        safe("fix.rescan poison", CANDIDATE, "as for guards", &[], |s| {
            collapse_against(s, RESCAN, Installer::Poison, true)
        }),
        safe(
            "fix.trylock",
            CANDIDATE,
            "PML is tried with the PTL held, which PT reclaim does as well: as safe; the collapse fails when PML is \
             busy, after it has emptied the table",
            &[],
            |s| collapse_against(s, TRYLOCK, Installer::Poison, true),
        ),
        safe(
            "fix.guard guard",
            CANDIDATE,
            "VM_MAYBE_GUARD is tested under both locks: enough for guards, see the next one",
            &[],
            |s| collapse_against(s, GUARD, Installer::Guard(Mark::Before), true),
        ),
        breaks("fix.guard poison", SMALLER, "poison sets no flag", |s| {
            collapse_against(s, GUARD, Installer::Poison, true)
        }),
        safe(
            "fix.uffd poison",
            CANDIDATE,
            "PML first for shared mappings with a userfaultfd too: enough for poison, since registering and \
             unregistering need the mmap_lock for write; see the next one",
            &[],
            |s| collapse_against(s, UFFD, Installer::Poison, true),
        ),
        breaks("fix.uffd guard", SMALLER, "guards need no userfaultfd", |s| {
            collapse_against(s, UFFD, Installer::Guard(Mark::Before), true)
        }),
        safe(
            "fix.armed poison",
            CANDIDATE,
            "userfaultfd_armed() under both locks: keeps poison, but no table of such a VMA is ever removed",
            &[0, 2],
            |s| collapse_against(s, ARMED, Installer::Poison, true),
        ),
        breaks("fix.armed guard", SMALLER, "guards need no userfaultfd", |s| {
            collapse_against(s, ARMED, Installer::Guard(Mark::Before), true)
        }),
    ],
}];
