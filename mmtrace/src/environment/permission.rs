//! Whether this process may use bpf(2): its capabilities, and what the kernel says when asked.

use super::{
    facts::{self, Lockdown},
    finding::{Finding, Status},
    syscall,
};
use serde::Serialize;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

/// A capability that matters here (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `CAP_DAC_READ_SEARCH`: read files whatever their mode.
    DacReadSearch = 2,
    /// `CAP_SYS_PTRACE`: look into other users' processes.
    SysPtrace = 19,
    /// `CAP_SYS_ADMIN`: implies `CAP_BPF`, `CAP_PERFMON` and `CAP_CHECKPOINT_RESTORE`.
    SysAdmin = 21,
    /// `CAP_SYS_RESOURCE`: raise resource limits.
    SysResource = 24,
    /// `CAP_SYSLOG`: addresses of kernel symbols.
    Syslog = 34,
    /// `CAP_PERFMON`: programs that read kernel memory, and that attach to tracepoints.
    Perfmon = 38,
    /// `CAP_BPF`: maps, programs, BTF.
    Bpf = 39,
    /// `CAP_CHECKPOINT_RESTORE`: open the files that a process has mapped.
    CheckpointRestore = 40,
}

/// A set of capabilities, as in `CapEff` of `/proc/self/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities(pub(crate) u64);

impl Capabilities {
    /// Whether this very capability is in the set.
    #[must_use]
    pub(crate) const fn has(self, capability: Capability) -> bool {
        self.0 >> capability as u8 & 1 == 1
    }

    /// Whether the set suffices to load and attach the probes.
    #[must_use]
    pub(crate) const fn may_record(self) -> bool {
        self.has(Capability::SysAdmin) || self.has(Capability::Bpf) && self.has(Capability::Perfmon)
    }
}

/// The permissions in `/proc/self/status`; a field is `None` where the file or the line is missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessStatus {
    effective: Option<u64>,
    bounding: Option<u64>,
    no_new_privs: bool,
    /// A seccomp filter is installed.
    filtered: bool,
}

impl ProcessStatus {
    pub(super) fn capabilities(&self) -> Option<Capabilities> {
        self.effective.map(Capabilities)
    }
}

pub(super) fn process_status(root: &Path) -> ProcessStatus {
    let text = std::fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let field = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()));
    let set = |name| field(name).and_then(|value| u64::from_str_radix(value, 16).ok());
    ProcessStatus {
        effective: set("CapEff"),
        bounding: set("CapBnd"),
        no_new_privs: field("NoNewPrivs") == Some("1"),
        filtered: field("Seccomp") == Some("2"),
    }
}

/// Returns the name of this program for a command that a user is to copy.
pub(super) fn own_name() -> String {
    std::env::current_exe().map_or_else(|_| "mmtrace".to_owned(), |path| path.display().to_string())
}

/// `program` is the path of the executable, for setcap.
pub(super) fn capabilities(status: &ProcessStatus, initial_namespace: Option<bool>, program: &str) -> Finding {
    const NAME: &str = "capabilities";
    let Some(effective) = status.capabilities() else {
        return Finding::new(NAME, Status::Unknown, "mmtrace cannot read /proc/self/status")
            .consequence("The line bpf(2) below says whether this process may load programs.")
            .fix("mount -t proc proc /proc");
    };
    if effective.may_record() {
        let value = if effective.has(Capability::SysAdmin) {
            "CAP_SYS_ADMIN, which includes CAP_BPF and CAP_PERFMON"
        } else {
            "CAP_BPF and CAP_PERFMON"
        };
        return if initial_namespace == Some(false) {
            Finding::new(NAME, Status::Warn, format!("{value}, but only inside this user namespace"))
        } else {
            Finding::ok(NAME, value)
        };
    }
    let value = match (effective.has(Capability::Bpf), effective.has(Capability::Perfmon)) {
        (true, _) => "CAP_PERFMON is missing",
        (_, true) => "CAP_BPF is missing",
        _ => "CAP_BPF and CAP_PERFMON are missing",
    };
    let obtainable = status.bounding.is_none_or(|set| Capabilities(set).may_record());
    let fix = if !obtainable {
        "the bounding set of this process lacks them, so neither sudo nor setcap can grant them; grant them where the \
         session starts: docker run --cap-add BPF --cap-add PERFMON for a container, or CapabilityBoundingSet= and \
         AmbientCapabilities= in a systemd unit"
            .to_owned()
    } else if status.no_new_privs {
        "no_new_privs is set on this process, so neither sudo nor setcap can grant them; start mmtrace from a session \
         without it (systemd: NoNewPrivileges=no; docker: without --security-opt no-new-privileges)"
            .to_owned()
    } else {
        format!(
            "run mmtrace with sudo, or grant the capabilities to it once: sudo setcap cap_bpf,cap_perfmon+ep {program}"
        )
    };
    Finding::new(NAME, Status::Fail, value)
        .consequence("The kernel does not let this process load BPF programs that read kernel memory.")
        .fix(fix)
}

/// A capability that a recording can do without.
struct Useful {
    name: &'static str,
    capability: Capability,
    /// What it is for.
    allows: &'static str,
    /// The consequence of its lack, a sentence.
    without: &'static str,
}

/// The capabilities beside `CAP_BPF` and `CAP_PERFMON` that a recording uses. Where something else allows the same, as an
/// own process or an open `kernel.kptr_restrict` does, the lack of one changes nothing.
const USEFUL: [Useful; 4] = [
    Useful {
        name: "CAP_SYSLOG",
        capability: Capability::Syslog,
        allows: "addresses of kernel symbols",
        without: "Unless kernel.kptr_restrict shows addresses to everybody, mmtrace leaves out what it needs them for.",
    },
    Useful {
        name: "CAP_SYS_PTRACE",
        capability: Capability::SysPtrace,
        allows: "mappings of other users' processes",
        without: "Mappings of other users' processes that are older than the recording have no names, nor have their functions.",
    },
    Useful {
        name: "CAP_CHECKPOINT_RESTORE",
        capability: Capability::CheckpointRestore,
        allows: "files that a process has mapped, whatever their paths are",
        without: "Functions have no names in files that were replaced or removed, or are in another container.",
    },
    Useful {
        name: "CAP_DAC_READ_SEARCH",
        capability: Capability::DacReadSearch,
        allows: "paths of cgroups by their ids, and files in closed folders",
        without: "mmtrace walks through the cgroup hierarchy once a second, so cgroups that end before have no names; nor \
                  have functions in files that this user may not read.",
    },
];

/// What came of trying what a capability is for; `None` if there was nothing to try it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tried {
    /// Opening the mappings of other processes.
    pub(super) mappings: Option<bool>,
    /// Opening a cgroup by its id.
    pub(super) cgroups: Option<bool>,
}

/// Processes that are tried, and how many must be closed where none is open.
const OTHERS: usize = 64;
const REFUSED: usize = 3;

impl Tried {
    /// Tries. `root` stands for `/`; `cgroup2` is where the hierarchy is mounted.
    pub(super) fn now(root: &Path, cgroup2: Option<&Path>) -> Self {
        let is_open = |result: io::Result<()>| match result {
            Ok(()) => Some(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(false),
            Err(_) => None,
        };
        let own = std::process::id();
        let pids = std::fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
        // A kernel thread has no memory, and no mappings that could be closed.
        let has_memory = |pid: &u32| {
            let size = std::fs::read(root.join(format!("proc/{pid}/statm")));
            size.is_ok_and(|size| !size.starts_with(b"0 "))
        };
        let mut others: Vec<u32> = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        // The newest first: the oldest are kernel threads.
        others.sort_unstable_by(|a, b| b.cmp(a));
        let others = others.into_iter().filter(|pid| *pid != own).filter(has_memory);
        let opened =
            others.take(OTHERS).map(|pid| is_open(File::open(root.join(format!("proc/{pid}/maps"))).map(drop)));
        // Some processes are closed to everybody, as the first one of some machines.
        let mut refused = 0;
        let mappings = opened.flatten().find(|open| {
            refused += usize::from(!open);
            *open
        });
        let mappings = mappings.or((refused >= REFUSED).then_some(false));
        let cgroups = cgroup2.and_then(|folder| {
            let (id, folder) = (facts::inode(folder).ok()?, File::open(folder).ok()?);
            is_open(syscall::open_cgroup(folder.as_fd(), id).map(drop))
        });
        Self { mappings, cgroups }
    }

    const fn of(self, capability: Capability) -> Option<bool> {
        match capability {
            Capability::SysPtrace => self.mappings,
            Capability::DacReadSearch => self.cgroups,
            _ => None,
        }
    }
}

/// One fact for each capability that a recording can do without.
pub(super) fn useful(status: &ProcessStatus, initial_namespace: Option<bool>, tried: Tried) -> Vec<Finding> {
    let Some(effective) = status.capabilities() else { return Vec::new() };
    let finding = |Useful { name, capability, allows, without }: &Useful| {
        let implied = *capability == Capability::CheckpointRestore && effective.has(Capability::SysAdmin);
        if initial_namespace == Some(false) && (implied || effective.has(*capability)) {
            return Finding::new(name, Status::Warn, "there, but only inside this user namespace")
                .consequence(*without)
                .fix("run mmtrace in the initial user namespace, as the host's root has it");
        }
        if implied || effective.has(*capability) {
            if tried.of(*capability) != Some(false) {
                return Finding::ok(name, *allows);
            }
            return Finding::new(name, Status::Warn, "there, and the kernel refuses what it is for all the same")
                .consequence(*without)
                .fix(
                    "a security policy (AppArmor, SELinux or another), or the seccomp filter of a container forbids it: \
                     docker or podman run --security-opt apparmor=unconfined",
                );
        }
        let add = name.strip_prefix("CAP_").unwrap_or(name);
        Finding::new(name, Status::Warn, "missing").consequence(*without).fix(format!(
            "run mmtrace with sudo, or grant it: --cap-add {add} for a container, AmbientCapabilities={name} in a \
             systemd unit"
        ))
    };
    USEFUL.iter().map(finding).collect()
}

/// The request of [`check_bpf`] that the kernel refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) request: Request,
    pub(super) errno: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    RingBuffer,
    Program,
    /// A program that calls `bpf_probe_read_kernel()`.
    Reader,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RingBuffer => "create a ring buffer",
            Self::Program => "load a program",
            Self::Reader => "load a program that reads kernel memory",
        })
    }
}

/// Makes what a recording makes, as small as it gets, and drops it again. A plain
/// array map would prove little: where `kernel.unprivileged_bpf_disabled` is 0,
/// everyone may have one.
pub(super) fn check_bpf() -> Result<(), Refused> {
    let refused = |request| move |e: io::Error| Refused { request, errno: e.raw_os_error().unwrap_or(0) };
    syscall::create_ring_buffer().map_err(refused(Request::RingBuffer))?;
    syscall::load_program(syscall::IDLE).map_err(refused(Request::Program))?;
    syscall::load_program(syscall::READER).map_err(refused(Request::Reader))?;
    Ok(())
}

/// Facts that explain why bpf(2) refuses.
pub(super) struct Circumstances<'a> {
    pub(super) status: &'a ProcessStatus,
    pub(super) initial_user_namespace: Option<bool>,
    pub(super) lockdown: &'a Lockdown,
    pub(super) memlock_matters: bool,
}

pub(super) fn bpf(result: &Result<(), Refused>, known: &Circumstances<'_>) -> Finding {
    const NAME: &str = "bpf(2)";
    const UNCONFINED: &str = "docker or podman run --security-opt seccomp=unconfined";
    let Err(Refused { request, errno }) = result else {
        return Finding::ok(NAME, "permitted: ring buffers, programs, and programs that read kernel memory");
    };
    let error = io::Error::from_raw_os_error(*errno);
    let finding = Finding::new(NAME, Status::Fail, format!("the kernel refuses to {request}: {error}"));
    let status = known.status;
    let may = status.capabilities().is_some_and(Capabilities::may_record);
    match (*errno, *request) {
        (libc::ENOSYS, _) if status.filtered => finding
            .consequence("A seccomp filter, usually that of a container, blocks bpf(2), or the kernel was built without it.")
            .fix(UNCONFINED),
        (libc::ENOSYS, _) => {
            finding.consequence("The kernel was built without bpf(2).").fix("boot a kernel built with CONFIG_BPF_SYSCALL=y")
        }
        (libc::EINVAL, Request::RingBuffer) => finding
            .consequence("The kernel has no BPF ring buffers, which Linux has since 5.8.")
            .fix("boot Linux 5.8 or later"),
        (_, Request::Reader) if *known.lockdown == Lockdown::Confidentiality => {
            finding.consequence("lockdown is the reason, see above.")
        }
        (libc::EINVAL | libc::EACCES, Request::Reader) if matches!(known.lockdown, Lockdown::Unknown(_)) => finding
            .consequence("A kernel under lockdown=confidentiality answers like this; then recording is impossible.")
            .fix("see the line lockdown above"),
        (libc::EPERM | libc::EACCES, _) if known.initial_user_namespace == Some(false) => {
            finding.consequence("The user namespace is the reason, see above.")
        }
        (libc::EPERM | libc::EACCES, _) if status.effective.is_some() && !may => {
            finding.consequence("The missing capabilities are the reason, see above.")
        }
        (libc::EPERM | libc::EACCES, _) if status.filtered => finding
            .consequence("This process has the capabilities, but the seccomp filter of a container or service forbids bpf(2).")
            .fix(format!("{UNCONFINED}; in a systemd unit, SystemCallFilter=bpf")),
        (libc::EPERM, Request::RingBuffer) if known.memlock_matters => finding
            .consequence("This process has the capabilities, but its limit on locked memory is too low, or a security policy forbids bpf(2).")
            .fix("ulimit -l unlimited"),
        (libc::EPERM | libc::EACCES, _) => finding
            .consequence("This process has the capabilities, but a security policy (SELinux, AppArmor or another) forbids bpf(2).")
            .fix("find the denial, and allow bpf(2) in the policy: ausearch -m avc -ts recent, or journalctl -k -g denied"),
        _ => finding.consequence("Recording needs bpf(2)."),
    }
}

/// Before 5.11 maps and programs are charged to `RLIMIT_MEMLOCK`. `limit` in bytes.
pub(super) fn memlock(limit: io::Result<u64>, capabilities: Option<Capabilities>) -> Finding {
    const NAME: &str = "locked memory";
    /// Ring buffer and programs, with room.
    const ENOUGH: u64 = 64 << 20;
    match limit {
        Err(e) => Finding::new(NAME, Status::Unknown, format!("mmtrace cannot read the limit: {e}")),
        Ok(u64::MAX) => Finding::ok(NAME, "unlimited"),
        Ok(bytes) if bytes >= ENOUGH => Finding::ok(NAME, format!("{} MiB", bytes >> 20)),
        Ok(bytes) if capabilities.is_some_and(|set| set.has(Capability::SysResource)) => {
            Finding::ok(NAME, format!("{} KiB, which this process may raise (CAP_SYS_RESOURCE)", bytes >> 10))
        }
        Ok(bytes) => Finding::new(NAME, Status::Warn, format!("limited to {} KiB", bytes >> 10))
            .consequence(
                "Before Linux 5.11, ring buffers count against this limit, and the kernel may refuse to create them.",
            )
            .fix("ulimit -l unlimited"),
    }
}
