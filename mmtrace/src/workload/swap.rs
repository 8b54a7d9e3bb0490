//! A swap file for as long as a workload runs.

use super::process::{swap_off, swap_on};
use super::sys::PAGE;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const PAGES: usize = 8192;

/// Switched off and removed when dropped.
#[derive(Debug)]
pub(super) struct SwapFile {
    path: PathBuf,
    on: bool,
}

impl SwapFile {
    /// Creates the file where the file system takes it, and swaps to it.
    pub(super) fn create() -> io::Result<Self> {
        let mut result = Err(io::Error::other("no folder for it"));
        for folder in [std::env::temp_dir(), PathBuf::from("/var/tmp")] {
            result = Self::create_in(&folder);
            if result.is_ok() {
                break;
            }
        }
        result.map_err(|error| io::Error::other(format!("no temporary swap file: {error}")))
    }

    fn create_in(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("mmtrace-workload-{}.swap", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        // From here on, dropping removes the file.
        let mut swap = Self { path, on: false };
        file.write_all(&header())?;
        // Written, not reserved: swapon(2) refuses holes.
        for _ in 1..PAGES {
            file.write_all(&[0; PAGE])?;
        }
        file.sync_all()?;
        drop(file);
        swap_on(&swap.path)?;
        swap.on = true;
        Ok(swap)
    }
}

/// First page of a swap area, as mkswap(8) writes it: version, last page and no bad pages, and the magic at its end.
fn header() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[1024..1028].copy_from_slice(&1_u32.to_ne_bytes());
    page[1028..1032].copy_from_slice(&(PAGES as u32 - 1).to_ne_bytes());
    page[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
    page
}

impl Drop for SwapFile {
    fn drop(&mut self) {
        if self.on
            && let Err(error) = swap_off(&self.path)
        {
            // Removing a file that is still in use would only hide it.
            eprintln!("mmtrace: cannot switch off the swap file {}: {error}", self.path.display());
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            eprintln!("mmtrace: cannot remove {}: {error}", self.path.display());
        }
    }
}
