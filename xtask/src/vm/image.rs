//! The initramfs of a test machine: its first process, mmtrace with the libraries it is linked to, and the plan.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use xtask::guest::{PLAN, Plan, archive::Writer};

use crate::{
    process,
    workspace::{self, Workspace},
};

/// Path of mmtrace inside.
pub(super) const MMTRACE: &str = "/bin/mmtrace";
/// Folders for what is mounted later.
const FOLDERS: [&str; 7] = ["dev", "proc", "sys", "run", "tmp", "root", "bin"];

/// Programs built for the machines.
pub(super) struct Programs {
    mmtrace: PathBuf,
    guest: PathBuf,
    libraries: BTreeSet<PathBuf>,
}

impl Programs {
    /// Builds them. mmtrace is the very program that runs here: beside it go the libraries it is linked to.
    pub(super) fn build(workspace: &Workspace) -> Result<Self> {
        let mmtrace = workspace::build(workspace, "mmtrace")?;
        let guest = workspace::build(workspace, "mmtrace-guest")?;
        let mut libraries = linked_to(&mmtrace, workspace)?;
        libraries.append(&mut linked_to(&guest, workspace)?);
        Ok(Self { mmtrace, guest, libraries })
    }

    /// Writes an initramfs.
    pub(super) fn pack(&self, plan: &Plan, into: &Path) -> Result<()> {
        let file = File::create(into).with_context(|| format!("cannot write {}", into.display()))?;
        let mut archive = Writer::new(BufWriter::new(file));
        let mut folders: BTreeSet<&Path> = FOLDERS.iter().map(Path::new).collect();
        for library in &self.libraries {
            let library = library.strip_prefix("/").unwrap_or(library);
            folders.extend(library.ancestors().skip(1).filter(|folder| folder.components().next().is_some()));
        }
        // In the order of their names a folder comes before what is in it.
        for folder in folders {
            archive.folder(&folder.to_string_lossy())?;
        }
        let mut add = |name: &str, path: &Path| -> Result<()> {
            let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(archive.program(name.trim_start_matches('/'), &content)?)
        };
        add("init", &self.guest)?;
        add(MMTRACE, &self.mmtrace)?;
        for library in &self.libraries {
            add(&library.to_string_lossy(), library)?;
        }
        archive.file(PLAN, &serde_json::to_vec_pretty(plan)?)?;
        archive.finish().with_context(|| format!("cannot write {}", into.display()))?;
        Ok(())
    }
}

/// The shared libraries of a program, the loader among them; none for a static one.
fn linked_to(program: &Path, workspace: &Workspace) -> Result<BTreeSet<PathBuf>> {
    let ldd = process::command("ldd", &workspace.root).arg(program).output().context("cannot run ldd")?;
    libraries(&String::from_utf8_lossy(&ldd.stdout))
}

/// The files that `ldd` names.
fn libraries(ldd: &str) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for line in ldd.lines() {
        if line.contains("not found") {
            bail!("a library is missing, so the program could not run in a machine either: {}", line.trim());
        }
        let path = line.split("=>").last().unwrap_or(line).split_whitespace().next();
        found.extend(path.filter(|path| path.starts_with('/') && line.contains('(')).map(PathBuf::from));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_that_ldd_names() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<_> = libraries(ldd).unwrap().into_iter().collect();
        assert_eq!(found, [Path::new("/lib/x86_64-linux-gnu/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]);
        assert!(libraries("\tstatically linked\n").unwrap().is_empty());
        assert!(libraries("\tlibx.so => not found\n").is_err());
    }
}
