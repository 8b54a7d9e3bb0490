//! Faults of mms that end, and of the VMA tree.

use mmtrace_common::{Kind, Record};

use crate::{
    edit::{Edit, like},
    locks::forget_hold,
    stream::Stream,
};

/// The holders of the lock were known before.
pub(crate) fn l43_exit_without_lock(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::ExitMmap { s.within_write(i)? } else { return None };
    if s.around[hold.start].complete { forget_hold(hold) } else { None }
}

pub(crate) fn l43_exit_after_release(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::ExitMmap { s.within_write(i)? } else { return None };
    let late = Record { ts: s.record(hold.released).ts, ..*s.record(i) };
    Some(Edit::default().remove(i).add(hold.released + 1, late))
}

/// By a task that ran on this mm: it was seen there in user mode, and has made no exec. If it has exited, it has not.
fn l44_fault(s: &Stream, i: usize, at: usize, ts: u64) -> Option<Edit> {
    let mm = s.record(i).mm;
    let ran = |at: &&usize| **at < i && s.kind(**at) == Kind::PageFaultUser;
    let tid = s.record(*s.by_mm.get(&mm)?.iter().rev().find(ran)?).tid;
    let last = *s.task_before(tid, i).iter().rev().find(|j| s.kind(**j) == Kind::PageFaultUser)?;
    let since: Vec<usize> = s.task_after(tid, last).iter().copied().take_while(|j| *j < at).collect();
    if s.record(last).mm != mm || since.iter().any(|j| s.kind(*j) == Kind::Exec) {
        return None;
    }
    let fault = Record { tid, ts, aux: 4, ..like(s.record(i), Kind::PageFaultUser) };
    let exits = since.into_iter().filter(|j| s.kind(*j) == Kind::Exit);
    Some(exits.fold(Edit::default(), Edit::remove).add(at, fault))
}

/// After the release: before it, its task would be in user mode with the lock held (L05).
pub(crate) fn l44_fault_after_exit(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::ExitMmap { s.within_write(i)? } else { return None };
    l44_fault(s, i, hold.released + 1, s.record(hold.released).ts)
}

/// As late as can be: just before a fork or exec announces another mm at the same address.
pub(crate) fn l44_fault_before_reuse(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::ExitMmap {
        return None;
    }
    let born = |at: &&usize| matches!(s.kind(**at), Kind::Fork | Kind::Exec);
    let next = *s.mm_after(s.record(i).mm, i).iter().find(born)?;
    l44_fault(s, i, next, s.record(next).ts)
}

/// The holders of the lock are known.
pub(crate) fn l45_store_after_release(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::MaWrite { s.within_write(i)? } else { return None };
    let late = Record { ts: s.record(hold.released).ts, ..*s.record(i) };
    let known = s.around[hold.released].complete;
    known.then(|| Edit::default().remove(i).add(hold.released + 1, late))
}

/// The holders of the lock were known before.
pub(crate) fn l45_store_without_lock(s: &Stream, i: usize) -> Option<Edit> {
    let hold = if s.kind(i) == Kind::MaWrite { s.within_write(i)? } else { return None };
    if s.around[hold.start].complete { forget_hold(hold) } else { None }
}
