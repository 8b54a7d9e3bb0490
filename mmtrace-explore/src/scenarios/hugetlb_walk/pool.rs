//! The pool of huge pages, and faults that find it empty.

use super::File;
use crate::{
    mailing_list::HUGETLB_WALK,
    protocol::{
        World,
        hugetlb::{
            HugeVma, Pool, Serial,
            fault::{Fault, hugetlb_fault},
            unmap::{ZapEnd, zap_private},
        },
        mm::Mm,
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::{invariant::Invariant, locks::exclusion::Rank, page_tables::entry::Pte};

fn sc_0_5(s: &Setup<'_>, locked: bool, end: ZapEnd) -> World {
    let mut w = World::default();
    let file = File::new(&mut w, 1, Pte::present(0));
    let mm = Mm::new(&mut w, 1, "");
    let lock = if locked {
        Serial::Reservation(w.lock("resv_map->rw_sema", Some(Rank::HugetlbVmaLock)))
    } else {
        Serial::Nothing
    };
    let vma = HugeVma::new(&mut w, "vma", lock, Some(file.table));
    let pool = Pool { free: w.cell("free_huge_pages", 0), batch: w.cell("batch", 0) };
    let mutex = w.lock("hugetlb_fault_mutex", Some(Rank::HugetlbFaultMutex));
    let sharing = file.sharing(&[vma]);
    let mut p = s.program();
    zap_private(&mut p, mm, (vma, sharing), pool, end, 0);
    w.thread("T1", p);
    let mut p = s.program();
    let fault =
        Fault { mm, vma, sharing, mutex, partner: None, pool: Some(pool), wait: None, shows: [Some(1), None, None] };
    hugetlb_fault(&mut p, fault);
    w.thread("T2", p);
    w
}

fn sc_0_11(s: &Setup<'_>) -> World {
    let mut w = World::default();
    let file = File::new(&mut w, 1, Pte::None);
    let mm = Mm::new(&mut w, 1, "");
    let resv = w.lock("resv_map->rw_sema", Some(Rank::HugetlbVmaLock));
    let vma = HugeVma::new(&mut w, "vma", Serial::Reservation(resv), Some(file.table));
    let pool = Pool { free: w.cell("free_huge_pages", 1), batch: w.cell("batch", 0) };
    let mutex = w.lock("hugetlb_fault_mutex", Some(Rank::HugetlbFaultMutex));
    let sharing = file.sharing(&[vma]);
    for (name, shows) in [("T1", 0), ("T2", 1)] {
        let mut p = s.program();
        let shows = [Some(shows), None, None];
        hugetlb_fault(&mut p, Fault { mm, vma, sharing, mutex, partner: None, pool: Some(pool), wait: None, shows });
        w.thread(name, p);
    }
    w
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    // The lock of private mappings.
    Scenario {
        id: "SC-0.5",
        thread: Some(HUGETLB_WALK),
        title: "MADV_DONTNEED of a private huge page, and a fault on it, with no page to spare",
        question: "T1 drops a private huge page with MADV_DONTNEED, and T2 faults on it. The pool has exactly the one \
                   reserved page. Does T2 ever find the pool empty?",
        source: "bf4916922c and 2820b0f09be9; mm/hugetlb.c:__hugetlb_zap_begin",
        sometimes: &["the zapped page goes back to the pool", "the fault maps a page"],
        variants: &[
            Variant {
                id: "hp.none",
                status: "before 6.6",
                expect: Breaks(Invariant::Pool),
                why: "T1 has unmapped the page, and it is still on the gather batch while T2 looks for a page. T2 gets \
                      SIGBUS",
                never: &[],
                live: Live::Unseen("tracepoints do not show the pool of huge pages"),
                build: |s| sc_0_5(s, false, ZapEnd::BeforeFlush),
            },
            Variant {
                id: "hp.early",
                status: "bf4916922c without 2820b0f09be9",
                expect: Breaks(Invariant::Pool),
                why: "T1 releases the reservation's lock before the batch is freed",
                never: &[],
                live: Live::Unseen("tracepoints do not show the pool of huge pages"),
                build: |s| sc_0_5(s, true, ZapEnd::BeforeFlush),
            },
            Variant {
                id: "hp.resv",
                status: "merged for 6.6",
                expect: Safe,
                why: "T2 waits for the reservation's rw_sema until the batch is freed",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_0_5(s, true, ZapEnd::AfterFlush),
            },
            Variant {
                id: "hp.child",
                status: "6.12 and 7.2, in a child of fork: known limitation",
                expect: Breaks(Invariant::Pool),
                why: "fork does not copy the reservation, so the lock does nothing. The kernel guarantees no \
                      reservation to a child",
                never: &[],
                live: Live::Unseen("tracepoints do not show the pool of huge pages"),
                build: |s| sc_0_5(s, false, ZapEnd::AfterFlush),
            },
        ],
    },
    // The mutex of the index.
    Scenario {
        id: "SC-0.11",
        thread: Some(HUGETLB_WALK),
        title: "two faults on one private huge page, with no page to spare",
        question: "T1 and T2 fault on the same huge page that is not there yet. The pool has exactly the one reserved \
                   page. Does the slower one find the pool empty?",
        source: "mm/hugetlb.c:hugetlb_fault, the comment on spurious allocation failures",
        sometimes: &["the first fault maps the page", "the second fault maps the page"],
        variants: &[Variant {
            id: "p.mutex",
            status: "6.12, 7.2",
            expect: Safe,
            why: "the mutex serialises faults on one index. The second fault finds the page mapped and asks for none",
            never: &[],
            live: Live::Quiet,
            build: sc_0_11,
        }],
    },
];
