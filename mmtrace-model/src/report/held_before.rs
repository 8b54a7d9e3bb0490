//! Holds of mmap_locks for write that began before the recording: whose they were. No figure contains them.

use std::io::{self, Write};

use serde::Serialize;

use super::{Style, duration, few};
use crate::{replay::Engine, stats::callers::HeldBefore};

/// Shorter ones are what any moment of a busy process has, nanoseconds.
const LEAST_NS: u64 = 1_000_000;
/// Rows that people see.
const SHOWN: usize = 5;

/// A hold of an mmap_lock for write that began before the recording. Its length is not known.
#[derive(Clone, Debug, Serialize)]
pub struct HeldBeforeRow {
    /// The task's process.
    pub pid: u32,
    /// The task.
    pub tid: u32,
    /// Its name and its process's, with their ids.
    pub task: String,
    /// How long it held the lock at least, nanoseconds: since the first event from which on it is known.
    pub at_least_ns: u64,
    /// Time when it released the lock, nanoseconds from the start of the recording.
    pub until_ns: u64,
}

impl HeldBeforeRow {
    fn new(engine: &Engine, hold: &HeldBefore) -> Self {
        let HeldBefore { tid, tgid: pid, until, .. } = *hold;
        let label = |tid| engine.tasks().label(tid);
        let task = if pid == tid { label(tid) } else { format!("{} · {}", label(pid), label(tid)) };
        Self { pid, tid, task, at_least_ns: hold.at_least(), until_ns: until.saturating_sub(engine.context().start) }
    }

    /// Returns it in words: `big 7 · loader 9 (write): held since before the recording, at least 2.02 s, until 2.075 s`.
    #[must_use]
    pub fn text(&self) -> String {
        let (least, until) = (duration(self.at_least_ns), self.until_ns as f64 / 1e9);
        format!("{} (write): held since before the recording, at least {least}, until {until:.3} s", self.task)
    }
}

/// Writes rows, as part of a report; nothing if there are none.
///
/// # Errors
/// `out` cannot be written.
pub fn print(rows: &[HeldBeforeRow], style: Style, out: &mut dyn Write) -> io::Result<()> {
    few::print(
        "Held since before the recording, and in no sum above",
        rows.iter().map(HeldBeforeRow::text),
        SHOWN,
        style,
        out,
    )
}

/// Returns those of a stream that had lasted for 1 ms and more, longest first.
#[must_use]
pub fn rows(engine: &Engine) -> Vec<HeldBeforeRow> {
    let Some(callers) = engine.callers() else { return Vec::new() };
    let long = callers.held_before().iter().filter(|hold| hold.at_least() >= LEAST_NS);
    let mut rows: Vec<_> = long.map(|hold| HeldBeforeRow::new(engine, hold)).collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.at_least_ns), row.tid));
    rows
}
