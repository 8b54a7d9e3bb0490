//! Facts about what this user may and may not do on this machine right now: each is
//! checked, and one that stands in the way comes with its consequence and a fix.
//!
//! Facts come from files and from asking the kernel, never from the user id: a
//! process without uid 0 may hold `CAP_BPF`, and root in a container may not.
//! Nothing here changes the machine; mounts that are needed to read one file are
//! detached ones, which never appear in the mount tree.

pub mod cgroup;
mod cgroup_paths;
pub mod container;
mod facts;
mod finding;
mod limits;
mod mount;
mod permission;
mod preemption;
mod release;
mod syscall;
#[cfg(test)]
mod tests;

pub use cgroup_paths::CgroupPaths;
pub use facts::Lockdown;
pub use finding::{Finding, Status};
pub use limits::Takes;
pub use mount::{Tracefs, tracepoint_exists};
pub use permission::{Capabilities, Capability};
pub use preemption::Preemption;

use crate::confine;
use mmtrace_model::kernel_version::KernelVersion;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// First kernel that accounts the memory of maps and programs to cgroups, and no longer by `RLIMIT_MEMLOCK`.
const ACCOUNTED_MEMORY: KernelVersion = KernelVersion::new(5, 11);

/// Returns what stands in the way of a recording in the cgroup that limits this process's memory, if anything does.
#[must_use]
pub(crate) fn lack_of_memory(takes: Takes) -> Option<Finding> {
    let root = Path::new("/");
    let finding = limits::memory(limits::memory_room(root, &mount::mounts(root)).as_ref(), takes);
    (finding.status != Status::Ok).then_some(finding)
}

/// Everything that was found out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    /// The facts, in the order in which a user should solve them.
    pub(crate) findings: Vec<Finding>,
    /// `uname -r`; empty when unknown.
    pub(crate) release: String,
    /// Whether tasks are preempted in the kernel.
    pub(crate) preemption: Preemption,
    /// Whether this process is in the initial user namespace, the only one whose capabilities count for bpf(2).
    pub(crate) initial_user_namespace: Option<bool>,
    /// Whether process ids here are those that events carry.
    pub(crate) initial_pid_namespace: Option<bool>,
    /// The capabilities of this process.
    pub(crate) capabilities: Option<Capabilities>,
    /// The state of the lockdown LSM.
    pub(crate) lockdown: Lockdown,
    /// Whether the kernel, when asked, created a ring buffer and accepted a program that reads its memory.
    pub(crate) bpf_permitted: bool,
    /// Whether the kernel's BTF is there and sound.
    pub(crate) btf: bool,
    /// Whether `RLIMIT_MEMLOCK` limits maps and programs, as it does before 5.11.
    pub(crate) memlock_matters: bool,
    /// Mount point of tracefs.
    pub(crate) tracefs: Option<PathBuf>,
    /// Mount point of the cgroup v2 hierarchy.
    pub(crate) cgroup2: Option<PathBuf>,
}

impl Environment {
    /// Looks at everything. Takes some milliseconds; leaves nothing behind.
    #[must_use]
    pub(crate) fn examine() -> Self {
        Self::examine_for(None)
    }

    /// As [`Environment::examine`], with what only `doctor` tells: facts that a recording does well without. `symbols`: whether
    /// the kernel shows addresses of its symbols; `takes`: what a recording takes by default.
    #[must_use]
    pub(crate) fn examine_all(symbols: Option<bool>, takes: Takes) -> Self {
        Self::examine_for(Some((symbols, takes)))
    }

    fn examine_for(recording: Option<(Option<bool>, Takes)>) -> Self {
        let root = Path::new("/");
        let (release, kernel) = facts::kernel(root);
        let version = release.parse::<KernelVersion>().ok();
        let status = permission::process_status(root);
        let mounts = mount::mounts(root);
        let capabilities = status.capabilities();
        let (initial_user_namespace, user_namespace) = facts::user_namespace(root);
        let (initial_pid_namespace, pid_namespace) = facts::pid_namespace(root);
        let bpf = permission::check_bpf();
        let read_lockdown = || mount::read_detached(c"securityfs", c"lockdown");
        let (lockdown, lockdown_finding) = facts::lockdown(&mounts, read_lockdown, bpf.is_ok());
        let (btf, btf_finding) = facts::btf(root);
        let preemption = Preemption::read(root, || preemption::switch(&mounts));
        let memlock_matters = version.is_some_and(|version| version < ACCOUNTED_MEMORY);

        let known =
            permission::Circumstances { status: &status, initial_user_namespace, lockdown: &lockdown, memlock_matters };
        let mut findings = vec![
            kernel,
            user_namespace,
            permission::capabilities(&status, initial_user_namespace, &permission::own_name()),
            lockdown_finding,
            permission::bpf(&bpf, &known),
            btf_finding,
            facts::jit(root),
            preemption.finding(),
        ];
        if memlock_matters {
            findings.push(permission::memlock(syscall::memlock_limit(), capabilities));
        }
        findings.extend(facts::selinux(root, version));
        findings.push(pid_namespace);
        let (tracefs, tracefs_finding) = facts::tracefs(&mounts);
        let (cgroup2, cgroup_finding) = facts::cgroup2(&mounts);
        findings.extend([tracefs_finding, cgroup_finding]);
        findings.extend([facts::unprivileged_bpf(root), facts::perf_event_paranoid(root)]);
        if let Some((symbols, takes)) = recording {
            let may_look = capabilities.is_some_and(|set| set.has(Capability::SysPtrace));
            let tried = permission::Tried::now(root, cgroup2.as_deref());
            findings.extend(permission::useful(&status, initial_user_namespace, tried));
            findings.extend([facts::kptr_restrict(root, symbols), facts::hidepid(&mounts, may_look)]);
            findings.extend(syscall::open_files_limit().ok().map(|hard| limits::open_files(hard, takes)));
            findings.push(limits::memory(limits::memory_room(root, &mounts).as_ref(), takes));
            findings.push(facts::confinement(&confine::offered()));
        }
        Self {
            findings,
            release,
            preemption,
            initial_user_namespace,
            initial_pid_namespace,
            capabilities,
            lockdown,
            bpf_permitted: bpf.is_ok(),
            btf,
            memlock_matters,
            tracefs,
            cgroup2,
        }
    }

    /// The first fact that makes recording impossible; the others may follow from it.
    #[must_use]
    pub(crate) fn blocking(&self) -> Option<&Finding> {
        self.findings.iter().find(|f| f.status == Status::Fail)
    }
}
