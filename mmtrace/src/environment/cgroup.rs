//! From the name of a control group to what a BPF program can compare: its id and
//! its level in the v2 hierarchy.

use super::facts;
use super::mount::{self, Mount};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Inode of the root of a kernfs hierarchy, the same in every mount of it.
const ROOT_INODE: u64 = 1;

/// A cgroup of the v2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// Its id, as `bpf_get_current_cgroup_id()` reports it: the inode of its directory.
    pub(crate) id: u64,
    /// Its depth below the root of the hierarchy, whose own level is 0.
    pub(crate) level: u32,
    /// Its directory.
    pub(crate) path: PathBuf,
}

impl Cgroup {
    /// The processes in it and below it, by their ids in this process's pid namespace; 0 for each that is outside of that.
    #[must_use]
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            // One that cannot be read has been removed, or has threads only, whose processes are further up.
            let ids = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(ids.lines().filter_map(|id| id.parse::<u32>().ok()));
            let below = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            folders.extend(below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
        found
    }
}

/// Reason why a name leads to no cgroup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// There is no v2 hierarchy to look in.
    #[error(
        "cgroup v2 is not mounted, and mmtrace selects by cgroup v2; to mount it: sudo mkdir -p /run/cgroup2 && sudo mount -t cgroup2 cgroup2 /run/cgroup2"
    )]
    NotMounted,
    /// Neither a path nor a name of a cgroup.
    #[error("there is no cgroup {}: {} does not exist; to list the cgroups: systemd-cgls", name.display(), tried.display())]
    Absent {
        /// As given.
        name: PathBuf,
        /// Below the hierarchy's mount point.
        tried: PathBuf,
    },
    /// A path that leads out of the hierarchy.
    #[error("{} is not a cgroup: {} is not inside {}", name.display(), path.display(), root.display())]
    Outside {
        /// As given.
        name: PathBuf,
        /// The path that it leads to.
        path: PathBuf,
        /// Mount point of cgroup v2.
        root: PathBuf,
    },
    /// A directory of some v1 hierarchy.
    #[error(
        "{} is a cgroup v1 directory ({controllers}); mmtrace selects by cgroup v2, which is mounted at {}",
        path.display(), root.display()
    )]
    V1 {
        /// The directory.
        path: PathBuf,
        /// Mount options of that hierarchy, its controllers.
        controllers: String,
        /// Mount point of cgroup v2.
        root: PathBuf,
    },
    /// Something else than a directory.
    #[error("{} is not a cgroup: a cgroup is a directory", .0.display())]
    NotADirectory(PathBuf),
    /// A cgroup namespace hides how deep it is, and mmtrace is not in a cgroup below it.
    #[error(
        "mmtrace cannot find out how deep the cgroup {} lies, because a cgroup namespace hides it; run mmtrace on the host, \
         or start the container with docker or podman run --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:ro",
        .0.display()
    )]
    Namespace(PathBuf),
    /// The file system said no.
    #[error("cannot look at the cgroup {}: {source}", path.display())]
    Io {
        /// The path that was looked at.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
}

/// Finds a cgroup by the path of its directory, or by its name below the root of
/// the v2 hierarchy, with or without a leading slash. `level_of` returns the level of a cgroup that this process is in or
/// below of, by its id, as the kernel tells it.
///
/// # Errors
/// [`CgroupError`] says what is wrong with the name, or with the hierarchy.
pub(crate) fn resolve(name: impl AsRef<Path>, level_of: impl Fn(u64) -> Option<u32>) -> Result<Cgroup, CgroupError> {
    resolve_in(Path::new("/"), name.as_ref(), level_of)
}

/// As [`resolve`]; `root` stands for `/` where `/proc` is looked up, and mount points are taken as they are.
pub(super) fn resolve_in(
    root: &Path,
    name: &Path,
    level_of: impl Fn(u64) -> Option<u32>,
) -> Result<Cgroup, CgroupError> {
    let mounts = mount::mounts(root);
    let hierarchy = mount::cgroup2(&mounts).ok_or(CgroupError::NotMounted)?;
    let relative = name.strip_prefix(&hierarchy.point).unwrap_or(name);
    let relative: PathBuf = relative.components().filter(|c| !matches!(c, Component::RootDir)).collect();
    let below = hierarchy.point.join(relative);

    // The name first as a path, where it is one into some cgroup hierarchy.
    let as_path = if name.is_absolute() { name.canonicalize().ok() } else { None };
    let path = match as_path.filter(|path| covering(&mounts, path).is_some_and(is_cgroup)) {
        Some(path) => path,
        None => match below.canonicalize() {
            Ok(path) => path,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(CgroupError::Absent { name: name.into(), tried: below });
            }
            Err(source) => return Err(CgroupError::Io { path: below, source }),
        },
    };
    let Some(mount) = covering(&mounts, &path).filter(|m| is_cgroup(m)) else {
        return Err(CgroupError::Outside { name: name.into(), path, root: hierarchy.point.clone() });
    };
    if mount.filesystem == "cgroup" {
        let controllers = mount.options.strip_prefix("rw,").unwrap_or(&mount.options).to_owned();
        return Err(CgroupError::V1 { path, controllers, root: hierarchy.point.clone() });
    }
    if !path.is_dir() {
        return Err(CgroupError::NotADirectory(path));
    }
    let inode = |path: &Path| facts::inode(path).map_err(|source| CgroupError::Io { path: path.into(), source });
    let id = inode(&path)?;
    let depth = path.strip_prefix(&mount.point).map_or(0, |below| below.components().count());
    let top = inode(&mount.point)?;
    let base = if top == ROOT_INODE {
        0
    } else if let Some(level) = level_of(top) {
        // The root of a cgroup namespace, as a container sees the hierarchy.
        level as usize
    } else if facts::initial_cgroup_namespace(root) == Some(true) {
        // A part of the hierarchy, mounted by itself.
        mount.part.components().filter(|c| matches!(c, Component::Normal(_))).count()
    } else {
        return Err(CgroupError::Namespace(path));
    };
    Ok(Cgroup { id, level: (base + depth) as u32, path })
}

/// The mount that a path lies in: the one with the longest mount point, and of those the latest.
fn covering<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts.iter().filter(|m| path.starts_with(&m.point)).max_by_key(|m| m.point.components().count())
}

fn is_cgroup(mount: &Mount) -> bool {
    matches!(mount.filesystem.as_str(), "cgroup" | "cgroup2")
}
