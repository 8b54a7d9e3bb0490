//! Files that are written beside captures, for the same user.

use std::{fs::File, io, path::Path};

use super::{
    error::{CaptureError, NOTHING_RECORDED},
    folder::Place,
};

/// Opens a file for writing as a capture is written: under sudo with the rights of who called it alone, and never beyond a
/// symbolic link that others may turn elsewhere. A new file is its owner's alone; what an old one holds stays.
///
/// # Errors
///
/// The folder is not there, or the file cannot be written with these rights.
pub fn open_file(path: &Path) -> Result<File, CaptureError> {
    let failed = |error| CaptureError::io(path, "open it for writing", NOTHING_RECORDED, error);
    let place = Place::at(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    place.file().map_err(failed)
}
