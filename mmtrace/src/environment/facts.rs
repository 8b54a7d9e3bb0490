//! Facts that stand in files. Each function takes the directory that stands for `/`.

use super::mount::{self, Mount, of_type};
use super::{
    finding::{Finding, Status},
    release,
};
use crate::{
    btf::{Btf, BtfError, KERNEL_BTF},
    confine::Confined,
};
use mmtrace_model::{
    examined_kernels::{EXAMINED_KERNELS, ExaminedKernel, listed},
    kernel_version::KernelVersion,
};
use serde::Serialize;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Inode of the initial user namespace, `PROC_USER_INIT_INO` (include/linux/proc_ns.h).
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;
/// Inode of the initial pid namespace, `PROC_PID_INIT_INO`.
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;
/// Inode of the initial cgroup namespace, `PROC_CGROUP_INIT_INO`.
const INITIAL_CGROUP_NAMESPACE: u64 = 0xefff_fffb;

/// First kernel with BPF ring buffers.
const RING_BUFFERS: KernelVersion = KernelVersion::new(5, 8);

fn read(root: &Path, path: &str) -> io::Result<String> {
    fs::read_to_string(root.join(path)).map(|text| text.trim().to_owned())
}

/// A setting as shown, or why it is not.
fn setting(root: &Path, path: &str) -> Result<String, String> {
    read(root, path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => format!("/{path} does not exist"),
        io::ErrorKind::PermissionDenied => format!("this user may not read /{path}"),
        _ => format!("/{path}: {e}"),
    })
}

/// `uname -r`, and whether this kernel is new enough.
pub(super) fn kernel(root: &Path) -> (String, Finding) {
    const NAME: &str = "kernel";
    let release = match setting(root, release::FILE) {
        Ok(release) => release,
        Err(why) => return (String::new(), Finding::new(NAME, Status::Unknown, why)),
    };
    let finding = match release.parse::<KernelVersion>() {
        Err(_) => Finding::new(NAME, Status::Unknown, release.clone()),
        Ok(version) if version < RING_BUFFERS => Finding::new(NAME, Status::Fail, release.clone())
            .consequence(format!("mmtrace needs BPF ring buffers, which came with Linux {RING_BUFFERS}."))
            .fix("boot a newer kernel"),
        Ok(version) if ExaminedKernel::find(version).is_none_or(|kernel| !kernel.has_rules_read) => {
            Finding::ok(NAME, release.clone()).consequence(format!(
                "The rules were read in the sources of Linux {}, not in those of {version}.",
                listed(EXAMINED_KERNELS.iter().filter(|kernel| kernel.has_rules_read))
            ))
        }
        Ok(_) => Finding::ok(NAME, release.clone()),
    };
    (release, finding)
}

/// Inode of a namespace of this process, from the link `user:[4026531837]`.
fn namespace(root: &Path, name: &str) -> Option<u64> {
    let link = fs::read_link(root.join("proc/self/ns").join(name)).ok()?;
    let link = link.to_str()?.strip_prefix(name)?.strip_prefix(":[")?.strip_suffix(']')?;
    link.parse().ok()
}

/// Whether this process is in the initial cgroup namespace.
pub(super) fn initial_cgroup_namespace(root: &Path) -> Option<bool> {
    Some(namespace(root, "cgroup")? == INITIAL_CGROUP_NAMESPACE)
}

pub(super) fn user_namespace(root: &Path) -> (Option<bool>, Finding) {
    const NAME: &str = "user namespace";
    let initial = match namespace(root, "user") {
        Some(inode) => Some(inode == INITIAL_USER_NAMESPACE),
        // A map of less than everything is proof of a namespace; the whole map could be copied.
        None => match read(root, "proc/self/uid_map") {
            Ok(map) if !map.split_ascii_whitespace().eq(["0", "0", "4294967295"]) => Some(false),
            _ => None,
        },
    };
    let finding = match initial {
        Some(true) => Finding::ok(NAME, "initial"),
        Some(false) => Finding::new(NAME, Status::Fail, "not the initial one: this is a rootless container, or unshare -U")
            .consequence("The capabilities of this process count only inside its namespace, and bpf(2) asks for those outside.")
            .fix("run mmtrace on the host, or in a container without a user namespace: sudo podman run --userns=host, or docker run --userns=host"),
        None => Finding::new(NAME, Status::Unknown, "mmtrace cannot read /proc/self/ns/user"),
    };
    (initial, finding)
}

pub(super) fn pid_namespace(root: &Path) -> (Option<bool>, Finding) {
    const NAME: &str = "pid namespace";
    let initial = namespace(root, "pid").map(|inode| inode == INITIAL_PID_NAMESPACE);
    let finding = match initial {
        Some(true) => Finding::ok(NAME, "initial"),
        Some(false) => Finding::new(NAME, Status::Warn, "not the initial one: this is a container")
            .consequence("Events and reports show the host's process ids, and ps shows other ids here.")
            .fix("none is needed for -p and for commands; to record processes outside: -G CGROUP, --container NAME or --comm NAME; to see the same ids everywhere, start the container with docker or podman run --pid=host"),
        None => Finding::new(NAME, Status::Unknown, "mmtrace cannot read /proc/self/ns/pid")
            .consequence("Events and reports show the host's process ids; in a container, ps shows other ids."),
    };
    (initial, finding)
}

/// The state of the lockdown LSM (kernel_lockdown(7)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lockdown {
    /// Nothing.
    None,
    /// Changes to the running kernel. Reading it stays allowed.
    Integrity,
    /// Reading kernel memory as well, BPF's probe reads among it.
    Confidentiality,
    /// The kernel has no lockdown.
    NotBuiltIn,
    /// It could not be found out, for this reason.
    Unknown(String),
}

/// From `none [integrity] confidentiality`.
fn parse_lockdown(text: &str) -> Lockdown {
    let selected = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    match selected.map(|(word, _)| word) {
        Some("none") => Lockdown::None,
        Some("integrity") => Lockdown::Integrity,
        Some("confidentiality") => Lockdown::Confidentiality,
        _ => Lockdown::Unknown(format!("mmtrace does not know the text `{}`", text.trim())),
    }
}

/// `detached` reads the file through a mount of securityfs of its own, for where there is none.
/// `may_read`: the kernel has accepted a program that reads its memory.
pub(super) fn lockdown(
    mounts: &[Mount],
    detached: impl FnOnce() -> io::Result<String>,
    may_read: bool,
) -> (Lockdown, Finding) {
    const NAME: &str = "lockdown";
    let point = of_type(mounts, "securityfs").next().map(|m| m.point.as_path());
    let text = point.map_or_else(detached, |point| fs::read_to_string(point.join("lockdown")));
    let state = match (text, point) {
        (Ok(text), _) => parse_lockdown(&text),
        (Err(e), _) if e.kind() == io::ErrorKind::NotFound => Lockdown::NotBuiltIn,
        // The kernel has no securityfs, and hence no lockdown either.
        (Err(e), None) if e.raw_os_error() == Some(libc::ENODEV) => Lockdown::NotBuiltIn,
        (Err(e), None) if e.raw_os_error() == Some(libc::EPERM) => {
            Lockdown::Unknown("securityfs is not mounted, and this process lacks CAP_SYS_ADMIN to mount it".to_owned())
        }
        (Err(e), None) => Lockdown::Unknown(format!("securityfs is not mounted, and mounting it failed: {e}")),
        (Err(e), Some(point)) => Lockdown::Unknown(format!("{}: {e}", point.join("lockdown").display())),
    };
    let finding = match &state {
        Lockdown::None => Finding::ok(NAME, "none"),
        Lockdown::NotBuiltIn => Finding::ok(NAME, "not built in"),
        Lockdown::Integrity => Finding::ok(NAME, "integrity, which allows everything that mmtrace does"),
        Lockdown::Confidentiality => Finding::new(NAME, Status::Fail, "confidentiality")
            .consequence("The kernel lets no BPF program read kernel memory, so nobody can record, not even root.")
            .fix("boot with lockdown=integrity, or without lockdown= on the kernel's command line; a running kernel cannot lower it"),
        Lockdown::Unknown(why) if may_read => Finding::ok(
            NAME,
            format!("not confidentiality, since a BPF program may read kernel memory; mmtrace cannot tell more: {why}"),
        ),
        Lockdown::Unknown(why) => Finding::new(NAME, Status::Unknown, format!("mmtrace cannot read it: {why}"))
            .consequence("If lockdown is `confidentiality`, recording is impossible.")
            .fix("sudo mount -t securityfs securityfs /sys/kernel/security"),
    };
    (state, finding)
}

pub(super) fn btf(root: &Path) -> (bool, Finding) {
    const NAME: &str = "BTF";
    let path = root.join(KERNEL_BTF.trim_start_matches('/'));
    let finding = match Btf::from_file(&path) {
        Ok(btf) => return (true, Finding::ok(NAME, format!("{} types", btf.types()))),
        Err(BtfError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Finding::new(NAME, Status::Fail, format!("{KERNEL_BTF} does not exist")).fix(
                "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y; if /sys is not mounted: mount -t sysfs sysfs /sys",
            )
        }
        Err(BtfError::Io { source, .. }) => {
            Finding::new(NAME, Status::Fail, format!("mmtrace cannot read {KERNEL_BTF}: {source}"))
                .fix("let this process read the file, which everybody may read on the host")
        }
        Err(e) => Finding::new(NAME, Status::Fail, format!("{KERNEL_BTF}: {e}")),
    };
    let why = "BTF describes this kernel's structs and events. Without it, mmtrace does not know where a value lies.";
    (false, finding.consequence(why))
}

pub(super) fn jit(root: &Path) -> Finding {
    const NAME: &str = "BPF JIT";
    match setting(root, "proc/sys/net/core/bpf_jit_enable") {
        Ok(value) if value == "0" => Finding::new(NAME, Status::Warn, "off (net.core.bpf_jit_enable = 0)")
            .consequence(
                "The kernel interprets the eBPF programs, which then cost the traced programs several times as much.",
            )
            .fix("sudo sysctl net.core.bpf_jit_enable=1"),
        Ok(value) => Finding::ok(NAME, format!("on (net.core.bpf_jit_enable = {value})")),
        Err(why) => Finding::new(NAME, Status::Unknown, why)
            .consequence("If the JIT is off, the eBPF programs run several times slower."),
    }
}

/// Said only where it applies: each probe read asked SELinux from 5.6 to 5.12.
pub(super) fn selinux(root: &Path, version: Option<KernelVersion>) -> Option<Finding> {
    const ASKS: RangeInclusive<KernelVersion> = KernelVersion::new(5, 6)..=KernelVersion::new(5, 12);
    if !version.is_some_and(|version| ASKS.contains(&version)) || !root.join("sys/fs/selinux/enforce").exists() {
        return None;
    }
    let finding = Finding::new("SELinux", Status::Warn, "active, on a kernel between 5.6 and 5.12")
        .consequence(
            "On these kernels, each read of kernel memory by a BPF program may write an audit record. So many \
             records can use up the machine's memory.",
        )
        .fix("switch auditing off while you record (sudo auditctl -e 0), or boot Linux 5.13 or later");
    Some(finding)
}

pub(super) fn tracefs(mounts: &[Mount]) -> (Option<PathBuf>, Finding) {
    const NAME: &str = "tracefs";
    let Some(mount) = of_type(mounts, "tracefs").next() else {
        return (None, Finding::ok(NAME, "not mounted; recording does not need it"));
    };
    let point = mount.point.clone();
    let value = match fs::read_dir(point.join("events")) {
        Ok(_) => point.display().to_string(),
        Err(e) => format!("{}, which mmtrace cannot read: {e}; recording does not need it", point.display()),
    };
    (Some(point), Finding::ok(NAME, value))
}

pub(super) fn cgroup2(mounts: &[Mount]) -> (Option<PathBuf>, Finding) {
    const NAME: &str = "cgroup v2";
    match mount::cgroup2(mounts) {
        Some(mount) => (Some(mount.point.clone()), Finding::ok(NAME, mount.point.display().to_string())),
        None => {
            let finding = Finding::new(NAME, Status::Warn, "not mounted")
                .consequence("The option -G cannot be used, and reports do not say in which cgroup a task is; everything else works.")
                .fix("sudo mkdir -p /run/cgroup2 && sudo mount -t cgroup2 cgroup2 /run/cgroup2");
            (None, finding)
        }
    }
}

pub(super) fn unprivileged_bpf(root: &Path) -> Finding {
    const NAME: &str = "kernel.unprivileged_bpf_disabled";
    match setting(root, "proc/sys/kernel/unprivileged_bpf_disabled") {
        Ok(value) => {
            Finding::ok(NAME, format!("{value}; it does not matter, since mmtrace needs capabilities in any case"))
        }
        Err(why) => Finding::ok(NAME, format!("{why}; it does not matter")),
    }
}

pub(super) fn perf_event_paranoid(root: &Path) -> Finding {
    const NAME: &str = "kernel.perf_event_paranoid";
    match setting(root, "proc/sys/kernel/perf_event_paranoid") {
        Ok(value) => {
            Finding::ok(NAME, format!("{value}; it does not matter, since mmtrace needs CAP_PERFMON in any case"))
        }
        Err(why) => Finding::ok(NAME, format!("{why}; it does not matter")),
    }
}

/// Whether the kernel tells this process addresses. `shown`: whether it did; `None` if it has no table of symbols.
pub(super) fn kptr_restrict(root: &Path, shown: Option<bool>) -> Finding {
    const NAME: &str = "kernel.kptr_restrict";
    let value = setting(root, "proc/sys/kernel/kptr_restrict").unwrap_or_else(|why| why);
    let finding = match shown {
        Some(true) => return Finding::ok(NAME, format!("{value}; this process sees the addresses of kernel symbols")),
        Some(false) => {
            Finding::new(NAME, Status::Warn, format!("{value}; the kernel hides the addresses of its symbols here"))
        }
        None => Finding::new(NAME, Status::Unknown, format!("{value}; mmtrace cannot read /proc/kallsyms")),
    };
    let finding = finding.consequence(
        "Events that need the address of a kernel variable are not recorded, even if the kernel has the variable.",
    );
    match value.as_str() {
        "2" => finding.fix("sudo sysctl kernel.kptr_restrict=1; with 2, nobody sees them"),
        _ => finding.fix("give mmtrace CAP_SYSLOG, as sudo does"),
    }
}

/// Whether /proc shows this process the processes of others.
pub(super) fn hidepid(mounts: &[Mount], may_look: bool) -> Finding {
    const NAME: &str = "hidepid";
    let proc = mounts.iter().rev().find(|mount| mount.point == Path::new("/proc"));
    let hidden = proc.and_then(|mount| mount.options.split(',').find_map(|option| option.strip_prefix("hidepid=")));
    match hidden {
        None | Some("0" | "off") => Finding::ok(NAME, "off: /proc shows every process"),
        Some(how) if may_look => Finding::ok(NAME, format!("{how}; CAP_SYS_PTRACE shows every process all the same")),
        Some(how) => Finding::new(NAME, Status::Warn, format!("/proc is mounted with hidepid={how}"))
            .consequence(
                "mmtrace sees no process of another user in /proc: -p refuses it, and its mappings from before the \
                 recording have no names. Its events are recorded.",
            )
            .fix("give mmtrace CAP_SYS_PTRACE, as sudo does; -G and --comm select without /proc"),
    }
}

/// What the kernel offers to confine a process that reads what strangers wrote.
pub(super) fn confinement(offered: &Confined) -> Finding {
    const NAME: &str = "confinement";
    let lacking: Vec<String> = [
        offered.folders.as_ref().err().map(|why| format!("landlock: {why}")),
        offered.system_calls.as_ref().err().map(|why| format!("seccomp: {why}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    match &offered.folders {
        Ok(version) if lacking.is_empty() => {
            Finding::ok(NAME, format!("landlock (version {version} of its interface) and seccomp"))
        }
        _ => Finding::new(NAME, Status::Warn, format!("not all of it: {}", lacking.join("; ")))
            .consequence(
                "mmtrace works. A capture or a file that exploits a bug in it could do more than without this lack.",
            )
            .fix(
                "boot a kernel with CONFIG_SECCOMP_FILTER and with landlock among lsm=; or record, and read captures, as a \
                 user of its own",
            ),
    }
}

/// Inode number: for kernfs on 64 bits, the id that BPF reports for a cgroup.
pub(super) fn inode(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|m| m.ino())
}
