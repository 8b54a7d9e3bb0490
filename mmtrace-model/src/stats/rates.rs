//! Events per second, by class, in the last minute.

use mmtrace_common::{Class, Kind, SPECS, spec};

use crate::context::Context;

/// Whether these probes can show any event of a class. The absence of the other events means nothing.
#[must_use]
pub fn is_observable(class: Class, context: &Context) -> bool {
    class.is_missing() || SPECS.iter().any(|s| s.class == class && context.has(s.kind))
}

/// Length of an interval, nanoseconds.
pub(crate) const INTERVAL_NS: u64 = 250_000_000;
/// Intervals in a second.
const SECOND: usize = 4;
/// Intervals kept: a minute.
pub(crate) const INTERVALS: usize = 240;

/// Events in each of the last intervals.
#[derive(Clone, Debug)]
pub struct Rates {
    /// By interval, newest at `newest % INTERVALS`.
    counts: Vec<[u32; Class::ALL.len()]>,
    /// Number of the newest interval; `None` before the first event.
    newest: Option<u64>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { counts: vec![[0; Class::ALL.len()]; INTERVALS], newest: None }
    }
}

impl Rates {
    /// Counts an event, or the many events that one record reports.
    #[inline]
    pub(crate) fn add(&mut self, kind: Kind, ts: u64, n: u64) {
        let interval = ts / INTERVAL_NS;
        match self.newest {
            Some(newest) if interval <= newest => {
                // Records of several CPUs need not be in the order of their times.
                if newest - interval >= INTERVALS as u64 {
                    return;
                }
            }
            newest => {
                let passed = newest.map_or(0, |n| (interval - n).min(INTERVALS as u64));
                for i in 0..passed {
                    self.counts[((interval - i) % INTERVALS as u64) as usize] = [0; Class::ALL.len()];
                }
                self.newest = Some(interval);
            }
        }
        let count = &mut self.counts[(interval % INTERVALS as u64) as usize][spec(kind).class as usize];
        *count = count.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// Events of a class in the last `n` intervals, oldest first.
    #[must_use]
    pub fn last(&self, class: Class, n: usize) -> Vec<u64> {
        let n = n.min(INTERVALS);
        let Some(newest) = self.newest else { return vec![0; n] };
        let at = |back: u64| match newest.checked_sub(back) {
            Some(interval) => u64::from(self.counts[(interval % INTERVALS as u64) as usize][class as usize]),
            None => 0,
        };
        (0..n as u64).rev().map(at).collect()
    }

    /// Events of a class per second: those of the last complete second, or of the time so far.
    #[must_use]
    pub fn now(&self, class: Class) -> u64 {
        let last = self.last(class, SECOND + 1);
        let over: u64 = last.iter().take(SECOND).sum();
        if over > 0 { over } else { last.last().copied().unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Form, ProbeState};

    #[test]
    fn intervals_pass() {
        let mut rates = Rates::default();
        for (ts, n) in [(10, 3), (11, 5), (14, 1)] {
            for _ in 0..n {
                rates.add(Kind::PageFaultUser, ts * INTERVAL_NS, 1);
            }
        }
        assert_eq!(rates.last(Class::Fault, 6), [0, 3, 5, 0, 0, 1]);
        rates.add(Kind::PageFaultUser, 12 * INTERVAL_NS, 1);
        assert_eq!(rates.last(Class::Fault, 3), [1, 0, 1]);
        rates.add(Kind::PageFaultUser, 10_000 * INTERVAL_NS, 1);
        assert_eq!(rates.last(Class::Fault, 5), [0, 0, 0, 0, 1]);
        assert_eq!(rates.last(Class::Fault, INTERVALS).iter().sum::<u64>(), 1);
    }

    #[test]
    fn what_is_lost_and_what_is_missed_are_counted_apart() {
        let mut rates = Rates::default();
        rates.add(Kind::Loss, 0, 7);
        rates.add(Kind::Missed, 0, u64::MAX);
        rates.add(Kind::Missed, 0, 1);
        assert_eq!([Class::Lost, Class::Missed, Class::Gap].map(|c| rates.now(c)), [7, u64::from(u32::MAX), 0]);
    }

    #[test]
    fn only_what_has_a_probe_is_observable_and_what_is_missing_always() {
        let mut context = Context::default();
        let seen =
            |context: &Context| Class::ALL.into_iter().filter(|c| is_observable(*c, context)).collect::<Vec<_>>();
        assert_eq!(seen(&context), [Class::Lost, Class::Missed, Class::Gap, Class::Foreign]);
        let probe =
            |kind: Kind, form| ProbeState { event: kind.name().to_owned(), form, absent: Vec::new(), reason: None };
        context.probes = vec![probe(Kind::TlbFlush, Some(Form::TpBtf)), probe(Kind::Fork, None)];
        assert_eq!(seen(&context), [Class::Tlb, Class::Lost, Class::Missed, Class::Gap, Class::Foreign]);
    }
}
