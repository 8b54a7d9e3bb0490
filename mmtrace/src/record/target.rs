//! Target of a recording: from process ids as they are typed to what the programs can compare, and its end.
//!
//! `/proc` and the system calls speak of ids of this process's pid namespace; the programs compare those of the initial
//! one, and events carry them. Which is which only the kernel can tell ([`crate::probe::tasks`]).

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{FromRawFd as _, OwnedFd},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until},
};

use super::{WatchArgs, executable};
use crate::{
    btf::Btf,
    environment::{
        cgroup::{self, Cgroup},
        container,
    },
    probe::{
        filter::{Filter, Process},
        object::{Object, ObjectError},
        plan::Plan,
        tasks::{Task, Tasks, TasksError, own_cgroup_level, own_tgid},
    },
    workload::SECONDS_MAX,
};

/// Time between two looks for a living child of the named processes, once these have ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// `PF_KTHREAD` (include/linux/sched.h)
const KERNEL_THREAD: u64 = 0x0020_0000;

/// The consequence of being one.
const KERNEL_THREADS: &str = "which has no memory of its own: mmtrace records those of its events that are about no \
                              process's memory; to record what it does to a process, name that process with -p";

/// Ways to record a process whose id means nothing to the programs.
const ELSEWHERE: &str = "start the container with the host's ids (docker or podman run --pid=host), or select with -G CGROUP or --comm NAME";

/// A process id as `/proc` explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    /// As typed.
    typed: u32,
    /// The process that it belongs to.
    pid: u32,
    comm: String,
    kernel_thread: bool,
}

impl Named {
    /// Looks the id up; `root` stands for `/`. What is wrong with it is said in a sentence.
    fn find(root: &Path, typed: u32, own: u32) -> Result<Self, String> {
        let folder = root.join(format!("proc/{typed}"));
        let status = fs::read_to_string(folder.join("status")).map_err(|error| missing(typed, &error))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let pid = field("Tgid").and_then(|tgid| tgid.trim().parse().ok()).unwrap_or(typed);
        let stat = fs::read_to_string(folder.join("stat")).map_err(|error| missing(typed, &error))?;
        let Some(stat) = Stat::parse(&stat) else {
            return Err(format!("mmtrace does not understand /proc/{typed}/stat"));
        };
        if pid == own {
            return Err(format!("{typed} is mmtrace itself, and mmtrace never records its own events"));
        }
        // A leader that has ended is a zombie for as long as another thread lives.
        if stat.has_ended() && !has_threads(&root.join(format!("proc/{pid}/task"))) {
            return Err(format!(
                "process {typed} ({}) has ended and waits for its parent, so nothing more happens to it",
                stat.comm
            ));
        }
        Ok(Self { typed, pid, comm: stat.comm, kernel_thread: stat.flags & KERNEL_THREAD != 0 })
    }

    /// Returns what the user should know before it is recorded.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let Self { typed, pid, comm, kernel_thread } = self;
        if typed != pid {
            notes.push(format!(
                "{typed} is a thread of process {pid}; mmtrace records the whole process, whose threads share one mm"
            ));
        }
        if *kernel_thread {
            notes.push(format!("process {pid} ({comm}) is a kernel thread, {KERNEL_THREADS}"));
        }
        notes
    }
}

/// Returns the reason why nothing can be learnt of a process id.
fn missing(pid: u32, error: &io::Error) -> String {
    match error.kind() {
        // ESRCH: it ended while it was looked at.
        io::ErrorKind::NotFound if !exists(pid) => format!("there is no process {pid}"),
        _ if error.raw_os_error() == Some(libc::ESRCH) => format!("there is no process {pid}"),
        io::ErrorKind::NotFound => {
            format!("this user may not see process {pid} (/proc is mounted with hidepid); run mmtrace with sudo")
        }
        _ => format!("cannot look at process {pid}: {error}"),
    }
}

/// Whether the kernel knows the id, whoever may look at it.
pub(super) fn exists(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 is none; only the id is looked up.
    unsafe { libc::kill(pid, 0) == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM) }
}

/// Whether any thread of a process lives.
fn has_threads(tasks: &Path) -> bool {
    let lives = |entry: io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        Some(!Stat::parse(&stat)?.has_ended())
    };
    fs::read_dir(tasks).is_ok_and(|entries| entries.filter_map(lives).any(|lives| lives))
}

/// The part of `/proc/PID/stat` that matters here.
struct Stat {
    comm: String,
    state: char,
    flags: u64,
}

impl Stat {
    /// `PID (COMM) STATE PPID PGRP SESSION TTY TPGID FLAGS …`, where the name may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(')')?;
        let (_, comm) = head.split_once('(')?;
        let mut fields = tail.split_whitespace();
        let state = fields.next()?.chars().next()?;
        Some(Self { comm: comm.escape_debug().to_string(), state, flags: fields.nth(5)?.parse().ok()? })
    }

    const fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Target as the user has asked for it, before the kernel has been asked anything that needs privileges.
pub(super) struct Asked {
    named: Vec<Named>,
    lives: Vec<OwnedFd>,
    cgroup: Option<Cgroup>,
}

impl Asked {
    /// Checks what can be checked by anybody.
    ///
    /// # Errors
    /// Something of it is not there, or cannot be what is meant.
    pub(super) fn check(watch: &WatchArgs) -> Result<Self> {
        if let Some(program) = watch.command.first() {
            executable::check(program).map_err(|why| anyhow::anyhow!("cannot run {}: {why}", program.display()))?;
        }
        if let (Some(workload), Some(seconds)) = (&watch.workload, watch.seconds)
            && seconds > SECONDS_MAX
        {
            bail!(
                "the workload {workload} would run for --seconds, and a workload runs for a day at most; give --seconds \
                 {SECONDS_MAX} or less"
            );
        }
        let own = std::process::id();
        if !watch.pids.is_empty() && fs::read_link("/proc/self").is_ok_and(|link| link != Path::new(&own.to_string())) {
            bail!(
                "-p: /proc shows the ids of another pid namespace than mmtrace's own, so a process id could mean two \
                 processes; mount the /proc of this namespace: mount -t proc proc /proc (or unshare --mount-proc)"
            );
        }
        let found = watch.pids.iter().map(|pid| Named::find(Path::new("/"), *pid, own));
        let (named, wrong): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
        let wrong: Vec<String> = wrong.into_iter().filter_map(Result::err).collect();
        if !wrong.is_empty() {
            bail!("-p: {}", wrong.join("; "));
        }
        let named: Vec<Named> = named.into_iter().flatten().collect();
        // From here on, an id that is given to another process is noticed.
        let lives = named.iter().filter_map(|named| pidfd(named.pid)).collect();
        let level_of = |id| own_cgroup_level(id).ok().flatten();
        let container = watch.container.as_deref().map(container::find).transpose()?;
        let cgroup = watch.cgroup.as_ref().or(container.as_ref());
        let cgroup = cgroup.map(|name| cgroup::resolve(name, level_of)).transpose()?;
        Ok(Self { named, lives, cgroup })
    }

    /// Has the kernel say how the programs know them. `initial`: whether this is the initial pid namespace.
    ///
    /// # Errors
    /// It cannot be known.
    pub(super) fn resolve(self, watch: &WatchArgs, initial: Option<bool>, btf: &Btf) -> Result<Target> {
        let Self { named, lives, cgroup } = self;
        let tasks = Tasks::new(btf);
        let namespaced = initial != Some(true);
        let command = watch.command.first().filter(|_| !watch.all).cloned();
        let mut notes: Vec<String> = named.iter().flat_map(Named::notes).collect();
        let own = if namespaced && command.is_some() {
            own_tgid().with_context(|| {
                format!(
                    "mmtrace cannot find out its own process id outside of its pid namespace, and so cannot tell the \
                     command's events from others; record everything with -a, or {ELSEWHERE}"
                )
            })?
        } else {
            std::process::id()
        };
        let mut pids: Vec<Process> = Vec::new();
        for named in &named {
            let Named { pid, comm, .. } = named;
            let seen = seen(&tasks, *pid, namespaced);
            let process = match seen {
                Ok(Some(task)) => Process { pid: *pid, tgid: task.tgid },
                _ if !namespaced => {
                    if seen.is_ok() && exists(*pid) {
                        notes.push(format!(
                            "this host hides process {pid} ({comm}) from BPF programs, so mmtrace will see none of its events"
                        ));
                    }
                    Process { pid: *pid, tgid: *pid }
                }
                Ok(None) => bail!("-p: process {pid} has ended, or this host hides it from BPF programs"),
                Err(why) => bail!(
                    "-p {pid}: mmtrace cannot find out the id of this process outside of mmtrace's pid namespace ({why}), \
                     and would record the host's process {pid} instead; {ELSEWHERE}"
                ),
            };
            if !pids.contains(&process) {
                pids.push(process);
            }
        }
        if namespaced && initial == Some(false) {
            notes.push("mmtrace runs in a pid namespace; events and reports show the host's process ids, and lack the names of tasks \
                 outside it that ran before"
                    .to_owned());
        }
        let command = command.map(|name| name.to_string_lossy().into_owned());
        let filter = Filter { pids, cgroup, comm: watch.comm.clone(), command };
        let ends = !filter.pids.is_empty()
            && filter.cgroup.is_none()
            && filter.comm.is_none()
            && watch.command.is_empty()
            && watch.workload.is_none();
        // SAFETY: an `OwnedFd` keeps its descriptor open, and always the same.
        let watched = |fd| unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok();
        let lives = lives.into_iter().filter_map(watched).collect();
        let mut target =
            Target { filter, notes, own, tasks: tasks.ok(), lives, ends, look: Instant::now(), namespaced };
        target.note_names();
        Ok(target)
    }
}

/// The task with this id of ours, as programs see it.
fn seen(tasks: &Result<Tasks, TasksError>, pid: u32, namespaced: bool) -> Result<Option<Task>, String> {
    let tasks = tasks.as_ref().map_err(ToString::to_string)?;
    match tasks.find(pid) {
        // There the ids are the same, and all can be looked through.
        Err(error) if error.kind() == io::ErrorKind::Unsupported && !namespaced => {
            let all = tasks.all().map_err(|error| error.to_string())?;
            Ok(all.into_iter().find(|task| task.tid == pid))
        }
        other => other.map_err(|error| error.to_string()),
    }
}

/// A descriptor that is readable when the process has ended.
pub(super) fn pidfd(pid: u32) -> Option<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).ok()?;
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Target of a recording.
pub(super) struct Target {
    /// For the programs.
    pub(super) filter: Filter,
    /// Messages for the user before the recording begins.
    pub(super) notes: Vec<String>,
    /// This process's id, as the programs know it.
    pub(super) own: u32,
    /// `None` where the kernel does not let tasks be listed.
    tasks: Option<Tasks>,
    /// The named processes that had not ended when last looked at.
    lives: Vec<AsyncFd<OwnedFd>>,
    /// Whether there is nothing to record once they and their children have ended.
    ends: bool,
    /// Time of the next look for a living child of theirs.
    look: Instant,
    /// Whether ids here are not those of the programs.
    namespaced: bool,
}

impl Target {
    /// Makes the memory of those wanted that, so that what others do to it is recorded before they do something
    /// themselves. All probes are attached.
    ///
    /// # Errors
    /// The kernel did not take it.
    pub(super) fn join(&self, object: &mut Object) -> Result<(), ObjectError> {
        let joined = self.memory();
        for mm in &joined {
            object.want_mm(*mm, true)?;
        }
        // One that was given up before it was wanted, and after it was seen, is not heard of again.
        for mm in joined.difference(&self.memory()) {
            object.want_mm(*mm, false)?;
        }
        Ok(())
    }

    /// Returns the filter and the events that are recorded for its sake alone, for reports; `None` without a filter.
    pub(super) fn described(&self, plan: &Plan) -> Option<String> {
        if self.filter.bits() == 0 {
            return None;
        }
        let served: Vec<&str> = plan.served().map(|spec| spec.name).collect();
        let also = if served.is_empty() {
            String::new()
        } else {
            format!("; also the events that the filter needs: {}", served.join(", "))
        };
        Some(format!("{}{also}", self.filter))
    }

    /// The mms of those wanted.
    fn memory(&self) -> BTreeSet<u64> {
        self.wanted().into_iter().map(|task| task.mm).filter(|mm| *mm != 0).collect()
    }

    /// The tasks that the filter wants now.
    pub(super) fn wanted(&self) -> Vec<Task> {
        let Some(tasks) = self.tasks.as_ref().filter(|_| self.filter.bits() != 0) else { return Vec::new() };
        let members: BTreeSet<u32> = self
            .filter
            .cgroup
            .iter()
            .flat_map(Cgroup::processes)
            // One that is outside of this pid namespace.
            .filter(|pid| *pid != 0)
            .filter_map(|pid| if self.namespaced { Some(tasks.find(pid).ok()??.tgid) } else { Some(pid) })
            .collect();
        let all = tasks.all().unwrap_or_default();
        all.into_iter().filter(|task| self.filter.names(task) || members.contains(&task.tgid)).collect()
    }

    /// Notes that a command name is nobody's, or that of kernel threads only.
    fn note_names(&mut self) {
        let Some(comm) = self.filter.comm.clone().filter(|_| self.tasks.is_some()) else { return };
        let called: Vec<Task> = self.wanted().into_iter().filter(|t| t.comm == self.filter.comm_bytes()).collect();
        if called.is_empty() {
            self.notes.push(format!(
                "no task has the command name {comm:?} now; mmtrace records a task once it has this name"
            ));
        } else if called.iter().all(|task| task.mm == 0) {
            self.notes.push(format!("{comm:?} is the name of a kernel thread, {KERNEL_THREADS}"));
        }
    }

    /// Waits until there is nothing left to record, which may never be; says why.
    pub(super) async fn over(&mut self, object: &mut Object) -> String {
        if !self.ends {
            return std::future::pending().await;
        }
        while let Some(life) = self.lives.last() {
            // It cannot be waited for: then it is looked for below.
            let _ = life.readable().await;
            self.lives.pop();
        }
        // The children that joined. Whoever waits gives up now and then, and waits anew.
        loop {
            sleep_until(self.look).await;
            if !self.any_lives(object) {
                break;
            }
            self.look = Instant::now() + LOOK_EVERY;
        }
        match &self.filter.pids[..] {
            [process] => format!("process {} and the children recorded with it have ended", process.pid),
            _ => "the processes and the children recorded with them have ended".to_owned(),
        }
    }

    /// Whether a wanted process lives. Where it cannot be told, one does.
    fn any_lives(&self, object: &mut Object) -> bool {
        let Ok(wanted) = object.wanted() else { return true };
        if wanted.is_empty() {
            return false;
        }
        // Ids of processes that have ended remain where the kernel does not say which thread is the last, and where a
        // probe was skipped.
        let Some(Ok(all)) = self.tasks.as_ref().map(Tasks::all) else { return true };
        all.iter().any(|task| task.mm != 0 && wanted.contains(&task.tgid))
    }
}

#[cfg(test)]
impl Target {
    /// One that the kernel has not been asked about.
    pub(super) fn unasked(filter: Filter) -> Self {
        let (notes, lives, look) = (Vec::new(), Vec::new(), Instant::now());
        Self { filter, notes, own: 0, tasks: None, lives, ends: false, look, namespaced: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that stands for `/`.
    struct Root(tempfile::TempDir);

    impl Root {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        /// A task, as `/proc` shows it; the leader comes first.
        fn task(self, tgid: u32, tid: u32, comm: &str, state: char, flags: u64) -> Self {
            let stat = format!("{tid} ({comm}) {state} 1 1 1 0 -1 {flags} 0 0");
            for folder in [format!("proc/{tid}"), format!("proc/{tgid}/task/{tid}")] {
                let folder = self.0.path().join(folder);
                fs::create_dir_all(&folder).expect("a folder");
                fs::write(folder.join("stat"), &stat).expect("a file");
                fs::write(folder.join("status"), format!("Name:\t{comm}\nTgid:\t{tgid}\nPid:\t{tid}\n"))
                    .expect("a file");
            }
            self
        }

        fn find(&self, pid: u32) -> Result<Named, String> {
            Named::find(self.0.path(), pid, 4711)
        }
    }

    #[test]
    fn a_process_is_taken_as_it_is() {
        let root = Root::new().task(1200, 1200, "odd) (name", 'S', 0x40_0100);
        let named = root.find(1200).expect("it lives");
        assert_eq!((named.pid, named.comm.as_str(), named.kernel_thread), (1200, "odd) (name", false));
        assert!(named.notes().is_empty());
    }

    #[test]
    fn a_thread_stands_for_its_process() {
        let root = Root::new().task(1200, 1200, "java", 'S', 0).task(1200, 1234, "GC", 'S', 0);
        let named = root.find(1234).expect("it lives");
        assert_eq!((named.typed, named.pid), (1234, 1200));
        let notes = named.notes();
        assert!(notes[0].contains("1234 is a thread of process 1200"), "{notes:?}");
    }

    #[test]
    fn a_kernel_thread_is_taken_with_a_word() {
        let root = Root::new().task(42, 42, "kcompactd0", 'S', 0x20_8040);
        let notes = root.find(42).expect("it lives").notes();
        assert!(notes[0].contains("42 (kcompactd0) is a kernel thread"), "{notes:?}");
    }

    #[test]
    fn what_has_ended_is_refused_unless_a_thread_lives() {
        let root = Root::new().task(7, 7, "gone", 'Z', 0).task(8, 8, "left", 'Z', 0).task(8, 9, "left", 'R', 0);
        let why = root.find(7).expect_err("it has ended");
        assert!(why.contains("7 (gone) has ended"), "{why}");
        assert_eq!(root.find(8).expect("a thread lives").pid, 8);
    }

    #[test]
    fn mmtrace_itself_is_refused_by_each_of_its_threads() {
        let root = Root::new().task(4711, 4711, "mmtrace", 'R', 0).task(4711, 4712, "capture", 'S', 0);
        for pid in [4711, 4712] {
            let why = root.find(pid).expect_err("it is we");
            assert!(why.contains("is mmtrace itself"), "{why}");
        }
    }

    #[test]
    fn what_is_not_there_is_said_so() {
        let why = Root::new().find(u32::MAX).expect_err("no id is as large");
        assert_eq!(why, "there is no process 4294967295");
    }

    #[test]
    fn the_parent_of_a_pidfd_hears_of_its_end() {
        let mut child = std::process::Command::new("true").spawn().expect("started");
        let life = pidfd(child.id());
        child.wait().expect("ended");
        if let Some(life) = life {
            assert!(crate::probe::sys::is_readable(std::os::fd::AsFd::as_fd(&life)));
        }
        assert!(!exists(u32::MAX));
    }
}
