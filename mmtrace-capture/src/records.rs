//! Iterating over a capture's records.

use super::decode::decode;
use super::inventory::Inventory;
use super::part::Part;
use super::sealed::SealedFile;
use super::stream::StreamFile;
use arrow_array::RecordBatch;
use mmtrace_common::{Column, Kind, Record, spec};
use std::path::Path;

/// A file that batches come from.
pub(super) enum SegmentFile {
    Sealed(Box<SealedFile>),
    Open(Box<StreamFile>),
}

impl SegmentFile {
    pub(super) fn next_batch(&mut self) -> Result<Option<RecordBatch>, String> {
        match self {
            Self::Sealed(file) => file.next_batch(),
            Self::Open(file) => file.next_batch(),
        }
    }

    /// Counts the rows still to come, where the file says so.
    fn left(&self) -> Option<u64> {
        match self {
            Self::Sealed(file) => Some(file.left()),
            Self::Open(_) => None,
        }
    }
}

/// Records that will not come before the next one.
#[derive(Clone, Copy, Default)]
struct Hole {
    /// Number of missing records; `None` if unknown.
    rows: Option<u64>,
    /// Whether damage made it, not the start of the time range.
    damage: bool,
    /// Whether `loss` records in it may reach beyond it by a time that can no longer be read.
    beyond: bool,
}

/// Iterator over a capture's records, batch by batch: memory does not grow with the capture.
pub struct Records<'a> {
    inventory: &'a Inventory,
    parts: std::slice::Iter<'a, Part>,
    source: Option<(SegmentFile, &'a Path)>,
    /// Number of records that are missing behind the end of `source`; `None` if unknown.
    lacks: Option<u64>,
    buffer: Vec<Record>,
    at: usize,
    from: u64,
    to: u64,
    /// Whether `from` has been reached.
    started: bool,
    done: bool,
    /// Whether to tell of holes.
    gaps: bool,
    hole: Option<Hole>,
    /// Everything up to here was delivered, nanoseconds.
    known: u64,
    unknown: u64,
    /// Latest time that losses among the skipped records reach, nanoseconds.
    horizon: u64,
    /// A record that waits for the gap before it to be taken.
    held: Option<Record>,
}

/// Assumed reach of a loss whose record cannot be read, nanoseconds: a hundred passes of the recorder.
const LOSS_REACH_NS: u64 = 1_000_000_000;

impl<'a> Records<'a> {
    pub(super) fn new(inventory: &'a Inventory, parts: &'a [Part], from: u64, to: u64) -> Self {
        Self {
            inventory,
            parts: parts.iter(),
            source: None,
            lacks: Some(0),
            buffer: Vec::new(),
            at: 0,
            from,
            to,
            started: from == 0,
            done: false,
            gaps: true,
            hole: None,
            known: inventory.manifest.context.start,
            unknown: 0,
            horizon: 0,
            held: None,
        }
    }

    /// Iterates over only what is stored in one part.
    pub(super) fn stored(inventory: &'a Inventory, part: &'a Part) -> Self {
        Self { gaps: false, ..Self::new(inventory, std::slice::from_ref(part), 0, u64::MAX) }
    }

    /// Goes on after the first `n` records: as if they had been taken, but they are not decoded
    /// where that can be helped. For captures without damage; with it, they are taken.
    pub(super) fn after(inventory: &'a Inventory, n: u64) -> Self {
        let mut records = Self::new(inventory, &inventory.parts, 0, u64::MAX);
        let mut left = n;
        if inventory.is_whole() {
            while let Some(Part::Sealed { path, entry: Some(entry) }) = records.parts.clone().next() {
                let entry = inventory.entry(*entry);
                if left < entry.rows {
                    if let Ok(file) = SealedFile::open_at(path, inventory.manifest.id, left) {
                        records.parts.next();
                        records.source = Some((SegmentFile::Sealed(Box::new(file)), path));
                        left = 0;
                    }
                    break;
                }
                left -= entry.rows;
                records.parts.next();
            }
        }
        for _ in 0..left {
            if records.next().is_none() {
                break;
            }
        }
        records
    }

    /// Counts the rows that were skipped so far because this build does not know their kind, or a name in them.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Replaces the contents of `records` by the next ones, `most` at most. Returns whether there are any.
    pub fn read(&mut self, records: &mut Vec<Record>, most: usize) -> bool {
        records.clear();
        let Some(first) = self.next() else { return false };
        let run = self.run(most.saturating_sub(1));
        // A gap is not among what is decoded: a record waits behind it, or nothing comes.
        let is_decoded = self.held.is_none() && !self.done;
        if is_decoded && self.at == 1 && run + 1 == self.buffer.len() {
            // That is the whole list.
            std::mem::swap(&mut self.buffer, records);
            self.at = 0;
        } else {
            records.push(first);
            records.extend_from_slice(&self.buffer[self.at..self.at + run]);
            self.at += run;
        }
        true
    }

    /// Delivers records that are decoded, in the range, and follow what was delivered without a gap; `most` at most. Returns
    /// how many.
    fn run(&mut self, most: usize) -> usize {
        if self.done || !self.started || self.hole.is_some() || self.held.is_some() {
            return 0;
        }
        let decoded = &self.buffer[self.at..];
        let run = decoded.iter().take(most).take_while(|record| record.ts <= self.to);
        let (n, known) = run.fold((0, self.known), |(n, known), record| (n + 1, known.max(record.ts)));
        self.known = known;
        n
    }

    fn skip(&mut self, rows: Option<u64>, damage: bool) {
        if rows == Some(0) && !damage {
            return;
        }
        let hole = self.hole.unwrap_or(Hole { rows: Some(0), damage: false, beyond: false });
        let rows = hole.rows.zip(rows).map(|(a, b)| a.saturating_add(b));
        self.hole = Some(Hole { rows, damage: hole.damage || damage, ..hole });
    }

    /// Losses that the newest hole told of may reach beyond it.
    fn beyond_known(&mut self) {
        if let Some(hole) = &mut self.hole {
            hole.beyond = self.inventory.lossy;
        }
    }

    /// Returns the record that tells of a hole, between what was delivered and `until`.
    fn gap(&self, hole: Hole, until: u64) -> Record {
        // Records of several CPUs need not be in the order of their times.
        let ts = self.known.min(until);
        let mut gap = Record { ts, kind: Kind::Gap as u16, ..Record::default() };
        for field in spec(Kind::Gap).fields {
            match field.column {
                Column::Count => field.set(&mut gap, hole.rows.unwrap_or(0)),
                Column::Until => field.set(&mut gap, until),
                _ => {}
            }
        }
        gap
    }

    /// Returns the next stored record, whatever its time.
    fn stored_record(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.buffer.get(self.at) {
                self.at += 1;
                return Some(*record);
            }
            self.refill()?;
        }
    }

    /// Decodes the next batch; `None` at the end of the last part.
    fn refill(&mut self) -> Option<()> {
        self.buffer.clear();
        self.at = 0;
        let Some((source, path)) = &mut self.source else { return self.open_next() };
        let rows = source.left();
        let batch = source.next_batch().and_then(|batch| {
            let Some(batch) = batch else { return Ok(false) };
            let decoded = decode(&self.inventory.names, &batch, &mut self.buffer);
            self.unknown += decoded?.unknown;
            Ok(true)
        });
        match batch {
            Ok(true) => {}
            Ok(false) => {
                self.source = None;
                let lacks = self.lacks.replace(0);
                if lacks != Some(0) {
                    self.skip(lacks, true);
                    self.beyond_known();
                }
            }
            Err(what) => {
                let path = *path;
                self.source = None;
                self.lacks = Some(0);
                self.damaged(path, &what, rows);
            }
        }
        Some(())
    }

    fn open_next(&mut self) -> Option<()> {
        // Parts that are passed over unread may hold losses that reach beyond it.
        let id = self.inventory.manifest.id;
        let from = if self.started || self.inventory.lossy { 0 } else { self.from };
        match self.parts.next()? {
            Part::Sealed { entry: Some(entry), .. } if self.inventory.entry(*entry).last_ts < from => {
                self.skip(Some(self.inventory.entry(*entry).rows), false);
            }
            Part::Sealed { path, entry } => match SealedFile::open(path, id, from) {
                Ok((file, skipped)) => {
                    self.skip(Some(skipped), false);
                    self.source = Some((SegmentFile::Sealed(Box::new(file)), path));
                }
                Err(what) => self.damaged(path, &what, entry.map(|e| self.inventory.entry(e).rows)),
            },
            Part::Open { path, lacks } => match StreamFile::open(path, id) {
                Ok(file) => {
                    self.source = Some((SegmentFile::Open(Box::new(file)), path));
                    self.lacks = *lacks;
                }
                // A recorder at work may have sealed it since the capture was opened.
                Err(what) => match SealedFile::open(&path.with_extension("parquet"), id, from) {
                    Ok((file, skipped)) => {
                        self.skip(Some(skipped), false);
                        self.source = Some((SegmentFile::Sealed(Box::new(file)), path));
                    }
                    Err(_) => self.damaged(path, &what, None),
                },
            },
            Part::Missing { rows, last_ts, losses_until } => {
                let early = last_ts.is_some_and(|ts| ts < from);
                self.skip(*rows, !early);
                match losses_until {
                    Some(until) => self.horizon = self.horizon.max(*until),
                    None => self.beyond_known(),
                }
            }
        }
        Some(())
    }

    fn damaged(&mut self, path: &Path, what: &str, rows: Option<u64>) {
        let file = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        self.inventory.problems.add(&file, what, rows);
        self.skip(rows, true);
        self.beyond_known();
    }

    /// Returns until when a hole reaches that ends before a record of this time.
    fn end_of(&self, hole: Hole, ts: u64) -> u64 {
        let reach = if hole.beyond { LOSS_REACH_NS } else { 0 };
        ts.saturating_add(reach).max(self.horizon)
    }

    /// Returns the gap for damage that no record follows.
    fn last_gap(&mut self) -> Option<Record> {
        self.done = true;
        let hole = self.hole.take().filter(|hole| hole.damage && self.gaps)?;
        let end = self.inventory.manifest.end_ts.unwrap_or(0);
        let last = self.inventory.manifest.segments.iter().map(|s| s.last_ts).max().unwrap_or(0);
        Some(self.gap(hole, self.known.max(end).max(last).min(self.to)))
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if let Some(record) = self.held.take() {
            return Some(record);
        }
        if self.done {
            return None;
        }
        loop {
            let Some(record) = self.stored_record() else { return self.last_gap() };
            if !self.started && record.ts < self.from {
                self.skip(Some(1), false);
                // A loss reaches beyond its own time.
                self.horizon = self.horizon.max(record.get(Column::Until).unwrap_or(0));
                continue;
            }
            if record.ts > self.to {
                return self.last_gap();
            }
            self.started = true;
            let gap = self.hole.take().filter(|_| self.gaps).map(|hole| self.gap(hole, self.end_of(hole, record.ts)));
            self.known = self.known.max(record.ts);
            if gap.is_some() {
                self.held = Some(record);
                return gap;
            }
            return Some(record);
        }
    }
}
