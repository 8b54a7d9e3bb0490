//! The `bpf(2)` calls that the loader library does not offer.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
    time::Duration,
};

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_info, bpf_prog_type, bpf_stats_type};

fn bpf(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<libc::c_int> {
    // SAFETY: `attr` is a whole `union bpf_attr` that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, cmd as libc::c_long, &raw mut *attr, size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

/// As [`bpf`], for commands that answer with a descriptor.
fn descriptor(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(cmd, attr)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns the argument of bpf(2) with nothing filled in.
fn nothing_asked() -> bpf_attr {
    // SAFETY: plain data for which all zeros is the kernel's "nothing asked".
    unsafe { std::mem::zeroed() }
}

fn load(code: &[u64], kind: bpf_prog_type, fill: impl FnOnce(&mut bpf_attr)) -> io::Result<OwnedFd> {
    let mut attr = nothing_asked();
    attr.__bindgen_anon_3.prog_type = kind as u32;
    attr.__bindgen_anon_3.insn_cnt = code.len() as u32;
    attr.__bindgen_anon_3.insns = code.as_ptr() as u64;
    attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    fill(&mut attr);
    descriptor(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Brings in a raw tracepoint program that was put together by hand.
///
/// # Errors
/// The kernel refused the program.
pub(crate) fn load_raw_tracepoint(code: &[u64]) -> io::Result<OwnedFd> {
    load(code, bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT, |_| {})
}

/// Brings in a program for the iterator whose function has this id in the kernel's BTF.
///
/// # Errors
/// The kernel refused the program.
pub(crate) fn load_iterator(code: &[u64], at: u32) -> io::Result<OwnedFd> {
    load(code, bpf_prog_type::BPF_PROG_TYPE_TRACING, |attr| {
        attr.__bindgen_anon_3.expected_attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
        attr.__bindgen_anon_3.attach_btf_id = at;
    })
}

/// Lets an iterator's program run over all tasks of this pid namespace, or over that with this id; what it writes is
/// read from the descriptor.
///
/// # Errors
/// The kernel refused the link or the iterator.
pub(crate) fn iterate(program: BorrowedFd<'_>, tid: Option<u32>) -> io::Result<OwnedFd> {
    // `union bpf_iter_link_info`: its member for tasks begins with the tid.
    let info = [tid.unwrap_or(0), 0, 0, 0];
    let mut attr = nothing_asked();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
    if tid.is_some() {
        attr.link_create.__bindgen_anon_3.__bindgen_anon_1.iter_info = info.as_ptr() as u64;
        attr.link_create.__bindgen_anon_3.__bindgen_anon_1.iter_info_len = size_of_val(&info) as u32;
    }
    let link = descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr)?;
    let mut attr = nothing_asked();
    attr.iter_create.link_fd = link.as_fd().as_raw_fd() as u32;
    descriptor(bpf_cmd::BPF_ITER_CREATE, &mut attr)
}

/// Closes a map to bpf(2) calls that would write it, for good; programs go on writing it (`BPF_MAP_FREEZE`, Linux 5.2).
///
/// # Errors
/// The map is frozen already, somebody has mapped it for writing, or the kernel does not allow it.
pub(crate) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = nothing_asked();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// Counters that the kernel keeps of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Runs that the kernel skipped since the program was loaded, because it was already running on that CPU
    /// (`bpf_prog_info.recursion_misses`, Linux 5.12).
    pub(crate) recursion_misses: u64,
    /// Number of runs; 0 unless the sysctl `kernel.bpf_stats_enabled` is set.
    pub(crate) runs: u64,
    /// Total time of these runs, in nanoseconds; likewise.
    pub(crate) run_ns: u64,
}

/// Returns the kernel's counters of this program.
///
/// # Errors
/// The kernel did not tell.
pub(crate) fn counts(program: BorrowedFd<'_>) -> io::Result<Counts> {
    // SAFETY: plain data for which all zeros is "nothing known".
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = nothing_asked();
    attr.info.bpf_fd = program.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = &raw mut info as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(Counts { recursion_misses: info.recursion_misses, runs: info.run_cnt, run_ns: info.run_time_ns })
}

/// Has the kernel measure the time of programs for as long as the descriptor is open (`BPF_ENABLE_STATS`, Linux 5.8). The
/// kernel patches its own code for that, and when the last such descriptor is closed: it is to be opened before programs are
/// attached, and closed when they are off.
///
/// # Errors
/// The kernel does not allow it.
pub(crate) fn measure_programs() -> io::Result<OwnedFd> {
    let mut attr = nothing_asked();
    attr.enable_stats.type_ = bpf_stats_type::BPF_STATS_RUN_TIME as u32;
    descriptor(bpf_cmd::BPF_ENABLE_STATS, &mut attr)
}

/// Returns the number of CPUs that are online.
#[must_use]
pub(crate) fn online_cpus() -> u64 {
    // SAFETY: no memory is involved.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1).max(1)
}

/// Returns whether the kernel measures the time of programs (sysctl `kernel.bpf_stats_enabled`).
#[must_use]
pub(crate) fn measures_programs() -> bool {
    std::fs::read("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|set| set.trim_ascii() == b"1")
}

/// CPU time that this process has used, in user mode and in the kernel.
#[must_use]
pub(crate) fn cpu_time() -> Duration {
    Duration::from_nanos(clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID))
}

/// Runs a raw tracepoint program once, here and now, in the calling task. What it returns is returned.
///
/// # Errors
/// The kernel refused to run it.
pub(crate) fn run_once(program: BorrowedFd<'_>) -> io::Result<u32> {
    run_once_with(program, &[])
}

/// As [`run_once`], with these arguments.
///
/// # Errors
/// The kernel refused to run it.
pub(crate) fn run_once_with(program: BorrowedFd<'_>, arguments: &[u64]) -> io::Result<u32> {
    let mut attr = nothing_asked();
    attr.test.prog_fd = program.as_raw_fd() as u32;
    if !arguments.is_empty() {
        attr.test.ctx_in = arguments.as_ptr() as u64;
        attr.test.ctx_size_in = size_of_val(arguments) as u32;
    }
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: a number, whatever its bits, that the kernel has written.
    Ok(unsafe { attr.test.retval })
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns()`.
#[must_use]
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds of `CLOCK_REALTIME` minus those of `CLOCK_MONOTONIC`.
#[must_use]
pub(crate) fn realtime_offset_ns() -> i64 {
    clock_ns(libc::CLOCK_REALTIME) as i64 - monotonic_ns() as i64
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the struct it is given; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Asks for more than a fair share of the CPU for every thread of this process: a
/// reader that waits behind those it watches loses what they do. Nothing happens
/// where that is not permitted.
pub(crate) fn raise_priority() {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return };
    for thread in threads.flatten() {
        if let Some(tid) = thread.file_name().to_str().and_then(|t| t.parse::<libc::id_t>().ok()) {
            // SAFETY: no memory is involved; the id is that of a thread of ours.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, tid, -20) };
        }
    }
}

/// Whether programs can be put on breakpoints in the kernel.
#[must_use]
pub(crate) fn has_kprobes() -> bool {
    std::path::Path::new("/sys/bus/event_source/devices/kprobe/type").exists()
}

/// Bytes of memory that this machine has.
#[must_use]
pub fn memory_bytes() -> u64 {
    // SAFETY: plain data, which the kernel fills; asked with memory of that size it cannot fail.
    let info = unsafe {
        let mut info: libc::sysinfo = std::mem::zeroed();
        libc::sysinfo(&raw mut info);
        info
    };
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Whether a ring buffer holds data, complete or still being written. Does not wait.
#[must_use]
pub(crate) fn is_readable(ring: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: ring.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}
