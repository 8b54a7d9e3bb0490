//! Pages that go to swap and come back, and a swap file for as long as a workload runs.

use super::journal::{Change, journal};
use super::kernel_files::{line_kib, vmstat};
use super::process::{self, swap_off, swap_on};
use super::sys::{Advice, Mapping, PAGE};
use super::tally::Tally;
use super::{Job, threads};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Pages of the file.
const PAGES: u32 = 8192;
/// Most memory that goes out and comes in.
const REGION: usize = 4 << 20;

/// Reclaims pages that threads touch. Whoever touches one first reads it, and waits for its folio as do the others: it is
/// locked until it has been read.
pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    let swap = match SwapFile::where_there_is_none(job.allow_swap) {
        Ok(swap) => swap,
        Err(error) => return tally.note("swap in", format!("not provoked: {error}")),
    };
    let len = (job.memory / 2 / PAGE * PAGE).min(REGION);
    let memory = Mapping::of_small_pages(len);
    let memory = match &memory {
        Ok(memory) => memory,
        Err(error) => return tally.note("swap in", format!("no memory: {error}")),
    };
    let before = vmstat("pswpin");
    std::thread::scope(|scope| {
        for index in 0..job.threads.max(2) {
            threads::start(scope, move || {
                process::pin(&job.cpus, index);
                let mut counts = tally.local("swap in");
                while job.go() {
                    counts.add("pages touched", memory.scan(1));
                    // A page that is touched before it has left memory need not be read.
                    job.pause(Duration::from_millis(20));
                }
            });
        }
        threads::start(scope, move || {
            let mut counts = tally.local("swap out");
            // Written once: a page that is only read after that leaves again without being written.
            memory.fill(1, 1);
            while job.go() {
                if let Err(error) = memory.advise(Advice::PageOut) {
                    return tally.note("swap out", format!("stopped early: {error}"));
                }
                counts.add("MADV_PAGEOUT", 1);
                job.pause(Duration::from_millis(2));
            }
        });
    });
    drop(swap);
    // Other processes' pages are counted, too.
    tally.add("swap in", "pages read from swap on the whole machine", vmstat("pswpin").saturating_sub(before));
}

/// Switched off and removed when dropped.
#[derive(Debug)]
pub(super) struct SwapFile {
    path: PathBuf,
    on: bool,
}

impl SwapFile {
    /// None where there is swap; else the file, if it may be made.
    pub(super) fn where_there_is_none(allowed: bool) -> io::Result<Option<Self>> {
        if line_kib("/proc/meminfo", "SwapTotal:") > 0 {
            Ok(None)
        } else if allowed {
            Self::create().map(Some)
        } else {
            Err(io::Error::other("there is no swap; --allow-swap makes a temporary swap file"))
        }
    }

    /// Creates the file where the file system takes it, and swaps to it.
    fn create() -> io::Result<Self> {
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
        file.write_all(&header(PAGES))?;
        // Written, not reserved: swapon(2) refuses holes.
        for _ in 1..PAGES {
            file.write_all(&[0; PAGE])?;
        }
        file.sync_all()?;
        drop(file);
        journal().note(&Change::Swap { path: swap.path.clone() })?;
        swap_on(&swap.path)?;
        swap.on = true;
        Ok(swap)
    }
}

/// First page of a swap area of so many, as mkswap(8) writes it: version, last page and no bad pages, and the magic at
/// its end.
#[must_use]
pub fn header(pages: u32) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[1024..1028].copy_from_slice(&1_u32.to_ne_bytes());
    page[1028..1032].copy_from_slice(&(pages - 1).to_ne_bytes());
    page[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
    page
}

impl Drop for SwapFile {
    fn drop(&mut self) {
        if self.on
            && let Err(error) = swap_off(&self.path)
        {
            // Removing a file that is still in use would only hide it.
            crate::console::complain(format_args!(
                "cannot switch off the swap file {0}: {error}; switch it off with: sudo swapoff {0}",
                self.path.display()
            ));
            return;
        }
        match fs::remove_file(&self.path) {
            Ok(()) => journal().undone(&self.path),
            Err(error) => crate::console::complain(format_args!(
                "cannot remove the swap file {0}: {error}; remove it with: sudo rm {0}",
                self.path.display()
            )),
        }
    }
}
