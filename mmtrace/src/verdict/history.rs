//! The last events, kept so that a violation can be shown with what led to it.

use mmtrace_common::Record;

/// Events kept. At 80 bytes each this is 2.5 MiB.
const KEPT: usize = 1 << 15;

/// Most events shown with a violation.
const SHOWN: usize = 24;

/// A ring of the last events.
#[derive(Clone, Debug)]
pub struct History {
    events: Vec<Record>,
    next: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { events: Vec::with_capacity(KEPT), next: 0 }
    }
}

impl History {
    /// Adds the newest event.
    #[inline]
    pub fn push(&mut self, record: &Record) {
        if self.events.len() < KEPT {
            self.events.push(*record);
        } else {
            self.events[self.next] = *record;
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// The last `n` events, oldest first.
    #[must_use]
    pub fn recent(&self, n: usize) -> Vec<Record> {
        let len = self.events.len();
        let first = if len < KEPT { 0 } else { self.next };
        (len - n.min(len)..len).map(|i| self.events[(first + i) % len]).collect()
    }

    /// The newest event that this is true of.
    #[must_use]
    pub fn last(&self, is: impl Fn(&Record) -> bool) -> Option<Record> {
        let (newer, older) = self.events.split_at(self.next.min(self.events.len()));
        newer.iter().rev().chain(older.iter().rev()).find(|r| is(r)).copied()
    }

    /// The last events of these tasks or about this mm, oldest first.
    #[must_use]
    pub fn about(&self, tids: &[u32], mm: u64) -> Vec<Record> {
        let (newer, older) = self.events.split_at(self.next.min(self.events.len()));
        let mut found: Vec<Record> = newer
            .iter()
            .rev()
            .chain(older.iter().rev())
            .filter(|r| tids.contains(&r.tid) || (mm != 0 && r.mm == mm))
            .take(SHOWN)
            .copied()
            .collect();
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_come_back_oldest_first() {
        let mut history = History::default();
        for ts in 0..(KEPT as u64 + 10) {
            history.push(&Record { ts, tid: (ts % 3) as u32, ..Record::default() });
        }
        let about = history.about(&[1], 0);
        assert_eq!(about.len(), SHOWN);
        assert!(about.is_sorted_by_key(|r| r.ts));
        assert!(about.iter().all(|r| r.tid == 1));
        assert!(about.last().expect("some").ts > KEPT as u64 + 6);
    }
}
