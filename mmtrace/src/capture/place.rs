//! Making room for a new capture.

use super::error::{CaptureError, NOTHING_RECORDED};
use super::manifest::{self, Manifest};
use super::segment::is_segment_file;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// What is at a path.
enum Occupant {
    Nothing,
    EmptyDir,
    Capture,
    Other,
}

fn occupant(path: &Path) -> io::Result<Occupant> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nothing),
        Err(e) => return Err(e),
        Ok(m) if !m.is_dir() => return Ok(Occupant::Other),
        Ok(_) => {}
    }
    let mut ours = true;
    let mut empty = true;
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        empty = false;
        ours &= name.to_str().is_some_and(|n| n == manifest::FILE || n == manifest::TEMP || is_segment_file(n));
    }
    Ok(match Manifest::load(path) {
        _ if empty => Occupant::EmptyDir,
        // A directory with anything else in it is more than a capture, and not ours to move.
        Ok(_) | Err(CaptureError::NewerFormat { .. }) if ours => Occupant::Capture,
        _ => Occupant::Other,
    })
}

/// Marks a capture as being written, for as long as the file is open.
pub(super) fn lock(dir: &Path) -> Result<File, CaptureError> {
    let file = File::open(dir).map_err(|e| CaptureError::io(dir, "open it", NOTHING_RECORDED, e))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(CaptureError::InUse { path: dir.to_path_buf() }),
        // A file system without locks: the mark is only there to warn.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Whether a recorder is writing the capture.
pub(super) fn is_locked(dir: &Path) -> bool {
    let file = File::open(dir);
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Makes `path` free for a new capture: one that is there already is renamed to
/// `<path>.old`, where it replaces an older one. Returns the new name, if something was renamed.
///
/// # Errors
///
/// [`CaptureError::Occupied`] when something else than a capture or an empty directory is at
/// either name, and [`CaptureError::InUse`] when a recorder is writing there (nothing is touched
/// then), or an I/O error.
pub fn make_room(path: &Path) -> Result<Option<PathBuf>, CaptureError> {
    let failed = |path: &Path, doing, e| CaptureError::io(path, doing, NOTHING_RECORDED, e);
    match occupant(path).map_err(|e| failed(path, "look at it", e))? {
        Occupant::Nothing | Occupant::EmptyDir => return Ok(None),
        Occupant::Other => return Err(CaptureError::Occupied { path: path.to_path_buf() }),
        // It would go on writing, by name, into the new capture.
        Occupant::Capture if is_locked(path) => return Err(CaptureError::InUse { path: path.to_path_buf() }),
        Occupant::Capture => {}
    }
    let mut old = path.as_os_str().to_owned();
    old.push(".old");
    let old = PathBuf::from(old);
    match occupant(&old).map_err(|e| failed(&old, "look at it", e))? {
        Occupant::Nothing => {}
        Occupant::Capture if is_locked(&old) => return Err(CaptureError::InUse { path: old }),
        Occupant::EmptyDir | Occupant::Capture => {
            fs::remove_dir_all(&old).map_err(|e| failed(&old, "remove the older capture", e))?;
        }
        Occupant::Other => return Err(CaptureError::Occupied { path: old }),
    }
    fs::rename(path, &old).map_err(|e| failed(path, "rename the older capture", e))?;
    Ok(Some(old))
}
