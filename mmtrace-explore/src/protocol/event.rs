//! Events that a kernel that runs an operation would emit, for the live rules.

use mmtrace_common::{Column, Kind};

/// The address at which the memory of the scenarios begins.
pub(crate) const START: u64 = 0x7f00_0000_0000;
/// Bytes of a page.
pub(crate) const PAGE: u64 = 0x1000;

/// An event of a scenario's execution. [`render::records`](crate::render::records) adds time and task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its kind.
    pub kind: Kind,
    /// The number of the mm that it is about; `None` if the kernel's event has none.
    pub mm: Option<u8>,
    /// The values of its fields.
    pub fields: Vec<(Column, u64)>,
}
