//! Faults of khugepaged and MADV_COLLAPSE.

use mmtrace_common::{Column, Kind, Record};

use crate::{
    edit::{Edit, like, lock_event},
    locks::forget_hold,
    stream::Stream,
};

/// The task has ended a scan or a collapse or was in user mode before.
pub(crate) fn l35_isolated_without_lock(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::CollapseIsolate { s.within_write(i)? } else { return None };
    if s.around[hold.start].anchored { forget_hold(hold) } else { None }
}

pub(crate) fn l36_ended_with_lock(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::CollapseHugePage {
        return None;
    }
    let before = *s.task_before(s.record(i).tid, i).last()?;
    s.ends(before).filter(|h| h.write && s.record(before).mm == s.record(i).mm)?;
    let early = Record { ts: s.record(before).ts, ..*s.record(i) };
    Some(Edit::default().add(before, early).remove(i))
}

/// As L35.
pub(crate) fn l37_success_without_isolation(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::CollapseIsolate { s.within_write(i)? } else { return None };
    let tid = s.record(i).tid;
    let end = *s.task_after(tid, i).iter().find(|at| s.kind(**at) == Kind::CollapseHugePage)?;
    let success = s.golden.context.value("scan_result", "SCAN_SUCCEED").map(|v| v as u64);
    let fits = success.is_some() && s.record(end).get(Column::Status) == success && s.around[hold.start].anchored;
    fits.then(|| Edit::default().remove(i))
}

pub(crate) fn l38_in_a_write_hold(s: &Stream, i: usize) -> Option<Edit> {
    s.begins(i).filter(|h| h.write)?;
    Some(Edit::default().add(i + 1, like(s.record(i), Kind::CollapseFile)))
}

/// Where nobody else holds the lock: that would be an overlap.
pub(crate) fn l38_write_hold_around(s: &Stream, i: usize) -> Option<Edit> {
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
pub(crate) fn l39_scan_without_lock(s: &Stream, i: usize) -> Option<Edit> {
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
