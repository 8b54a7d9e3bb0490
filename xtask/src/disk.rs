//! The room on a disk. A disk that fills up fails builds with messages about anything else.

use std::path::Path;

/// Bytes that CI writes below the target folder from nothing, and some more.
pub(crate) const NEEDED: u64 = 4 << 30;
/// With less than this, what fails may fail for lack of it, in bytes.
pub(crate) const SCARCE: u64 = 2 << 30;

/// Bytes that may still be written into a folder, or into the nearest one above it that exists; `None` where the
/// system does not tell.
pub(crate) fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|f| f.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// The diagnosis, where less than so many bytes are left.
pub(crate) fn lack(folder: &Path, free: Option<u64>, needed: u64) -> Option<String> {
    let free = free.filter(|free| *free < needed)?;
    Some(format!(
        "only {} MiB are left on {}: {} GiB are needed; free some",
        free >> 20,
        folder.display(),
        needed >> 30
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_and_too_little_is_named() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(free(here).is_some());
        assert_eq!(free(&here.join("no/such/folder")).is_some(), free(here).is_some());
        assert_eq!(lack(here, Some(NEEDED), NEEDED), None);
        assert_eq!(lack(here, None, NEEDED), None);
        let lack = lack(Path::new("/target"), Some(300 << 20), SCARCE).expect("that is too little");
        assert_eq!(lack, "only 300 MiB are left on /target: 2 GiB are needed; free some");
    }
}
