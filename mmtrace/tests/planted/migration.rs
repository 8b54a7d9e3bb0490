//! Faults of migration and compaction.

use mmtrace_common::{Column, Kind, Record};

use crate::{edit::Edit, stream::Stream};

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
pub(crate) fn l40_removed_twice(s: &Stream, i: usize) -> Option<Edit> {
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
    let pte = record.get(Column::Pte)?;
    record.set(Column::Pte, pte | bit);
    Some(Edit::default().change(i, record))
}

pub(crate) fn l41_set_present(s: &Stream, i: usize) -> Option<Edit> {
    l41_with_bit(s, i, 1)
}

pub(crate) fn l41_set_protnone(s: &Stream, i: usize) -> Option<Edit> {
    l41_with_bit(s, i, 1 << 8)
}

/// The types that mean migration are known from entries that were set before.
pub(crate) fn l41_left_behind(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::RemoveMigrationPte {
        return None;
    }
    let tid = s.record(i).tid;
    let set = *s.task_before(tid, i).iter().rev().find(|at| s.kind(**at) == Kind::SetMigrationPte)?;
    let mut record = *s.record(i);
    record.set(Column::Pte, s.record(set).get(Column::Pte)?);
    Some(Edit::default().change(i, record))
}

/// The task was in user mode before; kcompactd never is.
pub(crate) fn l42_start_missing(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::MigratePages {
        return None;
    }
    let start = *s.task_before(s.record(i).tid, i).iter().rev().find(|at| s.kind(**at) == Kind::MigratePagesStart)?;
    s.around[start].user.then(|| Edit::default().remove(start))
}

/// The task was in user mode, or compacted, before.
pub(crate) fn l46_begin_missing(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::CompactionBegin {
        return None;
    }
    let tid = s.record(i).tid;
    let compacted = s.task_before(tid, i).iter().any(|at| s.kind(*at) == Kind::CompactionEnd);
    let end = *s.task_after(tid, i).iter().find(|at| s.kind(**at) == Kind::CompactionEnd)?;
    let fits = (compacted || s.around[i].user) && s.has(Kind::MigratePagesStart, tid, i, end);
    fits.then(|| Edit::default().remove(i))
}

pub(crate) fn l46_end_too_early(s: &Stream, i: usize) -> Option<Edit> {
    if s.kind(i) != Kind::MigratePagesStart {
        return None;
    }
    let before = s.task_before(s.record(i).tid, i);
    let begin = *before.iter().rev().find(|at| s.kind(**at) == Kind::CompactionBegin)?;
    let end = Record { kind: Kind::CompactionEnd as u16, ts: s.record(i).ts, ..*s.record(begin) };
    let open = !s.has(Kind::CompactionEnd, s.record(i).tid, begin, i);
    open.then(|| Edit::default().add(i, end))
}
