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
    scene::Scene,
    text::{note, text},
};
use crate::tui::{drawn::Drawn, state::State, tone::Tone};

/// Draws the view.
pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, state: &State) -> Drawn {
    if !scene.has_functions() {
        let why = "Page tables are not observable here: their birth, retraction and end, and what a walk finds, are \
                   seen by function probes (fentry, kprobe), and this recording has tracepoints only. \"mmtrace \
                   doctor\" says which probes there are and why others are not.";
        return note(frame, area, scene, why, state);
    }
    let counts = scene.engine.model().map(|m| *m.tables()).unwrap_or_default();
    text(frame, [(area, lines(scene, counts, usize::from(area.width)))], state)
}

/// Before what is counted, the number.
const FRONT: usize = 14;

/// Counters, and the hazards of walks.
fn lines(scene: &Scene<'_>, counts: Counts, width: usize) -> Vec<Line<'static>> {
    let number = |n: u64, tone: Tone| {
        let tone = if n == 0 { Tone::Dim } else { tone };
        scene.span(format!("{:>12}  ", grouped(n)), tone)
    };
    let line = |number: Span<'static>, what: &str| {
        let mut front = Some(number);
        wrap(what, width.saturating_sub(FRONT).max(8))
            .into_iter()
            .map(|part| {
                let front = front.take().unwrap_or_else(|| scene.span(" ".repeat(FRONT), Tone::Plain));
                Line::from(vec![front, scene.span(part, Tone::Plain)])
            })
            .collect::<Vec<_>>()
    };
    let context = scene.engine.context();
    let unseen = || scene.span(format!("{:>12}  ", "-"), Tone::Dim);
    let mut lines = Vec::new();
    for (name, n, kinds) in counts.named() {
        let tone = if name == "divergences" { Tone::Bad } else { Tone::Plain };
        let told = kinds.iter().any(|kind| context.has(*kind));
        lines.extend(line(if told { number(n, tone) } else { unseen() }, name));
    }
    for hazard in HAZARDS {
        let rule = hazard.rule();
        let met = match scene.engine.sink() {
            Some(sink) if sink.verdict(hazard) != Verdict::NotObservable => {
                number(sink.violations(hazard), Tone::Doubt)
            }
            _ => unseen(),
        };
        lines.extend(line(met, &format!("{} {}", rule.name, rule.title)));
    }
    lines
}
