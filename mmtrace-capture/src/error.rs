//! Errors of writing or opening a capture, and what each means for it.

use std::io;
use std::path::{Path, PathBuf};

/// An error while writing or opening a capture. Every message names the file and the consequence.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No space, quota or file-size limit left.
    #[error("{}: {} ({source}); {consequence}", path.display(), full(source))]
    DiskFull {
        /// File that could not be written.
        path: PathBuf,
        /// Consequence for the capture, as a clause.
        consequence: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Any other failed file operation.
    #[error("{}: cannot {doing} ({source}); {consequence}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// The operation, as a verb with its object.
        doing: &'static str,
        /// Consequence for the capture, as a clause.
        consequence: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A batch could not be encoded.
    #[error("{}: cannot encode events ({reason}); {consequence}", path.display())]
    Encode {
        /// File that was being written.
        path: PathBuf,
        /// The encoder's words.
        reason: String,
        /// Consequence for the capture, as a clause.
        consequence: &'static str,
    },
    /// The writer has already failed, and said why.
    #[error("{}: nothing more can be recorded, because the capture's writer has already failed", path.display())]
    Stopped {
        /// The capture.
        path: PathBuf,
    },
    /// The place where a new capture should go is taken.
    #[error("{} exists and is not a capture; it is left alone, choose another place", path.display())]
    Occupied {
        /// The path that is taken.
        path: PathBuf,
    },
    /// A folder with files of a capture and something else: more than a capture, and not ours to move or remove.
    #[error(
        "{} is left alone, since {} in it is no file of a capture: nothing was recorded; move that away, or choose \
         another place with -o", path.display(), what.display()
    )]
    Mixed {
        /// The folder.
        path: PathBuf,
        /// The name of what is in it.
        what: PathBuf,
    },
    /// A symbolic link where the folder should be.
    #[error(
        "{} is a symbolic link, which is not followed: who put it there would choose where files are written and \
         replaced; nothing was recorded; name the folder itself with -o", path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A folder of somebody else.
    #[error(
        "{} belongs to uid {owner}, and this is uid {own}: its owner could put links there, and any file that you may \
         write would be overwritten; nothing was recorded; choose a folder of your own with -o", path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The effective user.
        own: u32,
    },
    /// A folder that cannot be closed to others.
    #[error(
        "{} stays writable for others (mode {mode:03o}) where its file system keeps no modes: they could put links \
         there, and any file that you may write would be overwritten; nothing was recorded; choose a folder on another \
         file system with -o", path.display()
    )]
    Exposed {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Under sudo: a folder where who called it may not write.
    #[error(
        "{}: cannot {doing} with the rights of {user}, who called sudo and to whom captures then belong; nothing was \
         recorded; choose a folder of theirs with -o, or record as root: env -u SUDO_UID mmtrace record", path.display()
    )]
    NotTheirs {
        /// The folder.
        path: PathBuf,
        /// The operation, as a verb with its object.
        doing: &'static str,
        /// The user who called sudo.
        user: String,
    },
    /// Another recorder is at work there.
    #[error("{} is being written by another mmtrace; choose another place or stop that one", path.display())]
    InUse {
        /// The capture.
        path: PathBuf,
    },
    /// There is nothing at that path, or no directory.
    #[error("{} is not a capture: a capture is a directory with a manifest.json", path.display())]
    NotACapture {
        /// The path given.
        path: PathBuf,
    },
    /// A directory with segments and no manifest.
    #[error(
        "{} has segments of a capture but no manifest.json: without it the kernel and the probes are unknown and \
         nothing can be judged; the .parquet files themselves can still be read with any Parquet reader", path.display()
    )]
    NoManifest {
        /// The capture.
        path: PathBuf,
    },
    /// A manifest that ends too early.
    #[error(
        "{} is cut off or damaged ({reason}): the capture cannot be judged without it; its .parquet files can still be \
         read with any Parquet reader", path.display()
    )]
    BadManifest {
        /// The manifest.
        path: PathBuf,
        /// Mistake and its position, in the parser's words.
        reason: String,
    },
    /// Written by a newer mmtrace in a format that this one does not know.
    #[error(
        "{} has capture format {major}, and this mmtrace reads up to {known}: read it with mmtrace {tool} or newer", path.display()
    )]
    NewerFormat {
        /// The manifest.
        path: PathBuf,
        /// Its major version.
        major: u32,
        /// The newest major version that this build reads.
        known: u32,
        /// Version of the mmtrace that wrote it.
        tool: String,
    },
}

/// The consequence of a failure in the middle of a recording.
pub(super) const RECORDING_STOPPED: &str =
    "recording stopped; sealed segments stay valid and the open one is readable up to its last complete batch";

/// The consequence of a failure before the first event.
pub(super) const NOTHING_RECORDED: &str = "nothing was recorded";

/// The consequence of a failure to write a table.
pub(super) const NO_TABLES: &str =
    "the tables are not written; the segments are as they were, and `mmtrace tables` writes the tables later";

/// The consequence of a failure to open.
pub(super) const NOTHING_READ: &str = "nothing was read";

impl CaptureError {
    /// Reports an encoder's refusal.
    pub(super) fn encode(path: &Path, consequence: &'static str, error: &dyn std::error::Error) -> Self {
        Self::Encode { path: path.to_path_buf(), reason: error.to_string(), consequence }
    }

    /// Sorts an I/O error into its kind.
    pub(super) fn io(path: &Path, doing: &'static str, consequence: &'static str, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { path, consequence, source }
            }
            _ => Self::Io { path, doing, consequence, source },
        }
    }
}

/// Says what has no room: a file may be limited where the disk is not.
fn full(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::FileTooLarge => "the file may not grow any more: see ulimit -f, and the file system's own limit",
        io::ErrorKind::QuotaExceeded => "the disk quota is used up",
        _ => "the disk is full",
    }
}
