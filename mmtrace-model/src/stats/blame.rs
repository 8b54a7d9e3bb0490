//! Waits for mmap_locks, by what they are charged to.
//!
//! Each contended wait is divided into pieces (`blockers`). For each pair of a culprit and a waiter there is a row: the pieces
//! of one wait that belong to it are one charge. No nanosecond is counted twice or left out, so that all charges add up to the
//! contended waits of [`Callers`](super::callers::Callers).

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::{
    blockers::{Culprit, HeldAs, Part},
    caller::Caller,
    intervals::{Intervals, Longest},
};
use crate::names::ThreadId;

/// Rows that tell culprits and waiters apart.
const ROWS_MAX: usize = 1 << 14;
/// Histograms, 5 KiB each. Rows that would need another one have no quantiles.
const HISTOGRAMS_MAX: usize = 1 << 10;

/// A waiter, and whether it waits for write.
pub(crate) type Victim = (Caller, bool);

/// What all waits that are charged are charged to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blame {
    rows: FxHashMap<(Culprit, Victim), Intervals>,
    histograms: usize,
    /// Pieces of one wait; kept for their room.
    pieces: Pieces,
}

/// Pieces of one wait, by culprit. Most waits have few culprits, whatever the number of their pieces.
#[derive(Clone, Debug, Default)]
struct Pieces {
    sums: Vec<Part>,
    /// Places in `sums` of culprits beyond the first [`AT_ONCE`].
    places: FxHashMap<Culprit, usize>,
}

/// Culprits that are found without a search in a map.
const AT_ONCE: usize = 8;

impl Pieces {
    fn clear(&mut self) {
        self.sums.clear();
        self.places.clear();
    }

    fn add(&mut self, part: Part) {
        let first = self.sums.iter().take(AT_ONCE).position(|sum| sum.culprit == part.culprit);
        if let Some(at) = first.or_else(|| self.places.get(&part.culprit).copied()) {
            self.sums[at].ns += part.ns;
            return;
        }
        if self.sums.len() >= AT_ONCE {
            self.places.insert(part.culprit, self.sums.len());
        }
        self.sums.push(part);
    }
}

impl Blame {
    /// Returns a copy for a checkpoint, with at most `most` rows, those with the longest sums, and without quantiles.
    pub(super) fn trimmed(&self, most: usize) -> Self {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(key, charged)| (Reverse(charged.sum()), **key));
        let rows = rows.into_iter().take(most).map(|(key, charged)| (*key, charged.trimmed())).collect();
        Self { rows, ..Self::default() }
    }

    /// Whether it has more rows than a checkpoint keeps.
    pub(super) fn is_longer_than(&self, most: usize) -> bool {
        self.rows.len() > most
    }

    /// Charges the pieces of a wait that `divide` gives, if the wait was behind a hold, or is `long`. What each culprit is
    /// charged is also shown to `see`. Returns whether the wait is charged.
    pub(super) fn charge(
        &mut self,
        victim: Victim,
        wait: Longest,
        long: bool,
        divide: impl FnOnce(&mut dyn FnMut(Part)),
        see: impl FnMut(&Part),
    ) -> bool {
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.clear();
        divide(&mut |part| pieces.add(part));
        debug_assert_eq!(pieces.sums.iter().map(|sum| sum.ns).sum::<u64>(), wait.ns, "{wait:?}: {pieces:?}");
        let charged = long || pieces.sums.iter().any(|sum| matches!(sum.culprit, Culprit::Hold { .. }));
        if charged {
            pieces.sums.iter().for_each(see);
            for Part { culprit, ns } in &pieces.sums {
                self.add(*culprit, victim, Longest { ns: *ns, ..wait });
            }
        }
        self.pieces = pieces;
        charged
    }

    fn add(&mut self, culprit: Culprit, victim: Victim, charge: Longest) {
        let mut key = (culprit, victim);
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&key) {
            key = self.late(key);
        }
        self.rows.entry(key).or_default().add(charge, &mut self.histograms, HISTOGRAMS_MAX);
    }

    /// The row of a pair that comes when there are too many: without the waiter, then without the culprit.
    fn late(&self, (culprit, (_, write)): (Culprit, Victim)) -> (Culprit, Victim) {
        let anybody = (Caller { thread: ThreadId::OTHERS, call: None }, write);
        let culprit = match culprit {
            Culprit::Hold { by, held, .. } => Culprit::Hold { by, held, via: None },
            other => other,
        };
        if self.rows.len() < 2 * ROWS_MAX || self.rows.contains_key(&(culprit, anybody)) {
            (culprit, anybody)
        } else {
            (Culprit::Others, anybody)
        }
    }

    /// Returns what was charged to whom for whom.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Culprit, Victim, &Intervals)> {
        self.rows.iter().map(|((culprit, victim), charged)| (*culprit, *victim, charged))
    }

    /// Returns the holders from before the recording, who may never have acquired a lock in it.
    pub(crate) fn holders_before(&self) -> impl Iterator<Item = Caller> {
        self.rows.keys().filter_map(|(culprit, _)| match culprit {
            Culprit::Hold { by, held: HeldAs::WriteBefore, .. } => Some(*by),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use mmtrace_common::Call;

    use super::*;

    fn by(nr: u32) -> Caller {
        Caller { thread: ThreadId::OTHERS, call: Some(Call::System(nr as u16)) }
    }

    #[test]
    fn memory_is_bounded_and_the_sum_is_exact() {
        let mut blame = Blame::default();
        let mut sum = 0;
        for n in 0..80_000_u32 {
            // A few rows have many charges, and histograms.
            let (holder, waiter) = if n % 4 == 0 { (n % 64, 0) } else { (n % 4_096, n / 4_096) };
            let culprit = Culprit::Hold { by: by(holder), held: HeldAs::Write, via: Some(by(n % 3)) };
            let wait = Longest { ns: 7, since: 1, tid: 2, mm: 3 };
            let divide = |take: &mut dyn FnMut(Part)| {
                take(Part { culprit, ns: 3 });
                take(Part { culprit: Culprit::HandOver, ns: 2 });
                take(Part { culprit, ns: 2 });
            };
            assert!(blame.charge((by(waiter), true), wait, false, divide, |_| {}));
            sum += wait.ns;
        }
        assert!(blame.rows.len() <= 2 * ROWS_MAX + 2 && blame.rows.len() > ROWS_MAX, "{}", blame.rows.len());
        assert!(blame.histograms <= HISTOGRAMS_MAX);
        assert_eq!(blame.rows().map(|(.., charged)| charged.sum()).sum::<u64>(), sum);
        assert!(blame.trimmed(10).rows.len() == 10 && blame.is_longer_than(10));
    }

    #[test]
    fn a_short_wait_behind_nobody_is_not_charged() {
        let mut blame = Blame::default();
        let wait = Longest { ns: 7, since: 1, tid: 2, mm: 3 };
        let divide = |take: &mut dyn FnMut(Part)| take(Part { culprit: Culprit::Unknown, ns: 7 });
        assert!(!blame.charge((by(1), true), wait, false, divide, |_| {}));
        assert!(blame.charge((by(1), true), wait, true, divide, |_| {}));
        assert_eq!(blame.rows().map(|(.., charged)| charged.count()).sum::<u64>(), 1);
    }

    #[test]
    fn a_wait_behind_many_is_charged_to_each_once() {
        let mut blame = Blame::default();
        let wait = Longest { ns: 400, since: 1, tid: 2, mm: 3 };
        let divide = |take: &mut dyn FnMut(Part)| {
            for n in 0..200 {
                take(Part { culprit: Culprit::Hold { by: by(n % 100), held: HeldAs::Read, via: None }, ns: 2 });
            }
        };
        assert!(blame.charge((by(1), true), wait, false, divide, |_| {}));
        assert!(blame.rows().all(|(.., charged)| (charged.count(), charged.sum()) == (1, 4)));
        assert_eq!(blame.rows().count(), 100);
    }
}
