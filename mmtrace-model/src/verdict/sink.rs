//! Findings, and the verdicts that they add up to.

use mmtrace_common::{Kind, Record};
use serde::Serialize;

use super::{
    Severity,
    history::History,
    rules::{RULES, RuleId},
};
use crate::context::Context;

/// Violations that are kept with their events, per rule. More are only counted.
const KEPT: usize = 8;

/// The verdict of a recording on a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Evaluated, never broken, nothing missing.
    Held,
    /// Broken at least once.
    Violated,
    /// Never evaluated, or events that it needs are missing, or were shed before the end.
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
    /// Number of events that it needs and that are missing.
    missing: u64,
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
}

impl Sink {
    /// Starts with the decisions of the context: which rules cannot be observed here, and why.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self {
            tallies: vec![Tally::default(); RULES.len()],
            blocked: RULES.iter().map(|r| r.blocked(context)).collect(),
            history: History::default(),
        }
    }

    /// Returns the reason why a rule cannot be observed here; `None` if it can.
    #[must_use]
    pub fn blocked(&self, rule: RuleId) -> Option<&str> {
        self.blocked[rule as usize].as_deref()
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
    pub fn last_event(&self, is: impl Fn(&Record) -> bool) -> Option<Record> {
        self.history.last(is)
    }

    /// Adds an event to those that are shown with violations.
    #[inline]
    pub fn saw(&mut self, record: &Record) {
        self.history.push(record);
    }

    /// The rule was evaluated and held.
    #[inline]
    pub fn held(&mut self, rule: RuleId, ts: u64) {
        let tally = &mut self.tallies[rule as usize];
        if tally.ended.is_some() {
            return;
        }
        tally.evaluations += 1;
        tally.last = ts;
    }

    /// The rule applied, but what it needs to know is not known.
    #[inline]
    pub fn unjudged(&mut self, rule: RuleId) {
        self.tallies[rule as usize].unjudged += 1;
    }

    /// The rule seems to be broken, and was not seen to be kept on this kernel: the compiler may inline here what would
    /// show that.
    pub fn suspected(&mut self, rule: RuleId) {
        self.tallies[rule as usize].suspected += 1;
    }

    /// The rule was seen to be kept on this kernel, so the suspected violations were real.
    pub fn confirmed(&mut self, rule: RuleId, record: &Record, mm: u64, tids: &[u32], what: String) {
        let tally = &mut self.tallies[rule as usize];
        tally.suspected = tally.suspected.saturating_sub(1);
        self.violated(rule, record, mm, tids, what);
    }

    /// The rule was evaluated and was broken.
    pub fn violated(&mut self, rule: RuleId, record: &Record, mm: u64, tids: &[u32], what: String) {
        self.violated_by(rule, record, mm, tids, what, &[]);
    }

    /// The rule was evaluated and was broken. These events show that, however old they are.
    pub fn violated_by(
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
        if tally.kept.len() < KEPT {
            let events = self.history.about(tids, mm, evidence);
            let violation = Violation { rule, ts: record.ts, mm, tids: tids.to_vec(), what, events };
            self.tallies[rule as usize].kept.push(violation);
        }
    }

    /// Withdraws all violations of a rule so far, because they rest on something that was not known after all.
    pub fn withdraw(&mut self, rule: RuleId) {
        let tally = &mut self.tallies[rule as usize];
        tally.kept.clear();
        let gone = std::mem::take(&mut tally.violations);
        tally.evaluations -= gone;
        tally.unjudged += gone;
    }

    /// Events of a kind are missing; `None`: of any kind.
    pub fn missing(&mut self, kind: Option<Kind>, count: u64) {
        for (rule, tally) in RULES.iter().zip(&mut self.tallies) {
            if kind.is_none_or(|k| rule.needs.contains(&k)) {
                tally.missing = tally.missing.saturating_add(count.max(1));
            }
        }
    }

    /// Events are no longer recorded: nothing is found any more for the rules that need them.
    pub fn end(&mut self, ended: Ended) {
        for (rule, tally) in RULES.iter().zip(&mut self.tallies) {
            if rule.needs.contains(&ended.kind) {
                tally.ended.get_or_insert(ended);
            }
        }
    }

    /// Returns when and why events that a rule needs ended; `None` if they were recorded to the end, or never.
    #[must_use]
    pub fn ended(&self, rule: RuleId) -> Option<Ended> {
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
        } else if tally.evaluations == 0 || tally.missing > 0 || tally.suspected > 0 || tally.ended.is_some() {
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
        let missing = match tally.missing {
            0 => None,
            1 => Some("1 event that it needs is missing".to_owned()),
            n => Some(format!("{n} events that it needs are missing")),
        };
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

    /// Whether a rule that can be observed is in doubt: events that it needs are missing or have ended, or it seemed to
    /// be broken and was never seen to be kept.
    #[must_use]
    pub fn any_doubt(&self) -> bool {
        let doubtful = |tally: &Tally| tally.missing > 0 || tally.suspected > 0 || tally.ended.is_some();
        RULES.iter().any(|r| r.severity.can_fail() && self.is_open(r.id) && doubtful(&self.tallies[r.id as usize]))
    }

    /// Whether anything that must hold was broken.
    #[must_use]
    pub fn any_violated(&self) -> bool {
        RULES.iter().any(|r| self.verdict(r.id) == Verdict::Violated)
    }
}
