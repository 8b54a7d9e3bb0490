//! What commands that read a capture can still do: they are looked at while they run, and a process of its own tries out
//! what they have given up.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use mmtrace::confine::{Access, Group, Need, publish_apart};
use mmtrace_capture::Staging;
use mmtrace_testing::folders::{assert_belongs, is_root, names, set_mode};
use tempfile::TempDir;

/// Tells a test that it is the process of its own, and which folder is open to it.
const FOLDER: &str = "MMTRACE_TEST_FOLDER";
/// Neither root nor anybody.
const NOBODY: u32 = 65_534;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/6.18-mmap/capture")
}

fn mmtrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmtrace"));
    command.stdin(Stdio::null()).env_remove("SUDO_UID");
    command
}

/// A copy of the golden capture.
fn copied(temp: &TempDir) -> PathBuf {
    let dir = temp.path().join("capture");
    fs::create_dir(&dir).expect("a folder");
    for entry in fs::read_dir(golden()).expect("listed") {
        let entry = entry.expect("listed");
        fs::copy(entry.path(), dir.join(entry.file_name())).expect("copied");
    }
    dir
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap_or_else(|| panic!("{name}"))
}

/// Asserts that a task has no capabilities, takes no privileges, and has its system calls filtered.
fn assert_confined(status: &str) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(field(status, set), 16), Ok(0), "{set}: {status}");
    }
    assert_eq!((field(status, "NoNewPrivs"), field(status, "Seccomp")), ("1", "2"), "{status}");
    for name in ["CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters"] {
        println!("{name}: {}", field(status, name));
    }
}

/// Only where the kernel filters system calls, which the others here need too.
fn is_offered() -> bool {
    let offered = mmtrace::confine::offered();
    println!("this kernel offers {offered:?}");
    offered.system_calls.is_ok()
}

#[test]
fn a_command_that_reads_a_capture_holds_nothing_while_it_does() {
    if !is_offered() {
        return;
    }
    // Nobody reads what it prints, so that it waits.
    let mut dump = mmtrace().args(["dump", "--json"]).arg(golden()).stdout(Stdio::piped()).spawn().expect("it starts");
    let begun = Instant::now();
    let pid = dump.id();
    while fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|at| !at.contains("pipe_write"))
        && begun.elapsed() < Duration::from_secs(2)
    {
        thread::sleep(Duration::from_millis(5));
    }
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("it runs") {
        assert_confined(&fs::read_to_string(task.expect("a task").path().join("status")).expect("it runs"));
    }
    dump.kill().and_then(|()| dump.wait()).expect("killed");
}

/// Runs a test of this file again in a process of its own, which confines itself.
fn alone(test: &str, folder: &Path) -> Output {
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(["--exact", test, "--nocapture"]).env(FOLDER, folder).stdin(Stdio::null()).output().expect("it starts")
}

fn assert_passed(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

/// Asserts that the kernel refuses a system call.
fn assert_refused(what: &str, result: libc::c_long) {
    let error = io::Error::last_os_error();
    println!("{what}: {error}");
    assert!(result < 0, "{what} is allowed");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}");
}

/// Asserts that cgroups cannot be found by their ids, which the helper alone does.
fn assert_handles_are_closed() {
    // SAFETY: the call is refused before it looks at its arguments.
    let opened = unsafe { libc::syscall(libc::SYS_open_by_handle_at, -1, std::ptr::null::<libc::c_void>(), 0) };
    assert_refused("open_by_handle_at", opened);
}

/// System calls that nobody needs once confined.
fn assert_nothing_else_is_allowed() {
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: each call is refused before it looks at its arguments, which point to nothing.
    unsafe {
        assert_refused("socket", libc::c_long::from(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)));
        assert_refused("socket(AF_UNIX)", libc::c_long::from(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)));
        assert_refused("execve", libc::syscall(libc::SYS_execve, c"/bin/true".as_ptr(), none, none));
        assert_refused("execveat", libc::syscall(libc::SYS_execveat, -1, none, none, none, 0));
        assert_refused("fork", libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0));
        assert_refused("ptrace", libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0));
        assert_refused("bpf(BPF_MAP_CREATE)", libc::syscall(libc::SYS_bpf, 0, none, 0));
        assert_refused("bpf(BPF_PROG_LOAD)", libc::syscall(libc::SYS_bpf, 5, none, 0));
        assert_refused("bpf(BPF_PROG_GET_FD_BY_ID)", libc::syscall(libc::SYS_bpf, 13, none, 0));
        assert_refused("perf_event_open", libc::syscall(libc::SYS_perf_event_open, none, 0, -1, -1, 0));
        assert_refused("mount", libc::syscall(libc::SYS_mount, none, none, none, 0, none));
        assert_refused("process_vm_readv", libc::syscall(libc::SYS_process_vm_readv, 1, none, 0, none, 0, 0));
        assert_refused("kill(SIGSTOP)", libc::syscall(libc::SYS_kill, libc::getppid(), libc::SIGSTOP));
        assert_refused("kill(SIGTERM)", libc::syscall(libc::SYS_kill, libc::getppid(), libc::SIGTERM));
        assert_refused("setsockopt", libc::syscall(libc::SYS_setsockopt, 0, 1, 20, none, 0));
        assert_refused("bpf(BPF_PROG_TEST_RUN)", libc::syscall(libc::SYS_bpf, 10, none, 0));
        assert_refused("setuid", libc::syscall(libc::SYS_setuid, 0));
        assert_refused("unshare", libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER));
        assert_refused("io_uring_setup", libc::syscall(libc::SYS_io_uring_setup, 1, none));
        assert_refused("keyctl", libc::syscall(libc::SYS_keyctl, 0, 0));
        assert_refused("ioctl(TIOCSTI)", libc::c_long::from(libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr())));
        let executable = libc::PROT_READ | libc::PROT_EXEC;
        let mapped =
            libc::syscall(libc::SYS_mmap, none, 4096, executable, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        assert_refused("mmap(PROT_EXEC)", mapped);
        // A program that others may run with somebody's rights; a signal to who has the terminal; root's files.
        assert_refused("fchmod", libc::c_long::from(libc::fchmod(0, 0o4755)));
        assert_refused(
            "fchmodat",
            libc::syscall(libc::SYS_fchmodat, libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), 0o4755),
        );
        assert_refused("fchown", libc::c_long::from(libc::fchown(0, 0, 0)));
        assert_refused("fcntl(O_ASYNC)", libc::c_long::from(libc::fcntl(0, libc::F_SETFL, libc::O_ASYNC)));
        assert_refused("setfsuid", libc::syscall(libc::SYS_setfsuid, 0));
        assert_refused("setgroups", libc::syscall(libc::SYS_setgroups, 0, none));
        assert_refused("openat2", libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, c"/".as_ptr(), none, 0));
        let made = libc::openat(libc::AT_FDCWD, c"made".as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o4755);
        assert_refused("openat(O_CREAT, 04755)", libc::c_long::from(made));
    }
}

/// Makes a file that is its owner's alone, as every file of a capture is.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn is_denied<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::PermissionDenied)
}

/// What somebody who reads may do, and may not: by the thread that gave it up, and by one that it started later.
fn try_out(folder: &Path, has_landlock: bool) {
    let text = fs::read_to_string(folder.join("file")).expect("its own file is open");
    assert_eq!(text, "text");
    assert_eq!(fs::read_dir(folder).expect("its own folder is open").count(), 1);
    assert!(is_denied(&File::create(folder.join("new"))), "files are made");
    assert!(is_denied(&File::options().append(true).open(folder.join("file"))), "files are changed");
    assert!(is_denied(&fs::remove_file(folder.join("file"))), "files are removed");
    if has_landlock {
        assert!(is_denied(&File::open("/etc/passwd")), "other files are open");
        assert!(is_denied(&fs::read_dir("/")), "other folders are open");
    }
    assert_nothing_else_is_allowed();
    assert_handles_are_closed();
}

#[test]
fn who_reads_a_capture_opens_nothing_else_and_starts_nothing() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        let temp = tempfile::tempdir().expect("a folder");
        fs::write(temp.path().join("file"), "text").expect("written");
        if is_offered() {
            assert_passed(&alone("who_reads_a_capture_opens_nothing_else_and_starts_nothing", temp.path()));
        }
        return;
    };
    let mut status = File::open("/proc/thread-self/status").expect("open");
    let paths = vec![(folder.clone(), Access::Read), (folder.join("is not there"), Access::Read)];
    let need = Need { paths, groups: &[Group::Run, Group::Read], capabilities: 0, held: Vec::new() };
    let has_landlock = mmtrace::confine::offered().folders.is_ok();
    let confined = need.enter();
    println!("{confined:?}");
    assert!(confined.rights.is_ok() && confined.system_calls.is_ok(), "{confined:?}");
    assert_eq!(confined.folders.is_ok(), has_landlock);
    let mut text = String::new();
    status.read_to_string(&mut text).expect("it was open");
    assert_confined(&text);
    try_out(&folder, has_landlock);
    thread::spawn(move || try_out(&folder, has_landlock)).join().expect("the same in another thread");
}

#[test]
fn who_writes_makes_files_in_its_folder_alone() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        let temp = tempfile::tempdir().expect("a folder");
        if is_offered() {
            assert_passed(&alone("who_writes_makes_files_in_its_folder_alone", temp.path()));
        }
        return;
    };
    let beside = tempfile::tempdir().expect("a folder");
    let need = Need {
        paths: vec![(folder.clone(), Access::Write)],
        groups: &[Group::Run, Group::Read, Group::Write],
        capabilities: 0,
        held: Vec::new(),
    };
    let confined = need.enter();
    fs::DirBuilder::new().mode(0o700).create(folder.join("new")).expect("made");
    write_private(&folder.join("new/file"), "text").expect("written");
    assert!(is_denied(&fs::write(folder.join("new/open"), "text")), "files are made that others may read");
    assert!(is_denied(&fs::create_dir(folder.join("open"))), "folders are made that others may enter");
    fs::rename(folder.join("new/file"), folder.join("file")).expect("moved");
    let file = File::options().write(true).open(folder.join("file")).expect("opened");
    file.set_len(0).and_then(|()| file.sync_all()).expect("emptied");
    assert!(file.as_raw_fd() > 2);
    fs::remove_file(folder.join("file")).expect("removed");
    fs::remove_dir(folder.join("new")).expect("removed");
    if confined.folders.is_ok() {
        assert!(is_denied(&write_private(&beside.path().join("new"), "")), "files are made elsewhere");
    }
    assert_nothing_else_is_allowed();
    drop(beside.keep());
}

#[test]
fn who_saves_gets_a_name_for_it_and_changes_nothing_beside() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        let temp = tempfile::tempdir().expect("a folder");
        fs::create_dir(temp.path().join(".ssh")).expect("a folder");
        if is_offered() {
            assert_passed(&alone("who_saves_gets_a_name_for_it_and_changes_nothing_beside", temp.path()));
            assert_eq!(names(temp.path()), [".ssh", "capture.wait-1"], "the folder for saves is removed");
        }
        return;
    };
    let saved = folder.join("capture.wait-1");
    let mut staging = Staging::beside(&saved).expect("made");
    publish_apart(&mut staging, "capture.".as_ref());
    let (inside, _) = staging.held().expect("held");
    let groups = &[Group::Run, Group::Read, Group::Write];
    let held = vec![(inside, Access::Write)];
    let confined = Need { paths: Vec::new(), held, groups, capabilities: 0 }.enter();
    let make = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
    make(&staging.place(&saved)).expect("made");
    staging.publish(&saved).expect("it has its name");
    let other = folder.join("other");
    make(&staging.place(&other)).expect("made");
    assert!(staging.publish(&other).is_err() && !other.exists(), "it begins otherwise");
    if confined.folders.is_ok() {
        assert!(is_denied(&make(&other)), "folders are made beside");
        assert!(is_denied(&fs::remove_dir(folder.join(".ssh"))), "folders are removed beside");
        assert!(is_denied(&fs::rename(folder.join(".ssh"), &other)), "folders are renamed beside");
        assert!(is_denied(&fs::rename(staging.place(&other), &other)), "folders are moved out");
    }
    fs::remove_dir(staging.place(&other)).expect("removed");
    drop(staging);
}

#[test]
fn who_records_is_held_in_the_threads_that_were_there_too() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        let temp = tempfile::tempdir().expect("a folder");
        if is_offered() {
            assert_passed(&alone("who_records_is_held_in_the_threads_that_were_there_too", temp.path()));
        }
        return;
    };
    let try_out = |folder: &Path, status: &mut File, has_landlock: bool| {
        let mut text = String::new();
        status.read_to_string(&mut text).expect("it was open");
        assert_confined(&text);
        let file = folder.join(format!("{:?}", thread::current().id()));
        write_private(&file, "text").and_then(|()| fs::remove_file(&file)).expect("its own folder is open");
        if has_landlock {
            assert!(is_denied(&File::open("/etc/passwd")), "other files are open");
            assert!(is_denied(&write_private(Path::new("/tmp/not-to-be-written"), "")), "other files are made");
        }
        assert_nothing_else_is_allowed();
        assert_handles_are_closed();
    };
    let status = || File::open("/proc/thread-self/status").expect("open");
    let (tell, told) = std::sync::mpsc::channel::<bool>();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let theirs = folder.clone();
    let earlier = thread::spawn(move || {
        let mut status = status();
        ready.send(()).expect("awaited");
        try_out(&theirs, &mut status, told.recv().expect("told"));
    });
    is_ready.recv().expect("it is there");
    let mut own = status();
    let has_landlock = mmtrace::confine::offered().folders.is_ok();
    let groups = &[Group::Run, Group::Read, Group::Write, Group::Record];
    let confined = Need { paths: vec![(folder.clone(), Access::Write)], groups, capabilities: 0, held: Vec::new() }
        .enter_everywhere(None);
    println!("{confined:?}");
    assert!(confined.rights.is_ok() && confined.system_calls.is_ok(), "{confined:?}");
    assert_eq!(confined.folders.is_ok(), has_landlock);
    tell.send(has_landlock).expect("it waits");
    earlier.join().expect("the same in the earlier thread");
    try_out(&folder, &mut own, has_landlock);
}

#[test]
fn who_helps_a_recorder_opens_files_for_reading_alone() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        let temp = tempfile::tempdir().expect("a folder");
        if is_offered() {
            assert_passed(&alone("who_helps_a_recorder_opens_files_for_reading_alone", temp.path()));
        }
        return;
    };
    let groups = &[Group::Run, Group::Read, Group::Serve];
    let confined = Need { paths: Vec::new(), groups, capabilities: 0, held: Vec::new() }.enter_with_all_files();
    assert!(confined.rights.is_ok() && confined.system_calls.is_ok(), "{confined:?}");
    assert!(File::open("/proc/self/maps").is_ok(), "it reads what it is asked for");
    assert!(is_denied(&File::create(folder.join("new"))), "files are made");
    assert!(is_denied(&fs::create_dir(folder.join("new"))), "folders are made");
    assert!(is_denied(&fs::remove_dir(&folder)), "folders are removed");
    assert_nothing_else_is_allowed();
}

fn report(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn without_any_capability_root_gets_the_same_report() {
    if !is_root("a replay by root, who has dropped all capabilities") {
        return;
    }
    let replay = ["replay", "--rules"];
    let with = report(mmtrace().args(replay).arg(golden()));
    let mut without = Command::new("setpriv");
    without.args(["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs"]).arg(env!("CARGO_BIN_EXE_mmtrace"));
    assert_eq!(report(without.args(replay).arg(golden())), with);
}

#[test]
fn root_reads_the_private_capture_of_somebody_else() {
    if !is_root("a replay by root of another user's capture") {
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    let dir = copied(&temp);
    set_mode(&dir, 0o700);
    for entry in fs::read_dir(&dir).expect("listed") {
        let path = entry.expect("listed").path();
        set_mode(&path, 0o600);
        chown(&path, Some(NOBODY), Some(NOBODY)).expect("given");
    }
    chown(&dir, Some(NOBODY), Some(NOBODY)).expect("given");
    let expected = report(mmtrace().args(["replay", "--json"]).arg(golden()));
    assert_eq!(report(mmtrace().args(["replay", "--json"]).arg(&dir)), expected);
    // Who called sudo gets the tables.
    report(mmtrace().arg("tables").arg(&dir).env("SUDO_UID", "65534").env("SUDO_GID", "65534"));
    assert_belongs(&dir, NOBODY);
}

/// The capabilities that docs/deploy.md asks for.
const LISTED: [&str; 6] = ["bpf", "perfmon", "syslog", "sys_ptrace", "checkpoint_restore", "dac_read_search"];
/// Those that the helper keeps, by their bits; `CAP_KILL` is the last, which only root has.
const OF_HELPER: u64 = 1 << 2 | 1 << 19 | 1 << 40 | 1 << 5;

/// Whether this machine can record, which root alone may try here.
fn can_record(what: &str) -> bool {
    if !is_root(what) {
        return false;
    }
    let can = mmtrace().args(["doctor", "--json"]).output().expect("it starts").status.success();
    if !can {
        eprintln!("not run, since this machine cannot record (mmtrace doctor says why): {what}");
    }
    can
}

/// The status of a process, and its name.
fn status(pid: &str) -> Option<(String, String)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some((field(&status, "Name").to_owned(), status))
}

/// The processes whose parent this is, by name, with their status.
fn children(pid: u32) -> Vec<(String, String)> {
    let all = fs::read_dir("/proc").expect("listed").flatten();
    let found = all.filter_map(|entry| status(entry.file_name().to_str()?));
    found.filter(|(_, status)| field(status, "PPid") == pid.to_string()).collect()
}

/// A line of what the kernel says about a descriptor.
fn line<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
}

/// Asserts that a recorder can write no map but those that say what is recorded: two hash tables of what is wanted, and the
/// array of the numbers of standby programs. A ring buffer cannot be written by bpf(2).
fn assert_maps_are_frozen(pid: u32) {
    const HASH: &str = "1";
    const ARRAY: &str = "2";
    const RING: &str = "27";
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it runs").flatten();
    let infos: Vec<String> = infos.filter_map(|info| fs::read_to_string(info.path()).ok()).collect();
    let maps = infos.iter().filter(|info| line(info, "map_id").is_some());
    let (rings, others): (Vec<&String>, Vec<&String>) = maps.partition(|info| line(info, "map_type") == Some(RING));
    let open = others.iter().filter(|info| line(info, "frozen") != Some("1"));
    let mut open: Vec<_> = open.map(|info| line(info, "map_type").expect("a type")).collect();
    open.sort_unstable();
    println!("{} maps and {} rings; open to writing: types {open:?}", others.len(), rings.len());
    assert!(!rings.is_empty() && others.len() > 8, "they are found: {infos:?}");
    assert_eq!(open, [HASH, HASH, ARRAY]);
}

/// Asserts that a recorder can open few files more: each could attach a program once more.
fn assert_files_are_bounded(pid: u32) {
    const MARGIN: u64 = 192;
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count() as u64;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    let limits: Vec<u64> = files.split_whitespace().filter_map(|limit| limit.parse().ok()).collect();
    println!("{open} files are open, the limits are {limits:?}");
    assert!(limits.len() == 2 && limits.iter().all(|limit| *limit < open + MARGIN), "{open} are open: {limits:?}");
}

#[test]
fn a_recording_holds_nothing_once_its_command_runs_and_the_command_is_free() {
    if !can_record("a recording that is looked at") {
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    let mut record = mmtrace();
    record.args(["record", "--seconds", "60", "-o"]).arg(temp.path().join("capture")).args(["--", "sleep", "60"]);
    let mut record = record.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (pid, begun) = (record.id(), Instant::now());
    let threads = || -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect()
    };
    // The system calls are the last thing that it gives up; a container may have taken some before.
    let is_confined = |status: &String| field(status, "NoNewPrivs") == "1" && field(status, "Seccomp") == "2";
    while !threads().iter().all(is_confined) && begun.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(10));
    }
    for status in threads() {
        println!("{} of the recorder", field(&status, "Name"));
        assert_confined(&status);
    }
    assert_maps_are_frozen(pid);
    assert_files_are_bounded(pid);
    let children = children(pid);
    let child = |name: &str| children.iter().find(|(of, _)| of == name).map(|(_, status)| status);
    let helper = child("mmtrace-helper").expect("there is one");
    for name in ["CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"] {
        println!("helper: {name}: {}", field(helper, name));
    }
    let kept = u64::from_str_radix(field(helper, "CapPrm"), 16).expect("bits");
    assert_eq!((kept & !OF_HELPER, field(helper, "NoNewPrivs"), field(helper, "Seccomp")), (0, "1", "2"));
    println!("the process that detaches:");
    assert_confined(child("mmtrace-detach").expect("there is one"));
    // The command may be sudo.
    let command = child("sleep").expect("it runs");
    let own = fs::read_to_string("/proc/self/status").expect("read");
    for name in ["CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"] {
        assert_eq!(field(command, name), field(&own, name), "{name} of the command");
    }
    let asked = Instant::now();
    // SAFETY: no memory is involved; the process is our child.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGINT) };
    let ended = record.wait().expect("it ends");
    // The helper has ended the command, which mmtrace itself may not.
    assert!(asked.elapsed() < Duration::from_secs(40), "the command was not ended");
    assert!(!Path::new(&format!("/proc/{}", field(command, "Pid"))).exists(), "the command was left behind");
    let mut said = String::new();
    record.stderr.take().expect("piped").read_to_string(&mut said).expect("read");
    assert!(ended.success() && said.contains("wrote the capture"), "{ended}: {said}");
    assert!(temp.path().join("capture/tasks.parquet").exists(), "{said}");
    assert!(!Path::new(&format!("/run/mmtrace/{pid}.mark")).exists(), "the socket of marks is removed");
}

#[test]
fn who_called_sudo_gets_what_a_confined_recorder_writes() {
    if !can_record("a recording under sudo") {
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    set_mode(temp.path(), 0o755);
    let home = temp.path().join("home");
    fs::create_dir(&home).expect("a folder");
    chown(&home, Some(NOBODY), Some(NOBODY)).expect("given");
    set_mode(&home, 0o700);
    let dir = home.join("capture");
    let mut record = mmtrace();
    let report = home.join("report");
    record
        .args(["record", "--report"])
        .arg(&report)
        .arg("-o")
        .arg(&dir)
        .args(["--", "true"])
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65534");
    let output = record.output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    assert_belongs(&dir, NOBODY);
    assert!(dir.join("tasks.parquet").exists(), "{output:?}");
    let report = fs::metadata(&report).expect("it is there");
    assert_eq!((report.uid(), report.mode() & 0o777), (NOBODY, 0o600));
    assert!(report.len() > 0);
}

#[test]
fn a_command_of_another_user_cannot_type_into_the_terminal_and_can_run_sudo() {
    if !can_record("a command as another user") {
        return;
    }
    let mut record = mmtrace();
    let temp = tempfile::tempdir().expect("a folder");
    record.args(["record", "--user", "nobody", "--report", "/dev/null", "-o"]).arg(temp.path().join("capture"));
    record.args(["--", "cat", "/proc/self/status"]);
    let output = record.output().expect("it starts");
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = fs::read_to_string("/proc/self/status").expect("read");
    let filters = |status: &str| field(status, "Seccomp_filters").parse::<u32>().expect("a number");
    assert_eq!(field(&status, "Uid").split('\t').next(), Some("65534"), "{output:?}");
    assert_eq!((filters(&status), field(&status, "Seccomp")), (filters(&own) + 1, "2"), "{status}");
    assert_eq!(field(&status, "NoNewPrivs"), field(&own, "NoNewPrivs"));
}

#[test]
fn nobody_records_with_the_listed_capabilities_alone() {
    if !can_record("a recording by nobody with some capabilities") {
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    set_mode(temp.path(), 0o755);
    // Where tests are built, nobody else may look.
    let program = temp.path().join("mmtrace");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_mmtrace")).arg(&program).status().expect("cp runs");
    assert!(copied.success());
    set_mode(&program, 0o755);
    let home = temp.path().join("home");
    fs::create_dir(&home).expect("a folder");
    chown(&home, Some(NOBODY), Some(NOBODY)).expect("given");
    let as_nobody = |args: &[&str]| {
        let listed = LISTED.map(|name| format!("+{name}")).join(",");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
            command.args([set, &format!("-all,{listed}")]);
        }
        command.arg(&program).args(args).current_dir(&home).stdin(Stdio::null()).env_remove("SUDO_UID");
        command
    };
    let mut recording = as_nobody(&["record", "-a", "--seconds", "3", "--json"]);
    let recording = recording.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // To others of its user, what it holds is closed: the kernel gives /proc/PID to root then (ptrace(2), proc(5)).
    let (own, begun) = (PathBuf::from(format!("/proc/{}/io", recording.id())), Instant::now());
    let owner = || fs::metadata(&own).map(|own| own.uid());
    while owner().is_ok_and(|uid| uid != 0) && begun.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(owner().expect("it runs"), 0, "another process of this user can trace it");
    let detaching = || children(recording.id()).into_iter().find(|(name, _)| name == "mmtrace-detach");
    if let Some((_, status)) = detaching() {
        let io = format!("/proc/{}/io", field(&status, "Pid"));
        assert_eq!(fs::metadata(io).expect("it runs").uid(), 0, "another process of this user can take its links");
    }
    let recorded = recording.wait_with_output().expect("it ends");
    assert!(recorded.status.success(), "{recorded:?}");
    let report: serde_json::Value = serde_json::from_slice(&recorded.stdout).expect("JSON");
    assert!(report["events"]["total"].as_u64().is_some_and(|total| total > 0), "{report}");
    let replayed = as_nobody(&["replay", "--json"]).output().expect("it starts");
    assert!(replayed.status.success() && replayed.stdout == recorded.stdout, "{replayed:?}");
    let doctor = as_nobody(&["doctor", "--json"]).output().expect("it starts");
    assert!(doctor.status.success(), "{doctor:?}");
    let told: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    for name in LISTED.iter().skip(2).map(|name| format!("CAP_{}", name.to_uppercase())) {
        let finding = told["environment"].as_array().expect("a list").iter().find(|f| f["name"] == name.as_str());
        assert_eq!(finding.expect("it is told")["status"], "ok", "{name}");
    }
}
