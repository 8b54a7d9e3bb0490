//! Kernel settings that are changed for a while.

use super::journal::{Change, Journal, journal};
use super::kernel_files::chosen;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A setting that gets its old value back when this is dropped, or from the next workload if this one is killed.
pub(super) struct Setting {
    path: PathBuf,
    old: String,
    journal: &'static Journal,
    /// Held so that another workload does not take our value for the old one.
    _lock: File,
}

impl Setting {
    /// Writes `value` to a file of one value, or of choices, under /proc/sys or /sys.
    pub(super) fn change(path: &Path, value: &str) -> io::Result<Self> {
        Self::noted(path, value, journal())
    }

    fn noted(path: &Path, value: &str, journal: &'static Journal) -> io::Result<Self> {
        let lock = File::open(path)?;
        // A process that may not write the setting has nothing to note.
        drop(File::options().write(true).open(path)?);
        // A value that a dead workload left is not the original one.
        for told in journal.restore()? {
            crate::console::tell(&told);
        }
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another workload that runs now has changed it"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let old = chosen(&fs::read_to_string(path)?).to_owned();
        journal.note(&Change::Setting { path: path.to_owned(), old: old.clone(), new: value.to_owned() })?;
        // Dropping it puts back a value that was written in part.
        let setting = Self { path: path.to_owned(), old, journal, _lock: lock };
        fs::write(path, value)?;
        Ok(setting)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        match fs::write(&self.path, &self.old) {
            Ok(()) => self.journal.undone(&self.path),
            Err(error) => crate::console::complain(format_args!(
                "cannot restore {0} to {1}: {error}; restore it with: echo {1} | sudo tee {0}",
                self.path.display(),
                self.old
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_returns_and_is_not_taken_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        fs::write(&path, "10000\n").unwrap();
        let journal: &'static Journal = Box::leak(Box::new(Journal::in_folder(&folder.path().join("run"))));
        let setting = Setting::noted(&path, "1", journal).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        assert!(Setting::noted(&path, "2", journal).is_err());
        drop(setting);
        assert_eq!(fs::read_to_string(&path).unwrap(), "10000");
        assert_eq!(fs::read_dir(folder.path().join("run")).unwrap().count(), 0, "nothing is left to put back");
    }
}
