//! Opening a file that a stranger may have put there.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Opens a regular file for reading, and returns its length as well. Anything else would wait for a writer, never end,
/// or do something when it is opened. A symbolic link is not followed: who put it there would choose what is read.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    // Asked before: a device may act on being opened.
    check(&fs::symlink_metadata(path)?)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // Asked again: it may be another one by now.
    let metadata = file.metadata()?;
    check(&metadata)?;
    Ok((file, metadata.len()))
}

fn check(metadata: &Metadata) -> io::Result<()> {
    match other(metadata) {
        None => Ok(()),
        Some(what) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a regular file"))),
    }
}

/// Says what a file is; `None`: a regular file.
pub(super) fn other(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    let kinds = [
        (kind.is_dir(), "a directory"),
        (kind.is_symlink(), "a symbolic link"),
        (kind.is_fifo(), "a FIFO"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
        (!kind.is_file(), "something else"),
    ];
    kinds.into_iter().find_map(|(is, what)| is.then_some(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn refused(path: &Path) -> String {
        open(path).expect_err("it is not regular").to_string()
    }

    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("plain"), b"four").expect("written");
        symlink(at("plain"), at("link")).expect("linked");
        symlink(at("loop"), at("loop")).expect("linked");
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo")).status().expect("mkfifo runs");
        assert!(fifo.success());
        let _socket = UnixListener::bind(at("socket")).expect("bound");

        assert_eq!(open(&at("plain")).expect("it is regular").1, 4);
        assert_eq!(refused(&at("link")), "it is a symbolic link, not a regular file");
        assert_eq!(refused(&at("loop")), "it is a symbolic link, not a regular file");
        assert_eq!(refused(&at("fifo")), "it is a FIFO, not a regular file");
        assert_eq!(refused(&at("socket")), "it is a socket, not a regular file");
        assert_eq!(refused(Path::new("/dev/zero")), "it is a device, not a regular file");
        assert_eq!(refused(dir.path()), "it is a directory, not a regular file");
        assert!(open(&at("none")).is_err());
    }
}
