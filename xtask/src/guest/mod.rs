//! The agreement of the two sides of a test machine: `cargo xtask vm` outside, the first process inside.
//!
//! Outside puts a [`Plan`] into the initramfs, as [`PLAN`]. Inside runs its steps one by one, and writes what came of
//! each as files of a [cpio archive](archive) to a bare disk, which outside reads when the machine has ended, however
//! it ended.

pub mod archive;

use serde::{Deserialize, Serialize};

/// Path of the plan in the initramfs.
pub const PLAN: &str = "plan.json";
/// Beside a step's files: its [`Done`].
pub const DONE: &str = "done.json";
/// Beside it: what the step printed on standard output.
pub const STDOUT: &str = "stdout";
/// Beside it: what the step printed on standard error.
pub const STDERR: &str = "stderr";
/// Folder of the files that a step leaves and the plan keeps.
pub const KEPT: &str = "kept";
/// Serial number of the disk that takes the results. Which name a disk gets is a matter of which one is found first.
pub const RESULTS: &str = "results";
/// Serial number of the disk to swap to.
pub const SWAP: &str = "swap";
/// Begins each line that the first process writes to the kernel's log.
pub const VOICE: &str = "mmtrace-guest:";

/// The steps that a machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// One after the other.
    pub steps: Vec<Step>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, and that of its folder in the results.
    pub name: String,
    /// Files of one value, with the value that each has during the step.
    pub settings: Vec<(String, String)>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// After so many seconds it is killed.
    pub limit: u64,
    /// Folders and files that are results as well.
    pub keep: Vec<String>,
}

/// The result of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Its exit status; `None` when a signal ended it, or it never began.
    pub status: Option<i32>,
    /// Reason why it did not end by itself, or could not begin.
    pub trouble: Option<String>,
    /// Run time, in seconds.
    pub seconds: f64,
}
