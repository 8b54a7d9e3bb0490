//! Labels of mappings in tables.

use super::{
    files::{FileId, Files},
    mapping::{Backing, Mapping},
};
use crate::{
    texts::{NameId, Names},
    untrusted::escaped_bytes,
};

/// Addresses or memory that a row of a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Of {
    /// Addresses of which nothing is known.
    Unknown,
    /// Addresses that belonged to no mapping.
    Outside,
    /// Addresses of the kernel.
    Kernel,
    /// Private anonymous memory without a name.
    Anonymous,
    /// The heap that `brk()` makes.
    Heap,
    /// A stack.
    Stack,
    /// A file.
    File(FileId),
    /// A name in /proc/PID/maps: `[anon:NAME]`, `[vdso]`.
    Named(NameId),
    /// Memory of the kernel's that is mapped into processes, without a name.
    Special,
    /// Mappings that came when there were too many rows.
    Others,
}

/// Names of files that would be taken for something else.
const TAKEN: [&[u8]; 4] = [b"anonymous", b"unknown mapping", b"kernel addresses", b"other mappings"];

/// A file's name in words.
fn file_text(name: &[u8]) -> String {
    let text = escaped_bytes(name);
    if name.starts_with(b"[") || TAKEN.contains(&name) { format!("file {text}") } else { text }
}

/// Label of a mapping. Mappings with one label are one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// The addresses or memory.
    pub(crate) of: Of,
    /// Writes are seen by others.
    pub(crate) shared: bool,
    /// Its pages come from a pool of huge pages.
    pub(crate) hugetlb: bool,
    /// It was registered with userfaultfd when it was last stored.
    pub(crate) userfaultfd: bool,
}

impl Label {
    /// The label of what is no mapping.
    #[must_use]
    pub(crate) const fn of(of: Of) -> Self {
        Self { of, shared: false, hugetlb: false, userfaultfd: false }
    }

    /// The label of a mapping; `name` is that in /proc/PID/maps, if it is no file's.
    pub(super) fn of_mapping(mapping: &Mapping, name: Option<NameId>) -> Self {
        let of = match (mapping.backing, name) {
            (Backing::File(file), _) => Of::File(file),
            (Backing::Heap, _) => Of::Heap,
            (Backing::Stack, _) => Of::Stack,
            (Backing::Anonymous | Backing::Special, Some(name)) => Of::Named(name),
            (Backing::Anonymous, None) => Of::Anonymous,
            (Backing::Special, None) => Of::Special,
        };
        Self { of, shared: mapping.is_shared(), hugetlb: mapping.is_hugetlb(), userfaultfd: mapping.has_userfaultfd() }
    }

    /// The kind of mapping, as JSON has it.
    #[must_use]
    pub(crate) const fn kind(self) -> &'static str {
        match self.of {
            Of::Unknown => "unknown",
            Of::Outside => "outside",
            Of::Kernel => "kernel",
            Of::Anonymous => "anonymous",
            Of::Heap => "heap",
            Of::Stack => "stack",
            Of::File(_) => "file",
            Of::Named(_) => "named",
            Of::Special => "special",
            Of::Others => "others",
        }
    }

    /// In words.
    pub(super) fn text(self, files: &Files, names: &Names) -> String {
        let mut text = match self.of {
            Of::Unknown => "unknown mapping".to_owned(),
            Of::Outside => "outside every mapping".to_owned(),
            Of::Kernel => "kernel addresses".to_owned(),
            Of::Anonymous => "anonymous".to_owned(),
            Of::Heap => "[heap]".to_owned(),
            Of::Stack => "[stack]".to_owned(),
            Of::File(file) => file_text(&files.name(file)),
            Of::Named(name) => escaped_bytes(names.name(name)),
            Of::Special => "special mapping of the kernel".to_owned(),
            Of::Others => "other mappings".to_owned(),
        };
        for (has, word) in [(self.shared, ", shared"), (self.hugetlb, ", hugetlb"), (self.userfaultfd, ", userfaultfd")]
        {
            if has {
                text.push_str(word);
            }
        }
        text
    }
}
