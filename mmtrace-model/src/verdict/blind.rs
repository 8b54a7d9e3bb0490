//! The times of a stream when events may be missing.

use std::collections::BTreeMap;

/// Most times that are kept apart. When there are more, those with the least time between them become one.
const APART: usize = 256;

/// The times when events may be missing: each from the earliest moment at which a missing event can have been, to the latest
/// one. Those that overlap are one.
#[derive(Clone, Debug, Default)]
pub struct BlindTimes {
    /// Their ends by their beginnings.
    times: BTreeMap<u64, u64>,
}

impl BlindTimes {
    /// Events are missing from one time to another one.
    pub(super) fn add(&mut self, from: u64, until: u64) {
        let (mut from, mut until) = (from.min(until), until);
        while let Some((&begin, &end)) = self.times.range(..=until).next_back().filter(|(_, end)| **end >= from) {
            self.times.remove(&begin);
            (from, until) = (from.min(begin), until.max(end));
        }
        self.times.insert(from, until);
        if self.times.len() > APART {
            self.join_nearest();
        }
    }

    fn join_nearest(&mut self) {
        let pairs = self.times.iter().zip(self.times.iter().skip(1));
        let nearest =
            pairs.min_by_key(|((_, end), (begin, _))| **begin - **end).map(|((a, _), (b, until))| (*a, *b, *until));
        if let Some((from, begin, until)) = nearest {
            self.times.remove(&begin);
            self.times.insert(from, until);
        }
    }

    /// Whether one of them has a moment within `from..until`, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn meet(&self, from: u64, until: u64) -> bool {
        self.times.range(..until).next_back().is_some_and(|(begin, end)| *begin >= from || *end >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[(u64, u64)]) -> BlindTimes {
        let mut blind = BlindTimes::default();
        times.iter().for_each(|(from, until)| blind.add(*from, *until));
        blind
    }

    #[test]
    fn times_that_overlap_are_one() {
        let blind = of(&[(100, 200), (400, 500), (150, 180), (190, 410), (700, 700)]);
        assert_eq!(blind.times, BTreeMap::from([(100, 500), (700, 700)]));
    }

    #[test]
    fn a_time_is_met_by_any_moment_of_it() {
        let blind = of(&[(100, 200), (700, 700)]);
        for (from, until, met) in [
            (0, 100, false),
            (0, 101, true),
            (150, 160, true),
            (200, 300, true),
            (201, 700, false),
            (201, 701, true),
            (701, u64::MAX, false),
        ] {
            assert_eq!(blind.meet(from, until), met, "{from}..{until}");
        }
        assert!(!BlindTimes::default().meet(0, u64::MAX));
    }

    #[test]
    fn the_nearest_become_one_when_there_are_too_many() {
        let mut blind = BlindTimes::default();
        for n in 0..APART as u64 {
            blind.add(n * 1_000, n * 1_000 + if n == 7 { 999 } else { 10 });
        }
        blind.add(u64::MAX, u64::MAX);
        assert_eq!(blind.times.len(), APART);
        assert_eq!(blind.times.get(&7_000), Some(&8_010));
    }
}
