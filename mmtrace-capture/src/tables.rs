//! Tables of names beside the segments: which task a thread id was, which mapping an address belonged to, and which
//! function an instruction.

use super::error::{CaptureError, NO_TABLES};
use super::folder::{Folder, Place};
use super::layout::TableFile;
use super::parquet_file::ParquetFile;
use super::reader::Capture;
use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use mmtrace_model::tables::{FunctionRow, MappingRow, Tables, TaskRow};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Records between two looks whether to stop.
const BETWEEN_LOOKS: u64 = 1 << 14;

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name, which never changes.
    pub name: &'static str,
    /// The meaning of a value.
    pub meaning: &'static str,
    /// The Arrow type of its values.
    pub arrow_type: &'static str,
    /// Whether a row may have no value.
    pub nullable: bool,
}

const fn column(name: &'static str, arrow_type: &'static str, nullable: bool, meaning: &'static str) -> TableColumn {
    TableColumn { name, meaning, arrow_type, nullable }
}

const TASKS: [TableColumn; 8] = [
    column("tid", "UInt32", false, "thread id, as `tid` of an event"),
    column("pid", "UInt32", false, "process (thread group) id, as `pid` of an event"),
    column(
        "from_ts",
        "UInt64",
        false,
        "first event of the task under this name and in this cgroup, as `ts` of an event",
    ),
    column(
        "to_ts",
        "UInt64",
        false,
        "first event of the next row of this `tid`; else behind the last event of the capture",
    ),
    column("comm", "Utf8", true, "name of the thread; null: not known"),
    column("process", "Utf8", true, "last name of the process's first thread; null: not known"),
    column("cgroup", "Utf8", true, "path of the cgroup v2; null: not known"),
    column("container", "Utf8", true, "container that the path tells of; null: none"),
];

const MAPPINGS: [TableColumn; 12] = [
    column("mm", "UInt64", false, "`struct mm_struct`, as `mm` of an event"),
    column("start", "UInt64", false, "first address"),
    column("end", "UInt64", false, "last address, inclusive"),
    column(
        "from_ts",
        "UInt64",
        false,
        "when it was mapped; of what only /proc/PID/maps has shown, since when nothing else is known there, or 0",
    ),
    column("to_ts", "UInt64", false, "when it ended; else behind the last event of the capture"),
    column("mapping", "UInt64", false, "number of the mapping; a mapping that grew or was split has several rows"),
    column("kind", "Utf8", false, "`file`, `heap`, `stack`, `anonymous`, `named` or `special`"),
    column("label", "Utf8", false, "the mapping as `mmtrace report --by mapping` shows it"),
    column("path", "Utf8", true, "path of the file, as /proc/PID/maps had it; null: not known, or no file"),
    column("offset", "UInt64", true, "offset of `start` in the file, bytes; null: no file"),
    column("dev", "UInt32", true, "device of the file, as `dev` of an event; null: no file"),
    column("ino", "UInt64", true, "inode of the file, as `ino` of an event; null: no file"),
];

const FUNCTIONS: [TableColumn; 7] = [
    column("dev", "UInt32", false, "device of the file, as `dev` of an event and of `mappings.parquet`"),
    column("ino", "UInt64", false, "inode of the file, likewise"),
    column("start", "UInt64", false, "where the function begins in the file, bytes"),
    column("end", "UInt64", false, "its last byte there, inclusive"),
    column("name", "Utf8", false, "name of the function"),
    column("module", "Utf8", false, "path of the file; where it is not known, its base name"),
    column("build_id", "Utf8", true, "build id of the file, in hexadecimal; null: not known, or none"),
];

impl TableFile {
    const fn columns(self) -> &'static [TableColumn] {
        match self {
            Self::Tasks => &TASKS,
            Self::Mappings => &MAPPINGS,
            Self::Functions => &FUNCTIONS,
        }
    }

    fn schema(self) -> SchemaRef {
        let ty = |column: &TableColumn| match column.arrow_type {
            "UInt32" => DataType::UInt32,
            "UInt64" => DataType::UInt64,
            _ => DataType::Utf8,
        };
        let fields = self.columns().iter().map(|column| Field::new(column.name, ty(column), column.nullable));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// Returns the tables by the names of their files, each with its columns in the order in which they are stored.
pub fn table_columns() -> impl Iterator<Item = (&'static str, &'static [TableColumn])> {
    TableFile::ALL.into_iter().map(|table| (table.name(), table.columns()))
}

/// Returns whether every table stands in the folder of a capture.
#[must_use]
pub fn has_tables(dir: &Path) -> bool {
    TableFile::ALL.iter().all(|table| fs::symlink_metadata(dir.join(table.name())).is_ok_and(|m| m.is_file()))
}

/// Returns how many bytes the tables of names take that are beside the segments of a capture.
#[must_use]
pub fn tables_bytes(dir: &Path) -> u64 {
    let files = TableFile::ALL.iter().filter_map(|table| fs::symlink_metadata(dir.join(table.name())).ok());
    files.filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TablesWritten {
    /// Rows of `tasks.parquet`.
    pub tasks: u64,
    /// Rows of `mappings.parquet`.
    pub mappings: u64,
    /// Rows of `functions.parquet`.
    pub functions: u64,
    /// Rows that were left out of the first two, since a table has 67,108,864 rows at most.
    pub left_out: (u64, u64),
    /// Bytes of all.
    pub bytes: u64,
}

/// Writes the tables of a capture into its folder, in the place of older ones. Nothing is left there of tables that are
/// not whole. The whole capture is read, and memory does not grow with it. `stop` is asked now and then, with the number
/// of records so far; `None`: it said yes.
///
/// # Errors
///
/// The folder is another user's, a recorder is at work there ([`CaptureError::InUse`]), or a file operation fails. The
/// capture itself is never changed.
pub fn write_tables(
    capture: &Capture,
    mut stop: impl FnMut(u64) -> bool,
) -> Result<Option<TablesWritten>, CaptureError> {
    let dir = capture.dir();
    let gone = || CaptureError::io(dir, "open it", NO_TABLES, io::ErrorKind::NotFound.into());
    let folder = Arc::new(Place::at(dir)?.ok_or_else(gone)?.folder()?.ok_or_else(gone)?);
    // What a recorder writes later would be missing.
    if !folder.lock() {
        return Err(CaptureError::InUse { path: dir.to_path_buf() });
    }
    remove_parts(&folder)?;
    let written = write(capture, &folder, &mut stop);
    if !matches!(written, Ok(Some(_))) {
        // The error that is already there says more.
        let _ = remove_parts(&folder);
    }
    written
}

fn remove_parts(folder: &Folder) -> Result<(), CaptureError> {
    for table in TableFile::ALL {
        match folder.remove(table.part()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(CaptureError::io(&folder.at(table.part()), "remove it", NO_TABLES, e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A table that is being written.
struct Writing {
    table: TableFile,
    file: ParquetFile,
    rows: u64,
    path: std::path::PathBuf,
}

impl Writing {
    fn begin(folder: &Arc<Folder>, capture: &Capture, table: TableFile) -> Result<Self, CaptureError> {
        let properties = WriterProperties::builder()
            .set_created_by(concat!("mmtrace ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(1 << 17))
            .set_offset_index_disabled(true)
            .build();
        let part = table.part().to_owned();
        let file = ParquetFile::create(folder, part, table.schema(), properties, capture.manifest().id, NO_TABLES)?;
        Ok(Self { table, file, rows: 0, path: folder.at(table.part()) })
    }

    fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), CaptureError> {
        let batch = RecordBatch::try_new(self.table.schema(), columns)
            .map_err(|e| CaptureError::encode(&self.path, NO_TABLES, &e))?;
        self.rows += batch.num_rows() as u64;
        self.file.write(&batch)
    }
}

fn write(
    capture: &Capture,
    folder: &Arc<Folder>,
    stop: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<TablesWritten>, CaptureError> {
    let mut tasks = Writing::begin(folder, capture, TableFile::Tasks)?;
    let mut mappings = Writing::begin(folder, capture, TableFile::Mappings)?;
    let mut functions = Writing::begin(folder, capture, TableFile::Functions)?;
    let mut tables = Tables::new(capture.context());
    let mut seen = 0;
    for record in capture.records() {
        tables.apply(&record);
        seen += 1;
        if seen % BETWEEN_LOOKS == 0 {
            if stop(seen) {
                return Ok(None);
            }
            put(&mut tables, &mut tasks, &mut mappings)?;
        }
    }
    tables.end();
    put(&mut tables, &mut tasks, &mut mappings)?;
    let rows = tables.function_rows();
    if !rows.is_empty() {
        functions.write(function_columns(&rows))?;
    }
    let mut written = TablesWritten {
        tasks: tasks.rows,
        mappings: mappings.rows,
        functions: functions.rows,
        left_out: tables.left_out(),
        bytes: 0,
    };
    for Writing { table, file, .. } in [tasks, mappings, functions] {
        written.bytes += file.replace(table.name())?.bytes;
    }
    Ok(Some(written))
}

/// Writes the rows that are ready.
fn put(tables: &mut Tables, tasks: &mut Writing, mappings: &mut Writing) -> Result<(), CaptureError> {
    loop {
        let rows = tables.task_rows();
        if rows.is_empty() {
            break;
        }
        tasks.write(task_columns(&rows))?;
    }
    loop {
        let rows = tables.mapping_rows();
        if rows.is_empty() {
            return Ok(());
        }
        mappings.write(mapping_columns(&rows))?;
    }
}

fn numbers<T>(rows: &[T], of: impl Fn(&T) -> u64) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<UInt64Array>())
}

fn ids<T>(rows: &[T], of: impl Fn(&T) -> u32) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<UInt32Array>())
}

fn texts<T>(rows: &[T], of: impl Fn(&T) -> Option<&str>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<StringArray>())
}

fn task_columns(rows: &[TaskRow]) -> Vec<ArrayRef> {
    vec![
        ids(rows, |row| row.tid),
        ids(rows, |row| row.pid),
        numbers(rows, |row| row.from_ts),
        numbers(rows, |row| row.to_ts),
        texts(rows, |row| row.comm.as_deref()),
        texts(rows, |row| row.process.as_deref()),
        texts(rows, |row| row.cgroup.as_deref()),
        texts(rows, |row| row.container.as_deref()),
    ]
}

fn mapping_columns(rows: &[MappingRow]) -> Vec<ArrayRef> {
    vec![
        numbers(rows, |row| row.mm),
        numbers(rows, |row| row.start),
        numbers(rows, |row| row.end),
        numbers(rows, |row| row.from_ts),
        numbers(rows, |row| row.to_ts),
        numbers(rows, |row| row.mapping),
        texts(rows, |row| Some(row.kind)),
        texts(rows, |row| Some(&row.label)),
        texts(rows, |row| row.path.as_deref()),
        Arc::new(rows.iter().map(|row| row.offset).collect::<UInt64Array>()),
        Arc::new(rows.iter().map(|row| row.file.map(|(dev, _)| dev)).collect::<UInt32Array>()),
        Arc::new(rows.iter().map(|row| row.file.map(|(_, ino)| ino)).collect::<UInt64Array>()),
    ]
}

fn function_columns(rows: &[FunctionRow]) -> Vec<ArrayRef> {
    vec![
        ids(rows, |row| row.dev),
        numbers(rows, |row| row.ino),
        numbers(rows, |row| row.start),
        numbers(rows, |row| row.end),
        texts(rows, |row| Some(&row.name)),
        texts(rows, |row| Some(&row.module)),
        texts(rows, |row| row.build_id.as_deref()),
    ]
}
