//! A capture opened for reading.

use super::error::CaptureError;
use super::inventory::Inventory;
use super::layout::MANIFEST;
use super::make_room::is_locked;
use super::manifest::{Manifest, State};
use super::names::Names;
use super::part::Part;
use super::problem::Problem;
use super::records::Records;
use mmtrace_common::{Column, Kind};
use mmtrace_model::context::Context;
use mmtrace_model::replay::source;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Records between two looks whether to stop.
const VERIFIED: usize = 1 << 14;

/// In what condition a capture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The recording came to its end and everything is there.
    Complete,
    /// The recording was interrupted, or still runs; everything up to the last batch on disk is there.
    Recovered,
    /// Some of what was recorded is missing: see [`Capture::problems`].
    Damaged,
}

impl Condition {
    /// Returns the condition in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Recovered => "recovered",
            Self::Damaged => "damaged",
        }
    }
}

/// Sums over everything that can be read of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records.
    pub events: u64,
    /// Records by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Smallest and largest `ts`, nanoseconds; `None` without records.
    pub span: Option<(u64, u64)>,
    /// Events that a full ring buffer did not deliver.
    pub lost: u64,
    /// Events that are missing because the probe was already running.
    pub missed: u64,
    /// Bytes on disk, manifest included.
    pub bytes: u64,
}

/// A capture opened for reading.
#[derive(Debug)]
pub struct Capture {
    inventory: Inventory,
    live: bool,
}

impl Capture {
    /// Opens the capture in `dir`, and checks every sealed segment against its checksum.
    ///
    /// Damaged segments are no error: they are named by [`Capture::problems`], and a
    /// [`Kind::Gap`] record stands in their place.
    ///
    /// # Errors
    ///
    /// As [`Manifest::load`].
    pub fn open(dir: &Path) -> Result<Self, CaptureError> {
        if fs::metadata(dir).is_ok_and(|m| !m.is_dir()) {
            return Err(CaptureError::NotACapture { path: dir.to_path_buf() });
        }
        // Asked first: a recorder that ends right now has then written everything.
        let live = is_locked(dir);
        let manifest = Manifest::load(dir)?;
        Ok(Self { inventory: Inventory::take(dir, manifest)?, live })
    }

    /// Returns the capture's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inventory.dir
    }

    /// Returns its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.inventory.manifest
    }

    /// Returns the kernel and the probes that its events come from.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.inventory.manifest.context
    }

    /// Returns the names of its kernel's enumerators.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.inventory.names
    }

    /// Lists what could not be read back. Opening finds nearly everything; reading may add to it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.inventory.problems.all()
    }

    /// Returns whether anything could not be read back as it was written, as far as it has been read.
    #[must_use]
    pub fn has_problems(&self) -> bool {
        !self.inventory.problems.is_empty()
    }

    /// Reads all of it, for what is wrong with it, until `stop` says so.
    pub fn verify(&self, stop: impl Fn() -> bool) {
        for (i, _) in self.records().enumerate() {
            if i % VERIFIED == 0 && stop() {
                return;
            }
        }
    }

    /// Returns in what condition it is, as far as it has been read.
    #[must_use]
    pub fn condition(&self) -> Condition {
        match self.inventory.manifest.state {
            _ if self.inventory.problems.has_damage() => Condition::Damaged,
            State::Complete => Condition::Complete,
            State::Recording => Condition::Recovered,
        }
    }

    /// Returns whether a recorder was at work on it when it was opened. Records that it writes later are not read.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Iterates over every record, in the order in which they were written, with a [`Kind::Gap`] wherever some are
    /// missing.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        self.records_between(0, u64::MAX)
    }

    /// Iterates over the records from the first whose `ts` is at least `from` to the last before one whose `ts` exceeds
    /// `to`, nanoseconds. A [`Kind::Gap`] at the front stands for those skipped.
    #[must_use]
    pub fn records_between(&self, from: u64, to: u64) -> Records<'_> {
        Records::new(&self.inventory, &self.inventory.parts, from, to)
    }

    /// Adds up what can be read. Takes them from the manifest where it has them, else reads the records.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut sum = Summary::default();
        let mut seen = |first: u64, last: u64| {
            let (a, b) = sum.span.unwrap_or((first, last));
            sum.span = Some((a.min(first).min(last), b.max(last).max(first)));
        };
        for part in &self.inventory.parts {
            match part {
                Part::Sealed { entry: Some(entry), .. } => {
                    let entry = self.inventory.entry(*entry);
                    if entry.rows > 0 {
                        seen(entry.first_ts, entry.last_ts);
                    }
                    sum.events = sum.events.saturating_add(entry.rows);
                    sum.lost = sum.lost.saturating_add(entry.lost);
                    sum.missed = sum.missed.saturating_add(entry.missed);
                    for (kind, n) in &entry.kinds {
                        let total = sum.kinds.entry(kind.clone()).or_default();
                        *total = total.saturating_add(*n);
                    }
                }
                Part::Missing { .. } => {}
                _ => {
                    for record in Records::stored(&self.inventory, part) {
                        seen(record.ts, record.ts);
                        sum.events += 1;
                        let count = record.get(Column::Count).unwrap_or(0);
                        match record.kind() {
                            Some(Kind::Loss) => sum.lost = sum.lost.saturating_add(count),
                            Some(Kind::Missed) => sum.missed = sum.missed.saturating_add(count),
                            _ => {}
                        }
                        if let Some(kind) = record.kind() {
                            *sum.kinds.entry(kind.name().to_owned()).or_default() += 1;
                        }
                    }
                }
            }
        }
        sum.bytes = self.bytes();
        sum
    }

    fn bytes(&self) -> u64 {
        let length = |path: &Path| fs::symlink_metadata(path).map_or(0, |m| m.len());
        let parts = self.inventory.parts.iter().map(|part| match part {
            Part::Sealed { path, .. } | Part::Open { path, .. } => length(path),
            Part::Missing { .. } => 0,
        });
        parts.fold(length(&self.dir().join(MANIFEST)), u64::saturating_add)
    }
}

impl<'a> source::Source for &'a Capture {
    type Records = Records<'a>;

    fn records_after(&self, n: u64) -> Records<'a> {
        Records::after(&self.inventory, n)
    }

    fn damage(&self) -> Vec<String> {
        self.problems().iter().map(ToString::to_string).collect()
    }
}
