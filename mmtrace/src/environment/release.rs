//! The kernel's release, `uname -r`.

use std::{fs, path::Path};

/// Where the kernel says it, below `/`.
pub(super) const FILE: &str = "proc/sys/kernel/osrelease";

/// (major, minor) of a release, (0, 0) where it does not start with two numbers.
pub(super) fn major_minor(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (0, 0),
    }
}

/// (major, minor) of the running kernel, (0, 0) where it cannot be read. `root` is the directory that stands for `/`.
pub(super) fn version(root: &Path) -> (u32, u32) {
    fs::read_to_string(root.join(FILE)).map_or((0, 0), |text| major_minor(text.trim()))
}
