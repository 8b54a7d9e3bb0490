//! Forked children that repeat a list of steps on the memory they got from their parent.

use super::sys::{Access, Advice, Mapping};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Step of a child. There are only memory accesses and raw system calls, so that each is safe in the child of a
/// threaded process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// Reads every so many pages of as many at the mapping's start.
    Read { memory: &'a Mapping, pages: usize, step: usize },
    /// Writes them.
    Write { memory: &'a Mapping, pages: usize, step: usize },
    /// madvise(2) over the whole mapping.
    Advise(&'a Mapping, Advice),
    /// mprotect(2) over the whole mapping.
    Protect(&'a Mapping, Access),
    /// munmap(2), and the file mapped again at the same place.
    Unmap(&'a Mapping, &'a File),
    /// Reads a file of text from its beginning to its end.
    ReadText(&'a CStr),
    /// Sleeps.
    Nap(Duration),
}

/// Numbers of completed rounds and of refused steps, in memory that parent and child share.
#[repr(C)]
struct Counts {
    rounds: AtomicU64,
    refused: AtomicU64,
}

/// A child; killed and reaped when dropped.
pub(super) struct Child {
    pid: libc::pid_t,
    counts: NonNull<Counts>,
    status: Option<ExitStatus>,
}

impl Child {
    /// Forks a child that goes through `steps` as often as `rounds` says (for ever without), and exits.
    pub(super) fn fork(steps: &[Step<'_>], rounds: Option<u64>) -> io::Result<Self> {
        let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: without an address the kernel picks unused addresses.
        let got = unsafe {
            libc::mmap(std::ptr::null_mut(), size_of::<Counts>(), libc::PROT_READ | libc::PROT_WRITE, kind, -1, 0)
        };
        if got == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // Zeroed memory on a page boundary: two counters of 0.
        let counts = NonNull::new(got.cast::<Counts>()).ok_or_else(|| io::Error::other("mmap returned address 0"))?;
        let parent = std::process::id();
        // SAFETY: the child only takes the steps, which allocate nothing and take no lock, and leaves by _exit.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: system calls without pointers.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // The parent may have died before the call above.
                if libc::getppid().cast_unsigned() != parent {
                    libc::_exit(1);
                }
            }
            // SAFETY: mapped above, for as long as the child lives, and accessed atomically only.
            let counts = unsafe { counts.as_ref() };
            while rounds.is_none_or(|n| counts.rounds.load(Ordering::Relaxed) < n) {
                for step in steps {
                    if take(step).is_err() {
                        counts.refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
                counts.rounds.fetch_add(1, Ordering::Relaxed);
            }
            // SAFETY: ends the child without running destructors of the parent's objects.
            unsafe { libc::_exit(0) };
        }
        let error = io::Error::last_os_error();
        let child = Self { pid, counts, status: None };
        // Dropping the object of a failed fork unmaps the counters.
        if pid < 0 { Err(error) } else { Ok(child) }
    }

    /// The process.
    pub(super) fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Times that the child went through its steps.
    pub(super) fn rounds(&self) -> u64 {
        // SAFETY: mapped as long as `self` lives, and accessed atomically only.
        unsafe { self.counts.as_ref() }.rounds.load(Ordering::Relaxed)
    }

    /// Steps that the kernel refused.
    pub(super) fn refused(&self) -> u64 {
        // SAFETY: as above.
        unsafe { self.counts.as_ref() }.refused.load(Ordering::Relaxed)
    }

    /// Waits for the child's own end.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let mut status = 0;
        // SAFETY: the pid is our child's, not yet reaped, and `status` outlives the call.
        while unsafe { libc::waitpid(self.pid, &raw mut status, 0) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(*self.status.insert(ExitStatus::from_raw(status)))
    }

    /// Kills the child if it still runs; the signal that ended it otherwise, such as SIGBUS.
    pub(super) fn end(&mut self) -> io::Result<Option<i32>> {
        if self.status.is_none() {
            // SAFETY: the child was not reaped yet, so the number is still its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
        Ok(self.wait()?.signal().filter(|signal| *signal != libc::SIGKILL))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.pid > 0
            && let Err(error) = self.end()
        {
            crate::console::complain(format_args!("cannot wait for the child process {}: {error}", self.pid));
        }
        // SAFETY: mapped by `fork`, and no reference to it is left.
        unsafe { libc::munmap(self.counts.as_ptr().cast(), size_of::<Counts>()) };
    }
}

fn take(step: &Step<'_>) -> io::Result<()> {
    match *step {
        Step::Read { memory, pages, step } => {
            (0..pages).step_by(step).for_each(|page| {
                std::hint::black_box(memory.read(page));
            });
        }
        Step::Write { memory, pages, step } => {
            (0..pages).step_by(step).for_each(|page| memory.write(page, memory.read(page)));
        }
        Step::Advise(memory, advice) => memory.advise(advice)?,
        Step::Protect(memory, access) => memory.protect(0, memory.len(), access)?,
        // SAFETY: a forked child has one thread.
        Step::Unmap(memory, file) => unsafe { memory.unmap_and_renew(file) }?,
        Step::ReadText(path) => read_text(path)?,
        Step::Nap(length) => std::thread::sleep(length),
    }
    Ok(())
}

fn read_text(path: &CStr) -> io::Result<()> {
    let mut part = [0_u8; 4096];
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let result = loop {
        // SAFETY: the kernel writes at most as many bytes as the array has.
        match unsafe { libc::read(fd, part.as_mut_ptr().cast(), part.len()) } {
            0 => break Ok(()),
            n if n < 0 => break Err(io::Error::last_os_error()),
            _ => {}
        }
    };
    // SAFETY: the descriptor was opened above, and nobody else has it.
    unsafe { libc::close(fd) };
    result
}

#[cfg(test)]
mod tests {
    use super::super::sys::{Backing, PAGE, memfd};
    use super::*;

    #[test]
    fn children_count_their_rounds_and_end() {
        let file = memfd(8 * PAGE).unwrap();
        let memory = Mapping::new(8 * PAGE, Backing::Shared(&file)).unwrap();
        let steps = [
            Step::Write { memory: &memory, pages: 8, step: 2 },
            Step::Advise(&memory, Advice::DontNeed),
            Step::Protect(&memory, Access::Write),
            Step::Unmap(&memory, &file),
            Step::Read { memory: &memory, pages: 8, step: 1 },
            Step::ReadText(c"/proc/self/smaps_rollup"),
        ];
        let mut child = Child::fork(&steps, Some(3)).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!((child.rounds(), child.refused(), child.end().unwrap()), (3, 0, None));
        let mut child = Child::fork(&[Step::Nap(Duration::from_millis(1))], None).unwrap();
        assert_eq!(child.end().unwrap(), None);
    }

    #[test]
    fn a_child_tells_the_signal_that_ended_it() {
        let file = memfd(PAGE).unwrap();
        let memory = Mapping::new(PAGE, Backing::Shared(&file)).unwrap();
        file.set_len(0).unwrap();
        let mut child = Child::fork(&[Step::Read { memory: &memory, pages: 1, step: 1 }], Some(1)).unwrap();
        child.wait().unwrap();
        assert_eq!(child.end().unwrap(), Some(libc::SIGBUS));
    }
}
