//! The digest by which the manifest knows a file.

use super::file;
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::path::Path;

/// Returns the digest in hexadecimal.
pub(super) fn hex(digest: &Sha256) -> String {
    digest.clone().finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Returns the SHA-256 of the first `limit` bytes of a file, in hexadecimal.
pub(super) fn sha256(path: &Path, limit: u64) -> io::Result<String> {
    let (file, _) = file::open(path)?;
    let mut file = file.take(limit);
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&digest)),
            n => digest.update(&buffer[..n]),
        }
    }
}
