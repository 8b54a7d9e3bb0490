//! Cost of a recording: mmtrace's own CPU time, and the time of its programs within the traced code.
//!
//! The kernel measures programs only if the sysctl `kernel.bpf_stats_enabled` is set, or somebody has asked for it, as
//! mmtrace does for `--max-overhead`. Else mmtrace does not ask for it, not even for short windows: the kernel then patches
//! its own code, and interrupts every CPU several times for it.

use std::time::{Duration, Instant};

use crate::probe::{rings::Rings, sys};

/// Measures a recording.
pub(super) struct Cost {
    began: Instant,
    /// CPU time of mmtrace before the recording.
    own: Duration,
    /// Time of the programs before the recording, nanoseconds.
    programs_ns: u64,
    /// The programs are measured.
    measured: bool,
}

impl Cost {
    /// Begins with the recording.
    pub(super) fn new(rings: &Rings, measured: bool) -> Self {
        let measured = measured || sys::measures_programs();
        Self { began: Instant::now(), own: sys::cpu_time(), programs_ns: rings.run_ns(), measured }
    }

    /// Says how much CPU time the recording took, in percent of one CPU, whatever their number.
    pub(super) fn text(&self, rings: &Rings) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-9);
        let own = 100.0 * sys::cpu_time().saturating_sub(self.own).as_secs_f64() / seconds;
        if !self.measured {
            return format!(
                "mmtrace itself took {own:.1} % of one CPU; its programs in the traced code are measured with: sysctl \
                 kernel.bpf_stats_enabled=1"
            );
        }
        let programs = rings.run_ns().saturating_sub(self.programs_ns) as f64 / 1e7 / seconds;
        format!("recording took {programs:.1} % of one CPU within the traced code and {own:.1} % in mmtrace itself")
    }
}
