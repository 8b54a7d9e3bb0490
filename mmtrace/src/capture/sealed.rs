//! Reading a sealed segment.

use super::segment::hex;
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;
/// Most columns, and most row groups, of a file that is believed.
const MAX_COLUMNS: usize = 1024;
/// Most rows of a row group.
const MAX_GROUP_ROWS: i64 = 1 << 26;
/// Most bytes of a row group, uncompressed.
const MAX_GROUP_BYTES: i64 = 4 << 30;

/// Runs a decoder of foreign bytes. The decoders check much, but not everything; a panic in one means a damaged file.
pub(super) fn guarded<T>(decoder: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // What the decoder touched is thrown away after an error, so no broken state can be seen.
    catch_unwind(AssertUnwindSafe(decoder))
        .unwrap_or_else(|_| Err("its content makes no sense to the decoder".to_owned()))
}

/// Refuses column types that a capture never has, above all nested ones.
pub(super) fn check_schema(schema: &Schema) -> Result<(), String> {
    if schema.fields().len() > MAX_COLUMNS {
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

/// A sealed segment being read.
pub(super) struct SealedFile {
    reader: ParquetRecordBatchReader,
    /// Rows still to come.
    left: u64,
}

fn check_footer(metadata: &ParquetMetaData) -> Result<(), String> {
    for group in metadata.row_groups() {
        let (rows, bytes) = (group.num_rows(), group.total_byte_size());
        if !(0..=MAX_GROUP_ROWS).contains(&rows) || !(0..=MAX_GROUP_BYTES).contains(&bytes) {
            return Err(format!("a row group of {rows} rows in {bytes} bytes"));
        }
    }
    Ok(())
}

/// Largest `ts` of a row group, where its statistics say so.
fn last_ts(group: &RowGroupMetaData) -> Option<u64> {
    let ts = group.columns().iter().find(|c| c.column_path().string() == "ts")?;
    match ts.statistics()? {
        Statistics::Int64(s) => s.max_opt().map(|v| *v as u64),
        _ => None,
    }
}

/// Whether a column has no value in a row group. Most columns have none in most captures, and
/// reading their nulls would take most of the time.
fn all_null(group: &RowGroupMetaData, column: usize) -> bool {
    let nulls = group.columns().get(column).and_then(|c| c.statistics()?.null_count_opt());
    nulls.is_some_and(|n| i64::try_from(n).is_ok_and(|n| n == group.num_rows()))
}

impl SealedFile {
    /// Opens a segment, and skips the row groups at its front that end before `from`
    /// (nanoseconds). Returns the rows skipped as well.
    pub(super) fn open(path: &Path, from: u64) -> Result<(Self, u64), String> {
        let file = File::open(path).map_err(|e| format!("cannot be opened ({e})"))?;
        guarded(|| {
            let builder = Self::builder(file)?;
            let groups = builder.metadata().row_groups();
            let early = groups.iter().take_while(|g| last_ts(g).is_some_and(|ts| ts < from)).count();
            let skipped = groups[..early].iter().map(|g| g.num_rows() as u64).sum();
            Ok((Self::read(builder, early, 0)?, skipped))
        })
    }

    /// Opens a segment at a row: what comes before is not decoded.
    pub(super) fn open_at(path: &Path, row: u64) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| format!("cannot be opened ({e})"))?;
        guarded(|| {
            let builder = Self::builder(file)?;
            let groups = builder.metadata().row_groups();
            let mut before = 0;
            let early = groups.iter().take_while(|g| {
                let end = before + g.num_rows() as u64;
                let whole = end <= row;
                if whole {
                    before = end;
                }
                whole
            });
            let early = early.count();
            Self::read(builder, early, row - before)
        })
    }

    fn builder(file: File) -> Result<ParquetRecordBatchReaderBuilder<File>, String> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| e.to_string())?;
        check_footer(builder.metadata())?;
        check_schema(builder.schema())?;
        Ok(builder)
    }

    /// Reads from a row group on, without its first rows.
    fn read(builder: ParquetRecordBatchReaderBuilder<File>, group: usize, offset: u64) -> Result<Self, String> {
        let groups = builder.metadata().row_groups();
        let rows: u64 = groups[group..].iter().map(|g| g.num_rows() as u64).sum();
        let wanted = (group..groups.len()).collect();
        let used = (0..builder.parquet_schema().num_columns()).filter(|i| !groups.iter().all(|g| all_null(g, *i)));
        let mask = ProjectionMask::leaves(builder.parquet_schema(), used);
        let reader = builder.with_batch_size(BATCH_ROWS).with_row_groups(wanted).with_projection(mask);
        let reader = if offset > 0 { reader.with_offset(offset as usize) } else { reader };
        let reader = reader.build().map_err(|e| e.to_string())?;
        Ok(Self { reader, left: rows.saturating_sub(offset) })
    }

    /// Rows still to come, as the file's footer has it.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next batch, `None` after the last.
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

/// SHA-256 of a file in hexadecimal.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            n => digest.update(&buffer[..n]),
        }
    }
}
