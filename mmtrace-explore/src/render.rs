//! An execution as the events that a kernel would have emitted, so that the live rules can judge it.

use std::collections::BTreeSet;

use mmtrace_common::{Column, Kind, Record, spec};
use mmtrace_model::context::{Context, Kernel};

use super::{
    protocol::{World, event::Event},
    schedule,
};
use crate::system::{Move, THREADS_MAX, Tid};

/// An execution of a scenario.
type Execution = schedule::Execution<Event>;

/// Nanoseconds between two steps: more than the clocks of two CPUs differ by, so that the order is never in doubt.
const STEP_NS: u64 = 1_000_000;
/// The time of the first step, nanoseconds: long after the recording began.
const START_NS: u64 = 10_000_000_000;
/// The address of the mm with number 0.
const MM: u64 = 0xffff_8880_0000_1000;
/// The task id of the first thread.
const TID: u32 = 1000;
/// The task that emits what happened before and after the execution.
const CLOCK: u32 = 999;
/// The first task of the process that the first mm is of.
const OWNER: u32 = CLOCK + 1;

/// Returns the context that a recording of an execution would have: every probe is attached.
#[must_use]
pub fn context() -> Context {
    Context::with_every_probe(Kernel {
        release: "6.18.0-explorer".to_owned(),
        machine: "x86_64".to_owned(),
        cpus: THREADS_MAX as u32,
        ..Kernel::default()
    })
}

/// Returns the events of an execution as records.
#[must_use]
pub fn records(execution: &Execution) -> Vec<Record> {
    let mut records = before(execution);
    for (number, line) in execution.lines.iter().enumerate() {
        for (nth, event) in line.events.iter().enumerate() {
            let tid = TID + u32::from(line.tid);
            let mut record = Record {
                ts: START_NS + STEP_NS * number as u64 + nth as u64,
                mm: event.mm.map_or(0, |mm| MM + u64::from(mm) * 0x1000),
                tgid: tid,
                tid,
                kind: event.kind as u16,
                cpu: u16::from(line.tid),
                ..Record::default()
            };
            for (column, value) in &event.fields {
                let spec = spec(event.kind);
                if let Some(field) = spec.fields.iter().find(|f| f.column == *column) {
                    field.set(&mut record, *value);
                }
            }
            records.push(record);
        }
    }
    // The rules take what the last step did for final, since an event follows it late enough.
    let ts = START_NS + STEP_NS * execution.lines.len() as u64;
    records.push(Record { ts, tgid: CLOCK, tid: CLOCK, kind: Kind::TlbFlush as u16, ..Record::default() });
    records
}

/// Returns what was recorded before the execution began: the threads are forked, and no mmap_lock is held. A thread that
/// begins with an mmap_lock held is not forked, and that mmap_lock is left alone. A thread that unshares PMD tables comes
/// from user mode, and another task has unshared one under its lock: so the kernel is one where that call is seen.
fn before(execution: &Execution) -> Vec<Record> {
    let events = || execution.lines.iter().flat_map(|line| line.events.iter().map(move |e| (line.tid, e)));
    let mut held: Vec<(u8, u8)> = Vec::new();
    let (mut tids, mut mms, mut early): (BTreeSet<u8>, BTreeSet<u8>, Vec<(u8, u8)>) = Default::default();
    for (tid, event) in events() {
        tids.insert(tid);
        let Some(mm) = event.mm else { continue };
        mms.insert(mm);
        match event.kind {
            Kind::AcquireReturned if !event.fields.contains(&(Column::Success, 0)) => held.push((tid, mm)),
            Kind::Released => match held.iter().position(|h| *h == (tid, mm)) {
                Some(index) => drop(held.swap_remove(index)),
                None => early.push((tid, mm)),
            },
            _ => {}
        }
    }
    let mut records: Vec<Record> = Vec::new();
    let mut say = |tid: u32, kind: Kind, mm: u64, fields: &[(Column, u64)]| {
        let ts = START_NS - STEP_NS * 1000 + STEP_NS * records.len() as u64;
        let mut record = Record { ts, mm, tgid: tid, tid, kind: kind as u16, ..Record::default() };
        for (column, value) in fields {
            if let Some(field) = spec(kind).fields.iter().find(|f| f.column == *column) {
                field.set(&mut record, *value);
            }
        }
        records.push(record);
    };
    for tid in tids.iter().filter(|t| !early.iter().any(|(tid, _)| tid == *t)) {
        say(CLOCK, Kind::Fork, 0, &[(Column::ChildTid, u64::from(TID + u32::from(*tid)))]);
    }
    // A process runs on each mm, so that what its tasks do to the lock is recorded.
    for mm in &mms {
        let child = (Column::ChildTid, u64::from(OWNER + u32::from(*mm)));
        say(CLOCK, Kind::Fork, MM + u64::from(*mm) * 0x1000, &[child]);
    }
    for mm in mms.iter().filter(|m| !early.iter().any(|(_, mm)| mm == *m)) {
        let mm = MM + u64::from(*mm) * 0x1000;
        say(CLOCK, Kind::StartLocking, mm, &[(Column::Write, 1)]);
        say(CLOCK, Kind::AcquireReturned, mm, &[(Column::Write, 1), (Column::Success, 1)]);
        say(CLOCK, Kind::Released, mm, &[(Column::Write, 1)]);
    }
    for (tid, event) in events().filter(|(_, event)| event.kind == Kind::HugePmdUnshare) {
        let mm = event.mm.map_or(0, |mm| MM + u64::from(mm) * 0x1000);
        if !early.iter().any(|(early, _)| *early == tid) {
            say(TID + u32::from(tid), Kind::PageFaultUser, mm, &[]);
        }
        let locked = [&event.fields[..], &[(Column::Success, 1)]].concat();
        for kind in [Kind::HugetlbVmaTrylockWrite, Kind::HugePmdUnshare, Kind::HugetlbVmaUnlockWrite] {
            say(CLOCK, kind, mm, &locked);
        }
    }
    records
}

/// Returns one execution, to its end: at each step the first thread that can go on does.
#[must_use]
pub fn some(world: &World) -> Vec<Move> {
    let mut state = *world.initial();
    let mut moves = Vec::new();
    while moves.len() < 10_000 && (0..world.threads() as Tid).any(|t| world.must_finish(t) && !world.is_done(&state, t))
    {
        let Some(by) = schedule::enabled(world, &state).next() else { break };
        let Some(next) = world.next_state(&state, by) else { break };
        state = next;
        moves.push(by);
    }
    moves
}

/// Returns when a recording of an execution would have ended, nanoseconds: one step after the last.
#[must_use]
pub fn end(execution: &Execution) -> u64 {
    START_NS + STEP_NS * (execution.lines.len() as u64 + 1)
}
