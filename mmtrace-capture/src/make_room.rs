//! Making room for a new capture.

use super::error::{CaptureError, NOTHING_RECORDED};
use super::folder::{Folder, Place};
use super::layout::{CaptureFile, MANIFEST};
use super::manifest::Manifest;
use std::ffi::OsString;
use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The occupant of a place.
enum Occupant {
    Nothing,
    EmptyDir(Folder),
    /// With the names of its files, that of the manifest last.
    Capture(Folder, Vec<OsString>),
}

fn failed(path: &Path, doing: &'static str, e: io::Error) -> CaptureError {
    CaptureError::io(path, doing, NOTHING_RECORDED, e)
}

/// # Errors
///
/// The path has something other than a capture or an empty directory, or something that is not ours to move.
fn occupant(place: &Place) -> Result<Occupant, CaptureError> {
    let path = place.path();
    let Some(folder) = place.folder()? else { return Ok(Occupant::Nothing) };
    let mut names = folder.names().map_err(|e| failed(path, "look into it", e))?;
    if names.is_empty() {
        return Ok(Occupant::EmptyDir(folder));
    }
    match Manifest::load_from(&folder) {
        Ok(_) | Err(CaptureError::NewerFormat { .. }) => {}
        Err(_) => return Err(CaptureError::Occupied { path: path.to_path_buf() }),
    }
    for name in &names {
        let file = name.to_str().and_then(CaptureFile::parse);
        if file.is_none() || !folder.is_our_file(name).map_err(|e| failed(path, "look into it", e))? {
            return Err(CaptureError::Mixed { path: path.to_path_buf(), what: name.into() });
        }
    }
    // The manifest goes last: while anything is left, it is known for a capture.
    names.sort_by_key(|name| name == MANIFEST);
    Ok(Occupant::Capture(folder, names))
}

/// Returns whether a recorder is writing the capture.
pub(super) fn is_locked(dir: &Path) -> bool {
    // A FIFO must not keep us waiting.
    let folder = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK).open(dir);
    folder.is_ok_and(|folder| matches!(folder.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Makes `path` free for a new capture: one that is there already is renamed to
/// `<path>.old`, where it replaces an older one. Returns the new name, if something was renamed.
///
/// Of an older one the files of a capture are removed, one by one, and then the folder, with the rights of its owner.
///
/// # Errors
///
/// Something other than a capture or an empty directory is at either name ([`CaptureError::Occupied`],
/// [`CaptureError::Mixed`], [`CaptureError::Link`]), it is somebody else's ([`CaptureError::Foreign`]), or a recorder
/// is writing there ([`CaptureError::InUse`]): nothing is touched then. Or a file operation fails.
pub fn make_room(path: &Path) -> Result<Option<PathBuf>, CaptureError> {
    let Some(place) = Place::at(path)? else { return Ok(None) };
    let Occupant::Capture(folder, _) = occupant(&place)? else { return Ok(None) };
    if folder.is_locked() {
        // It would go on writing into what was moved away.
        return Err(CaptureError::InUse { path: path.to_path_buf() });
    }
    if path.file_name().is_none() {
        let unnamed = io::Error::new(io::ErrorKind::InvalidInput, "name it, or choose another place with -o");
        return Err(failed(path, "rename the older capture", unnamed));
    }
    let mut name = place.name().to_owned();
    name.push(".old");
    let old = place.beside(&name);
    match occupant(&old)? {
        Occupant::Nothing => {}
        Occupant::EmptyDir(older) => remove(&older, &[])?,
        Occupant::Capture(older, _) if older.is_locked() => {
            return Err(CaptureError::InUse { path: old.path().to_path_buf() });
        }
        Occupant::Capture(older, files) => remove(&older, &files)?,
    }
    folder.rename_self(&name).map_err(|e| place.denied("rename the older capture", e))?;
    Ok(Some(old.path().to_path_buf()))
}

fn remove(folder: &Folder, files: &[OsString]) -> Result<(), CaptureError> {
    for file in files {
        let name = file.to_str().unwrap_or_default();
        folder.remove(name).map_err(|e| failed(&folder.at(name), "remove a file of the older capture", e))?;
    }
    folder.remove_self().map_err(|e| failed(folder.path(), "remove the older capture", e))
}
