//! From when to when a thread id was which task.

use mmtrace_common::Record;
use rustc_hash::FxHashMap;

use super::Waiting;
use crate::names::{Tasks, ThreadId};

/// Thread ids that are followed.
const OPEN_MAX: usize = 1 << 16;

/// A row of the table of tasks: a thread id was this task, under this name, in this cgroup.
///
/// The rows of a thread id follow each other without a gap, from its first event on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// The thread id.
    pub tid: u32,
    /// Its process's id.
    pub pid: u32,
    /// Its first event, nanoseconds.
    pub from_ts: u64,
    /// The first event that is not its, nanoseconds; of what was there to the end, one more than the last event's time.
    pub to_ts: u64,
    /// Its name, fit for a terminal; `None`: not known.
    pub comm: Option<String>,
    /// The last name of the process's first thread.
    pub process: Option<String>,
    /// The path of its cgroup v2.
    pub cgroup: Option<String>,
    /// The container that the path tells of.
    pub container: Option<String>,
}

/// A task that a thread id stands for.
#[derive(Clone, Copy, Debug)]
struct Span {
    tid: u32,
    tgid: u32,
    thread: ThreadId,
    from: u64,
    /// The last event while it is open, then the end, nanoseconds.
    to: u64,
}

/// The tasks of all thread ids.
#[derive(Debug, Default)]
pub(super) struct TaskSpans {
    open: FxHashMap<u32, Span>,
    waiting: Waiting<Span>,
}

impl TaskSpans {
    /// Takes the next record; `names` has learned from it.
    pub(super) fn apply(&mut self, record: &Record, names: &mut Tasks) {
        let Record { tid, tgid, ts, .. } = *record;
        let thread = names.of(record);
        if let Some(span) = self.open.get_mut(&tid) {
            if (span.thread, span.tgid) == (thread, tgid) {
                span.to = span.to.max(ts);
                return;
            }
            // Its next one begins here. Times of two CPUs may differ by a little.
            let from = ts.max(span.from);
            let ended = std::mem::replace(span, Span { tid, tgid, thread, from, to: from });
            let ended = Span { to: from, ..ended };
            if ended.from < ended.to {
                self.waiting.push(ended);
            }
            return;
        }
        if self.open.len() >= OPEN_MAX {
            self.close(None);
        }
        self.open.insert(tid, Span { tid, tgid, thread, from: ts, to: ts });
    }

    pub(super) fn end(&mut self, end: u64) {
        self.close(Some(end));
    }

    /// Ends all of them; without a time, each behind its last event.
    fn close(&mut self, end: Option<u64>) {
        let mut open: Vec<Span> = self.open.drain().map(|(_, span)| span).collect();
        open.sort_unstable_by_key(|span| (span.from, span.tid));
        for span in open {
            self.waiting.push(Span { to: end.unwrap_or(span.to.saturating_add(1)), ..span });
        }
    }

    pub(super) fn rows(&mut self, all: bool, names: &Tasks) -> Vec<TaskRow> {
        self.waiting.take(all).iter().map(|span| row(span, names)).collect()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.rows.len()
    }

    pub(super) const fn left_out(&self) -> u64 {
        self.waiting.left_out
    }
}

fn row(span: &Span, names: &Tasks) -> TaskRow {
    let thread = names.thread(span.thread);
    let process = names.thread(names.process(span.thread)).process;
    let cgroup = names.cgroups().name(thread.cgroup);
    TaskRow {
        tid: span.tid,
        pid: span.tgid,
        from_ts: span.from,
        to_ts: span.to,
        comm: thread.comm.map(|comm| comm.to_string()),
        process: process.or(thread.process).map(|comm| comm.to_string()),
        cgroup: cgroup.map(|name| name.path.clone()),
        container: cgroup.and_then(|name| name.container()).map(str::to_owned),
    }
}
