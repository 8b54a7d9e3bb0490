//! From many rings to one stream that can be judged.
//!
//! Each CPU writes to its own ring, and the rings are merged by time. What makes
//! the order trustworthy is causality, not the clocks: a program reads the time,
//! then reserves space, then writes, and only then does the traced code go on. If
//! event A had to happen before event B could (A's thread released the lock that
//! B's thread then took), A lies in its ring before B's time is read. So a pass
//! takes the time T first, then looks into the rings, and hands out only what is
//! not younger than T: everything that those events depend on has been seen. The
//! same holds for the loss counters, which are read after T: a loss is reported in
//! front of the first event that could depend on what is missing.
//!
//! A program can be stopped between reserving and writing (an interrupt, a host that
//! takes the CPU away, on 7.x another task), and what lies behind its record is then
//! hidden although it is complete. A ring that has data and shows none lowers T to
//! the last record that it did show. So does a record that a standby program is still to write
//! (`skips`).

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use mmtrace_common::{Column, Kind, LOST_KINDS, Record, SPECS};
use mmtrace_model::context::Kernel;

use super::{
    object::{Lost, Streams},
    skips::{Avoidable, Skips},
    sys,
};

/// Records taken in one pass, from all rings together: what a slow recorder does before it sees a signal.
const PASS: usize = 1 << 15;
/// Records taken from one ring in one pass at least.
const PASS_OF_ONE: usize = 1 << 12;
/// Time after the stop for which a ring is read. A record of an event before the stop may lie behind one of an event
/// after it, since a program reads the clock first and reserves space then.
const BEYOND_STOP_NS: u64 = 100_000_000;
/// Records left in a ring that are counted between two looks at the clock.
const COUNTED_AT_ONCE: u64 = 1 << 10;

/// Reads the rings of an attached object.
pub(crate) struct Rings {
    rings: Vec<RingBuf<MapData>>,
    /// The rings' descriptors, to ask whether there is data.
    fds: Vec<OwnedFd>,
    counters: PerCpuArray<MapData, Lost>,
    lost: Vec<Lost>,
    skips: Skips,
    pending: Vec<Record>,
    /// Times and places of the records in `pending`, during a pass.
    order: Vec<(u64, u32)>,
    /// Nothing before is of use: not all probes were attached.
    start: u64,
    /// Nothing after is of use: some probes were detached.
    stop: u64,
    /// Times after which events of a kind are of no use, by number: its programs were detached.
    ended: [u64; LOST_KINDS],
    /// Kinds that are to end at the next pass at which no record of a standby program is to come.
    ending: Vec<Kind>,
    /// All that is missing up to the stop has been reported.
    settled: bool,
    watermark: u64,
    /// Time of the last record of each ring.
    shown: Vec<u64>,
    /// Records taken from each ring in one pass.
    quota: usize,
    totals: Totals,
}

/// Events that were never handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Everything before has been handed out, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) from: u64,
    /// Records by kind.
    pub(crate) counts: [u64; LOST_KINDS],
    /// Records that stand for no event.
    pub(crate) synthetic: Vec<Record>,
    /// There are more, of which not even that is known.
    pub(crate) more: bool,
}

/// Counts of events that were not handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that no room was left for.
    pub lost: u64,
    /// Events that nobody wrote, since the kernel skipped the probe's run and those of its standby programs.
    pub missed: u64,
    /// Records that no program of ours can have written.
    pub foreign: u64,
}

/// State of the rings after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// All that was there when it began has been taken.
    Drained,
    /// There is more: come back at once.
    More,
    /// There is more, and it is still being written: come back soon.
    Held,
}

impl Rings {
    /// Starts reading. All probes are attached now; what came earlier is dropped.
    ///
    /// # Errors
    /// The loss counters cannot be read.
    pub(crate) fn new(streams: Streams, kernel: &Kernel) -> io::Result<Self> {
        let mut rings = Self {
            fds: streams.rings.iter().map(|r| r.as_fd().try_clone_to_owned()).collect::<io::Result<_>>()?,
            counters: streams.lost,
            lost: Vec::new(),
            skips: Skips::new(streams.programs, streams.taken_over, kernel),
            pending: Vec::with_capacity(PASS),
            order: Vec::with_capacity(PASS),
            start: 0,
            stop: u64::MAX,
            ended: [u64::MAX; LOST_KINDS],
            ending: Vec::new(),
            settled: false,
            watermark: 0,
            shown: vec![0; streams.rings.len()],
            quota: (PASS / streams.rings.len().max(1)).max(PASS_OF_ONE),
            totals: Totals::default(),
            rings: streams.rings,
        };
        // Events that were lost or missed before the start are of no interest.
        rings.skips.begin()?;
        rings.read_losses(sys::monotonic_ns(), &mut Vec::new())?;
        rings.totals = Totals::default();
        rings.start = sys::monotonic_ns();
        rings.watermark = rings.start;
        rings.shown.fill(rings.start);
        Ok(rings)
    }

    /// Returns the time at which reading began, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub(crate) const fn start(&self) -> u64 {
        self.start
    }

    /// Returns the time up to which events have been handed out, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub(crate) const fn watermark(&self) -> u64 {
        self.watermark
    }

    /// Returns the number of rings.
    #[must_use]
    pub(crate) const fn number(&self) -> usize {
        self.rings.len()
    }

    /// Returns the events that are missing and that more standby programs would have recorded.
    #[must_use]
    pub(crate) const fn avoidable(&self) -> Avoidable {
        self.skips.avoidable()
    }

    /// Takes the kinds whose program the kernel has skipped and that have a standby program in reserve, and which number it
    /// gets. The caller attaches it, and says so ([`Self::stand_by`]).
    pub(crate) fn short_of_standby(&mut self) -> Vec<(Kind, u32)> {
        if self.stop == u64::MAX { self.skips.short() } else { Vec::new() }
    }

    /// The standby program of this kind that was in reserve has been attached, or was refused.
    pub(crate) fn stand_by(&mut self, kind: Kind, is_attached: bool) {
        self.skips.stand_by(kind, is_attached);
    }

    /// Returns each program's number of runs and their total time in nanoseconds; nothing unless the kernel counts it
    /// (sysctl `kernel.bpf_stats_enabled`). Its standby programs' time is counted with it.
    #[must_use]
    pub(crate) fn costs(&self) -> Vec<(Kind, u64, u64)> {
        self.skips.costs()
    }

    /// Returns the time that all programs ran so far, as far as the kernel measured it, nanoseconds.
    #[must_use]
    pub(crate) fn run_ns(&self) -> u64 {
        self.skips.run_ns()
    }

    /// Puts a record of the user side into the stream, at its time.
    pub(crate) fn put(&mut self, record: Record) {
        self.pending.push(record);
    }

    /// Asks for the end of events of these kinds. [`Self::ended()`] says when their programs can be detached.
    pub(crate) fn end(&mut self, kinds: &[Kind]) {
        self.ending.extend(kinds);
    }

    /// Whether kinds are still to end.
    #[must_use]
    pub(crate) const fn is_ending(&self) -> bool {
        !self.ending.is_empty()
    }

    /// Ends the events of the kinds that are to end, if all that is missing up to now is known. Returns the time, nanoseconds
    /// of `CLOCK_MONOTONIC`, and the kinds: whatever their programs write afterwards is dropped, so they can be detached one
    /// by one.
    ///
    /// # Errors
    /// The kernel's counters cannot be read.
    pub(crate) fn ended(&mut self, out: &mut Vec<Record>) -> io::Result<Option<(u64, Vec<Kind>)>> {
        if self.ending.is_empty() || self.stop != u64::MAX {
            return Ok(None);
        }
        // First the time, then the counters: they tell of every event before it.
        let now = sys::monotonic_ns();
        if self.read_losses(now, out)? < now {
            return Ok(None);
        }
        let kinds = std::mem::take(&mut self.ending);
        kinds.iter().for_each(|kind| self.ended[*kind as usize] = now);
        self.skips.end(&kinds);
        Ok(Some((now, kinds)))
    }

    /// From now on events are of no use: the probes are about to be detached one by one, once [`Self::settle`] says so.
    pub(crate) fn stop(&mut self) {
        self.stop = sys::monotonic_ns();
    }

    /// Returns the time of [`Self::stop()`], nanoseconds of `CLOCK_MONOTONIC`; `u64::MAX` before it.
    #[must_use]
    pub(crate) const fn stopped(&self) -> u64 {
        self.stop
    }

    /// Appends what is known to be missing up to the stop to `out`, without a look into the rings. Returns whether
    /// that is all: else a record may still come that a standby program has to write.
    ///
    /// # Errors
    /// The kernel's counters cannot be read.
    pub(crate) fn settle(&mut self, out: &mut Vec<Record>) -> io::Result<bool> {
        if !self.settled {
            let now = sys::monotonic_ns();
            self.settled = self.read_losses(now, out)? > self.stop;
        }
        Ok(self.settled)
    }

    /// Gives up what was not handed out: counts it by kind as far as that can be done until `end`.
    pub(crate) fn rest(&mut self, end: Instant) -> Rest {
        let from = self.watermark;
        self.watermark = self.watermark.max(self.stop);
        let mut rest = Rest { from, counts: [0; LOST_KINDS], synthetic: Vec::new(), more: false };
        let pending = std::mem::take(&mut self.pending).into_iter();
        let (synthetic, pending) = pending.partition::<Vec<_>, _>(|r| r.kind().is_some_and(Kind::is_made_by_user_side));
        rest.synthetic = synthetic;
        let mut count = |record: &Record| {
            if let Some(n) = rest.counts.get_mut(usize::from(record.kind)) {
                *n += 1;
            }
        };
        pending.iter().for_each(&mut count);
        let beyond = self.stop.saturating_add(BEYOND_STOP_NS);
        let mut more = false;
        for (ring, fd) in self.rings.iter_mut().zip(&self.fds) {
            let mut taken = 0_u64;
            loop {
                taken += 1;
                if taken.is_multiple_of(COUNTED_AT_ONCE) && Instant::now() >= end {
                    more = true;
                    break;
                }
                let Some(item) = ring.next() else {
                    // A record that is still being written hides those behind it.
                    more |= sys::is_readable(fd.as_fd());
                    break;
                };
                match Record::parse(&item) {
                    Some(record) if record.ts > beyond => break,
                    Some(record) if is_of_use(&record, self.start, self.stop, &self.ended) => count(&record),
                    _ => {}
                }
            }
        }
        rest.more = more;
        self.totals.lost += rest.counts.iter().sum::<u64>();
        rest
    }

    /// Appends what has arrived to `out`, in order, losses in front.
    ///
    /// # Errors
    /// The kernel's counters cannot be read.
    pub(crate) fn pass(&mut self, out: &mut Vec<Record>) -> io::Result<Pass> {
        let now = sys::monotonic_ns().min(self.stop.saturating_add(BEYOND_STOP_NS));
        let mut until = now;
        let mut result = Pass::Drained;
        let mut foreign = 0;
        // While probes come off, the counters say nothing of use: a program's standby programs may be gone before it,
        // or it before them.
        if self.stop == u64::MAX {
            // A record that a standby program is still to write goes before what may depend on it.
            until = self.read_losses(now, out)?;
            if until < now {
                result = Pass::Held;
            }
        }
        for ((ring, fd), shown) in self.rings.iter_mut().zip(&self.fds).zip(&mut self.shown) {
            let mut taken = 0;
            let mut again = false;
            loop {
                let item = match ring.next() {
                    Some(item) => item,
                    None if !sys::is_readable(fd.as_fd()) => break,
                    // It may have been completed between the look and the question.
                    None if !again => {
                        again = true;
                        continue;
                    }
                    None => {
                        until = until.min(*shown);
                        result = Pass::Held;
                        break;
                    }
                };
                again = false;
                let Some(record) = ours(&item) else {
                    self.totals.foreign += 1;
                    foreign += 1;
                    continue;
                };
                let ts = record.ts;
                *shown = (*shown).max(ts);
                if is_of_use(&record, self.start, self.stop, &self.ended) {
                    self.pending.push(record);
                }
                if ts > now {
                    break;
                }
                taken += 1;
                if taken == self.quota {
                    // The records that are still in this ring were reserved after `ts`.
                    until = until.min(ts);
                    if result == Pass::Drained {
                        result = Pass::More;
                    }
                    break;
                }
            }
        }
        if foreign > 0 {
            // Which event it should have been, nobody knows.
            let args = [foreign, sys::monotonic_ns(), 0, 0, 0, 0];
            let (ts, kind) = (self.watermark, Kind::Foreign as u16);
            out.push(Record { ts, kind, cpu: u16::MAX, args, ..Record::default() });
        }
        hand_out(&mut self.pending, &mut self.order, until, out);
        self.watermark = self.watermark.max(until);
        Ok(result)
    }

    /// Compares the counters with the last pass and reports what was added. Says up to when no more is to come.
    fn read_losses(&mut self, now: u64, out: &mut Vec<Record>) -> io::Result<u64> {
        let from = out.len();
        let values = self.counters.get(&0, 0).map_err(io::Error::other)?;
        if self.lost.len() != values.len() {
            self.lost = vec![Lost([0; LOST_KINDS]); values.len()];
        }
        for (cpu, (new, old)) in values.iter().zip(&mut self.lost).enumerate() {
            if new.0 == old.0 {
                continue;
            }
            for spec in SPECS.iter().filter(|s| !s.kind.is_made_by_user_side()) {
                let index = spec.kind as usize;
                let count = new.0[index] - old.0[index];
                if count > 0 && self.ended[index] == u64::MAX {
                    self.totals.lost += count;
                    out.push(missing(Kind::Loss, spec.kind, cpu as u16, count, self.watermark));
                }
            }
            *old = *new;
        }
        let Self { skips, totals, watermark, .. } = self;
        let agreed = skips.read(now, |kind, count| {
            totals.missed += count;
            out.push(missing(Kind::Missed, kind, u16::MAX, count, *watermark));
        })?;
        // All that was counted happened before now, be it after this pass began.
        let until = sys::monotonic_ns();
        for record in &mut out[from..] {
            record.set(Column::Until, until);
        }
        Ok(agreed)
    }
}

/// Moves the pending records up to a time to `out`, in order. Those that stay are in order too. `order` is memory that is
/// used again.
fn hand_out(pending: &mut Vec<Record>, order: &mut Vec<(u64, u32)>, until: u64, out: &mut Vec<Record>) {
    order.clear();
    order.extend(pending.iter().zip(0..).map(|(record, place)| (record.ts, place)));
    // Each ring is sorted but for neighbours, so this is a merge. A record is five times as large as its time and place,
    // and is moved once.
    order.sort_by_key(|(ts, _)| *ts);
    let (ready, later) = order.split_at(order.partition_point(|(ts, _)| *ts <= until));
    out.extend(ready.iter().map(|(_, place)| pending[*place as usize]));
    let later: Vec<Record> = later.iter().map(|(_, place)| pending[*place as usize]).collect();
    pending.clear();
    pending.extend(later);
}

/// Whether an event happened while all programs of its kind were attached.
fn is_of_use(record: &Record, start: u64, stop: u64, ended: &[u64; LOST_KINDS]) -> bool {
    let ended = ended.get(usize::from(record.kind)).copied().unwrap_or(u64::MAX);
    (start..=stop.min(ended)).contains(&record.ts)
}

/// A record that a program of ours has written.
fn ours(item: &[u8]) -> Option<Record> {
    Record::parse(item).filter(|record| record.kind().is_some_and(|kind| !kind.is_made_by_user_side()))
}

/// The record of events of a kind that were not read, from a time on until another.
#[must_use]
pub(crate) fn unread(kind: Kind, count: u64, from: u64, until: u64) -> Record {
    let mut record = missing(Kind::Loss, kind, u16::MAX, count, from);
    record.set(Column::Until, until);
    record
}

/// The record of events that were not read, of which nothing is known.
#[must_use]
pub(crate) fn gap(from: u64, until: u64) -> Record {
    let mut record = Record { ts: from, kind: Kind::Gap as u16, ..Record::default() };
    record.set(Column::Until, until);
    record
}

/// A loss record: it stands where knowledge ends.
fn missing(what: Kind, kind: Kind, cpu: u16, count: u64, from: u64) -> Record {
    let mut record = Record { ts: from, kind: what as u16, cpu, ..Record::default() };
    record.set(Column::LostKind, kind as u64);
    record.set(Column::Count, count);
    record
}

#[cfg(test)]
mod tests {
    use mmtrace_common::header_word;

    use super::*;

    #[test]
    fn records_are_handed_out_in_order_and_those_of_one_time_as_they_came() {
        let at = |ts, tid| Record { ts, tid, ..Record::default() };
        // Two rings: the first one has neighbours in the wrong order.
        let mut pending = vec![at(2, 0), at(1, 1), at(5, 2), at(9, 3), at(2, 4), at(5, 5), at(8, 6)];
        let (mut order, mut out) = (Vec::new(), vec![at(0, 9)]);
        hand_out(&mut pending, &mut order, 5, &mut out);
        assert_eq!(out, [at(0, 9), at(1, 1), at(2, 0), at(2, 4), at(5, 2), at(5, 5)]);
        assert_eq!(pending, [at(8, 6), at(9, 3)]);
        pending.push(at(7, 7));
        hand_out(&mut pending, &mut order, 9, &mut out);
        assert_eq!(out[6..], [at(7, 7), at(8, 6), at(9, 3)]);
        assert!(pending.is_empty());
    }

    #[test]
    fn what_no_program_of_ours_can_have_written_is_not_taken_for_an_event() {
        let record = |kind: u16| {
            let words = [7, 8, 9, header_word(kind, 0, 0), 10];
            ours(&words.iter().flat_map(|word: &u64| word.to_ne_bytes()).collect::<Vec<u8>>())
        };
        assert_eq!(record(Kind::MaWrite as u16).and_then(|r| r.kind()), Some(Kind::MaWrite));
        // A number that no kind has, and what only the user side makes.
        for kind in [0, 97, u16::MAX, Kind::Loss as u16, Kind::Missed as u16, Kind::Gap as u16, Kind::Foreign as u16] {
            assert_eq!(record(kind), None, "{kind}");
        }
        assert_eq!(ours(&[0; 33]), None);
    }
}
