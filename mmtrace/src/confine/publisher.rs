//! Who gives what a confined process has saved its name: a process of its own.
//!
//! Landlock knows folders with all that is beneath them. A rule for the folder around the one for saves would let the confined
//! process rename and remove every folder beneath it, in a home or in `/tmp`. So another process does the two things that are
//! done there, through descriptors that it has held since before: it moves a folder that was saved out, under a name that
//! begins as it was told, and in the end removes the folder for saves if that is empty.

use std::{
    ffi::{CStr, CString, OsStr},
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, RawFd},
        unix::ffi::OsStrExt as _,
    },
    sync::{Mutex, PoisonError},
    time::Duration,
};

use mmtrace_capture::{Publish, Staging, User, effective_uid};
use rustix::fs::{Access as Mode, AtFlags, accessat};

use super::{
    folders::{Access, Rules},
    rights,
    system_calls::{Filter, Group},
    threads::Work,
    works_without,
};

/// Bytes of a message: a name, filled up with zeros, of which there is one at least.
const MESSAGE: usize = 256;
/// Longest wait for a name to be given.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait until the folder for saves is removed.
const END: Duration = Duration::from_secs(1);
/// `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`
const OVERRIDE: u64 = 1 << 1 | 1 << 2;

/// The process, as the confined one knows it. It ends when that one does.
#[derive(Debug)]
struct Publisher {
    /// `None` when nothing more is asked.
    pipes: Mutex<Option<(PipeWriter, PipeReader)>>,
}

/// Has a process of its own publish what is saved under names that begin with `prefix`, and with the rights of who called
/// sudo. To be called before this process is confined. Where no process can be had, this one publishes itself as far as it
/// may, and says so if it may not.
pub fn publish_apart(staging: &mut Staging, prefix: &OsStr) {
    if let Ok(publisher) = Publisher::start(staging, prefix) {
        staging.hand_over(Box::new(publisher));
    }
}

impl Publisher {
    fn start(staging: &Staging, prefix: &OsStr) -> io::Result<Self> {
        let (inside, around) = staging.held()?;
        let ((theirs, to), (from, answers)) = (io::pipe()?, io::pipe()?);
        let fds = [inside.as_raw_fd(), around.as_raw_fd(), theirs.as_raw_fd(), answers.as_raw_fd()];
        // All that allocates comes before the fork: other threads may hold the allocator's lock.
        let name = CString::new(staging.name().as_bytes())?;
        let held = [
            (inside.as_fd().try_clone_to_owned()?, Access::Publish),
            (around.as_fd().try_clone_to_owned()?, Access::Publish),
        ];
        let rules = Rules::new(&[], &held).ok();
        let owner = User::invoking().ok().flatten().filter(|user| user.uid != effective_uid());
        let is_open = || accessat(&around, ".", Mode::WRITE_OK | Mode::EXEC_OK, AtFlags::EACCESS).is_ok();
        // Root may record into a folder that it could not enter without a capability.
        let capabilities = if owner.is_some() || works_without(is_open) { 0 } else { OVERRIDE };
        let work = Work { owner, capabilities, ruleset: rules.as_ref().map(Rules::ruleset) };
        let filter = Filter::of(&[Group::Publish]).ok();
        let keep = [&fds[..], work.ruleset.as_slice()].concat();
        let open = std::fs::read_dir("/proc/self/fd")?.flatten();
        let close = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let close: Vec<RawFd> = close.filter(|fd| !keep.contains(fd)).collect();
        // SAFETY: the child makes system calls, allocates nothing, takes no lock and leaves by _exit.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                give_up(&work, filter.as_ref(), &close);
                serve([fds[0], fds[1]], theirs, answers, prefix.as_bytes(), &name)
            }
            _ => Ok(Self { pipes: Mutex::new(Some((to, from))) }),
        }
    }
}

impl Publish for Publisher {
    fn publish(&self, name: &OsStr) -> io::Result<()> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let (to, from) = pipes.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let mut message = [0; MESSAGE];
        let place = message[..MESSAGE - 1].get_mut(..name.len()).ok_or(io::ErrorKind::InvalidFilename)?;
        place.copy_from_slice(name.as_bytes());
        to.write_all(&message)?;
        let mut answer = [0; 4];
        let answered = is_readable(from, PATIENCE).then(|| from.read_exact(&mut answer));
        if !matches!(answered, Some(Ok(()))) {
            // An answer that comes later would be taken for that to another question.
            *pipes = None;
            return Err(io::Error::other("the process that publishes (mmtrace-publish) does not answer"));
        }
        match i32::from_ne_bytes(answer) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let pipes = self.pipes.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((to, from)) = pipes {
            drop(to);
            // Its end is the end of the answers.
            is_readable(&from, END);
        }
    }
}

/// Whether something comes, or the other end is closed, within a time.
fn is_readable(from: &PipeReader, within: Duration) -> bool {
    let mut poll = libc::pollfd { fd: from.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, within.as_millis() as libc::c_int) == 1 }
}

/// Gives up what the process does not need. Makes system calls only.
fn give_up(work: &Work, filter: Option<&Filter>, close: &[RawFd]) {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGTSTP] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    for fd in close {
        // SAFETY: nothing in this process uses the descriptor, and nothing is dropped.
        unsafe { libc::close(*fd) };
    }
    // SAFETY: the name is a C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"mmtrace-publish".as_ptr()) };
    rights::close_memory();
    if work.apply().is_err() {
        // It would have rights that who called sudo has not.
        // SAFETY: ends the process without running destructors of the other's objects.
        unsafe { libc::_exit(1) };
    }
    if let Some(filter) = filter {
        // What the kernel does not have is no worse than before.
        let _ = filter.enter();
    }
}

/// Moves what it is told to out, until nothing more can come; then removes the folder of this name. Makes system calls only.
fn serve([inside, around]: [RawFd; 2], mut from: PipeReader, mut to: PipeWriter, prefix: &[u8], own: &CStr) -> ! {
    let mut message = [0; MESSAGE];
    while from.read_exact(&mut message).is_ok() {
        let error = match CStr::from_bytes_until_nul(&message) {
            Ok(name) if may_be(name.to_bytes(), prefix) => move_out(inside, around, name),
            _ => libc::EPERM,
        };
        if to.write_all(&error.to_ne_bytes()).is_err() {
            break;
        }
    }
    // SAFETY: the name is a C string. A folder that is not empty stays. The second call ends the process without running
    // destructors of the other's objects.
    unsafe {
        libc::unlinkat(around, own.as_ptr(), libc::AT_REMOVEDIR);
        libc::_exit(0)
    }
}

/// Whether a folder may get this name.
fn may_be(name: &[u8], prefix: &[u8]) -> bool {
    name.len() > prefix.len() && name.starts_with(prefix) && !name.contains(&b'/')
}

/// Moves a folder; that it is one, landlock sees to. Returns the number of the error, or 0.
fn move_out(inside: RawFd, around: RawFd, name: &CStr) -> i32 {
    let to = |flags: libc::c_uint| {
        // SAFETY: the name is a C string, which outlives the call; the other one returns this thread's own number.
        unsafe {
            match libc::syscall(libc::SYS_renameat2, inside, name.as_ptr(), around, name.as_ptr(), flags) {
                0 => 0,
                _ => *libc::__errno_location(),
            }
        }
    };
    match to(libc::RENAME_NOREPLACE) {
        // Not every file system can. Of what may be there, only an empty folder would be replaced.
        libc::EINVAL | libc::ENOSYS => to(0),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_begin_as_they_must_and_lead_nowhere_else() {
        for (name, may) in [
            ("saved-1", true),
            ("saved-", false),
            ("saved", false),
            (".ssh", false),
            ("saved-/../x", false),
            ("saved-1/x", false),
            ("", false),
        ] {
            assert_eq!(may_be(name.as_bytes(), b"saved-"), may, "{name}");
        }
    }

    #[test]
    fn another_process_publishes_folders_alone_and_removes_the_empty_one() {
        let temp = tempfile::tempdir().expect("a folder");
        let path = temp.path().join("saved-1");
        let mut staging = Staging::beside(&path).expect("made");
        publish_apart(&mut staging, OsStr::new("saved-"));
        fs::create_dir(staging.place(&path)).expect("made");
        staging.publish(&path).expect("moved");
        assert!(path.is_dir());
        let other = temp.path().join(".ssh");
        fs::create_dir(staging.place(&other)).expect("made");
        assert!(staging.publish(&other).is_err() && !other.exists(), "it begins otherwise");
        fs::remove_dir(staging.place(&other)).expect("removed");
        fs::create_dir(staging.place(&path)).expect("made");
        assert!(staging.publish(&path).is_err(), "something is there");
        fs::remove_dir(staging.place(&path)).expect("removed");
        if super::super::offered().folders.is_ok() {
            let file = temp.path().join("saved-2");
            fs::write(staging.place(&file), "text").expect("written");
            assert!(staging.publish(&file).is_err() && !file.exists(), "it is no folder");
            fs::remove_file(staging.place(&file)).expect("removed");
        }
        drop(staging);
        assert_eq!(fs::read_dir(temp.path()).expect("listed").count(), 1, "nothing else is left");
    }
}
