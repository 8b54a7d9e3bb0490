//! Errors in a BTF blob, or in a question to it.

use std::path::PathBuf;

/// Reason why BTF could not be read, or why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// The blob starts with something else.
    #[error("not BTF: it starts with {0:#06x} instead of 0xeb9f")]
    Magic(u16),
    /// BTF of a big-endian machine.
    #[error("BTF in big-endian byte order")]
    ByteOrder,
    /// A version that nobody has defined yet.
    #[error("BTF version {0} is not known")]
    Version(u8),
    /// A section reaches beyond the end.
    #[error("BTF is cut short or damaged in its {0}")]
    Truncated(&'static str),
    /// A record of a kind whose length is not known.
    #[error("BTF type {id} is of kind {kind}, which this program does not know")]
    Kind {
        /// Its `BTF_KIND_*`.
        kind: u8,
        /// Its id.
        id: u32,
    },
    /// A reference to a type that is not there.
    #[error("BTF is damaged: it refers to type {0}, which it does not hold")]
    Id(u32),
    /// A reference to a string that is not there.
    #[error("BTF is damaged: it refers to string {0}, which it does not hold")]
    String(u32),
    /// Types that nest in a circle, or more of anything than a kernel has.
    #[error("BTF is damaged: its types go on without end")]
    Chain,
    /// Nothing of this name.
    #[error("this kernel's BTF has no {0}")]
    Absent(String),
    /// Several of this name, and they differ.
    #[error("this kernel's BTF has several {0} that differ")]
    Ambiguous(String),
    /// A bitfield has no byte offset.
    #[error("{0} is a bitfield")]
    Bitfield(String),
}

impl BtfError {
    /// Whether the blob is sound and merely lacks what was asked for.
    #[must_use]
    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_))
    }
}
