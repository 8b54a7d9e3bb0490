//! The files that hold the records of a capture, and what is wrong with them.

use super::decode::decode;
use super::digest::sha256;
use super::error::{CaptureError, NOTHING_READ};
use super::file;
use super::layout::{CaptureFile, Form, parse_segment, segment_name};
use super::manifest::{Manifest, SegmentEntry, State, Totals};
use super::names::Names;
use super::part::Part;
use super::problem::Problems;
use super::sealed::{self, SEGMENT_BYTES_MAX, SealedFile};
use super::sequence::{Balance, Found, in_sequence};
use super::stream::{self, StreamFile, is_finished};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The parts of a capture, and what is wrong with them.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) dir: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) names: Names,
    /// In the order in which they were written.
    pub(super) parts: Vec<Part>,
    pub(super) problems: Problems,
    /// Whether events are missing from it as it was recorded. A recording that has not come to its end may have losses
    /// that the manifest does not know yet.
    pub(super) lossy: bool,
}

impl Inventory {
    /// Looks at every file of the capture in `dir`, and checks every sealed segment against its checksum.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub(super) fn take(dir: &Path, manifest: Manifest) -> Result<Self, CaptureError> {
        let files = segment_files(dir)?;
        let losses = [manifest.totals, Totals::of(&manifest.segments)];
        let mut inventory = Self {
            dir: dir.to_path_buf(),
            names: Names::new(&manifest.context),
            lossy: manifest.state != State::Complete || losses.iter().any(|sum| sum.lost > 0 || sum.missed > 0),
            manifest,
            parts: Vec::new(),
            problems: Problems::default(),
        };
        let (mut found, listed) = inventory.every_listed();
        let beside = found.len();
        // After its last manifest, a recorder has begun one segment at most, unless somebody put in an older manifest.
        // A flight recorder that was interrupted may not have removed what it gave up.
        let dropped = inventory.manifest.dropped.segments;
        let newest = files.keys().next_back().copied();
        for (number, forms) in files.iter().filter(|(number, _)| **number > dropped && !listed.contains(number)) {
            found.extend(inventory.unlisted(*number, forms, newest == Some(*number)));
        }
        let beside = || found[beside..].iter().map(|found| inventory.rows_of(&found.part)).fold(0, u64::saturating_add);
        let balance = Balance::of(&inventory.manifest, beside, &inventory.problems);
        inventory.parts = in_sequence(found, dropped, balance, &inventory.problems);
        Ok(inventory)
    }

    /// Returns what the manifest has of a segment.
    pub(super) fn entry(&self, i: usize) -> &SegmentEntry {
        &self.manifest.segments[i]
    }

    /// Returns whether the recording came to its end and all of it is there, as far as it has been read.
    pub(super) fn is_whole(&self) -> bool {
        self.manifest.state == State::Complete && !self.problems.has_damage()
    }

    /// Finds the parts that the manifest lists, and their numbers.
    fn every_listed(&self) -> (Vec<Found>, BTreeSet<u64>) {
        let mut numbers = BTreeSet::new();
        let mut found = Vec::with_capacity(self.manifest.segments.len());
        for (i, entry) in self.manifest.segments.iter().enumerate() {
            let number = parse_segment(&entry.file).filter(|(_, form)| *form == Form::Parquet).map(|(n, _)| n);
            if number.is_some_and(|n| !numbers.insert(n)) {
                self.problems.add(&entry.file, "is listed twice; it is read once", Some(0));
                continue;
            }
            let part = self.listed(i, entry, number);
            let known = matches!(part, Part::Sealed { .. }) && entry.rows > 0;
            let (sha256, span) =
                (known.then(|| entry.sha256.clone()), known.then_some((entry.first_ts, entry.last_ts)));
            found.push(Found { number, file: entry.file.clone(), part, span, sha256 });
        }
        (found, numbers)
    }

    /// Finds the part that an entry of the manifest stands for.
    fn listed(&self, i: usize, entry: &SegmentEntry, number: Option<u64>) -> Part {
        let Some(number) = number else {
            // A name with a path in it would be read from elsewhere.
            self.problems.add(&entry.file, "is no segment's name", Some(entry.rows));
            return Part::missing(entry);
        };
        let path = self.dir.join(&entry.file);
        let another = sealed::names_another(&path, self.manifest.id);
        let what = match (check(&path, entry), another) {
            (Ok(()), Some(what)) => {
                // The manifest vouches for it: it does not say what was there before.
                self.problems.add(&entry.file, &format!("{what}: what it was is not known"), None);
                return Part::UNKNOWN;
            }
            (Err(what), Some(another)) => format!("{what}, and {another}"),
            (Err(what), None) => what,
            (Ok(()), None) => match self.check_rows(&path, entry) {
                Ok(()) => return Part::Sealed { path, entry: Some(i) },
                Err(what) => what,
            },
        };
        // Before the crash that damaged it, its stream may not have been removed yet.
        let stream = self.dir.join(segment_name(number, Form::Arrows));
        if is_file(&stream) && stream::names_another(&stream, self.manifest.id).is_none() {
            let lacks = entry.rows.saturating_sub(self.rows_of_stream(&stream));
            self.problems.add(&entry.file, &format!("{what}; its stream is read instead"), Some(lacks));
            return Part::Open { path: stream, lacks: Some(lacks) };
        }
        self.problems.add(&entry.file, &what, Some(entry.rows));
        Part::missing(entry)
    }

    /// Finds the part of a segment that the manifest does not have. `newest`: no file has a larger number.
    fn unlisted(&self, number: u64, forms: &[Form], newest: bool) -> Option<Found> {
        let mut file = segment_name(number, Form::Arrows);
        let stream = self.dir.join(&file);
        let whole = || forms.contains(&Form::Arrows) && is_finished(&stream);
        let mut lacks = Some(0);
        let sealed = self.dir.join(segment_name(number, Form::Parquet));
        // A recorder at work may have sealed it since the directory was listed.
        if forms.contains(&Form::Parquet) || !is_file(&stream) && is_file(&sealed) {
            file = segment_name(number, Form::Parquet);
            let path = sealed;
            // It has its name only since it was complete and on disk; the stream may be neither.
            match self.span_of(&path) {
                Ok(span) => {
                    let sha256 = sha256(&path, SEGMENT_BYTES_MAX).ok();
                    let part = Part::Sealed { path, entry: None };
                    return Some(Found { number: Some(number), file, part, span, sha256 });
                }
                Err(what) if forms.contains(&Form::Arrows) => {
                    lacks = whole().then_some(0);
                    self.problems.add(&file, &format!("{what}; its stream is read instead"), lacks);
                }
                Err(what) => {
                    self.problems.add(&file, &what, None);
                    let part = Part::UNKNOWN;
                    return Some(Found { number: Some(number), file, part, span: None, sha256: None });
                }
            }
        } else if !forms.contains(&Form::Arrows) {
            return None;
        } else if !newest && !whole() {
            // A recorder completes a stream before it begins the next one. That has reached the disk, and this end not.
            lacks = None;
            self.problems.add(&file, "breaks off, and another segment follows it", lacks);
        }
        let part = match stream::names_another(&stream, self.manifest.id) {
            None => Part::Open { path: stream, lacks },
            Some(what) => {
                self.problems.add(&segment_name(number, Form::Arrows), what, None);
                Part::UNKNOWN
            }
        };
        Some(Found { number: Some(number), file, part, span: None, sha256: None })
    }

    /// Checks whether a sealed segment can be opened and has as many rows as the manifest says.
    fn check_rows(&self, path: &Path, entry: &SegmentEntry) -> Result<(), String> {
        let (file, _) = SealedFile::open(path, self.manifest.id, 0)?;
        if file.left() != entry.rows {
            return Err(format!("has {} rows instead of {}", file.left(), entry.rows));
        }
        Ok(())
    }

    /// Finds when the earliest and the latest event of a segment without a checksum happened. An error if it cannot be
    /// read to its end.
    fn span_of(&self, path: &Path) -> Result<Option<(u64, u64)>, String> {
        let (mut file, _) = SealedFile::open(path, self.manifest.id, 0)?;
        let mut span: Option<(u64, u64)> = None;
        let mut records = Vec::new();
        while let Some(batch) = file.next_batch()? {
            records.clear();
            decode(&self.names, &batch, &mut records)?;
            for ts in records.iter().map(|record| record.ts) {
                let (first, last) = span.unwrap_or((ts, ts));
                span = Some((first.min(ts), last.max(ts)));
            }
        }
        Ok(span)
    }

    /// Counts the records of a part that the manifest does not have, as far as it can be read.
    fn rows_of(&self, part: &Part) -> u64 {
        match part {
            Part::Sealed { path, .. } => SealedFile::open(path, self.manifest.id, 0).map_or(0, |(file, _)| file.left()),
            Part::Open { path, .. } => self.rows_of_stream(path),
            Part::Missing { .. } => 0,
        }
    }

    fn rows_of_stream(&self, path: &Path) -> u64 {
        let Ok(mut stream) = StreamFile::open(path, self.manifest.id) else { return 0 };
        let mut rows = 0;
        while let Ok(Some(batch)) = stream.next_batch() {
            rows += batch.num_rows() as u64;
        }
        rows
    }
}

/// Lists the segments' files by number.
fn segment_files(dir: &Path) -> Result<BTreeMap<u64, Vec<Form>>, CaptureError> {
    let failed = |e| CaptureError::io(dir, "list the directory", NOTHING_READ, e);
    let mut files: BTreeMap<u64, Vec<Form>> = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        match name.to_str().and_then(CaptureFile::parse) {
            Some(CaptureFile::Segment(number, form)) => files.entry(number).or_default().push(form),
            // The manifest has been read, and tables hold no records.
            Some(
                CaptureFile::Manifest | CaptureFile::NewManifest | CaptureFile::Table(_) | CaptureFile::TablePart(_),
            )
            | None => {}
        }
    }
    Ok(files)
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file())
}

/// Checks whether a file is the one that the manifest knows.
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
    if sha256(path, SEGMENT_BYTES_MAX).map_err(unreadable)? != entry.sha256 {
        return Err("does not match its checksum".to_owned());
    }
    Ok(())
}
