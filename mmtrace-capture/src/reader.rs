//! Opening a capture: which files hold its records, and what is wrong with it.

use super::decode::decode;
use super::error::{CaptureError, NOTHING_READ};
use super::file;
use super::make_room::is_locked;
use super::manifest::{Manifest, SegmentEntry, State};
use super::names::Names;
use super::records::Source;
use super::sealed::{SEGMENT_BYTES_MAX, SealedFile, sha256};
use super::segment::{Form, file_name, parse_name};
use super::stream::{StreamFile, is_finished};
use mmtrace_common::{Column, Kind};
use mmtrace_model::context::Context;
use mmtrace_model::replay::source;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use super::records::Records;

/// Records between two looks whether to stop.
const VERIFIED: usize = 1 << 14;

/// Part of a capture that could not be read back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Problem {
    /// File name within the capture.
    pub file: String,
    /// What is wrong with it, as a sentence about the file without its subject.
    pub what: String,
    /// Records missing because of it; `None` when it cannot be known.
    pub missing: Option<u64>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.missing {
            Some(n) => write!(f, "{}: {}; {n} events are missing", self.file, self.what),
            None => write!(f, "{}: {}; an unknown number of events is missing", self.file, self.what),
        }
    }
}

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
    /// In one word.
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

/// One segment's worth of a capture.
#[derive(Debug)]
pub(super) enum Part {
    /// A whole sealed segment; `entry` is where the manifest has it, if it had time to take it up.
    Sealed { path: PathBuf, entry: Option<usize> },
    /// A stream, as far as it goes. `lacks`: how many records came after its end that are in no other part; `None` if
    /// that is not known.
    Open { path: PathBuf, lacks: Option<u64> },
    /// Nothing that can be read.
    Missing {
        rows: Option<u64>,
        last_ts: Option<u64>,
        /// Until when events are missing that its records tell of, where the manifest knows.
        losses_until: Option<u64>,
    },
}

impl Part {
    /// Stands where nothing is known of what was recorded.
    const UNKNOWN: Self = Self::Missing { rows: None, last_ts: None, losses_until: None };
}

impl Part {
    /// Stands for a segment that cannot be read, and that the manifest knows.
    const fn missing(entry: &SegmentEntry) -> Self {
        Self::Missing { rows: Some(entry.rows), last_ts: Some(entry.last_ts), losses_until: Some(entry.missing_until) }
    }
}

/// A part, and what tells whether it is where it belongs.
struct Found {
    /// The number in its name.
    number: Option<u64>,
    /// Its file.
    file: String,
    part: Part,
    /// When the earliest and the latest of its events happened, where that is known.
    span: Option<(u64, u64)>,
    /// Of a sealed segment.
    sha256: Option<String>,
}

/// A capture opened for reading.
#[derive(Debug)]
pub struct Capture {
    dir: PathBuf,
    manifest: Manifest,
    names: Names,
    parts: Vec<Part>,
    problems: Mutex<Problems>,
    live: bool,
}

/// Problems in the order in which they were found, each of them once.
#[derive(Debug, Default)]
struct Problems {
    listed: Vec<Problem>,
    known: FxHashSet<Problem>,
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
        let failed = |e| CaptureError::io(dir, "list the directory", NOTHING_READ, e);
        let mut files: BTreeMap<u64, Vec<Form>> = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some((number, form)) = name.to_str().and_then(parse_name) {
                files.entry(number).or_default().push(form);
            }
        }
        let mut capture = Self {
            dir: dir.to_path_buf(),
            names: Names::new(&manifest.context),
            manifest,
            parts: Vec::new(),
            problems: Mutex::default(),
            live,
        };
        let mut listed = BTreeSet::new();
        let mut found = Vec::with_capacity(capture.manifest.segments.len());
        for (i, entry) in capture.manifest.segments.iter().enumerate() {
            let number = parse_name(&entry.file).filter(|(_, form)| *form == Form::Parquet).map(|(n, _)| n);
            if number.is_some_and(|n| !listed.insert(n)) {
                capture.complain(&entry.file, "is listed twice; it is read once", Some(0));
                continue;
            }
            let part = capture.listed(i, entry, number);
            let known = matches!(part, Part::Sealed { .. }) && entry.rows > 0;
            let (sha256, span) =
                (known.then(|| entry.sha256.clone()), known.then_some((entry.first_ts, entry.last_ts)));
            found.push(Found { number, file: entry.file.clone(), part, span, sha256 });
        }
        // What came after the manifest's last word: at most one segment, unless somebody put in an older manifest.
        // A flight recorder that was interrupted may not have removed what it gave up.
        let dropped = capture.manifest.dropped.segments;
        let newest = files.keys().next_back().copied();
        for (number, forms) in files.iter().filter(|(number, _)| **number > dropped && !listed.contains(number)) {
            found.extend(capture.unlisted(*number, forms, newest == Some(*number)));
        }
        capture.parts = capture.in_sequence(found);
        Ok(capture)
    }

    /// The parts in the order in which they were written, with one that is missing wherever there is reason to think so:
    /// rules must not take what stands on both sides for neighbours.
    fn in_sequence(&self, mut found: Vec<Found>) -> Vec<Part> {
        found.sort_by_key(|found| found.number);
        let mut parts = Vec::with_capacity(found.len());
        let mut next = self.manifest.dropped.segments.saturating_add(1);
        let mut digests: FxHashMap<String, String> = FxHashMap::default();
        let mut before: Option<((u64, u64), String)> = None;
        let mut disordered = false;
        for Found { number, file, mut part, span, sha256 } in found {
            if let Some(number) = number {
                if number > next {
                    let first = file_name(next, Form::Parquet);
                    let what = match number - next {
                        1 => "is not there, and the manifest does not have it".to_owned(),
                        n => {
                            format!("is not there, and the manifest does not have it, nor the {} that follow it", n - 1)
                        }
                    };
                    self.complain(&first, &what, None);
                    parts.push(Part::UNKNOWN);
                }
                next = number.saturating_add(1);
            }
            if let Some(sha256) = sha256
                && let Some(original) = digests.insert(sha256, file.clone())
            {
                self.complain(&file, &format!("is a copy of {original}: what it was is not known"), None);
                part = Part::UNKNOWN;
                // Or the other one is the copy, and stands where something else was.
                disordered = true;
            } else if let Some(span) = span {
                if let Some((_, other)) = before.take().filter(|(before, _)| is_before(span, *before)) {
                    let what =
                        format!("is older than {other}: the segments are not in the order in which they were written");
                    self.complain(&file, &what, None);
                    disordered = true;
                }
                before = Some((span, file));
            }
            parts.push(part);
        }
        if disordered {
            // Which of them are where they belong is not known.
            parts = parts.into_iter().flat_map(|part| [Part::UNKNOWN, part]).collect();
        }
        parts
    }

    /// The part that an entry of the manifest stands for.
    fn listed(&self, i: usize, entry: &SegmentEntry, number: Option<u64>) -> Part {
        let Some(number) = number else {
            // A name with a path in it would be read from elsewhere.
            self.complain(&entry.file, "is no segment's name", Some(entry.rows));
            return Part::missing(entry);
        };
        let path = self.dir.join(&entry.file);
        let what = match check(&path, entry) {
            Ok(()) => return Part::Sealed { path, entry: Some(i) },
            Err(what) => what,
        };
        // Before the crash that damaged it, its stream may not have been removed yet.
        let stream = self.dir.join(file_name(number, Form::Arrows));
        if fs::symlink_metadata(&stream).is_ok_and(|m| m.is_file()) {
            let lacks = entry.rows.saturating_sub(rows_of(&stream));
            self.complain(&entry.file, &format!("{what}; its stream is read instead"), Some(lacks));
            return Part::Open { path: stream, lacks: Some(lacks) };
        }
        self.complain(&entry.file, &what, Some(entry.rows));
        Part::missing(entry)
    }

    /// The part that a file stands for which the manifest does not have. `newest`: no file has a larger number.
    fn unlisted(&self, number: u64, forms: &[Form], newest: bool) -> Option<Found> {
        let mut file = file_name(number, Form::Arrows);
        let stream = self.dir.join(&file);
        let whole = || forms.contains(&Form::Arrows) && is_finished(&stream);
        let mut lacks = Some(0);
        let sealed = self.dir.join(file_name(number, Form::Parquet));
        let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|m| m.is_file());
        // A recorder at work may have sealed it since the directory was listed.
        if forms.contains(&Form::Parquet) || !is_file(&stream) && is_file(&sealed) {
            file = file_name(number, Form::Parquet);
            let path = sealed;
            // It has its name only since it was complete and on disk; the stream may be neither.
            match span_of(&path, &self.names) {
                Ok(span) => {
                    let sha256 = sha256(&path).ok();
                    let part = Part::Sealed { path, entry: None };
                    return Some(Found { number: Some(number), file, part, span, sha256 });
                }
                Err(what) if forms.contains(&Form::Arrows) => {
                    lacks = whole().then_some(0);
                    self.complain(&file, &format!("{what}; its stream is read instead"), lacks);
                }
                Err(what) => {
                    self.complain(&file, &what, None);
                    let part = Part::UNKNOWN;
                    return Some(Found { number: Some(number), file, part, span: None, sha256: None });
                }
            }
        } else if !forms.contains(&Form::Arrows) {
            return None;
        } else if !newest && !whole() {
            // A recorder completes a stream before it begins the next one. That has reached the disk, and this end not.
            lacks = None;
            self.complain(&file, "breaks off, and another segment follows it", lacks);
        }
        let part = Part::Open { path: stream, lacks };
        Some(Found { number: Some(number), file, part, span: None, sha256: None })
    }

    /// The capture's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether events are missing from it as it was recorded. A recording that has not
    /// come to its end may have losses that the manifest does not know yet.
    pub(super) fn is_lossy(&self) -> bool {
        let totals = self.manifest.totals;
        totals.lost > 0 || totals.missed > 0 || self.manifest.state != State::Complete
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What its events were taken from.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.manifest.context
    }

    /// The names of its kernel's enumerators.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What could not be read back. Opening finds nearly everything; reading may add to it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).listed.clone()
    }

    /// Whether anything could not be read back as it was written, as far as it has been read.
    #[must_use]
    pub fn has_problems(&self) -> bool {
        !self.problems.lock().unwrap_or_else(PoisonError::into_inner).listed.is_empty()
    }

    /// Where the manifest has what is known of a segment.
    pub(super) fn entry(&self, i: usize) -> &SegmentEntry {
        &self.manifest.segments[i]
    }

    /// Reads all of it, for what is wrong with it, until `stop` says so.
    pub fn verify(&self, stop: impl Fn() -> bool) {
        for (i, _) in self.records().enumerate() {
            if i % VERIFIED == 0 && stop() {
                return;
            }
        }
    }

    /// In what condition it is, as far as it has been read.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let harmless = |p: &Problem| p.missing == Some(0);
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match self.manifest.state {
            _ if !problems.listed.iter().all(harmless) => Condition::Damaged,
            State::Complete => Condition::Complete,
            State::Recording => Condition::Recovered,
        }
    }

    /// Whether a recorder was at work on it when it was opened. What it writes later is not read.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Every record, in the order in which they were written, with a [`Kind::Gap`] wherever some are missing.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        self.records_between(0, u64::MAX)
    }

    /// The records after the first `n`, as [`Capture::records`] counts them.
    #[must_use]
    pub fn records_after(&self, n: u64) -> Records<'_> {
        Records::after(self, &self.parts, n)
    }

    /// The records from the first whose `ts` is at least `from` to the last before one whose `ts`
    /// exceeds `to`, nanoseconds. A [`Kind::Gap`] at the front stands for those skipped.
    #[must_use]
    pub fn records_between(&self, from: u64, to: u64) -> Records<'_> {
        Records::new(self, &self.parts, from, to)
    }

    /// Sums over what can be read. Takes them from the manifest where it has them, else reads the records.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut sum = Summary::default();
        let mut seen = |first: u64, last: u64| {
            let (a, b) = sum.span.unwrap_or((first, last));
            sum.span = Some((a.min(first).min(last), b.max(last).max(first)));
        };
        for part in &self.parts {
            match part {
                Part::Sealed { entry: Some(entry), .. } => {
                    let entry = self.entry(*entry);
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
                    for record in Records::stored(self, part) {
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
        let length = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
        let parts = self.parts.iter().map(|part| match part {
            Part::Sealed { path, .. } | Part::Open { path, .. } => length(path),
            Part::Missing { .. } => 0,
        });
        parts.fold(length(&self.dir.join(super::manifest::FILE)), u64::saturating_add)
    }

    pub(super) fn complain(&self, file: &str, what: &str, missing: Option<u64>) {
        let problem = Problem { file: file.to_owned(), what: what.to_owned(), missing };
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        // The same damage is met again by every reading.
        if problems.known.insert(problem.clone()) {
            problems.listed.push(problem);
        }
    }
}

impl<'a> source::Source for &'a Capture {
    type Records = Records<'a>;

    fn records_after(&self, n: u64) -> Records<'a> {
        Capture::records_after(self, n)
    }

    fn damage(&self) -> Vec<String> {
        self.problems().iter().map(ToString::to_string).collect()
    }
}

fn check(path: &Path, entry: &SegmentEntry) -> Result<(), String> {
    let unreadable = |e| format!("cannot be read ({e})");
    match fs::symlink_metadata(path) {
        Ok(m) => {
            if let Some(what) = file::other(&m) {
                return Err(format!("is {what}, no regular file"));
            }
            if m.len() != entry.bytes {
                return Err(format!("has {} bytes instead of {}", m.len(), entry.bytes));
            }
            if m.len() > SEGMENT_BYTES_MAX {
                return Err(format!("has {} bytes; no segment has more than {SEGMENT_BYTES_MAX}", m.len()));
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err("does not exist".to_owned()),
        Err(e) => return Err(unreadable(e)),
    }
    if sha256(path).map_err(unreadable)? != entry.sha256 {
        return Err("does not match its checksum".to_owned());
    }
    let (file, _) = SealedFile::open(path, 0)?;
    if file.left() != entry.rows {
        return Err(format!("has {} rows instead of {}", file.left(), entry.rows));
    }
    Ok(())
}

/// Whether a segment of this span was written before one of that span. A record may come late, so that it is older than
/// all of a short segment before its own: its segment as a whole is not.
const fn is_before(span: (u64, u64), that: (u64, u64)) -> bool {
    span.0 < that.0 && span.0.midpoint(span.1) < that.0.midpoint(that.1)
}

/// When the earliest and the latest event of a segment without a checksum happened. An error if it cannot be read to its
/// end.
fn span_of(path: &Path, names: &Names) -> Result<Option<(u64, u64)>, String> {
    let mut source = Source::Sealed(Box::new(SealedFile::open(path, 0)?.0));
    let mut span: Option<(u64, u64)> = None;
    let mut records = Vec::new();
    while let Some(batch) = source.next_batch()? {
        records.clear();
        decode(names, &batch, &mut records)?;
        for ts in records.iter().map(|record| record.ts) {
            let (first, last) = span.unwrap_or((ts, ts));
            span = Some((first.min(ts), last.max(ts)));
        }
    }
    Ok(span)
}

/// How many records a stream has, as far as it can be read.
fn rows_of(path: &Path) -> u64 {
    let Ok(mut stream) = StreamFile::open(path) else { return 0 };
    let mut rows = 0;
    while let Ok(Some(batch)) = stream.next_batch() {
        rows += batch.num_rows() as u64;
    }
    rows
}
