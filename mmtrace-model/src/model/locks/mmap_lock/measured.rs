//! The holds that figures measure.

use mmtrace_common::Record;

use super::{HOLDS_MAX, Hold, Known, MmapLock, Open, hold};
use crate::model::locks::exclusion::Mode;

/// A hold that figures have measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) struct Measured {
    pub(in crate::model) mode: Mode,
    pub(in crate::model) since: u64,
    pub(in crate::model) isolated: bool,
}

/// The part that figures read and write.
impl MmapLock {
    /// An event of the lock. `enters`: it shows that a task has acquired the lock, or that it releases it. Returns the time
    /// of the lock's first event, nanoseconds, unless such an event was seen before.
    pub(in crate::model) const fn comes(&mut self, ts: u64, enters: bool) -> Option<u64> {
        if self.first == 0 {
            self.first = ts;
        }
        let entered = self.entered;
        self.entered |= enters;
        if entered { None } else { Some(self.first) }
    }

    /// Whether no task was seen to acquire the lock or to release it.
    pub(in crate::model) const fn is_untouched(&self) -> bool {
        !self.entered
    }

    /// A task has acquired the lock, or downgraded it. `number` is larger than that of any hold before.
    pub(in crate::model) fn begin(&mut self, record: &Record, mode: Mode, number: u64) {
        if self.holds.len() >= 3 * HOLDS_MAX {
            self.holds.retain(|open| open.known != Known::No);
        }
        let hold = hold(record, mode);
        self.holds.push(Open { hold, known: Known::No, measured: Some(number), isolated: false });
    }

    /// The hold for write of a task, of those with at least this number.
    pub(in crate::model) fn written(&self, tid: u32, from: u64) -> Option<Measured> {
        self.holds.iter().rfind(|open| open.is_measured(tid, true, from)).map(Measured::of)
    }

    /// The newest hold of a task has ended, of those with at least this number.
    pub(in crate::model) fn end(&mut self, tid: u32, write: bool, from: u64) -> Option<Measured> {
        let at = self.holds.iter().rposition(|open| open.is_measured(tid, write, from))?;
        let measured = Measured::of(&self.holds[at]);
        self.unmeasure(at);
        Some(measured)
    }

    /// No hold of the task for write is measured: the end of one is missing.
    pub(in crate::model) fn forget_writes_of(&mut self, tid: u32) {
        while let Some(at) = self.holds.iter().rposition(|open| open.is_measured(tid, true, 0)) {
            self.unmeasure(at);
        }
    }

    /// No hold for read is measured: releases on behalf of others may be missing.
    pub(in crate::model) fn forget_reads(&mut self) {
        for open in self.holds.iter_mut().filter(|open| open.hold.mode != Mode::Write) {
            open.measured = None;
        }
        self.holds.retain(Open::is_followed);
    }

    /// The number of a task's newest hold for write, of those with at least this number.
    pub(in crate::model) fn newest_write(&self, tid: u32, from: u64) -> Option<u64> {
        self.holds.iter().rfind(|open| open.is_measured(tid, true, from)).and_then(|open| open.measured)
    }

    /// Pages were isolated for a collapse in the hold with this number.
    pub(in crate::model) fn isolated(&mut self, number: u64) {
        if let Some(open) = self.holds.iter_mut().find(|open| open.measured == Some(number)) {
            open.isolated = true;
        }
    }

    /// The holds that are measured, oldest first, and their numbers.
    pub(in crate::model) fn measured(&self) -> impl Iterator<Item = (&Hold, u64)> {
        self.holds.iter().filter_map(|open| Some((&open.hold, open.measured?)))
    }

    fn unmeasure(&mut self, at: usize) {
        self.holds[at].measured = None;
        if !self.holds[at].is_followed() {
            self.holds.remove(at);
        }
    }
}

impl Measured {
    const fn of(open: &Open) -> Self {
        Self { mode: open.hold.mode, since: open.hold.since, isolated: open.isolated }
    }
}
