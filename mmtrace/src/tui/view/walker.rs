//! Page tables and the walker.

use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Paragraph, Wrap},
};

use super::{Drawn, Show, Tone};
use crate::{
    model::tables::{Counts, HAZARDS},
    report::grouped,
    tui::state::State,
    verdict::Verdict,
};

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, _: &State) -> Drawn {
    let lines = if show.has_functions() {
        lines(show, show.engine.model().map(|m| *m.tables()).unwrap_or_default())
    } else {
        vec![Line::from(
            "Page tables are not observable here: their birth, retraction and end, and what a walk finds, are seen \
             by function probes (fentry, kprobe), and this recording has tracepoints only. \"mmtrace doctor\" says \
             which probes there are and why others are not.",
        )]
    };
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
    Drawn { page: usize::from(area.height), ..Drawn::default() }
}

/// Counters, and the hazards of walks.
fn lines(show: &Show<'_>, counts: Counts) -> Vec<Line<'static>> {
    let number = |n: u64, tone: Tone| {
        let tone = if n == 0 { Tone::Dim } else { tone };
        show.span(format!("{:>12}  ", grouped(n)), tone)
    };
    let mut lines = Vec::new();
    let context = show.engine.context();
    let unseen = || show.span(format!("{:>12}  ", "-"), Tone::Dim);
    for (name, n, kinds) in counts.named() {
        let tone = if name == "divergences" { Tone::Bad } else { Tone::Plain };
        let told = kinds.iter().any(|kind| context.has(*kind));
        lines.push(Line::from(vec![if told { number(n, tone) } else { unseen() }, show.span(name, Tone::Plain)]));
    }
    for hazard in HAZARDS {
        let rule = hazard.rule();
        let met = match show.engine.sink() {
            Some(sink) if sink.verdict(hazard) != Verdict::NotObservable => {
                number(sink.violations(hazard), Tone::Doubt)
            }
            _ => unseen(),
        };
        lines.push(Line::from(vec![met, show.span(format!("{} {}", rule.name, rule.title), Tone::Plain)]));
    }
    lines
}
