//! Where the object is, and what brings it up to date.

/// The object that is checked in.
pub(super) const OBJECT: &str = "mmtrace/ebpf/mmtrace.bpf.o";
/// What it was built from, and with what.
pub(super) const MANIFEST: &str = "mmtrace/ebpf/mmtrace.bpf.json";
/// What it is built for.
pub(super) const TARGET: &str = "bpfel-unknown-none";
/// The command that brings both up to date.
pub(crate) const COMMAND: &str = "cargo xtask build-ebpf";
