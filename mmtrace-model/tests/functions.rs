//! Rules that rest on events of kernel functions, on streams made up for them: what a sound kernel
//! does raises nothing and is evaluated, one planted fault raises its rule and no other, and what
//! is missing raises nothing.

#[path = "common/holed.rs"]
mod holed;
#[macro_use]
#[path = "common/planting.rs"]
mod planting;
#[path = "common/sound_faults.rs"]
mod sound_faults;
#[path = "common/soundness.rs"]
mod soundness;

use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::{
    model::locks::mmap_lock::EPSILON_NS,
    report::{Output, Report, Style},
    verdict::{RuleId, Verdict},
};
use mmtrace_testing::judging::{broken, judge};
use mmtrace_testing::kernel::{
    ALLOW_RETRY, COMPLETED, LENGTH, MM, Made, NOWAIT, RETRY, START, TRAP, TRIED, USER, VMA, VMA_LOCK, context, without,
};
use planting::{either, ended, met, stream};
use sound_faults::Sound;

const WP: u64 = 0x1000;

/// The first mm dies, under its last write hold.
fn die(m: &mut Made, tid: u32) {
    m.write_lock(tid).say(tid, Kind::ExitMmap, &[]).unlock(tid, true);
}

fn drop_mm(m: &mut Made) {
    m.say(9, Kind::Mmdrop, &[]);
}

/// Under the mmap_lock.
fn slow(m: &mut Made, tid: u32, flags: u64, result: u64) {
    m.lock(tid, false).fault(tid, flags).done(tid, result);
}

faults! {
    L09 fault_on_a_dead_mm = |m, fault| {
        die(m, 1);
        if !fault { drop_mm(m); }
        // Under a lock: that it is dead is another matter.
        m.write_lock(3);
        m.fault(3, 0).done(3, 0).unlock(3, true);
        if fault { drop_mm(m); }
    };
    L09 vma_of_a_dead_mm = |m, fault| {
        die(m, 1);
        if !fault { drop_mm(m); }
        m.grant(3);
        if fault { drop_mm(m); }
    };
    L09 table_linked_in_a_dead_mm = |m, fault| {
        die(m, 1);
        m.say(3, Kind::PmdInstall, &[(Column::Installed, either(fault, 0, 1))]);
        drop_mm(m);
    };
    L09 table_unlinked_in_a_dead_mm = |m, fault| {
        if !fault { m.retract(3).flush(3, 0).retracted(3); }
        die(m, 1);
        if fault { m.retract(3).flush(3, 0).retracted(3); }
        drop_mm(m);
    };
    L10 fault_without_grant = |m, fault| {
        m.fast(2).user(2, START);
        m.grant_of(2, either(fault, VMA, VMA + 0x100), START);
        m.fault(2, TRAP | VMA_LOCK).done(2, 0);
    };
    L10 one_grant_for_two_faults = |m, fault| {
        m.fast(2);
        if !fault { m.user(2, START).grant(2); }
        // Not a trap: how often is another matter.
        m.fault(2, ALLOW_RETRY | VMA_LOCK).done(2, 0);
    };
    L11 nowait_in_vma_mode = |m, fault| {
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK | NOWAIT).done(2, either(fault, 0x40, RETRY));
    };
    L12 address_outside = |m, fault| {
        m.grant_of(2, VMA, START + either(fault, LENGTH - 1, LENGTH));
    };
    L12 another_mm = |m, fault| {
        m.grant(2);
        if fault {
            let last = m.records.last_mut().expect("a grant");
            last.set(Column::SameMm, 0);
        }
    };
    L13 fault_without_lock = |m, fault| {
        m.lock(2, false);
        if fault { m.unlock(2, false); }
        m.fault(2, ALLOW_RETRY).done(2, 0);
        if !fault { m.unlock(2, false); }
    };
    L14 retry_with_the_lock = |m, fault| {
        m.lock(2, false).fault(2, ALLOW_RETRY);
        if !fault { m.unlock(2, false); }
        m.done(2, RETRY);
    };
    L14 completed_with_the_lock = |m, fault| {
        m.user(2, START).lock(2, false).fault(2, TRAP);
        if !fault { m.unlock(2, false); }
        m.done(2, COMPLETED);
    };
    L15 released_and_not_said = |m, fault| {
        m.lock(2, false).fault(2, ALLOW_RETRY);
        if fault { m.unlock(2, false); }
        m.done(2, 0).unlock(2, false);
    };
    L16 read_hold_around = |m, fault| {
        m.user(2, START);
        m.say(2, Kind::StartLocking, &[]);
        if fault { m.say(2, Kind::ContentionBegin, &[]); }
        m.say(2, Kind::AcquireReturned, &[(Column::Success, 1)]);
        m.grant(2).fault(2, TRAP | VMA_LOCK).done(2, 0).unlock(2, false);
    };
    L16 write_hold_around = |m, fault| {
        m.user(2, START);
        if fault { m.write_lock(2); }
        m.grant(2).fault(2, TRAP | VMA_LOCK).done(2, 0);
        if fault { m.unlock(2, true); }
    };
    L17 sleeps_under_the_vma_lock = |m, fault| {
        m.fast(2).user(2, START).grant(2).fault(2, TRAP | VMA_LOCK);
        m.say(2, Kind::ContentionBegin, &[]);
        m.done(2, either(fault, RETRY, 0));
    };
    L18 twice_under_the_vma_lock = |m, fault| {
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK).done(2, RETRY);
        if !fault { m.user(2, START); }
        m.grant(2).fault(2, TRAP | VMA_LOCK).done(2, 0);
    };
    L18 twice_without_tried = |m, fault| {
        m.user(2, START).lock(2, false).fault(2, TRAP).unlock(2, false).done(2, RETRY);
        slow(m, 2, TRAP | either(fault, TRIED, 0), 0);
        m.unlock(2, false);
    };
    L19 writer_beside_a_reader = |m, fault| {
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK);
        m.write_lock(3).say(3, Kind::VmaStartWrite, &[(Column::Vma, VMA)]);
        if fault { m.vma_written(3); }
        m.done(2, 0);
        if !fault { m.vma_written(3); }
        m.unlock(3, true);
    };
    L20 reader_beside_a_writer = |m, fault| {
        m.write_lock(3).vma_write(3);
        if fault { m.grant(2); }
        m.unlock(3, true);
        if !fault { m.grant(2); }
    };
    L20 reader_beside_a_writer_that_stays = |m, fault| {
        m.write_lock(3).vma_write(3);
        if fault { m.grant(2); }
        m.say(3, Kind::AcquireReturned, &[(Column::Success, 1)]);
        if !fault { m.grant(2); }
        m.unlock(3, false);
    };
    L21 vma_written_without_lock = |m, fault| {
        if !fault { m.write_lock(3); }
        m.vma_write(3);
        if !fault { m.unlock(3, true); }
    };
    L21 vma_written_under_a_read_hold = |m, fault| {
        m.lock(3, !fault).vma_write(3).unlock(3, !fault);
    };
    L22 freed_under_a_reader = |m, fault| {
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK);
        if fault { m.free_vma(3); }
        m.done(2, 0);
        if !fault { m.free_vma(3); }
    };
    L22 unmapped_under_a_reader = |m, fault| {
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK);
        m.write_lock(3);
        // Whoever unmaps locks the VMA for writing first, which waits for its readers.
        m.say(3, Kind::VmaStartWrite, &[(Column::Vma, VMA)]);
        if !fault { m.done(2, 0); }
        if fault { m.free_vma(3); }
        if fault { m.done(2, 0); }
        m.unlock(3, true);
    };
    L26 protected_range_is_retracted = |m, fault| {
        m.write_lock(2).register(2, WP).unlock(2, true);
        if !fault { m.write_lock(2).register(2, 0).unlock(2, true); }
        m.retract(3).flush(3, either(fault, 0, WP)).retracted(3);
    };
    L27 locks_in_retract = |m, fault| {
        m.retract(3);
        if !fault { m.retracted(3); }
        m.write_lock(3).unlock(3, true);
        if fault { m.retracted(3); }
    };
    L27 sleeps_in_retract = |m, fault| {
        m.retract(3);
        if fault { m.say(3, Kind::ContentionBegin, &[]); }
        m.retracted(3);
    };
    L33 waits_without_lock = |m, fault| {
        m.lock(2, false).fault(2, ALLOW_RETRY);
        if fault { m.unlock(2, false); }
        m.wait(2).waited(2).done(2, 0);
        if !fault { m.unlock(2, false); }
    };
    L34 locked_folio_is_not_retried = |m, fault| {
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK);
        m.say(2, Kind::FolioLockOrRetry, &[(Column::FaultFlags, TRAP | VMA_LOCK), (Column::FaultResult, RETRY)]);
        m.done(2, either(fault, RETRY, 0));
    };
}

/// What page tables are followed by says nothing of faults and VMA locks.
#[test]
fn missing_events_of_page_tables_hide_nothing() {
    use Kind::*;
    let elsewhere = [
        TlbFlush,
        ContentionEnd,
        MaWrite,
        PteOffsetMap,
        PteOffsetMapLockEnter,
        PteOffsetMapLock,
        PteOffsetMapRwNolock,
        PteOffsetMapRoNolock,
        PmdpCollapseFlushReturn,
        PteFreeDefer,
        PteFreeNow,
        CollapsePteMappedThp,
        CollapsePteMappedThpReturn,
        CollapseHugePageEnter,
        VmaPgtableWalkBegin,
        VmaPgtableWalkEnd,
        HugetlbVmaLockRead,
        HugetlbVmaUnlockRead,
        HugetlbVmaLockWrite,
        HugetlbVmaUnlockWrite,
        HugetlbVmaTrylockWrite,
        HugetlbZapEnd,
        HugePmdUnshare,
        MigrationEntryWaitHuge,
        MigrationEntryWaitOnLocked,
    ];
    planting::what_is_missing_elsewhere_hides_nothing(FAULTS, &elsewhere);
}

/// What a BPF program does on top of a task, in an interrupt: its trylock is seen as the task's, its
/// release as that of whoever runs then (kernel/bpf/mmap_unlock_work.h).
#[test]
fn locks_of_another_context_are_nobodys() {
    for (_, name, plant) in FAULTS {
        let sound = stream(*plant, false);
        // Nobody may get it while somebody has it for write.
        let mut writers = 0;
        let free: Vec<bool> = sound
            .iter()
            .map(|r| {
                let write = r.get(Column::Write) == Some(1);
                match r.kind() {
                    Some(Kind::AcquireReturned) if write => writers += 1,
                    Some(Kind::AcquireReturned) if writers > 0 => writers -= 1,
                    Some(Kind::Released) if write => writers -= 1,
                    _ => {}
                }
                writers == 0
            })
            .collect();
        for at in 8..sound.len() {
            for until in at..sound.len() {
                if !free[at..=until].iter().all(|f| *f) {
                    break;
                }
                for (by, released_by) in [(2, 2), (2, 3), (3, 2), (4, 2)] {
                    // A task's own interrupt is over before it goes on.
                    if by == released_by && at != until {
                        continue;
                    }
                    let ts = |i: usize, n: u64| sound[i].ts + n;
                    let event = |kind: Kind, tid, ts, aux| Record {
                        ts,
                        mm: MM,
                        tgid: 1,
                        tid,
                        kind: kind as u16,
                        aux,
                        ..Record::default()
                    };
                    let mut stream = sound.clone();
                    stream.insert(until + 1, event(Kind::Released, released_by, ts(until, 3000), 0));
                    stream.insert(at + 1, event(Kind::AcquireReturned, by, ts(at, 2000), 2));
                    stream.insert(at + 1, event(Kind::StartLocking, by, ts(at, 1000), 0));
                    stream.sort_by_key(|r| r.ts);
                    assert_eq!(broken(&judge(&context(), stream)), [], "{name} {at} to {until} by {by}, {released_by}");
                }
            }
        }
    }
}

/// A grant that seems to come before the release that it waited for, by less than clocks differ.
#[test]
fn clocks_that_differ_are_no_violation() {
    for (event, kind) in [(0, Kind::Released), (1, Kind::VmAreaFree)] {
        let mut m = Made::begun();
        m.write_lock(3).vma_write(3);
        m.step = EPSILON_NS / 2;
        m.later(10_000).grant(2);
        match event {
            0 => m.unlock(3, true),
            _ => m.say(3, kind, &[(Column::Vma, VMA)]),
        };
        m.step = 10_000;
        m.user(4, START);
        assert_eq!(broken(&judge(&context(), m.records)), [], "{}", kind.name());
    }
    // A task that seems to run on a dead mm, whose struct was given back just before.
    let mut m = Made::begun();
    die(&mut m, 1);
    m.grant(3);
    m.step = EPSILON_NS / 2;
    m.say(9, Kind::Mmdrop, &[]);
    m.later(10_000).at(4, Kind::PageFaultUser, MM + 0x10_0000, &[]);
    assert_eq!(broken(&judge(&context(), m.records)), []);
}

#[test]
fn the_object_may_be_another_mms_at_once() {
    let mut m = Made::begun();
    m.write_lock(3).vma_write(3).free_vma(3);
    let other = [
        (Column::Addr, START),
        (Column::Vma, VMA),
        (Column::VmaStart, START),
        (Column::VmaEnd, START + 1),
        (Column::SameMm, 1),
    ];
    m.at(2, Kind::LockVmaUnderRcu, MM + 0x1000, &other).unlock(3, true).later(10_000).user(4, START);
    assert_eq!(broken(&judge(&context(), m.records)), []);
}

/// A killed wait for the readers leaves the VMA as it was.
#[test]
fn a_vma_that_was_freed_is_told_before_the_lock_for_write() {
    let mut m = Made::begun();
    m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK);
    m.write_lock(3).vma_write(3).free_vma(3);
    m.done(2, 0).unlock(3, true);
    let engine = judge(&context(), ended(&mut m));
    let told: Vec<_> = broken(&engine).into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(told, ["L19", "L22"]);
    let kept: Vec<&str> = engine.sink().expect("it judges").kept().map(|v| v.what.as_str()).collect();
    for what in kept {
        assert!(what.contains("task 3 locked it for write"), "{what}");
        assert!(what.contains("task 3 freed it"), "{what}");
    }
}

/// Faults under locks that a broken kernel gave to several: they are inside until each has left.
#[test]
fn who_is_inside_after_a_breach_is_not_blamed_for_what_it_does() {
    let mut m = Made::begun();
    m.write_lock(1).write_lock(2).later(EPSILON_NS);
    // Both go on with what only one may do, and another one comes.
    for tid in [1, 2] {
        m.vma_write(tid);
    }
    m.write_lock(3).vma_write(3).unlock(3, true);
    m.vma_write(1).vma_write(2).unlock(1, true).vma_write(2).unlock(2, true);
    m.write_lock(3).vma_write(3).unlock(3, true);
    let told: Vec<_> = broken(&judge(&context(), ended(&mut m))).into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(told, ["L01"]);
    // All have left, and another writer came: what is wrong then is told.
    m.vma_write(1);
    let told: Vec<_> = broken(&judge(&context(), ended(&mut m))).into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(told, ["L01", "L21"]);
}

#[test]
fn a_killed_writer_has_nothing() {
    let mut m = Made::begun();
    m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK);
    m.write_lock(3).say(3, Kind::VmaStartWrite, &[(Column::Vma, VMA)]);
    m.say(3, Kind::VmaStartWriteReturn, &[(Column::Vma, VMA), (Column::Ret, u64::from(-4_i32 as u32))]);
    m.grant(1).done(2, 0).unlock(3, true).later(10_000).user(4, START);
    assert_eq!(broken(&judge(&context(), m.records)), []);
}

/// Not judged: faults in the kernel on the way, gup, a call in a call.
#[test]
fn what_is_not_one_fault_in_user_mode_is_not_judged_as_one() {
    let mut m = Made::begun();
    // A signal's frame is written from the kernel, after a fault that was given up.
    m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK).done(2, RETRY);
    slow(&mut m, 2, TRAP, 0);
    m.unlock(2, false).say(2, Kind::PageFaultKernel, &[(Column::Addr, START)]);
    slow(&mut m, 2, ALLOW_RETRY, 0);
    slow(&mut m, 2, ALLOW_RETRY, 0);
    m.unlock(2, false).unlock(2, false);
    // gup keeps the lock over many faults, and need not wait.
    m.user(2, START).lock(2, false);
    for _ in 0..3 {
        m.fault(2, ALLOW_RETRY).done(2, 0);
    }
    m.fault(2, ALLOW_RETRY | NOWAIT).done(2, RETRY).unlock(2, false);
    // A call in a call: neither is judged.
    m.user(2, START).lock(2, false).fault(2, USER | ALLOW_RETRY).fault(2, ALLOW_RETRY).unlock(2, false);
    m.done(2, 0).done(2, 0);
    assert_eq!(broken(&judge(&context(), m.records)), []);
}

/// A task waits for a migration under the VMA's lock; a writer waits for it, then frees tables.
fn delayed_writer() -> Made {
    let mut m = Made::begun();
    m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK).wait(2);
    m.write_lock(3).say(3, Kind::VmaStartWrite, &[(Column::Vma, VMA)]);
    m.later(1_000_000).waited(2).done(2, 0).vma_written(3);
    m
}

#[test]
fn a_writer_delayed_by_a_migration_is_measured_and_told() {
    let m = delayed_writer();
    let engine = judge(&context(), &m.records);
    let measures = engine.model().expect("it judges").measures();
    let distribution = measures.distribution(RuleId::M01).expect("one overlap");
    assert_eq!(distribution.count, 1);
    let worst = measures.worst(RuleId::M01);
    assert_eq!((worst[0].waiter, worst[0].writer, worst[0].mm, worst[0].vma, worst[0].addr), (2, 3, MM, VMA, START));
    assert_eq!(worst[0].ns, 1_010_000);
    let report = Report::new(&engine);
    let mut text = Vec::new();
    report.print(Output::All, Style::plain(), &mut text).expect("to memory");
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("VMA lock held for read across a migration wait while a writer waits"), "{text}");
    assert!(text.contains("task 2 held VMA"), "{text}");
    let json = serde_json::to_value(&report).expect("JSON");
    let rule = json["rules"].as_array().expect("a list").iter().find(|r| r["id"] == "M01").expect("it is there");
    assert_eq!(rule["worst"][0]["writer"], 3);
}

#[test]
fn the_writer_who_waits_for_the_mmap_lock_is_measured() {
    let mut m = Made::begun();
    m.lock(2, false).fault(2, ALLOW_RETRY).wait(2);
    m.say(3, Kind::StartLocking, &[(Column::Write, 1)]).waited(2).done(2, 0).unlock(2, false);
    m.say(3, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]).unlock(3, true);
    assert_eq!((met(&m.records, RuleId::M02), met(&m.records, RuleId::M01)), (1, 0));
}

#[test]
fn only_the_longest_overlaps_are_kept() {
    let mut m = Made::begun();
    for n in 1..=20 {
        m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK).wait(2).write_lock(3);
        m.say(3, Kind::VmaStartWrite, &[(Column::Vma, VMA)]).later(n * 1000).waited(2).done(2, 0);
        m.vma_written(3).unlock(3, true);
    }
    let engine = judge(&context(), &m.records);
    let worst: Vec<u64> =
        engine.model().expect("it judges").measures().worst(RuleId::M01).iter().map(|o| o.ns).collect();
    assert_eq!(worst, [30_000, 29_000, 28_000, 27_000]);
}

#[test]
fn tables_freed_by_a_delayed_writer_are_counted() {
    let mut m = delayed_writer();
    assert_eq!(met(&m.records, RuleId::H06), 0);
    // munmap frees them after its downgrade.
    m.say(3, Kind::AcquireReturned, &[(Column::Success, 1)]);
    let mut late = m.clone();
    m.say(3, Kind::PteFreeTlb, &[]).unlock(3, false);
    assert_eq!(met(&m.records, RuleId::H06), 1);
    late.unlock(3, false).say(3, Kind::PteFreeTlb, &[]);
    assert_eq!(met(&late.records, RuleId::H06), 0);
}

#[test]
fn a_fault_that_falls_back_is_measured() {
    let mut m = Made::begun();
    m.user(2, START).grant_of(2, 0, START);
    slow(&mut m, 2, TRAP, 0);
    m.unlock(2, false).fast(2);
    assert_eq!(met(&m.records, RuleId::M03), 1);
    m.user(2, START).grant(2).fault(2, TRAP | VMA_LOCK).done(2, RETRY);
    slow(&mut m, 2, TRAP | TRIED, 0);
    m.unlock(2, false);
    assert_eq!(met(&m.records, RuleId::M03), 2);
}

#[test]
fn what_goes_on_beside_a_retract_is_counted() {
    let protect = [(Column::Addr, START), (Column::Len, LENGTH)];
    let mut m = Made::begun();
    m.retract(3).say(2, Kind::MwriteprotectRange, &protect).say(2, Kind::MwriteprotectRangeReturn, &protect);
    m.say(2, Kind::VmfAnonPrepare, &[(Column::Vma, VMA)]).retracted(3);
    m.say(2, Kind::MwriteprotectRange, &protect).say(2, Kind::VmfAnonPrepare, &[(Column::Vma, VMA)]);
    assert_eq!((met(&m.records, RuleId::H04), met(&m.records, RuleId::H05)), (1, 1));
    m.retract(3);
    assert_eq!(met(&m.records, RuleId::H04), 2);
}

/// The mm of task 1 dies; a process that nobody sees forks task 7, whose mm gets the same address.
fn reused(seen: impl Fn(&Record) -> bool) -> Vec<Record> {
    let mut made = Made::begun();
    let (parent, child) = (6, 7);
    made.write_lock(1).say(1, Kind::ExitMmap, &[]).unlock(1, true).say(1, Kind::Exit, &[]);
    made.say(parent, Kind::Mmdrop, &[]);
    made.write_lock(parent).unlock(parent, true);
    let born = [(Column::ChildPid, u64::from(child)), (Column::ChildTid, u64::from(child))];
    made.say(parent, Kind::Fork, &born);
    for _ in 0..3 {
        made.fast(child);
        made.say(child, Kind::PmdInstall, &[(Column::Installed, 1)]);
        made.write_lock(child).vma_write(child).unlock(child, true);
    }
    made.later(EPSILON_NS).at(4, Kind::PageFaultUser, MM + 0x10_0000, &[]);
    made.records.retain(seen);
    made.records
}

#[test]
fn a_child_of_a_hidden_process_may_get_the_address_of_a_dead_mm() {
    let engine = judge(&context(), reused(|r| r.tid != 6));
    assert_eq!(broken(&engine), []);
    let sink = engine.sink().expect("it judges");
    assert_eq!((sink.not_judged(RuleId::L44), sink.not_judged(RuleId::L09)), (1, 1));
    // Announced, it is judged.
    let engine = judge(&context(), reused(|_| true));
    assert_eq!(broken(&engine), []);
    let sink = engine.sink().expect("it judges");
    assert_eq!((sink.not_judged(RuleId::L44), sink.not_judged(RuleId::L09)), (0, 0));
    assert_eq!((sink.evaluations(RuleId::L44), sink.evaluations(RuleId::L09)), (1, 1));
}

#[test]
fn who_cannot_see_exits_does_not_judge_who_runs_on_a_dead_mm() {
    let engine = judge(&without(&[Kind::Exit]), reused(|_| true));
    use RuleId::{L09, L44};
    let sink = engine.sink().expect("it judges");
    assert_eq!([L09, L44].map(|rule| sink.verdict(rule)), [Verdict::NotObservable; 2]);
}

/// khugepaged works on an mm whose birth and death nobody sees.
#[test]
fn others_may_work_on_the_mm_of_a_hidden_process() {
    for steps in 0..6 {
        let mut made = Made::begun();
        made.write_lock(1).say(1, Kind::ExitMmap, &[]).unlock(1, true).say(1, Kind::Exit, &[]);
        let khugepaged = 9;
        for step in 0..6 {
            match (step + steps) % 6 {
                0 => made.write_lock(khugepaged).vma_write(khugepaged).unlock(khugepaged, true),
                1 => made.say(khugepaged, Kind::PmdInstall, &[(Column::Installed, 1)]),
                2 => made.lock(khugepaged, false).fault(khugepaged, 0).done(khugepaged, 0).unlock(khugepaged, false),
                3 => made.grant(khugepaged),
                4 => made.retract(khugepaged).flush(khugepaged, 0).retracted(khugepaged),
                _ => made.fast(khugepaged),
            };
        }
        made.later(EPSILON_NS).at(4, Kind::PageFaultUser, MM + 0x10_0000, &[]);
        assert_eq!(broken(&judge(&context(), &made.records)), [], "from step {steps}");
    }
}

/// A thread that makes an exec takes over its leader's id; its own goes to another process.
#[test]
fn an_id_given_back_by_an_exec_is_nobodys() {
    let mut made = Made::begun();
    let new = MM + 0x5000;
    made.user(2, START);
    made.write_lock(1).say(1, Kind::ExitMmap, &[]).unlock(1, true);
    made.at(1, Kind::Exec, new, &[(Column::OldPid, 2)]).at(1, Kind::PageFaultUser, new, &[]);
    // Task 2 is another one by now, whose fork was not seen, on an mm at the old address.
    made.user(2, START).fast(2);
    made.later(EPSILON_NS).at(4, Kind::PageFaultUser, MM + 0x10_0000, &[]);
    assert_eq!(broken(&judge(&context(), &made.records)), []);
}

/// `mmap_lock` holds learned in `dup_mmap()`, before the fork is announced, are true of the child's mm.
#[test]
fn the_exit_of_a_forked_child_at_a_reused_address_is_judged() {
    let mut made = Made::begun();
    made.write_lock(1).say(1, Kind::ExitMmap, &[]).unlock(1, true).say(1, Kind::Exit, &[]);
    made.say(1, Kind::Mmdrop, &[]);
    made.write_lock(2).unlock(2, true);
    made.say(2, Kind::Fork, &[(Column::ChildPid, 7), (Column::ChildTid, 7)]);
    made.user(7, START);
    let sound = made.clone();
    made.say(7, Kind::ExitMmap, &[]);
    made.later(EPSILON_NS).at(4, Kind::PageFaultUser, MM + 0x10_0000, &[]);
    let faulty = broken(&judge(&context(), &made.records));
    assert_eq!(faulty.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), ["L43"]);
    let mut made = sound;
    made.write_lock(7).say(7, Kind::ExitMmap, &[]).unlock(7, true);
    let engine = judge(&context(), &made.records);
    assert_eq!(broken(&engine), []);
    assert_eq!(engine.sink().expect("it judges").evaluations(RuleId::L43), 2);
}

#[test]
fn a_sound_kernel_breaks_nothing() {
    use RuleId::*;
    let rules =
        [L10, L11, L12, L13, L14, L15, L16, L17, L18, L19, L20, L21, L22, L26, L27, L33, L34, H04, H06, M01, M02, M03];
    soundness::whole(Sound::stream, &rules);
}

#[test]
fn a_rule_says_so_when_a_hole_keeps_it_from_judging() {
    holed::a_rule_says_so_when_a_hole_keeps_it_from_judging(Sound::stream, FAULTS, 25);
}

#[test]
fn a_sound_kernel_with_holes_breaks_nothing() {
    soundness::with_holes(Sound::stream, RuleId::L19, 1000);
}

#[test]
fn a_hidden_process_beside_a_sound_kernel_breaks_nothing() {
    let others = [sound_faults::RETRACTING];
    let unjudged = soundness::with_a_hidden_process(Sound::beside_another_process, &others, RuleId::L02);
    assert!(unjudged > 100, "{unjudged}");
}

#[test]
fn a_sound_kernel_seen_from_the_middle_breaks_nothing() {
    soundness::from_the_middle(Sound::stream);
}
