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
    callers::{Intervals, Longest},
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
    /// Pieces of one wait; kept for its room.
    pieces: Vec<Part>,
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

    /// Charges a wait that was behind a hold, or is `long`. Returns whether it is charged. `divide` writes its pieces, which
    /// add up to it; each of them is also shown to `see`.
    pub(super) fn charge(
        &mut self,
        victim: Victim,
        wait: Longest,
        long: bool,
        divide: impl FnOnce(&mut Vec<Part>),
        mut see: impl FnMut(&Part),
    ) -> bool {
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.clear();
        divide(&mut pieces);
        debug_assert_eq!(pieces.iter().map(|part| part.ns).sum::<u64>(), wait.ns, "{wait:?}: {pieces:?}");
        let charged = long || pieces.iter().any(|part| matches!(part.culprit, Culprit::Hold { .. }));
        if !charged {
            pieces.clear();
        }
        pieces.iter().for_each(&mut see);
        pieces.sort_unstable();
        for same in pieces.chunk_by(|one, other| one.culprit == other.culprit) {
            let ns = same.iter().map(|part| part.ns).sum();
            self.add(same[0].culprit, victim, Longest { ns, ..wait });
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
