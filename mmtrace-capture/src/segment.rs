//! One segment while it is written: an Arrow stream that survives a crash, and
//! the Parquet file that replaces it. The stream is written by the thread that records,
//! so that no queue holds what a crash would lose; Parquet by a thread of its own.

use super::batch::Batch;
use super::capture_id::{CaptureId, KEY};
use super::error::{CaptureError, RECORDING_STOPPED};
use super::folder::Folder;
use super::layout::{Form, segment_name};
use super::manifest::SegmentEntry;
use super::parquet_file::{ParquetFile, Written};
use super::schema::{FIXED, schema, writer_properties};
use super::stream::FINISHED;
use arrow_array::{Array, RecordBatch};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::ArrowError;
use mmtrace_common::SPECS;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Rows without a value after which a column is left out of the next stream.
const UNUSED_ROWS: u64 = 1 << 17;
/// Such columns for which a new stream begins: its schema takes as much time as a few of them.
const UNUSED_COLUMNS: usize = 8;

/// The open segment's stream: what a reader finds after a crash.
pub(super) struct OpenSegment {
    path: PathBuf,
    number: u64,
    id: CaptureId,
    file: File,
    stream: Option<StreamWriter<Vec<u8>>>,
    /// Columns in the current stream, as indices into the capture's schema.
    columns: Vec<usize>,
    /// Rows before the last batch that had a value, for each column of the capture's schema; `None`: no batch had one.
    used: Vec<Option<u64>>,
    opened: Instant,
    rows: u64,
}

impl OpenSegment {
    pub(super) fn create(folder: &Folder, number: u64, id: CaptureId) -> Result<Self, CaptureError> {
        let name = segment_name(number, Form::Arrows);
        let path = folder.at(&name);
        let file = folder.create(&name).map_err(|e| CaptureError::io(&path, "create it", RECORDING_STOPPED, e))?;
        let (columns, used, opened) = (Vec::new(), Vec::new(), Instant::now());
        Ok(Self { path, number, id, file, stream: None, columns, used, opened, rows: 0 })
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Hands the stream's file to another thread, which makes it survive a crash of the kernel.
    pub(super) fn flusher(&self) -> Result<Flusher, CaptureError> {
        let failed = |e| CaptureError::io(&self.path, "open it again", RECORDING_STOPPED, e);
        let file = self.file.try_clone().map_err(failed)?;
        Ok(Flusher { path: self.path.clone(), number: self.number, file })
    }

    /// Marks the stream as whole: the next segment begins.
    pub(super) fn finish(&mut self) -> Result<(), CaptureError> {
        self.file.write_all(&FINISHED).map_err(|e| CaptureError::io(&self.path, "write it", RECORDING_STOPPED, e))
    }

    /// Adds a batch. When this returns, the batch survives the end of this process.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), CaptureError> {
        let bytes = self.encode(batch).map_err(|e| CaptureError::encode(&self.path, RECORDING_STOPPED, &e))?;
        self.file.write_all(&bytes).map_err(|e| CaptureError::io(&self.path, "write it", RECORDING_STOPPED, e))?;
        if let Some(stream) = &mut self.stream {
            // The buffer goes back, to be filled again.
            let mut bytes = bytes;
            bytes.clear();
            *stream.get_mut() = bytes;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Encodes the batch as stream messages. Columns that no event had lately are left out, as nulls are as large as
    /// values before compression; the first event that has one starts a new stream. LZ4 makes a mixed batch six times
    /// smaller and costs less than writing it would.
    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        self.used.resize(batch.num_columns(), None);
        for (index, used) in self.used.iter_mut().enumerate() {
            if index < FIXED.len() || batch.column(index).null_count() < batch.num_rows() {
                *used = Some(self.rows);
            }
        }
        let is_recent = |used: &Option<u64>| used.is_some_and(|rows| self.rows - rows < UNUSED_ROWS);
        let recent: Vec<usize> = (0..self.used.len()).filter(|index| is_recent(&self.used[*index])).collect();
        let is_short = recent.iter().any(|index| !self.columns.contains(index));
        let mut bytes = Vec::new();
        if is_short || self.columns.len() - recent.len() >= UNUSED_COLUMNS {
            if let Some(stream) = self.stream.take() {
                bytes = stream.into_inner()?;
            }
            let schema = batch.schema().project(&recent)?;
            let schema = schema.with_metadata([(KEY.to_owned(), self.id.to_string())]);
            let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
            self.stream = Some(StreamWriter::try_new_with_options(bytes, &schema, options)?);
            self.columns = recent;
        }
        let Some(stream) = &mut self.stream else { return Ok(Vec::new()) };
        stream.write(&batch.project(&self.columns)?)?;
        Ok(std::mem::take(stream.get_mut()))
    }
}

/// Brings an open segment's stream from the page cache to the disk.
pub(super) struct Flusher {
    path: PathBuf,
    number: u64,
    file: File,
}

impl Flusher {
    /// Makes what was written so far survive a power cut or a crash of the kernel.
    pub(super) fn flush(&self) -> Result<(), CaptureError> {
        match self.file.sync_data() {
            // Not every file system can.
            Err(e) if e.kind() != io::ErrorKind::InvalidInput => {
                Err(CaptureError::io(&self.path, "flush it", RECORDING_STOPPED, e))
            }
            _ => Ok(()),
        }
    }
}

/// A segment on its way to being sealed: the Parquet file that replaces the stream.
pub(super) struct SealingSegment {
    flusher: Flusher,
    parquet: ParquetFile,
    entry: SegmentEntry,
    kinds: Vec<u64>,
}

impl SealingSegment {
    pub(super) fn create(folder: &Arc<Folder>, flusher: Flusher, id: CaptureId) -> Result<Self, CaptureError> {
        let part = segment_name(flusher.number, Form::Part);
        let parquet = ParquetFile::create(folder, part, schema(), writer_properties(), Some(id), RECORDING_STOPPED)?;
        let entry = SegmentEntry {
            file: segment_name(flusher.number, Form::Parquet),
            rows: 0,
            first_ts: u64::MAX,
            last_ts: 0,
            bytes: 0,
            sha256: String::new(),
            kinds: Default::default(),
            lost: 0,
            missed: 0,
            missing_until: 0,
        };
        Ok(Self { flusher, parquet, entry, kinds: vec![0; SPECS.len()] })
    }

    pub(super) fn number(&self) -> u64 {
        self.flusher.number
    }

    pub(super) fn flush(&self) -> Result<(), CaptureError> {
        self.flusher.flush()
    }

    /// Adds a batch that the stream already has.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), CaptureError> {
        self.parquet.write(&batch.rows)?;
        self.entry.rows += batch.rows.num_rows() as u64;
        self.entry.first_ts = self.entry.first_ts.min(batch.first_ts);
        self.entry.last_ts = self.entry.last_ts.max(batch.last_ts);
        self.entry.lost = self.entry.lost.saturating_add(batch.lost);
        self.entry.missed = self.entry.missed.saturating_add(batch.missed);
        self.entry.missing_until = self.entry.missing_until.max(batch.missing_until);
        for (sum, n) in self.kinds.iter_mut().zip(&batch.kinds) {
            *sum += n;
        }
        Ok(())
    }

    /// Completes the Parquet file and gives it its name. The stream stays: before it is
    /// removed the manifest must take the entry up.
    pub(super) fn seal(self) -> Result<SegmentEntry, CaptureError> {
        let mut entry = self.entry;
        let Written { bytes, sha256 } = self.parquet.finish(&entry.file)?;
        (entry.bytes, entry.sha256) = (bytes, sha256);
        entry.kinds =
            SPECS.iter().zip(&self.kinds).filter(|(_, n)| **n > 0).map(|(s, n)| (s.name.to_owned(), *n)).collect();
        Ok(entry)
    }
}

/// Removes a segment's file: the stream of one that the manifest has as Parquet, or what a flight recorder gives up.
pub(super) fn remove(folder: &Folder, name: &str) -> Result<(), CaptureError> {
    folder.remove(name).map_err(|e| CaptureError::io(&folder.at(name), "remove it", RECORDING_STOPPED, e))
}
