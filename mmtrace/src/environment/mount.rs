//! Mounts of this process, and pseudo filesystems that are mounted nowhere.

use super::release;
use super::syscall;
use mmtrace_model::kernel_version::KernelVersion;
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Before this version any new mount of tracefs puts the modes of the existing ones back to their default.
const QUIET_TRACEFS: KernelVersion = KernelVersion::new(6, 1);

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The part of the filesystem that is mounted: `/`, or a directory inside it.
    pub(super) part: PathBuf,
    /// Mount point.
    pub(super) point: PathBuf,
    /// Filesystem type.
    pub(super) filesystem: String,
    /// Options of the filesystem, comma-separated: for cgroup v1, its controllers.
    pub(super) options: String,
}

/// The mounts that this process sees, in the order they were made; none when the file cannot be read.
pub(super) fn mounts(root: &Path) -> Vec<Mount> {
    let text = std::fs::read(root.join("proc/self/mountinfo")).unwrap_or_default();
    text.split(|b| *b == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /part /point rw,noatime shared:1 - ext3 /dev/root rw` (proc(5))
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let part = unescape(fields.nth(3)?);
    let point = unescape(fields.next()?);
    let mut rest = fields.skip_while(|f| *f != b"-").skip(1);
    let filesystem = String::from_utf8_lossy(rest.next()?).into_owned();
    let options = String::from_utf8_lossy(rest.nth(1)?).into_owned();
    Some(Mount { part, point, filesystem, options })
}

/// Undoes `\040` and the like.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = tail;
            }
            _ => bytes.push(*first),
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Returns the mounts of a filesystem type, the latest first.
pub(super) fn of_type<'a>(mounts: &'a [Mount], filesystem: &'a str) -> impl Iterator<Item = &'a Mount> {
    mounts.iter().rev().filter(move |m| m.filesystem == filesystem)
}

/// The mount of the cgroup v2 hierarchy: one of the whole where there is one, else one of a part.
pub(super) fn cgroup2(mounts: &[Mount]) -> Option<&Mount> {
    of_type(mounts, "cgroup2").find(|m| m.part == Path::new("/")).or_else(|| of_type(mounts, "cgroup2").next())
}

/// Reads one file at the top of a filesystem that need not be mounted.
pub(super) fn read_detached(filesystem: &CStr, file: &CStr) -> io::Result<String> {
    let mount = syscall::mount_detached(filesystem)?;
    let mut text = String::new();
    File::from(syscall::open_at(mount.as_fd(), file, libc::O_RDONLY)?).read_to_string(&mut text)?;
    Ok(text)
}

/// A way to look up tracepoints: tracefs where it is mounted, else a detached mount of it.
#[derive(Debug)]
pub struct Tracefs {
    /// Its `events` directory.
    events: Option<OwnedFd>,
}

impl Tracefs {
    /// Opens what can be opened. Never fails: without access every answer is "cannot tell".
    #[must_use]
    pub(crate) fn open() -> Self {
        let root = Path::new("/");
        let mounts = mounts(root);
        let events = match of_type(&mounts, "tracefs").next() {
            Some(mount) => open_directory(&mount.point.join("events")).ok(),
            None if release::version(root).is_none_or(|version| version < QUIET_TRACEFS) => None,
            None => syscall::mount_detached(c"tracefs")
                .and_then(|mount| syscall::open_at(mount.as_fd(), c"events", libc::O_PATH | libc::O_DIRECTORY))
                .ok(),
        };
        Self { events }
    }

    /// Whether the kernel has this tracepoint; `None` when it cannot be told.
    #[must_use]
    pub(crate) fn has(&self, system: &str, name: &str) -> Option<bool> {
        let events = self.events.as_ref()?;
        if [system, name].iter().any(|part| part.is_empty() || part.contains('/') || part.starts_with('.')) {
            return Some(false);
        }
        let Ok(path) = CString::new(format!("{system}/{name}")) else { return Some(false) };
        match syscall::open_at(events.as_fd(), &path, libc::O_PATH | libc::O_DIRECTORY) {
            Ok(_) => Some(true),
            // A system has files beside its events: those give ENOTDIR.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Some(false),
            Err(_) => None,
        }
    }
}

/// Whether the kernel has this tracepoint; `None` when it cannot be told. For many, keep a [`Tracefs`].
#[must_use]
pub fn tracepoint_exists(system: &str, name: &str) -> Option<bool> {
    Tracefs::open().has(system, name)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    // O_PATH alone would also succeed on a directory that may not be searched.
    std::fs::metadata(path.join("."))?;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path)?;
    Ok(file.into())
}
