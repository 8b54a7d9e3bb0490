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
pub(super) type FileKey = (u32, u64);

/// Opens the file behind a mapping of a process. `range`: first and last address of the mapping.
///
/// # Errors
/// The process is gone, or has another file there.
pub(super) fn of_process(pid: u32, range: (u64, u64), of: FileKey) -> io::Result<File> {
    // The name of a mapping there is its range (fs/proc/base.c:proc_map_files_lookup). Its device is not compared: that of
    // events is the file system's, which on some of them stat() does not tell.
    let by_range = |(start, end): (u64, u64)| {
        let path = format!("/proc/{pid}/map_files/{start:x}-{:x}", end.saturating_add(1));
        opened(Path::new(&path), |metadata| metadata.ino() == of.1)
    };
    by_range(range).or_else(|_| {
        let (range, path) = mapped(Path::new(&format!("/proc/{pid}/maps")), of)?;
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
pub(super) fn by_path(path: &[u8], of: FileKey) -> io::Result<File> {
    if !path.starts_with(b"/") {
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
pub(super) fn of_own(of: FileKey) -> io::Result<File> {
    let (range, _) = mapped(Path::new("/proc/self/maps"), of)?;
    of_process(std::process::id(), range, of)
}

/// Opens the file that a distribution ships with the symbols of a build, if it is installed.
///
/// # Errors
/// It is not.
pub(super) fn of_build(id: &[u8]) -> io::Result<File> {
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
    let mut maps = BufReader::with_capacity(1 << 16, File::open(maps)?);
    for _ in 0..LINES_MAX {
        let line = line(&mut maps)?;
        match parse(&line) {
            Some(Line { start, end, dev, ino, name, .. }) if (dev, ino) == of => {
                return Ok(((start, end), with_line_ends(name)));
            }
            None => break,
            _ => {}
        }
    }
    Err(io::ErrorKind::NotFound.into())
}
