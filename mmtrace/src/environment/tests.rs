use super::cgroup::{CgroupError, resolve, resolve_in};
use super::permission::{Circumstances, ProcessStatus, Refused, Request};
use super::*;
use crate::confine::Confined;
use mmtrace_model::kernel_version::KernelVersion;
use std::fs;
use std::io;
use tempfile::TempDir;

/// A directory that stands for `/`.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn link(self, path: &str, target: &str) -> Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    fn status(&self) -> ProcessStatus {
        permission::process_status(self.path())
    }
}

fn failed(number: i32) -> io::Result<String> {
    Err(io::Error::from_raw_os_error(number))
}

#[test]
fn kernel_versions() {
    let release = |release: &str| facts::kernel(Root::new().file("proc/sys/kernel/osrelease", release).path()).1.status;
    assert_eq!(release("6.18.44-fc-v669\n"), Status::Ok);
    assert_eq!(release("5.8.0"), Status::Ok);
    assert_eq!(release("5.7.19-generic"), Status::Fail);
    assert_eq!(release("next"), Status::Unknown);
    assert_eq!(facts::kernel(Root::new().path()).1.status, Status::Unknown);
}

#[test]
fn a_kernel_that_was_not_examined_is_told_from_those_that_were() {
    let consequence =
        |release: &str| facts::kernel(Root::new().file("proc/sys/kernel/osrelease", release).path()).1.consequence;
    assert_eq!(consequence("6.12.117+deb12\n"), None);
    let said = consequence("6.13-rc1\n").expect("no rule was read in 6.13");
    assert!(said.contains("6.1, 6.12 ") && said.contains("not in those of 6.13"), "{said}");
    assert!(consequence("5.7.19\n").expect("it has no ring buffers").contains("ring buffers"));
    assert_eq!(consequence("next\n"), None);
}

#[test]
fn the_preemption_model_is_what_the_kernel_says_of_itself() {
    let dynamic = "#1 SMP PREEMPT_DYNAMIC Debian 7.2.13-1\n";
    for (version, switch, command_line, model) in [
        (dynamic, Some("none voluntary full (lazy)\n"), "preempt=none", Some("lazy")),
        (dynamic, Some("(none) voluntary full\n"), "", Some("none")),
        (dynamic, None, "quiet preempt=full", Some("full")),
        (dynamic, None, "quiet preempt=none preempt=voluntary", Some("voluntary")),
        (dynamic, None, "quiet", None),
        ("", None, "", None),
        ("#1 SMP PREEMPT_RT", None, "", Some("full")),
        ("#1 SMP Debian 6.1.0", None, "preempt=full", Some("none or voluntary")),
    ] {
        let root = Root::new().file("proc/sys/kernel/version", version).file("proc/cmdline", command_line);
        let read = Preemption::read(root.path(), || switch.map(str::to_owned));
        assert_eq!(read.model.as_deref(), model, "{version} {switch:?} {command_line}");
        let never = matches!(model, Some("none" | "voluntary" | "none or voluntary"));
        assert_eq!(read.happens(), !never);
        assert_eq!(read.finding().consequence.is_some(), !never);
    }
    let root = Root::new()
        .file("proc/sys/kernel/version", dynamic)
        .file("proc/sys/kernel/osrelease", "6.12.117+deb12\n")
        .file("boot/config-6.12.117+deb12", "CONFIG_PREEMPT_DYNAMIC=y\nCONFIG_PREEMPT_VOLUNTARY=y\n");
    assert_eq!(Preemption::read(root.path(), || None).model.as_deref(), Some("voluntary"));
}

#[test]
fn namespaces() {
    let user = |root: Root| facts::user_namespace(root.path()).0;
    assert_eq!(user(Root::new().link("proc/self/ns/user", "user:[4026531837]")), Some(true));
    assert_eq!(user(Root::new().link("proc/self/ns/user", "user:[4026532291]")), Some(false));
    assert_eq!(user(Root::new().file("proc/self/uid_map", "         0       1000          1\n")), Some(false));
    assert_eq!(user(Root::new().file("proc/self/uid_map", "         0          0 4294967295\n")), None);
    assert_eq!(user(Root::new()), None);
    let pid = |root: Root| facts::pid_namespace(root.path()).1.status;
    assert_eq!(pid(Root::new().link("proc/self/ns/pid", "pid:[4026531836]")), Status::Ok);
    assert_eq!(pid(Root::new().link("proc/self/ns/pid", "pid:[4026532300]")), Status::Warn);
    assert_eq!(pid(Root::new()), Status::Unknown);
}

#[test]
fn capability_sets() {
    let finding = |status: &str| {
        permission::capabilities(&Root::new().file("proc/self/status", status).status(), Some(true), "/bin/mmtrace")
    };
    let value = |effective: u64| finding(&format!("CapEff:\t{effective:016x}\nCapBnd:\t000001ffffffffff\n")).value;
    assert!(value(1 << 21).starts_with("CAP_SYS_ADMIN"));
    assert_eq!(value(1 << 38 | 1 << 39), "CAP_BPF and CAP_PERFMON");
    assert_eq!(value(1 << 38), "CAP_BPF is missing");
    assert_eq!(value(1 << 39), "CAP_PERFMON is missing");
    assert_eq!(value(0), "CAP_BPF and CAP_PERFMON are missing");
    let fix = |status| finding(status).fix.unwrap();
    assert!(
        fix("CapEff:\t0\nCapBnd:\t000001ffffffffff\n").ends_with("sudo setcap cap_bpf,cap_perfmon+ep /bin/mmtrace")
    );
    assert!(fix("CapEff:\t0\nCapBnd:\ta80425fb\n").contains("--cap-add BPF --cap-add PERFMON"));
    assert!(fix("CapEff:\t0\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\n").contains("no_new_privs"));
    assert_eq!(finding("CapEff:\tx\n").status, Status::Unknown);
    assert_eq!(finding("").status, Status::Unknown);
}

#[test]
fn refusals_of_bpf_name_their_cause() {
    let full = "CapEff:\t000001ffffffffff\nSeccomp:\t0\n";
    let filtered = "CapEff:\t000001ffffffffff\nSeccomp:\t2\n";
    let none = "CapEff:\t0000000000000000\nSeccomp:\t2\n";
    let ask = |request, errno, status: &str, initial_user_namespace, lockdown: &Lockdown, memlock_matters| {
        let status = Root::new().file("proc/self/status", status).status();
        let known = Circumstances { status: &status, initial_user_namespace, lockdown, memlock_matters };
        let finding = permission::bpf(&Err(Refused { request, errno }), &known);
        assert_eq!(finding.status, Status::Fail);
        finding.consequence.unwrap()
    };
    let plain = |request, errno, status| ask(request, errno, status, Some(true), &Lockdown::None, false);
    let eperm = |status| plain(Request::Program, libc::EPERM, status);
    assert!(ask(Request::Program, libc::EPERM, full, Some(false), &Lockdown::None, false).contains("user namespace"));
    assert!(eperm(none).contains("missing capabilities"));
    assert!(eperm(filtered).contains("seccomp"));
    assert!(eperm(full).contains("security policy"));
    assert!(ask(Request::RingBuffer, libc::EPERM, full, None, &Lockdown::None, true).contains("locked memory"));
    assert!(plain(Request::RingBuffer, libc::EINVAL, full).contains("5.8"));
    assert!(plain(Request::RingBuffer, libc::ENOSYS, full).contains("built without bpf(2)"));
    assert!(plain(Request::RingBuffer, libc::ENOSYS, filtered).contains("seccomp"));
    let unknown = Lockdown::Unknown(String::new());
    assert!(ask(Request::Reader, libc::EINVAL, full, None, &unknown, false).contains("lockdown=confidentiality"));
    assert!(ask(Request::Reader, libc::EINVAL, full, None, &Lockdown::Confidentiality, false).contains("see above"));
    assert!(plain(Request::Program, libc::E2BIG, full).contains("Recording needs bpf(2)"));
    let status = ProcessStatus::default();
    let known = Circumstances {
        status: &status,
        initial_user_namespace: None,
        lockdown: &Lockdown::NotBuiltIn,
        memlock_matters: false,
    };
    assert_eq!(permission::bpf(&Ok(()), &known).status, Status::Ok);
}

#[test]
fn lockdown_is_read_where_securityfs_is_mounted() {
    let read = |text: &str| {
        let root = Root::new().file("security/lockdown", text);
        let line = format!("36 27 0:7 / {} rw - securityfs securityfs rw\n", root.path().join("security").display());
        let root = root.file("proc/self/mountinfo", line);
        facts::lockdown(&mount::mounts(root.path()), || unreachable!("it is mounted"), false)
    };
    assert_eq!(read("[none] integrity confidentiality\n").0, Lockdown::None);
    assert_eq!(read("none [integrity] confidentiality\n").0, Lockdown::Integrity);
    let (state, finding) = read("none integrity [confidentiality]\n");
    assert_eq!((state, finding.status), (Lockdown::Confidentiality, Status::Fail));
    let (state, finding) = read("none integrity\n");
    assert!(matches!(state, Lockdown::Unknown(_)));
    assert_eq!(finding.status, Status::Unknown);
}

#[test]
fn lockdown_is_read_through_a_mount_of_its_own_elsewhere() {
    let read = |result| facts::lockdown(&[], || result, false).0;
    assert_eq!(read(Ok("none [integrity] confidentiality\n".into())), Lockdown::Integrity);
    assert_eq!(read(failed(libc::ENOENT)), Lockdown::NotBuiltIn);
    assert_eq!(read(failed(libc::ENODEV)), Lockdown::NotBuiltIn);
    let Lockdown::Unknown(why) = read(failed(libc::EPERM)) else { panic!("guessed") };
    assert_eq!(why, "securityfs is not mounted, and this process lacks CAP_SYS_ADMIN to mount it");
    let status = |may_read| facts::lockdown(&[], || failed(libc::EPERM), may_read).1.status;
    assert_eq!((status(true), status(false)), (Status::Ok, Status::Unknown));
}

#[test]
fn files_that_are_missing_or_forbid() {
    let empty = Root::new();
    let (there, finding) = facts::btf(empty.path());
    assert!(!there);
    assert_eq!((finding.status, finding.value.as_str()), (Status::Fail, "/sys/kernel/btf/vmlinux does not exist"));
    let junk = Root::new().file("sys/kernel/btf/vmlinux", "junk");
    assert!(facts::btf(junk.path()).1.value.contains("not BTF"));

    assert_eq!(facts::jit(empty.path()).status, Status::Unknown);
    let jit = |value: &str| facts::jit(Root::new().file("proc/sys/net/core/bpf_jit_enable", value).path()).status;
    assert_eq!((jit("0\n"), jit("1\n"), jit("2\n")), (Status::Warn, Status::Ok, Status::Ok));

    let selinux = Root::new().file("sys/fs/selinux/enforce", "1");
    let version = |minor| Some(KernelVersion::new(5, minor));
    assert!(facts::selinux(selinux.path(), version(10)).is_some());
    assert!(facts::selinux(selinux.path(), version(13)).is_none());
    assert!(facts::selinux(selinux.path(), None).is_none());
    assert!(facts::selinux(empty.path(), version(10)).is_none());

    assert_eq!(permission::memlock(Ok(64 << 10), None).status, Status::Warn);
    assert_eq!(permission::memlock(Ok(64 << 10), Some(Capabilities(1 << 24))).status, Status::Ok);
    assert_eq!(permission::memlock(Ok(u64::MAX), None).status, Status::Ok);

    assert_eq!(facts::tracefs(&[]).1.status, Status::Ok);
    assert_eq!(facts::cgroup2(&[]).1.status, Status::Warn);
}

/// A hybrid setup under a temporary directory: v2 at `unified`, v1 at `memory`.
fn hybrid() -> Root {
    let root = Root::new();
    let base = root.path().canonicalize().unwrap();
    for dir in ["cg/unified/user.slice/a b.scope", "cg/memory/x", "elsewhere"] {
        fs::create_dir_all(base.join(dir)).unwrap();
    }
    let base = base.display();
    let mountinfo = format!(
        "30 1 0:1 / / rw - ext4 /dev/root rw\n\
         31 30 0:28 / {base}/cg rw,relatime shared:9 - tmpfs tmpfs rw\n\
         35 31 0:32 / {base}/cg/memory rw - cgroup cgroup rw,memory\n\
         41 31 0:38 /outer {base}/cg/unified rw shared:1 master:2 - cgroup2 cgroup2 rw,nsdelegate\n\
         truncated line\n"
    );
    root.file("proc/self/mountinfo", mountinfo).file("cg/unified/cgroup.procs", "")
}

#[test]
fn cgroups_by_name_and_by_path() {
    let root = hybrid().link("proc/self/ns/cgroup", "cgroup:[4026531835]");
    let base = root.path().canonicalize().unwrap();
    let found = |name: &str| resolve_in(root.path(), Path::new(name), |_| None).unwrap();
    let path = base.join("cg/unified/user.slice");
    // The hierarchy's part that is mounted lies at level 1.
    for name in ["user.slice", "/user.slice", "user.slice/", path.to_str().unwrap()] {
        let cgroup = found(name);
        assert_eq!((cgroup.level, &cgroup.path), (2, &path), "{name}");
        assert_eq!(cgroup.id, facts::inode(&path).unwrap());
    }
    assert_eq!(found("user.slice/a b.scope").level, 3);
    assert_eq!(found("/").level, 1);
}

#[test]
fn a_cgroup_namespace_is_placed_by_what_the_kernel_says_of_its_root() {
    let root = hybrid().link("proc/self/ns/cgroup", "cgroup:[4026532500]");
    let top = facts::inode(&root.path().join("cg/unified")).unwrap();
    let level_of = |id| (id == top).then_some(4);
    let cgroup = resolve_in(root.path(), Path::new("user.slice"), level_of).unwrap();
    assert_eq!(cgroup.level, 5);
    assert_eq!(cgroup.id, facts::inode(&cgroup.path).unwrap());
}

#[test]
fn cgroups_that_are_none() {
    let root = hybrid().link("proc/self/ns/cgroup", "cgroup:[4026531835]");
    let base = root.path().canonicalize().unwrap();
    let refused = |name: &str| resolve_in(root.path(), Path::new(name), |_| None).unwrap_err();
    assert!(matches!(refused("gone"), CgroupError::Absent { .. }));
    assert!(matches!(refused("cgroup.procs"), CgroupError::NotADirectory(_)));
    assert!(matches!(refused(base.join("elsewhere").to_str().unwrap()), CgroupError::Absent { .. }));
    assert!(matches!(refused("../../elsewhere"), CgroupError::Outside { .. }));
    let v1 = refused(base.join("cg/memory/x").to_str().unwrap()).to_string();
    assert!(v1.contains("cgroup v1 directory (memory)"), "{v1}");
    assert!(matches!(resolve_in(Root::new().path(), Path::new("/"), |_| None), Err(CgroupError::NotMounted)));
    // Without the initial namespace nobody knows what lies above the mount.
    assert!(matches!(resolve_in(hybrid().path(), Path::new("/"), |_| None), Err(CgroupError::Namespace(_))));
}

/// Prints what a user would read: run it as several users.
#[test]
fn this_machine() {
    let start = std::time::Instant::now();
    let environment = Environment::examine();
    let elapsed = start.elapsed();
    for finding in &environment.findings {
        println!("{:7} {finding}", finding.status.name());
    }
    println!("{}", serde_json::to_string(&environment).unwrap());
    println!("blocking: {:?}, {elapsed:?}", environment.blocking().map(|f| f.name));
    println!("exceptions:page_fault_user {:?}", tracepoint_exists("exceptions", "page_fault_user"));
    println!("exceptions:gone {:?}", tracepoint_exists("exceptions", "gone"));
    for name in ["/", "gone", "/sys/fs/cgroup/memory", "/tmp"] {
        match resolve(name, |id| crate::probe::tasks::own_cgroup_level(id).ok().flatten()) {
            Ok(cgroup) => println!("{cgroup:?}"),
            Err(e) => println!("{e}"),
        }
    }
    if environment.blocking().is_none() {
        assert!(environment.bpf_permitted);
    }
    // Others may mount something meanwhile, but hardly each time.
    let unchanged = (0..3).any(|_| {
        let before = fs::read("/proc/self/mountinfo").ok();
        drop((Environment::examine(), tracepoint_exists("exceptions", "page_fault_user")));
        before == fs::read("/proc/self/mountinfo").ok()
    });
    assert!(unchanged, "the mount tree changed");
    assert_ne!(tracepoint_exists("exceptions", ".."), Some(true));
}

const TAKES: Takes = Takes { files: 600, rings: 4, ring_bytes: 32 << 20 };

#[test]
fn a_memory_cgroup_without_room_for_the_rings_is_named_with_the_option_that_helps() {
    let says = |limit: &str, used: &str, high: &str| {
        let root = Root::new()
            .file("proc/self/cgroup", "0::/pod/job\n")
            .file("cg/pod/job/memory.max", "max\n")
            .file("cg/pod/job/memory.current", used)
            .file("cg/pod/job/memory.high", high)
            .file("cg/pod/memory.max", limit)
            .file("cg/pod/memory.current", used);
        let line = format!("30 29 0:26 / {} rw - cgroup2 cgroup2 rw\n", root.path().join("cg").display());
        let root = root.file("proc/self/mountinfo", line);
        let room = limits::memory_room(root.path(), &mount::mounts(root.path()));
        limits::memory(room.as_ref(), TAKES)
    };
    let mib = |n: u64| format!("{}\n", n << 20);
    assert_eq!(says("max\n", &mib(10), "max\n").value, "not limited");
    assert_eq!(says(&mib(640), &mib(10), "max\n").status, Status::Ok);
    let finding = says(&mib(384), &mib(64), "max\n");
    assert_eq!(finding.status, Status::Warn);
    assert!(finding.value.starts_with("320 MiB left of 384 MiB in "), "{finding}");
    assert!(finding.fix.expect("a fix").starts_with("--buffer 16"), "64 MiB for four rings");
    let finding = says(&mib(4096), &mib(64), &mib(100));
    assert!(finding.value.starts_with("36 MiB left of 100 MiB"), "the high limit counts too: {finding}");
    assert!(finding.fix.expect("a fix").contains("higher limit"));
}

#[test]
fn the_memory_of_cgroup_v1_counts_where_v2_has_none() {
    let root = Root::new()
        .file("proc/self/cgroup", "6:memory:/job\n0::/\n")
        .file("memory/job/memory.limit_in_bytes", "104857600\n")
        .file("memory/job/memory.usage_in_bytes", "52428800\n")
        .file("memory/memory.limit_in_bytes", "9223372036854771712\n")
        .file("memory/memory.usage_in_bytes", "52428800\n");
    let line = format!("30 29 0:26 / {} rw - cgroup cgroup rw,memory\n", root.path().join("memory").display());
    let root = root.file("proc/self/mountinfo", line);
    let room = limits::memory_room(root.path(), &mount::mounts(root.path()));
    let finding = limits::memory(room.as_ref(), TAKES);
    assert!(finding.value.starts_with("50 MiB left of 100 MiB in "), "{finding}");
}

#[test]
fn too_few_open_files_are_named_with_the_limit_to_raise() {
    assert_eq!(limits::open_files(600, TAKES).status, Status::Ok);
    let finding = limits::open_files(256, TAKES);
    assert_eq!(finding.status, Status::Warn);
    assert!(finding.fix.expect("a fix").contains("ulimit -n 4096"));
}

#[test]
fn hidden_addresses_are_blamed_on_the_setting_that_hides_them() {
    let says = |value: &str, shown| {
        facts::kptr_restrict(Root::new().file("proc/sys/kernel/kptr_restrict", value).path(), shown)
    };
    assert_eq!(says("2\n", Some(true)).status, Status::Ok);
    let finding = says("2\n", Some(false));
    assert!(finding.fix.as_deref().is_some_and(|fix| fix.contains("sysctl kernel.kptr_restrict=1")), "{finding}");
    assert!(says("1\n", Some(false)).fix.is_some_and(|fix| fix.contains("CAP_SYSLOG")));
    assert_eq!(says("1\n", None).status, Status::Unknown);
}

#[test]
fn hidepid_matters_to_who_may_not_look_into_others() {
    let mounted = |options: &str| {
        let line = format!("22 29 0:21 / /proc rw,nosuid - proc proc {options}\n");
        let root = Root::new().file("proc/self/mountinfo", line);
        mount::mounts(root.path())
    };
    for (options, may_look, status) in [
        ("rw", false, Status::Ok),
        ("rw,hidepid=off", false, Status::Ok),
        ("rw,gid=27,hidepid=invisible", true, Status::Ok),
        ("rw,gid=27,hidepid=invisible", false, Status::Warn),
        ("rw,hidepid=2", false, Status::Warn),
    ] {
        assert_eq!(facts::hidepid(&mounted(options), may_look).status, status, "{options} {may_look}");
    }
}

#[test]
fn each_capability_that_helps_is_told_by_itself() {
    let told = |bits: u64| {
        let root = Root::new().file("proc/self/status", format!("CapEff:\t{bits:016x}\n"));
        let findings = permission::useful(&root.status(), Some(true), permission::Tried::default());
        findings.into_iter().map(|f| (f.name, f.status)).collect::<Vec<_>>()
    };
    let names = ["CAP_SYSLOG", "CAP_SYS_PTRACE", "CAP_CHECKPOINT_RESTORE", "CAP_DAC_READ_SEARCH"];
    assert_eq!(told(0), names.map(|name| (name, Status::Warn)));
    assert_eq!(told(u64::MAX), names.map(|name| (name, Status::Ok)));
    let ptrace = told(1 << 19);
    assert!(ptrace.iter().all(|(name, status)| (*status == Status::Ok) == (*name == "CAP_SYS_PTRACE")), "{ptrace:?}");
    // A security policy may forbid what a capability allows.
    let root = Root::new().file("proc/self/status", format!("CapEff:\t{:016x}\n", u64::MAX));
    let findings = permission::useful(
        &root.status(),
        Some(true),
        permission::Tried { mappings: Some(false), cgroups: Some(true) },
    );
    let warned: Vec<_> = findings.iter().filter(|finding| finding.status == Status::Warn).collect();
    assert!(matches!(warned[..], [one] if one.name == "CAP_SYS_PTRACE" && one.value.contains("refuses")), "{warned:?}");
    let inside = permission::useful(&root.status(), Some(false), permission::Tried::default());
    assert!(inside.iter().all(|finding| finding.status == Status::Warn), "{inside:?}");
    let open = Root::new().file("proc/7/maps", "").file("proc/7/statm", "5 1\n").file("proc/8/statm", "0 0\n");
    assert_eq!(permission::Tried::now(open.path(), None), permission::Tried { mappings: Some(true), cgroups: None });
    assert_eq!(permission::Tried::now(Root::new().path(), None), permission::Tried::default());
    // CAP_SYS_ADMIN includes CAP_CHECKPOINT_RESTORE (include/linux/capability.h:checkpoint_restore_ns_capable).
    let admin = told(1 << 21);
    assert!(admin.iter().all(|(name, status)| (*status == Status::Ok) == (*name == "CAP_CHECKPOINT_RESTORE")));
}

#[test]
fn what_the_kernel_lacks_to_confine_with_is_told_with_the_reason() {
    let whole = Confined { rights: Ok(()), folders: Ok(7), system_calls: Ok(()) };
    assert_eq!(facts::confinement(&whole).status, Status::Ok);
    let lacking = Confined { folders: Err("not there".to_owned()), ..whole };
    let finding = facts::confinement(&lacking);
    assert!(finding.status == Status::Warn && finding.value.contains("landlock: not there"), "{finding}");
}
