//! Rules about page tables and hugetlb locks, on streams made up for them: what a sound kernel does
//! raises nothing and is evaluated, one planted fault raises its rule and no other, what looks like
//! a fault and is none raises nothing, and what is missing raises nothing.

#[macro_use]
#[path = "common/planting.rs"]
mod planting;
#[path = "common/holed.rs"]
mod holed;
#[path = "common/sound_tables.rs"]
mod sound_tables;
#[path = "common/soundness.rs"]
mod soundness;

use mmtrace_common::{Column, Kind};
use mmtrace_model::{
    model::locks::mmap_lock::EPSILON_NS,
    replay::Engine,
    report::{Output, Report, Style},
    verdict::{RuleId, Verdict},
};
use mmtrace_testing::judging::{broken, judge};
use mmtrace_testing::kernel::{LENGTH, MM, Made, RETRY, START, TRAP, VMA, VMA_LOCK, context};
use mmtrace_testing::page_tables::{HUGE, Inside, PMDP, SHARED, marker, pte, table};
use planting::{either, ended};
use sound_tables::Sound;

const WP: u64 = 0x1000;
/// A hugetlb VMA's lock, another one's, and what a private mapping has instead.
const LOCK: u64 = 0xffff_8880_4000_0000;
const RESERVATION: u64 = 0xffff_8880_5000_0000;
const UFFD_WP: u64 = 1;
const POISON: u64 = 2;
const GUARD: u64 = 4;

fn retract(m: &mut Made, inside: Inside) {
    m.retract(3).unlink(3, PMDP, 0xa0, inside).unlinked(3, 0xa0).defer(3, 0xa0).retracted(3);
}

fn inside(fault: bool, markers: u64, entry: u64) -> Inside {
    if fault { Inside { markers, presents: u64::from(markers == 0), entry, vm_flags: 0 } } else { Inside::default() }
}

/// A table is collapsed away, and freed after a grace period in which `late` happens.
fn grace(m: &mut Made, late: impl FnOnce(&mut Made)) {
    *m = Made::learned();
    m.map_lock(2, 0xa0);
    retract(m, Inside::default());
    late(m);
    m.later(1_000_000).freed(1, 0xa0);
}

faults! {
    L23 unlinked_by_nobody_known = |m, fault| {
        if !fault { m.write_lock(3); }
        m.take_out(3, 0xa0);
        if !fault { m.unlock(3, true); }
    };
    L23 unlinked_under_a_read_hold = |m, fault| {
        m.lock(3, !fault).take_out(3, 0xa0).unlock(3, !fault);
    };
    L23 pte_mapped_without_the_mmap_lock = |m, fault| {
        if !fault { m.lock(3, false); }
        m.pte_mapped(3).take_out(3, 0xa0).defer(3, 0xa0).pte_mapped_done(3);
        if !fault { m.unlock(3, false); }
    };
    L24 another_table_is_freed = |m, fault| {
        m.retract(3).take_out(3, 0xa0).defer(3, either(fault, 0xa0, 0xa1)).retracted(3);
    };
    L24 a_table_is_freed_twice = |m, fault| {
        m.lock(3, false).pte_mapped(3).take_out(3, 0xa0).defer(3, 0xa0);
        if fault { m.defer(3, 0xa0); }
        m.pte_mapped_done(3).unlock(3, false);
    };
    L24 freed_and_not_unlinked = |m, fault| {
        m.retract(3);
        if !fault { m.take_out(3, 0xa0); }
        m.defer(3, 0xa0).retracted(3);
    };
    L24 the_flush_took_out_another = |m, fault| {
        m.retract(3).unlink(3, PMDP, 0xa0, Inside::default());
        m.unlinked(3, either(fault, 0xa0, 0xa1)).defer(3, 0xa0).retracted(3);
    };
    L25 a_poison_marker_is_retracted = |m, fault| retract(m, inside(fault, 1, marker(POISON)));
    L25 a_guard_marker_is_retracted = |m, fault| retract(m, inside(fault, 2, marker(GUARD)));
    L25 a_page_is_retracted = |m, fault| retract(m, inside(fault, 0, 0x8000_0001_2345_6067));
    L25 a_protnone_page_is_retracted = |m, fault| retract(m, inside(fault, 0, 0x8000_0001_2345_6160));
    L25 a_poisoned_and_protected_one_is_retracted = |m, fault| retract(m, inside(fault, 1, marker(POISON | UFFD_WP)));
    L25 a_write_protection_is_retracted = |m, fault| {
        retract(m, Inside { vm_flags: WP, ..inside(fault, 1, marker(UFFD_WP)) });
    };
    L25 a_marker_goes_with_a_pte_mapped_collapse = |m, fault| {
        m.lock(3, false).pte_mapped(3).unlink(3, PMDP, 0xa0, inside(fault, 1, marker(GUARD))).unlinked(3, 0xa0);
        m.defer(3, 0xa0).pte_mapped_done(3).unlock(3, false);
    };
    L28 filled_while_it_collapses = |m, fault| {
        m.write_lock(3).take_out(3, 0xa0);
        if fault { m.install(2, PMDP, 0xa1); }
        m.unlock(3, true);
        if !fault { m.install(2, PMDP, 0xa1); }
    };
    L28 filled_before_the_downgrade = |m, fault| {
        m.write_lock(3).take_out(3, 0xa0);
        if fault { m.install(2, PMDP, 0xa1); }
        m.say(3, Kind::AcquireReturned, &[(Column::Success, 1)]);
        if !fault { m.install(2, PMDP, 0xa1); }
        m.unlock(3, false);
    };
    L28 filled_under_khugepaged = |m, fault| {
        // Never in user mode, nor seen to be forked: at the beginning of a collapse it is in no other call.
        m.say(77, Kind::CollapseHugePageEnter, &[(Column::Addr, START)]).write_lock(77).take_out(77, 0xa0);
        if fault { m.install(2, PMDP, 0xa1); }
        m.unlock(77, true);
    };
    L28 filled_by_a_huge_page = |m, fault| {
        // It comes by no pmd_install().
        m.write_lock(3).take_out(3, 0xa0);
        if !fault { m.unlock(3, true); }
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK).done(2, 0);
        if fault { m.unlock(3, true); }
    };
    L29 ended_and_not_begun = |m, fault| {
        if !fault { m.of_vma(2, Kind::VmaPgtableWalkBegin, VMA); }
        m.of_vma(2, Kind::VmaPgtableWalkEnd, VMA);
    };
    L29 left_open = |m, fault| {
        m.of_vma(2, Kind::VmaPgtableWalkBegin, VMA).of_vma(2, Kind::VmaPgtableWalkBegin, VMA);
        m.of_vma(2, Kind::VmaPgtableWalkEnd, VMA);
        if !fault { m.of_vma(2, Kind::VmaPgtableWalkEnd, VMA); }
        m.user(2, START);
    };
    L29 left_open_by_one_that_exits = |m, fault| {
        m.of_vma(2, Kind::VmaPgtableWalkBegin, VMA);
        if !fault { m.of_vma(2, Kind::VmaPgtableWalkEnd, VMA); }
        m.say(2, Kind::Exit, &[]);
    };
    L30 reader_beside_a_writer = |m, fault| {
        m.hugetlb(2, Kind::HugetlbVmaLockWrite, VMA, LOCK, SHARED);
        if !fault { m.hugetlb(2, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED); }
        m.hugetlb(3, Kind::HugetlbVmaLockRead, VMA, LOCK, SHARED);
        if fault { m.hugetlb(2, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED); }
        m.hugetlb(3, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED);
    };
    L30 writer_beside_a_reader = |m, fault| {
        m.hugetlb(2, Kind::HugetlbVmaLockRead, VMA, LOCK, SHARED);
        // The whole write hold lies in the read hold.
        m.trylock(3, VMA, LOCK, fault);
        if fault { m.hugetlb(3, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED); }
        m.hugetlb(2, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED);
    };
    L30 writers_of_a_private_reservation = |m, fault| {
        // Another VMA of the same reservation: it was split.
        m.hugetlb(2, Kind::HugetlbVmaLockWrite, VMA, RESERVATION | 1, 0);
        if !fault { m.of_vma(2, Kind::HugetlbZapEnd, VMA); }
        m.hugetlb(3, Kind::HugetlbVmaLockWrite, VMA + 0x100, RESERVATION | 1, 0);
        if fault { m.of_vma(2, Kind::HugetlbZapEnd, VMA); }
        m.hugetlb(3, Kind::HugetlbVmaUnlockWrite, VMA + 0x100, RESERVATION | 1, 0);
    };
    L31 unshared_without_the_lock = |m, fault| {
        for sound in [true, !fault] {
            if sound { m.trylock(2, VMA, LOCK, true); }
            m.unshare(2, VMA);
            if sound { m.hugetlb(2, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED); }
        }
    };
    L31 unshared_after_a_failed_try = |m, fault| {
        for sound in [true, !fault] {
            m.trylock(2, VMA, LOCK, sound).unshare(2, VMA);
            if sound { m.hugetlb(2, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED); }
        }
    };
    L32 sleeps_with_the_lock = |m, fault| {
        for sound in [true, !fault] {
            m.hugetlb(2, Kind::HugetlbVmaLockRead, VMA, LOCK, SHARED).of_vma(2, Kind::MigrationEntryWaitHuge, VMA);
            if sound { m.hugetlb(2, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED); }
            m.say(2, Kind::MigrationEntryWaitOnLocked, &[]);
            if !sound { m.hugetlb(2, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED); }
        }
    };
    L47 not_at_the_place_of_its_address = |m, fault| {
        m.locked(2, MM, PMDP, START, pte(0xa0, START) + either(fault, 0, 8), table(0xa0));
    };
    L47 mapped_by_an_entry_that_is_none = |m, fault| {
        m.map_nolock(2, pte(0xa0, START), either(fault, table(0xa0), 0));
    };
    L47 locked_where_a_huge_page_is = |m, fault| {
        m.locked(2, MM, PMDP, START, pte(0xa0, START), either(fault, table(0xa0), HUGE));
    };
    L47 not_mapped_where_a_table_is = |m, fault| {
        m.map_nolock(2, 0, either(fault, HUGE, table(0xa0)));
    };
    L47 in_another_table = |m, fault| {
        *m = Made::learned();
        m.map_lock(2, 0xa0).locked(2, MM, PMDP, START, pte(either(fault, 0xa0, 0xa1), START), table(0xa0));
    };
    L48 mapped_while_it_waits_to_be_freed = |m, fault| {
        grace(m, |m| {
            m.map_lock(2, either(fault, 0xa1, 0xa0));
        });
    };
    L48 locked_though_it_is_unlinked = |m, fault| {
        // Nobody has looked at the PMD entry again: it is none by now.
        grace(m, |m| {
            m.locked(2, MM, PMDP, START, either(fault, 0, pte(0xa0, START)), 0);
        });
    };
    L48 locked_though_another_is_linked = |m, fault| {
        grace(m, |m| {
            m.install(2, PMDP, 0xa1).locked(2, MM, PMDP, START, pte(either(fault, 0xa1, 0xa0), START), table(0xa1));
        });
    };
    L48 mapped_and_not_freed_by_the_end = |m, fault| {
        m.map_lock(2, 0xa0);
        if fault { retract(m, Inside::default()); }
        m.map_lock(2, 0xa0);
        if !fault { retract(m, Inside::default()); m.later(1_000_000).freed(1, 0xa0); }
    };
}

/// What faults and VMA locks are followed by says nothing of page tables.
#[test]
fn missing_events_of_faults_hide_nothing() {
    use Kind::*;
    let elsewhere = [
        PageFaultUser,
        PageFaultKernel,
        TlbFlush,
        ContentionBegin,
        ContentionEnd,
        MaWrite,
        HandleMmFault,
        HandleMmFaultReturn,
        LockVmaUnderRcu,
        VmaStartWrite,
        VmaStartWriteReturn,
        FolioLockOrRetry,
        MigrationEntryWaitReturn,
        VmfAnonPrepare,
        UserfaultfdSetCtx,
        MwriteprotectRange,
        MwriteprotectRangeReturn,
    ];
    planting::what_is_missing_elsewhere_hides_nothing(FAULTS, &elsewhere);
}

/// Whoever holds which lock does not matter to a table that is unlinked with something in it.
#[test]
fn missing_events_of_locks_hide_no_entry() {
    use Kind::*;
    let retracts: Vec<_> =
        FAULTS.iter().filter(|(rule, name, _)| *rule == RuleId::L25 && name.ends_with("retracted")).copied().collect();
    assert!(retracts.len() > 3, "they have other names now");
    let elsewhere = [StartLocking, AcquireReturned, Released, SetMigrationPte, MigratePages, ScanPmd, CompactionEnd];
    planting::what_is_missing_elsewhere_hides_nothing(&retracts, &elsewhere);
}

/// Rules of this file that can be broken have a fault here.
/// On a kernel where a compiler may have inlined what makes a call right: nothing is said until a right
/// call is seen, and then all that was wrong before it.
#[test]
fn what_is_always_wrong_is_unknown_until_it_is_done_right() {
    fn unshared(m: &mut Made, right: bool) {
        if right {
            m.trylock(2, VMA, LOCK, true);
        }
        m.unshare(2, VMA);
        if right {
            m.hugetlb(2, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED);
        }
    }
    fn slept(m: &mut Made, right: bool) {
        m.hugetlb(2, Kind::HugetlbVmaLockRead, VMA, LOCK, SHARED).of_vma(2, Kind::MigrationEntryWaitHuge, VMA);
        if right {
            m.hugetlb(2, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED);
        }
        m.say(2, Kind::MigrationEntryWaitOnLocked, &[]);
        if !right {
            m.hugetlb(2, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED);
        }
    }
    for (rule, call) in [(RuleId::L31, unshared as fn(&mut Made, bool)), (RuleId::L32, slept)] {
        let mut m = Made::begun();
        // It is seen to have a lock that can be shared.
        m.hugetlb(2, Kind::HugetlbVmaLockRead, VMA, LOCK, SHARED);
        m.hugetlb(2, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED);
        for _ in 0..41 {
            call(&mut m, false);
        }
        let engine = end(&mut m);
        let sink = engine.sink().expect("it judges");
        assert_eq!(sink.verdict(rule), Verdict::Unknown, "{}", rule.rule().name);
        assert!(sink.any_doubt() && sink.reason(rule).expect("one").contains("never seen kept"));
        assert_eq!(sink.not_judged(rule), 41);
        call(&mut m, true);
        let engine = end(&mut m);
        let sink = engine.sink().expect("it judges");
        assert_eq!((sink.verdict(rule), sink.violations(rule)), (Verdict::Violated, 41), "{}", rule.rule().name);
    }
}

/// The other holder's acquisition is part of the story, as long ago as it may be.
#[test]
fn the_story_of_two_holders_has_both_acquisitions() {
    let mut m = Made::begun();
    m.hugetlb(2, Kind::HugetlbVmaLockWrite, VMA, LOCK, SHARED);
    let first = m.now;
    for _ in 0..40_000 {
        m.user(4, START);
    }
    m.hugetlb(3, Kind::HugetlbVmaLockRead, VMA, LOCK, SHARED);
    for kind in [Kind::HugetlbVmaUnlockWrite, Kind::HugetlbVmaUnlockRead] {
        m.hugetlb(if kind == Kind::HugetlbVmaUnlockWrite { 2 } else { 3 }, kind, VMA, LOCK, SHARED);
    }
    let engine = end(&mut m);
    let violation = engine.sink().expect("it judges").kept().next().expect("one");
    assert_eq!(violation.rule, RuleId::L30);
    assert!(violation.events.iter().any(|r| r.ts == first && r.tid == 2), "{:?}", violation.events);
    assert!(violation.what.contains("task 3 got") && violation.what.contains("while task 2 held"));
}

#[test]
fn every_rule_about_page_tables_has_a_fault() {
    use RuleId::*;
    for rule in [L23, L24, L25, L28, L29, L30, L31, L32, L47, L48] {
        assert!(FAULTS.iter().any(|(id, _, _)| *id == rule), "nobody tries to break {}", rule.rule().name);
    }
}

/// Judges what was made, with time for clocks behind it.
fn end(m: &mut Made) -> Engine {
    judge(&context(), ended(m))
}

/// Near misses: what must raise nothing, and whether the rule that it is close to was evaluated.
type Near = (&'static str, RuleId, bool, fn(&mut Made));

const NEAR: &[Near] = &[
    ("no table was found, and the PMD entry points to one by the return", RuleId::L47, false, |m| {
        m.locked(2, MM, PMDP, START, 0, table(0xa0));
    }),
    ("a read-only map of a table that has gone meanwhile", RuleId::L47, false, |m| {
        let values = [(Column::Pmdp, PMDP), (Column::Addr, START), (Column::Ptep, pte(0xa0, START)), (Column::Pmd, 0)];
        m.say(2, Kind::PteOffsetMapRoNolock, &values);
    }),
    ("the table that a nolock map used has gone meanwhile", RuleId::L47, true, |m| {
        m.map_nolock(2, pte(0xa0, START), table(0xa0));
        m.records.last_mut().expect("a map").set(Column::Pmd, 0);
    }),
    ("a PMD entry that is bad maps nothing", RuleId::L47, true, |m| {
        m.map_nolock(2, 0, 0xa0 << 12 | 0x61);
    }),
    ("khugepaged maps the table that it has unlinked by its own copy of the entry", RuleId::L47, true, |m| {
        m.write_lock(3).take_out(3, 0xa0);
        m.locked(3, MM, 0xffff_c900_0000_1238, START, pte(0xa0, START), table(0xa0)).unlock(3, true);
    }),
    ("moved by mremap: no event", RuleId::L47, true, |m| {
        m.map_lock(2, 0xa0).write_lock(2).unlock(2, true).map_lock(2, 0xa1);
    }),
    ("linked again by a THP split: no event", RuleId::L47, true, |m| {
        m.map_lock(2, 0xa0).map_lock(3, 0xa1).map_lock(2, 0xa1);
    }),
    ("freed before it is mapped: it is another table", RuleId::L48, true, |m| {
        grace(m, |_| ());
        m.install(2, PMDP, 0xa0).map_lock(2, 0xa0);
    }),
    ("mapped within what clocks may differ by", RuleId::L48, true, |m| {
        *m = Made::learned();
        m.map_lock(2, 0xa0).retract(3).take_out(3, 0xa0);
        m.defer(3, 0xa0).step = EPSILON_NS / 2;
        m.map_lock(2, 0xa0).step = 10_000;
        m.retracted(3).later(1_000_000).freed(1, 0xa0);
    }),
    ("freed within what clocks may differ by after the map: it may be another table", RuleId::L48, false, |m| {
        *m = Made::learned();
        m.map_lock(2, 0xa0);
        retract(m, Inside::default());
        m.later(1_000_000).map_lock(2, 0xa0).step = EPSILON_NS / 2;
        m.freed(1, 0xa0).step = 10_000;
    }),
    ("a reader without lock is still in it", RuleId::L48, true, |m| {
        grace(m, |m| {
            m.map_nolock(2, pte(0xa0, START), table(0xa0));
        });
    }),
    ("a left-over uffd-wp marker where nothing is registered", RuleId::L25, false, |m| {
        retract(m, inside(true, 1, marker(UFFD_WP)));
    }),
    ("the entry of a page that was truncated and poisoned", RuleId::L25, true, |m| {
        retract(m, Inside { entry: marker(0) ^ 1 << 62, ..Inside::default() });
    }),
    ("an anonymous collapse empties the table afterwards", RuleId::L25, false, |m| {
        m.write_lock(3).unlink(3, PMDP, 0xa0, inside(true, 0, 0x67)).unlinked(3, 0xa0).unlock(3, true);
    }),
    ("its table was not looked into", RuleId::L25, false, |m| {
        m.retract(3).unlink(3, PMDP, 0xa0, inside(true, 1, marker(GUARD)));
        m.records.last_mut().expect("a flush").set(Column::Scanned, 0);
        m.retracted(3);
    }),
    ("a fault that began before the flush", RuleId::L28, true, |m| {
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK);
        m.write_lock(3).take_out(3, 0xa0).done(2, 0).unlock(3, true);
    }),
    ("a fault that is given up, or fails", RuleId::L28, true, |m| {
        m.write_lock(3).take_out(3, 0xa0);
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK).done(2, RETRY);
        m.user(4, START).grant(4).fault(4, TRAP | VMA_LOCK).done(4, 2).unlock(3, true);
    }),
    ("a fault on another PMD range", RuleId::L28, true, |m| {
        let elsewhere = [(Column::Vma, VMA + 0x100), (Column::Addr, START + 2 * LENGTH)];
        m.write_lock(3).take_out(3, 0xa0).say(2, Kind::HandleMmFault, &elsewhere);
        m.say(2, Kind::HandleMmFaultReturn, &elsewhere).unlock(3, true);
    }),
    ("the collapsing task links a table itself", RuleId::L28, true, |m| {
        m.write_lock(3).take_out(3, 0xa0).install(3, PMDP, 0xa0).unlock(3, true);
    }),
    ("another PMD entry is filled", RuleId::L28, true, |m| {
        m.write_lock(3).take_out(3, 0xa0).install(2, PMDP + 8, 0xa1).unlock(3, true);
    }),
    ("somebody else was first, and nothing was linked", RuleId::L28, true, |m| {
        m.write_lock(3).take_out(3, 0xa0).say(2, Kind::PmdInstall, &[(Column::Pmdp, PMDP)]).unlock(3, true);
    }),
    ("filled after a retract: that is what may be", RuleId::L28, false, |m| {
        retract(m, Inside::default());
        m.install(2, PMDP, 0xa1);
    }),
    ("filled after a collapse of a PTE-mapped huge page, under uprobes' write hold", RuleId::L28, false, |m| {
        m.write_lock(3).pte_mapped(3).take_out(3, 0xa0).defer(3, 0xa0).pte_mapped_done(3);
        m.install(2, PMDP, 0xa1).unlock(3, true);
    }),
    ("filled before the flush, by another CPU's clock after it", RuleId::L28, true, |m| {
        m.write_lock(3).unlink(3, PMDP, 0xa0, Inside::default()).step = EPSILON_NS;
        m.install(2, PMDP, 0xa1).step = 10_000;
        m.unlinked(3, 0xa0).unlock(3, true);
    }),
    ("a collapse that the retract of another task overtakes", RuleId::L23, true, |m| {
        m.write_lock(3).retract(2).take_out(2, 0xa0).defer(2, 0xa0).retracted(2).take_out(3, 0xa1).unlock(3, true);
    }),
    ("under a read hold that another context will release", RuleId::L23, true, |m| {
        m.lock(2, false).pte_mapped(3).take_out(3, 0xa0).defer(3, 0xa0).pte_mapped_done(3).unlock(4, false);
    }),
    ("a task that was never seen before", RuleId::L23, false, |m| {
        m.take_out(77, 0xa0);
    }),
    ("freed by another path", RuleId::L24, false, |m| {
        m.defer(3, 0xa0);
    }),
    ("a walk that had begun before recording", RuleId::L29, false, |m| {
        m.of_vma(77, Kind::VmaPgtableWalkEnd, VMA).user(77, START);
    }),
    ("a VMA without a lock", RuleId::L30, false, |m| {
        m.hugetlb(2, Kind::HugetlbVmaLockWrite, VMA, 0, SHARED).hugetlb(3, Kind::HugetlbVmaLockWrite, VMA, 0, SHARED);
        m.hugetlb(2, Kind::HugetlbVmaUnlockWrite, VMA, 0, SHARED);
        m.hugetlb(3, Kind::HugetlbVmaUnlockWrite, VMA, 0, SHARED);
    }),
    ("a private mapping that owns no reservation", RuleId::L30, false, |m| {
        for kind in [Kind::HugetlbVmaLockWrite, Kind::HugetlbVmaUnlockWrite] {
            m.hugetlb(2, kind, VMA, RESERVATION, 0).hugetlb(3, kind, VMA, RESERVATION | 2, 0);
        }
    }),
    ("many readers", RuleId::L30, true, |m| {
        for kind in [Kind::HugetlbVmaLockRead, Kind::HugetlbVmaUnlockRead] {
            m.hugetlb(2, kind, VMA, LOCK, SHARED).hugetlb(3, kind, VMA, LOCK, SHARED);
        }
    }),
    ("clocks differ", RuleId::L30, true, |m| {
        m.hugetlb(2, Kind::HugetlbVmaLockWrite, VMA, LOCK, SHARED).hugetlb(
            3,
            Kind::HugetlbVmaLockRead,
            VMA,
            LOCK,
            SHARED,
        );
        m.step = EPSILON_NS / 2;
        m.hugetlb(2, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED).step = 10_000;
        m.hugetlb(3, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED);
    }),
    ("a release that the compiler has inlined, shown by the next user mode", RuleId::L30, true, |m| {
        m.hugetlb(2, Kind::HugetlbVmaLockRead, VMA, LOCK, SHARED);
        m.trylock(3, VMA, LOCK, true).hugetlb(3, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED);
        m.trylock(3, VMA, LOCK, true).hugetlb(3, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED);
        m.user(2, START);
    }),
    ("a release that the compiler has inlined, and nothing shows it", RuleId::L30, true, |m| {
        m.hugetlb(2, Kind::HugetlbVmaLockRead, VMA, LOCK, SHARED);
        m.trylock(3, VMA, LOCK, true).hugetlb(3, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED);
        m.trylock(3, VMA, LOCK, true).hugetlb(3, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED);
    }),
    ("the mmap_lock held for write instead", RuleId::L31, true, |m| {
        m.trylock(2, VMA, LOCK, true).unshare(2, VMA).hugetlb(2, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED);
        m.write_lock(2).unshare(2, VMA).unlock(2, true);
    }),
    ("never seen inside the lock on this kernel", RuleId::L31, false, |m| {
        m.hugetlb(2, Kind::HugetlbVmaLockRead, VMA, LOCK, SHARED);
        m.hugetlb(2, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED).unshare(2, VMA);
    }),
    ("its lock has gone in the final unmap", RuleId::L31, true, |m| {
        m.trylock(2, VMA, LOCK, true).unshare(2, VMA).hugetlb(2, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED);
        m.hugetlb(3, Kind::HugetlbVmaLockWrite, VMA, LOCK, SHARED).of_vma(3, Kind::HugetlbZapEnd, VMA);
        m.trylock(2, VMA, 0, true).unshare(2, VMA).hugetlb(2, Kind::HugetlbVmaUnlockWrite, VMA, 0, SHARED);
    }),
    ("the entry was gone: no sleep", RuleId::L32, false, |m| {
        m.of_vma(2, Kind::MigrationEntryWaitHuge, VMA);
        m.hugetlb(2, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED).wait(2).say(
            2,
            Kind::MigrationEntryWaitOnLocked,
            &[],
        );
    }),
    ("a release that the compiler has inlined", RuleId::L32, false, |m| {
        m.of_vma(2, Kind::MigrationEntryWaitHuge, VMA).say(2, Kind::MigrationEntryWaitOnLocked, &[]);
    }),
];

#[test]
fn near_misses_are_no_violation() {
    let mut wrong = Vec::new();
    for (what, rule, evaluated, make) in NEAR {
        let mut m = Made::begun();
        make(&mut m);
        let engine = end(&mut m);
        let times = engine.sink().expect("it judges").evaluations(*rule);
        if !broken(&engine).is_empty() || (times > 0) != *evaluated {
            wrong.push(format!("{what}: {:?}, evaluated {times} times", broken(&engine)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Nor does any of them raise anything with an event missing, if that is told.
#[test]
fn near_misses_with_a_missing_event_are_no_violation() {
    for (what, _, _, make) in NEAR {
        let mut m = Made::begun();
        make(&mut m);
        m.later(EPSILON_NS).at(4, Kind::PageFaultUser, MM + 0x10_0000, &[]);
        for gone in 0..m.records.len() {
            for told in [Kind::Loss, Kind::Missed, Kind::Gap] {
                let engine = judge(&context(), planting::hole(&m.records, gone, told));
                assert_eq!(broken(&engine), [], "{what} without {gone}");
            }
        }
    }
}

/// How often a hazard was met, or something measured.
fn met(make: impl FnOnce(&mut Made), rule: RuleId) -> u64 {
    let mut m = Made::begun();
    make(&mut m);
    planting::met(ended(&mut m), rule)
}

/// Task 2 maps without lock, `between` happens, and it maps again, by an entry that is none.
fn window(between: impl FnOnce(&mut Made)) -> u64 {
    let count = |m: &mut Made| {
        m.map_nolock(2, pte(0xa0, START), table(0xa0));
        between(m);
        m.map_nolock(2, 0, 0);
    };
    met(count, RuleId::H01)
}

#[test]
fn tables_that_go_while_they_are_mapped_without_lock_are_counted() {
    assert_eq!(window(|m| retract(m, Inside::default())), 1);
    assert_eq!(window(|_| ()), 0, "nobody unlinked it");
    assert_eq!(
        window(|m| {
            m.retract(3).unlink(3, PMDP + 8, 0xa0, Inside::default()).retracted(3);
        }),
        0,
        "another"
    );
    let user = |m: &mut Made| {
        retract(m, Inside::default());
        m.user(2, START);
    };
    assert_eq!(window(user), 0, "it has been in user mode: the map was over");
    let late = |m: &mut Made| {
        retract(m, Inside::default());
        m.later(11_000_000);
    };
    assert_eq!(window(late), 0, "too long ago");
    let own = |m: &mut Made| {
        m.retract(2).take_out(2, 0xa0).defer(2, 0xa0).retracted(2);
    };
    assert_eq!(window(own), 0, "its own");
}

#[test]
fn maps_that_begin_again_are_counted() {
    let of = [(Column::Pmdp, PMDP), (Column::Addr, START)];
    let lock = |m: &mut Made, maps: usize| {
        m.say(2, Kind::PteOffsetMapLockEnter, &of);
        for _ in 0..maps {
            m.at(2, Kind::PteOffsetMap, 0, &of);
            // An interrupt maps on top of it.
            m.at(2, Kind::PteOffsetMap, 0, &[(Column::Pmdp, PMDP), (Column::Addr, START + 0x1000)]);
        }
        m.map_lock(2, 0xa0);
    };
    assert_eq!(met(|m| lock(m, 1), RuleId::H02), 0);
    assert_eq!(met(|m| lock(m, 3), RuleId::H02), 1);
    assert_eq!(
        met(
            |m| {
                m.at(2, Kind::PteOffsetMap, 0, &of).at(2, Kind::PteOffsetMap, 0, &of);
            },
            RuleId::H02
        ),
        0
    );
}

#[test]
fn tables_that_are_gone_are_counted() {
    let gone = |between: fn(&mut Made)| {
        let count = |m: &mut Made| {
            m.map_lock(2, 0xa0);
            between(m);
            m.locked(2, MM, PMDP, START, 0, 0);
        };
        met(count, RuleId::H03)
    };
    assert_eq!(gone(|_| ()), 1, "page-table reclaim: no event");
    assert_eq!(
        gone(|m| {
            m.write_lock(3).unlock(3, true);
        }),
        0,
        "it may be munmap"
    );
    assert_eq!(gone(|m| retract(m, Inside::default())), 0, "that was seen");
    assert_eq!(
        gone(|m| {
            m.say(3, Kind::PteFreeTlb, &[(Column::Table, 0xa0)]);
        }),
        0,
        "that too"
    );
}

#[test]
fn retracts_are_measured() {
    assert_eq!(met(|m| retract(m, Inside::default()), RuleId::M07), 1);
    assert_eq!(
        met(
            |m| {
                m.retracted(3);
            },
            RuleId::M07
        ),
        0
    );
}

#[test]
fn the_report_tells_of_page_tables_once_there_are_events_of_them() {
    let mut m = Made::begun();
    let none = serde_json::to_value(Report::new(&end(&mut m.clone()))).expect("JSON");
    assert!(none.get("walker").is_none());
    m.map_nolock(2, pte(0xa0, START), table(0xa0));
    retract(&mut m, Inside::default());
    m.map_nolock(2, 0, 0);
    let report = Report::new(&end(&mut m));
    let json = serde_json::to_value(&report).expect("JSON");
    let walker = &json["walker"];
    assert_eq!((&walker["maps"], &walker["divergences"], &walker["hazards"]["H01"]), (&2.into(), &0.into(), &1.into()));
    let mut text = Vec::new();
    report.print(Output::All, Style::plain(), &mut text).expect("to memory");
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("walker: tables unlinked by a collapse 1, ") && text.contains("divergences 0"), "{text}");
}

#[test]
fn who_put_the_marker_there_is_told() {
    let mut m = Made::begun();
    let range = [(Column::Addr, START), (Column::Len, 0x1000)];
    m.say(2, Kind::MwriteprotectRange, &[range[0], range[1], (Column::EnableWp, 1)]);
    m.say(2, Kind::MwriteprotectRangeReturn, &range);
    retract(&mut m, Inside { vm_flags: WP, ..inside(true, 1, marker(UFFD_WP)) });
    let engine = end(&mut m);
    let found = engine.sink().expect("it judges").kept().next().expect("a marker is lost");
    assert_eq!((found.rule, found.tids.as_slice()), (RuleId::L25, [3, 2].as_slice()));
    assert!(found.what.contains("uffd-wp marker") && found.what.contains("task 2"), "{}", found.what);
}

#[test]
fn a_sound_kernel_breaks_nothing() {
    use RuleId::*;
    let rules = [L23, L24, L25, L28, L29, L30, L31, L32, L47, L48, H01, H02, H03, M07];
    soundness::whole(Sound::stream, &rules);
}

/// A table that waits to be freed was mapped; whether it is freed after that is not seen.
#[test]
fn a_map_that_a_loss_leaves_unjudged_is_counted() {
    let mut m = Made::learned();
    m.map_lock(2, 0xa0).map_lock(2, 0xa1);
    retract(&mut m, Inside::default());
    m.map_lock(2, 0xa0).later(1_000_000).lose(Kind::Missed, Kind::PteFreeDefer, 1).later(10_000);
    let engine = end(&mut m);
    assert_eq!(broken(&engine), []);
    let sink = engine.sink().expect("it judges");
    assert_eq!(sink.not_judged(RuleId::L48), 1);
    assert!(!sink.judged(RuleId::L48).expect("an event is missing").evaluations.is_whole());
}

/// A walk is open, and whether it is ended before the task returns to user mode is not seen.
#[test]
fn an_open_walk_that_a_loss_leaves_unjudged_is_counted() {
    let mut m = Made::begun();
    m.of_vma(2, Kind::VmaPgtableWalkBegin, VMA).of_vma(2, Kind::VmaPgtableWalkEnd, VMA).user(2, START);
    m.of_vma(2, Kind::VmaPgtableWalkBegin, VMA).later(10_000);
    m.lose(Kind::Missed, Kind::CollapsePteMappedThp, 1).later(10_000).user(2, START);
    let engine = end(&mut m);
    assert_eq!(broken(&engine), []);
    let sink = engine.sink().expect("it judges");
    assert_eq!(sink.not_judged(RuleId::L29), 1);
    assert!(!sink.judged(RuleId::L29).expect("an event is missing").evaluations.is_whole());
}

/// L47 needs none of these, since older kernels have none, and judges them where there are any.
#[test]
fn a_missing_call_that_a_rule_judges_as_well_is_told() {
    for kind in [Kind::PteOffsetMapRwNolock, Kind::PteOffsetMapRoNolock] {
        let mut m = Made::begun();
        m.lose(Kind::Missed, kind, 1).later(10_000).map_nolock(2, pte(0xa0, START), table(0xa0));
        let engine = end(&mut m);
        let judged = engine.sink().expect("it judges").judged(RuleId::L47);
        assert_eq!(judged.map(|judged| judged.missing), Some(1), "{}", kind.name());
    }
}

#[test]
fn a_rule_says_so_when_a_hole_keeps_it_from_judging() {
    holed::a_rule_says_so_when_a_hole_keeps_it_from_judging(Sound::stream, FAULTS, 25);
}

#[test]
fn a_sound_kernel_with_holes_breaks_nothing() {
    soundness::with_holes(Sound::stream, RuleId::L48, 100);
}

#[test]
fn a_hidden_process_beside_a_sound_kernel_breaks_nothing() {
    // khugepaged and kswapd are processes of their own.
    let unjudged = soundness::with_a_hidden_process(Sound::beside_another_process, &[7, 8], RuleId::L48);
    assert!(unjudged > 20, "{unjudged}");
}

#[test]
fn a_sound_kernel_seen_from_the_middle_breaks_nothing() {
    soundness::from_the_middle(Sound::stream);
}
