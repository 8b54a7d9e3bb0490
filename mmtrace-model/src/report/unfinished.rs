//! Holds of mmap_locks and waits for them that were not over when the stream ended. No figure contains them.

use std::io::{self, Write};

use serde::Serialize;

use super::{Style, duration, few};
use crate::{
    names::call_name,
    replay::Engine,
    stats::locks::{Holder, Now},
};

/// Shorter ones are what any moment of a busy process has, nanoseconds.
const LEAST_NS: u64 = 1_000_000;
/// Rows that people see.
const SHOWN: usize = 5;
/// Rows that are kept; the longest.
const ROWS_MAX: usize = 64;

/// A hold of an mmap_lock, or a wait for it, that was not over.
#[derive(Clone, Debug, Serialize)]
pub struct UnfinishedRow {
    /// The task waits; else it holds the lock.
    pub waits: bool,
    /// For write, else for read.
    pub write: bool,
    /// The task's process; absent if it was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The task.
    pub tid: u32,
    /// Its name and its process's, with their ids.
    pub task: String,
    /// The system call or other entry into the kernel; absent if the events do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Time when it began, nanoseconds from the start of the recording.
    pub since_ns: u64,
    /// Time from then to the last event, nanoseconds.
    pub ns: u64,
}

impl UnfinishedRow {
    fn new(engine: &Engine, of: Holder, waits: bool, end: u64) -> Self {
        let (tasks, start) = (engine.tasks(), engine.context().start);
        let (pid, label) = (tasks.tgid_of(of.tid), |tid| tasks.label(tid));
        let task = match pid {
            Some(pid) if pid != of.tid => format!("{} · {}", label(pid), label(of.tid)),
            _ => label(of.tid),
        };
        Self {
            waits,
            write: of.write,
            pid,
            tid: of.tid,
            task,
            call: of.call.map(|call| call_name(call).into_owned()),
            since_ns: of.since.saturating_sub(start),
            ns: end.saturating_sub(of.since),
        }
    }

    /// Returns it in words: `big 7 · populator 9: mmap (read): held for 2.02 s, since 0.075 s`.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let Self { task, call, .. } = self;
        let call = call.as_ref().map_or_else(String::new, |call| format!(": {call}"));
        let mode = if self.write { "write" } else { "read" };
        let verb = if self.waits { "waiting" } else { "held" };
        let since = self.since_ns as f64 / 1e9;
        format!("{task}{call} ({mode}): {verb} for {}, since {since:.3} s", duration(self.ns))
    }
}

/// Writes rows, as part of a report; nothing if there are none.
///
/// # Errors
/// `out` cannot be written.
pub fn print(rows: &[UnfinishedRow], style: Style, out: &mut dyn Write) -> io::Result<()> {
    few::print("Not over at the end, and in no figure above", rows.iter().map(UnfinishedRow::text), SHOWN, style, out)
}

/// Returns those of a stream that had lasted for 1 ms and more: holds first, then waits, the longest of each first.
#[must_use]
pub fn rows(engine: &Engine) -> Vec<UnfinishedRow> {
    let (Some(model), Some(calls), Some((_, end))) = (engine.model(), engine.open_calls(), engine.span()) else {
        return Vec::new();
    };
    let mut rows: Vec<UnfinishedRow> = Vec::new();
    for now in Now::all(model, calls).into_values() {
        let both = [(now.holders, false), (now.waiting, true)];
        let new = both.into_iter().flat_map(|(of, waits)| of.into_iter().map(move |of| (of, waits)));
        rows.extend(new.map(|(of, waits)| UnfinishedRow::new(engine, of, waits, end)));
    }
    rows.retain(|row| row.ns >= LEAST_NS);
    // Who holds a lock is the reason why others wait.
    rows.sort_by_key(|row| (row.waits, std::cmp::Reverse(row.ns), row.tid));
    rows.truncate(ROWS_MAX);
    rows
}
