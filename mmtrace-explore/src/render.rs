//! An execution as the events that a kernel would have emitted: the bridge to the live rules.

use std::collections::BTreeSet;

use mmtrace_common::{Column, Kind, Record, spec};
use mmtrace_model::context::{Context, Kernel};

use super::{
    schedule::{self, Execution},
    search::Move,
};
use crate::protocol::{World, layout::Tid};

/// Between two steps: longer than clocks of CPUs may differ, so that order is never in doubt.
const STEP_NS: u64 = 1_000_000;
/// When the execution begins: well after recording did.
const START_NS: u64 = 10_000_000_000;
/// Addresses of mms.
const MM: u64 = 0xffff_8880_0000_1000;
/// The first thread's number.
const TID: u32 = 1000;
/// Who says that time goes on, and has no part in anything else.
const CLOCK: u32 = 999;
/// The first task of the process that the first mm is of.
const OWNER: u32 = CLOCK + 1;

/// What a recording of it would know besides the events: every probe attached.
#[must_use]
pub fn context() -> Context {
    Context::with_every_probe(Kernel {
        release: "6.18.0-explorer".to_owned(),
        machine: "x86_64".to_owned(),
        cpus: crate::protocol::layout::THREADS_MAX as u32,
        ..Kernel::default()
    })
}

/// The events of an execution.
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
    // What the last step has shown is not undone by what comes soon after: nothing does.
    let ts = START_NS + STEP_NS * execution.lines.len() as u64;
    records.push(Record { ts, tgid: CLOCK, tid: CLOCK, kind: Kind::TlbFlush as u16, ..Record::default() });
    records
}

/// What was seen before it began: the threads are born, and nobody has an mmap_lock. Those that
/// begin in the middle of things, with a lock, are not. Who unshares PMD tables was in user mode, and
/// somebody has unshared one as it should be: on this kernel the call within the lock is seen.
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
    // Some process runs on each mm: what its tasks do to the lock is seen.
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

/// Some execution to its end: whoever can go on does, the first thread first.
#[must_use]
pub fn some(world: &World) -> Vec<Move> {
    let mut state = *world.initial();
    let mut moves = Vec::new();
    while moves.len() < 10_000 && (0..world.threads() as Tid).any(|t| world.must_finish(t) && !world.is_done(&state, t))
    {
        let Some(by) = schedule::enabled(world, &state).next() else { break };
        world.step(&mut state, by.tid, by.choice, None);
        moves.push(by);
    }
    moves
}

/// Returns when a recording of an execution would have ended, nanoseconds: one step after the last.
#[must_use]
pub fn end(execution: &Execution) -> u64 {
    START_NS + STEP_NS * (execution.lines.len() as u64 + 1)
}
