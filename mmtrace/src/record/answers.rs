//! What the helper does about each question.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
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
    /// The recorded command, as a descriptor of its process; `None`: there is none, and will be none.
    command: OnceLock<Option<OwnedFd>>,
}

impl HelperAnswers {
    /// Opens what it answers from.
    pub(super) fn new() -> Self {
        Self { cgroups: Mutex::new(CgroupPaths::open()), command: OnceLock::new() }
    }

    fn end(&self, ending: Ending) -> io::Result<Answer> {
        let command = self.command.get().and_then(Option::as_ref).ok_or(io::ErrorKind::NotFound)?;
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

/// Hands a file over if it is a program or a library. A recorder that a stranger has taken over gets no other file: not the
/// memory of a process that was written down when it crashed, which is an ELF file as well.
fn program(file: File) -> io::Result<Answer> {
    /// `ET_EXEC` and `ET_DYN` (include/uapi/linux/elf.h); the type has two bytes, in the order of the machine.
    const TYPES: [u16; 2] = [2, 3];
    let mut head = [0; 18];
    file.read_exact_at(&mut head, 0)?;
    let kind = u16::from_ne_bytes([head[16], head[17]]);
    if head.starts_with(b"\x7fELF") && TYPES.contains(&kind) {
        Ok(file.into())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

impl Answers for HelperAnswers {
    fn answer(&self, request: &Request<'_>, sent: Option<OwnedFd>) -> io::Result<Answer> {
        let bytes = |bytes| Ok(Answer { bytes, descriptor: None });
        match *request {
            Request::Maps { pid } => File::open(format!("/proc/{pid}/maps")).map(Answer::from),
            Request::Mapped { pid, range, of } => file::of_process(pid, range, of).and_then(program),
            Request::AtPath { of, path } => file::by_path(path, of).and_then(program),
            Request::Own { of } => file::of_own(of).and_then(program),
            Request::Symbols { build_id } => file::of_build(build_id).and_then(program),
            Request::Cgroup { id } => {
                let mut cgroups = self.cgroups.lock().unwrap_or_else(PoisonError::into_inner);
                bytes(cgroups.as_mut().and_then(|cgroups| cgroups.of(id)).ok_or(io::ErrorKind::NotFound)?)
            }
            Request::Waits { pid, tid } => bytes(fs::read(format!("/proc/{pid}/task/{tid}/wchan"))?),
            Request::Command => {
                self.command.set(sent).map_err(|_| io::ErrorKind::AlreadyExists)?;
                Ok(Answer::default())
            }
            Request::End(ending) => self.end(ending),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
        path::Path,
    };

    use super::*;

    fn asked(path: &Path) -> io::Result<Answer> {
        let metadata = fs::metadata(path).expect("it is there");
        let dev = libc::major(metadata.dev()) << 20 | libc::minor(metadata.dev());
        let request = Request::AtPath { of: (dev, metadata.ino()), path: path.as_os_str().as_bytes() };
        HelperAnswers::new().answer(&request, None)
    }

    #[test]
    fn programs_are_handed_over_and_no_other_files() {
        let own = std::env::current_exe().expect("this program");
        assert!(asked(&own).expect("it is a program").descriptor.is_some());
        let mut other = tempfile::NamedTempFile::new_in(own.parent().expect("a folder")).expect("a file");
        other.write_all(b"root:secret").expect("written");
        assert!(asked(other.path()).is_err());
        assert!(asked(Path::new("/dev/zero")).is_err());
        // A core dump.
        let mut core = fs::read(&own).expect("read")[..64].to_vec();
        core[16..18].copy_from_slice(&4_u16.to_ne_bytes());
        let mut dump = tempfile::NamedTempFile::new_in(own.parent().expect("a folder")).expect("a file");
        dump.write_all(&core).expect("written");
        assert!(asked(dump.path()).is_err());
    }

    #[test]
    fn nobody_is_ended_once_it_is_said_that_there_is_no_command() {
        let answers = HelperAnswers::new();
        answers.answer(&Request::Command, None).expect("there is none");
        let own = super::super::target::pidfd(std::process::id()).expect("a descriptor");
        assert!(answers.answer(&Request::Command, Some(own)).is_err());
        assert!(answers.answer(&Request::End(Ending::Asked), None).is_err());
    }

    #[test]
    fn a_command_is_named_once_and_ended_only_then() {
        let answers = HelperAnswers::new();
        assert!(answers.answer(&Request::End(Ending::Killed), None).is_err(), "nobody was named");
        let mut child = std::process::Command::new("sleep").arg("100").spawn().expect("it starts");
        let process = super::super::target::pidfd(child.id()).expect("a descriptor");
        let again = process.try_clone().expect("another");
        answers.answer(&Request::Command, Some(process)).expect("taken");
        assert!(answers.answer(&Request::Command, Some(again)).is_err(), "it is the first one");
        answers.answer(&Request::End(Ending::Asked), None).expect("asked");
        assert!(!child.wait().expect("it ends").success());
    }
}
