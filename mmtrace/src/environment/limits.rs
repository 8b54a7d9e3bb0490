//! Limits that a recording could meet: open files, and the memory of a cgroup. Each function takes the directory that stands
//! for `/`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    finding::{Finding, Status},
    mount::{Mount, of_type},
};

/// Memory of which v1 says that it is not limited: `PAGE_COUNTER_MAX`, or more than any machine has.
const UNLIMITED: u64 = 1 << 60;
/// Memory that a recording takes beside its rings: the largest of those that were measured, and some room.
const BESIDE: u64 = 256 << 20;
const MIB: u64 = 1 << 20;

/// What a recording takes by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    /// Files that it has open at most.
    pub files: u64,
    /// Number of rings.
    pub rings: u64,
    /// Bytes of each.
    pub ring_bytes: u64,
}

/// `hard` is the limit up to which a process may raise the number of its open files.
pub(super) fn open_files(hard: u64, takes: Takes) -> Finding {
    const NAME: &str = "open files";
    let needed = takes.files;
    if hard >= needed {
        return Finding::ok(NAME, format!("{hard} allowed; a recording has {needed} at most"));
    }
    Finding::new(NAME, Status::Warn, format!("{hard} allowed, and a recording of all events may have {needed}"))
        .consequence("mmtrace cannot attach every program, and then does not record.")
        .fix(
            "as root, ulimit -n 4096; in a systemd unit, LimitNOFILE=4096; docker or podman run --ulimit nofile=4096; or \
             select fewer events with -e",
        )
}

/// Memory that a cgroup may still take, and the cgroup that limits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    limit: u64,
    used: u64,
    folder: PathBuf,
}

/// Finds the cgroup with the least room among those that this process's memory counts to; `None` if none is limited.
pub(super) fn memory_room(root: &Path, mounts: &[Mount]) -> Option<Room> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    // `ID:CONTROLLERS:PATH` (cgroups(7)); v2 has the id 0 and no controllers.
    let path_of = |wanted: &dyn Fn(&str, &str) -> bool| {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (id, controllers) = (fields.next()?, fields.next()?);
            let path = fields.next()?;
            wanted(id, controllers).then(|| path.to_owned())
        })
    };
    let v1 = of_type(mounts, "cgroup").find(|mount| mount.options.split(',').any(|option| option == "memory"));
    let (mount, path, files) = match v1 {
        Some(mount) => {
            let path = path_of(&|_, controllers| controllers.split(',').any(|name| name == "memory"))?;
            (mount, path, [("memory.limit_in_bytes", "memory.usage_in_bytes")].as_slice())
        }
        None => {
            let path = path_of(&|id, controllers| id == "0" && controllers.is_empty())?;
            (
                super::mount::cgroup2(mounts)?,
                path,
                &[("memory.max", "memory.current"), ("memory.high", "memory.current")][..],
            )
        }
    };
    let below = Path::new(&path).strip_prefix(&mount.part).unwrap_or(Path::new(&path));
    let folder = mount.point.join(below.strip_prefix("/").unwrap_or(below));
    let number = |file: PathBuf| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let rooms = folder.ancestors().take_while(|folder| folder.starts_with(&mount.point)).flat_map(|folder| {
        files.iter().filter_map(move |(limit, used)| {
            let limit = number(folder.join(limit)).filter(|limit| *limit < UNLIMITED)?;
            Some(Room { limit, used: number(folder.join(used))?, folder: folder.to_path_buf() })
        })
    });
    rooms.min_by_key(|room| room.limit.saturating_sub(room.used))
}

/// Whether the rings find room in the cgroup. The kernel charges them to it since 5.11.
pub(super) fn memory(room: Option<&Room>, takes: Takes) -> Finding {
    const NAME: &str = "memory cgroup";
    let Some(Room { limit, used, folder }) = room else { return Finding::ok(NAME, "not limited") };
    let (left, needed) = (limit.saturating_sub(*used), takes.rings * takes.ring_bytes);
    let value = format!("{} MiB left of {} MiB in {}", left / MIB, limit / MIB, folder.display());
    if left >= needed + BESIDE {
        return Finding::ok(NAME, value);
    }
    // The largest power of two of which all rings fit.
    let fits = left.saturating_sub(BESIDE) / takes.rings.max(1) / MIB;
    let finding = Finding::new(NAME, Status::Warn, format!("{value}; the rings take {} MiB", needed / MIB)).consequence(
        "The kernel counts the rings to this cgroup. It refuses them, or kills a process of the cgroup, if they find no room.",
    );
    match fits.checked_ilog2() {
        Some(log) => finding.fix(format!("--buffer {}, or a higher limit of the cgroup", 1 << log)),
        None => {
            finding.fix("a higher limit of the cgroup: MemoryMax= in a systemd unit, docker or podman run --memory")
        }
    }
}
