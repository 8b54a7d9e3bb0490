//! What recording itself cost, and which events it gave up for that.

use std::io::{self, Write};

use serde::Serialize;

use super::{Style, grouped};
use crate::replay::Engine;

/// The cost of a recording with `--max-overhead`. Percentages are of the CPU time of all online CPUs.
#[derive(Debug, Serialize)]
pub struct RecordingCost {
    /// The limit.
    pub max_overhead_percent: f64,
    /// The cost over the whole recording.
    pub percent: f64,
    /// Of that, in the eBPF programs.
    pub programs_percent: f64,
    /// Of that, in mmtrace itself.
    pub mmtrace_percent: f64,
    /// The cost of the second that cost most.
    pub most_percent: f64,
    /// Number of seconds that were measured; the last one may be shorter.
    pub seconds: u64,
    /// Number of seconds that cost more than the limit, and after which nothing was left to shed.
    pub seconds_above: u64,
    /// Events that were shed, in the order in which they were; absent if none were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shed: Vec<ShedRow>,
}

/// Events that were shed together.
#[derive(Debug, Serialize)]
pub struct ShedRow {
    /// The events.
    pub events: Vec<&'static str>,
    /// Time until which they were recorded, nanoseconds from the start of the recording.
    pub at_ns: u64,
    /// The cost of the second before, percent; 0 if not known.
    pub percent: f64,
}

impl RecordingCost {
    /// Returns what the records of a stream tell of it; `None` without `--max-overhead`.
    #[must_use]
    pub fn of(engine: &Engine) -> Option<Self> {
        let overhead = engine.overhead();
        let total = overhead.total();
        let mut shed: Vec<ShedRow> = Vec::new();
        for one in overhead.ended() {
            let at_ns = one.ts.saturating_sub(engine.context().start);
            match shed.last_mut().filter(|row| row.at_ns == at_ns) {
                Some(row) => row.events.push(one.kind.name()),
                None => shed.push(ShedRow { events: vec![one.kind.name()], at_ns, percent: one.cost.percent() }),
            }
        }
        Some(Self {
            max_overhead_percent: f64::from(overhead.limit()?) / 100.0,
            percent: total.percent(),
            programs_percent: total.percent_of(total.programs_ns),
            mmtrace_percent: total.percent_of(total.mmtrace_ns),
            most_percent: overhead.most().map_or(0.0, |most| most.percent()),
            seconds: overhead.windows(),
            seconds_above: overhead.unanswered(),
            shed,
        })
    }

    /// Returns what was shed and when, in lines.
    #[must_use]
    pub fn shed_lines(&self) -> Vec<String> {
        let line = |row: &ShedRow| {
            let (events, seconds) = (row.events.join(", "), row.at_ns as f64 / 1e9);
            format!("shed at {seconds:.1} s: {events}; rules and figures that need them cover the time before")
        };
        self.shed.iter().map(line).collect()
    }

    /// Writes it, for people. `cpus` is their number.
    pub(super) fn print(&self, cpus: u32, style: Style, out: &mut dyn Write) -> io::Result<()> {
        let limit = self.max_overhead_percent;
        if self.seconds == 0 {
            writeln!(out, "recording cost: not measured (--max-overhead {limit})")?;
        } else {
            writeln!(
                out,
                "recording cost {:.1} % of {cpus} CPUs: programs {:.1} %, mmtrace {:.1} %; most in a second {:.1} %; limit \
                 {limit} % (--max-overhead)",
                self.percent, self.programs_percent, self.mmtrace_percent, self.most_percent
            )?;
        }
        for line in self.shed_lines() {
            writeln!(out, "  {}", style.bad(&line))?;
        }
        if self.seconds_above > 0 {
            let (above, all) = (grouped(self.seconds_above), grouped(self.seconds));
            let text = format!("above the limit in {above} of {all} seconds, with nothing left to shed");
            writeln!(out, "  {}", style.bad(&text))?;
        }
        Ok(())
    }
}
