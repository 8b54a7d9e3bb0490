//! Capabilities, landlock and the rights to files are a thread's. A process that confines itself while it has several
//! interrupts each of them with a signal, and the handler does it, as the C library does for setuid(2) (nptl(7)).

use std::{
    io,
    os::fd::RawFd,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mmtrace_capture::User;

use super::rights;

/// Longest wait for a thread: one that waits for a disk sees no signal.
const PATIENCE: Duration = Duration::from_secs(1);
/// Threads that can be told apart.
const MOST: usize = 256;

/// What each thread does.
pub(super) struct Work {
    /// The user with whose rights files are worked on from now on, for good.
    pub(super) owner: Option<User>,
    /// Capabilities that are kept.
    pub(super) capabilities: u64,
    /// Rules of landlock.
    pub(super) ruleset: Option<RawFd>,
}

/// What the handler does; set once.
static WORK: OnceLock<Work> = OnceLock::new();
/// Threads that have done it.
static DONE: [AtomicI32; MOST] = [const { AtomicI32::new(0) }; MOST];
/// Their number, and that of threads that could not.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicUsize = AtomicUsize::new(0);

impl Work {
    /// Does it in the calling thread. Makes system calls only, so that it can run in the handler of a signal.
    pub(super) fn apply(&self) -> io::Result<()> {
        if let Some(user) = &self.owner {
            // The C library's functions of these names would change all threads, by a signal of their own.
            // SAFETY: the kernel reads as many groups as the list has.
            unsafe {
                if libc::syscall(libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr()) != 0 {
                    return Err(io::Error::last_os_error());
                }
                libc::syscall(libc::SYS_setfsgid, user.gid);
                libc::syscall(libc::SYS_setfsuid, user.uid);
            }
        }
        rights::keep(self.capabilities)?;
        if let Some(ruleset) = self.ruleset {
            // SAFETY: takes numbers only.
            if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// In the handler.
extern "C" fn came(_: libc::c_int) {
    // SAFETY: the C library keeps the error of each thread, which the interrupted code may be about to look at.
    let (errno, tid) = unsafe { (*libc::__errno_location(), libc::syscall(libc::SYS_gettid) as i32) };
    if is_done(tid) {
        return;
    }
    if WORK.get().is_none_or(|work| work.apply().is_err()) {
        FAILED.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(slot) = DONE.get(COUNT.fetch_add(1, Ordering::Relaxed)) {
        slot.store(tid, Ordering::Release);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn is_done(tid: i32) -> bool {
    DONE.iter().any(|done| done.load(Ordering::Acquire) == tid)
}

/// Has every thread of this process do it, and last the calling one.
///
/// # Errors
/// Some of the threads could not, or did not answer, for this reason; the others have done it.
pub(super) fn everywhere(work: Work) -> Result<(), String> {
    static ONCE: Mutex<()> = Mutex::new(());
    let _one = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
    if WORK.set(work).is_err() {
        return Err("this process has confined itself already".to_owned());
    }
    let own = std::process::id() as i32;
    let signal = libc::SIGRTMAX() - 1;
    // SAFETY: all zeros is a valid sigaction; `came` makes system calls, uses atomics and puts the error back.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = came as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        if libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error().to_string());
        }
    }
    // SAFETY: takes nothing and cannot fail.
    let caller = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    let begun = Instant::now();
    let mut asked: Vec<i32> = Vec::new();
    let mut unknown = None;
    // A thread that starts meanwhile is found in the next round.
    let left = loop {
        let others = match others(caller) {
            Ok(others) => others,
            Err(error) => {
                unknown = Some(format!("its threads are not in /proc: {error}"));
                break 0;
            }
        };
        for tid in others.iter().filter(|tid| !asked.contains(tid)) {
            // SAFETY: takes numbers only.
            unsafe { libc::syscall(libc::SYS_tgkill, own, *tid, signal) };
        }
        let left = others.iter().filter(|tid| !is_done(**tid)).count();
        if left == 0 || begun.elapsed() >= PATIENCE {
            break left;
        }
        asked = others;
        thread::sleep(Duration::from_micros(200));
    };
    let caller = WORK.get().map_or(Ok(()), Work::apply);
    let failed = FAILED.load(Ordering::Relaxed);
    match caller {
        Err(error) => Err(error.to_string()),
        Ok(()) if unknown.is_some() => Err(unknown.unwrap_or_default()),
        Ok(()) if left + failed > 0 => Err(format!("{} threads could not be confined", left + failed)),
        Ok(()) => Ok(()),
    }
}

/// The ids of the other threads of this process, in its own pid namespace: /proc may be that of an outer one.
fn others(caller: i32) -> io::Result<Vec<i32>> {
    let tasks = std::fs::read_dir("/proc/self/task")?;
    let statuses = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let ids: Vec<i32> = statuses.filter_map(|status| own_id(&status)).collect();
    if !ids.contains(&caller) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(ids.into_iter().filter(|tid| *tid != caller).collect())
}

/// Returns the id of a thread in the innermost of its pid namespaces, by its status: the last of `NSpid`.
fn own_id(status: &str) -> Option<i32> {
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_named_by_its_innermost_namespace() {
        assert_eq!(own_id("Name:\tx\nNSpid:\t4711\t12\nNSpgid:\t9\t1\n"), Some(12));
        assert_eq!(own_id("NSpid:\t4711\n"), Some(4711));
        assert_eq!((own_id("NSpid:\n"), own_id("Name:\tx\n")), (None, None));
    }

    #[test]
    fn the_threads_of_this_process_are_found() {
        // SAFETY: takes nothing and cannot fail.
        let caller = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
        let tid = thread::spawn(move || others(caller).map(|others| others.contains(&caller))).join();
        assert!(!tid.expect("it ends").expect("read"), "the caller is left out");
        assert!(others(-1).is_err(), "this thread is no caller");
    }
}
