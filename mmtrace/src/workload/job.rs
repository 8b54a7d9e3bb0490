//! The limits that a workload's body gets: time, threads, memory.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::tally::Tally;

/// The limits of one run.
pub(super) struct Job<'a> {
    pub(super) stop: &'a AtomicBool,
    pub(super) end: Instant,
    pub(super) threads: usize,
    /// Bytes, for all threads together.
    pub(super) memory: usize,
    pub(super) allow_swap: bool,
    pub(super) cpus: Vec<usize>,
}

impl Job<'_> {
    /// Whether to go on.
    pub(super) fn go(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && Instant::now() < self.end
    }

    /// Sleeps, but not beyond the end; whether to go on.
    pub(super) fn pause(&self, length: Duration) -> bool {
        let until = (Instant::now() + length).min(self.end);
        while self.go() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
        false
    }

    /// Runs `body` again and again until the end or its first error, which the path's outcome then tells.
    pub(super) fn repeat(&self, tally: &Tally, path: &'static str, mut body: impl FnMut() -> std::io::Result<()>) {
        while self.go() {
            if let Err(error) = body() {
                tally.note(path, format!("stopped early: {error}"));
                return;
            }
        }
    }
}
