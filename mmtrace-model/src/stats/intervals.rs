//! Holds or waits of one row: their number, their sum, the longest, and quantiles while there is room.

use crate::durations::Durations;

/// Durations of a row that are kept as they are; of more there is a histogram.
const FEW: usize = 24;

/// The longest of some intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Longest {
    /// Its duration, nanoseconds.
    pub(crate) ns: u64,
    /// Time when it began, nanoseconds.
    pub(crate) since: u64,
    /// The task.
    pub(crate) tid: u32,
    /// The lock's mm.
    pub(crate) mm: u64,
}

/// Intervals of one kind in one row: the number, the sum and the longest are exact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intervals {
    count: u64,
    sum: u64,
    longest: Option<Longest>,
    few: Vec<u64>,
    many: Option<Box<Durations>>,
}

impl Intervals {
    /// Adds one, unless it needs another histogram than `most`.
    pub(super) fn add(&mut self, interval: Longest, histograms: &mut usize, most: usize) {
        self.count += 1;
        self.sum = self.sum.saturating_add(interval.ns);
        if self.longest.is_none_or(|longest| interval.ns > longest.ns) {
            self.longest = Some(interval);
        }
        if let Some(many) = &mut self.many {
            many.add(interval.ns);
        } else if self.few.len() < FEW && self.count == self.few.len() as u64 + 1 {
            self.few.push(interval.ns);
        } else if !self.few.is_empty() && *histograms < most {
            *histograms += 1;
            let mut many = Box::<Durations>::default();
            std::mem::take(&mut self.few).into_iter().chain([interval.ns]).for_each(|ns| many.add(ns));
            self.many = Some(many);
        } else {
            self.few = Vec::new();
        }
    }

    /// Returns a copy without quantiles.
    pub(super) const fn trimmed(&self) -> Self {
        Self { count: self.count, sum: self.sum, longest: self.longest, few: Vec::new(), many: None }
    }

    /// Returns the number of intervals.
    #[must_use]
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// All together, nanoseconds.
    #[must_use]
    pub(crate) const fn sum(&self) -> u64 {
        self.sum
    }

    /// The longest.
    #[must_use]
    pub(crate) const fn longest(&self) -> Option<Longest> {
        self.longest
    }

    /// Returns the duration that the share `quantile` of them does not exceed, nanoseconds; `None` if there were too
    /// many rows to know.
    #[must_use]
    pub(crate) fn quantile(&self, quantile: f64) -> Option<u64> {
        if let Some(many) = &self.many {
            return Some(many.quantile(quantile));
        }
        let mut few = self.few.clone();
        few.sort_unstable();
        let at = (quantile * few.len() as f64).ceil() as usize;
        (self.count == few.len() as u64).then(|| few.get(at.max(1) - 1).copied()).flatten()
    }

    /// Takes those of another row as well.
    pub(crate) fn merge(&mut self, other: &Self) {
        let both = self.count > 0 && other.count > 0;
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.longest = self.longest.into_iter().chain(other.longest).max_by_key(|longest| longest.ns);
        if !both {
            if other.count > 0 {
                (self.few, self.many) = (other.few.clone(), other.many.clone());
            }
            return;
        }
        let known = |row: &Self| row.many.is_some() || !row.few.is_empty();
        if !known(self) || !known(other) {
            (self.few, self.many) = (Vec::new(), None);
            return;
        }
        let mut many = self.many.take().unwrap_or_default();
        std::mem::take(&mut self.few).into_iter().for_each(|ns| many.add(ns));
        other.few.iter().for_each(|ns| many.add(*ns));
        other.many.iter().for_each(|other| many.merge(other));
        self.many = Some(many);
    }
}
