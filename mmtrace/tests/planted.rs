//! Every rule notices what it is about: faults planted into captures of real kernels.
//!
//! A fault is planted at one place of a capture, in memory, by taking away, adding or
//! changing a few events. The rule must be broken, at or after that place, and no other.
//! Not every place shows the fault; the comment at each fault says which do, and the
//! search for places asks for just that.

#[path = "common/golden.rs"]
mod golden;
#[path = "common/judging.rs"]
mod judging;

use std::{
    collections::{BTreeMap, HashMap},
    sync::OnceLock,
};

use golden::{Golden, goldens};
use judging::{broken, judge};
use mmtrace::{
    context::Context,
    model::lock::EPSILON_NS,
    replay::Engine,
    report::{Report, Style},
    verdict::{RULES, RuleId},
};
use mmtrace_common::{Column, Kind, Record};

/// Places tried of one fault in one capture.
const SPOTS: usize = 24;
/// Events replayed behind the place of most faults; of the first, middle and last, all that come.
const TAIL: usize = 20_000;
/// How much earlier recording is said to have begun, nanoseconds.
const HEAD_NS: u64 = 10_000_000_000;
/// No place: not in this capture.
const NONE: usize = usize::MAX;
/// Rules about events that the captures do not have; their faults are in `functions.rs` and `tables.rs`.
const ELSEWHERE: &[RuleId] = {
    use RuleId::*;
    &[
        L09, L10, L11, L12, L13, L14, L15, L16, L17, L18, L19, L20, L21, L22, L26, L27, L33, L34, L23, L24, L25, L28,
        L29, L30, L31, L32, L47, L48,
    ]
};
/// A task that is in no capture.
const STRANGER: u32 = 4_194_300;

/// One thing to do to a stream.
#[derive(Clone, Copy)]
enum Step {
    /// Puts a record in front of the one at this index.
    Add(Record),
    /// Takes the record at this index away.
    Remove,
    /// Puts another in its place.
    Change(Record),
}

/// A planted fault.
#[derive(Clone, Default)]
struct Edit(Vec<(usize, Step)>);

impl Edit {
    fn add(mut self, at: usize, record: Record) -> Self {
        self.0.push((at, Step::Add(record)));
        self
    }

    fn remove(mut self, at: usize) -> Self {
        self.0.push((at, Step::Remove));
        self
    }

    fn change(mut self, at: usize, record: Record) -> Self {
        self.0.push((at, Step::Change(record)));
        self
    }

    /// Time of the first thing that is not as it was.
    fn since(&self, golden: &Golden) -> u64 {
        let times = self.0.iter().map(|(at, step)| match step {
            Step::Add(record) => record.ts,
            Step::Remove | Step::Change(_) => golden.records[*at].ts,
        });
        times.min().expect("an edit does something")
    }

    fn last(&self) -> usize {
        self.0.iter().map(|(at, _)| *at).max().expect("an edit does something")
    }

    /// Judges the stream with the fault in it, up to the record at `end`.
    ///
    /// As if recording had begun some seconds before its first event: rules that wait for what was
    /// in flight at the start have waited.
    fn judge(&self, golden: &Golden, end: usize) -> Engine {
        let context = Context { start: golden.context.start.saturating_sub(HEAD_NS), ..golden.context.clone() };
        let mut steps = self.0.clone();
        steps.sort_by_key(|(at, _)| *at);
        let mut stream: Vec<&[Record]> = Vec::new();
        let mut at = 0;
        for (index, step) in &steps {
            stream.push(&golden.records[at..*index]);
            at = *index;
            match step {
                Step::Add(record) => stream.push(std::slice::from_ref(record)),
                Step::Remove => at += 1,
                Step::Change(record) => {
                    stream.push(std::slice::from_ref(record));
                    at += 1;
                }
            }
        }
        stream.push(&golden.records[at..end.max(at)]);
        judge(&context, stream.into_iter().flatten())
    }
}

/// One observed hold of an mmap_lock: indices of its events, or [`NONE`].
#[derive(Clone, Copy)]
struct Hold {
    start: usize,
    acquired: usize,
    /// The release; for a write hold that is downgraded, the downgrade.
    released: usize,
    write: bool,
    /// A read hold that was a write hold before.
    downgraded: bool,
    /// A write hold that goes on as a read hold.
    becomes_read: bool,
}

/// What holds around one event, after it.
#[derive(Clone, Copy, Default)]
struct Around {
    /// Read holds of its mm.
    readers: u32,
    /// Downgraded ones among them.
    downgraded: u32,
    /// A write hold of its mm is open.
    written: bool,
    /// Write holds of all mms.
    writers: u32,
    /// Write acquisitions until here, of all mms.
    writes: u32,
    /// Who holds the lock of its mm is known: a write acquisition was seen since the mm was made,
    /// and longer ago than clocks may differ.
    complete: bool,
    /// Its task was seen where it holds nothing: in user mode, newborn, at the end of a scan or collapse.
    anchored: bool,
    /// Its task was seen in user mode, or is newborn.
    user: bool,
}

/// A capture with an index. It knows of locks what a reader of the stream would say,
/// and nothing of the model.
struct Stream {
    golden: &'static Golden,
    around: Vec<Around>,
    holds: Vec<Hold>,
    /// By acquisition, and by release.
    hold_at: HashMap<usize, usize>,
    /// Indices of each task's records, of each mm's.
    by_task: HashMap<u32, Vec<usize>>,
    by_mm: HashMap<u64, Vec<usize>>,
}

fn is_write(record: &Record) -> bool {
    record.get(Column::Write) == Some(1)
}

fn is_acquired(record: &Record) -> bool {
    record.kind() == Some(Kind::AcquireReturned) && record.get(Column::Success) == Some(1)
}

/// What the index says of one mm while it is being made.
#[derive(Default)]
struct MmState {
    open: Vec<usize>,
    /// Since when its holders are known.
    complete: Option<u64>,
    dead: bool,
}

impl Stream {
    fn new(golden: &'static Golden) -> Self {
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
                    }
                }
                Kind::PageFaultUser => *task = (true, true),
                Kind::ScanPmd | Kind::ScanFile | Kind::CollapseHugePage => task.0 = true,
                Kind::ExitMmap => mm.dead = true,
                Kind::Fork | Kind::Exec => {
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
            });
        }
        stream
    }

    /// Ends the hold that the event at `i` ends. Returns 1 when that was a write hold.
    fn close(&mut self, open: &mut Vec<usize>, i: usize, write: bool) -> u32 {
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

    fn record(&self, i: usize) -> &'static Record {
        &self.golden.records[i]
    }

    fn kind(&self, i: usize) -> Kind {
        self.record(i).kind().expect("a known kind")
    }

    /// The hold that begins at this event.
    fn begins(&self, i: usize) -> Option<Hold> {
        self.hold_at.get(&i).map(|h| self.holds[*h]).filter(|h| h.acquired == i && h.released != NONE)
    }

    /// The hold that ends with this release.
    fn ends(&self, i: usize) -> Option<Hold> {
        if self.kind(i) != Kind::Released {
            return None;
        }
        self.hold_at.get(&i).map(|h| self.holds[*h])
    }

    /// This task's records behind `i`.
    fn task_after(&self, tid: u32, i: usize) -> &[usize] {
        let all = self.by_task.get(&tid).map_or(&[][..], Vec::as_slice);
        &all[all.partition_point(|at| *at <= i)..]
    }

    /// This task's records in front of `i`.
    fn task_before(&self, tid: u32, i: usize) -> &[usize] {
        let all = self.by_task.get(&tid).map_or(&[][..], Vec::as_slice);
        &all[..all.partition_point(|at| *at < i)]
    }

    /// This mm's records behind `i`.
    fn mm_after(&self, mm: u64, i: usize) -> &[usize] {
        let all = self.by_mm.get(&mm).map_or(&[][..], Vec::as_slice);
        &all[all.partition_point(|at| *at <= i)..]
    }

    /// The write hold of this event's task that the event lies in.
    fn within_write(&self, i: usize) -> Option<Hold> {
        let tid = self.record(i).tid;
        let last = self.task_before(tid, i).iter().rev().find(|at| self.hold_at.contains_key(at))?;
        self.begins(*last).filter(|h| h.write && h.released > i && h.start != NONE)
    }

    /// Where a record of this time belongs, behind `i`.
    fn at(&self, ts: u64, i: usize) -> usize {
        self.golden.records.partition_point(|r| r.ts <= ts).max(i + 1)
    }

    fn has(&self, kind: Kind, tid: u32, from: usize, to: usize) -> bool {
        self.task_after(tid, from).iter().take_while(|at| **at < to).any(|at| self.kind(*at) == kind)
    }
}

/// A record of this kind by the same task at the same time, without arguments.
fn like(record: &Record, kind: Kind) -> Record {
    Record { kind: kind as u16, aux: 0, args: [0; 6], ..*record }
}

fn lock_event(kind: Kind, tid: u32, mm: u64, write: bool, like: &Record, ts: u64) -> Record {
    let success = if kind == Kind::AcquireReturned { 2 } else { 0 };
    Record { kind: kind as u16, tid, mm, ts, aux: u32::from(write) | success, args: [0; 6], ..*like }
}

/// A whole hold by nobody that the capture knows, so long that it cannot be a matter of
/// clocks, inside `hold`.
fn intrude(s: &Stream, hold: Hold, write: bool) -> Option<Edit> {
    let from = s.record(hold.acquired);
    let begin = from.ts + 500;
    let end = begin + EPSILON_NS + 500;
    if s.record(hold.released).ts <= end + 500 {
        return None;
    }
    let (i, j) = (s.at(begin, hold.acquired), s.at(end, hold.acquired));
    let event = |kind, ts| lock_event(kind, STRANGER, from.mm, write, from, ts);
    Some(
        Edit::default()
            .add(i, event(Kind::StartLocking, begin))
            .add(i, event(Kind::AcquireReturned, begin))
            .add(j, event(Kind::Released, end)),
    )
}

/// Takes the release at `i` away. It shows as an overlap with the next to hold the lock for
/// longer than clocks may differ; with the next writer, if it was a read hold. That must be a
/// writer, or another rule is broken; and the holder must not be caught otherwise before: in
/// user mode, waiting for the lock, or at the end of a collapse.
fn forget_release(s: &Stream, i: usize) -> Option<Edit> {
    let (tid, mm, write) = (s.record(i).tid, s.record(i).mm, is_write(s.record(i)));
    let long = |hold: &Hold| s.record(hold.released).ts > s.record(hold.acquired).ts + EPSILON_NS;
    let mut next = s.mm_after(mm, i).iter().filter_map(|at| s.begins(*at));
    let taker = next.find(|hold| long(hold) && (write || hold.write))?;
    if !taker.write {
        return None;
    }
    let caught = [
        Kind::PageFaultUser,
        Kind::Exit,
        Kind::ContentionBegin,
        Kind::CollapseHugePage,
        Kind::CollapseFile,
        Kind::CollapseIsolate,
        Kind::ScanPmd,
        Kind::ExitMmap,
    ];
    if caught.iter().any(|kind| s.has(*kind, tid, i, taker.released + 1)) {
        return None;
    }
    // Another read release of the task would end this hold.
    let again = |at: &usize| s.kind(*at) == Kind::Released && !is_write(s.record(*at));
    if !write && s.task_after(tid, i).iter().take_while(|at| **at < taker.acquired).any(again) {
        return None;
    }
    // And nothing is left of it once the mm is another one.
    let other = |at: &usize| matches!(s.kind(*at), Kind::ExitMmap | Kind::Fork | Kind::Exec);
    if s.mm_after(mm, i).iter().take_while(|at| **at < taker.released).any(other) {
        return None;
    }
    Some(Edit::default().remove(i))
}

/// Takes a whole hold away.
fn forget_hold(hold: Hold) -> Option<Edit> {
    let whole = hold.start != NONE && hold.released != NONE && !hold.becomes_read;
    whole.then(|| Edit::default().remove(hold.start).remove(hold.acquired).remove(hold.released))
}

fn l01_missing_release(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| h.write)?;
    forget_release(s, i)
}

fn l01_second_writer(s: &Stream, i: usize) -> Option<Edit> {
    intrude(s, s.begins(i).filter(|h| h.write)?, true)
}

fn l02_reader_in_write_hold(s: &Stream, i: usize) -> Option<Edit> {
    intrude(s, s.begins(i).filter(|h| h.write)?, false)
}

/// No downgraded hold beside it: then L03 is the rule.
fn l02_writer_in_read_hold(s: &Stream, i: usize) -> Option<Edit> {
    let hold = s.begins(i).filter(|h| !h.write && !h.downgraded)?;
    if s.around[i].downgraded > 0 {
        return None;
    }
    intrude(s, hold, true)
}

fn l02_missing_release(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| !h.write && !h.downgraded)?;
    forget_release(s, i)
}

fn l03_writer_in_downgraded_hold(s: &Stream, i: usize) -> Option<Edit> {
    intrude(s, s.begins(i).filter(|h| h.downgraded)?, true)
}

fn l03_missing_release(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| h.downgraded)?;
    forget_release(s, i)
}

/// The holders of the lock are known.
fn l04_released_by_another(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| h.write)?;
    s.around[i].complete.then_some(())?;
    Some(Edit::default().change(i, Record { tid: STRANGER, ..*s.record(i) }))
}

/// The release is missing and the task is seen in user mode before anybody else gets the lock (that would be L01 or L02) and before it waits for the
/// lock itself (L07).
fn l05_user_mode(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| h.write)?;
    let (tid, mm) = (s.record(i).tid, s.record(i).mm);
    let end = *s.task_after(tid, i).iter().find(|at| s.kind(**at) == Kind::PageFaultUser)?;
    let taken = s.mm_after(mm, i).iter().take_while(|at| **at < end).any(|at| is_acquired(s.record(*at)));
    let caught = [Kind::Exit, Kind::ContentionBegin, Kind::CollapseHugePage, Kind::CollapseFile];
    let caught = caught.iter().any(|kind| s.has(*kind, tid, i, end));
    (!taken && !caught).then(|| Edit::default().remove(i))
}

/// No thread in the captures exits soon after it held the lock for write, so the exit is put
/// into the hold. Not into a collapse: nobody goes on isolating pages after his exit.
fn l05_exit(s: &Stream, i: usize) -> Option<Edit> {
    let hold = s.begins(i).filter(|h| h.write)?;
    let fits = !s.has(Kind::CollapseIsolate, s.record(i).tid, i, hold.released);
    fits.then(|| Edit::default().add(i + 1, like(s.record(i), Kind::Exit)))
}

/// With another reader there the count is not yet wrong: it is when that one releases. Once
/// a write acquisition was seen.
fn l06_released_twice(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| !h.write)?;
    let around = s.around[i];
    let fits = around.readers == 0 && !around.written && around.complete;
    fits.then(|| Edit::default().add(i + 1, *s.record(i)))
}

/// As above, with other readers there. They must not scan meanwhile: that would be
/// without a lock (L39).
fn l06_released_twice_beside_others(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| !h.write)?;
    let around = s.around[i];
    let mm = s.mm_after(s.record(i).mm, i);
    let released = *mm.iter().find(|at| s.kind(**at) == Kind::Released && s.around[**at].readers == 0)?;
    let scanned = mm.iter().take_while(|at| **at < released).any(|at| s.kind(*at) == Kind::ScanPmd);
    let fits = around.readers > 0 && around.complete && !scanned;
    fits.then(|| Edit::default().add(i + 1, *s.record(i)))
}

fn l07_waits_for_itself(s: &Stream, i: usize) -> Option<Edit> {
    s.begins(i).filter(|h| h.write)?;
    let flags = 2;
    Some(Edit::default().add(i + 1, Record { aux: flags, ..like(s.record(i), Kind::ContentionBegin) }))
}

/// At a user-mode fault: nothing can have been in flight.
fn l08_downgrade_of_nothing(s: &Stream, i: usize) -> Option<Edit> {
    let r = s.record(i);
    let fits = s.kind(i) == Kind::PageFaultUser && s.around[i].complete;
    let event = || lock_event(Kind::AcquireReturned, r.tid, r.mm, false, r, r.ts);
    fits.then(|| Edit::default().add(i + 1, event()))
}

/// The task has ended a scan or a collapse or was in user mode before.
fn l35_isolated_without_lock(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::CollapseIsolate { s.within_write(i)? } else { return None };
    if s.around[hold.start].anchored { forget_hold(hold) } else { None }
}

fn l36_ended_with_lock(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::CollapseHugePage {
        return None;
    }
    let before = *s.task_before(s.record(i).tid, i).last()?;
    s.ends(before).filter(|h| h.write && s.record(before).mm == s.record(i).mm)?;
    let early = Record { ts: s.record(before).ts, ..*s.record(i) };
    Some(Edit::default().add(before, early).remove(i))
}

/// As L35.
fn l37_success_without_isolation(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::CollapseIsolate { s.within_write(i)? } else { return None };
    let tid = s.record(i).tid;
    let end = *s.task_after(tid, i).iter().find(|at| s.kind(**at) == Kind::CollapseHugePage)?;
    let success = s.golden.context.value("scan_result", "SCAN_SUCCEED").map(|v| v as u64);
    let fits = success.is_some() && s.record(end).get(Column::Status) == success && s.around[hold.start].anchored;
    fits.then(|| Edit::default().remove(i))
}

fn l38_in_a_write_hold(s: &Stream, i: usize) -> Option<Edit> {
    s.begins(i).filter(|h| h.write)?;
    Some(Edit::default().add(i + 1, like(s.record(i), Kind::CollapseFile)))
}

/// Where nobody else holds the lock: that would be an overlap.
fn l38_write_hold_around(s: &Stream, i: usize) -> Option<Edit> {
    let (r, around) = (s.record(i), s.around[i]);
    if s.kind(i) != Kind::CollapseFile || around.readers > 0 || around.written {
        return None;
    }
    let event = |kind| lock_event(kind, r.tid, r.mm, true, r, r.ts);
    Some(
        Edit::default()
            .add(i, event(Kind::StartLocking))
            .add(i, event(Kind::AcquireReturned))
            .add(i + 1, event(Kind::Released)),
    )
}

/// The rule asks that somebody holds the lock, so nobody else may; a scan that ended in a
/// collapse is not asked; and the task's earlier scan must have been seen to end.
fn l39_scan_without_lock(s: &Stream, i: usize) -> Option<Edit> {
    let (r, around) = (s.record(i), s.around[i]);
    if s.kind(i) != Kind::ScanPmd || around.readers != 1 || around.written || !around.complete {
        return None;
    }
    let before = s.task_before(r.tid, i);
    let acquired = *before.iter().rev().find(|at| s.hold_at.contains_key(at))?;
    let hold = s.begins(acquired).filter(|h| !h.write && s.record(acquired).mm == r.mm)?;
    let marks = |at: &&usize| {
        matches!(s.kind(**at), Kind::ScanPmd | Kind::ScanFile | Kind::PageFaultUser | Kind::CollapseHugePage)
    };
    let mark = *before.iter().rev().find(marks)?;
    let fits = s.kind(mark) != Kind::CollapseHugePage && mark < acquired && s.around[mark].anchored;
    if fits { forget_hold(hold) } else { None }
}

/// The call of migrate_pages() that this event of its task lies in.
fn call(s: &Stream, i: usize) -> Option<(usize, usize)> {
    let tid = s.record(i).tid;
    let edge = |at: &&usize| matches!(s.kind(**at), Kind::MigratePagesStart | Kind::MigratePages);
    let start = *s.task_before(tid, i).iter().rev().find(edge)?;
    let end = *s.task_after(tid, i).iter().find(edge)?;
    (s.kind(start) == Kind::MigratePagesStart && s.kind(end) == Kind::MigratePages).then_some((start, end))
}

/// Only a call for compaction and without huge pages is judged, and while nobody holds any
/// mmap_lock for write: fork copies entries and mremap moves them. If entries were zapped in
/// the meantime, one removal too many is none too many in all.
fn l40_removed_twice(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::RemoveMigrationPte {
        return None;
    }
    let (start, end) = call(s, i)?;
    let (a, b) = (s.around[start], s.around[end]);
    let quiet = a.writers == 0 && b.writers == 0 && a.writes == b.writes;
    let huge = [Column::ThpSucceeded, Column::ThpFailed, Column::ThpSplit];
    let small = huge.iter().all(|c| s.record(end).get(*c) == Some(0));
    let compaction = s.golden.context.value("migrate_reason", "MR_COMPACTION").map(|v| v as u64);
    let calm = compaction.is_some() && s.record(start).get(Column::Reason) == compaction;
    let own = || s.task_after(s.record(i).tid, start).iter().take_while(|at| **at < end);
    let set = own().filter(|at| s.kind(**at) == Kind::SetMigrationPte).count();
    let removed = own().filter(|at| s.kind(**at) == Kind::RemoveMigrationPte).count();
    (quiet && small && calm && removed >= set).then(|| Edit::default().add(i + 1, *s.record(i)))
}

fn l41_with_bit(s: &Stream, i: usize, bit: u64) -> Option<Edit> {
    if s.kind(i) != Kind::SetMigrationPte {
        return None;
    }
    let mut record = *s.record(i);
    record.args[1] |= bit;
    Some(Edit::default().change(i, record))
}

fn l41_set_present(s: &Stream, i: usize) -> Option<Edit> {
    l41_with_bit(s, i, 1)
}

fn l41_set_protnone(s: &Stream, i: usize) -> Option<Edit> {
    l41_with_bit(s, i, 1 << 8)
}

/// The types that mean migration are known from entries that were set before.
fn l41_left_behind(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::RemoveMigrationPte {
        return None;
    }
    let tid = s.record(i).tid;
    let set = *s.task_before(tid, i).iter().rev().find(|at| s.kind(**at) == Kind::SetMigrationPte)?;
    let mut record = *s.record(i);
    record.args[1] = s.record(set).args[1];
    Some(Edit::default().change(i, record))
}

/// The task was in user mode before; kcompactd never is.
fn l42_start_missing(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::MigratePages {
        return None;
    }
    let start = *s.task_before(s.record(i).tid, i).iter().rev().find(|at| s.kind(**at) == Kind::MigratePagesStart)?;
    s.around[start].user.then(|| Edit::default().remove(start))
}

/// The holders of the lock were known before.
fn l43_exit_without_lock(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::ExitMmap { s.within_write(i)? } else { return None };
    if s.around[hold.start].complete { forget_hold(hold) } else { None }
}

fn l43_exit_after_release(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::ExitMmap { s.within_write(i)? } else { return None };
    let late = Record { ts: s.record(hold.released).ts, ..*s.record(i) };
    Some(Edit::default().remove(i).add(hold.released + 1, late))
}

fn l44_fault(s: &Stream, i: usize, at: usize, ts: u64) -> Edit {
    let fault = Record { tid: STRANGER, ts, aux: 4, ..like(s.record(i), Kind::PageFaultUser) };
    Edit::default().add(at, fault)
}

/// After the release: before it, its task would be in user mode with the lock held (L05), and
/// nobody knows that a stranger is not that task's thread.
fn l44_fault_after_exit(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::ExitMmap { s.within_write(i)? } else { return None };
    Some(l44_fault(s, i, hold.released + 1, s.record(hold.released).ts))
}

/// As late as can be: just before a fork or exec announces another mm at the same address.
fn l44_fault_before_reuse(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::ExitMmap {
        return None;
    }
    let born = |at: &&usize| matches!(s.kind(**at), Kind::Fork | Kind::Exec);
    let next = *s.mm_after(s.record(i).mm, i).iter().find(born)?;
    Some(l44_fault(s, i, next, s.record(next).ts))
}

/// The holders of the lock are known.
fn l45_store_after_release(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::MaWrite { s.within_write(i)? } else { return None };
    let late = Record { ts: s.record(hold.released).ts, ..*s.record(i) };
    let known = s.around[hold.released].complete;
    known.then(|| Edit::default().remove(i).add(hold.released + 1, late))
}

/// The holders of the lock were known before.
fn l45_store_without_lock(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::MaWrite { s.within_write(i)? } else { return None };
    if s.around[hold.start].complete { forget_hold(hold) } else { None }
}

/// The task was in user mode, or compacted, before.
fn l46_begin_missing(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::CompactionBegin {
        return None;
    }
    let tid = s.record(i).tid;
    let compacted = s.task_before(tid, i).iter().any(|at| s.kind(*at) == Kind::CompactionEnd);
    let end = *s.task_after(tid, i).iter().find(|at| s.kind(**at) == Kind::CompactionEnd)?;
    let fits = (compacted || s.around[i].user) && s.has(Kind::MigratePagesStart, tid, i, end);
    fits.then(|| Edit::default().remove(i))
}

fn l46_end_too_early(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::MigratePagesStart {
        return None;
    }
    let before = s.task_before(s.record(i).tid, i);
    let begin = *before.iter().rev().find(|at| s.kind(**at) == Kind::CompactionBegin)?;
    let end = Record { kind: Kind::CompactionEnd as u16, ts: s.record(i).ts, ..*s.record(begin) };
    let open = !s.has(Kind::CompactionEnd, s.record(i).tid, begin, i);
    open.then(|| Edit::default().add(i, end))
}

/// One way to break a rule. Plants at the event of an index, if that is a place for it.
type Plant = fn(&Stream, usize) -> Option<Edit>;

macro_rules! faults {
    ($($rule:ident $test:ident { $($plant:ident)* })*) => {
        const FAULTS: &[(RuleId, &[(&str, Plant)])] = &[
            $((RuleId::$rule, &[$((stringify!($plant), $plant)),*])),*
        ];

        $(
            #[test]
            fn $test() {
                check(RuleId::$rule);
            }
        )*
    };
}

faults! {
    L01 l01_two_writers { l01_missing_release l01_second_writer }
    L02 l02_reader_and_writer { l02_reader_in_write_hold l02_writer_in_read_hold l02_missing_release }
    L03 l03_downgraded_and_writer { l03_writer_in_downgraded_hold l03_missing_release }
    L04 l04_release_by_another { l04_released_by_another }
    L05 l05_leak_of_a_write_hold { l05_user_mode l05_exit }
    L06 l06_release_too_many { l06_released_twice l06_released_twice_beside_others }
    L07 l07_self_deadlock { l07_waits_for_itself }
    L08 l08_downgrade_by_another { l08_downgrade_of_nothing }
    L35 l35_isolation_without_lock { l35_isolated_without_lock }
    L36 l36_collapse_leaks { l36_ended_with_lock }
    L37 l37_collapse_without_isolation { l37_success_without_isolation }
    L38 l38_file_collapse_with_lock { l38_in_a_write_hold l38_write_hold_around }
    L39 l39_scan_of_what_is_not_held { l39_scan_without_lock }
    L40 l40_second_removal { l40_removed_twice }
    L41 l41_entries { l41_set_present l41_set_protnone l41_left_behind }
    L42 l42_end_without_start { l42_start_missing }
    L43 l43_exit_not_exclusive { l43_exit_without_lock l43_exit_after_release }
    L44 l44_dead_mm_runs { l44_fault_after_exit l44_fault_before_reuse }
    L45 l45_store_not_exclusive { l45_store_after_release l45_store_without_lock }
    L46 l46_migration_outside_compaction { l46_begin_missing l46_end_too_early }
}

fn streams() -> &'static [Stream] {
    static STREAMS: OnceLock<Vec<Stream>> = OnceLock::new();
    // With function events other rules, too, see what these faults lead to; and not every kernel has every rule. Faults
    // of functions are planted in functions.rs and tables.rs.
    let tracepoints_only = |g: &&Golden| !g.context.has(Kind::HandleMmFault);
    STREAMS.get_or_init(|| goldens().iter().filter(tracepoints_only).map(Stream::new).collect())
}

/// The first, the last, and others evenly between.
fn sample(spots: &[usize]) -> Vec<usize> {
    if spots.len() <= SPOTS {
        return spots.to_vec();
    }
    (0..SPOTS).map(|n| spots[n * (spots.len() - 1) / (SPOTS - 1)]).collect()
}

/// Plants every fault of one rule wherever it can be planted, a sample of the places per
/// capture; all must be caught, and named, and nothing else.
fn check(rule: RuleId) {
    let (_, plants) = FAULTS.iter().find(|(r, _)| *r == rule).expect("it has faults");
    let name = rule.rule().name;
    let mut missed = Vec::new();
    let mut planted = 0;
    for (what, plant) in *plants {
        let mut counts = BTreeMap::new();
        for stream in streams() {
            let golden = stream.golden;
            let spots: Vec<usize> = (0..golden.records.len()).filter(|i| plant(stream, *i).is_some()).collect();
            let sample = sample(&spots);
            counts.insert(golden.name.as_str(), (sample.len(), spots.len()));
            for (n, spot) in sample.iter().enumerate() {
                let edit = plant(stream, *spot).expect("it was a place");
                let all = n == 0 || n == sample.len() / 2 || n == sample.len() - 1;
                let end = golden.records.len();
                let end = if all { end } else { end.min(edit.last() + TAIL) };
                let engine = edit.judge(golden, end);
                planted += 1;
                let place = || format!("{what} in {} at {spot} ({})", golden.name, golden.records[*spot].ts);
                match broken(&engine).as_slice() {
                    [(broken, _)] if *broken == name => {
                        let sink = engine.sink().expect("it judges");
                        let first = sink.kept().find(|v| v.rule == rule).expect("a violation is kept");
                        if first.ts < edit.since(golden) {
                            missed.push(format!("{}: before its cause", place()));
                        }
                        if all {
                            named(&engine, name);
                        }
                    }
                    other => missed.push(format!("{}: {other:?}", place())),
                }
            }
        }
        let all: usize = counts.values().map(|(_, all)| all).sum();
        assert!(all > 0, "{what}: no place for it in any capture");
        eprintln!("{name} {what}: (planted, places) {counts:?}");
    }
    eprintln!("{name}: {} of {planted} planted faults caught", planted - missed.len());
    assert!(missed.is_empty(), "{} of {planted}:\n{}", missed.len(), missed.join("\n"));
}

/// The report says so, to people and to programs.
fn named(engine: &Engine, name: &str) {
    let report = Report::new(engine);
    assert!(report.is_violated());
    let mut text = Vec::new();
    report.print(false, Style::plain(), &mut text).expect("to memory");
    assert!(String::from_utf8_lossy(&text).contains(name), "{name} is not in the report");
    let json = serde_json::to_value(&report).expect("a report is JSON");
    assert_eq!(json["verdict"], "violated");
    assert!(json["violations"].as_array().expect("a list").iter().all(|v| v["rule"] == name), "{json:#}");
}

#[test]
fn every_rule_that_can_fail_has_a_planted_fault() {
    for rule in RULES.iter().filter(|r| r.severity.can_fail() && !ELSEWHERE.contains(&r.id)) {
        let faults = FAULTS.iter().find(|(id, _)| *id == rule.id);
        assert!(faults.is_some_and(|(_, plants)| !plants.is_empty()), "nobody tries to break {}", rule.name);
    }
}

/// Nothing is found where nothing was planted.
#[test]
fn an_edit_that_changes_nothing_breaks_nothing() {
    for golden in goldens() {
        let middle = golden.records.len() / 2;
        let edit = Edit::default().change(middle, golden.records[middle]);
        assert_eq!(broken(&edit.judge(golden, golden.records.len())), [], "{}", golden.name);
    }
}
