//! The paths of the object and its manifest, and the command that brings them up to date.

/// The object that is checked in.
pub(super) const OBJECT: &str = "mmtrace/ebpf/mmtrace.bpf.o";
/// The digest of its sources, and the versions of the tools that built it.
pub(super) const MANIFEST: &str = "mmtrace/ebpf/mmtrace.bpf.json";
/// The target triple that it is built for.
pub(super) const TARGET: &str = "bpfel-unknown-none";
/// The command that brings both up to date.
pub(crate) const COMMAND: &str = "cargo xtask build-ebpf";
