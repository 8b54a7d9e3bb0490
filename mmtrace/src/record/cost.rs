//! Cost of the recording: the time of the programs within the traced code, and the CPU time of mmtrace itself.
//!
//! The kernel measures its programs only while somebody asks for it, and measuring costs time in each run. So it is asked
//! for short windows now and then, and the share in these stands for the whole.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use crate::probe::{rings::Rings, sys};

/// Length of a window.
const WINDOW: Duration = Duration::from_millis(50);
/// Time from the start of the recording to the first window.
const FIRST: Duration = Duration::from_millis(250);
/// Time from the start of one window to that of the next.
const EVERY: Duration = Duration::from_secs(5);

/// A window that is open.
struct Window {
    /// The kernel measures as long as this is open.
    _stats: OwnedFd,
    began: Instant,
    ns: u64,
}

/// Measures.
pub(super) struct Cost {
    began: Instant,
    own: Duration,
    next: Instant,
    window: Option<Window>,
    /// Windows, their length, and the programs' time in them.
    windows: u32,
    length: Duration,
    programs: Duration,
}

impl Cost {
    /// The recording begins.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            own: sys::cpu_time(),
            next: now + FIRST,
            window: None,
            windows: 0,
            length: Duration::ZERO,
            programs: Duration::ZERO,
        }
    }

    /// Opens or closes a window, if it is time to.
    pub(super) fn tick(&mut self, rings: &Rings) {
        let now = Instant::now();
        match self.window.take_if(|window| now.duration_since(window.began) >= WINDOW) {
            Some(window) => {
                self.windows += 1;
                self.programs += Duration::from_nanos(rings.run_ns().saturating_sub(window.ns));
                self.length += window.began.elapsed();
            }
            None if self.window.is_none() && now >= self.next => {
                self.next = now + EVERY;
                if let Ok(stats) = sys::measure_programs() {
                    self.window = Some(Window { _stats: stats, ns: rings.run_ns(), began: Instant::now() });
                }
            }
            None => {}
        }
    }

    /// Returns the cost in words. CPU time is in percent of one CPU, whatever their number.
    pub(super) fn text(&self) -> String {
        let share = |of: Duration, length: Duration| 100.0 * of.as_secs_f64() / length.as_secs_f64().max(1e-9);
        let own = share(sys::cpu_time().saturating_sub(self.own), self.began.elapsed());
        match self.windows {
            0 => format!(
                "mmtrace itself took {own:.1} % of one CPU; the time of its programs in the traced code was not measured"
            ),
            windows => format!(
                "recording took {:.1} % of one CPU within the traced code (measured for {} ms) and {own:.1} % in mmtrace \
                 itself",
                share(self.programs, self.length),
                windows * WINDOW.as_millis() as u32
            ),
        }
    }
}
