//! What tasks are called, and tasks that live for a moment.

use std::{
    ffi::CString,
    process::{Command, Stdio},
};

use super::{
    super::{
        Job,
        sys::{Mapping, PAGE},
        tally::Tally,
        threads,
    },
    witnessed,
};

/// Pages that a thread of a strange name touches.
const TOUCHED: usize = 200;
/// The path whose thread touches ten times as many, so that a report names it first.
const MOST: &str = "escape sequence";

/// Names as no programmer would give them, and the paths of their counts.
const STRANGE: &[(&str, &[u8])] = &[
    ("lines", b"a\nb\tc"),
    ("escape sequence", b"\x1b[31mred\x1b[0m"),
    ("no UTF-8", b"\xff\xfe\xfd"),
    ("quote and backslash", b"quote\"back\\sl"),
    ("cut character", b"cut-\xe2\x80"),
    ("text of an escape", b"\\x1b[31m"),
    ("SQL", b"'; DROP--"),
    ("controls", b"\x01\x02\x7f"),
    ("wide", "日本語プ".as_bytes()),
    ("right to left", "\u{202e}gnp.exe".as_bytes()),
    ("columns", b",,;=,"),
    ("JSON", b"{\"a\":1}"),
];

/// A thread for each strange name, one after the other.
pub(in super::super) fn names(_: &Job<'_>, tally: &Tally) {
    for &(path, name) in STRANGE {
        std::thread::scope(|scope| {
            threads::start_as(scope, "not-named-yet", || {
                witnessed(tally, path, |own| {
                    rustix::thread::set_name(&CString::new(name)?)?;
                    let pages = if path == MOST { 10 * TOUCHED } else { TOUCHED };
                    let memory = Mapping::of_small_pages(pages * PAGE)?;
                    own.add("pages touched", memory.fill(1, 1));
                    Ok(())
                });
            });
        });
    }
}

/// Processes that are over at once, one after the other.
pub(in super::super) fn short(job: &Job<'_>, tally: &Tally) {
    witnessed(tally, "spawner", |own| {
        while job.go() {
            let mut process = Command::new("true").stdin(Stdio::null()).spawn()?;
            process.wait()?;
            own.add("processes", 1);
        }
        Ok(())
    });
}
