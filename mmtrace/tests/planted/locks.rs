//! Faults of mmap_locks.

use mmtrace_common::{Kind, Record};
use mmtrace_model::model::locks::mmap_lock::EPSILON_NS;

use crate::{
    edit::{Edit, like, lock_event},
    stream::{Hold, NONE, Stream, is_acquired, is_write},
};

/// A task that is in no capture.
pub(crate) const STRANGER: u32 = 4_194_300;

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

/// Puts off the release of a read hold until well after a writer has acquired: no event of its task lies
/// between, and no other reader is there, on whose behalf it might be.
fn release_late(s: &Stream, i: usize) -> Option<Edit> {
    let (tid, mm) = (s.record(i).tid, s.record(i).mm);
    let next = s.mm_after(mm, i).iter().find(|at| is_acquired(s.record(**at)))?;
    let taker = s.begins(*next).filter(|hold| hold.write)?;
    let late = s.record(taker.acquired).ts + 2 * EPSILON_NS;
    let free = |at: &usize| s.record(*at).ts > late;
    let moves = s.record(taker.released).ts > late + EPSILON_NS
        && s.around[i].readers == 0
        && s.task_after(tid, i).first().is_none_or(free)
        && s.mm_after(mm, taker.acquired).first().is_none_or(free);
    moves.then(|| Edit::default().remove(i).add(s.at(late, i), Record { ts: late, ..*s.record(i) }))
}

/// Takes a whole hold away.
pub(crate) fn forget_hold(hold: Hold) -> Option<Edit> {
    let whole = hold.start != NONE && hold.released != NONE && !hold.becomes_read;
    whole.then(|| Edit::default().remove(hold.start).remove(hold.acquired).remove(hold.released))
}

pub(crate) fn l01_missing_release(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| h.write)?;
    forget_release(s, i)
}

pub(crate) fn l01_second_writer(s: &Stream, i: usize) -> Option<Edit> {
    intrude(s, s.begins(i).filter(|h| h.write)?, true)
}

pub(crate) fn l02_reader_in_write_hold(s: &Stream, i: usize) -> Option<Edit> {
    intrude(s, s.begins(i).filter(|h| h.write)?, false)
}

/// No downgraded hold beside it: then L03 is the rule. It shows when the reader releases, and nobody is
/// there on whose behalf that might be.
pub(crate) fn l02_writer_in_read_hold(s: &Stream, i: usize) -> Option<Edit> {
    let hold = s.begins(i).filter(|h| !h.write && !h.downgraded)?;
    if s.around[i].downgraded > 0 || s.around[hold.released].readers > 0 || !s.around[i].user {
        return None;
    }
    intrude(s, hold, true)
}

pub(crate) fn l02_late_release(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| !h.write && !h.downgraded && s.around[i].user)?;
    release_late(s, i)
}

pub(crate) fn l03_writer_in_downgraded_hold(s: &Stream, i: usize) -> Option<Edit> {
    intrude(s, s.begins(i).filter(|h| h.downgraded)?, true)
}

pub(crate) fn l03_missing_release(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| h.downgraded)?;
    forget_release(s, i)
}

/// The holders of the lock are known.
pub(crate) fn l04_released_by_another(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| h.write)?;
    s.around[i].complete.then_some(())?;
    Some(Edit::default().change(i, Record { tid: STRANGER, ..*s.record(i) }))
}

/// The release is missing and the task is seen in user mode before anybody else gets the lock (that would be L01 or L02) and before it waits for the
/// lock itself (L07).
pub(crate) fn l05_user_mode(s: &Stream, i: usize) -> Option<Edit> {
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
pub(crate) fn l05_exit(s: &Stream, i: usize) -> Option<Edit> {
    let hold = s.begins(i).filter(|h| h.write)?;
    let fits = !s.has(Kind::CollapseIsolate, s.record(i).tid, i, hold.released);
    fits.then(|| Edit::default().add(i + 1, like(s.record(i), Kind::Exit)))
}

/// With another reader there the count is not yet wrong: it is when that one releases. Once
/// a write acquisition was seen.
pub(crate) fn l06_released_twice(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| !h.write)?;
    let around = s.around[i];
    let fits = around.readers == 0 && !around.written && around.complete && around.run;
    fits.then(|| Edit::default().add(i + 1, *s.record(i)))
}

/// As above, with other readers there. They must not scan meanwhile: that would be
/// without a lock (L39).
pub(crate) fn l06_released_twice_beside_others(s: &Stream, i: usize) -> Option<Edit> {
    s.ends(i).filter(|h| !h.write)?;
    let around = s.around[i];
    let mm = s.mm_after(s.record(i).mm, i);
    let released = *mm.iter().find(|at| s.kind(**at) == Kind::Released && s.around[**at].readers == 0)?;
    let scanned = mm.iter().take_while(|at| **at < released).any(|at| s.kind(*at) == Kind::ScanPmd);
    let fits = around.readers > 0 && around.complete && around.run && !scanned;
    fits.then(|| Edit::default().add(i + 1, *s.record(i)))
}

pub(crate) fn l07_waits_for_itself(s: &Stream, i: usize) -> Option<Edit> {
    s.begins(i).filter(|h| h.write)?;
    let flags = 2;
    Some(Edit::default().add(i + 1, Record { aux: flags, ..like(s.record(i), Kind::ContentionBegin) }))
}

/// At a user-mode fault: nothing can have been in flight.
pub(crate) fn l08_downgrade_of_nothing(s: &Stream, i: usize) -> Option<Edit> {
    let r = s.record(i);
    let fits = s.kind(i) == Kind::PageFaultUser && s.around[i].complete;
    let event = || lock_event(Kind::AcquireReturned, r.tid, r.mm, false, r, r.ts);
    fits.then(|| Edit::default().add(i + 1, event()))
}
