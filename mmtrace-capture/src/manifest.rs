//! The small file beside the segments: everything a replay must know besides the events.

use super::capture_id::CaptureId;
use super::error::{CaptureError, NOTHING_READ};
use super::file;
use super::folder::Folder;
use super::layout::{CaptureFile, MANIFEST, NEW_MANIFEST};
use mmtrace_model::bounded;
use mmtrace_model::context::Context;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

const FORMAT: &str = "mmtrace-capture";
const MAJOR: u32 = 1;
const MINOR: u32 = 1;

/// Largest manifest that is read, bytes. Ten thousand segments need a tenth of it.
const MAX_BYTES: u64 = 64 << 20;
/// Most segments of a capture: a year of recording has as many.
const SEGMENTS_MAX: usize = 1 << 17;
/// Most kinds of records in a segment; there are 90.
const SEGMENT_KINDS_MAX: usize = 512;
/// Most kinds in all segments together, each taking a hundred bytes of memory: ten for every segment.
const KINDS_MAX: usize = 1 << 20;
/// Most arguments of a command line.
const ARGUMENTS_MAX: usize = 1 << 16;

/// Whether the recording came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The recorder is at work, or was interrupted.
    Recording,
    /// Everything was written.
    Complete,
}

/// Version of the format. A reader refuses a newer major and takes a newer minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Changes when old readers would misunderstand.
    pub major: u32,
    /// Changes when something is added.
    pub minor: u32,
}

/// The clock that `ts` counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The kernel's name of the clock.
    pub name: String,
    /// `CLOCK_REALTIME` minus this clock, nanoseconds, when the recording began; `None` when it was not taken.
    pub realtime_offset_ns: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// File name within the capture.
    pub file: String,
    /// Records in it.
    pub rows: u64,
    /// Smallest `ts` in it, nanoseconds.
    pub first_ts: u64,
    /// Largest `ts` in it, nanoseconds.
    pub last_ts: u64,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Records by kind.
    #[serde(default, deserialize_with = "bounded::map::<_, _, SEGMENT_KINDS_MAX>")]
    pub kinds: BTreeMap<String, u64>,
    /// Events that the `loss` records in it say are missing.
    #[serde(default)]
    pub lost: u64,
    /// Events that the `missed` records in it say are missing.
    #[serde(default)]
    pub missed: u64,
    /// Time until which events may be missing according to its records, nanoseconds; 0: none are missing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing_until: u64,
}

/// Sums over the sealed segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Records of every kind.
    pub events: u64,
    /// Events that a full ring buffer did not deliver.
    pub lost: u64,
    /// Events that are missing because the probe was already running.
    pub missed: u64,
}

impl Totals {
    /// Adds up what the segments have.
    pub(super) fn of(segments: &[SegmentEntry]) -> Self {
        segments.iter().fold(Self::default(), |sum, entry| Self {
            events: sum.events.saturating_add(entry.rows),
            lost: sum.lost.saturating_add(entry.lost),
            missed: sum.missed.saturating_add(entry.missed),
        })
    }
}

/// The manifest of a capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `mmtrace-capture`.
    pub format: String,
    /// Of the format.
    pub version: Version,
    /// Version of the mmtrace that wrote it.
    pub tool: String,
    /// Identity of the capture, also stored in its segments. `None` before version 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CaptureId>,
    /// Time at which the capture was created, nanoseconds since 1970 (UTC).
    pub created: u64,
    /// Whether the recording came to its end.
    pub state: State,
    /// Command line that mmtrace was called with.
    #[serde(deserialize_with = "bounded::list::<_, _, ARGUMENTS_MAX>")]
    pub command_line: Vec<String>,
    /// The clock that `ts` counts.
    pub clock: Clock,
    /// Kernel, probes, offsets and enums.
    pub context: Context,
    /// Sealed segments, in order.
    #[serde(deserialize_with = "segments")]
    pub segments: Vec<SegmentEntry>,
    /// Sums over them.
    pub totals: Totals,
    /// Time at which recording ended, nanoseconds of the clock; `None` while it has not.
    pub end_ts: Option<u64>,
    /// Segments that a flight recorder has removed.
    #[serde(default, skip_serializing_if = "Dropped::is_none")]
    pub dropped: Dropped,
}

/// Segments that were removed since they were the oldest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Number of removed segments: those numbered up to this.
    pub segments: u64,
    /// Records in them.
    pub events: u64,
}

impl Dropped {
    fn is_none(&self) -> bool {
        self.segments == 0
    }
}

fn segments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SegmentEntry>, D::Error> {
    struct Segments;
    impl<'de> Visitor<'de> for Segments {
        type Value = Vec<SegmentEntry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of segments")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut segments = Vec::new();
            let mut kinds = 0;
            while let Some(segment) = seq.next_element::<SegmentEntry>()? {
                kinds += segment.kinds.len();
                segments.push(segment);
                if segments.len() > SEGMENTS_MAX || kinds > KINDS_MAX {
                    return Err(A::Error::custom(format_args!(
                        "more than {SEGMENTS_MAX} segments, or {KINDS_MAX} kinds in them"
                    )));
                }
            }
            Ok(segments)
        }
    }
    deserializer.deserialize_seq(Segments)
}

/// As much as any version of the format has.
#[derive(Deserialize)]
struct Probe {
    format: Option<String>,
    version: Option<Version>,
    #[serde(default)]
    tool: String,
}

impl Manifest {
    /// Returns the manifest of a recording that is about to begin.
    pub(super) fn new(
        id: CaptureId,
        context: &Context,
        command_line: Vec<String>,
        created: u64,
        realtime_offset_ns: Option<i64>,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: Version { major: MAJOR, minor: MINOR },
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            id: Some(id),
            created,
            state: State::Recording,
            command_line,
            clock: Clock { name: "CLOCK_MONOTONIC".to_owned(), realtime_offset_ns },
            context: context.clone(),
            segments: Vec::new(),
            totals: Totals::default(),
            end_ts: None,
            dropped: Dropped::default(),
        }
    }

    /// Adds a sealed segment and its sums.
    pub(super) fn push(&mut self, entry: SegmentEntry) {
        self.segments.push(entry);
        self.totals = Totals::of(&self.segments);
    }

    /// Adds up the lengths of the sealed segments.
    pub(super) fn sealed_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Takes the oldest segment out, and returns its file's name. The capture is then as if recording had begun
    /// after it: nothing is known of what was before.
    pub(super) fn drop_oldest(&mut self) -> Option<String> {
        if self.segments.is_empty() {
            return None;
        }
        let entry = self.segments.remove(0);
        self.dropped.segments += 1;
        self.dropped.events += entry.rows;
        self.context.start = self.context.start.max(entry.last_ts).max(entry.missing_until);
        self.totals = Totals::of(&self.segments);
        Some(entry.file)
    }

    /// Reads the manifest of the capture in `dir`. Fields that this build does not know are ignored.
    ///
    /// # Errors
    ///
    /// [`CaptureError::NotACapture`], [`CaptureError::NoManifest`], [`CaptureError::BadManifest`],
    /// [`CaptureError::NewerFormat`], or an I/O error.
    pub fn load(dir: &Path) -> Result<Self, CaptureError> {
        let path = dir.join(MANIFEST);
        let not_a_capture = || CaptureError::NotACapture { path: dir.to_path_buf() };
        let file = match open(&path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                let is_segment = |name: &OsStr| {
                    name.to_str().is_some_and(|name| matches!(CaptureFile::parse(name), Some(CaptureFile::Segment(..))))
                };
                let orphans = |mut entries: fs::ReadDir| entries.any(|e| e.is_ok_and(|e| is_segment(&e.file_name())));
                return Err(if fs::read_dir(dir).is_ok_and(orphans) {
                    CaptureError::NoManifest { path: dir.to_path_buf() }
                } else {
                    not_a_capture()
                });
            }
            Err(e) => return Err(CaptureError::io(&path, "read the manifest", NOTHING_READ, e)),
        };
        Self::parse(dir, file)
    }

    /// Reads the manifest of a capture whose folder is held.
    pub(super) fn load_from(folder: &Folder) -> Result<Self, CaptureError> {
        let file = folder.open(MANIFEST).and_then(|file| {
            bounded_length(file.metadata()?.len())?;
            Ok(file)
        });
        let file = file.map_err(|e| CaptureError::io(&folder.at(MANIFEST), "read the manifest", NOTHING_READ, e))?;
        Self::parse(folder.path(), file)
    }

    fn parse(dir: &Path, mut file: File) -> Result<Self, CaptureError> {
        let path = dir.join(MANIFEST);
        let not_a_capture = || CaptureError::NotACapture { path: dir.to_path_buf() };
        let bad = |e: serde_json::Error| CaptureError::BadManifest { path: path.clone(), reason: e.to_string() };
        // The version first: a newer format may have changed everything else.
        let probe: Probe = serde_json::from_reader(BufReader::new((&mut file).take(MAX_BYTES))).map_err(bad)?;
        if probe.format.as_deref() != Some(FORMAT) {
            return Err(not_a_capture());
        }
        if let Some(version) = probe.version
            && version.major > MAJOR
        {
            return Err(CaptureError::NewerFormat { path, major: version.major, known: MAJOR, tool: probe.tool });
        }
        file.rewind().map_err(|e| CaptureError::io(&path, "read the manifest", NOTHING_READ, e))?;
        let mut manifest: Self = serde_json::from_reader(BufReader::new(file.take(MAX_BYTES))).map_err(bad)?;
        manifest.context.mark_absent();
        Ok(manifest)
    }

    /// Replaces the manifest in one step: after a crash there is the old one or the new one.
    pub(super) fn store(&self, folder: &Folder, consequence: &'static str) -> Result<(), CaptureError> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| CaptureError::Encode {
            path: folder.at(MANIFEST),
            reason: e.to_string(),
            consequence,
        })?;
        text.push(b'\n');
        let failed = |name: &str, doing, e| CaptureError::io(&folder.at(name), doing, consequence, e);
        let mut file = folder.create(NEW_MANIFEST).map_err(|e| failed(NEW_MANIFEST, "create the manifest", e))?;
        let written = file.write_all(&text).map_err(|e| failed(NEW_MANIFEST, "write the manifest", e));
        let written = written.and_then(|()| file.sync_all().map_err(|e| failed(NEW_MANIFEST, "flush the manifest", e)));
        if written.is_err() {
            // A part of it is of no use, and takes room on a full disk.
            let _ = folder.remove(NEW_MANIFEST);
        }
        written?;
        folder.replace(NEW_MANIFEST, MANIFEST).map_err(|e| failed(MANIFEST, "replace the manifest", e))?;
        folder.sync().map_err(|e| CaptureError::io(folder.path(), "flush the directory", consequence, e))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let (file, length) = file::open(path)?;
    bounded_length(length)?;
    Ok(file)
}

fn bounded_length(length: u64) -> io::Result<()> {
    if length > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than any manifest"));
    }
    Ok(())
}
