//! Page faults and system calls that fill entries, against each other, and where the PMD changes under them.

use super::initial_states::{Base, Installer};
use crate::{
    mailing_list::RETRACT,
    protocol::{
        World,
        file::{Access, At, PAGE, file_fault},
        guard::Mark,
        khugepaged::CollapsePte,
        pt_reclaim::{PmlUnderPtl, Zap, zap_pte_range},
        unmap::TableFree,
        walker_locks::{WalkerLocks, under},
    },
    scenario::{Expect::Safe, Live, Scenario, Setup, Variant},
};
use mmtrace_model::model::page_tables::entry::{Pmd, Pte};

const fn safe(
    id: &'static str,
    status: &'static str,
    why: &'static str,
    never: &'static [u8],
    build: Build,
) -> Variant {
    Variant { id, status, expect: Safe, why, never, live: Live::Quiet, build }
}

type Build = fn(&Setup<'_>) -> World;

fn fault(s: &Setup<'_>, b: &mut Base, at: At, access: Access, reach: u8) {
    let mut p = s.program();
    file_fault(&mut p, at, access);
    p.run("the fault is done", move |k| k.reach(reach));
    b.w.thread("F", p);
}

/// A huge PMD maps the range; U needs a table there.
fn huge(s: &Setup<'_>, installer: Installer) -> World {
    let mut b = Base::new(1);
    let area = b.area("vma", None, 1, true);
    b.w.entry(area.pmd, Pmd::Huge(PAGE).encode());
    let at = At { area, index: 0, fresh: b.fresh(&["B"], 1) };
    installer.thread(s, &mut b, "U", at);
    fault(s, &mut b, at, Access::Read, 0);
    b.done()
}

/// Two threads fill the only entry.
fn both(s: &Setup<'_>, other: Option<Installer>) -> World {
    let mut b = Base::new(1);
    let area = b.area("vma", Some("A"), 1, false);
    let at = At { area, index: 0, fresh: b.fresh(&["B"], 1) };
    match other {
        Some(installer) => installer.thread(s, &mut b, "V", at),
        None => fault(s, &mut b, at, Access::Cow, 0),
    }
    Installer::Copy.thread(s, &mut b, "U", at);
    b.done()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Other {
    /// A fault maps another page of the folio.
    Fault,
    /// MADV_DONTNEED reclaims the table.
    Reclaim,
}

fn collapsed(s: &Setup<'_>, rules: CollapsePte, other: Other) -> World {
    let mut b = Base::new(1);
    let area = b.area("vma", Some("A"), 2, true);
    let a = b.first_table();
    b.fill(a, 0, Pte::present(PAGE).encode());
    b.collapse(s, rules, area);
    match other {
        Other::Fault => {
            let at = At { area, index: 1, fresh: b.fresh(&[], 2) };
            fault(s, &mut b, at, Access::Read, 1);
        }
        Other::Reclaim => {
            let (pmd, pml, reclaim) = (area.pmd, area.pml, Some(PmlUnderPtl::Trylock));
            let zap = Zap { pmd, pml, reclaim, free: TableFree::Rcu, at_once: 1, later: 1 };
            let mut p = s.program();
            p.function("madvise_dontneed_single_vma", |p| under(p, WalkerLocks::Mmap(b.mm), |p| zap_pte_range(p, zap)));
            b.w.thread("Z", p);
        }
    }
    b.done()
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "SC-4.13",
        thread: Some(RETRACT),
        title: "a marker where a huge PMD maps the file",
        question: "U drops the huge PMD and allocates a table for its marker; F, a read fault, finds no PMD and sets a huge \
               one. Whose is in the end?",
        source: "found missing; mm/mprotect.c:change_pmd_range, mm/pagewalk.c:walk_pmd_range, mm/memory.c:do_set_pmd",
        sometimes: &["the fault is done", "user space is told that it is done", "a new table is allocated"],
        variants: &[
            safe(
                "wp",
                "6.12, 7.2",
                "every change of the PMD is made under PML by who has looked at it there; if U finds a huge PMD again, it \
             begins again",
                &[],
                |s| huge(s, Installer::Wp),
            ),
            safe("guard", "7.2", "as wp", &[], |s| huge(s, Installer::Guard(Mark::Before))),
        ],
    },
    Scenario {
        id: "SC-4.14",
        thread: Some(RETRACT),
        title: "two fill the same hole of a private mapping",
        question: "UFFDIO_COPY and a write fault, or UFFDIO_COPY and UFFDIO_POISON, at one address. They have no lock in \
               common but the PTL. Does one overwrite the other?",
        source: "found missing; mm/userfaultfd.c:mfill_atomic_install_pte, mfill_atomic_pte_poison, mm/memory.c:finish_fault",
        sometimes: &["the fault is done", "user space is told that it is done"],
        variants: &[
            safe("fault", "6.6 to 7.2", "whoever has the PTL second finds the entry filled and gives up", &[], |s| {
                both(s, None)
            }),
            safe("poison", "6.6 to 7.2", "whoever has the PTL second finds the entry filled: -EEXIST", &[0], |s| {
                both(s, Some(Installer::Poison))
            }),
        ],
    },
    Scenario {
        id: "SC-4.15",
        thread: Some(RETRACT),
        title: "collapse of a PTE-mapped huge page, against a fault and against PT reclaim",
        question: "C empties the table, drops the PTL for PML, and removes the table. F, a fault, maps a page of the folio \
               into it; or Z, MADV_DONTNEED, zaps the range and removes the table itself. Both hold the mmap_lock for \
               read, as C. What keeps them apart?",
        source: "found missing; mm/khugepaged.c:collapse_pte_mapped_thp (6.12), try_collapse_pte_mapped_thp (7.2)",
        sometimes: &[
            "the table is removed by C",
            "the fault is done, or the table is removed by Z",
            "(not here)",
            "C gives up once it has the locks",
        ],
        variants: &[
            safe(
                "r.6.6 fault",
                "6.6 to 6.12",
                "both hold the folio's lock until they are done with the table",
                &[2, 3],
                |s| collapsed(s, CollapsePte::V6_12, Other::Fault),
            ),
            safe("fault", "7.2", "both hold the folio's lock until they are done with the table", &[2, 3], |s| {
                collapsed(s, CollapsePte::V7_2, Other::Fault)
            }),
            safe(
                "reclaim",
                "7.2",
                "C stays in its RCU section and looks at the PMD again each time it has taken the locks",
                &[2],
                |s| collapsed(s, CollapsePte::V7_2, Other::Reclaim),
            ),
        ],
    },
];
