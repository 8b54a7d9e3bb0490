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
//! the last record that it did show.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::programs::ProgramFd;
use mmtrace_common::{Kind, LOST_KINDS, Record, SPECS};

use super::{
    object::{Lost, Streams},
    sys,
};
use crate::context::Kernel;

/// Records taken from one ring in one pass. Bounds the memory of a pass.
const PASS: usize = 1 << 16;

/// Reads the rings of an attached object.
pub struct Rings {
    streams: Streams,
    /// The rings' descriptors, to ask whether there is data.
    fds: Vec<OwnedFd>,
    lost: Vec<Lost>,
    missed: Vec<u64>,
    /// Whether tracepoints' programs can be preempted on this kernel.
    preemptible: bool,
    pending: Vec<Record>,
    /// Nothing before is of use: not all probes were attached.
    start: u64,
    /// Nothing after is of use: some probes were detached.
    stop: u64,
    watermark: u64,
    /// Time of the last record of each ring.
    shown: Vec<u64>,
    totals: Totals,
}

/// What went through, and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that no room was left for.
    pub lost: u64,
    /// Probe runs that the kernel skipped.
    pub missed: u64,
    /// Records that no program of ours can have written.
    pub foreign: u64,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
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
    pub fn new(streams: Streams, kernel: &Kernel) -> io::Result<Self> {
        let mut rings = Self {
            preemptible: kernel.preempts_tracepoints(),
            fds: streams.rings.iter().map(|r| r.as_fd().try_clone_to_owned()).collect::<io::Result<_>>()?,
            lost: Vec::new(),
            missed: vec![0; streams.programs.len()],
            pending: Vec::with_capacity(PASS),
            start: 0,
            stop: u64::MAX,
            watermark: 0,
            shown: vec![0; streams.rings.len()],
            totals: Totals::default(),
            streams,
        };
        // What was lost or missed before the start is of no interest.
        let mut before = Vec::new();
        rings.read_losses(&mut before)?;
        rings.totals = Totals::default();
        rings.start = sys::monotonic_ns();
        rings.watermark = rings.start;
        rings.shown.fill(rings.start);
        Ok(rings)
    }

    /// When reading began, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// Up to when events have been handed out, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn watermark(&self) -> u64 {
        self.watermark
    }

    /// Losses so far.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// How often each program ran and how long that took in all, nanoseconds; nothing unless the kernel counts it
    /// (sysctl `kernel.bpf_stats_enabled`).
    #[must_use]
    pub fn costs(&self) -> Vec<(Kind, u64, u64)> {
        let counts = |(kind, program): &(Kind, ProgramFd)| {
            let counts = sys::counts(program.as_fd()).unwrap_or_default();
            (counts.run_ns > 0).then_some((*kind, counts.runs, counts.run_ns))
        };
        self.streams.programs.iter().filter_map(counts).collect()
    }

    /// From now on events are of no use: the probes are about to be detached one by one.
    pub fn stop(&mut self) {
        self.stop = sys::monotonic_ns();
    }

    /// Appends what has arrived to `out`, in order, losses in front.
    ///
    /// # Errors
    /// The kernel's counters cannot be read.
    pub fn pass(&mut self, out: &mut Vec<Record>) -> io::Result<Pass> {
        let now = sys::monotonic_ns();
        self.read_losses(out)?;
        let mut until = now;
        let mut result = Pass::Drained;
        for ((ring, fd), shown) in self.streams.rings.iter_mut().zip(&self.fds).zip(&mut self.shown) {
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
                let Some(record) = Record::parse(&item) else {
                    self.totals.foreign += 1;
                    continue;
                };
                let ts = record.ts;
                *shown = (*shown).max(ts);
                if ts >= self.start && ts <= self.stop {
                    self.pending.push(record);
                }
                if ts > now {
                    break;
                }
                taken += 1;
                if taken == PASS {
                    // What is still in this ring was reserved after `ts`.
                    until = until.min(ts);
                    if result == Pass::Drained {
                        result = Pass::More;
                    }
                    break;
                }
            }
        }
        // Each ring is sorted but for neighbours, so this is a merge.
        self.pending.sort_by_key(|r| r.ts);
        let ready = self.pending.partition_point(|r| r.ts <= until);
        out.extend(self.pending.drain(..ready));
        self.watermark = self.watermark.max(until);
        Ok(result)
    }

    /// Compares the kernel's counters with the last pass and reports what was added.
    fn read_losses(&mut self, out: &mut Vec<Record>) -> io::Result<()> {
        let from = out.len();
        let values = self.streams.lost.get(&0, 0).map_err(io::Error::other)?;
        if self.lost.len() != values.len() {
            self.lost = vec![Lost([0; LOST_KINDS]); values.len()];
        }
        for (cpu, (new, old)) in values.iter().zip(&mut self.lost).enumerate() {
            if new.0 == old.0 {
                continue;
            }
            for spec in SPECS.iter().filter(|s| !s.kind.is_synthetic()) {
                let index = spec.kind as usize;
                let count = new.0[index] - old.0[index];
                if count > 0 {
                    self.totals.lost += count;
                    out.push(missing(Kind::Loss, spec.kind, cpu as u16, count, self.watermark));
                }
            }
            *old = *new;
        }
        for ((kind, program), old) in self.streams.programs.iter().zip(&mut self.missed) {
            let new = misses(program)?;
            if new > *old && !is_of_other_locks(*kind, self.preemptible) {
                self.totals.missed += new - *old;
                out.push(missing(Kind::Missed, *kind, u16::MAX, new - *old, self.watermark));
            }
            *old = new;
        }
        // All that was counted happened before now, be it after this pass began.
        let until = sys::monotonic_ns();
        for record in &mut out[from..] {
            record.args[UNTIL] = until;
        }
        Ok(())
    }
}

/// Whether skipped runs of this kind's program can have been about no event of ours. The programs of `contention_*`
/// are entered for every lock of the kernel, and write what is about an mmap_lock that is slept for. Where they cannot
/// be preempted, only an interrupt can have met them running, and no interrupt sleeps for a lock.
const fn is_of_other_locks(kind: Kind, preemptible: bool) -> bool {
    !preemptible && matches!(kind, Kind::ContentionBegin | Kind::ContentionEnd)
}

fn misses(program: &ProgramFd) -> io::Result<u64> {
    Ok(sys::counts(program.as_fd())?.recursion_misses)
}

/// Argument word of a loss record that holds `until`.
const UNTIL: usize = 2;

/// A loss record: it stands where knowledge ends.
fn missing(what: Kind, kind: Kind, cpu: u16, count: u64, from: u64) -> Record {
    Record { ts: from, kind: what as u16, cpu, args: [kind as u64, count, 0, 0, 0, 0], ..Record::default() }
}
