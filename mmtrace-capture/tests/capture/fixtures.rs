//! Captures made up for the tests.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use mmtrace_capture::{Capture, CaptureWriter, FinalInfo, Manifest, Records, WriterOptions};
use mmtrace_common::{Kind, Record};
pub(crate) use mmtrace_testing::captured::{context, few, records};
use tempfile::TempDir;

pub(crate) fn small(segment_rows: u64) -> WriterOptions {
    WriterOptions { segment_rows, ..WriterOptions::default() }
}

/// Writes records, flushing after every `batch` of them.
pub(crate) fn start(dir: &Path, records: &[Record], batch: usize, options: WriterOptions) -> CaptureWriter {
    let mut writer = CaptureWriter::create(dir, &context(), vec!["mmtrace".to_owned()], options).expect("create");
    for chunk in records.chunks(batch) {
        for record in chunk {
            writer.append(record).expect("append");
        }
        writer.flush().expect("flush");
    }
    writer
}

pub(crate) fn write(dir: &Path, records: &[Record], batch: usize, segment_rows: u64) -> Manifest {
    let writer = start(dir, records, batch, small(segment_rows));
    writer.finish(FinalInfo { end_ts: 1_000_000_000 }).expect("finish")
}

pub(crate) fn read(dir: &Path) -> (Vec<Record>, Capture) {
    let capture = Capture::open(dir).expect("open");
    let records = capture.records().collect();
    assert_eq!(in_lists(|| capture.records()), records);
    (records, capture)
}

/// Reads the same records in lists of several lengths.
pub(crate) fn in_lists<'a>(start: impl Fn() -> Records<'a>) -> Vec<Record> {
    let read = |most| {
        let (mut records, mut list, mut all) = (start(), Vec::new(), Vec::new());
        while records.read(&mut list, most) {
            assert!(!list.is_empty() && list.len() <= most);
            all.extend_from_slice(&list);
        }
        assert!(list.is_empty());
        all
    };
    let all = read(10_000);
    [1, 7, 99, 100].into_iter().for_each(|most| assert_eq!(read(most), all));
    all
}

/// Copies a capture. A writer that still runs may replace a stream by its segment meanwhile: the copy is then made again.
pub(crate) fn copy(from: &Path, to: &Path) {
    while let Err(error) = try_copy(from, to) {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "copy");
        fs::remove_dir_all(to).expect("removed");
    }
}

fn try_copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

pub(crate) fn is_gap(record: &Record) -> bool {
    record.kind() == Some(Kind::Gap)
}

pub(crate) fn temp() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = temp.path().join("c.mmt");
    (temp, dir)
}

pub(crate) fn edit(dir: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let name = dir.join("manifest.json");
    let mut value = serde_json::from_slice(&fs::read(&name).expect("manifest")).expect("json");
    change(&mut value);
    fs::write(name, serde_json::to_vec(&value).expect("json")).expect("write");
}

/// Every bit at once, the lowest, the highest.
pub(crate) const MASKS: [u8; 3] = [0xff, 0x01, 0x80];
