//! Saving a part of a stream as a capture of its own.

use super::error::CaptureError;
use super::staging::Staging;
use super::writer::{CaptureWriter, FinalInfo, WriterOptions};
use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::context::Context;
use std::{
    cell::Cell,
    path::{Path, PathBuf},
};

/// A saved part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Folder of the new capture.
    pub dir: PathBuf,
    /// Number of records.
    pub events: u64,
    /// Time from the first to the last record, nanoseconds.
    pub ns: u64,
}

/// Time before the saved part whose records are searched for losses, nanoseconds. A `loss` record lies at most this
/// long before the events among which it happened, since every recorder reads the rings at least this often.
pub const LOOK_BACK_NS: u64 = 10_000_000_000;

/// Writes records from `from` on as a capture in `dir`, which is beside `staging`: as if recording had begun with the first of them, or with the
/// end of what is known to be missing among them. Without records nothing is written. Those of the last
/// [`LOOK_BACK_NS`] before are only asked for losses.
///
/// # Errors
///
/// As [`CaptureWriter`].
pub fn save(
    dir: &Path,
    staging: &Staging,
    context: &Context,
    command_line: Vec<String>,
    realtime_offset_ns: Option<i64>,
    from: u64,
    records: impl Iterator<Item = Record>,
) -> Result<Option<Saved>, CaptureError> {
    let missing_until = Cell::new(0);
    // Records that are skipped before them count as not recorded.
    let early = |r: &Record| {
        let early = r.ts < from || r.kind() == Some(Kind::Gap);
        if early {
            missing_until.set(missing_until.get().max(r.get(Column::Until).unwrap_or(0)));
        }
        early
    };
    let mut records = records.skip_while(early).peekable();
    let Some(first) = records.peek().map(|r| r.ts) else { return Ok(None) };
    let context = Context { start: first.max(missing_until.get()), ..context.clone() };
    let options = WriterOptions { realtime_offset_ns, ..WriterOptions::default() };
    let mut writer = CaptureWriter::create(&staging.place(dir), &context, command_line, options)?;
    let (mut last, mut events) = (first, 0);
    for record in records {
        writer.append(&record)?;
        last = last.max(record.ts);
        events += 1;
    }
    writer.finish(FinalInfo { end_ts: last })?;
    staging.publish(dir)?;
    Ok(Some(Saved { dir: dir.to_path_buf(), events, ns: last - first }))
}

/// Finds a name beside `name` that nothing has yet: `name-1`, `name-2` and so on.
#[must_use]
pub fn free_name(name: &Path) -> PathBuf {
    let numbered = |n: u32| {
        let mut numbered = name.as_os_str().to_owned();
        numbered.push(format!("-{n}"));
        PathBuf::from(numbered)
    };
    (1..).map(numbered).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| numbered(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Capture;

    #[test]
    fn what_is_missing_among_the_first_events_puts_off_the_start() {
        let dir = tempfile::tempdir().expect("a folder");
        let staging = Staging::beside(&dir.path().join("x")).expect("made");
        let at = |ts| Record { ts, kind: Kind::TlbFlush as u16, ..Record::default() };
        // Of 3 events between 10 and 40 nothing is known.
        let missed = Record {
            ts: 10,
            kind: Kind::Missed as u16,
            args: [Kind::TlbFlush as u64, 3, 40, 0, 0, 0],
            ..Record::default()
        };
        let records = [at(5), missed, at(20), at(30), at(50)];
        let saved = save(&dir.path().join("x"), &staging, &Context::default(), vec![], None, 20, records.into_iter())
            .expect("saved");
        assert_eq!(saved.map(|s| s.events), Some(3));
        let capture = Capture::open(&dir.path().join("x")).expect("a capture");
        assert_eq!(capture.context().start, 40);
        save(&dir.path().join("y"), &staging, &Context::default(), vec![], None, 10, records.into_iter())
            .expect("saved");
        let capture = Capture::open(&dir.path().join("y")).expect("a capture");
        assert_eq!(capture.context().start, 10, "the record is there to tell");
    }
}
