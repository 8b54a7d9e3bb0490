//! `mmtrace record`: probes on, events judged and written, probes off, report.

mod args;
mod child;
mod kernel;
mod session;
mod status;

pub use args::{DASHBOARD, RecordArgs, TopArgs, WatchArgs};
pub use kernel::running as running_kernel;
pub use session::run;

/// Folder that is written, and read, when none is named.
pub const DEFAULT_DIR: &str = "mmtrace.data";
