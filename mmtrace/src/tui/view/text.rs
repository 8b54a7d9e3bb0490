//! Texts and bars: what views show beside lists.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Paragraph,
};

use super::{listing, scene::Scene};
use crate::tui::{drawn::Drawn, state::State, tone::Tone};

/// Draws lines side by side, all scrolled alike: a text has a row for every line that it can be scrolled to.
pub(super) fn text<const N: usize>(
    frame: &mut Frame<'_>,
    columns: [(Rect, Vec<Line<'static>>); N],
    state: &State,
) -> Drawn {
    let page = columns.iter().map(|(area, _)| usize::from(area.height)).max().unwrap_or(0);
    let longest = columns.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
    let hidden = if page == 0 { 0 } else { longest.saturating_sub(page) };
    let scrolled = state.current().selected.min(hidden);
    for (area, lines) in columns {
        frame.render_widget(Paragraph::new(lines).scroll((scrolled as u16, 0)), area);
    }
    Drawn { rows: hidden + 1, page, ..Drawn::default() }
}

/// A text in place of a view.
pub(super) fn note(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, what: &str, state: &State) -> Drawn {
    let lines = mmtrace_model::report::wrap(what, usize::from(area.width).max(8)).into_iter();
    text(frame, [(area, lines.map(|line| Line::from(scene.span(line, Tone::Plain))).collect())], state)
}

/// Writes a note below, if there is one and room for it; what is left above it.
pub(super) fn above_note(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, note: Option<&str>) -> Rect {
    /// Least height that has room for a note.
    const WITH_NOTE: u16 = 7;
    let Some(note) = note.filter(|_| area.height >= WITH_NOTE) else { return area };
    let [above, below] = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(area);
    let note = listing::cut(note, usize::from(area.width));
    frame.render_widget(Line::from(scene.span(note, Tone::Dim)), below);
    above
}

/// Seconds, with as many digits as matter.
pub(super) fn short(ns: u64) -> String {
    let s = ns as f64 / 1e9;
    if s < 10.0 { format!("{s:.2}s") } else { format!("{s:.1}s") }
}

/// Seconds with three digits.
#[must_use]
pub fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

/// Values as a row of bars, each as high as its part of the largest.
#[must_use]
pub fn bars(values: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let max = values.iter().copied().max().unwrap_or(0).max(1);
    let bar = |v: &u64| if *v == 0 { ' ' } else { BARS[((v * 7).div_ceil(max) as usize).min(7)] };
    values.iter().map(bar).collect()
}
