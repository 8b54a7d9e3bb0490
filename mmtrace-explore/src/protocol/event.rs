//! Events that a kernel running a protocol would emit: the bridge to the live rules.

use mmtrace_common::{Column, Kind};

/// Where the scenarios' memory begins.
pub const START: u64 = 0x7f00_0000_0000;
/// The size of a page.
pub const PAGE: u64 = 0x1000;

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
