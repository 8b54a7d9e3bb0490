//! `mmtrace record`: probes on, events judged and written, probes off, report.

mod args;
mod child;
mod closing;
mod detaching;
mod dump;
mod executable;
mod kernel;
mod limits;
mod names;
mod session;
mod signals;
mod silence;
mod size;
mod status;
mod target;
mod tasks;
mod user;

pub use args::{DASHBOARD, RecordArgs, TopArgs, WatchArgs};
pub use dump::Occasion;
pub use kernel::running as running_kernel;
pub use session::run;
pub use signals::survive_file_limit;
pub use size::Size;

/// Folder that is written, and read, when none is named.
pub const DEFAULT_DIR: &str = "mmtrace.data";
