//! One segment's worth of a capture, as it is read.

use super::manifest::SegmentEntry;
use std::path::PathBuf;

/// One segment's worth of a capture.
#[derive(Debug)]
pub(super) enum Part {
    /// A whole sealed segment; `entry` is its index in the manifest, if the manifest has it.
    Sealed { path: PathBuf, entry: Option<usize> },
    /// A stream, as far as it goes. `lacks`: how many records came after its end that are in no other part; `None` if
    /// that is not known.
    Open { path: PathBuf, lacks: Option<u64> },
    /// Nothing that can be read.
    Missing {
        rows: Option<u64>,
        last_ts: Option<u64>,
        /// Time until which events may be missing according to its records, nanoseconds, if the manifest knows it.
        losses_until: Option<u64>,
    },
}

impl Part {
    /// Stands where nothing is known of what was recorded.
    pub(super) const UNKNOWN: Self = Self::Missing { rows: None, last_ts: None, losses_until: None };

    /// Stands for a segment that cannot be read, and that the manifest knows.
    pub(super) const fn missing(entry: &SegmentEntry) -> Self {
        Self::Missing { rows: Some(entry.rows), last_ts: Some(entry.last_ts), losses_until: Some(entry.missing_until) }
    }
}
