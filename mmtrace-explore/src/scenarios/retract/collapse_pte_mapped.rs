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
    question: "C empties the table under the PTL, drops the PTL, takes PML and PTL and removes the table. In between, \
               U puts a guard or a poison marker into the table, under the mmap_lock for read or the VMA lock, as C. \
               Is the marker lost, and which is the smallest change that keeps it?",
    source: "mm/khugepaged.c:collapse_pte_mapped_thp (6.12), try_collapse_pte_mapped_thp (7.2); observed on 6.12, 6.18 \
             and 7.2",
    sometimes: SOMETIMES,
    variants: &[
        breaks(
            "r.6.6 guard",
            "6.15 to 6.18: guards in file mappings",
            "C drops the PTL between the second scan and the removal",
            |s| collapse_against(s, CollapsePte::V6_12, Installer::Guard(Mark::Never), true),
        ),
        breaks(
            "r.7.2 guard",
            "7.2",
            "C drops the PTL between the second scan and the removal. Before the removal it compares only the PMD \
             entry and does not test VM_MAYBE_GUARD",
            |s| collapse_against(s, CollapsePte::V7_2, Installer::Guard(Mark::Before), true),
        ),
        breaks(
            "r.7.2 guard private",
            "7.2",
            "as in a shared mapping, because C takes PML first only with a userfaultfd",
            |s| collapse_against(s, CollapsePte::V7_2, Installer::Guard(Mark::Before), false),
        ),
        breaks("r.6.6 poison", "6.6 to 6.12", "the window is that of r.6.6 guard", |s| {
            collapse_against(s, CollapsePte::V6_12, Installer::Poison, true)
        }),
        breaks("r.7.2 poison", "7.2", "the window is that of r.7.2 guard", |s| {
            collapse_against(s, CollapsePte::V7_2, Installer::Poison, true)
        }),
        safe(
            "r.7.2 poison private",
            "7.2",
            "in private mappings with a userfaultfd, C takes PML first and keeps the PTL",
            &[],
            |s| collapse_against(s, CollapsePte::V7_2, Installer::Poison, false),
        ),
        safe(
            "r.6.6 copy",
            "6.6 to 6.12",
            "C takes PML first for this case: UFFDIO_COPY into a private mapping",
            &[],
            |s| collapse_against(s, CollapsePte::V6_12, Installer::Copy, false),
        ),
        safe("r.7.2 copy", "7.2", "as for r.6.6 copy", &[], |s| {
            collapse_against(s, CollapsePte::V7_2, Installer::Copy, false)
        }),
        safe(
            "r.7.2 wp",
            "7.2",
            "a registration needs the mmap_lock for write. C holds it for read, so its test at the start is final",
            &[3],
            |s| collapse_against(s, CollapsePte::V7_2, Installer::RegisterWp, true),
        ),
        safe(
            "fix.pml-first guard",
            CANDIDATE,
            "C takes PML before the second scan for every VMA, as it does for private ones with a userfaultfd. The \
             change drops the condition and adds nothing: C does not drop the PTL between the scan and the removal. It \
             is the smallest change that is safe for every marker, and it costs a longer hold of PML",
            &[],
            |s| collapse_against(s, PML_FIRST, Installer::Guard(Mark::Before), true),
        ),
        safe("fix.pml-first poison", CANDIDATE, "as for fix.pml-first guard", &[], |s| {
            collapse_against(s, PML_FIRST, Installer::Poison, true)
        }),
        safe(
            "fix.rescan guard",
            CANDIDATE,
            "C scans the table once more under both locks, beside pmd_same(). This is as safe as fix.pml-first. It \
             costs one scan more, and C holds PML no longer than now",
            &[],
            |s| collapse_against(s, RESCAN, Installer::Guard(Mark::Before), true),
        ),
        safe("fix.rescan poison", CANDIDATE, "as for fix.rescan guard", &[], |s| {
            collapse_against(s, RESCAN, Installer::Poison, true)
        }),
        safe(
            "fix.trylock",
            CANDIDATE,
            "C tries PML while it holds the PTL, as PT reclaim does. This is as safe as fix.pml-first. The collapse \
             fails when PML is busy, after it has emptied the table",
            &[],
            |s| collapse_against(s, TRYLOCK, Installer::Poison, true),
        ),
        safe(
            "fix.guard guard",
            CANDIDATE,
            "C tests VM_MAYBE_GUARD under both locks. This is enough for guards, but not for poison (fix.guard poison)",
            &[],
            |s| collapse_against(s, GUARD, Installer::Guard(Mark::Before), true),
        ),
        breaks("fix.guard poison", SMALLER, "poison sets no flag", |s| {
            collapse_against(s, GUARD, Installer::Poison, true)
        }),
        safe(
            "fix.uffd poison",
            CANDIDATE,
            "C takes PML first for shared mappings with a userfaultfd too. This is enough for poison, because \
             registering and unregistering need the mmap_lock for write, but not for guards (fix.uffd guard)",
            &[],
            |s| collapse_against(s, UFFD, Installer::Poison, true),
        ),
        breaks("fix.uffd guard", SMALLER, "a guard needs no userfaultfd", |s| {
            collapse_against(s, UFFD, Installer::Guard(Mark::Before), true)
        }),
        safe(
            "fix.armed poison",
            CANDIDATE,
            "C tests userfaultfd_armed() under both locks. This keeps poison, but C never removes a table of such a \
             VMA",
            &[0, 2],
            |s| collapse_against(s, ARMED, Installer::Poison, true),
        ),
        breaks("fix.armed guard", SMALLER, "a guard needs no userfaultfd", |s| {
            collapse_against(s, ARMED, Installer::Guard(Mark::Before), true)
        }),
    ],
}];
