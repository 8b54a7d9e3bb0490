//! The sources that the object is built from, and their digest.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// Files and folders, from the top of the checkout. (What `mmtrace-common` takes from the workspace's own
/// `Cargo.toml` is its edition and its lints; the rebuild would show a difference.)
const ROOTS: [&str; 6] = [
    "mmtrace-ebpf/src",
    "mmtrace-ebpf/Cargo.toml",
    "mmtrace-ebpf/Cargo.lock",
    "mmtrace-ebpf/.cargo",
    "mmtrace-common/src",
    "mmtrace-common/Cargo.toml",
];

/// The digest of some bytes, in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One digest over every source: its path, its length and its bytes, in the order of the paths.
pub(super) fn digest(root: &Path) -> Result<String> {
    let mut files = BTreeSet::new();
    for source in ROOTS {
        collect(&root.join(source), &mut files)?;
    }
    let mut digest = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root)?;
        let Some(name) = name.to_str() else { bail!("the name of {} is not UTF-8", file.display()) };
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        digest.update(name.as_bytes());
        digest.update([0]);
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(&bytes);
    }
    Ok(hex(digest.finalize().as_slice()))
}

/// Every Rust and TOML file below, and the named file itself. Editors leave others behind.
fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.insert(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let path = entry?.path();
        let counts = path.extension().is_some_and(|e| e == "rs" || e == "toml");
        if path.is_dir() || counts {
            collect(&path, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_sees_names_and_bytes_and_not_what_editors_leave() {
        let root = std::env::temp_dir().join(format!("mmtrace-xtask-sources-{}", std::process::id()));
        for source in ROOTS {
            let path = root.join(source);
            if source.ends_with("src") || source.ends_with(".cargo") {
                fs::create_dir_all(&path).expect("a folder");
            } else {
                fs::write(&path, source).expect("a file");
            }
        }
        let file = |name: &str, text: &str| fs::write(root.join(name), text).expect("a file");
        file("mmtrace-ebpf/src/a.rs", "fn a() {}");
        let first = digest(&root).expect("a digest");
        file("mmtrace-ebpf/src/a.rs.orig", "left behind");
        assert_eq!(digest(&root).expect("a digest"), first);
        file("mmtrace-ebpf/src/a.rs", "fn a() { }");
        assert_ne!(digest(&root).expect("a digest"), first);
        file("mmtrace-ebpf/src/a.rs", "fn a() {}");
        assert_eq!(digest(&root).expect("a digest"), first);
        fs::rename(root.join("mmtrace-ebpf/src/a.rs"), root.join("mmtrace-ebpf/src/b.rs")).expect("a rename");
        assert_ne!(digest(&root).expect("a digest"), first);
        fs::remove_dir_all(&root).expect("cleaned up");
    }
}
