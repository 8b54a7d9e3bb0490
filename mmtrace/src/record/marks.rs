//! Socket from which a recording takes marks, and to which `mmtrace mark` writes them.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process,
};

use mmtrace_common::Record;
use mmtrace_model::replay::marks::{MARK_MAX, Mark};

/// The folder of the sockets. Only its owner can reach them: a mark is written into a capture by whoever records.
pub const FOLDER: &str = "/run/mmtrace";
/// How the names of sockets end.
const SUFFIX: &str = ".mark";
/// Marks that are taken at a time; the others wait in the socket.
const AT_ONCE: usize = 16;

/// Takes marks.
pub(super) struct MarkSocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl MarkSocket {
    /// Listens at a socket of this process.
    ///
    /// # Errors
    /// The folder is somebody else's, or the socket cannot be made.
    pub(super) fn new() -> io::Result<Self> {
        Self::within(Path::new(FOLDER))
    }

    fn within(folder: &Path) -> io::Result<Self> {
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = fs::symlink_metadata(folder)?;
        // SAFETY: geteuid takes nothing and cannot fail.
        if !found.is_dir() || found.uid() != unsafe { libc::geteuid() } || found.mode() & 0o077 != 0 {
            return Err(io::Error::other("the folder of the sockets is not this user's alone"));
        }
        let path = folder.join(format!("{}{SUFFIX}", process::id()));
        // Of earlier processes: one that works on files with the rights of who called sudo cannot remove its own.
        sweep(folder);
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    /// Returns the records of the marks that have come, at the time `ts`: up to this time, all events have been handed out.
    pub(super) fn records(&self, ts: u64) -> Vec<Record> {
        let mut records = Vec::new();
        let mut text = [0; MARK_MAX];
        for _ in 0..AT_ONCE {
            let Ok(len) = self.socket.recv(&mut text) else { break };
            records.extend(Mark { ts, text: text[..len].to_vec() }.records());
        }
        records
    }
}

/// Removes the sockets that nobody listens at any more.
fn sweep(folder: &Path) {
    let Ok(asks) = UnixDatagram::unbound() else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if is_socket && entry.file_name().to_string_lossy().ends_with(SUFFIX) {
            let asked = asks.connect(entry.path());
            if asked.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for MarkSocket {
    fn drop(&mut self) {
        // Otherwise the next recorder does.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_sent_becomes_a_mark() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().join("sockets");
        let marks = MarkSocket::within(&folder).expect("listening");
        let path = marks.path.clone();
        assert!(marks.records(5).is_empty());
        let sender = UnixDatagram::unbound().expect("a socket");
        for text in ["deploy", "a second one \u{1b}[31m"] {
            sender.send_to(text.as_bytes(), &path).expect("sent");
        }
        assert_eq!(marks.records(5).len(), 2);
        drop(marks);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let temp = tempfile::tempdir().expect("a folder");
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o777)).expect("changed");
        assert!(MarkSocket::within(temp.path()).is_err());
    }
}
