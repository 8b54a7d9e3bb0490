//! retract_page_tables() against the threads that the folio lock or i_mmap_rwsem keeps away: faults, migration, munmap.

use super::{L25, initial_states::Base};
use crate::{
    mailing_list::RETRACT,
    protocol::{
        World,
        file::{Access, At, FileVma, PAGE, file_fault},
        khugepaged::Retract,
        page_cache::{HOLE, Holes, PageCache, SMALL, collapse_file, migrate_small, shmem_fault},
        unmap::{Munmap, RMAP_FILE, TableFree, munmap},
        vma::Flavour,
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::{invariant::Invariant, locks::exclusion::Mode, page_tables::entry::Pte};

fn write_fault(s: &Setup<'_>, rules: Retract) -> World {
    let mut b = Base::new(1);
    let area = b.area("vma", Some("A"), 1, false);
    let fresh = b.fresh(&["B"], 1);
    b.khugepaged(s, rules, &[area]);
    let mut p = s.program();
    file_fault(&mut p, At { area, index: 0, fresh }, Access::Cow);
    p.run("the fault is done", |k| k.reach(1));
    b.w.thread("F", p);
    b.done()
}

const FAULT_WHY: &str = "F waits for the folio before it maps anything, and K holds the folio lock until the table is \
                         gone. The table is therefore empty when K removes it, and F gets a new one";

const fn fault_variant(id: &'static str, status: &'static str, never: &'static [u8], build: Build) -> Variant {
    Variant { id, status, expect: Safe, why: FAULT_WHY, never, live: Live::Quiet, build }
}

type Build = fn(&Setup<'_>) -> World;

/// One index of the page cache, and one entry of the table; `slot` maps both.
fn cached(s: &Setup<'_>, slot: u8, holes: Holes, rules: Retract, other: Other) -> World {
    let mut b = Base::new(1);
    let area = b.area("vma", Some("A"), 1, true);
    if slot == SMALL {
        let a = b.first_table();
        b.fill(a, 0, Pte::present(PAGE).encode());
    }
    let fresh = b.fresh(&["B"], 1);
    let mapping = b.mapping;
    let cache = PageCache::new(&mut b.w, mapping, slot);
    let at = At { area, index: 0, fresh };
    let mut p = s.program();
    collapse_file(&mut p, cache, at, holes, rules, &[area]);
    let k = b.w.thread("K", p);
    b.w.held(mapping.folio, k, Mode::Write);
    let mut p = s.program();
    match other {
        Other::Migrate => migrate_small(&mut p, cache, at),
        Other::Fault => shmem_fault(&mut p, cache, at),
    }
    b.w.thread(if other == Other::Migrate { "T" } else { "F" }, p);
    b.done()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Other {
    Migrate,
    Fault,
}

fn unmapped(s: &Setup<'_>, rules: Retract, flavour: Flavour) -> World {
    let mut b = Base::new(1);
    let area: FileVma = b.area("vma", Some("A"), 1, true);
    b.khugepaged(s, rules, &[area]);
    let mut p = s.program();
    let m = Munmap {
        mm: b.mm,
        vma: area.vma,
        flavour,
        pmd: area.pmd,
        rmap: RMAP_FILE,
        rmap_locks: [Some(b.mapping.i_mmap), None],
        free: TableFree::Rcu,
        with_pmd_page: true,
    };
    munmap(&mut p, m);
    p.run("munmap() returns 0", |k| k.reach(1));
    b.w.thread("W", p);
    b.done()
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "SC-4.2",
        thread: Some(RETRACT),
        title: "retract while a write fault sets anon_vma",
        question: "F, a write fault in a private mapping, sets anon_vma after K has tested it. Is this race harmful?",
        source: "the thread, the comment on vma->anon_vma in the patch",
        sometimes: &[
            "the table is removed",
            "the fault is done",
            "a new table is allocated",
            "K gives up once it has the locks",
        ],
        variants: &[
            fault_variant("r.trylock", "until 6.5", &[3], |s| write_fault(s, Retract::TRYLOCK)),
            fault_variant("r.posted", "posted, May 2023: v1 of the series", &[3], |s| write_fault(s, Retract::POSTED)),
            fault_variant("r.6.6", "merged; 6.6 to 6.12", &[], |s| write_fault(s, Retract::V6_6)),
            fault_variant("r.7.2", "7.2", &[], |s| write_fault(s, Retract::V7_2)),
        ],
    },
    Scenario {
        id: "SC-4.7",
        thread: Some(RETRACT),
        title: "retract while a page of the range is migrated",
        question: "T replaces a page of the range by a migration entry and later puts the page back, through the rmap, \
                   under no lock of the mm. Can the entry be in the table when K removes it, or can the page come back \
                   into the table afterwards?",
        source: "mm/migrate.c:remove_migration_pte, mm/khugepaged.c:collapse_file",
        sometimes: &["the table is removed", "the page is migrated"],
        variants: &[
            Variant {
                id: "merged",
                status: "6.6 to 7.2",
                expect: Safe,
                why: "both hold the old folio's lock for the whole operation. The second one finds the folio unmapped \
                      or gone",
                never: &[],
                live: Live::Quiet,
                build: |s| cached(s, SMALL, Holes::MERGED, Retract::V6_6, Other::Migrate),
            },
            Variant {
                id: "no-folio-lock",
                status: "negative test",
                expect: Breaks(Invariant::Empty),
                why: "K does not lock the old folio. try_to_unmap() skips the migration entry, which is in the table \
                      when K removes it",
                never: &[],
                live: Live::Unseen(
                    "L25 looks for pages and markers; another entry may be that of a page that was truncated and \
                     poisoned",
                ),
                build: |s| {
                    let holes = Holes { lock_old: false, ..Holes::MERGED };
                    cached(s, SMALL, holes, Retract::V6_6, Other::Migrate)
                },
            },
        ],
    },
    Scenario {
        id: "SC-4.8",
        thread: Some(RETRACT),
        title: "retract while a fault fills a hole of the file",
        question: "The range has a hole. F, a fault in the hole, would put a small page there and map it. What keeps F \
                   away from the table between K's check of the hole and the removal?",
        source: "the thread, the comment on XA_RETRY_ENTRY; mm/khugepaged.c:collapse_file (6.6 to 7.2)",
        sometimes: &["the table is removed", "the fault fills the hole"],
        variants: &[
            Variant {
                id: "merged",
                status: "6.6 to 7.2",
                expect: Safe,
                why: "K counts the holes again and marks them under xa_lock, and holds xa_lock until the new, locked \
                      folio is there. F waits for the marker to go and then for the folio",
                never: &[],
                live: Live::Quiet,
                build: |s| cached(s, HOLE, Holes::MERGED, Retract::V6_6, Other::Fault),
            },
            Variant {
                id: "small folio",
                status: "6.6 to 7.2; the page is there, so there is no hole",
                expect: Safe,
                why: "K and F lock the small folio. The second one checks whether it is still in the page cache",
                never: &[1],
                live: Live::Quiet,
                build: |s| cached(s, SMALL, Holes::MERGED, Retract::V6_6, Other::Fault),
            },
            Variant {
                id: "no-retry",
                status: "the effect of xa_lock alone",
                expect: Safe,
                why: "without the markers, xa_lock keeps the table safe, because a page is added only under it. The \
                      markers are for threads that look without xa_lock, as a userfaultfd does for missing pages",
                never: &[],
                live: Live::Quiet,
                build: |s| {
                    let holes = Holes { retry: false, ..Holes::MERGED };
                    cached(s, HOLE, holes, Retract::V6_6, Other::Fault)
                },
            },
            Variant {
                id: "no-xa-lock",
                status: "the effect of the markers alone",
                expect: Safe,
                why: "K drops xa_lock after it has marked the holes, and the markers keep the table safe",
                never: &[],
                live: Live::Quiet,
                build: |s| {
                    let holes = Holes { xa_lock: false, ..Holes::MERGED };
                    cached(s, HOLE, holes, Retract::V6_6, Other::Fault)
                },
            },
            Variant {
                id: "no-retry no-xa-lock",
                status: "negative test",
                expect: Breaks(Invariant::Empty),
                why: "with neither, F puts a small page into the hole and maps it. K replaces the page without \
                      noticing it and removes the table with it",
                never: &[],
                live: L25,
                build: |s| {
                    let holes = Holes { retry: false, xa_lock: false, ..Holes::MERGED };
                    cached(s, HOLE, holes, Retract::V6_6, Other::Fault)
                },
            },
            Variant {
                id: "no-count",
                status: "negative test",
                expect: Breaks(Invariant::Empty),
                why: "K does not count the holes again, and F has filled one since K looked",
                never: &[],
                live: L25,
                build: |s| {
                    let holes = Holes { count: false, ..Holes::MERGED };
                    cached(s, HOLE, holes, Retract::V6_6, Other::Fault)
                },
            },
        ],
    },
    Scenario {
        id: "SC-4.10",
        thread: Some(RETRACT),
        title: "retract while the VMA is unmapped",
        question: "W has detached the VMA, downgraded the mmap_lock and zapped the range. The VMA is still in the rmap \
                   tree, and K finds it there. Do both free the table, or does K read a PMD page that is gone?",
        source: "mm/vma.c:unmap_region, mm/memory.c:free_pgtables, mm/khugepaged.c:retract_page_tables",
        sometimes: &["the table is removed by K", "the range is unmapped"],
        variants: &[
            Variant {
                id: "r.6.6",
                status: "merged; 6.6 to 6.12",
                expect: Safe,
                why: "K holds i_mmap for read. W takes the VMA out of the tree, under i_mmap for write, before it \
                      frees tables",
                never: &[],
                live: Live::Quiet,
                build: |s| unmapped(s, Retract::V6_6, Flavour::Rwsem),
            },
            Variant {
                id: "r.7.2",
                status: "7.2",
                expect: Safe,
                why: "as for r.6.6",
                never: &[],
                live: Live::Quiet,
                build: |s| unmapped(s, Retract::V7_2, Flavour::Refcount),
            },
        ],
    },
];
