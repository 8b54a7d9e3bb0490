//! The things that are installed, one function each.

use std::path::Path;

use anyhow::Result;

use super::{
    apt,
    step::{Step, is_network},
};
use crate::{
    api::Rustdoc,
    ebpf::toolchain::{Compiler, Linker},
    process,
    spin::{self, Spin},
    toolchains,
    vm::QEMU,
    workspace::{Workspace, cargo, cargo_home, program},
};

/// The bpf-linker that the object is built with, and the LLVM that it is built over.
const BPF_LINKER: &str = "0.13.0";
const LLVM: &str = "22";

/// rustfmt and clippy, for the workspace.
pub(super) fn lints(workspace: &Workspace) -> Result<Step> {
    let lacking = || {
        let mut components = vec![("rustfmt", "fmt"), ("clippy", "clippy")];
        components.retain(|(_, subcommand)| !has_subcommand(workspace, subcommand));
        components.into_iter().map(|(component, _)| component).collect::<Vec<_>>()
    };
    let components = lacking();
    if components.is_empty() {
        return Ok(Step::Present("cargo fmt, cargo clippy".to_owned()));
    }
    let names = components.join(" ");
    let bin = cargo_home().map(|home| home.join("bin"));
    let Some(rustup) = program("rustup", bin.as_slice()) else {
        return Ok(Step::Impossible(format!("there is no {names} here, and no rustup to add it")));
    };
    say!("  rustup component add {names}");
    let mut add = process::command(rustup, &workspace.root);
    let (status, said) = process::shown(add.args(["component", "add"]).args(&components))?;
    Ok(if lacking().is_empty() {
        Step::Installed(names)
    } else if is_network(&said) {
        Step::Impossible(format!("rustup cannot download {names}"))
    } else {
        Step::Failed(format!("rustup component add {names} failed ({status})"))
    })
}

/// Whether this subcommand of cargo is installed.
pub(crate) fn has_subcommand(workspace: &Workspace, subcommand: &str) -> bool {
    process::output(process::command(cargo(), &workspace.root).args([subcommand, "--version"])).is_ok()
}

/// A rustc with rust-src.
pub(super) fn compiler(workspace: &Workspace) -> Result<Step> {
    let told = |c: &Compiler| format!("{} ({})", c.version, c.rustc.display());
    if let Ok(compiler) = Compiler::find(&workspace.root) {
        return Ok(Step::Present(told(&compiler)));
    }
    let step = apt::install(workspace, &["rustc-web", "cargo-web", "rust-web-src"])?;
    if !step.is_there() {
        return Ok(step);
    }
    Ok(match Compiler::find(&workspace.root) {
        Ok(compiler) => Step::Installed(told(&compiler)),
        Err(why) => Step::Failed(format!("the packages are installed, and still {why}")),
    })
}

/// Clippy for it.
pub(super) fn clippy(workspace: &Workspace) -> Result<Step> {
    match Compiler::find(&workspace.root) {
        Err(why) => Ok(Step::Impossible(why)),
        Ok(compiler) => match compiler.clippy() {
            Some(clippy) => Ok(Step::Present(clippy.display().to_string())),
            None if compiler.packaged => apt::install(workspace, &["rust-web-clippy"]),
            None => Ok(Step::Impossible(format!(
                "{} came without it (rustup component add clippy, with its --toolchain)",
                compiler.rustc.display()
            ))),
        },
    }
}

/// bpf-linker.
pub(super) fn linker(workspace: &Workspace) -> Result<Step> {
    let found = || Linker::find(&workspace.root).ok();
    let fits = |linker: &Linker| linker.version.split_whitespace().last() == Some(BPF_LINKER);
    let told = |linker: &Linker| format!("{} ({})", linker.version, linker.path.display());
    if let Some(linker) = found().filter(fits) {
        return Ok(Step::Present(told(&linker)));
    }
    let prefix = format!("/usr/lib/llvm-{LLVM}");
    if !Path::new(&prefix).join("bin/llvm-config").is_file() {
        let step = apt::install(workspace, &[&format!("llvm-{LLVM}-dev")])?;
        if !step.is_there() {
            return Ok(step);
        }
    }
    say!("  cargo install bpf-linker --version {BPF_LINKER}");
    let feature = format!("llvm-{LLVM}");
    let mut install = process::command(cargo(), &workspace.root);
    process::as_from_a_shell(&mut install);
    install
        .env("LLVM_PREFIX", &prefix)
        .args(["install", "--quiet", "--locked", "bpf-linker", "--version", BPF_LINKER])
        .args(["--no-default-features", "--features", &feature]);
    let (status, said) = process::shown(&mut install)?;
    Ok(match found().filter(fits) {
        Some(linker) => Step::Installed(told(&linker)),
        None if is_network(&said) => Step::Impossible("cargo cannot download bpf-linker".to_owned()),
        None if status.success() => Step::Failed(format!(
            "cargo installed bpf-linker {BPF_LINKER}, but {} comes first",
            found().map_or_else(|| "another one".to_owned(), |l| told(&l))
        )),
        None => Step::Failed(format!("cargo install bpf-linker failed ({status})")),
    })
}

/// duckdb and pyarrow, in a Python environment of our own.
pub(super) fn python(workspace: &Workspace) -> Result<Step> {
    if let Some(versions) = python_versions(workspace) {
        return Ok(Step::Present(versions));
    }
    let Some(python) = program("python3", &[]) else {
        return Ok(Step::Impossible("there is no python3 on PATH".to_owned()));
    };
    let has_venv = process::succeeds(
        process::command(&python, &workspace.root)
            .args(["-c", "import ensurepip, venv"])
            .stderr(std::process::Stdio::null()),
    )?;
    if !has_venv {
        let step = apt::install(workspace, &["python3-venv"])?;
        if !step.is_there() {
            return Ok(step);
        }
    }
    let venv = workspace.venv();
    say!("  python3 -m venv {0} && {0}/bin/pip install duckdb pyarrow", workspace.shown(&venv));
    let mut make = process::command(&python, &workspace.root);
    let (status, _) = process::shown(make.args(["-m", "venv", "--clear"]).arg(&venv))?;
    if !status.success() {
        return Ok(Step::Failed(format!("python3 -m venv failed ({status})")));
    }
    let mut pip = process::command(venv.join("bin/python"), &workspace.root);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    let (status, said) = process::shown(pip.args(["--only-binary=:all:", "duckdb", "pyarrow"]))?;
    Ok(match python_versions(workspace) {
        Some(versions) => Step::Installed(versions),
        None if is_network(&said) => Step::Impossible("pip cannot download duckdb and pyarrow".to_owned()),
        None => Step::Failed(format!("pip install duckdb pyarrow failed ({status})")),
    })
}

/// The versions in our environment; `None` when it is not complete.
pub(crate) fn python_versions(workspace: &Workspace) -> Option<String> {
    let script = "import duckdb, pyarrow.dataset as d, pyarrow; print('duckdb', duckdb.__version__, 'pyarrow', pyarrow.__version__)";
    let python = workspace.venv().join("bin/python");
    process::line(process::command(python, &workspace.root).args(["-c", script]))
}

/// QEMU for the kernels of the vm lane.
pub(super) fn qemu(workspace: &Workspace) -> Result<Step> {
    let version = || process::line(process::command(QEMU, &workspace.root).arg("--version"));
    match version() {
        Some(version) => Ok(Step::Present(version)),
        None if std::env::consts::ARCH != "x86_64" => {
            Ok(Step::Impossible("the kernels of the vm lane are for x86-64".to_owned()))
        }
        None => apt::install(workspace, &["qemu-system-x86"]),
    }
}

/// Spin for the oracle lane, with a compiler for the verifiers that it generates.
pub(super) fn spin(workspace: &Workspace) -> Result<Step> {
    match Spin::find(workspace) {
        Ok(spin) => Ok(Step::Present(spin.version())),
        Err(_) => apt::install(workspace, &spin::PACKAGES),
    }
}

/// The Rust whose rustdoc lists public APIs.
pub(super) fn rustdoc(workspace: &Workspace) -> Result<Step> {
    let why = match Rustdoc::find(workspace)? {
        Ok(rustdoc) => return Ok(Step::Present(rustdoc.to_string())),
        Err(why) => why,
    };
    let Some(mut install) = toolchains::rustup(&workspace.root) else {
        return Ok(Step::Impossible(format!("{why}; there is no rustup to do it")));
    };
    let wanted = Rustdoc::wanted(workspace)?;
    say!("  rustup toolchain install {wanted} --profile minimal");
    install.args(["toolchain", "install", &wanted, "--profile", "minimal", "--no-self-update"]);
    let (status, said) = process::shown(&mut install)?;
    Ok(match Rustdoc::find(workspace)? {
        Ok(rustdoc) => Step::Installed(rustdoc.to_string()),
        Err(_) if is_network(&said) => Step::Impossible(format!("rustup cannot download Rust {wanted}")),
        Err(_) => Step::Failed(format!("rustup toolchain install {wanted} failed ({status})")),
    })
}

/// Prometheus for the metrics lane. The package would run it as a service; that it may, or not.
pub(super) fn prometheus(workspace: &Workspace) -> Result<Step> {
    let version = || {
        program("promtool", &[])?;
        process::line(process::command("prometheus", &workspace.root).arg("--version"))
    };
    match version() {
        Some(version) => Ok(Step::Present(version)),
        None => apt::install(workspace, &["prometheus"]),
    }
}
