//! What is decoded of a stranger's file is bounded before it is decoded.

use std::{collections::HashMap, fs, fs::File, path::Path, sync::Arc};

use arrow_array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt64Array, types::Int32Type};
use arrow_ipc::{
    CompressionType,
    writer::{IpcWriteOptions, StreamWriter},
};
use arrow_schema::{DataType, Field, Schema};
use mmtrace_capture::Manifest;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, Encoding},
    file::{
        metadata::KeyValue,
        properties::{WriterProperties, WriterPropertiesBuilder},
    },
    schema::types::ColumnPath,
};

use crate::fixtures::{few, read, records, temp, write};

/// The key under which a segment names its capture.
const KEY: &str = "mmtrace.capture";

/// So many rows as a recorder makes them.
fn rows(n: usize) -> RecordBatch {
    let (_temp, dir) = temp();
    write(&dir, &records(n), n, n as u64);
    let file = File::open(dir.join("segment-000001.parquet")).expect("a segment");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").with_batch_size(n);
    reader.build().expect("a reader").next().expect("a batch").expect("rows")
}

/// As a recorder stores segments.
fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder().set_compression(Compression::ZSTD(Default::default()))
}

/// The id of the capture in which a segment is to lie.
fn capture_of(path: &Path) -> String {
    let manifest = Manifest::load(path.parent().expect("a folder")).expect("a capture");
    manifest.id.expect("it is new").to_string()
}

/// The batch with another column in the place of one.
fn with(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let (index, _) = batch.schema().column_with_name(name).expect("it has one");
    let mut columns = batch.columns().to_vec();
    columns[index] = column;
    RecordBatch::try_new(batch.schema(), columns).expect("of the same type")
}

fn names(keys: Vec<i32>, names: &[String]) -> ArrayRef {
    let names = Arc::new(StringArray::from_iter_values(names));
    Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), names).expect("keys have names"))
}

fn parquet(path: &Path, batch: &RecordBatch, properties: WriterPropertiesBuilder) {
    let file = File::create(path).expect("created");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).expect("a writer");
    writer.append_key_value_metadata(KeyValue::new(KEY.to_owned(), capture_of(path)));
    writer.write(batch).expect("written");
    writer.close().expect("closed");
}

fn arrows(path: &Path, batch: &RecordBatch) {
    arrows_with(path, batch, [(KEY.to_owned(), capture_of(path))].into());
}

fn arrows_with(path: &Path, batch: &RecordBatch, remarks: HashMap<String, String>) {
    let schema = batch.schema().as_ref().clone().with_metadata(remarks);
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).expect("LZ4");
    let file = File::create(path).expect("created");
    let mut writer = StreamWriter::try_new_with_options(file, &schema, options).expect("a writer");
    writer.write(batch).expect("written");
    writer.finish().expect("finished");
}

/// What is wrong with a capture that has this file beside its own segment; nothing: it is read to its end.
fn wrong(name: &str, make: impl FnOnce(&Path)) -> Option<String> {
    let (_temp, dir) = temp();
    write(&dir, &few(10), 10, 1000);
    make(&dir.join(name));
    let (_, capture) = read(&dir);
    capture.problems().first().map(|problem| problem.what.clone())
}

fn refused(name: &str, what: &str, make: impl FnOnce(&Path)) {
    let said = wrong(name, make).unwrap_or_else(|| panic!("{what}: it was read"));
    assert!(said.contains(what), "{what}: {said}");
}

const SEALED: &str = "segment-000002.parquet";
const OPEN: &str = "segment-000002.arrows";

#[test]
fn what_a_recorder_writes_is_read() {
    let batch = rows(5000);
    assert_eq!(wrong(SEALED, |path| parquet(path, &batch, properties())), None);
    assert_eq!(wrong(OPEN, |path| arrows(path, &batch)), None);
}

#[test]
fn pages_and_names_larger_than_a_recorders_are_refused() {
    let batch = rows(200_000);
    let addresses: ArrayRef = Arc::new(UInt64Array::from_iter_values((0..200_000).map(|n| n << 40)));
    let many = with(&batch, "ip", addresses);
    let large = || properties().set_dictionary_page_size_limit(1 << 30);
    refused(SEALED, "a page of", |path| parquet(path, &many, large()));
    let large = properties()
        .set_data_page_size_limit(1 << 30)
        .set_data_page_row_count_limit(usize::MAX)
        .set_column_dictionary_enabled(ColumnPath::from("ip"), false)
        .set_column_encoding(ColumnPath::from("ip"), Encoding::PLAIN);
    refused(SEALED, "a page of", |path| parquet(path, &many, large));

    let batch = rows(100);
    let long = with(&batch, "kind", names(vec![0; 100], &["k".repeat(300)]));
    refused(SEALED, "a name of 300 bytes", |path| parquet(path, &long, properties()));
    let other = properties()
        .set_column_dictionary_enabled(ColumnPath::from("kind"), false)
        .set_column_encoding(ColumnPath::from("kind"), Encoding::DELTA_BYTE_ARRAY);
    refused(SEALED, "in encoding", |path| parquet(path, &batch, other));
}

#[test]
fn a_large_column_that_no_record_has_is_not_read() {
    let batch = rows(100);
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new("large", DataType::Utf8, false));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(StringArray::from_iter_values((0..100).map(|_| "x".repeat(1 << 17)))));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("one column more");
    assert_eq!(wrong(SEALED, |path| parquet(path, &batch, properties())), None);
}

#[test]
fn streams_that_become_larger_than_a_recorders_are_refused() {
    let batch = rows(100);
    let long = with(&batch, "kind", names(vec![0; 100], &["k".repeat(10 << 20)]));
    refused(OPEN, "more names", |path| arrows(path, &long));
    refused(OPEN, "a batch of 70000 rows", |path| arrows(path, &rows(70_000)));
    let columns: Vec<ArrayRef> = (0..40).map(|_| Arc::new(UInt64Array::from(vec![7; 60_000])) as ArrayRef).collect();
    let fields: Vec<Field> = (0..40).map(|n| Field::new(format!("c{n}"), DataType::UInt64, false)).collect();
    let wide = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("as many columns");
    refused(OPEN, "larger than any", |path| arrows(path, &wide));
    let remark =
        |path: &Path, key: &str| [(KEY.to_owned(), capture_of(path)), (key.to_owned(), "x".repeat(1 << 12))].into();
    refused(OPEN, "remarks", |path| arrows_with(path, &batch, remark(path, "more")));
}

#[test]
fn a_column_of_another_type_is_told_before_it_is_decoded() {
    let batch = rows(100);
    let known = batch.schema();
    let fields = known.fields().iter().map(|f| f.as_ref().clone()).map(|field| match field.name().as_str() {
        "addr" => Field::new("addr", DataType::Utf8, false),
        _ => field,
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let (index, _) = schema.column_with_name("addr").expect("there is one");
    let mut columns = batch.columns().to_vec();
    columns[index] = Arc::new(StringArray::from_iter_values((0..100).map(|_| "x")));
    let batch = RecordBatch::try_new(schema, columns).expect("one column is another");
    refused(SEALED, "column addr holds Utf8, expected UInt64", |path| {
        parquet(path, &batch, WriterProperties::builder());
    });
}

#[test]
fn a_file_that_is_cut_anywhere_near_its_end_is_damage() {
    let (_temp, dir) = temp();
    write(&dir, &few(10), 10, 1000);
    let whole = fs::read(dir.join("segment-000001.parquet")).expect("read");
    for cut in [0, 1, 7, 8, 9, 12, whole.len() - 8, whole.len() - 1] {
        assert!(wrong(SEALED, |path| fs::write(path, &whole[..cut]).expect("written")).is_some(), "cut to {cut}");
    }
}
