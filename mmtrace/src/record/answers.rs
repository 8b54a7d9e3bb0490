//! What the helper does about each question.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{Mutex, OnceLock, PoisonError},
};

use super::{
    functions::file,
    helper::{Answer, Answers, Ending, Request},
};
use crate::environment::CgroupPaths;

/// The helper's knowledge.
pub(super) struct HelperAnswers {
    cgroups: Mutex<Option<CgroupPaths>>,
    /// The recorded command, as a descriptor of its process.
    command: OnceLock<OwnedFd>,
}

impl HelperAnswers {
    /// Opens what it answers from.
    pub(super) fn new() -> Self {
        Self { cgroups: Mutex::new(CgroupPaths::open()), command: OnceLock::new() }
    }

    fn end(&self, ending: Ending) -> io::Result<Answer> {
        let command = self.command.get().ok_or(io::ErrorKind::NotFound)?;
        // A stopped process does not see the first before the second.
        let signals = match ending {
            Ending::Asked => &[libc::SIGTERM, libc::SIGCONT][..],
            Ending::Killed => &[libc::SIGKILL],
        };
        for signal in signals {
            let none = std::ptr::null::<libc::c_void>();
            // SAFETY: the descriptor is open, and no information goes with the signal.
            let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, command.as_raw_fd(), *signal, none, 0) };
            if sent != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Answer::default())
    }
}

impl Answers for HelperAnswers {
    fn answer(&self, request: &Request<'_>, sent: Option<OwnedFd>) -> io::Result<Answer> {
        let bytes = |bytes| Ok(Answer { bytes, descriptor: None });
        match *request {
            Request::Maps { pid } => File::open(format!("/proc/{pid}/maps")).map(Answer::from),
            Request::Mapped { pid, range, of } => file::of_process(pid, range, of).map(Answer::from),
            Request::AtPath { of, path } => file::by_path(path, of).map(Answer::from),
            Request::Own { of } => file::of_own(of).map(Answer::from),
            Request::Symbols { build_id } => file::of_build(build_id).map(Answer::from),
            Request::Cgroup { id } => {
                let mut cgroups = self.cgroups.lock().unwrap_or_else(PoisonError::into_inner);
                bytes(cgroups.as_mut().and_then(|cgroups| cgroups.of(id)).ok_or(io::ErrorKind::NotFound)?)
            }
            Request::Waits { pid, tid } => bytes(fs::read(format!("/proc/{pid}/task/{tid}/wchan"))?),
            Request::Command => {
                let command = sent.ok_or(io::ErrorKind::InvalidInput)?;
                self.command.set(command).map_err(|_| io::ErrorKind::AlreadyExists)?;
                Ok(Answer::default())
            }
            Request::End(ending) => self.end(ending),
        }
    }
}
