//! The last events, kept so that a violation can be shown with what led to it.

use mmtrace_common::Record;

/// Events kept. At 80 bytes each this is 2.5 MiB.
const KEPT: usize = 1 << 15;

/// Most events shown with a violation.
const SHOWN: usize = 24;

/// A ring of the last events.
#[derive(Clone, Debug)]
pub(crate) struct History {
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
    pub(crate) fn push(&mut self, record: &Record) {
        if self.events.len() < KEPT {
            self.events.push(*record);
        } else {
            self.events[self.next] = *record;
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// The last `n` events, oldest first.
    #[must_use]
    pub(crate) fn recent(&self, n: usize) -> Vec<Record> {
        let len = self.events.len();
        let first = if len < KEPT { 0 } else { self.next };
        (len - n.min(len)..len).map(|i| self.events[(first + i) % len]).collect()
    }

    /// The newest event for which this is true.
    #[must_use]
    pub(crate) fn last(&self, is: impl Fn(&Record) -> bool) -> Option<Record> {
        let (newer, older) = self.events.split_at(self.next.min(self.events.len()));
        newer.iter().rev().chain(older.iter().rev()).find(|r| is(r)).copied()
    }

    /// Returns the events that led to a violation: these events, and the last ones of these tasks or about this mm,
    /// oldest first. Each task has its share, however busy the others were since.
    #[must_use]
    pub(crate) fn about(&self, tids: &[u32], mm: u64, evidence: &[Record]) -> Vec<Record> {
        let (newer, older) = self.events.split_at(self.next.min(self.events.len()));
        let newest_first = || newer.iter().rev().chain(older.iter().rev());
        let mut found: Vec<Record> = evidence.to_vec();
        let add = |found: &mut Vec<Record>, record: &Record| {
            if !found.contains(record) {
                found.push(*record);
            }
        };
        let share = SHOWN / (tids.len() + 1);
        for tid in tids {
            newest_first().filter(|r| r.tid == *tid).take(share).for_each(|r| add(&mut found, r));
        }
        let any = newest_first().filter(|r| tids.contains(&r.tid) || (mm != 0 && r.mm == mm)).take(SHOWN);
        for record in any {
            if found.len() >= SHOWN {
                break;
            }
            add(&mut found, record);
        }
        found.sort_by_key(|r| r.ts);
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
        let about = history.about(&[1], 0, &[]);
        assert_eq!(about.len(), SHOWN);
        assert!(about.is_sorted_by_key(|r| r.ts));
        assert!(about.iter().all(|r| r.tid == 1));
        assert!(about.last().expect("some").ts > KEPT as u64 + 6);
    }

    #[test]
    fn each_task_has_its_share_and_what_shows_the_violation_is_never_missing() {
        let mut history = History::default();
        let old = Record { ts: 1, tid: 7, mm: 5, ..Record::default() };
        history.push(&Record { ts: 2, tid: 8, mm: 5, ..Record::default() });
        for ts in 3..3000 {
            history.push(&Record { ts, tid: 9, mm: 5, ..Record::default() });
        }
        let about = history.about(&[7, 8], 5, &[old]);
        assert_eq!((about.len(), about[0], about[1].tid), (SHOWN, old, 8));
        assert!(about.is_sorted_by_key(|r| r.ts));
        assert_eq!(about.last().expect("some").ts, 2999);
    }
}
