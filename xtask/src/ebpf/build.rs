//! Building the programs, so that the same sources and tools give the same bytes.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{
    files::TARGET,
    toolchain::{Compiler, Toolchain},
};
use crate::{
    process,
    workspace::{Workspace, cargo_home},
};

/// The other toolchain's cargo, in the folder of the eBPF programs.
pub(crate) fn cargo(workspace: &Workspace, compiler: &Compiler) -> Command {
    let mut cargo = process::command(&compiler.cargo, &workspace.path("mmtrace-ebpf"));
    process::as_from_a_shell(&mut cargo);
    cargo
        .env("CARGO", &compiler.cargo)
        .env("RUSTC", &compiler.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC_WRAPPER", "")
        .env("CARGO_TARGET_DIR", workspace.target.join("ebpf"));
    cargo
}

/// Builds and returns the object.
pub(super) fn build(workspace: &Workspace, tools: &Toolchain, locked: bool) -> Result<Vec<u8>> {
    let lock = locked.then_some("--locked");
    // Before the flags are made: they name the folders that crates are unpacked into.
    process::run(cargo(workspace, &tools.compiler).args(["fetch", "--quiet"]).args(lock))
        .context("the crates that the eBPF programs are built from cannot be had")?;
    let mut build = cargo(workspace, &tools.compiler);
    build
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .args(lock)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &tools.linker.path)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace, &tools.compiler)?);
    process::run(&mut build).context("the eBPF programs do not build")?;
    let built = workspace.target.join("ebpf").join(TARGET).join("release/libmmtrace_ebpf.so");
    fs::read(&built).with_context(|| format!("cannot read what was built, {}", built.display()))
}

/// Compiler flags that replace every folder of this machine by a fixed name: paths end up in panic
/// messages, and in hashes.
fn flags(workspace: &Workspace, compiler: &Compiler) -> Result<String> {
    let mut flags = Vec::new();
    let mut replace = |folder: &Path, name: &str| -> Result<()> {
        let mut forms = vec![folder.to_owned()];
        forms.extend(fs::canonicalize(folder).ok().filter(|real| real != folder));
        for form in forms {
            let Some(form) = form.to_str() else { bail!("the path {} is not UTF-8", form.display()) };
            flags.push(format!("--remap-path-prefix={form}={name}"));
        }
        Ok(())
    };
    replace(&workspace.root, "/mmtrace")?;
    replace(&compiler.sources, "/rust-src")?;
    if let Some(registries) = cargo_home().and_then(|home| fs::read_dir(home.join("registry/src")).ok()) {
        for registry in registries {
            replace(&registry?.path(), "/registry")?;
        }
    }
    Ok(flags.join("\x1f"))
}
