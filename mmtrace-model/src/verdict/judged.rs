//! How much of a stream a rule could be judged for.

use serde::Serialize;

use crate::{
    coverage::Coverage,
    durations::Durations,
    numbers::{duration, grouped},
};

/// The share of evaluations, and of time, that must have been judged for a rule to be *held*, unless somebody asks for
/// another one.
pub const ENOUGH: f64 = 0.99;

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

/// How much of a stream a rule could be judged for, where events that it needs are missing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Number of events that it needs and that are missing.
    pub missing: u64,
    /// Number of times without them.
    pub gaps: u64,
    /// Evaluations, and those that there were besides.
    pub evaluations: Coverage,
    /// Nanoseconds.
    pub time: Coverage,
    /// Half of the times, the rule was evaluated again so many nanoseconds after the beginning of a gap; absent if it never
    /// was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_to_next_ns: Option<u64>,
}

impl Judged {
    /// `span`: the first and last time of the stream.
    pub(super) fn new(gaps: &Gaps, evaluations: u64, unjudged: u64, span: (u64, u64)) -> Self {
        let all = span.1.saturating_sub(span.0);
        // The last gap may end after the last event.
        let without = gaps.ns.saturating_sub(gaps.until.saturating_sub(span.1)).min(all);
        Self {
            missing: gaps.missing,
            gaps: gaps.count,
            evaluations: Coverage::of(evaluations, unjudged),
            time: Coverage::of(all - without, without),
            median_to_next_ns: (gaps.again.count() > 0).then(|| gaps.again.quantile(0.5)),
        }
    }

    /// Whether so much was judged that a rule which was never broken is held.
    #[must_use]
    pub fn is_enough(&self, share: f64) -> bool {
        self.evaluations.share().min(self.time.share()) >= share
    }

    /// Returns what was not judged, in words: "not judged for 3.10 ms of 60.0 s (0.005 %) around 4 missing events".
    #[must_use]
    pub fn text(&self) -> String {
        let dark = self.time.of - self.time.counted;
        let unjudged = self.evaluations.of - self.evaluations.counted;
        let more = match unjudged {
            0 => String::new(),
            n => format!(", and {} of {} times since", grouped(n), grouped(self.evaluations.of)),
        };
        format!(
            "not judged for {} of {} ({}) around {} missing event{}{more}",
            duration(dark),
            duration(self.time.of),
            percent(1.0 - self.time.share()),
            grouped(self.missing),
            if self.missing == 1 { "" } else { "s" },
        )
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
