//! The `bpf(2)` calls that the loader library does not offer.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd},
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info};

fn bpf(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<()> {
    // SAFETY: `attr` is a whole `union bpf_attr` that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, cmd as libc::c_long, &raw mut *attr, size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the kernel counts of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often the kernel skipped it because it was already running on that CPU, since it was loaded
    /// (`bpf_prog_info.recursion_misses`, Linux 5.12).
    pub recursion_misses: u64,
    /// How often it ran; 0 unless the sysctl `kernel.bpf_stats_enabled` is set.
    pub runs: u64,
    /// How long that took, in nanoseconds; likewise.
    pub run_ns: u64,
}

/// What the kernel counts of this program.
///
/// # Errors
/// What the kernel said.
pub fn counts(program: BorrowedFd<'_>) -> io::Result<Counts> {
    // SAFETY: both are plain data for which all zeros is the kernel's "nothing asked".
    let (mut info, mut attr): (bpf_prog_info, bpf_attr) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    attr.info.bpf_fd = program.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = &raw mut info as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(Counts { recursion_misses: info.recursion_misses, runs: info.run_cnt, run_ns: info.run_time_ns })
}

/// Runs a raw tracepoint program once, here and now, in the calling task.
///
/// # Errors
/// What the kernel said.
pub fn run_once(program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain data; zeros mean "nothing given".
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.test.prog_fd = program.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns()`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds of `CLOCK_REALTIME` minus those of `CLOCK_MONOTONIC`.
#[must_use]
pub fn realtime_offset_ns() -> i64 {
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
pub fn raise_priority() {
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
pub fn has_kprobes() -> bool {
    std::path::Path::new("/sys/bus/event_source/devices/kprobe/type").exists()
}

/// Whether a ring buffer holds data, complete or still being written. Does not wait.
#[must_use]
pub fn is_readable(ring: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: ring.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}
