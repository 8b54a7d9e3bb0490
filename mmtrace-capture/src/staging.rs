//! A folder in which captures are saved, until each is whole and gets its own name beside it.
//!
//! It is made before the saves: a process that may write nowhere else can then save, and put what it has saved into the
//! folder around.

use std::{
    ffi::OsStr,
    fmt, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    error::{CaptureError, NOTHING_RECORDED, RECORDING_STOPPED},
    folder::{Folder, Place},
};

/// Who gives what was saved its name, where this process may not. Dropped, it removes the folder if nothing is left in it.
pub trait Publish: fmt::Debug + Send + Sync {
    /// Moves the folder of this name out, where nothing has it.
    ///
    /// # Errors
    ///
    /// Something is there already, or it is refused.
    fn publish(&self, name: &OsStr) -> io::Result<()>;
}

/// The folder; removed when this is dropped, if nothing is left in it.
#[derive(Debug)]
pub struct Staging {
    folder: Folder,
    /// `None`: this process publishes.
    publisher: Option<Box<dyn Publish>>,
}

impl Staging {
    /// Makes it beside the file or folder that `path` would be.
    ///
    /// # Errors
    ///
    /// As [`CaptureWriter::create`](super::CaptureWriter::create).
    pub fn beside(path: &Path) -> Result<Self, CaptureError> {
        let nowhere = || CaptureError::io(path, "create it", NOTHING_RECORDED, io::ErrorKind::NotFound.into());
        Self::at(&Place::at(&path.with_file_name(name()))?.ok_or_else(nowhere)?)
    }

    /// Makes it beside a folder that is held, wherever that is by now.
    pub(super) fn beside_folder(folder: &Folder) -> Result<Self, CaptureError> {
        Self::at(&folder.beside(OsStr::new(&name())))
    }

    fn at(place: &Place) -> Result<Self, CaptureError> {
        Ok(Self { folder: place.empty_folder()?, publisher: None })
    }

    /// Makes the folder of a capture that will be `path`, with the rights of another folder.
    pub(super) fn new_folder(&self, path: &Path, like: &Folder) -> Result<Folder, CaptureError> {
        let failed = |error| CaptureError::io(path, "create it", RECORDING_STOPPED, error);
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        self.folder.place(name).map_err(failed)?.new_folder(like)
    }

    /// Returns where a capture is saved that will be `path`.
    #[must_use]
    pub fn place(&self, path: &Path) -> PathBuf {
        self.folder.path().join(path.file_name().unwrap_or(OsStr::new("saved")))
    }

    /// Gives what was saved at the place of `path` its name.
    ///
    /// # Errors
    ///
    /// Something is there already, or the file system refuses. What was saved is removed no more than what is there.
    pub fn publish(&self, path: &Path) -> Result<(), CaptureError> {
        let failed = |error| CaptureError::io(path, "give what was saved its name", NOTHING_RECORDED, error);
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        match &self.publisher {
            Some(publisher) => publisher.publish(name),
            None => self.folder.move_out(name),
        }
        .map_err(failed)
    }

    /// Leaves it to another to publish.
    pub fn hand_over(&mut self, publisher: Box<dyn Publish>) {
        self.publisher = Some(publisher);
    }

    /// Returns its name in the folder around it.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.folder.path().file_name().unwrap_or_default()
    }

    /// Returns the folder, and the one around it, as descriptors.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn held(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        Ok((self.folder.descriptor()?, self.folder.around().try_clone_to_owned()?))
    }
}

/// A name that no other one of this process has.
fn name() -> String {
    static MADE: AtomicU32 = AtomicU32::new(1);
    format!(".mmtrace-saving-{}-{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

impl Drop for Staging {
    fn drop(&mut self) {
        drop(self.publisher.take());
        // A save that was interrupted stays, for who wants to look at it.
        let _ = self.folder.remove_self();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_appears_whole_and_nothing_is_left() {
        let temp = tempfile::tempdir().expect("a folder");
        let path = temp.path().join("saved-1");
        let staging = Staging::beside(&path).expect("made");
        let place = staging.place(&path);
        std::fs::create_dir(&place).expect("made");
        std::fs::write(place.join("file"), "text").expect("written");
        assert!(!path.exists());
        staging.publish(&path).expect("moved");
        assert_eq!(std::fs::read_to_string(path.join("file")).expect("it is there"), "text");
        std::fs::create_dir(&place).expect("made");
        assert!(staging.publish(&path).is_err(), "something is there");
        std::fs::remove_dir(&place).expect("removed");
        drop(staging);
        assert_eq!(std::fs::read_dir(temp.path()).expect("listed").count(), 1);
    }
}
