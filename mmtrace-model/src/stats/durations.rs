//! Distributions of durations.

use hdrhistogram::Histogram;

/// The longest duration that is told apart, nanoseconds: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// A distribution of durations, nanoseconds. Values are right to a tenth, and the longest is exact.
#[derive(Clone, Debug)]
pub struct Durations {
    histogram: Histogram<u32>,
    max: u64,
}

impl Default for Durations {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 1).expect("constant bounds are valid");
        Self { histogram, max: 0 }
    }
}

impl Durations {
    pub(super) fn add(&mut self, ns: u64) {
        self.histogram.saturating_record(ns.max(1));
        self.max = self.max.max(ns);
    }

    /// The number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Returns the duration that this share of them did not exceed.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile).min(self.max)
    }

    /// The longest.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }
}
