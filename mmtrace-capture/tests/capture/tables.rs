//! Tables of names beside the segments.

use super::{
    fixtures::{copy, read, records, start, temp, write},
    writer::fill,
};
use mmtrace_capture::{Capture, CaptureError, has_tables, make_room, table_columns, write_tables};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{fs, path::Path};

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("listed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("listed").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn tables_are_written_read_and_written_again_and_change_nothing_of_the_capture() {
    let (_temp, dir) = temp();
    let all = records(1000);
    write(&dir, &all, 100, 400);
    let before = names(&dir);
    let written = write_tables(&Capture::open(&dir).expect("open"), |_| false).expect("written").expect("not stopped");
    assert!(written.tasks > 0 && has_tables(&dir), "{written:?}");
    for (name, columns) in table_columns() {
        let file = fs::File::open(dir.join(name)).expect("a table");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
        let schema = reader.schema();
        let stored: Vec<_> =
            schema.fields().iter().map(|f| (f.name().clone(), f.data_type().to_string(), f.is_nullable())).collect();
        let listed: Vec<_> = columns.iter().map(|c| (c.name.to_owned(), c.arrow_type.to_owned(), c.nullable)).collect();
        assert_eq!(stored, listed);
        let rows: usize = reader.build().expect("readable").map(|batch| batch.expect("readable").num_rows()).sum();
        let expected = match name {
            "tasks.parquet" => written.tasks,
            "mappings.parquet" => written.mappings,
            _ => written.functions,
        };
        assert_eq!(rows as u64, expected, "{name}");
    }
    let again = write_tables(&Capture::open(&dir).expect("open"), |_| false).expect("written");
    assert_eq!(again, Some(written));
    let (back, capture) = read(&dir);
    assert!(back == all && !capture.has_problems());
    assert_eq!(names(&dir).len(), before.len() + 3);
    // A new recording moves them away with the capture, and the next one removes them.
    make_room(&dir).expect("moved");
    write(&dir, &all, 100, 400);
    let old = make_room(&dir).expect("moved").expect("it was there");
    assert_eq!(names(&old), before);
}

#[test]
fn nothing_is_left_of_tables_that_are_not_whole() {
    let (_temp, dir) = temp();
    write(&dir, &records(20_000), 1000, 100_000);
    let before = names(&dir);
    // What an earlier attempt left is in nobody's way.
    fs::write(dir.join("tasks.parquet.part"), b"half").expect("written");
    let capture = Capture::open(&dir).expect("open");
    assert_eq!(write_tables(&capture, |_| true).expect("stopped"), None);
    assert_eq!(names(&dir), before);
    let full = write_tables(&capture, |_| {
        fill(&dir.join("tasks.parquet.part"));
        false
    });
    let error = full.expect_err("full");
    assert!(matches!(&error, CaptureError::DiskFull { path, .. } if path.ends_with("tasks.parquet.part")), "{error:?}");
    assert!(error.to_string().contains("the segments are as they were"), "{error}");
    assert_eq!(names(&dir), before);
}

#[test]
fn a_capture_that_was_interrupted_gets_tables_and_one_that_is_being_written_does_not() {
    let (temp, dir) = temp();
    let writer = start(&dir, &records(1000), 100, super::fixtures::small(400));
    let refused = write_tables(&Capture::open(&dir).expect("open"), |_| false);
    assert!(matches!(refused, Err(CaptureError::InUse { .. })), "{refused:?}");
    let killed = temp.path().join("killed.mmt");
    copy(&dir, &killed);
    let written = write_tables(&Capture::open(&killed).expect("open"), |_| false).expect("written");
    assert!(written.is_some_and(|written| written.tasks > 0));
    drop(writer);
}

#[test]
fn a_link_in_the_place_of_a_table_is_replaced_and_not_followed() {
    let (temp, dir) = temp();
    write(&dir, &records(100), 100, 400);
    let outside = temp.path().join("outside");
    fs::write(&outside, b"mine").expect("written");
    std::os::unix::fs::symlink(&outside, dir.join("tasks.parquet")).expect("linked");
    write_tables(&Capture::open(&dir).expect("open"), |_| false).expect("written");
    assert_eq!(fs::read(&outside).expect("there"), b"mine");
    assert!(has_tables(&dir));
}
