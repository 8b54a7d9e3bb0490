//! Every rule with its verdict.

use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Paragraph, Wrap},
};

use super::{
    Drawn, Show, Tone,
    listing::{self, Cell, Column, Row, left, right},
    seconds,
};
use crate::{
    report::{Story, Style},
    tui::state::State,
    verdict::{RULES, Rule, Sink, Verdict},
};

const COLUMNS: &[Column] = &[
    left("rule", 5),
    left("verdict", 15),
    right("evaluated", 13),
    right("violated", 9),
    right("last", 12),
    left("title", 0),
];

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, state: &State) -> Drawn {
    let Some(sink) = show.engine.sink() else { return Drawn::default() };
    let how = state.current();
    if let Some(rule) = how.inside.and_then(|i| RULES.get(i as usize)) {
        let lines = inside(show, sink, rule);
        let drawn = Drawn { rows: lines.len(), page: usize::from(area.height), ..Drawn::default() };
        let scroll = how.selected.min(lines.len().saturating_sub(1)) as u16;
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).scroll((scroll, 0)), area);
        return drawn;
    }
    let start = show.engine.span().map_or(0, |s| s.0);
    let rows = RULES.iter().enumerate().map(|(i, rule)| {
        let verdict = sink.verdict(rule.id);
        let last = sink.last(rule.id);
        Row {
            key: i as u64,
            cells: vec![
                Cell::text(rule.name),
                Cell::text(verdict.name()).tone(tone(verdict)),
                Cell::number(sink.evaluations(rule.id)),
                Cell::number(sink.violations(rule.id)),
                Cell {
                    text: if last == 0 { "-".to_owned() } else { seconds(last.saturating_sub(start)) },
                    order: last,
                    tone: Tone::Dim,
                },
                Cell::text(rule.title),
            ],
        }
    });
    listing::draw(frame, area, show, COLUMNS, rows.collect(), how)
}

const fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Held => Tone::Good,
        Verdict::Violated => Tone::Bad,
        Verdict::Unknown => Tone::Doubt,
        Verdict::NotObservable => Tone::Dim,
    }
}

fn inside(show: &Show<'_>, sink: &Sink, rule: &Rule) -> Vec<Line<'static>> {
    let verdict = sink.verdict(rule.id);
    let mut lines = vec![
        Line::from(vec![
            show.span(format!("{} {}  ", rule.name, rule.title), Tone::Strong),
            show.span(verdict.name(), tone(verdict)),
        ]),
        Line::from(rule.statement),
        Line::from(show.span(format!("why: {}", rule.why), Tone::Dim)),
        Line::from(show.span(format!("source: {}", rule.source), Tone::Dim)),
        Line::from(show.span(format!("no false alarm: {}", rule.sound), Tone::Dim)),
    ];
    if let Some(reason) = sink.reason(rule.id) {
        lines.push(Line::from(show.span(reason, Tone::Doubt)));
    }
    for violation in sink.kept().filter(|v| v.rule == rule.id) {
        lines.push(Line::default());
        let mut text = Vec::new();
        // Writing into memory does not fail.
        let _ = Story::new(violation, show.engine.context()).print(Style::plain(), &mut text);
        lines.extend(String::from_utf8_lossy(&text).lines().map(|l| Line::from(l.to_owned())));
    }
    lines
}
