//! `cargo xtask build-ebpf`: the eBPF object that is checked in.

pub(crate) mod build;
mod check;
mod files;
mod image;
mod manifest;
mod sources;
pub(crate) mod toolchain;

use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
pub(crate) use check::{Rebuild, check, rebuild};
pub(crate) use files::COMMAND;
use files::{MANIFEST, OBJECT};
use manifest::Manifest;
use toolchain::Toolchain;

/// Build the eBPF object that is checked in, or check that it is up to date
///
/// Writes mmtrace/ebpf/mmtrace.bpf.o, with mmtrace.bpf.json beside it: what it was built from, and
/// with what. The same sources and tools give the same bytes, in any folder.
///
/// Needs a rustc with rust-src and bpf-linker. They are looked for in this order:
/// MMTRACE_EBPF_CARGO and MMTRACE_EBPF_RUSTC (programs), MMTRACE_EBPF_LINKER;
/// a rustc on PATH or in /usr/bin that has rust-src; rustup's toolchains that have it, nightly first;
/// bpf-linker on PATH or in cargo's bin folder. `cargo xtask setup` installs them where apt has them.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Write nothing. Check that sources and object are those recorded in mmtrace.bpf.json;
    /// then, where the tools are there, rebuild and compare every allocatable section: its bytes,
    /// relocations and symbols
    #[arg(long)]
    check: bool,
    /// With --check: fail where the object cannot be rebuilt
    #[arg(long, requires = "check")]
    require_rebuild: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let workspace = Workspace::find()?;
    if !args.check {
        return write(&workspace).map(|()| true);
    }
    let recorded = check(&workspace)?;
    let rebuild = rebuild(&workspace)?;
    Ok(recorded
        && match rebuild {
            Rebuild::Equal => true,
            Rebuild::Differs { .. } => false,
            Rebuild::NotDone(_) => !args.require_rebuild,
        })
}

fn write(workspace: &Workspace) -> Result<()> {
    let tools = Toolchain::find(&workspace.root)?;
    say!("{tools}");
    let built = build::build(workspace, &tools, false)?;
    let manifest = Manifest::new(workspace, &built, &tools)?;
    let object = workspace.path(OBJECT);
    let same = fs::read(&object).is_ok_and(|old| old == built);
    fs::write(&object, &built).with_context(|| format!("cannot write {OBJECT}"))?;
    manifest.write(workspace)?;
    let image = image::Image::parse(&built)?;
    say!("{OBJECT}: {} bytes, {}{}", built.len(), image.summary(), if same { "; as it was" } else { "" });
    say!("{MANIFEST}: sources {}", manifest.sources_sha256);
    Ok(())
}
