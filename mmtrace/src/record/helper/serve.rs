//! What runs in the helper.

use std::{
    fs::OpenOptions,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
};

use super::{Answer, DONE, MESSAGE_MAX, Request, socket};
use crate::confine::{Group, Need};

/// First byte of the answer to what was not done.
const REFUSED: u8 = 0;
/// `CAP_DAC_READ_SEARCH`: paths of cgroups, and files in closed folders; `CAP_SYS_PTRACE` and `CAP_CHECKPOINT_RESTORE`:
/// other users' `/proc/PID`, and `map_files` in it.
const CAPABILITIES: u64 = 1 << 2 | 1 << 19 | 1 << 40;
/// `CAP_KILL`: the recorded command may be another user's.
const KILL: u64 = 1 << 5;
/// System calls of who ends nobody.
const SERVES: &[Group] = &[Group::Run, Group::Read, Group::Serve];
/// Signals that end a recording, which the recorder sees to.
const SIGNALS: [libc::c_int; 5] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGTSTP];

/// What is done about questions.
pub(in crate::record) trait Answers: Send + Sync + 'static {
    /// Answers a question; `sent` is the descriptor that came with it.
    ///
    /// # Errors
    /// It cannot be done.
    fn answer(&self, request: &Request<'_>, sent: Option<OwnedFd>) -> io::Result<Answer>;
}

/// Answers what comes through these ends, each in a thread of its own, until nobody has the other end of the first. `ends`:
/// there will be a recorded command, which it may have to end.
pub(super) fn run<A: Answers>(
    [first, second, third]: [OwnedFd; 3],
    recorder: u32,
    ends: bool,
    answers: impl FnOnce() -> A,
) -> ! {
    let served = panic::catch_unwind(AssertUnwindSafe(|| {
        let keep = [&first, &second, &third].map(|end| end.as_raw_fd());
        prepare(recorder, &keep)?;
        let answers = Arc::new(answers());
        // Landlock is not among it: a process in a domain of landlock may look into no process outside.
        let need = Need {
            paths: Vec::new(),
            held: Vec::new(),
            groups: if ends { &[Group::Run, Group::Read, Group::Serve, Group::End] } else { SERVES },
            capabilities: if ends { CAPABILITIES | KILL } else { CAPABILITIES },
        };
        let _ = need.enter_with_all_files();
        for end in [second, third] {
            let answers = Arc::clone(&answers);
            thread::Builder::new().spawn(move || answer_all(&end, &*answers))?;
        }
        answer_all(&first, &*answers);
        io::Result::Ok(())
    }));
    // SAFETY: ends the process without running destructors of the other's objects.
    unsafe { libc::_exit(i32::from(!matches!(served, Ok(Ok(()))))) }
}

/// Makes a process of its own of the copy.
fn prepare(recorder: u32, keep: &[i32]) -> io::Result<()> {
    for signal in SIGNALS {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // SAFETY: the name is a C string; the other calls take numbers only.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"mmtrace-helper".as_ptr());
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // It may have died before.
        if libc::getppid().cast_unsigned() != recorder {
            return Err(io::ErrorKind::NotFound.into());
        }
    }
    // Nobody shall wait for the end of what the helper holds by mistake.
    let null = match OpenOptions::new().read(true).write(true).open("/dev/null") {
        Ok(null) => OwnedFd::from(null),
        // A container may have no devices. An empty file does as well.
        Err(_) => rustix::fs::memfd_create("null", rustix::fs::MemfdFlags::CLOEXEC)?,
    };
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if fd <= libc::STDERR_FILENO {
            // SAFETY: takes numbers only; nothing is dropped.
            unsafe { libc::dup2(null.as_fd().as_raw_fd(), fd) };
        } else if fd != null.as_raw_fd() && !keep.contains(&fd) {
            // SAFETY: nothing in this process uses the descriptor, and nothing is dropped.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Answers what comes through one end, until nobody has the other.
pub(super) fn answer_all(end: &OwnedFd, answers: &dyn Answers) {
    // One byte more than a question has: a longer message is none.
    let mut message = [0; MESSAGE_MAX + 1];
    loop {
        let answer = match socket::receive(end, &mut message) {
            Ok((0, _)) => return,
            Ok((length, sent)) => match Request::parse(&message[..length]) {
                Some(request) => answers.answer(&request, sent),
                None => Err(io::ErrorKind::InvalidInput.into()),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error),
            Err(_) => return,
        };
        let sent = match answer {
            Ok(Answer { bytes, descriptor }) if bytes.len() < MESSAGE_MAX => {
                socket::send(end, &[&[DONE], &bytes[..]].concat(), descriptor.as_ref().map(OwnedFd::as_fd))
            }
            _ => socket::send(end, &[REFUSED], None),
        };
        if sent.is_err() {
            return;
        }
    }
}
