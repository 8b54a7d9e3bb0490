//! A thread and its entry into the kernel.

use mmtrace_common::Call;

use crate::{names::ThreadId, recent_map::Key};

/// A thread and the call by which it entered the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Caller {
    /// The thread.
    pub(crate) thread: ThreadId,
    /// Its entry into the kernel; `None` if the events do not say.
    pub(crate) call: Option<Call>,
}

impl Key for Caller {
    #[inline]
    fn number(self) -> u64 {
        // No call has this number.
        let call = self.call.map_or(u16::MAX, Call::number);
        self.thread.number() << 16 | u64::from(call)
    }
}

/// A caller, and whether it is about a lock for write.
impl Key for (Caller, bool) {
    #[inline]
    fn number(self) -> u64 {
        self.0.number() << 1 | u64::from(self.1)
    }
}
