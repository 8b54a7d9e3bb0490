//! `--max-overhead`: what recording costs, measured in each second, and which events are shed when it is too much.

use std::time::{Duration, Instant};

use mmtrace_common::{Kind, Record, View as _, event};
use mmtrace_model::{optional_events::OPTIONAL_EVENTS, replay::overhead::Cost};

use crate::percent::Percent;
use crate::probe::{rings::Rings, sys};

/// Time that is measured as a whole.
const WINDOW: Duration = Duration::from_secs(1);
/// Events whose programs take less than this share of what all programs take are not worth shedding.
const WORTH: f64 = 0.05;

/// The costs of programs so far: kind, number of runs, nanoseconds.
type Costs = Vec<(Kind, u64, u64)>;

/// Measures the recording, and sheds events when it costs too much.
pub(super) struct Overhead {
    limit: Percent,
    since: Instant,
    /// CPU time of mmtrace when the window began.
    own: Duration,
    /// Time of all programs then, nanoseconds.
    programs_ns: u64,
    costs: Costs,
    /// The cost of the window for which events are being shed.
    cause: Cost,
    /// It was said that nothing is left to shed.
    is_exhausted: bool,
}

impl Overhead {
    /// Begins with the recording.
    pub(super) fn new(limit: Percent, rings: &Rings) -> Self {
        Self {
            limit,
            since: Instant::now(),
            own: sys::cpu_time(),
            programs_ns: rings.run_ns(),
            costs: rings.costs(),
            cause: Cost::default(),
            is_exhausted: false,
        }
    }

    /// Looks whether a window is over, and if so, whether it cost too much. What is to be shed ends at one of the next
    /// passes of the rings. Returns a message if nothing is left to shed, once.
    pub(super) fn tick(&mut self, rings: &mut Rings) -> Option<String> {
        if self.since.elapsed() < WINDOW || rings.is_ending() {
            return None;
        }
        let (cost, by_kind) = self.measure(rings);
        match shedding(cost, &by_kind, self.limit) {
            Decision::Enough => None,
            Decision::Shed(kinds) => {
                self.cause = cost;
                rings.end(&kinds);
                None
            }
            Decision::Exhausted => {
                let is_new = !std::mem::replace(&mut self.is_exhausted, true);
                let (percent, limit) = (cost.percent(), self.limit);
                is_new.then(|| {
                    format!(
                        "recording took {percent:.1} % of all CPUs in a second, more than --max-overhead {limit}, and no \
                         optional events are left that would be worth shedding; select fewer events with -e"
                    )
                })
            }
        }
    }

    /// Ends the last window, which may be shorter.
    pub(super) fn finish(&mut self, rings: &mut Rings) {
        self.measure(rings);
    }

    /// Returns the records that say which events have ended at this time, and a message that says so.
    pub(super) fn shed(&self, ts: u64, kinds: &[Kind]) -> (Vec<Record>, String) {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let (percent, limit) = (self.cause.percent(), self.limit);
        let message = format!(
            "recording took {percent:.1} % of all CPUs in a second, more than --max-overhead {limit}: shed {}",
            names.join(", ")
        );
        let Cost { cpus_ns, programs_ns, mmtrace_ns } = self.cause;
        let say = |kind: &Kind| {
            let mut record = Record { ts, ..Record::default() };
            let (shed_kind, max_overhead) = (*kind as u64, limit.0);
            event::EventsShed { shed_kind, cpus_ns, programs_ns, mmtrace_ns, max_overhead }.write(&mut record);
            record
        };
        (kinds.iter().map(say).collect(), message)
    }

    /// Measures what the window cost, in all and by kind, puts the record of that into the stream, and begins the next
    /// window.
    fn measure(&mut self, rings: &mut Rings) -> (Cost, Vec<(Kind, u64)>) {
        let (now, own, programs_ns, costs) = (Instant::now(), sys::cpu_time(), rings.run_ns(), rings.costs());
        let cost = Cost {
            cpus_ns: ((now - self.since).as_nanos() as u64).saturating_mul(sys::online_cpus()),
            programs_ns: programs_ns.saturating_sub(self.programs_ns),
            mmtrace_ns: own.saturating_sub(self.own).as_nanos() as u64,
        };
        let before = |of: Kind| self.costs.iter().find(|(kind, ..)| *kind == of).map_or(0, |(_, _, ns)| *ns);
        let by_kind = costs.iter().map(|(kind, _, ns)| (*kind, ns.saturating_sub(before(*kind)))).collect();
        (self.since, self.own, self.programs_ns, self.costs) = (now, own, programs_ns, costs);
        let Cost { cpus_ns, programs_ns, mmtrace_ns } = cost;
        let mut record = Record { ts: sys::monotonic_ns(), ..Record::default() };
        event::RecordingCost { cpus_ns, programs_ns, mmtrace_ns, max_overhead: self.limit.0 }.write(&mut record);
        rings.put(record);
        (cost, by_kind)
    }
}

/// What is to be done about a window.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// It cost no more than is allowed.
    Enough,
    /// These events are to be shed.
    Shed(Vec<Kind>),
    /// It cost too much, and no optional events are worth shedding.
    Exhausted,
}

/// Decides about a window by its cost, in all and by kind of attached programs.
///
/// Optional events are shed in the order of their table, until what the rest would have cost is allowed. The cost of mmtrace
/// itself counts by events as that of the programs does. Events whose programs cost next to nothing are passed over: they
/// go on, as long as that is so.
fn shedding(cost: Cost, by_kind: &[(Kind, u64)], limit: Percent) -> Decision {
    let allowed = f64::from(limit.0) / 100.0;
    let mut rest = cost.percent();
    if rest <= allowed {
        return Decision::Enough;
    }
    let all = by_kind.iter().map(|(_, ns)| *ns).sum::<u64>().max(1) as f64;
    let mut shed = Vec::new();
    for group in OPTIONAL_EVENTS {
        let programs = by_kind.iter().filter(|(kind, _)| group.kinds.contains(kind));
        let share = programs.clone().map(|(_, ns)| *ns).sum::<u64>() as f64 / all;
        if share >= WORTH && rest > allowed {
            shed.extend(programs.map(|(kind, _)| *kind));
            rest -= cost.percent() * share;
        }
    }
    if shed.is_empty() { Decision::Exhausted } else { Decision::Shed(shed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a second of two CPUs.
    fn cost(percent: f64) -> Cost {
        let ns = (percent * 2e7) as u64;
        Cost { cpus_ns: 2_000_000_000, programs_ns: ns / 2, mmtrace_ns: ns / 2 }
    }

    const FIVE: Percent = Percent(500);
    const BUSY: &[(Kind, u64)] = &[
        (Kind::TlbFlush, 10),
        (Kind::PteOffsetMapLock, 200),
        (Kind::LockVmaUnderRcu, 200),
        (Kind::PageFaultUser, 390),
        (Kind::PageFaultKernel, 0),
        (Kind::AcquireReturned, 200),
    ];

    #[test]
    fn what_is_allowed_sheds_nothing() {
        assert_eq!(shedding(cost(4.9), BUSY, FIVE), Decision::Enough);
        assert_eq!(shedding(Cost::default(), &[], FIVE), Decision::Enough);
    }

    #[test]
    fn events_are_shed_in_the_order_of_the_table_until_the_rest_is_allowed() {
        // A fifth goes with the first group that is worth it.
        assert_eq!(shedding(cost(6.0), BUSY, FIVE), Decision::Shed(vec![Kind::PteOffsetMapLock]));
        assert_eq!(
            shedding(cost(8.0), BUSY, FIVE),
            Decision::Shed(vec![Kind::PteOffsetMapLock, Kind::LockVmaUnderRcu])
        );
        // Page faults go together, and last.
        let all = [Kind::PteOffsetMapLock, Kind::LockVmaUnderRcu, Kind::PageFaultUser, Kind::PageFaultKernel];
        assert_eq!(shedding(cost(90.0), BUSY, FIVE), Decision::Shed(all.to_vec()));
    }

    #[test]
    fn events_that_cost_next_to_nothing_stay_and_those_that_are_not_optional_too() {
        let quiet = [(Kind::TlbFlush, 10), (Kind::AcquireReturned, 990)];
        assert_eq!(shedding(cost(50.0), &quiet, FIVE), Decision::Exhausted);
        // mmtrace alone can cost too much.
        assert_eq!(shedding(cost(50.0), &[], FIVE), Decision::Exhausted);
    }
}
