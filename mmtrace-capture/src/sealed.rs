//! Reading a sealed segment.
//!
//! Its bytes are a stranger's. Decoding is bounded beforehand: of the footer here, of pages in [`super::pages`].
//! A segment of 4,000,000 rows is read with some 20 MiB.

use super::capture_id::{Expected, KEY, foreign};
use super::file;
use super::pages::Pages;
use super::schema::{dictionary_type, schema};
use super::thrift::{Refusal, Thrift, Type};
use crate::panics;
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;
/// Largest sealed segment, bytes. The largest that a recorder writes, 4,000,000 rows of random numbers, has half.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Largest footer, bytes. That of a segment of 4,000,000 rows has 100,000; decoded, it takes some twenty times as much.
const FOOTER_MAX: u64 = 1 << 20;
/// Most columns, row groups, and elements of any other list in a footer. A recorder's have 80 columns and 9 groups.
const LIST_MAX: u64 = 1024;
/// Most rows of a segment: four times as many as a recorder writes. A row can cost nothing on disk, but takes time.
const ROWS_MAX: u64 = 1 << 24;

/// The columns that records are made of.
static KNOWN: LazyLock<SchemaRef> = LazyLock::new(schema);

/// Runs a decoder of foreign bytes. The decoders check much, but not everything; a panic in one means a damaged file.
pub(super) fn guarded<T>(decoder: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // After an error everything that the decoder touched is thrown away, so no broken state can be seen.
    panics::guarded(decoder).unwrap_or_else(|| Err("its content makes no sense to the decoder".to_owned()))
}

/// Refuses column types that a capture never has, above all nested ones.
pub(super) fn check_schema(schema: &Schema) -> Result<(), String> {
    if schema.fields().len() as u64 > LIST_MAX {
        return Err(format!("{} columns", schema.fields().len()));
    }
    for field in schema.fields() {
        let plain = |ty: &DataType| ty.is_integer() || matches!(ty, DataType::Boolean | DataType::Utf8);
        let fine = match field.data_type() {
            DataType::Dictionary(key, value) => key.is_dictionary_key_type() && plain(value),
            ty => plain(ty),
        };
        if !fine {
            return Err(format!("column {} holds {}", field.name(), field.data_type()));
        }
    }
    Ok(())
}

/// Returns the schema to read a file with: known columns in the types that they must have, the others as they are.
fn readable_schema(found: &Schema) -> Result<SchemaRef, String> {
    check_schema(found)?;
    let fields = found.fields().iter().map(|field| {
        let Ok(known) = KNOWN.field_with_name(field.name()) else { return Ok(Arc::clone(field)) };
        let wanted = known.data_type();
        // Parquet itself knows no dictionaries: they are strings that are stored so.
        if field.data_type() == wanted || *field.data_type() == DataType::Utf8 && *wanted == dictionary_type() {
            return Ok(Arc::new(Field::new(field.name(), wanted.clone(), field.is_nullable())));
        }
        Err(format!("column {} holds {}, expected {wanted}", field.name(), field.data_type()))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>, _>>()?)))
}

/// Returns whether a column is one that records are made of, and the first of its name.
fn is_known(schema: &Schema, column: usize) -> bool {
    let name = schema.field(column).name();
    KNOWN.column_with_name(name).is_some() && schema.fields().iter().position(|f| f.name() == name) == Some(column)
}

/// A sealed segment being read.
pub(super) struct SealedFile {
    reader: ParquetRecordBatchReader,
    /// Rows still to come.
    left: u64,
}

/// A sealed segment whose footer has been read.
struct Opened {
    file: File,
    len: u64,
    metadata: ArrowReaderMetadata,
}

/// Reads a footer, and checks what it claims before it is decoded.
fn footer(file: &File, len: u64) -> Result<ParquetMetaData, String> {
    const TAIL: u64 = 8;
    let cut = || "is cut off: it does not end as a Parquet file does".to_owned();
    let read = |at, bytes: &mut [u8]| file.read_exact_at(bytes, at).map_err(|e| format!("cannot be read ({e})"));
    if len > SEGMENT_BYTES_MAX {
        return Err(format!("has {len} bytes; no segment has more than {SEGMENT_BYTES_MAX}"));
    }
    let mut tail = [0; TAIL as usize];
    read(len.checked_sub(TAIL).ok_or_else(cut)?, &mut tail)?;
    let (length, magic) = tail.split_at(4);
    if magic != b"PAR1" {
        return Err(cut());
    }
    let length = length.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
    if length > FOOTER_MAX {
        return Err(format!("has a footer of {length} bytes; no segment has more than {FOOTER_MAX}"));
    }
    let mut bytes = vec![0; length as usize];
    read((len - TAIL).checked_sub(length).ok_or_else(cut)?, &mut bytes)?;
    match Thrift::new(&bytes, LIST_MAX).skip(Type::STRUCT) {
        Ok(()) => {}
        Err(Refusal::Cut) => return Err("has a footer that is cut off".to_owned()),
        Err(Refusal::Wrong(what)) => return Err(what),
    }
    let metadata = ParquetMetaDataReader::decode_metadata(&bytes).map_err(|e| e.to_string())?;
    let mut left = ROWS_MAX;
    for rows in metadata.row_groups().iter().map(RowGroupMetaData::num_rows) {
        let after = u64::try_from(rows).ok().and_then(|rows| left.checked_sub(rows));
        left = after.ok_or_else(|| format!("a row group of {rows} rows; no segment has more than {ROWS_MAX}"))?;
    }
    Ok(metadata)
}

/// Returns the capture that a footer names.
fn capture_of(metadata: &ParquetMetaData) -> Option<&str> {
    let pairs = metadata.file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == KEY).map(|pair| pair.value.as_deref().unwrap_or_default())
}

/// Says why a sealed segment belongs to another capture than the expected one; `None` if it does not, or cannot be
/// read.
pub(super) fn names_another(path: &Path, expected: Expected) -> Option<&'static str> {
    let (file, len) = file::open(path).ok()?;
    let metadata = guarded(|| footer(&file, len)).ok()?;
    foreign(capture_of(&metadata), expected)
}

/// Returns the largest `ts` of a row group, where its statistics say so.
fn last_ts(group: &RowGroupMetaData) -> Option<u64> {
    let ts = group.columns().iter().find(|c| c.column_path().string() == "ts")?;
    match ts.statistics()? {
        Statistics::Int64(s) => s.max_opt().map(|v| *v as u64),
        _ => None,
    }
}

/// Returns whether a column has no value in a row group. Most columns have none in most captures, and reading their
/// nulls would take most of the time.
fn all_null(group: &RowGroupMetaData, column: usize) -> bool {
    let nulls = group.columns().get(column).and_then(|c| c.statistics()?.null_count_opt());
    nulls.is_some_and(|n| i64::try_from(n).is_ok_and(|n| n == group.num_rows()))
}

impl Opened {
    fn new(path: &Path, expected: Expected) -> Result<Self, String> {
        let (file, len) = file::open(path).map_err(|e| format!("cannot be opened ({e})"))?;
        let metadata = Arc::new(footer(&file, len)?);
        if let Some(what) = foreign(capture_of(&metadata), expected) {
            return Err(what.to_owned());
        }
        // The file's own word on Arrow types does not count: every known column has its type here.
        let plain = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let found = ArrowReaderMetadata::try_new(Arc::clone(&metadata), plain).map_err(|e| e.to_string())?;
        let schema = readable_schema(found.schema())?;
        let options = ArrowReaderOptions::new().with_schema(schema);
        let metadata = ArrowReaderMetadata::try_new(metadata, options).map_err(|e| e.to_string())?;
        Ok(Self { file, len, metadata })
    }

    fn groups(&self) -> &[RowGroupMetaData] {
        self.metadata.metadata().row_groups()
    }

    /// Reads from a row group on, without its first rows.
    fn read(self, group: usize, offset: u64) -> Result<SealedFile, String> {
        let metadata = Arc::clone(self.metadata.metadata());
        let groups = metadata.row_groups();
        let rows: u64 = groups[group..].iter().map(|g| g.num_rows() as u64).sum();
        let wanted = (group..groups.len()).collect();
        let schema = self.metadata.schema();
        let used: Vec<usize> = (0..schema.fields().len())
            .filter(|i| is_known(schema, *i) && !groups.iter().all(|g| all_null(g, *i)))
            .collect();
        let columns = groups[group..].iter().flat_map(|g| used.iter().filter_map(|i| g.columns().get(*i)));
        let pages = Pages::new(self.file, self.len, &columns.collect::<Vec<_>>())?;
        let mask = ProjectionMask::leaves(self.metadata.parquet_schema(), used);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, self.metadata);
        let reader = builder.with_batch_size(BATCH_ROWS).with_row_groups(wanted).with_projection(mask);
        let reader = if offset > 0 { reader.with_offset(offset as usize) } else { reader };
        let reader = reader.build().map_err(|e| e.to_string())?;
        Ok(SealedFile { reader, left: rows.saturating_sub(offset) })
    }
}

impl SealedFile {
    /// Opens a segment, and skips the row groups at its front that end before `from`
    /// (nanoseconds). Returns the rows skipped as well.
    pub(super) fn open(path: &Path, expected: Expected, from: u64) -> Result<(Self, u64), String> {
        guarded(|| {
            let opened = Opened::new(path, expected)?;
            let groups = opened.groups();
            let early = groups.iter().take_while(|g| last_ts(g).is_some_and(|ts| ts < from)).count();
            let skipped = groups[..early].iter().map(|g| g.num_rows() as u64).sum();
            Ok((opened.read(early, 0)?, skipped))
        })
    }

    /// Opens a segment at a row: what comes before is not decoded.
    pub(super) fn open_at(path: &Path, expected: Expected, row: u64) -> Result<Self, String> {
        guarded(|| {
            let opened = Opened::new(path, expected)?;
            let mut before = 0;
            let early = opened.groups().iter().take_while(|g| {
                let end = before + g.num_rows() as u64;
                let whole = end <= row;
                if whole {
                    before = end;
                }
                whole
            });
            let early = early.count();
            opened.read(early, row - before)
        })
    }

    /// Counts the rows still to come, as the file's footer has it.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Returns the next batch, `None` after the last.
    pub(super) fn next_batch(&mut self) -> Result<Option<RecordBatch>, String> {
        let reader = &mut self.reader;
        let batch = guarded(|| reader.next().transpose().map_err(|e| e.to_string()))?;
        match &batch {
            Some(batch) => {
                let rows = batch.num_rows() as u64;
                self.left = self.left.checked_sub(rows).ok_or("more rows than its footer says")?;
            }
            None if self.left > 0 => return Err(format!("{} rows fewer than its footer says", self.left)),
            None => {}
        }
        Ok(batch)
    }
}
