//! Signals that end a recording.
//!
//! The first signal ends it, the second ends it sooner, and the third at once, wherever this process is: it is counted in
//! the signal's handler.

use std::{
    io,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that end a recording at once.
const AT_ONCE: usize = 3;
/// Signals closer to each other than this are one: a terminal that is closed sends several, milliseconds.
const ONE_MS: u64 = 100;
/// Exit status of a recording that was ended at once.
const FAILED: i32 = 2;

/// Number of signals so far.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Time of the last signal, milliseconds of `CLOCK_MONOTONIC`.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Watches for SIGINT, SIGTERM and SIGHUP.
pub(super) struct Signals {
    watched: Vec<Signal>,
}

impl Signals {
    /// Begins to watch. A SIGHUP that is ignored stays ignored: that is nohup(1).
    pub(super) fn watch() -> Result<Self> {
        let mut watched = Vec::new();
        for (name, number) in [("SIGINT", libc::SIGINT), ("SIGTERM", libc::SIGTERM), ("SIGHUP", libc::SIGHUP)] {
            if number == libc::SIGHUP && is_ignored(number) {
                continue;
            }
            // SAFETY: `came` uses atomics, asks for the time and may end the process: all of it may be done in a handler.
            unsafe { signal_hook::low_level::register(number, came) }
                .with_context(|| format!("cannot watch for {name}"))?;
            watched.push(signal(SignalKind::from_raw(number)).with_context(|| format!("cannot watch for {name}"))?);
        }
        Ok(Self { watched })
    }

    /// Returns the number of signals so far.
    pub(super) fn count() -> usize {
        COUNT.load(Ordering::Relaxed)
    }

    /// Waits until more than so many have come.
    pub(super) async fn beyond(&mut self, count: usize) {
        std::future::poll_fn(|context| {
            for signal in &mut self.watched {
                // The numbers are counted elsewhere: this only wakes.
                while signal.poll_recv(context).is_ready() {}
            }
            if Self::count() > count { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeros is a valid sigaction, and the kernel writes to it alone.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// In the handler.
fn came() {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the struct it is given; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let now = time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000;
    let last = LAST.swap(now, Ordering::Relaxed);
    if last != 0 && now.saturating_sub(last) < ONE_MS {
        return;
    }
    if COUNT.fetch_add(1, Ordering::Relaxed) + 1 >= AT_ONCE {
        signal_hook::low_level::exit(FAILED);
    }
}

/// Lets a write beyond RLIMIT_FSIZE fail as one to a full disk does, instead of ending the process. A program that is
/// started from here is not affected: a handler does not outlive exec(2).
///
/// # Errors
/// The system refuses.
pub fn survive_file_limit() -> io::Result<()> {
    // SAFETY: the handler does nothing.
    unsafe { signal_hook::low_level::register(libc::SIGXFSZ, || {}) }.map(drop)
}
