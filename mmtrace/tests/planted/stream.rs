//! A capture with an index, in which places for faults are looked for.

use std::collections::HashMap;

use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::model::locks::mmap_lock::EPSILON_NS;

use crate::golden::Golden;

/// No place: not in this capture.
pub(crate) const NONE: usize = usize::MAX;

/// One observed hold of an mmap_lock: indices of its events, or [`NONE`].
#[derive(Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) start: usize,
    pub(crate) acquired: usize,
    /// The release; for a write hold that is downgraded, the downgrade.
    pub(crate) released: usize,
    pub(crate) write: bool,
    /// A read hold that was a write hold before.
    pub(crate) downgraded: bool,
    /// A write hold that goes on as a read hold.
    pub(crate) becomes_read: bool,
}

/// What holds around one event, after it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Around {
    /// Read holds of its mm.
    pub(crate) readers: u32,
    /// Downgraded ones among them.
    pub(crate) downgraded: u32,
    /// A write hold of its mm is open.
    pub(crate) written: bool,
    /// Write holds of all mms.
    pub(crate) writers: u32,
    /// Write acquisitions until here, of all mms.
    pub(crate) writes: u32,
    /// Who holds the lock of its mm is known: a write acquisition was seen since the mm was made,
    /// and longer ago than clocks may differ.
    pub(crate) complete: bool,
    /// Its task was seen where it holds nothing: in user mode, newborn, at the end of a scan or collapse.
    pub(crate) anchored: bool,
    /// Its task was seen in user mode, or is newborn.
    pub(crate) user: bool,
    /// A task was seen to run on its mm: what is done to its lock is seen.
    pub(crate) run: bool,
}

/// A capture with an index. It knows of locks what a reader of the stream would say,
/// and nothing of the model.
pub(crate) struct Stream {
    pub(crate) golden: &'static Golden,
    pub(crate) around: Vec<Around>,
    pub(crate) holds: Vec<Hold>,
    /// By acquisition, and by release.
    pub(crate) hold_at: HashMap<usize, usize>,
    /// Indices of each task's records, of each mm's.
    pub(crate) by_task: HashMap<u32, Vec<usize>>,
    pub(crate) by_mm: HashMap<u64, Vec<usize>>,
}

pub(crate) fn is_write(record: &Record) -> bool {
    record.get(Column::Write) == Some(1)
}

pub(crate) fn is_acquired(record: &Record) -> bool {
    record.kind() == Some(Kind::AcquireReturned) && record.get(Column::Success) == Some(1)
}

/// What the index says of one mm while it is being made.
#[derive(Default)]
struct MmState {
    pub(crate) open: Vec<usize>,
    /// Since when its holders are known.
    pub(crate) complete: Option<u64>,
    pub(crate) dead: bool,
    pub(crate) run: bool,
}

impl Stream {
    pub(crate) fn new(golden: &'static Golden) -> Self {
        let records = &golden.records;
        assert!(records.is_sorted_by_key(|r| r.ts), "{}: not in order", golden.name);
        let mut stream = Self {
            golden,
            around: Vec::with_capacity(records.len()),
            holds: Vec::new(),
            hold_at: HashMap::new(),
            by_task: HashMap::new(),
            by_mm: HashMap::new(),
        };
        let mut mms: HashMap<u64, MmState> = HashMap::new();
        let mut pending: HashMap<(u32, u64, bool), Vec<usize>> = HashMap::new();
        let mut tasks: HashMap<u32, (bool, bool)> = HashMap::new();
        let (mut writers, mut writes) = (0, 0);
        for (i, r) in records.iter().enumerate() {
            stream.by_task.entry(r.tid).or_default().push(i);
            stream.by_mm.entry(r.mm).or_default().push(i);
            let mm = mms.entry(r.mm).or_default();
            let task = tasks.entry(r.tid).or_default();
            let key = (r.tid, r.mm, is_write(r));
            match r.kind().expect("a known kind") {
                Kind::StartLocking => pending.entry(key).or_default().push(i),
                Kind::AcquireReturned => {
                    let start = pending.get_mut(&key).and_then(Vec::pop);
                    if is_acquired(r) {
                        if start.is_none() {
                            writers -= stream.close(&mut mm.open, i, true);
                        }
                        let (write, downgraded) = (is_write(r), start.is_none() && !is_write(r));
                        let start = start.unwrap_or(NONE);
                        let hold = Hold { start, acquired: i, released: NONE, write, downgraded, becomes_read: false };
                        stream.hold_at.insert(i, stream.holds.len());
                        mm.open.push(stream.holds.len());
                        stream.holds.push(hold);
                        if write {
                            mm.complete.get_or_insert(r.ts);
                            writers += 1;
                            writes += 1;
                        }
                    }
                }
                Kind::Released => {
                    writers -= stream.close(&mut mm.open, i, is_write(r));
                    if mm.dead {
                        mm.complete = None;
                        mm.run = false;
                    }
                }
                Kind::PageFaultUser => {
                    *task = (true, true);
                    mm.run = true;
                }
                Kind::ScanPmd | Kind::ScanFile | Kind::CollapseHugePage => task.0 = true,
                Kind::ExitMmap => mm.dead = true,
                Kind::Fork | Kind::Exec => {
                    mm.run = true;
                    if std::mem::take(&mut mm.dead) {
                        mm.complete = None;
                    }
                    if r.kind() == Some(Kind::Fork) {
                        let child = r.get(Column::ChildTid).expect("a fork has a child") as u32;
                        tasks.insert(child, (true, true));
                    }
                }
                _ => {}
            }
            let task = tasks.get(&r.tid).copied().unwrap_or_default();
            let open = || mm.open.iter().map(|h| stream.holds[*h]);
            stream.around.push(Around {
                readers: open().filter(|h| !h.write).count() as u32,
                downgraded: open().filter(|h| h.downgraded).count() as u32,
                written: open().any(|h| h.write),
                writers,
                writes,
                complete: mm.complete.is_some_and(|since| r.ts > since + EPSILON_NS),
                anchored: task.0,
                user: task.1,
                run: mm.run,
            });
        }
        stream
    }

    /// Ends the hold that the event at `i` ends. Returns 1 when that was a write hold.
    pub(crate) fn close(&mut self, open: &mut Vec<usize>, i: usize, write: bool) -> u32 {
        let tid = self.record(i).tid;
        let Some(index) = open.iter().rposition(|h| {
            let hold = self.holds[*h];
            hold.write == write && self.record(hold.acquired).tid == tid
        }) else {
            return 0;
        };
        let hold = open.remove(index);
        self.hold_at.insert(i, hold);
        self.holds[hold].released = i;
        self.holds[hold].becomes_read = write && is_acquired(self.record(i));
        u32::from(write)
    }

    pub(crate) fn record(&self, i: usize) -> &'static Record {
        &self.golden.records[i]
    }

    pub(crate) fn kind(&self, i: usize) -> Kind {
        self.record(i).kind().expect("a known kind")
    }

    /// The hold that begins at this event.
    pub(crate) fn begins(&self, i: usize) -> Option<Hold> {
        self.hold_at.get(&i).map(|h| self.holds[*h]).filter(|h| h.acquired == i && h.released != NONE)
    }

    /// The hold that ends with this release.
    pub(crate) fn ends(&self, i: usize) -> Option<Hold> {
        if self.kind(i) != Kind::Released {
            return None;
        }
        self.hold_at.get(&i).map(|h| self.holds[*h])
    }

    /// This task's records behind `i`.
    pub(crate) fn task_after(&self, tid: u32, i: usize) -> &[usize] {
        let all = self.by_task.get(&tid).map_or(&[][..], Vec::as_slice);
        &all[all.partition_point(|at| *at <= i)..]
    }

    /// This task's records in front of `i`.
    pub(crate) fn task_before(&self, tid: u32, i: usize) -> &[usize] {
        let all = self.by_task.get(&tid).map_or(&[][..], Vec::as_slice);
        &all[..all.partition_point(|at| *at < i)]
    }

    /// This mm's records behind `i`.
    pub(crate) fn mm_after(&self, mm: u64, i: usize) -> &[usize] {
        let all = self.by_mm.get(&mm).map_or(&[][..], Vec::as_slice);
        &all[all.partition_point(|at| *at <= i)..]
    }

    /// The write hold of this event's task that the event lies in.
    pub(crate) fn within_write(&self, i: usize) -> Option<Hold> {
        let tid = self.record(i).tid;
        let last = self.task_before(tid, i).iter().rev().find(|at| self.hold_at.contains_key(at))?;
        self.begins(*last).filter(|h| h.write && h.released > i && h.start != NONE)
    }

    /// Where a record of this time belongs, behind `i`.
    pub(crate) fn at(&self, ts: u64, i: usize) -> usize {
        self.golden.records.partition_point(|r| r.ts <= ts).max(i + 1)
    }

    pub(crate) fn has(&self, kind: Kind, tid: u32, from: usize, to: usize) -> bool {
        self.task_after(tid, from).iter().take_while(|at| **at < to).any(|at| self.kind(*at) == kind)
    }
}
