//! System calls that stay allowed: seccomp filters (Documentation/userspace-api/seccomp_filter.rst).
//!
//! What is not in the table is refused with EPERM, as a file that may not be opened is: mmtrace says what did not work, and
//! does the rest.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

/// System calls that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// What every program does: memory, threads, clocks, descriptors that are open.
    Run,
    /// Opening files for reading.
    Read,
    /// Opening, making, renaming and removing files.
    Write,
    /// Finding out that files are worked on with the rights of who called sudo.
    Owner,
    /// Keys and window sizes.
    Terminal,
    /// What a recording does whose probes are attached: it reads what they write, looks after the recorded command, and
    /// answers those who ask for its metrics.
    Record,
    /// What the helper of a recording does: it opens what it is asked for, and hands it over.
    Serve,
    /// What the helper does where there is a recorded command: it ends that.
    End,
    /// What the process does that holds the last links of probes: it closes them.
    Detach,
    /// What the process does that publishes: it moves folders, and removes an empty one.
    Publish,
}

/// What a system call's arguments must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// The argument of this index is one of these.
    OneOf(u8, &'static [u64]),
    /// It points to nothing.
    Null(u8),
    /// It has none of these bits.
    Without(u8, u64),
    /// It has all of these bits.
    With(u8, u64),
    /// It is the id of this process.
    Own(u8),
    /// What it makes is its owner's alone, and gives nobody the rights of another: the argument of this index is the mode.
    Private(u8),
    /// As `Private`, where the flags of open(2) in the first argument have a file made.
    PrivateIfMade(u8, u8),
    /// The argument of this index is the value, and the next one has none of these bits.
    ValueWithout(u8, u64, u64),
}

use When::{Always, Null, OneOf, Own, Private, PrivateIfMade, ValueWithout, With, Without};

/// Modes of files that others could use: what a group and others may do, set-user-id and its kin.
const NOT_PRIVATE: u64 = 0o7077;
/// Flags of open(2) that make a file: `O_CREAT`, and `__O_TMPFILE`.
const MAKES: u64 = libc::O_CREAT as u64 | 0o20_000_000;
/// What setfsuid(2) and setfsgid(2) take for a question.
const NO_ID: [u64; 1] = [u32::MAX as u64];

/// Flags of open(2) that make or change a file; `__O_TMPFILE` is the last.
const CHANGES: u64 =
    (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | 0o20_000_000) as u64;

/// Requests of ioctl(2): settings and size of a terminal, and whether a descriptor waits and is inherited. The last four
/// are those of `struct termios2`.
const REQUESTS: [u64; 13] = [
    libc::TCGETS,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TIOCGWINSZ,
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::FIONCLEX,
    0x802c_542a,
    0x402c_542b,
    0x402c_542c,
    0x402c_542d,
];

/// Signals that the recorded command is sent: those that end it.
const ENDING: [u64; 3] = [libc::SIGTERM as u64, libc::SIGCONT as u64, libc::SIGKILL as u64];

/// Commands of fcntl(2): copies, flags and locks, those of open file descriptions (36 to 38) among them. Not those by which
/// the kernel sends a signal to somebody when a file is ready.
const FLAGS_AND_LOCKS: [u64; 14] = [
    libc::F_DUPFD as u64,
    libc::F_GETFD as u64,
    libc::F_SETFD as u64,
    libc::F_GETFL as u64,
    libc::F_GETLK as u64,
    libc::F_SETLK as u64,
    libc::F_SETLKW as u64,
    36,
    37,
    38,
    libc::F_DUPFD_CLOEXEC as u64,
    libc::F_GETPIPE_SZ as u64,
    libc::F_ADD_SEALS as u64,
    libc::F_GET_SEALS as u64,
];

/// **The table of system calls.** One that has several rows of its groups is allowed where one of them fits.
const CALLS: &[(Group, &[libc::c_long], When)] = &[
    // A program that is brought in could not run.
    (Group::Run, &[libc::SYS_mmap, libc::SYS_mprotect], Without(2, libc::PROT_EXEC as u64)),
    (Group::Run, &[libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise], Always),
    // Threads, and no processes.
    (Group::Run, &[libc::SYS_clone], With(0, libc::CLONE_THREAD as u64)),
    (Group::Run, &[libc::SYS_clone3, libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_futex], Always),
    (Group::Run, &[libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_membarrier], Always),
    (Group::Run, &[libc::SYS_exit, libc::SYS_exit_group, libc::SYS_restart_syscall], Always),
    (Group::Run, &[libc::SYS_prctl], OneOf(0, &[libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, 0x5356_4d41])),
    (Group::Run, &[libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn], Always),
    (Group::Run, &[libc::SYS_sigaltstack], Always),
    (Group::Run, &[libc::SYS_tgkill], Own(0)),
    (Group::Run, &[libc::SYS_getpid, libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid], Always),
    (Group::Run, &[libc::SYS_getegid, libc::SYS_getppid, libc::SYS_uname, libc::SYS_sysinfo], Always),
    (Group::Run, &[libc::SYS_getrusage, libc::SYS_getrandom], Always),
    // Limits are asked for, and not set.
    (Group::Run, &[libc::SYS_prlimit64], Null(2)),
    (Group::Run, &[libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep], Always),
    (Group::Run, &[libc::SYS_nanosleep, libc::SYS_gettimeofday], Always),
    (Group::Run, &[libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_preadv], Always),
    (Group::Run, &[libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64, libc::SYS_lseek, libc::SYS_close], Always),
    (Group::Run, &[libc::SYS_fstat, libc::SYS_dup, libc::SYS_dup3], Always),
    (Group::Run, &[libc::SYS_fcntl], OneOf(1, &FLAGS_AND_LOCKS)),
    // A signal goes to who has the terminal, not only to this process.
    (Group::Run, &[libc::SYS_fcntl], ValueWithout(1, libc::F_SETFL as u64, libc::O_ASYNC as u64)),
    (Group::Run, &[libc::SYS_ppoll, libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_splice], Always),
    (Group::Run, &[libc::SYS_ioctl], OneOf(1, &REQUESTS)),
    (Group::Read, &[libc::SYS_openat], Without(2, CHANGES)),
    (Group::Read, &[libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_faccessat, libc::SYS_faccessat2], Always),
    (Group::Read, &[libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_flock], Always),
    (Group::Read, &[libc::SYS_fadvise64, libc::SYS_statfs, libc::SYS_fstatfs], Always),
    // No file changes its mode, and none is made that gives anybody rights: openat2() keeps its mode in memory, where a
    // filter cannot look.
    (Group::Write, &[libc::SYS_openat], PrivateIfMade(2, 3)),
    (Group::Write, &[libc::SYS_mkdirat], Private(2)),
    (Group::Write, &[libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_linkat], Always),
    (Group::Write, &[libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fsync, libc::SYS_fdatasync], Always),
    (Group::Write, &[libc::SYS_getgroups, libc::SYS_capget], Always),
    (Group::Owner, &[libc::SYS_setfsuid, libc::SYS_setfsgid], OneOf(0, &NO_ID)),
    // What wakes the thread that waits for keys is a pair of sockets, which lead nowhere else.
    (Group::Terminal, &[libc::SYS_socketpair], OneOf(0, &[libc::AF_UNIX as u64])),
    (Group::Terminal, &[libc::SYS_sendto], Null(4)),
    (Group::Terminal, &[libc::SYS_recvfrom, libc::SYS_eventfd2, libc::SYS_pipe2], Always),
    (Group::Terminal, &[libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait], Always),
    // Commands of bpf(2) on what is loaded already: elements of maps, what a program has counted, iterators, and attaching
    // once more. Nothing is loaded, and nothing of others is found.
    (Group::Record, &[libc::SYS_bpf], OneOf(0, &[1, 2, 3, 4, 15, 17, 24, 28, 33])),
    (Group::Record, &[libc::SYS_accept, libc::SYS_accept4, libc::SYS_recvfrom], Always),
    // To whom a socket leads already, and to nobody else.
    (Group::Record, &[libc::SYS_sendto], Null(4)),
    (Group::Record, &[libc::SYS_recvmsg, libc::SYS_shutdown, libc::SYS_getsockopt], Always),
    (Group::Record, &[libc::SYS_getsockname, libc::SYS_getpeername], Always),
    (Group::Record, &[libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_eventfd2], Always),
    (Group::Record, &[libc::SYS_wait4, libc::SYS_waitid, libc::SYS_memfd_create], Always),
    // Whether a process is there. The recorded command is ended by the helper, which holds a descriptor of the process:
    // once it has ended, its id may be another's.
    (Group::Record, &[libc::SYS_kill], OneOf(1, &[0])),
    // `PERF_EVENT_IOC_ENABLE`, `PERF_EVENT_IOC_DISABLE`, and `PROCMAP_QUERY`, which asks an open `maps` for one mapping.
    (Group::Record, &[libc::SYS_ioctl], OneOf(1, &[0x2400, 0x2401, 0xc068_6611])),
    (Group::Serve, &[libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_open_by_handle_at], Always),
    (Group::Serve, &[libc::SYS_sendto], Null(4)),
    (Group::End, &[libc::SYS_pidfd_send_signal], OneOf(1, &ENDING)),
    (Group::Detach, &[libc::SYS_read, libc::SYS_close, libc::SYS_exit, libc::SYS_exit_group], Always),
    (Group::Detach, &[libc::SYS_rt_sigreturn, libc::SYS_restart_syscall], Always),
    (
        Group::Publish,
        &[libc::SYS_read, libc::SYS_write, libc::SYS_close, libc::SYS_renameat2, libc::SYS_unlinkat],
        Always,
    ),
    (
        Group::Publish,
        &[libc::SYS_exit, libc::SYS_exit_group, libc::SYS_rt_sigreturn, libc::SYS_restart_syscall],
        Always,
    ),
    (Group::Terminal, &[libc::SYS_openat], OneOf(2, &[(libc::O_RDWR | libc::O_CLOEXEC) as u64])),
];

/// Calls that the C library makes on x86-64 alone.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[(Group, &[libc::c_long], When)] = &[
    (Group::Run, &[libc::SYS_poll, libc::SYS_dup2, libc::SYS_time], Always),
    (Group::Read, &[libc::SYS_open], Without(1, CHANGES)),
    (Group::Read, &[libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink], Always),
    (Group::Write, &[libc::SYS_open], PrivateIfMade(1, 2)),
    (Group::Write, &[libc::SYS_mkdir], Private(1)),
    (Group::Write, &[libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename], Always),
    (Group::Terminal, &[libc::SYS_epoll_wait], Always),
    (Group::Record, &[libc::SYS_epoll_wait], Always),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[(Group, &[libc::c_long], When)] = &[];

/// Refuses all system calls but those of these groups, to all threads of this process and those that they start.
///
/// # Errors
/// The kernel has no filters, or refuses, for this reason.
pub(super) fn allow(groups: &[Group]) -> Result<(), String> {
    Filter::of(groups)?.enter().map_err(|error| error.to_string())
}

/// The filters of some groups, ready to be put into force.
pub struct Filter([BpfProgram; 2]);

impl Filter {
    /// Makes the filters.
    ///
    /// # Errors
    /// mmtrace has none for this machine, for this reason.
    pub fn of(groups: &[Group]) -> Result<Self, String> {
        // clone3() keeps its flags in memory, where a filter cannot look: the C library falls back on clone(). The kernel takes
        // the stricter of two filters.
        let hidden = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        Ok(Self([
            compiled(hidden, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?,
            compiled(rules(groups)?, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?,
        ]))
    }

    /// Refuses all other system calls, to all threads of this process and those that they start. Makes system calls only.
    ///
    /// # Errors
    /// The kernel has no filters, or refuses.
    pub fn enter(&self) -> Result<(), seccompiler::Error> {
        // The first one lets the second one in.
        self.0.iter().try_for_each(|filter| apply_filter_all_threads(filter))
    }
}

fn compiled(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, String> {
    let machine = std::env::consts::ARCH.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    let filter = SeccompFilter::new(rules, otherwise, matching, machine).map_err(|error| error.to_string())?;
    filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())
}

/// Returns the rules of these groups by number: none of a call that is always allowed.
fn rules(groups: &[Group]) -> Result<BTreeMap<i64, Vec<SeccompRule>>, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let of_groups = || CALLS.iter().chain(OLD_CALLS).filter(|(group, ..)| groups.contains(group));
    for (_, calls, when) in of_groups().filter(|(.., when)| *when != Always) {
        // No rule would allow the call whatever its arguments are.
        let fitting = when.rules()?;
        for call in calls.iter().filter(|_| !fitting.is_empty()) {
            rules.entry(*call).or_default().extend(fitting.clone());
        }
    }
    for (_, calls, _) in of_groups().filter(|(.., when)| *when == Always) {
        rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    }
    Ok(rules)
}

impl When {
    fn rules(self) -> Result<Vec<SeccompRule>, String> {
        // The upper half of a number that is passed as an int is not looked at by the kernel either.
        let condition = |argument, operator, value| {
            let length = if matches!(self, Null(_)) { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
            SeccompCondition::new(argument, length, operator, value)
        };
        let is = |argument, operator, value| {
            condition(argument, operator, value)
                .and_then(|condition| SeccompRule::new(vec![condition]))
                .map_err(|error| error.to_string())
        };
        let all = |conditions: Vec<_>| {
            let conditions: Result<Vec<_>, _> = conditions.into_iter().collect();
            conditions.and_then(SeccompRule::new).map_err(|error| error.to_string())
        };
        let private = |mode| is(mode, SeccompCmpOp::MaskedEq(NOT_PRIVATE), 0);
        match self {
            Always => Ok(Vec::new()),
            Private(mode) => Ok(vec![private(mode)?]),
            PrivateIfMade(flags, mode) => Ok(vec![is(flags, SeccompCmpOp::MaskedEq(MAKES), 0)?, private(mode)?]),
            ValueWithout(argument, value, bits) => Ok(vec![all(vec![
                condition(argument, SeccompCmpOp::Eq, value),
                condition(argument + 1, SeccompCmpOp::MaskedEq(bits), 0),
            ])?]),
            OneOf(argument, values) => values.iter().map(|value| is(argument, SeccompCmpOp::Eq, *value)).collect(),
            Null(argument) => Ok(vec![is(argument, SeccompCmpOp::Eq, 0)?]),
            Without(argument, bits) => Ok(vec![is(argument, SeccompCmpOp::MaskedEq(bits), 0)?]),
            With(argument, bits) => Ok(vec![is(argument, SeccompCmpOp::MaskedEq(bits), bits)?]),
            Own(argument) => Ok(vec![is(argument, SeccompCmpOp::Eq, u64::from(std::process::id()))?]),
        }
    }
}

/// Whether the kernel filters system calls of this process.
///
/// # Errors
/// It does not, for this reason.
pub(super) fn is_offered() -> Result<(), String> {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one number, which outlives the call.
    let asked = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    if asked == 0 { Ok(()) } else { Err(io::Error::last_os_error().to_string()) }
}
