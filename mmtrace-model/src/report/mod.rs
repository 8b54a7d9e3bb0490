//! What a recording or replay came to.

mod story;
mod style;
mod text;

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use crate::{
    context::Kernel,
    coverage::Coverage,
    durations::Distribution,
    model::{
        Model,
        faults::address_space::Cause,
        measures::Overlap,
        page_tables::shadow::{Counts, HAZARDS},
    },
    replay::Engine,
    untrusted::json,
    verdict::{RULES, Severity, Verdict},
};

pub use crate::numbers::{duration, grouped};
pub use story::{Line as StoryLine, Story, describe, fields};
pub use style::{Style, wrap};

/// The closing report. As JSON its fields are stable: docs/report.md.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The kernel that was watched.
    pub kernel: Kernel,
    /// Time from the first to the last event, seconds.
    pub seconds: f64,
    /// Whose events were recorded; absent when everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Events.
    pub events: Events,
    /// Events that the ring buffers had no room for.
    pub lost: u64,
    /// Events that are missing because the kernel skipped the probe's run.
    pub missed: u64,
    /// Places where the capture could not be read.
    pub gaps: u64,
    /// Records in the rings that no program of mmtrace can have written: each may stand for an event that is missing.
    pub foreign: u64,
    /// Faults by cause.
    pub faults: BTreeMap<&'static str, u64>,
    /// How many of all faults those are; absent with `--no-validate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults_coverage: Option<Coverage>,
    /// What was seen of page tables; absent when nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub walker: Option<Walker>,
    /// One entry per rule, in the order of `mmtrace rules`.
    pub rules: Vec<RuleReport>,
    /// The first violations of each rule.
    pub violations: Vec<Story>,
    /// `violated`: something was. `unknown`: nothing was, but events that a rule needs are
    /// missing, or nothing was evaluated. `held`: neither. Absent with `--no-validate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// Events of a report.
#[derive(Debug, Serialize)]
pub struct Events {
    /// All of them.
    pub total: u64,
    /// By tracepoint; those that did not happen are not there.
    pub by_kind: BTreeMap<&'static str, u64>,
}

/// Page tables and the walker of a report.
#[derive(Debug, Serialize)]
pub struct Walker {
    /// Tables and maps.
    #[serde(flatten)]
    pub counts: Counts,
    /// How often each hazard of walks was met; those that cannot be observed are not there.
    pub hazards: BTreeMap<&'static str, u64>,
}

impl Walker {
    fn new(engine: &Engine) -> Option<Self> {
        let (model, sink) = (engine.model()?, engine.sink()?);
        let counts = *model.tables();
        let hazards = HAZARDS.iter().filter(|h| sink.is_open(**h)).map(|h| (h.rule().name, sink.violations(*h)));
        (!counts.is_empty()).then(|| Self { counts, hazards: hazards.collect() })
    }
}

/// One rule of a report.
#[derive(Debug, Serialize)]
pub struct RuleReport {
    /// The rule's name.
    pub id: &'static str,
    /// What was found.
    pub verdict: Verdict,
    /// Times it was evaluated.
    pub evaluations: u64,
    /// Times it was broken; for a hazard, times it was met.
    pub violations: u64,
    /// Times it applied and could not be judged, since what it rests on began before recording.
    pub unjudged: u64,
    /// How bad.
    pub severity: Severity,
    /// Why the verdict is unknown or not observable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a measuring rule measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Distribution>,
    /// How much of what a measuring rule measures it has measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// The longest of what it measured, where it says who waited for whom.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub worst: Vec<Overlap>,
}

impl Report {
    /// Takes stock.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        let context = engine.context();
        let rules: Vec<RuleReport> = engine.sink().map_or_else(Vec::new, |sink| {
            RULES
                .iter()
                .map(|rule| RuleReport {
                    id: rule.name,
                    verdict: sink.verdict(rule.id),
                    evaluations: sink.evaluations(rule.id),
                    violations: sink.violations(rule.id),
                    unjudged: sink.not_judged(rule.id),
                    severity: rule.severity,
                    reason: sink.reason(rule.id),
                    measured: engine.model().and_then(|m| m.measures().distribution(rule.id)),
                    coverage: engine
                        .model()
                        .filter(|_| rule.severity == Severity::Measure && sink.is_open(rule.id))
                        .map(|m| m.coverage(rule.id)),
                    worst: engine.model().map_or_else(Vec::new, |m| m.measures().worst(rule.id)),
                })
                .collect()
        });
        let verdict = engine.sink().map(|sink| {
            let [held, ..] = sink.counts();
            if sink.any_violated() {
                Verdict::Violated
            } else if sink.any_doubt() || held == 0 {
                Verdict::Unknown
            } else {
                Verdict::Held
            }
        });
        let violations = engine.sink().map_or_else(Vec::new, |sink| {
            sink.kept().filter(|v| v.rule.rule().severity.can_fail()).map(|v| Story::new(v, context)).collect()
        });
        let faults = engine.model().map_or_else(BTreeMap::new, |model| {
            Cause::ALL.iter().map(|c| c.name()).zip(*model.causes()).filter(|(_, n)| *n > 0).collect()
        });
        Self {
            kernel: context.kernel.clone(),
            seconds: engine.span().map_or(0.0, |(from, to)| (to - from) as f64 / 1e9),
            filter: context.filter.clone(),
            events: Events { total: engine.total(), by_kind: engine.by_kind() },
            lost: engine.lost(),
            missed: engine.missed(),
            gaps: engine.gaps(),
            foreign: engine.foreign(),
            faults,
            faults_coverage: engine.model().map(Model::fault_coverage),
            walker: Walker::new(engine),
            rules,
            violations,
            verdict,
        }
    }

    /// Whether anything was violated.
    #[must_use]
    pub fn is_violated(&self) -> bool {
        self.verdict == Some(Verdict::Violated)
    }

    /// Writes it, as JSON or for people.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn print(&self, as_json: bool, style: Style, out: &mut dyn Write) -> io::Result<()> {
        if as_json {
            json(self, out)?;
            writeln!(out)
        } else {
            text::print(self, style, out)
        }
    }
}
