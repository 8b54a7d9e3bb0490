//! Children, CPU affinity and swap behind safe functions.

use super::sys::{Advice, Mapping};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Lets a command's process get `signal` when the thread that spawns it ends, so that no child outlives the workload.
/// Such a command starts by fork(2) and exec(2), without it by vfork.
pub(super) fn die_with_parent(command: &mut Command, signal: i32) -> &mut Command {
    let parent = std::process::id();
    // SAFETY: the closure runs in the forked child and makes two system calls; it allocates nothing, takes no lock.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, signal);
            // The parent may have died before the call above.
            if libc::getppid().cast_unsigned() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
        })
    }
}

/// Asks a child to end, as a user would.
pub(super) fn terminate(child: &Child) {
    let pid = child.id().cast_signed();
    // SAFETY: the child was not waited for yet (we hold it), so the number is still its own.
    unsafe { libc::kill(pid, libc::SIGTERM) };
}

/// Waits for a child until `end`, then kills it. It is reaped either way; `None` if it had to be killed.
pub(super) fn reap(child: &mut Child, end: Instant) -> io::Result<Option<std::process::ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Forks a child that writes every page of `memory` (COW), gives half of it back, and exits; waits for it.
/// Returns whether the child got to its end.
pub(super) fn fork_touching(memory: &Mapping, value: u8) -> io::Result<bool> {
    // SAFETY: the child calls only functions that are safe after fork in a threaded process: it touches memory, makes
    // raw system calls, and leaves by _exit. The bounds checks inside cannot fail for pages of the mapping.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        // SAFETY: one system call without pointers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        memory.fill(1, value);
        let half = memory.pages() / 2 * super::sys::PAGE;
        let fine = memory.advise_range(0, half, Advice::DontNeed).is_ok();
        // SAFETY: ends the child without running destructors of the parent's objects.
        unsafe { libc::_exit(i32::from(!fine)) };
    }
    let mut status = 0;
    // SAFETY: the pid is our child's and `status` outlives the call.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
}

/// CPUs that the calling thread may run on.
pub(super) fn allowed_cpus() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the set whose size is passed; pid 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Vec::new();
    }
    // SAFETY: the index stays below the set's size.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Binds the calling thread to the `index`th of `cpus`, round robin. Without success it stays where it was.
pub(super) fn pin(cpus: &[usize], index: usize) {
    let Some(&cpu) = cpus.get(index % cpus.len().max(1)) else { return };
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `allowed_cpus` gives indices below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel reads the set whose size is passed; pid 0 is the calling thread.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// swapon(2), with the default priority.
pub(super) fn swap_on(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path is a C string that outlives the call.
    if unsafe { libc::swapon(path.as_ptr(), 0) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// swapoff(2)
pub(super) fn swap_off(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path is a C string that outlives the call.
    if unsafe { libc::swapoff(path.as_ptr()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
