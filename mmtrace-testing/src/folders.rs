//! To whom files belong.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

/// Whether this is root; otherwise says what is not tried.
#[must_use]
pub fn is_root(what: &str) -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        eprintln!("not run, since only root can play another user: {what}");
    }
    root
}

/// Returns the names in a folder, sorted.
///
/// # Panics
/// It cannot be listed.
#[must_use]
pub fn names(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("listed").file_name().into_string().expect("UTF-8");
    let mut names: Vec<String> = fs::read_dir(dir).expect("listed").map(name).collect();
    names.sort();
    names
}

/// The permissions of what is at a path.
///
/// # Panics
/// There is nothing.
#[must_use]
pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// Sets the permissions of what is at a path.
///
/// # Panics
/// They cannot be set.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

/// Asserts that a capture belongs to a user, and to nobody else.
///
/// # Panics
/// It does not.
pub fn assert_belongs(dir: &Path, uid: u32) {
    let all = fs::read_dir(dir).expect("listed").map(|e| e.expect("listed").path());
    for path in all.chain([dir.to_path_buf()]) {
        let stat = fs::symlink_metadata(&path).expect("it is there");
        assert_eq!((stat.uid(), stat.gid()), (uid, uid), "{}", path.display());
        assert_eq!(mode(&path), if stat.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}
