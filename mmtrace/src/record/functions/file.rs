//! Opening a file that a process has mapped, by whoever it was put there.

use std::{
    ffi::OsStr,
    fs::{File, Metadata, OpenOptions},
    io::{self, BufReader},
    os::{
        fd::AsRawFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use super::super::maps::{LINES_MAX, Line, line, parse, with_line_ends};

/// A file by device and inode, as events have them.
pub(in crate::record) type FileKey = (u32, u64);

/// What changes when the contents of a file are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl State {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Returns the state of the file of a path; `None` if that is another file by now, or cannot be asked without a wait.
pub(super) fn state(path: &[u8], of: FileKey) -> Option<State> {
    let is_it = |metadata: &Metadata| metadata.ino() == of.1 && (device(metadata) == of.0 || of.0 >> 20 == 0);
    if !path.starts_with(b"/") || !answers("self", of) {
        return None;
    }
    let metadata = std::fs::metadata(Path::new(OsStr::from_bytes(path))).ok()?;
    is_it(&metadata).then(|| State::of(&metadata))
}

/// File systems without a block device that answer without asking another program or machine.
const ANSWERING: [&str; 8] = ["tmpfs", "ramfs", "rootfs", "devtmpfs", "overlay", "btrfs", "zfs", "bcachefs"];

/// Whether the file system of a file answers by itself. Others may wait for ever: FUSE for its server, NFS for another
/// machine. `process`: whose mounts are looked at.
fn answers(process: &str, of: FileKey) -> bool {
    if of.0 >> 20 != 0 {
        return true;
    }
    let device = format!("0:{}", of.0 & 0xf_ffff);
    // The third field is the device; the type follows a field of its own, a dash (proc_pid_mountinfo(5)).
    let mounts = std::fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    let of_device = mounts.lines().filter(|line| line.split(' ').nth(2) == Some(&device));
    let mut types = of_device.filter_map(|line| line.split_once(" - ")?.1.split(' ').next());
    types.any(|of_type| ANSWERING.contains(&of_type))
}

/// Opens the file behind a mapping of a process. `range`: first and last address of the mapping.
///
/// # Errors
/// The process is gone, or has another file there.
pub(in crate::record) fn of_process(pid: u32, range: (u64, u64), of: FileKey) -> io::Result<File> {
    if !answers(&pid.to_string(), of) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "its file system may wait for ever"));
    }
    let maps = format!("/proc/{pid}/maps");
    // The name of a mapping there is its range (fs/proc/base.c:proc_map_files_lookup). The device of events is the file
    // system's, which on some of them stat() does not tell. /proc/PID/maps has it: if the file is there still, it was there
    // when it was opened.
    let by_range = |(start, end): (u64, u64)| {
        let path = format!("/proc/{pid}/map_files/{start:x}-{:x}", end.saturating_add(1));
        let file = opened(Path::new(&path), |metadata| metadata.ino() == of.1)?;
        let is_there = |line: &Line<'_>| (line.start, line.end, line.dev, line.ino) == (start, end, of.0, of.1);
        find(Path::new(&maps), is_there).map(|_| file)
    };
    by_range(range).or_else(|_| {
        let (range, path) = mapped(Path::new(&maps), of)?;
        by_range(range).or_else(|_| {
            let root = [format!("/proc/{pid}/root").as_bytes(), &path].concat();
            by_path(&root, of)
        })
    })
}

/// Opens the file of a path, if it is that file.
///
/// # Errors
/// It is another one by now, or there is none.
pub(in crate::record) fn by_path(path: &[u8], of: FileKey) -> io::Result<File> {
    if !path.starts_with(b"/") || !answers("self", of) {
        return Err(io::ErrorKind::NotFound.into());
    }
    opened(Path::new(OsStr::from_bytes(path)), |metadata| (device(metadata), metadata.ino()) == of)
}

/// Returns the paths where the program of a command may be.
pub(super) fn places(program: &OsStr) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return std::path::absolute(program).into_iter().collect();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join(program)).collect()
}

/// Opens the file if mmtrace has mapped it too, as it has the C library.
///
/// # Errors
/// It has not.
pub(in crate::record) fn of_own(of: FileKey) -> io::Result<File> {
    let (range, _) = mapped(Path::new("/proc/self/maps"), of)?;
    of_process(std::process::id(), range, of)
}

/// Opens the file that a distribution ships with the symbols of a build, if it is installed.
///
/// # Errors
/// It is not.
pub(in crate::record) fn of_build(id: &[u8]) -> io::Result<File> {
    let text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let Some((folder, rest)) = text.split_at_checked(2) else { return Err(io::ErrorKind::NotFound.into()) };
    opened(Path::new(&format!("/usr/lib/debug/.build-id/{folder}/{rest}.debug")), |_| true)
}

/// The device of a file, as the kernel has it: major number << 20 | minor number.
fn device(metadata: &Metadata) -> u32 {
    let dev = metadata.dev();
    libc::major(dev) << 20 | libc::minor(dev)
}

/// Opens a regular file if it is the right one. Anything else would wait for a writer, or do something when it is opened.
fn opened(path: &Path, is_right: impl Fn(&Metadata) -> bool) -> io::Result<File> {
    // This opens nothing yet (open(2), O_PATH).
    let place = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    let metadata = place.metadata()?;
    if !metadata.is_file() || !is_right(&metadata) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "another file, or none with contents"));
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

/// Returns the range of a mapping of a file, and the file's path.
fn mapped(maps: &Path, of: FileKey) -> io::Result<((u64, u64), Vec<u8>)> {
    find(maps, |line| (line.dev, line.ino) == of)
}

/// Returns the range of the first mapping that is wanted, and its file's path.
fn find(maps: &Path, is_wanted: impl Fn(&Line<'_>) -> bool) -> io::Result<((u64, u64), Vec<u8>)> {
    let mut maps = BufReader::with_capacity(1 << 16, File::open(maps)?);
    for _ in 0..LINES_MAX {
        let line = line(&mut maps)?;
        match parse(&line) {
            Some(line) if is_wanted(&line) => return Ok(((line.start, line.end), with_line_ends(line.name))),
            None => break,
            _ => {}
        }
    }
    Err(io::ErrorKind::NotFound.into())
}
