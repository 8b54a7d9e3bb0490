//! Page tables and the walker.

use mmtrace_model::{
    model::page_tables::shadow::{Counts, HAZARDS},
    report::{grouped, wrap},
    verdict::Verdict,
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    show::Show,
    text::{note, text},
};
use crate::tui::{drawn::Drawn, state::State, tone::Tone};

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, state: &State) -> Drawn {
    if !show.has_functions() {
        let why = "Page tables are not observable here: their birth, retraction and end, and what a walk finds, are \
                   seen by function probes (fentry, kprobe), and this recording has tracepoints only. \"mmtrace \
                   doctor\" says which probes there are and why others are not.";
        return note(frame, area, show, why, state);
    }
    let counts = show.engine.model().map(|m| *m.tables()).unwrap_or_default();
    text(frame, [(area, lines(show, counts, usize::from(area.width)))], state)
}

/// Before what is counted, the number.
const FRONT: usize = 14;

/// Counters, and the hazards of walks.
fn lines(show: &Show<'_>, counts: Counts, width: usize) -> Vec<Line<'static>> {
    let number = |n: u64, tone: Tone| {
        let tone = if n == 0 { Tone::Dim } else { tone };
        show.span(format!("{:>12}  ", grouped(n)), tone)
    };
    let line = |number: Span<'static>, what: &str| {
        let mut front = Some(number);
        wrap(what, width.saturating_sub(FRONT).max(8))
            .into_iter()
            .map(|part| {
                let front = front.take().unwrap_or_else(|| show.span(" ".repeat(FRONT), Tone::Plain));
                Line::from(vec![front, show.span(part, Tone::Plain)])
            })
            .collect::<Vec<_>>()
    };
    let context = show.engine.context();
    let unseen = || show.span(format!("{:>12}  ", "-"), Tone::Dim);
    let mut lines = Vec::new();
    for (name, n, kinds) in counts.named() {
        let tone = if name == "divergences" { Tone::Bad } else { Tone::Plain };
        let told = kinds.iter().any(|kind| context.has(*kind));
        lines.extend(line(if told { number(n, tone) } else { unseen() }, name));
    }
    for hazard in HAZARDS {
        let rule = hazard.rule();
        let met = match show.engine.sink() {
            Some(sink) if sink.verdict(hazard) != Verdict::NotObservable => {
                number(sink.violations(hazard), Tone::Doubt)
            }
            _ => unseen(),
        };
        lines.extend(line(met, &format!("{} {}", rule.name, rule.title)));
    }
    lines
}
