//! Time of a jump in a capture: the measurement that `cargo xtask bench dashboard` runs.

use std::{io::Write, time::Instant};

use anyhow::{Context as _, Result};
use mmtrace_capture::Capture;
use mmtrace_model::replay::timeline::Timeline;
use mmtrace_model::untrusted::json;
use serde_json::json as value;

/// Reads the capture once, as a dashboard does that plays it to the end, then jumps to `n` times all over it.
///
/// # Errors
/// The capture is empty, or the result cannot be written.
pub(super) fn run(capture: &Capture, n: u32, out: &mut dyn Write) -> Result<()> {
    let (first, last) = capture.summary().span.context("the capture has no events")?;
    let mut timeline = Timeline::new(capture.context().clone(), capture);
    let start = Instant::now();
    timeline.seek(u64::MAX);
    let read = start.elapsed();
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    let mut took: Vec<f64> = (0..n)
        .map(|_| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let ts = first + (bits >> 11) % last.saturating_sub(first).max(1);
            let start = Instant::now();
            timeline.seek(ts);
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let at = |q: f64| took.get(((took.len() as f64 * q) as usize).min(took.len().saturating_sub(1))).copied();
    let result = value!({
        "events": timeline.len(),
        "read_seconds": read.as_secs_f64(),
        "jumps": took.len(),
        "median_ms": at(0.5),
        "p99_ms": at(0.99),
        "longest_ms": at(1.0),
    });
    json(&result, out)?;
    writeln!(out).context("cannot print the result")
}
