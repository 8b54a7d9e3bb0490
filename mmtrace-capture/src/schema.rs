//! The columns of a capture, made from the event tables, and how Parquet stores them.

use arrow_array::types::Int32Type;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use mmtrace_common::{Column, FieldType};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::sync::Arc;

/// Key type of dictionary columns. Signed, because pandas cannot take unsigned keys.
pub(super) type DictionaryKey = Int32Type;

/// Columns that every event has, in the order of the schema: name and meaning.
pub(super) const FIXED: [(&str, &str); 6] = [
    ("ts", "nanoseconds of CLOCK_MONOTONIC"),
    ("cpu", "CPU that ran the probe"),
    ("pid", "process (thread group) id in the initial pid namespace"),
    ("tid", "thread id in the initial pid namespace"),
    ("kind", "what happened: the tracepoint's name"),
    ("mm", "struct mm_struct of the event (kernel pointer); null where it has none"),
];

/// Rows of a Parquet row group. Smaller groups are skipped in finer steps by time-range reads, and their
/// dictionaries are smaller; larger ones pay for the headers of their columns less often. Over a million
/// page faults of several builds, everything from 2^18 to 2^20 was within 1 %.
const ROW_GROUP_ROWS: usize = 1 << 19;

/// Compression level of the sealed segments. Over the same faults: 12.3 bytes an event without
/// compression, 6.9 at level 1, and level 3 saves another 2 %.
const ZSTD_LEVEL: i32 = 1;

/// Largest dictionary before a column falls back to its other encoding, bytes: room for the 50 000 instruction
/// pointers of a few builds. With a quarter of it they fell back, and the capture grew by 18 %.
const DICTIONARY_LIMIT: usize = 1 << 20;

/// Rows that are encoded at a time. With 1,024, which the encoder has by default, small vectors take a part of the time.
const WRITE_ROWS: usize = 1 << 13;

pub(super) fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn data_type(ty: FieldType) -> DataType {
    match ty {
        FieldType::Hex
        | FieldType::Uint
        | FieldType::Time
        | FieldType::Text
        | FieldType::Walk
        | FieldType::VmaFacts => DataType::UInt64,
        FieldType::Int => DataType::Int32,
        FieldType::Bool => DataType::Boolean,
        FieldType::Enum(_) | FieldType::Kind | FieldType::Call => dictionary_type(),
    }
}

/// Returns the schema of every capture: the [`FIXED`] columns, then one nullable column per [`Column`].
pub(super) fn schema() -> SchemaRef {
    let fixed = [
        Field::new("ts", DataType::UInt64, false),
        Field::new("cpu", DataType::UInt16, false),
        Field::new("pid", DataType::UInt32, false),
        Field::new("tid", DataType::UInt32, false),
        Field::new("kind", dictionary_type(), false),
        Field::new("mm", DataType::UInt64, true),
    ];
    let own = Column::ALL.iter().map(|c| Field::new(c.name(), data_type(c.ty()), true));
    Arc::new(Schema::new(fixed.into_iter().chain(own).collect::<Vec<_>>()))
}

/// A column of the segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredColumn {
    /// Its name, which never changes.
    pub name: &'static str,
    /// The meaning of a value.
    pub meaning: &'static str,
    /// The Arrow type of its values; `Utf8, dictionary` for names.
    pub arrow_type: String,
    /// Whether a row may have no value.
    pub nullable: bool,
}

/// Returns the columns of every segment, in the order in which they are stored: those that every event has, then one
/// for each [`Column`].
pub fn columns() -> impl Iterator<Item = StoredColumn> {
    let meanings = FIXED.iter().copied().chain(Column::ALL.iter().map(|c| (c.name(), c.doc())));
    let stored = |((name, meaning), field): ((&'static str, &'static str), &Arc<Field>)| StoredColumn {
        name,
        meaning,
        arrow_type: type_name(field.data_type()),
        nullable: field.is_nullable(),
    };
    let fields = schema();
    meanings.zip(fields.fields()).map(stored).collect::<Vec<_>>().into_iter()
}

fn type_name(ty: &DataType) -> String {
    match ty {
        DataType::Dictionary(_, values) => format!("{values}, dictionary"),
        ty => ty.to_string(),
    }
}

/// Returns how sealed segments are stored.
///
/// - `ts`, `addr`, `end`, `pte`, `index`, `until`: `DELTA_BINARY_PACKED` and no dictionary. They
///   hardly repeat, and their differences are small: a clock, a walk through memory.
/// - every other column: a dictionary. CPUs, tasks, mms, instruction pointers, locks and
///   enumerators repeat. 64-bit ones fall back to `DELTA_BINARY_PACKED` when the dictionary outgrows
///   its limit. Measured: `ip` as deltas makes a capture 24 % larger, `mm` as deltas 2 %.
/// - minimum, maximum and number of nulls per row group: a time-range read skips by them, and so does every read where a
///   column has no value. `kind` has none: it is never null, nearly every row group has the first and the last name, and
///   each name would be compared with both. No page index, which would cost more than the pages it finds.
pub(super) fn writer_properties() -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default();
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("mmtrace ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_dictionary_page_size_limit(DICTIONARY_LIMIT)
        .set_dictionary_enabled(true)
        .set_write_batch_size(WRITE_ROWS);
    let wide = Column::ALL.iter().filter(|c| data_type(c.ty()) == DataType::UInt64).map(|c| c.name());
    for name in wide.chain(["ts", "mm"]) {
        properties = properties.set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["ts", "addr", "end", "pte", "index", "until"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    properties = properties.set_column_statistics_enabled(ColumnPath::from("kind"), EnabledStatistics::None);
    properties.build()
}
