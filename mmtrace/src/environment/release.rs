//! The kernel's release, `uname -r`.

use std::{fs, path::Path};

use mmtrace_model::kernel_version::KernelVersion;

/// File with the kernel's release, below `/`.
pub(super) const FILE: &str = "proc/sys/kernel/osrelease";

/// Returns the series of the running kernel, if it can be read and names one. `root` is the directory that stands for `/`.
pub(super) fn version(root: &Path) -> Option<KernelVersion> {
    fs::read_to_string(root.join(FILE)).ok()?.trim().parse().ok()
}
