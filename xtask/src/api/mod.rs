//! `cargo xtask api`: the public API of each published library, as it is checked in.

mod listing;
mod rustdoc;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use listing::difference;
pub(crate) use rustdoc::Rustdoc;

/// Folder of the lists.
const FOLDER: &str = "docs/api";
/// The command that accepts what the sources say.
pub(crate) const COMMAND: &str = "cargo xtask api";

/// Write the public API of each published library into docs/api/, or compare it with what is there
///
/// A line for each public item, without implementations that every type has. The lists are made from what the rustdoc of
/// the oldest Rust that CI builds with says (`rust-version` in Cargo.toml), so that they are the same everywhere.
/// `cargo xtask setup` installs that Rust by rustup where another one is in use.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if a list is not what the sources say, and show the difference
    #[arg(long)]
    check: bool,
}

/// The result of a comparison.
pub(crate) enum Comparison {
    /// Every list is what the sources say; how many there are.
    Same(usize),
    /// The libraries whose list is another.
    Differs(Vec<String>),
    /// There is no such rustdoc: why.
    NotDone(String),
}

/// Runs the command.
pub(crate) fn command(args: &Args) -> Result<bool> {
    let workspace = Workspace::find()?;
    if args.check {
        return Ok(match check(&workspace)? {
            Comparison::Same(_) => true,
            Comparison::Differs(_) => false,
            Comparison::NotDone(why) => {
                say!("not compared: {why}");
                false
            }
        });
    }
    let rustdoc = Rustdoc::find(&workspace)?.map_err(anyhow::Error::msg)?;
    let apis = rustdoc.public_apis(&workspace)?;
    fs::create_dir_all(workspace.path(FOLDER)).with_context(|| format!("cannot make the folder {FOLDER}"))?;
    for (library, api) in &apis {
        let path = path(library);
        fs::write(workspace.path(&path), api).with_context(|| format!("cannot write {path}"))?;
        say!("{path}: {} lines", api.lines().count());
    }
    for path in stale(&workspace, &apis)? {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        say!("{}: removed; there is no such library any more", workspace.shown(&path));
    }
    Ok(true)
}

/// Compares the lists of the checkout with what the sources say, and shows each difference.
pub(crate) fn check(workspace: &Workspace) -> Result<Comparison> {
    let rustdoc = match Rustdoc::find(workspace)? {
        Ok(rustdoc) => rustdoc,
        Err(why) => return Ok(Comparison::NotDone(why)),
    };
    say!("{rustdoc}");
    let apis = rustdoc.public_apis(workspace)?;
    let mut differs = Vec::new();
    for (library, api) in &apis {
        let path = path(library);
        let known = match fs::read_to_string(workspace.path(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).context(path),
            known => known.unwrap_or_default(),
        };
        if known == *api {
            say!("{path}: as it is");
            continue;
        }
        say!("{path}: the public API is another. To accept it: {COMMAND}");
        for line in difference(&known, api) {
            say!("  {line}");
        }
        differs.push(library.clone());
    }
    for path in stale(workspace, &apis)? {
        say!("{}: there is no such library. To remove it: {COMMAND}", workspace.shown(&path));
        differs.push(workspace.shown(&path).to_string());
    }
    Ok(if differs.is_empty() { Comparison::Same(apis.len()) } else { Comparison::Differs(differs) })
}

/// Returns the path of a library's list, from the top of the checkout.
fn path(library: &str) -> String {
    format!("{FOLDER}/{library}.txt")
}

/// Returns the files beside the lists.
fn stale(workspace: &Workspace, apis: &[(String, String)]) -> Result<BTreeSet<PathBuf>> {
    let ours: BTreeSet<PathBuf> = apis.iter().map(|(library, _)| workspace.path(&path(library))).collect();
    let folder = workspace.path(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.with_context(|| format!("cannot list {FOLDER}"))?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<BTreeSet<PathBuf>>>()?;
    Ok(paths.into_iter().filter(|path| !ours.contains::<Path>(path)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_a_library_that_is_gone_is_stale() -> Result<()> {
        let root = std::env::temp_dir().join(format!("mmtrace-api-{}", std::process::id()));
        fs::create_dir_all(root.join(FOLDER))?;
        for library in ["here", "gone"] {
            fs::write(root.join(path(library)), "pub mod m\n")?;
        }
        let workspace = Workspace { root: root.clone(), target: root.join("target") };
        let stale = stale(&workspace, &[("here".to_owned(), "pub mod m\n".to_owned())]);
        let gone = root.join(path("gone"));
        fs::remove_dir_all(root)?;
        assert_eq!(stale?, BTreeSet::from([gone]));
        Ok(())
    }
}
