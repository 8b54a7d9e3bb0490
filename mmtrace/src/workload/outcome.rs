//! The outcome of a workload.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
};

use serde::{Deserialize, Serialize};

/// The outcome of a workload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Name of the workload; empty if they were only listed.
    pub(crate) workload: String,
    /// Time that it ran, in seconds.
    pub seconds: f64,
    /// Whether it was told to stop before its time was over.
    pub(crate) interrupted: bool,
    /// One entry per path.
    pub(crate) paths: Vec<PathOutcome>,
    /// Reasons why it did less than it should, such as threads that the system refused; empty if it did all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) failures: Vec<String>,
}

/// The outcome of a workload on one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathOutcome {
    /// The workload that the path belongs to.
    pub(crate) workload: String,
    /// The path.
    pub(crate) path: String,
    /// Numbers of operations, by their names.
    pub counts: BTreeMap<String, u64>,
    /// Reason why it was not done, or not all of it.
    pub(crate) note: Option<String>,
}

impl fmt::Display for PathOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:", self.workload, self.path)?;
        for (i, (what, count)) in self.counts.iter().enumerate() {
            write!(f, "{} {count} {what}", if i > 0 { "," } else { "" })?;
        }
        match &self.note {
            Some(note) if self.counts.is_empty() => write!(f, " {note}"),
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

impl Outcome {
    /// Prints it, as a line for each path or as one JSON object.
    pub(super) fn print(&self, json: bool, out: &mut dyn Write) -> io::Result<()> {
        if json {
            mmtrace_model::untrusted::json_line(self, &mut *out)?;
            return writeln!(out);
        }
        for path in &self.paths {
            writeln!(out, "{path}")?;
        }
        let how = match (self.interrupted, self.failures.is_empty()) {
            (true, _) => "stopped",
            (false, true) => "done",
            (false, false) => "incomplete",
        };
        writeln!(out, "{}: {how} after {:.1} s", self.workload, self.seconds)
    }
}
