//! Limit on the files that this process may have open: each program in the kernel takes two descriptors, and more with
//! its standby programs.

use std::{io, sync::OnceLock};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

/// Fewer are not enough to begin with, whatever is recorded.
const LEAST: u64 = 64;

/// The limit as it was.
static BEFORE: OnceLock<libc::rlimit> = OnceLock::new();

/// Raises the limit as far as that is permitted.
pub(super) fn raise() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the struct that is passed.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error()).context("cannot find out how many files this process may open");
    }
    let before = *BEFORE.get_or_init(|| limit);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads the struct that is passed.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        limit = before;
    }
    if limit.rlim_cur < LEAST {
        bail!(
            "this process may open {} files, and a recording needs hundreds; allow more: ulimit -n 4096",
            limit.rlim_cur
        );
    }
    Ok(())
}

/// Whether this process may have so many files open.
pub(super) fn allow(files: u64) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the struct that is passed.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    asked == 0 && limit.rlim_cur >= files
}

/// Lowers the limit for good, so that this process can open only so many files more: each link that attaches a program once
/// more is one. What is open stays open.
pub(super) fn lower(more: u64) {
    let is_open = |fd: u64| {
        // SAFETY: takes numbers only.
        libc::c_int::try_from(fd).is_ok_and(|fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0)
    };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the struct that is passed.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return;
    }
    // The limit is on the numbers of descriptors: the kernel takes the lowest one that is free.
    let free = (0..limit.rlim_cur).filter(|fd| !is_open(*fd)).nth(usize::try_from(more).unwrap_or(usize::MAX));
    let Some(least) = free else { return };
    let lowered = libc::rlimit { rlim_cur: least, rlim_max: least };
    // SAFETY: the kernel reads the struct that is passed. To lower a limit needs no right; where a filter forbids it, the
    // limit stays as it was.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const lowered) };
}

/// Has the command begin with the limit as it was: select(2) knows no descriptor beyond 1023.
pub(super) fn give_back(command: &mut Command) {
    let Some(before) = BEFORE.get().copied() else { return };
    // SAFETY: the closure runs in the forked child and makes one system call.
    unsafe {
        command.pre_exec(move || {
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const before);
            Ok(())
        });
    }
}

/// Whether the reason why a probe was refused is that limit.
pub(super) fn was_met(reason: &str) -> bool {
    reason.contains("(os error 24)") || reason.contains("Too many open files")
}
