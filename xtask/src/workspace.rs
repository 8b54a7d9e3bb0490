//! The paths of this checkout, and of the programs that xtask runs.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// This checkout.
pub(crate) struct Workspace {
    /// Its top folder, without symbolic links.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, which need not be inside.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds it: the one that `cargo xtask` was typed in. Not the one that xtask was compiled in: clones that
    /// share a target folder share the program.
    pub(crate) fn find() -> Result<Self> {
        let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let here = Path::new(&here);
        let root = here.parent().unwrap_or(here);
        let root = fs::canonicalize(root).with_context(|| format!("there is no checkout at {}", root.display()))?;
        let mut cargo = process::command(cargo(), &root);
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
        let metadata: serde_json::Value = serde_json::from_slice(&process::output(&mut cargo)?)?;
        let Some(target) = metadata["target_directory"].as_str() else {
            bail!("cargo metadata names no target_directory");
        };
        Ok(Self { target: target.into(), root })
    }

    /// A file of the checkout, by its path from the top.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A path as messages show it: from the top, where it lies below it.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// The folder of the Python environment that `setup` makes.
    pub(crate) fn venv(&self) -> PathBuf {
        self.target.join("venv")
    }
}

/// Builds a program as tests are built, with checks for overflow, and returns it: what tests run need not be built a
/// second time. Together with xtask, so that dependencies have the features that they have been built with.
pub(crate) fn build(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let mut build = process::command(cargo(), &workspace.root);
    process::run(build.args(["build", "--quiet", "--package", "xtask", "--package", "mmtrace", "--bin", name]))?;
    Ok(workspace.target.join("debug").join(name))
}

/// The cargo that runs xtask.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Cargo's home: its registry, and the programs it installs.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(home) if !home.is_empty() => Some(home.into()),
        _ => Some(Path::new(&env::var_os("HOME")?).join(".cargo")),
    }
}

/// A program: the first of this name on PATH, else in `further` folders.
pub(crate) fn program(name: &str, further: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(further.iter().cloned()).map(|folder| folder.join(name)).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each package with its features.
    fn packages(args: &[&str]) -> BTreeSet<String> {
        let mut tree = process::command(cargo(), Path::new(env!("CARGO_MANIFEST_DIR")));
        tree.args(["tree", "--offline", "--locked", "--prefix", "none", "--no-dedupe", "--format", "{p} {f}"])
            .args(args);
        let tree = process::output(&mut tree).expect("cargo knows the dependencies");
        String::from_utf8_lossy(&tree).lines().map(str::to_owned).collect()
    }

    #[test]
    fn dependencies_are_built_once_for_xtask_and_the_tests() {
        let tests = packages(&["--workspace", "--edges", "normal,build,dev"]);
        let alone = packages(&["--package", "xtask", "--edges", "normal,build"]);
        let twice: Vec<&String> = alone.difference(&tests).collect();
        assert!(twice.is_empty(), "the tests need more features of {twice:?}: name these in xtask/Cargo.toml");
    }
}
