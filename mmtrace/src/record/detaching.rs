//! Probes come off when the last descriptor of their links is closed. The kernel waits for a grace period at each
//! function, one after the other, so that many take seconds; in a kernel that hangs the wait has no end, and nothing can
//! interrupt it. So another process closes the last ones: this one can go whatever becomes of that.

use std::{
    fs, io,
    io::{PipeReader, PipeWriter, Read as _, Write as _},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::signals::Signals;
use crate::{
    confine::{self, Filter, Group},
    console::tell,
};

/// A wait that is longer is told to the user.
const LONG: Duration = Duration::from_secs(1);
/// Longest wait for the last probe to come off, once everything else is done.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks at the other process.
const EVERY: Duration = Duration::from_millis(5);

/// Names of the descriptors that a link keeps (`kernel/bpf/syscall.c`, `kernel/events/core.c`).
const LINKS: [&str; 3] = ["anon_inode:bpf_link", "anon_inode:bpf-raw-tracepoint", "anon_inode:[perf_event]"];
/// Name of the descriptor that has the kernel measure programs, which is closed when none is attached any more.
const MEASURING: &str = "anon_inode:bpf-stats";

/// Something whose links another process holds as well.
pub(super) struct Held<T> {
    held: T,
    keeper: Option<Keeper>,
}

/// The other process. It ends when the pipe is closed, so also when this process is killed.
struct Keeper {
    pid: libc::pid_t,
    ours: PipeWriter,
    /// The descriptors that it holds. Links that were made later are this process' alone.
    links: Vec<i32>,
}

/// Probes that are coming off.
pub(super) struct Detaching<T> {
    pid: Option<libc::pid_t>,
    /// Links that no other process holds; they are closed when nothing else is left to do.
    last: Option<T>,
    begun: Instant,
}

impl<T> Held<T> {
    /// Starts the other process, early, while this one is small. Where none can be had, this one closes the links itself.
    pub(super) fn new(held: T) -> Self {
        Self { held, keeper: Keeper::start().ok() }
    }

    /// Returns what is held.
    pub(super) fn get(&mut self) -> &mut T {
        &mut self.held
    }

    /// Takes some of the probes off, which `release` closes the links of.
    pub(super) fn release(&mut self, release: impl FnOnce(&mut T)) {
        let before = descriptors(is_link).unwrap_or_default();
        release(&mut self.held);
        if let Some(keeper) = &mut self.keeper {
            let after = descriptors(is_link).unwrap_or_default();
            keeper.close(before.into_iter().filter(|fd| !after.contains(fd)));
        }
    }

    /// Takes the probes off, without waiting for it.
    pub(super) fn detach(self) -> Detaching<T> {
        let begun = Instant::now();
        let Some(Keeper { pid, ours, .. }) = self.keeper else {
            return Detaching { pid: None, last: Some(self.held), begun };
        };
        // First these, which are not the last ones.
        drop(self.held);
        drop(ours);
        Detaching { pid: Some(pid), last: None, begun }
    }
}

impl Keeper {
    fn start() -> io::Result<Self> {
        let (theirs, ours) = io::pipe()?;
        let filter = Filter::of(&[Group::Detach]).ok();
        // Nobody shall wait for an end of file, or for a lock, that the other process holds by mistake.
        let links = descriptors(is_link)?;
        let close = descriptors(|name| !is_link(name) && name != MEASURING.as_bytes())?;
        let close: Vec<i32> = close.into_iter().filter(|fd| *fd != theirs.as_raw_fd()).collect();
        // SAFETY: the child makes system calls, allocates nothing, takes no lock and leaves by _exit.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => keep(&close, &links, filter.as_ref(), theirs),
            pid => Ok(Self { pid, ours, links }),
        }
    }

    /// Has the other process close its copies of these descriptors.
    fn close(&mut self, fds: impl Iterator<Item = i32>) {
        // Another number may be that of the pipe, over there.
        for fd in fds.filter(|fd| self.links.contains(fd)) {
            // One that does not arrive stays open until the end; what its program writes is dropped.
            let _ = self.ours.write_all(&fd.to_ne_bytes());
        }
    }
}

/// Returns this process' descriptors whose names are as asked.
fn descriptors(wanted: impl Fn(&[u8]) -> bool) -> io::Result<Vec<i32>> {
    let wanted = fs::read_dir("/proc/self/fd")?.flatten().filter(|entry| {
        let link = fs::read_link(entry.path()).unwrap_or_default();
        wanted(link.as_os_str().as_encoded_bytes())
    });
    Ok(wanted.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn is_link(name: &[u8]) -> bool {
    LINKS.iter().any(|link| name.starts_with(link.as_bytes()))
}

/// The other process: closes the descriptors whose numbers come through the pipe, and all others when the pipe has no writer
/// any more: first the links, then what has the kernel measure their programs.
fn keep(close: &[i32], links: &[i32], filter: Option<&Filter>, mut from: PipeReader) -> ! {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGTSTP] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    for fd in close {
        // SAFETY: nothing in this process uses the descriptor, and nothing is dropped.
        unsafe { libc::close(*fd) };
    }
    // SAFETY: the name is a C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"mmtrace-detach".as_ptr()) };
    // To close them takes no right.
    confine::give_up_all();
    if let Some(filter) = filter {
        // What the kernel does not have is no worse than before.
        let _ = filter.enter();
    }
    let mut fd = [0; 4];
    while from.read_exact(&mut fd).is_ok() {
        // SAFETY: nothing in this process uses the descriptor, and nothing is dropped.
        unsafe { libc::close(i32::from_ne_bytes(fd)) };
    }
    for fd in links {
        // SAFETY: as above; one that is closed already stays so, since this process opens none.
        unsafe { libc::close(*fd) };
    }
    // SAFETY: ends the process without running destructors of the other's objects.
    unsafe { libc::_exit(0) }
}

impl<T> Detaching<T> {
    /// Waits until the last is off, for a bounded time; says if it is not.
    pub(super) async fn end(self, signals: &mut Signals) {
        let Self { pid, last, begun } = self;
        let mut told = false;
        if let Some(pid) = pid {
            let waited = Instant::now();
            let status = loop {
                let mut status = 0;
                // SAFETY: `status` outlives the call; the process is our child, and nobody else waits for it.
                match unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } {
                    0 => {}
                    _ => break Some(status),
                }
                if waited.elapsed() >= PATIENCE || Signals::count() > 1 {
                    break None;
                }
                if !told && begun.elapsed() >= LONG && waited.elapsed() >= EVERY {
                    told = true;
                    tell("waiting until the kernel has detached the last probes");
                }
                tokio::select! {
                    () = sleep(EVERY) => {}
                    () = signals.beyond(1) => {}
                }
            };
            if status.is_none() {
                tell(&format!(
                    "the kernel has not detached all probes after {:.1} s: process {pid} (mmtrace-detach) goes on \
                     waiting for it; to see where in the kernel it waits: sudo cat /proc/{pid}/stack",
                    begun.elapsed().as_secs_f64()
                ));
                return;
            }
        } else if last.is_some() {
            tell("detaching the probes");
            crate::console::settle(LONG);
        }
        let here = last.is_some();
        drop(last);
        if (told || here) && begun.elapsed() >= LONG {
            tell(&format!("detached the probes in {:.1} s", begun.elapsed().as_secs_f64()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    /// Returns whether anybody still has the read end open: only then does a write succeed.
    fn has_reader(ours: &PipeWriter) -> bool {
        (&*ours).write_all(b"x").is_ok()
    }

    #[test]
    fn the_other_process_holds_no_descriptor_but_links_and_ends_with_the_pipe() {
        let (theirs, ours) = io::pipe().expect("a pipe");
        let held = Held::new(OwnedFd::from(theirs));
        let pid = held.keeper.as_ref().map(|keeper| keeper.pid).expect("a process");
        assert!(has_reader(&ours));
        let detaching = held.detach();
        // Without a wait: the pipe was not the other process' to keep.
        let start = Instant::now();
        while has_reader(&ours) {
            assert!(start.elapsed() < Duration::from_secs(20), "it is kept");
            std::thread::sleep(EVERY);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut signals = Signals::watch().expect("watched");
            detaching.end(&mut signals).await;
        });
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "it is gone, and waited for");
    }
}
