//! The rustdoc that writes public APIs as JSON.
//!
//! The format of that JSON is unstable: each Rust may have another, and the crate public-api reads one. So one Rust writes
//! it everywhere: the oldest that CI builds with.

use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::listing::listing;
use crate::{
    process, toolchains,
    workspace::{Workspace, cargo},
};

/// A rustdoc of the right version, with the compiler that it is of.
pub(crate) struct Rustdoc {
    /// The folder of its programs.
    bin: PathBuf,
    /// `rustc --version`
    version: String,
}

impl fmt::Display for Rustdoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.bin.join("rustdoc").display(), self.version)
    }
}

impl Rustdoc {
    /// Finds it: beside the cargo that runs xtask, or among rustup's toolchains. The inner error says how to get it.
    pub(crate) fn find(workspace: &Workspace) -> Result<Result<Self, String>> {
        let wanted = Self::wanted(workspace)?;
        let running = cargo().parent().map(Path::to_owned);
        let mut names = toolchains::names(&workspace.root);
        // The one that setup installs, before those that have to be asked for their version.
        names.sort_by_key(|name| !name.starts_with(&wanted));
        let others = names.iter().filter_map(|name| Some(toolchains::sysroot(&workspace.root, name)?.join("bin")));
        let found = running.into_iter().chain(others).find_map(|bin| Self::new(workspace, bin, &wanted));
        Ok(found.ok_or_else(|| {
            format!("there is no rustdoc {wanted} here: rustup toolchain install {wanted} --profile minimal")
        }))
    }

    /// The Rust that the libraries promise to build with: `1.95`.
    pub(crate) fn wanted(workspace: &Workspace) -> Result<String> {
        let metadata = metadata(workspace)?;
        let version = metadata["packages"][0]["rust_version"].as_str().context("the workspace has no rust-version")?;
        Ok(version.split('.').take(2).collect::<Vec<_>>().join("."))
    }

    fn new(workspace: &Workspace, bin: PathBuf, wanted: &str) -> Option<Self> {
        let mut command = process::command(bin.join("rustc"), &workspace.root);
        process::as_from_a_shell(&mut command);
        let version = process::line(command.arg("--version"))?;
        let is_wanted = version.strip_prefix("rustc ")?.strip_prefix(wanted)?.starts_with('.');
        (is_wanted && bin.join("rustdoc").is_file()).then_some(Self { bin, version })
    }

    /// Returns the name and the public API of each published library.
    pub(super) fn public_apis(&self, workspace: &Workspace) -> Result<Vec<(String, String)>> {
        let program = |name| self.bin.join(name);
        let mut doc = process::command(program("cargo"), &workspace.root);
        process::as_from_a_shell(&mut doc);
        // All of the workspace: then the dependencies have the features that clippy has checked them with, and are not
        // checked anew.
        doc.args(["doc", "--quiet", "--workspace", "--no-deps"])
            .env("CARGO", program("cargo"))
            .env("CARGO_TARGET_DIR", &workspace.target)
            .env("RUSTC", program("rustc"))
            .env("RUSTDOC", self.unlocked(workspace)?)
            .env("RUSTDOCFLAGS", "-Zunstable-options --output-format=json");
        process::run(&mut doc).context("rustdoc cannot document the workspace")?;
        let mut apis = Vec::new();
        for library in libraries(&metadata(workspace)?)? {
            let json = workspace.target.join("doc").join(format!("{}.json", library.replace('-', "_")));
            let api = listing(&json)?;
            apis.push((library, api));
        }
        Ok(apis)
    }

    /// Writes a program that is rustdoc with unstable options. Were they allowed to cargo, build scripts would see it, and
    /// most dependencies would be compiled anew.
    fn unlocked(&self, workspace: &Workspace) -> Result<PathBuf> {
        let path = workspace.target.join("unstable-rustdoc");
        let rustdoc = self.bin.join("rustdoc");
        let Some(rustdoc) = rustdoc.to_str().filter(|path| !path.contains('\'')) else {
            bail!("the path {} cannot be put into a script", rustdoc.display());
        };
        fs::write(&path, format!("#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec '{rustdoc}' \"$@\"\n"))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

fn metadata(workspace: &Workspace) -> Result<Value> {
    let mut metadata = process::command(cargo(), &workspace.root);
    let metadata = process::output(metadata.args(["metadata", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_slice(&metadata).context("cargo metadata wrote no JSON")
}

/// The names of the packages that are published and have a library.
fn libraries(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let is_library = |package: &Value| {
        let targets = package["targets"].as_array().into_iter().flatten();
        targets.flat_map(|target| target["kind"].as_array().into_iter().flatten()).any(|kind| kind == "lib")
    };
    // `publish = false` is a list of no registry.
    let published = packages.iter().filter(|package| package["publish"].is_null() && is_library(package));
    Ok(published.filter_map(|package| Some(package["name"].as_str()?.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_of_published_packages() {
        let package = |name: &str, publish: Value, kind: &str| serde_json::json!({"name": name, "publish": publish, "targets": [{"kind": [kind]}, {"kind": ["test"]}]});
        let never = serde_json::json!([]);
        let metadata = serde_json::json!({"packages": [
            package("library", Value::Null, "lib"),
            package("program", Value::Null, "bin"),
            package("private", never, "lib"),
        ]});
        assert_eq!(libraries(&metadata).expect("packages"), ["library"]);
    }
}
