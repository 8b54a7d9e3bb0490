//! Saving a part of a stream as a capture of its own.

use super::{CaptureError, CaptureWriter, FinalInfo, WriterOptions};
use crate::context::Context;
use mmtrace_common::{Kind, Record};
use std::path::{Path, PathBuf};

/// What was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Where.
    pub dir: PathBuf,
    /// Records.
    pub events: u64,
    /// From the first to the last, nanoseconds.
    pub ns: u64,
}

/// Writes records as a capture in `dir`: as if recording had begun with the first of them.
/// Without records nothing is written.
///
/// # Errors
///
/// As [`CaptureWriter`].
pub fn save(
    dir: &Path,
    context: &Context,
    realtime_offset_ns: Option<i64>,
    records: impl Iterator<Item = Record>,
) -> Result<Option<Saved>, CaptureError> {
    // What was skipped before them is what was not recorded.
    let mut records = records.skip_while(|r| r.kind() == Some(Kind::Gap)).peekable();
    let Some(first) = records.peek().map(|r| r.ts) else { return Ok(None) };
    let context = Context { start: first, ..context.clone() };
    let options = WriterOptions { realtime_offset_ns, ..WriterOptions::default() };
    let mut writer = CaptureWriter::create(dir, &context, std::env::args().collect(), options)?;
    let (mut last, mut events) = (first, 0);
    for record in records {
        writer.append(&record)?;
        last = last.max(record.ts);
        events += 1;
    }
    writer.finish(FinalInfo { end_ts: last })?;
    Ok(Some(Saved { dir: dir.to_path_buf(), events, ns: last - first }))
}

/// A name beside `name` that nothing has yet: `name-1`, `name-2` and so on.
#[must_use]
pub fn free_name(name: &Path) -> PathBuf {
    let numbered = |n: u32| {
        let mut numbered = name.as_os_str().to_owned();
        numbered.push(format!("-{n}"));
        PathBuf::from(numbered)
    };
    (1..).map(numbered).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| numbered(0))
}
