//! A thread and its entry into the kernel.

use mmtrace_common::Call;

use crate::names::ThreadId;

/// A thread and the call by which it entered the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// The thread.
    pub thread: ThreadId,
    /// Its entry into the kernel; `None` if the events do not say.
    pub call: Option<Call>,
}
