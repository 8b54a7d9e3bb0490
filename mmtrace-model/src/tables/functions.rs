//! Which function the instructions at some place in a file belong to.

use std::fmt::Write as _;

use crate::{
    model::mappings::{Function, Label, Mappings, Of},
    untrusted::escaped_bytes,
};

/// A row of the table of functions: these bytes of a file are this function.
///
/// No two rows have one byte of a file. A file whose contents were replaced during the recording has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRow {
    /// The file's device, as in the kernel.
    pub dev: u32,
    /// The file's inode.
    pub ino: u64,
    /// Where the function begins in the file, bytes.
    pub start: u64,
    /// Its last byte there, inclusive.
    pub end: u64,
    /// Its name, fit for a terminal.
    pub name: String,
    /// The file: its path, or what the report calls it.
    pub module: String,
    /// The file's build id in hexadecimal; `None`: it has none, or it is not known.
    pub build_id: Option<String>,
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns all rows, by file and place.
pub(super) fn rows(known: &Mappings) -> Vec<FunctionRow> {
    let functions = known.functions();
    let mut next = functions.iter().skip(1);
    let mut rows = Vec::with_capacity(functions.len());
    for (file, Function { start, len, name }) in functions.iter().copied() {
        let following = next.next().filter(|(of, _)| *of == file).map(|(_, function)| function.start);
        // The symbol table may say that a function goes on into the next one, which then is what it is.
        let behind = start.saturating_add(len).min(following.unwrap_or(u64::MAX));
        let Some(end) = behind.checked_sub(1).filter(|end| *end >= start) else { continue };
        let (dev, ino) = known.file_identity(file);
        let (path, build_id) = (known.file_path(file), known.build_id(file));
        let module = if path.is_empty() { known.text(Label::of(Of::File(file))) } else { escaped_bytes(path) };
        let build_id = (!build_id.is_empty()).then(|| hex(build_id));
        rows.push(FunctionRow { dev, ino, start, end, name: escaped_bytes(name), module, build_id });
    }
    rows
}
