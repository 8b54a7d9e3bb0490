//! What recording itself cost, and which events it gave up for that: as the records of a stream tell.

use mmtrace_common::{Kind, Record, View as _, event};

use crate::context::Context;

/// CPU time that a recording took, of the CPU time that there was, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// CPU time that all online CPUs had.
    pub cpus_ns: u64,
    /// CPU time of the eBPF programs.
    pub programs_ns: u64,
    /// CPU time of mmtrace itself.
    pub mmtrace_ns: u64,
}

impl Cost {
    /// Returns the share of all CPU time that recording took, in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        self.percent_of(self.programs_ns.saturating_add(self.mmtrace_ns))
    }

    /// Returns the share that so many nanoseconds are of all CPU time, in percent.
    #[must_use]
    pub(crate) fn percent_of(&self, ns: u64) -> f64 {
        100.0 * ns as f64 / self.cpus_ns.max(1) as f64
    }

    fn add(&mut self, more: Self) {
        self.cpus_ns = self.cpus_ns.saturating_add(more.cpus_ns);
        self.programs_ns = self.programs_ns.saturating_add(more.programs_ns);
        self.mmtrace_ns = self.mmtrace_ns.saturating_add(more.mmtrace_ns);
    }
}

/// Events of a kind that are no longer recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// The kind.
    pub kind: Kind,
    /// Time of the last moment at which they were recorded, nanoseconds of `CLOCK_MONOTONIC`.
    pub ts: u64,
    /// Cost of the second for which they were given up.
    pub cost: Cost,
}

/// The cost of a recording whose cost is limited.
#[derive(Clone, Debug, Default)]
pub struct Overhead {
    /// The limit, in hundredths of a percent of all CPUs; `None` if there is none, and nothing was measured.
    limit: Option<u32>,
    total: Cost,
    /// The second that cost most.
    most: Option<Cost>,
    windows: u64,
    /// Seconds that cost more than is allowed, and for which nothing was given up until the next one was over.
    unanswered: u64,
    /// The last second cost more than is allowed.
    is_above: bool,
    shed: Vec<Shed>,
}

impl Overhead {
    pub(super) fn new(context: &Context) -> Self {
        Self { limit: context.max_overhead, ..Self::default() }
    }

    /// Takes the cost of a second.
    #[cold]
    pub(super) fn measured(&mut self, record: &Record) {
        let event::RecordingCost { cpus_ns, programs_ns, mmtrace_ns, max_overhead } = event::RecordingCost::of(record);
        let cost = Cost { cpus_ns, programs_ns, mmtrace_ns };
        self.limit = Some(max_overhead);
        self.total.add(cost);
        self.windows += 1;
        if self.most.is_none_or(|most| most.percent() < cost.percent()) {
            self.most = Some(cost);
        }
        self.unanswered += u64::from(self.is_above);
        self.is_above = cost.percent() > f64::from(max_overhead) / 100.0;
    }

    /// Takes the end of a kind of events. Returns it; `None` if it had ended before.
    #[cold]
    pub(super) fn shed(&mut self, record: &Record) -> Option<Shed> {
        let event::EventsShed { shed_kind, cpus_ns, programs_ns, mmtrace_ns, max_overhead } =
            event::EventsShed::of(record);
        let kind = u16::try_from(shed_kind).ok().and_then(Kind::from_u16)?;
        self.limit = Some(max_overhead);
        self.is_above = false;
        self.end(Shed { kind, ts: record.ts, cost: Cost { cpus_ns, programs_ns, mmtrace_ns } })
    }

    pub(super) fn end(&mut self, shed: Shed) -> Option<Shed> {
        if self.shed.iter().any(|known| known.kind == shed.kind) {
            return None;
        }
        self.shed.push(shed);
        Some(shed)
    }

    /// Returns the limit in hundredths of a percent of all CPUs; `None` if there is none.
    #[must_use]
    pub(crate) const fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// Returns the cost of all seconds that were measured.
    #[must_use]
    pub(crate) const fn total(&self) -> Cost {
        self.total
    }

    /// Returns the cost of the second that cost most.
    #[must_use]
    pub(crate) const fn most(&self) -> Option<Cost> {
        self.most
    }

    /// Returns the number of seconds that were measured.
    #[must_use]
    pub(crate) const fn windows(&self) -> u64 {
        self.windows
    }

    /// Returns the number of seconds that cost more than is allowed, and for which nothing was given up until the next one
    /// was over.
    #[must_use]
    pub(crate) const fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Returns the kinds of events that are no longer recorded, in the order in which they ended.
    #[must_use]
    pub fn ended(&self) -> &[Shed] {
        &self.shed
    }

    /// Returns records that say again which events are no longer recorded, for a part of a capture that may be read
    /// without those before it.
    #[must_use]
    pub fn records(&self, ts: u64) -> Vec<Record> {
        let max_overhead = self.limit.unwrap_or(0);
        let say = |shed: &Shed| {
            let Cost { cpus_ns, programs_ns, mmtrace_ns } = shed.cost;
            let mut record = Record { ts, ..Record::default() };
            event::EventsShed { shed_kind: shed.kind as u64, cpus_ns, programs_ns, mmtrace_ns, max_overhead }
                .write(&mut record);
            record
        };
        self.shed.iter().map(say).collect()
    }
}
