//! Tables of names beside a capture: from when to when a thread id was which task, and an address which mapping; and
//! which function is where in a file.
//!
//! A report puts names to events as they come. A query over the events cannot: what is called how at a time follows from
//! every naming event before. [`Tables`] follows them and makes rows that a query joins by id and time. What a name is
//! may be known only later, by a name that is read after the first event or by a process that renames itself. Rows
//! therefore wait, the newest 2^16 of each table, and have the names that are known when they are handed out.

mod functions;
mod mappings;
mod tasks;

use mmtrace_common::Record;

pub use functions::FunctionRow;
pub use mappings::MappingRow;
pub use tasks::TaskRow;

use crate::{context::Context, names::Tasks};
use mappings::MappingSpans;
use tasks::TaskSpans;

/// Rows of a table that wait for their names.
const WAITING_MAX: usize = 1 << 16;
/// Rows that are handed out together.
const TOGETHER: usize = 1 << 12;
/// Rows of a table. Those that come later are left out, and counted.
const ROWS_MAX: u64 = 1 << 26;

/// Rows of a table that wait for their names: the oldest first.
#[derive(Debug)]
struct Waiting<T> {
    rows: std::collections::VecDeque<T>,
    /// Rows that were taken, waiting ones included.
    taken: u64,
    left_out: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { rows: std::collections::VecDeque::new(), taken: 0, left_out: 0 }
    }
}

impl<T> Waiting<T> {
    fn push(&mut self, row: T) {
        if self.taken < ROWS_MAX {
            self.taken += 1;
            self.rows.push_back(row);
        } else {
            self.left_out += 1;
        }
    }

    /// Takes rows out: when too many wait, or `all`.
    fn take(&mut self, all: bool) -> Vec<T> {
        let due = all || self.rows.len() > WAITING_MAX;
        let n = if due { self.rows.len().min(TOGETHER) } else { 0 };
        self.rows.drain(..n).collect()
    }
}

/// The tables of a stream, row by row. Memory does not grow with the stream.
#[derive(Debug)]
pub struct Tables {
    names: Tasks,
    tasks: TaskSpans,
    mappings: MappingSpans,
    /// Latest time so far, nanoseconds.
    last: u64,
    is_over: bool,
}

impl Tables {
    /// Begins the tables of a stream.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self {
            names: Tasks::new(context),
            tasks: TaskSpans::default(),
            mappings: MappingSpans::new(context),
            last: 0,
            is_over: false,
        }
    }

    /// Takes the next record of the stream.
    pub fn apply(&mut self, record: &Record) {
        self.last = self.last.max(record.ts);
        self.names.apply(record);
        self.tasks.apply(record, &mut self.names);
        self.mappings.apply(record);
    }

    /// Ends the stream: whatever holds at its end holds to behind its last record.
    pub fn end(&mut self) {
        let end = self.last.saturating_add(1);
        self.tasks.end(end);
        self.mappings.end(end);
        self.is_over = true;
    }

    /// Takes rows of tasks that are ready; none if enough room is left. After [`Tables::end`] it takes them all, part by
    /// part.
    pub fn task_rows(&mut self) -> Vec<TaskRow> {
        self.tasks.rows(self.is_over, &self.names)
    }

    /// Takes rows of mappings, as [`Tables::task_rows`] takes those of tasks.
    pub fn mapping_rows(&mut self) -> Vec<MappingRow> {
        self.mappings.rows(self.is_over)
    }

    /// Takes the rows of functions after [`Tables::end`]: those that are known then, of which there are 65,536 at most.
    #[must_use]
    pub fn function_rows(&self) -> Vec<FunctionRow> {
        functions::rows(self.mappings.known())
    }

    /// Returns how many rows were left out, of tasks and of mappings, since a table has 67,108,864 at most.
    #[must_use]
    pub fn left_out(&self) -> (u64, u64) {
        (self.tasks.left_out(), self.mappings.left_out())
    }
}

#[cfg(test)]
mod tests;
