//! The closing report of a recording or a replay.

mod answers;
pub mod blame;
pub mod callers;
mod few;
mod folding;
pub mod functions;
pub mod held_before;
pub mod mappings;
mod members;
pub mod overhead;
mod rules_text;
pub mod standby;
mod story;
mod style;
mod text;
pub mod unfinished;

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use crate::{
    context::{FaultEnds, Kernel},
    coverage::Coverage,
    durations::Distribution,
    model::{
        Model,
        faults::address_space::Cause,
        measures::Overlap,
        page_tables::shadow::{Counts, HAZARDS},
    },
    replay::{Engine, marks::Mark},
    untrusted::{clean, json},
    verdict::{Judged, RULES, Severity, Verdict},
};

pub use crate::numbers::{bytes, duration, grouped};
pub use story::{Line as StoryLine, Story, TAILS, describe, fields, text_of, vma_facts_text, walk_text};
pub use style::{Style, wrap};

/// The closing report. As JSON its fields are stable: docs/report.md.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The kernel that was watched.
    pub kernel: Kernel,
    /// Time from the first to the last event, seconds.
    pub seconds: f64,
    /// The part of a capture that was asked for; absent if it was all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// The filter; absent if every task's events were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Events.
    pub events: Events,
    /// Events for which the ring buffers had no room.
    pub lost: u64,
    /// Events that are missing because the kernel skipped the program's run.
    pub missed: u64,
    /// Places where the capture could not be read.
    pub gaps: u64,
    /// Records in the rings that no program of mmtrace can have written. Each may stand for a missing event.
    pub foreign: u64,
    /// What recording itself cost; absent without `--max-overhead`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording_cost: Option<overhead::RecordingCost>,
    /// Standby programs that were attached during the recording; absent if none were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub standby_attached: Vec<standby::StandbyRow>,
    /// Faults by cause.
    pub faults: BTreeMap<&'static str, u64>,
    /// Events that show when a fault has been handled.
    #[serde(skip)]
    pub fault_ends: Option<FaultEnds>,
    /// Time that faults in user mode took; absent if the end of none was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault_latency: Option<FaultLatency>,
    /// The share of all faults that `faults` counts; absent with `--no-validate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults_coverage: Option<Coverage>,
    /// Holds of mmap_locks, waits for them, and faults, by caller.
    #[serde(flatten)]
    pub callers: callers::Tables,
    /// Holds of mmap_locks and waits for them of 1 ms and more that were not over at the end; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<unfinished::UnfinishedRow>,
    /// Holds of mmap_locks for write that began before the recording, of 1 ms and more as far as they were seen; absent if
    /// there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_before: Vec<held_before::HeldBeforeRow>,
    /// Faults by mapping; absent if the events do not tell which mapping an address belongs to.
    #[serde(rename = "faults_by_mapping", skip_serializing_if = "Vec::is_empty")]
    pub mappings: Vec<mappings::MappingRow>,
    /// Faults by function; absent if no function was looked for.
    #[serde(rename = "faults_by_function", skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<functions::FunctionRow>,
    /// The labels that `mmtrace mark` put on the time line, oldest first; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<MarkRow>,
    /// Marks that came when there were too many to keep; absent if there were none.
    #[serde(skip_serializing_if = "is_zero")]
    pub marks_omitted: u64,
    /// Page tables and walks; absent if no event showed any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub walker: Option<Walker>,
    /// One entry per rule, in the order of `mmtrace rules`.
    pub rules: Vec<RuleReport>,
    /// The first violations of each rule.
    pub violations: Vec<Story>,
    /// `violated`: a rule was violated. `unknown`: no rule was, but too little of one could be judged, since events are
    /// missing or were shed, or no rule was evaluated. `held`: neither. Absent with `--no-validate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A part of a capture, as it was asked for. Times are nanoseconds from the start of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// It begins here.
    pub from_ns: u64,
    /// It ends here.
    pub to_ns: u64,
    /// The last event of the whole.
    pub of_ns: u64,
}

impl Part {
    /// Returns it in words: `a part was asked for: 1.000 s to 2.000 s of 5.012 s`.
    #[must_use]
    pub fn text(&self) -> String {
        let [from, to, of] = [self.from_ns, self.to_ns, self.of_ns].map(|ns| ns as f64 / 1e9);
        format!("a part was asked for: {from:.3} s to {to:.3} s of {of:.3} s")
    }
}

/// A label on the time line.
#[derive(Clone, Debug, Serialize)]
pub struct MarkRow {
    /// Time, nanoseconds from the start of the recording.
    pub at_ns: u64,
    /// The text; strange bytes are escaped.
    pub text: String,
}

/// Format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// As JSON.
    Json,
    /// For people: the answers first.
    Text,
    /// For people, with every rule and every kind of event.
    All,
}

impl Output {
    /// Returns what two options ask for.
    #[must_use]
    pub const fn of(json: bool, all: bool) -> Self {
        match (json, all) {
            (true, _) => Self::Json,
            (false, false) => Self::Text,
            (false, true) => Self::All,
        }
    }
}

impl MarkRow {
    fn new(mark: &Mark, start: u64) -> Self {
        Self { at_ns: mark.ts.saturating_sub(start), text: clean(&String::from_utf8_lossy(&mark.text)).into_owned() }
    }
}

/// Events of a report.
#[derive(Debug, Serialize)]
pub struct Events {
    /// Number of all events.
    pub(crate) total: u64,
    /// By kind. A kind that did not happen is absent.
    pub(crate) by_kind: BTreeMap<&'static str, u64>,
}

/// Page tables and the walker of a report.
#[derive(Debug, Serialize)]
pub struct Walker {
    /// Tables and `pte_offset_map` calls.
    #[serde(flatten)]
    pub counts: Counts,
    /// Number of times that each hazard of walks was met. A hazard that cannot be observed is absent.
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
    /// The verdict.
    pub verdict: Verdict,
    /// Number of evaluations.
    pub evaluations: u64,
    /// Number of times that it was broken; for a hazard, number of times that it was met.
    pub violations: u64,
    /// Number of times that it applied and could not be judged: what it needs to know began before recording, or events are
    /// missing.
    pub unjudged: u64,
    /// The severity.
    pub severity: Severity,
    /// Reason why the verdict is unknown or not observable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How much it could be judged for; absent if no event that it needs is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
    /// The distribution that a measure measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Distribution>,
    /// Time until which it was judged, nanoseconds from the start of the recording; absent unless events that it needs were
    /// shed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged_until_ns: Option<u64>,
    /// The coverage of a measure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// The longest intervals, for measures that know who waited for whom.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub worst: Vec<Overlap>,
}

/// Time that faults in user mode took, from the exception to the end of their handling. Time in which a fault waits, or is
/// tried again, is in it.
#[derive(Debug, Serialize)]
pub struct FaultLatency {
    /// Events that showed the ends: `functions`, the return of `handle_mm_fault()`; `software_events`, the kernel's count of
    /// handled faults, which counts none that fails.
    pub(crate) ends: &'static str,
    /// The distribution.
    #[serde(flatten)]
    pub(crate) took: Distribution,
    /// The share of the faults in user mode that did not fail.
    pub(crate) coverage: Coverage,
}

impl FaultLatency {
    fn new(engine: &Engine) -> Option<Self> {
        let ends = engine.context().fault_ends()?.name();
        let times = engine.callers()?.fault_times();
        Some(Self { ends, took: times.took.distribution()?, coverage: times.coverage() })
    }

    /// Returns it in one line.
    fn text(&self) -> String {
        let Distribution { p50_ns, p99_ns, max_ns, .. } = self.took;
        let [p50, p99, max] = [p50_ns, p99_ns, max_ns].map(duration);
        let of = self.coverage.text("faults").map_or_else(String::new, |of| format!("; of {of}"));
        let until = if self.ends == FaultEnds::SoftwareEvents.name() { ", until the kernel counts them" } else { "" };
        format!("they took, in user mode{until}: p50 {p50}, p99 {p99}, longest {max}{of}")
    }
}

impl Report {
    /// Makes the report of a stream.
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
                    judged: sink.judged(rule.id),
                    judged_until_ns: sink.ended(rule.id).map(|ended| ended.at_ns),
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
            part: None,
            filter: context.filter.clone(),
            events: Events { total: engine.total(), by_kind: engine.by_kind() },
            lost: engine.lost(),
            missed: engine.missed(),
            gaps: engine.gaps(),
            foreign: engine.foreign(),
            recording_cost: overhead::RecordingCost::of(engine),
            standby_attached: standby::rows(engine),
            faults,
            fault_ends: context.fault_ends(),
            fault_latency: FaultLatency::new(engine),
            faults_coverage: engine.model().map(Model::fault_coverage),
            callers: engine.callers().map_or_else(callers::Tables::default, |callers| {
                callers::Tables::new(callers, engine.tasks(), callers::By::Caller, context.start)
            }),
            unfinished: unfinished::rows(engine),
            held_before: held_before::rows(engine),
            mappings: mappings::rows(engine),
            functions: if engine.model().is_some_and(|model| model.mappings().has_functions()) {
                functions::rows(engine)
            } else {
                Vec::new()
            },
            marks: engine.marks().all().iter().map(|mark| MarkRow::new(mark, context.start)).collect(),
            marks_omitted: engine.marks().more(),
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

    /// Writes it.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn print(&self, as_what: Output, style: Style, out: &mut dyn Write) -> io::Result<()> {
        match as_what {
            Output::Json => {
                json(self, out)?;
                writeln!(out)
            }
            Output::Text => text::print(self, false, style, out),
            Output::All => text::print(self, true, style, out),
        }
    }
}
