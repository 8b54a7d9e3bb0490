//! Events that a kernel running a protocol would emit: the bridge to the live rules.

use mmtrace_common::{Column, Kind};

/// An event, without time and task: the trace adds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which.
    pub kind: Kind,
    /// Which mm it is about, as a number of the scenario; `None` where the kernel's event has none.
    pub mm: Option<u8>,
    /// Its fields.
    pub fields: Vec<(Column, u64)>,
}
