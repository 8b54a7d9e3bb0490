//! From the id of a cgroup v2 to its path.
//!
//! The kernel opens a directory of the hierarchy by its id (fs/kernfs/mount.c:kernfs_fh_to_dentry), which takes
//! `CAP_DAC_READ_SEARCH`. Without that, the hierarchy is walked through, at most once a second. Neither takes a lock that
//! the traced code holds for long, so the recorder does it between two passes.

use super::mount::{self, Mount};
use super::syscall;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// Directories that a walk looks into.
const WALK_MAX: usize = 1 << 12;
/// Shortest time between two walks.
const WALK_AGAIN: Duration = Duration::from_secs(1);
/// What the kernel puts behind the path of a directory that was removed.
const REMOVED: &[u8] = b" (deleted)";

/// The paths of cgroups v2.
#[derive(Debug)]
pub struct CgroupPaths {
    mount: Mount,
    directory: File,
    /// Directories by id as of the last walk, and when that was.
    walked: Option<(Instant, HashMap<u64, PathBuf>)>,
}

impl CgroupPaths {
    /// Opens the hierarchy; `None` if it is not mounted.
    #[must_use]
    pub(crate) fn open() -> Option<Self> {
        let mounts = mount::mounts(Path::new("/"));
        let mount = mount::cgroup2(&mounts)?.clone();
        let directory = File::open(&mount.point).ok()?;
        Some(Self { mount, directory, walked: None })
    }

    /// Returns the path of a cgroup below the root of the hierarchy, or of the part of it that this process's cgroup
    /// namespace and the mount show. `None`: it has been removed, or is not in that part.
    pub(crate) fn of(&mut self, id: u64) -> Option<Vec<u8>> {
        let path = match syscall::open_cgroup(self.directory.as_fd(), id) {
            Ok(opened) => std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok().map(living)?,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.walk().get(&id)?.clone(),
            Err(_) => return None,
        };
        below(&self.mount, &path)
    }

    fn walk(&mut self) -> &HashMap<u64, PathBuf> {
        let is_old = self.walked.as_ref().is_none_or(|(when, _)| when.elapsed() >= WALK_AGAIN);
        if is_old {
            self.walked = Some((Instant::now(), walk(&self.mount.point)));
        }
        &self.walked.get_or_insert_with(|| (Instant::now(), HashMap::new())).1
    }
}

/// A path without what the kernel says of a directory that was removed after it had been found.
fn living(path: PathBuf) -> PathBuf {
    if path.exists() {
        return path;
    }
    let bytes = path.into_os_string().into_vec();
    let living = bytes.strip_suffix(REMOVED).map(<[u8]>::to_vec);
    PathBuf::from(OsString::from_vec(living.unwrap_or(bytes)))
}

/// The path in the hierarchy of a directory of this mount; `None` if it is not below the mount point.
fn below(mount: &Mount, path: &Path) -> Option<Vec<u8>> {
    let relative = path.strip_prefix(&mount.point).ok()?;
    // In a cgroup namespace, a mount from outside of it begins above the root that is shown here.
    if mount.part.components().any(|component| component == Component::ParentDir) {
        return None;
    }
    let whole = Path::new("/").join(mount.part.strip_prefix("/").unwrap_or(&mount.part)).join(relative);
    // Without a slash at the end, which an empty rest leaves.
    let whole: PathBuf = whole.components().collect();
    Some(whole.into_os_string().into_vec())
}

/// Finds the directories of the hierarchy, by id.
pub(super) fn walk(root: &Path) -> HashMap<u64, PathBuf> {
    let mut found = HashMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop().filter(|_| found.len() < WALK_MAX) {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.insert(entry.ino(), entry.path());
                folders.push(entry.path());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(part: &str) -> Mount {
        let (part, point) = (PathBuf::from(part), PathBuf::from("/sys/fs/cgroup/unified"));
        Mount { part, point, filesystem: "cgroup2".to_owned(), options: String::new() }
    }

    #[test]
    fn a_path_is_that_in_the_hierarchy() {
        for (part, path, expected) in [
            ("/", "/sys/fs/cgroup/unified", Some("/")),
            ("/", "/sys/fs/cgroup/unified/a.slice/b", Some("/a.slice/b")),
            ("/docker/x", "/sys/fs/cgroup/unified/b", Some("/docker/x/b")),
            ("/docker/x", "/sys/fs/cgroup/unified", Some("/docker/x")),
            ("/", "/b", None),
            ("/../..", "/sys/fs/cgroup/unified/b", None),
        ] {
            assert_eq!(below(&mount(part), Path::new(path)).as_deref(), expected.map(str::as_bytes), "{part} {path}");
        }
    }

    /// Only where the hierarchy is mounted.
    #[test]
    fn the_kernel_and_a_walk_tell_the_same() {
        let Some(mut paths) = CgroupPaths::open() else {
            eprintln!("cgroup v2 is not mounted: nothing to see");
            return;
        };
        assert_eq!(paths.of(u64::MAX), None);
        for (id, path) in walk(&paths.mount.point.clone()).into_iter().take(20) {
            // Others may remove it meanwhile.
            if path.exists() {
                assert_eq!(paths.of(id), below(&paths.mount, &path), "{}", path.display());
            }
        }
    }
}
