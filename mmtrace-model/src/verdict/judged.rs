//! How much of a stream a rule could be judged for.

use mmtrace_common::{Kind, LOST_KINDS, Record};
use serde::Serialize;

use crate::{
    coverage::Coverage,
    durations::Durations,
    numbers::{duration, grouped},
};

/// The share of evaluations, and of time, that must have been judged for a rule to be *held*, unless somebody asks for
/// another one.
pub(crate) const ENOUGH: f64 = 0.99;

/// The times when events that a rule needs are missing: each from the earliest moment at which a missing event can have
/// been, to the latest one.
///
/// What the model knew may be unknown for longer. What happens meanwhile to an object of which too little is known is
/// unjudged, and counted as that.
#[derive(Clone, Debug, Default)]
pub(super) struct Gaps {
    /// Events that are missing.
    missing: u64,
    /// All gaps together, nanoseconds, and their number; those that overlap are one.
    ns: u64,
    count: u64,
    /// When the last one is over.
    until: u64,
    /// The last one began, and the rule was not evaluated since it is over.
    unevaluated_since: Option<u64>,
    /// How long it took from the beginning of a gap to the next evaluation after it.
    again: Durations,
}

impl Gaps {
    /// So many events are missing, from one time to another one.
    pub(super) fn missing(&mut self, count: u64, from: u64, until: u64) {
        self.missing = self.missing.saturating_add(count.max(1));
        if from > self.until || self.count == 0 {
            self.count += 1;
            self.ns = self.ns.saturating_add(until.saturating_sub(from));
        } else {
            self.ns = self.ns.saturating_add(until.saturating_sub(self.until));
        }
        self.until = self.until.max(until);
        self.unevaluated_since.get_or_insert(from);
    }

    /// The rule was evaluated.
    #[inline]
    pub(super) fn evaluated(&mut self, ts: u64) {
        if let Some(since) = self.unevaluated_since
            && ts > self.until
        {
            self.again.add(ts.saturating_sub(since));
            self.unevaluated_since = None;
        }
    }

    /// Whether an event is missing.
    pub(super) const fn any(&self) -> bool {
        self.missing > 0
    }
}

/// Events by kind: how many there were, and how many of them lie in a gap, where rules are not judged.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    all: [u64; LOST_KINDS],
    in_gaps: [u64; LOST_KINDS],
    missing: [u64; LOST_KINDS],
    /// Of any kind.
    missing_any: u64,
    /// Events may be missing up to this time.
    blind_until: u64,
}

impl Default for Seen {
    fn default() -> Self {
        let none = [0; LOST_KINDS];
        Self { all: none, in_gaps: none, missing: none, missing_any: 0, blind_until: 0 }
    }
}

impl Seen {
    /// An event was seen.
    #[inline]
    pub(super) fn saw(&mut self, record: &Record) {
        let kind = usize::from(record.kind) % LOST_KINDS;
        self.all[kind] += 1;
        if record.ts <= self.blind_until {
            self.in_gaps[kind] += 1;
        }
    }

    /// So many events of a kind are missing, until a time; `None`: of any kind.
    pub(super) fn missing(&mut self, kind: Option<Kind>, count: u64, until: u64) {
        let missing = kind.map_or(&mut self.missing_any, |kind| &mut self.missing[kind as usize]);
        *missing = missing.saturating_add(count.max(1));
        self.blind_until = self.blind_until.max(until);
    }

    /// Returns the share of the events outside gaps: of that kind, of these, of which least are.
    pub(super) fn of(&self, kinds: &[Kind]) -> Option<(Kind, Coverage)> {
        let share = |kind: &Kind| {
            let n = *kind as usize;
            let outside = self.all[n] - self.in_gaps[n];
            let gone = self.missing[n].saturating_add(self.missing_any);
            (*kind, Coverage::of(outside, self.in_gaps[n].saturating_add(gone)))
        };
        kinds.iter().map(share).filter(|(_, events)| events.of > 0).min_by(|a, b| a.1.share().total_cmp(&b.1.share()))
    }
}

/// How much of a stream a rule could be judged for, where events that it needs are missing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Number of events that it needs and that are missing.
    pub missing: u64,
    /// Number of times without them.
    pub gaps: u64,
    /// Evaluations, and those that there were besides since the first gap.
    pub evaluations: Coverage,
    /// Events outside gaps, and all that there were: of the kind, of those that it needs, of which the smallest share is.
    pub events: Coverage,
    /// The name of that kind; empty if there was no such event.
    pub events_of: &'static str,
    /// Nanoseconds.
    pub time: Coverage,
    /// Half of the times, the rule was evaluated again so many nanoseconds after the beginning of a gap; absent if it never
    /// was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_to_next_ns: Option<u64>,
}

impl Judged {
    /// `span`: the first and last time of the stream.
    pub(super) fn new(gaps: &Gaps, evaluations: Coverage, events: Option<(Kind, Coverage)>, span: (u64, u64)) -> Self {
        let all = span.1.saturating_sub(span.0);
        // The last gap may end after the last event.
        let without = gaps.ns.saturating_sub(gaps.until.saturating_sub(span.1)).min(all);
        Self {
            missing: gaps.missing,
            gaps: gaps.count,
            evaluations,
            events: events.map(|(_, events)| events).unwrap_or_default(),
            events_of: events.map_or("", |(kind, _)| kind.name()),
            time: Coverage::of(all - without, without),
            median_to_next_ns: (gaps.again.count() > 0).then(|| gaps.again.quantile(0.5)),
        }
    }

    /// Whether so much was judged that a rule which was never broken is held.
    #[must_use]
    pub(crate) fn is_enough(&self, share: f64) -> bool {
        let shares = [self.evaluations.share(), self.events.share(), self.time.share()];
        shares.into_iter().all(|judged| judged >= share)
    }

    /// Returns what was not judged, in words: "not judged for 3.10 ms of 60.0 s (0.005 %) around 4 missing events".
    #[must_use]
    pub fn text(&self) -> String {
        let rest = |of: &Coverage| of.of.saturating_sub(of.counted);
        let mut text = format!(
            "not judged for {} of {} ({}) around {} missing event{}",
            duration(rest(&self.time)),
            duration(self.time.of),
            percent(1.0 - self.time.share()),
            grouped(self.missing),
            if self.missing == 1 { "" } else { "s" },
        );
        if self.events.share() < self.time.share() {
            let (lacks, all) = (grouped(rest(&self.events)), grouped(self.events.of));
            text += &format!("; {lacks} of {all} events {} are missing or lie in that time", self.events_of);
        }
        if !self.evaluations.is_whole() {
            let (unjudged, all) = (grouped(rest(&self.evaluations)), grouped(self.evaluations.of));
            text += &format!("; too little known for {unjudged} of {all} evaluations");
        }
        text
    }
}

/// A share in percent, with two digits that count.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if p >= 10.0 => format!("{p:.0} %"),
        p if p >= 1.0 => format!("{p:.1} %"),
        p if p >= 0.1 => format!("{p:.2} %"),
        p if p >= 0.001 => format!("{p:.3} %"),
        p if p > 0.0 => "below 0.001 %".to_owned(),
        _ => "0 %".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(gaps: &Gaps, span: (u64, u64)) -> Judged {
        Judged::new(gaps, Coverage::of(990, 10), None, span)
    }

    #[test]
    fn gaps_that_overlap_are_one_and_count_once() {
        let mut gaps = Gaps::default();
        gaps.missing(1, 100, 200);
        gaps.missing(2, 150, 180);
        gaps.missing(1, 190, 300);
        gaps.missing(1, 500, 600);
        let found = judged(&gaps, (0, 10_000));
        assert_eq!((found.missing, found.gaps), (5, 2));
        assert_eq!(found.time, Coverage::of(9_700, 300));
        assert!(found.is_enough(0.97) && !found.is_enough(0.98), "the time decides");
        let text = "not judged for 300 ns of 10.0 us (3.0 %) around 5 missing events; \
                    too little known for 10 of 1,000 evaluations";
        assert_eq!(found.text(), text);
    }

    /// Where nothing happens most of the time, a short gap can swallow most of what there is to judge.
    #[test]
    fn a_gap_in_a_burst_leaves_too_little() {
        let event = |kind: Kind, ts: u64| Record { kind: kind as u16, ts, ..Record::default() };
        let mut seen = Seen::default();
        seen.saw(&event(Kind::Released, 100));
        seen.missing(Some(Kind::Released), 7, 600);
        seen.saw(&event(Kind::Released, 600));
        seen.saw(&event(Kind::Released, 601));
        seen.saw(&event(Kind::Exec, 601));
        let found = seen.of(&[Kind::Exec, Kind::Released, Kind::ExitMmap]);
        assert_eq!(found, Some((Kind::Released, Coverage::of(2, 8))));
        let mut gaps = Gaps::default();
        gaps.missing(7, 500, 600);
        let judged = Judged::new(&gaps, Coverage::of(2, 0), found, (0, 1_000_000));
        assert!(!judged.is_enough(ENOUGH));
        assert!(judged.text().ends_with("; 8 of 10 events mmap_lock_released are missing or lie in that time"));
    }

    #[test]
    fn a_gap_counts_within_the_stream_only() {
        let mut gaps = Gaps::default();
        gaps.missing(1, 900, 2_000);
        assert_eq!(judged(&gaps, (0, 1_000)).time, Coverage::of(900, 100));
        let mut endless = Gaps::default();
        endless.missing(1, 400, u64::MAX);
        assert_eq!(judged(&endless, (0, 1_000)).time, Coverage::of(400, 600));
        assert!(!judged(&endless, (0, 1_000)).is_enough(ENOUGH));
    }

    #[test]
    fn an_uncounted_event_is_at_least_one() {
        let mut gaps = Gaps::default();
        assert!(!gaps.any());
        gaps.missing(0, 5, 5);
        assert!(gaps.any());
        assert_eq!(judged(&gaps, (0, 1_000)).missing, 1);
    }

    #[test]
    fn the_next_evaluation_ends_the_wait_for_it() {
        let mut gaps = Gaps::default();
        gaps.missing(1, 100, 200);
        gaps.evaluated(150);
        assert_eq!(judged(&gaps, (0, 1_000)).median_to_next_ns, None, "it may lie before the missing event");
        gaps.evaluated(700);
        gaps.evaluated(800);
        let next = judged(&gaps, (0, 1_000)).median_to_next_ns.expect("known");
        assert!((500..700).contains(&next), "{next}");
    }
}
