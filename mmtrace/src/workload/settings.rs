//! Kernel settings that are changed for a while.

use super::journal::{Change, Journal, journal};
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
        // Who may not write it has nothing to note.
        drop(File::options().write(true).open(path)?);
        // What a dead workload has left is no original.
        for told in journal.restore()? {
            crate::console::tell(&told);
        }
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another workload has changed it")),
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

/// The value in a setting's file: the word in brackets where it lists what may be chosen, else all of it.
pub(super) fn chosen(text: &str) -> &str {
    let word = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word);
    word.unwrap_or_else(|| text.trim())
}

impl Drop for Setting {
    fn drop(&mut self) {
        match fs::write(&self.path, &self.old) {
            Ok(()) => self.journal.undone(&self.path),
            Err(error) => crate::console::complain(format_args!(
                "cannot set {} back to {}: {error}",
                self.path.display(),
                self.old
            )),
        }
    }
}

/// The nodes, CPUs, … of a list such as `0-1,3`.
pub(super) fn number_list(text: &str) -> Vec<u32> {
    let number = |s: &str| s.trim().parse::<u32>().ok();
    text.split(',')
        .filter_map(|part| match part.split_once('-') {
            Some((from, to)) => Some(number(from)?..=number(to)?),
            None => number(part).map(|n| n..=n),
        })
        .flatten()
        .collect()
}

/// A counter of the whole machine, from its start on; 0 where there is none.
pub(super) fn vmstat(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0)
}

/// A value of a file such as /proc/meminfo, which gives it in KiB; 0 where there is none.
pub(super) fn line_kib(file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse().ok());
    value.unwrap_or(0)
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

    #[test]
    fn a_choice_is_in_brackets() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(chosen("0\n"), "0");
    }

    #[test]
    fn lists() {
        assert_eq!(number_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(number_list("0\n"), [0]);
        assert_eq!(number_list("\n"), [0; 0]);
    }
}
