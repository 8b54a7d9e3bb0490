//! Standby programs that were attached during the recording, as the records of a stream tell.

use mmtrace_common::{Kind, LOST_KINDS, Record, View as _, event};

/// Attachments that are kept; a recording makes fewer.
const MOST: usize = 2 * LOST_KINDS;

/// A standby program that was attached during the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyAttached {
    /// Kind of the events that it stands by for.
    pub kind: Kind,
    /// Number of standby programs of that kind from then on.
    pub programs: u32,
    /// Time, nanoseconds of `CLOCK_MONOTONIC`.
    pub ts: u64,
    /// Events of the kind that had been missed by then.
    pub missed_before: u64,
    /// Events of the kind that were missed all the same.
    pub missed_since: u64,
}

/// The standby programs that were attached during a recording.
#[derive(Clone, Debug)]
pub(super) struct Standby {
    attached: Vec<StandbyAttached>,
    /// Missed events, by kind.
    missed: [u64; LOST_KINDS],
}

impl Default for Standby {
    fn default() -> Self {
        Self { attached: Vec::new(), missed: [0; LOST_KINDS] }
    }
}

impl Standby {
    /// Takes a record that says how many events of a kind were missed.
    #[cold]
    pub(super) fn missed(&mut self, record: &Record) {
        let event::Missed { lost_kind, count, .. } = event::Missed::of(record);
        let Some(kind) = u16::try_from(lost_kind).ok().and_then(Kind::from_u16) else { return };
        let Some(missed) = self.missed.get_mut(kind as usize) else { return };
        *missed = missed.saturating_add(count);
        for attached in self.attached.iter_mut().filter(|attached| attached.kind == kind) {
            attached.missed_since = missed.saturating_sub(attached.missed_before);
        }
    }

    /// Takes the record that says that a standby program was attached.
    #[cold]
    pub(super) fn attached(&mut self, record: &Record) {
        let event::StandbyAttached { standby_kind, standby_programs: programs } = event::StandbyAttached::of(record);
        let Some(kind) = u16::try_from(standby_kind).ok().and_then(Kind::from_u16) else { return };
        let missed_before = self.missed.get(kind as usize).copied().unwrap_or(0);
        if self.attached.len() < MOST {
            self.attached.push(StandbyAttached { kind, programs, ts: record.ts, missed_before, missed_since: 0 });
        }
    }

    /// Returns them, in the order in which they were attached.
    pub(super) fn all(&self) -> &[StandbyAttached] {
        &self.attached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(kind: Kind, count: u64) -> Record {
        let mut record = Record::default();
        event::Missed { lost_kind: kind as u64, count, until: 0 }.write(&mut record);
        record
    }

    #[test]
    fn what_was_missed_before_and_since_is_told_apart_by_kind() {
        let mut standby = Standby::default();
        standby.missed(&missed(Kind::Released, 2));
        let mut record = Record { ts: 7, ..Record::default() };
        event::StandbyAttached { standby_kind: Kind::Released as u64, standby_programs: 1 }.write(&mut record);
        standby.attached(&record);
        standby.missed(&missed(Kind::StartLocking, 5));
        standby.missed(&missed(Kind::Released, 3));
        let attached = StandbyAttached { kind: Kind::Released, programs: 1, ts: 7, missed_before: 2, missed_since: 3 };
        assert_eq!(standby.all(), [attached]);
        // A kind that is none, as a damaged capture may have it.
        event::StandbyAttached { standby_kind: u64::MAX, standby_programs: 1 }.write(&mut record);
        standby.attached(&record);
        assert_eq!(standby.all().len(), 1);
    }
}
