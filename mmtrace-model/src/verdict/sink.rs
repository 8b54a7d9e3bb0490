//! Findings, and the verdicts that they add up to.

use mmtrace_common::{
    Kind, Record, spec,
    unknown::{COLLAPSES, FUNCTIONS, LOCKS, Parts, TABLES},
};
use serde::Serialize;

use super::{
    Judged, Severity,
    blind::BlindTimes,
    history::History,
    judged::{ENOUGH, Gaps, Seen},
    rules::{RULES, RuleId},
};
use crate::{context::Context, coverage::Coverage};

/// The parts of the model that rules are judged by.
const JUDGED_BY: Parts = LOCKS | FUNCTIONS | TABLES | COLLAPSES;

/// Violations that are kept with their events, per rule. More are only counted.
const KEPT: usize = 8;

/// The verdict of a recording on a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Evaluated and never broken. Where events that it needs are missing, enough of its evaluations and of the time could
    /// be judged all the same ([`Sink::judged`]).
    Held,
    /// Broken at least once.
    Violated,
    /// Never evaluated, or so many events that it needs are missing, or were shed before the end, that too little could be
    /// judged.
    Unknown,
    /// This kernel or these probes cannot show it.
    NotObservable,
}

impl Verdict {
    /// The verdict's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Violated => "violated",
            Self::Unknown => "unknown",
            Self::NotObservable => "not_observable",
        }
    }
}

/// One time that a rule was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: RuleId,
    /// Time when it was noticed, nanoseconds of `CLOCK_MONOTONIC`.
    pub ts: u64,
    /// The mm; 0 if there is none.
    pub mm: u64,
    /// The tasks that took part, at most two.
    pub tids: Vec<u32>,
    /// The violation, in one sentence.
    pub what: String,
    /// The events that led to it, oldest first.
    pub events: Vec<Record>,
}

/// The findings for one rule.
#[derive(Clone, Debug, Default)]
struct Tally {
    evaluations: u64,
    unjudged: u64,
    /// Number of times that it seemed to be broken, on a kernel on which it was not seen to be kept yet.
    suspected: u64,
    violations: u64,
    kept: Vec<Violation>,
    last: u64,
    gaps: Gaps,
    /// Of `unjudged`, those since the first gap.
    unjudged_since_gap: u64,
    /// When and why events that it needs ended.
    ended: Option<Ended>,
}

/// The end of the events that a rule needs, before the end of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Time from the start of the recording, nanoseconds.
    pub at_ns: u64,
    /// Kind of the events that ended.
    pub kind: Kind,
    /// `--max-overhead`, in hundredths of a percent.
    pub max_overhead: u32,
}

/// Collects findings; the model calls it.
#[derive(Clone, Debug)]
pub struct Sink {
    tallies: Vec<Tally>,
    blocked: Vec<Option<String>>,
    history: History,
    /// Times of the first and the last event, nanoseconds of `CLOCK_MONOTONIC`.
    span: (u64, u64),
    events: Seen,
    blind: BlindTimes,
    /// The share of evaluations and of time that must have been judged.
    enough: f64,
}

impl Sink {
    /// Starts with the decisions of the context: which rules cannot be observed here, and why.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self {
            tallies: vec![Tally::default(); RULES.len()],
            blocked: RULES.iter().map(|r| r.blocked(context)).collect(),
            history: History::default(),
            span: (u64::MAX, 0),
            events: Seen::default(),
            blind: BlindTimes::default(),
            enough: ENOUGH,
        }
    }

    /// Forgets what was found, but not which events have ended.
    pub(crate) fn begin_again(&mut self, context: &Context) {
        let (enough, ended) = (self.enough, self.tallies.iter().map(|tally| tally.ended).collect::<Vec<_>>());
        *self = Self { enough, ..Self::new(context) };
        self.tallies.iter_mut().zip(ended).for_each(|(tally, ended)| tally.ended = ended);
    }

    /// Sets the share as a recording was asked for it, in hundredths of a percent; ignores a number that is no share.
    pub(crate) fn set_enough_of(&mut self, context: &Context) {
        if let Some(hundredths) = context.min_judged.filter(|hundredths| (1..=10_000).contains(hundredths)) {
            self.set_enough(f64::from(hundredths) / 10_000.0);
        }
    }

    /// Sets the share of evaluations and of time, 0 to 1, that must have been judged for a rule to be held.
    pub(crate) const fn set_enough(&mut self, share: f64) {
        self.enough = share;
    }

    /// Returns how much a rule could be judged for; `None` if no event that it needs is missing.
    #[must_use]
    pub fn judged(&self, rule: RuleId) -> Option<Judged> {
        let tally = &self.tallies[rule as usize];
        let judged = || {
            let evaluations = Coverage::of(tally.evaluations, tally.unjudged_since_gap);
            let named: Vec<Kind> = rule.rule().needs.iter().chain(rule.rule().also).copied().collect();
            Judged::new(&tally.gaps, evaluations, self.events.of(&named), self.span)
        };
        (self.is_open(rule) && tally.gaps.any()).then(judged)
    }

    /// Whether too little could be judged to say that the rule was held.
    fn is_doubtful(&self, rule: RuleId) -> bool {
        let tally = &self.tallies[rule as usize];
        tally.suspected > 0 || tally.ended.is_some() || self.judged(rule).is_some_and(|j| !j.is_enough(self.enough))
    }

    /// Whether findings for a rule are taken at all.
    #[inline]
    #[must_use]
    pub fn is_open(&self, rule: RuleId) -> bool {
        self.blocked[rule as usize].is_none()
    }

    /// The last `n` events, oldest first.
    #[must_use]
    pub fn recent(&self, n: usize) -> Vec<Record> {
        self.history.recent(n)
    }

    /// The newest of the last events for which this is true.
    #[must_use]
    pub(crate) fn last_event(&self, is: impl Fn(&Record) -> bool) -> Option<Record> {
        self.history.last(is)
    }

    /// Adds an event to those that are shown with violations.
    #[inline]
    pub(crate) fn saw(&mut self, record: &Record) {
        self.span = (self.span.0.min(record.ts), self.span.1.max(record.ts));
        self.events.saw(record);
        self.history.push(record);
    }

    /// The rule was evaluated and held.
    #[inline]
    pub(crate) fn held(&mut self, rule: RuleId, ts: u64) {
        let tally = &mut self.tallies[rule as usize];
        if tally.ended.is_some() {
            return;
        }
        tally.evaluations += 1;
        tally.last = ts;
        tally.gaps.evaluated(ts);
    }

    /// The rule applied, but what it needs to know is not known.
    #[inline]
    pub(crate) fn unjudged(&mut self, rule: RuleId) {
        let tally = &mut self.tallies[rule as usize];
        tally.unjudged += 1;
        tally.unjudged_since_gap += u64::from(tally.gaps.any());
    }

    /// The rule may have applied, and what it needs to know is unknown since a gap. At the beginning of a stream, that is
    /// nothing to tell of.
    #[inline]
    pub(crate) fn unjudged_since_gap(&mut self, rule: RuleId) {
        if self.tallies[rule as usize].gaps.any() {
            self.unjudged(rule);
        }
    }

    /// The rule seems to be broken, and was not seen to be kept on this kernel: the compiler may inline here what would
    /// show that.
    pub(crate) fn suspected(&mut self, rule: RuleId) {
        self.tallies[rule as usize].suspected += 1;
    }

    /// The rule was seen to be kept on this kernel, so the suspected violations were real.
    pub(crate) fn confirmed(&mut self, rule: RuleId, record: &Record, mm: u64, tids: &[u32], what: String) {
        let tally = &mut self.tallies[rule as usize];
        tally.suspected = tally.suspected.saturating_sub(1);
        self.violated(rule, record, mm, tids, what);
    }

    /// The rule was evaluated and was broken.
    pub(crate) fn violated(&mut self, rule: RuleId, record: &Record, mm: u64, tids: &[u32], what: String) {
        self.violated_by(rule, record, mm, tids, what, &[]);
    }

    /// The rule was evaluated and was broken. These events show that, however old they are.
    pub(crate) fn violated_by(
        &mut self,
        rule: RuleId,
        record: &Record,
        mm: u64,
        tids: &[u32],
        what: String,
        evidence: &[Record],
    ) {
        if !self.is_open(rule) || self.ended(rule).is_some() {
            return;
        }
        let tally = &mut self.tallies[rule as usize];
        tally.evaluations += 1;
        tally.violations += 1;
        tally.last = record.ts;
        tally.gaps.evaluated(record.ts);
        if tally.kept.len() < KEPT {
            let events = self.history.about(tids, mm, evidence);
            let violation = Violation { rule, ts: record.ts, mm, tids: tids.to_vec(), what, events };
            self.tallies[rule as usize].kept.push(violation);
        }
    }

    /// Withdraws all violations of a rule so far, because they rest on something that was not known after all.
    pub(crate) fn withdraw(&mut self, rule: RuleId) {
        let tally = &mut self.tallies[rule as usize];
        tally.kept.clear();
        let gone = std::mem::take(&mut tally.violations);
        tally.evaluations -= gone;
        tally.unjudged += gone;
    }

    /// So many events of a kind are missing, from one time to another one; `None`: of any kind.
    ///
    /// A rule misses them if it names the kind, or if the model forgets a part without it that the rule's events tell of.
    pub(crate) fn missing(&mut self, kind: Option<Kind>, count: u64, from: u64, until: u64) {
        self.events.missing(kind, count, until);
        self.blind.add(from, until);
        for (rule, tally) in RULES.iter().zip(&mut self.tallies) {
            let forgets = |k: Kind| spec(k).unknown & rule.needs.iter().fold(0, |parts, n| parts | spec(*n).unknown);
            let names = |k: Kind| rule.needs.contains(&k) || rule.also.contains(&k);
            if kind.is_none_or(|k| names(k) || forgets(k) & JUDGED_BY != 0) {
                tally.gaps.missing(count, from, until);
            }
        }
    }

    /// Returns the times when events of any kind may be missing.
    #[must_use]
    pub const fn blind_times(&self) -> &BlindTimes {
        &self.blind
    }

    /// Events are no longer recorded: nothing is found any more for the rules that need them.
    pub(crate) fn end(&mut self, ended: Ended) {
        for (rule, tally) in RULES.iter().zip(&mut self.tallies) {
            if rule.needs.contains(&ended.kind) {
                tally.ended.get_or_insert(ended);
            }
        }
    }

    /// Returns when and why events that a rule needs ended; `None` if they were recorded to the end, or never.
    #[must_use]
    pub(crate) fn ended(&self, rule: RuleId) -> Option<Ended> {
        self.tallies[rule as usize].ended.filter(|_| self.is_open(rule))
    }

    /// The verdict on one rule.
    #[must_use]
    pub fn verdict(&self, rule: RuleId) -> Verdict {
        let tally = &self.tallies[rule as usize];
        if self.blocked[rule as usize].is_some() {
            Verdict::NotObservable
        } else if tally.violations > 0 && rule.rule().severity.can_fail() {
            Verdict::Violated
        } else if tally.evaluations == 0 || self.is_doubtful(rule) {
            Verdict::Unknown
        } else {
            Verdict::Held
        }
    }

    /// Returns the reason why the verdict is not a plain "held" or "violated"; `None` if it is.
    #[must_use]
    pub fn reason(&self, rule: RuleId) -> Option<String> {
        let tally = &self.tallies[rule as usize];
        if let Some(why) = &self.blocked[rule as usize] {
            return Some(why.clone());
        }
        let missing = self.judged(rule).filter(|judged| !judged.is_enough(self.enough)).map(|judged| judged.text());
        let shed = tally.ended.map(|ended| {
            let judged = if tally.evaluations == 0 { "not evaluated in" } else { "judged only in" };
            let (seconds, limit) = (ended.at_ns as f64 / 1e9, f64::from(ended.max_overhead) / 100.0);
            format!("{judged} the first {seconds:.1} s: then {} was shed (--max-overhead {limit})", ended.kind.name())
        });
        if let Some(why) = shed.into_iter().chain(missing).reduce(|all, more| format!("{all}; {more}")) {
            return Some(why);
        }
        if tally.suspected > 0 && tally.violations == 0 {
            return Some(format!(
                "never seen kept on this kernel, where the compiler may hide what keeps it: it seemed to be broken {} times",
                tally.suspected
            ));
        }
        if tally.evaluations == 0 {
            return Some(match tally.unjudged {
                0 => "never evaluated: nothing happened that it is about".to_owned(),
                n => format!("never evaluated: {n} times it applied, but what it needs to know began before recording"),
            });
        }
        None
    }

    /// Returns the number of evaluations of the rule; 0 if it cannot be observed, whatever part of it the model could
    /// see.
    #[must_use]
    pub fn evaluations(&self, rule: RuleId) -> u64 {
        if self.is_open(rule) { self.tallies[rule as usize].evaluations } else { 0 }
    }

    /// Returns the number of times that the rule applied and could not be judged.
    #[must_use]
    pub fn not_judged(&self, rule: RuleId) -> u64 {
        let tally = &self.tallies[rule as usize];
        if self.is_open(rule) { tally.unjudged.saturating_add(tally.suspected) } else { 0 }
    }

    /// Returns the number of times that the rule was broken.
    #[must_use]
    pub fn violations(&self, rule: RuleId) -> u64 {
        self.tallies[rule as usize].violations
    }

    /// Returns the time when the rule was last evaluated, nanoseconds of `CLOCK_MONOTONIC`; 0 if never.
    #[must_use]
    pub fn last(&self, rule: RuleId) -> u64 {
        if self.is_open(rule) { self.tallies[rule as usize].last } else { 0 }
    }

    /// Violations with their events, the first few of each rule, in the order of the rules.
    pub fn kept(&self) -> impl Iterator<Item = &Violation> {
        self.tallies.iter().flat_map(|t| &t.kept)
    }

    /// (held, violated, unknown, not observable) over all rules that judge.
    #[must_use]
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for rule in RULES.iter().filter(|r| r.severity != Severity::Measure) {
            let index = match self.verdict(rule.id) {
                Verdict::Held => 0,
                Verdict::Violated => 1,
                Verdict::Unknown => 2,
                Verdict::NotObservable => 3,
            };
            counts[index] += 1;
        }
        counts
    }

    /// Whether a rule that can be observed is in doubt: too little of it could be judged for the events that are missing or
    /// have ended, or it seemed to be broken and was never seen to be kept.
    #[must_use]
    pub fn any_doubt(&self) -> bool {
        RULES.iter().any(|r| r.severity.can_fail() && self.is_open(r.id) && self.is_doubtful(r.id))
    }

    /// Whether anything that must hold was broken.
    #[must_use]
    pub fn any_violated(&self) -> bool {
        RULES.iter().any(|r| self.verdict(r.id) == Verdict::Violated)
    }
}
