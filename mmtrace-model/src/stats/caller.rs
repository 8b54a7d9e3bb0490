//! A thread and its entry into the kernel.

use mmtrace_common::Call;

use crate::names::ThreadId;

/// Who did something, and by which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// The thread.
    pub thread: ThreadId,
    /// Its entry into the kernel; `None` if the events do not say.
    pub call: Option<Call>,
}
