//! The changes of a workload, noted before it makes them: a killed workload leaves its notes, and the next one restores
//! the old values before it takes any value for an original.
//!
//! Each workload has a file of its own in a folder that only root can write, and holds a lock on it for as long as it
//! lives. A file that nobody has locked is that of a dead one. Reading and writing the files, one workload at a time holds
//! the folder's lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::kernel_files::chosen;
use super::process::swap_off;

/// Folder of the files. It does not outlive a reboot, and neither do the changes that they note.
const FOLDER: &str = "/run/mmtrace";
/// Suffix of a workload's file.
const SUFFIX: &str = ".settings";
/// Longest file that is read, bytes.
const MOST: u64 = 1 << 16;
/// Longest wait for the lock of a killed workload: its children hold it as well, and end with the workload.
const PATIENCE: Duration = Duration::from_secs(1);

/// A change, as it is noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// A setting in /proc/sys or /sys.
    Setting {
        /// Its file.
        path: PathBuf,
        /// The old value.
        old: String,
        /// The new value; the kernel may round it.
        new: String,
    },
    /// A swap file, which is to be switched off and removed.
    Swap {
        /// The file.
        path: PathBuf,
    },
    /// The change to this file was undone.
    Undone {
        /// The file.
        path: PathBuf,
    },
}

/// A folder of notes.
pub(super) struct Journal {
    folder: PathBuf,
    /// This workload's own, once it has changed something.
    own: Mutex<Option<File>>,
}

/// Those of this machine.
pub(super) fn journal() -> &'static Journal {
    static JOURNAL: std::sync::OnceLock<Journal> = std::sync::OnceLock::new();
    JOURNAL.get_or_init(|| Journal::in_folder(Path::new(FOLDER)))
}

impl Journal {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), own: Mutex::default() }
    }

    fn own(&self) -> MutexGuard<'_, Option<File>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder, locked; made if it is not there. Nobody else must be able to write to it.
    fn enter(&self) -> io::Result<File> {
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.lock_folder()
    }

    fn lock_folder(&self) -> io::Result<File> {
        let flags = libc::O_NOFOLLOW | libc::O_DIRECTORY;
        let folder = OpenOptions::new().read(true).custom_flags(flags).open(&self.folder)?;
        let found = folder.metadata()?;
        // SAFETY: asks for a number.
        if found.uid() != unsafe { libc::geteuid() } || found.mode() & 0o022 != 0 {
            return Err(io::Error::other(format!(
                "other users may write to {0}, so mmtrace does not trust what it says; remove it: sudo rm -r {0}",
                self.folder.display()
            )));
        }
        folder.lock()?;
        Ok(folder)
    }

    /// Notes a change that is about to be made.
    pub(super) fn note(&self, change: &Change) -> io::Result<()> {
        let mut own = self.own();
        if own.is_none() {
            let _folder = self.enter()?;
            // The process that had this number before is dead, and what it left was put back.
            let path = self.folder.join(format!("{}{SUFFIX}", std::process::id()));
            let file = OpenOptions::new()
                .append(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path)?;
            file.lock()?;
            *own = Some(file);
        }
        let mut line = serde_json::to_vec(change)?;
        line.push(b'\n');
        own.as_mut().map_or(Ok(()), |file| file.write_all(&line))
    }

    /// Restores what dead workloads left changed. Returns a line for each change.
    pub(super) fn restore(&self) -> io::Result<Vec<String>> {
        let folder = match self.lock_folder() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut told = Vec::new();
        for path in self.left()? {
            let Some(changes) = read(&path) else { continue };
            told.extend(put_back(&changes?));
            fs::remove_file(path)?;
        }
        drop(folder);
        Ok(told)
    }

    /// Files whose settings are to be put back; nothing is touched.
    pub(super) fn pending(&self) -> io::Result<Vec<PathBuf>> {
        let folder = match self.lock_folder() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut pending = Vec::new();
        for path in self.left()? {
            if let Some(changes) = read(&path) {
                pending.extend(open(&changes?).into_iter().map(|change| change.path().to_path_buf()));
            }
        }
        drop(folder);
        Ok(pending)
    }

    /// The notes in the folder, but for our own.
    fn left(&self) -> io::Result<Vec<PathBuf>> {
        let own = self.own().is_some().then(|| format!("{}{SUFFIX}", std::process::id()));
        let mut left = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(SUFFIX) && Some(name.as_ref()) != own.as_deref() {
                left.push(self.folder.join(name.as_ref()));
            }
        }
        left.sort();
        Ok(left)
    }

    /// Removes our own notes, when nothing is changed any more.
    fn forget(&self) {
        let mut own = self.own();
        if own.is_some() {
            // A note of nothing is as good as none.
            let _ = fs::remove_file(self.folder.join(format!("{}{SUFFIX}", std::process::id())));
            *own = None;
        }
    }

    /// Notes that a change was undone.
    pub(super) fn undone(&self, path: &Path) {
        // If it cannot be noted, the old value is written once more.
        let _ = self.note(&Change::Undone { path: path.to_path_buf() });
        let own = self.folder.join(format!("{}{SUFFIX}", std::process::id()));
        if parse(&own).is_ok_and(|changes| open(&changes).is_empty()) {
            self.forget();
        }
    }
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Self::Setting { path, .. } | Self::Swap { path } | Self::Undone { path } => path,
        }
    }
}

/// Returns the changes that a dead workload noted; `None` while it lives.
fn read(path: &Path) -> Option<io::Result<Vec<Change>>> {
    let begun = Instant::now();
    loop {
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
            Ok(file) => file,
            Err(error) => return Some(Err(error)),
        };
        match file.try_lock() {
            Ok(()) => return Some(parse(path)),
            Err(TryLockError::Error(error)) => return Some(Err(error)),
            Err(TryLockError::WouldBlock) => {
                let pid = path.file_stem().unwrap_or_default();
                if Path::new("/proc").join(pid).exists() || begun.elapsed() >= PATIENCE {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn parse(path: &Path) -> io::Result<Vec<Change>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{0} is not a regular file; remove it: sudo rm -r {0}", path.display())));
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    // A line that was cut off is of a change that was not made.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Changes that were not undone, the last first. Of several to one file the first says what it was.
fn open(changes: &[Change]) -> Vec<Change> {
    let mut open: Vec<Change> = Vec::new();
    for change in changes {
        match change {
            Change::Undone { path } => open.retain(|c| c.path() != path),
            change if open.iter().any(|c| c.path() == change.path()) => {}
            change => open.push(change.clone()),
        }
    }
    open.reverse();
    open
}

fn put_back(changes: &[Change]) -> Vec<String> {
    open(changes).iter().map(undo).collect()
}

fn undo(change: &Change) -> String {
    let name = change.path().display();
    match change {
        Change::Setting { path, old, .. } => match fs::read_to_string(path) {
            Ok(now) if chosen(&now) == old => format!("{name} has its old value {old} already"),
            _ => match fs::write(path, old) {
                Ok(()) => format!("restored {name} to {old}, which a killed workload had changed"),
                Err(error) => {
                    format!("cannot restore {name} to {old}: {error}; restore it with: echo {old} | sudo tee {name}")
                }
            },
        },
        Change::Swap { path } => {
            let off = swap_off(path);
            match (off, fs::remove_file(path)) {
                (_, Ok(())) => format!("removed the swap file {name} of a killed workload"),
                (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    format!("the swap file {name} of a killed workload is gone already")
                }
                (_, Err(error)) => {
                    format!(
                        "cannot remove the swap file {name}: {error}; remove it with: sudo swapoff {name}; sudo rm {name}"
                    )
                }
            }
        }
        Change::Undone { .. } => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(path: &Path, old: &str) -> Change {
        Change::Setting { path: path.to_path_buf(), old: old.to_owned(), new: "1".to_owned() }
    }

    /// Leaves notes as a process that is dead: nobody has them locked.
    fn dead(folder: &Path, pid: &str, changes: &[Change]) {
        let lines: Vec<String> = changes.iter().map(|c| serde_json::to_string(c).expect("JSON")).collect();
        fs::write(folder.join(format!("{pid}{SUFFIX}")), lines.join("\n") + "\n{\"setting\":{\"pa").expect("written");
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().join("run");
        DirBuilder::new().mode(0o700).create(&folder).expect("a folder");
        (temp, folder)
    }

    #[test]
    fn what_a_dead_workload_left_is_put_back_once() {
        let (temp, folder) = folder();
        let (a, b) = (temp.path().join("a"), temp.path().join("b"));
        fs::write(&a, "1\n").expect("written");
        fs::write(&b, "7\n").expect("written");
        // The second change took the first one's value for an original; the last was undone.
        dead(
            &folder,
            "4194301",
            &[setting(&a, "10000"), setting(&a, "1"), setting(&b, "5"), Change::Undone { path: b.clone() }],
        );
        let journal = Journal::in_folder(&folder);
        assert_eq!(journal.pending().expect("read"), std::slice::from_ref(&a));
        let told = journal.restore().expect("put back");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("to 10000"), "{told:?}");
        assert_eq!(
            (fs::read_to_string(&a).unwrap().as_str(), fs::read_to_string(&b).unwrap().as_str()),
            ("10000", "7\n")
        );
        assert_eq!(journal.restore().expect("nothing"), [""; 0]);
    }

    #[test]
    fn a_workload_that_lives_keeps_its_settings() {
        let (temp, folder) = folder();
        let a = temp.path().join("a");
        fs::write(&a, "1\n").expect("written");
        let living = Journal::in_folder(&folder);
        living.note(&setting(&a, "10000")).expect("noted");
        // Its file has this process' number: under another one it is somebody else's.
        let own = folder.join(format!("{}{SUFFIX}", std::process::id()));
        fs::rename(&own, folder.join(format!("1{SUFFIX}"))).expect("renamed");
        let other = Journal::in_folder(&folder);
        assert_eq!(other.restore().expect("looked"), [""; 0]);
        assert_eq!(fs::read_to_string(&a).unwrap(), "1\n");
        drop(living);
        assert_eq!(other.restore().expect("put back").len(), 1);
        assert_eq!(fs::read_to_string(&a).unwrap(), "10000");
    }

    #[test]
    fn what_is_undone_leaves_no_note() {
        let (temp, folder) = folder();
        let a = temp.path().join("a");
        let journal = Journal::in_folder(&folder);
        journal.note(&setting(&a, "5")).expect("noted");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        journal.undone(&a);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        journal.note(&setting(&a, "5")).expect("noted anew");
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt as _;
        let (temp, folder) = folder();
        let a = temp.path().join("a");
        fs::write(&a, "1\n").expect("written");
        dead(&folder, "4194301", &[setting(&a, "10000")]);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("opened");
        let journal = Journal::in_folder(&folder);
        assert!(journal.restore().is_err() && journal.note(&setting(&a, "1")).is_err());
        assert_eq!(fs::read_to_string(&a).unwrap(), "1\n");
    }
}
