//! Real captures in memory.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use mmtrace_capture::{Capture, Condition};
use mmtrace_common::Record;
use mmtrace_model::context::Context;

/// Where captures of real kernels are, each in `<name>/capture`.
pub(crate) const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata");

/// A capture of a real kernel, with the report that was made when it was recorded.
pub(crate) struct Golden {
    /// Its folder's name in [`TESTDATA`].
    pub(crate) name: String,
    pub(crate) context: Context,
    pub(crate) records: Vec<Record>,
}

/// Every capture of a sound kernel in testdata.
///
/// # Panics
/// There is none, or one cannot be read whole.
pub(crate) fn goldens() -> &'static [Golden] {
    static GOLDENS: OnceLock<Vec<Golden>> = OnceLock::new();
    GOLDENS.get_or_init(|| captures(Path::new(TESTDATA)))
}

/// Every capture in a folder.
///
/// # Panics
/// As [`goldens`].
pub(crate) fn captures(folder: &Path) -> Vec<Golden> {
    let mut dirs: Vec<PathBuf> = fs::read_dir(folder)
        .expect("testdata is part of the repository")
        .map(|entry| entry.expect("testdata can be listed").path())
        .filter(|dir| dir.join("capture").is_dir())
        .collect();
    dirs.sort();
    assert!(!dirs.is_empty(), "no capture in {}", folder.display());
    dirs.iter().map(|dir| load(dir)).collect()
}

fn load(dir: &Path) -> Golden {
    let capture = Capture::open(&dir.join("capture")).expect("a capture");
    let records: Vec<Record> = capture.records().collect();
    assert_eq!(capture.condition(), Condition::Complete, "{}", dir.display());
    assert!(!records.is_empty(), "{}", dir.display());
    let name = dir.file_name().expect("a folder").to_string_lossy().into_owned();
    Golden { name, context: capture.context().clone(), records }
}
