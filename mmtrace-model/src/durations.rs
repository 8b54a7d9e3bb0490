//! Durations of what happens time after time.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest duration told apart, nanoseconds: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// A distribution of durations, nanoseconds. Quantiles are right to one digit or two; the number, the sum and the longest
/// are exact.
///
/// Nothing is allocated before the first duration: about 5 KiB for one digit, 40 KiB for two.
#[derive(Clone, Debug)]
pub struct Durations {
    digits: u8,
    histogram: Option<Histogram<u64>>,
    sum: u64,
    max: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self { digits: 1, histogram: None, sum: 0, max: 0 }
    }
}

/// A distribution in a few numbers, nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Distribution {
    /// Number of intervals.
    pub count: u64,
    /// Median.
    pub p50_ns: u64,
    /// 99 of 100 were not longer.
    pub p99_ns: u64,
    /// Longest.
    pub max_ns: u64,
    /// All together.
    pub sum_ns: u64,
}

impl Durations {
    /// Quantiles are right to two digits: for the few distributions that reports and metrics give.
    #[must_use]
    pub(crate) fn two_digits() -> Self {
        Self { digits: 2, ..Self::default() }
    }

    /// Adds one.
    pub(crate) fn add(&mut self, ns: u64) {
        let digits = self.digits;
        let histogram = self.histogram.get_or_insert_with(|| {
            Histogram::new_with_bounds(1, LONGEST_NS, digits).expect("constant bounds are valid")
        });
        histogram.saturating_record(ns.max(1));
        self.sum = self.sum.saturating_add(ns);
        self.max = self.max.max(ns);
    }

    /// Adds those of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        if let Some(theirs) = &other.histogram {
            match &mut self.histogram {
                // Both have the same bounds, and so has any value that one of them holds.
                Some(ours) => ours.add(theirs).unwrap_or_default(),
                None => (self.digits, self.histogram) = (other.digits, Some(theirs.clone())),
            }
        }
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// Returns the number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// Returns the duration that the share `quantile` of them does not exceed, nanoseconds.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.histogram.as_ref().map_or(0, |histogram| histogram.value_at_quantile(quantile)).min(self.max)
    }

    /// The longest.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// All together.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Returns, for each bound, the number of durations that are not longer.
    #[must_use]
    pub fn up_to(&self, bounds_ns: &[u64]) -> Vec<u64> {
        let upto = |bound: &u64| self.histogram.as_ref().map_or(0, |histogram| histogram.count_between(0, *bound));
        bounds_ns.iter().map(upto).collect()
    }

    /// The distribution in a few numbers; `None` if there is nothing.
    #[must_use]
    pub fn distribution(&self) -> Option<Distribution> {
        let [p50_ns, p99_ns] = [0.5, 0.99].map(|quantile| self.quantile(quantile));
        let Self { sum, max, .. } = *self;
        (self.count() > 0).then(|| Distribution { count: self.count(), p50_ns, p99_ns, max_ns: max, sum_ns: sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_the_digits_and_the_rest_is_exact() {
        for (mut durations, off) in [(Durations::default(), 10), (Durations::two_digits(), 100)] {
            assert_eq!((durations.count(), durations.quantile(0.5), durations.max()), (0, 0, 0));
            assert!(durations.distribution().is_none());
            (1..=1000).for_each(|n| durations.add(n * 1_000_003));
            let median = durations.quantile(0.5);
            assert!(median.abs_diff(500_001_500) <= 500_001_500 / off, "{median}");
            assert_eq!((durations.count(), durations.max(), durations.sum()), (1000, 1_000_003_000, 500_501_501_500));
            assert_eq!(durations.up_to(&[1_000, 10_000_000_000]), [0, 1000]);
        }
    }
}
