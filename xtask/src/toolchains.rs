//! The toolchains that rustup has installed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    process,
    workspace::{cargo_home, program},
};

/// rustup, as from a shell; `None` where there is none.
pub(crate) fn rustup(root: &Path) -> Option<Command> {
    let bin = cargo_home().map(|home| home.join("bin"));
    let mut command = process::command(program("rustup", bin.as_slice())?, root);
    process::as_from_a_shell(&mut command);
    Some(command)
}

/// The names of rustup's toolchains.
pub(crate) fn names(root: &Path) -> Vec<String> {
    let Some(mut command) = rustup(root) else { return Vec::new() };
    let Ok(list) = process::output(command.args(["toolchain", "list"])) else { return Vec::new() };
    let list = String::from_utf8_lossy(&list);
    list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The folder of one of rustup's toolchains.
pub(crate) fn sysroot(root: &Path, name: &str) -> Option<PathBuf> {
    process::line(rustup(root)?.args(["run", name, "rustc", "--print", "sysroot"])).map(PathBuf::from)
}
