//! What goes on, what is held, what is missing.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Paragraph,
};

use super::{Drawn, Show, Tone, bars};
use crate::{
    model::space::Cause,
    report::{duration, grouped},
    stats::rates::Class,
    tui::state::State,
    verdict::{RULES, Verdict},
};

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, _: &State) -> Drawn {
    let lines = Class::ALL.len() as u16 + 1;
    let [top, bottom] = Layout::vertical([Constraint::Length(lines.min(area.height)), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(rates(show, top.width)), top);
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).spacing(2).areas(bottom);
    frame.render_widget(Paragraph::new(verdicts(show)), left);
    frame.render_widget(Paragraph::new(causes_and_locks(show)), right);
    Drawn { page: usize::from(area.height), ..Drawn::default() }
}

fn rates(show: &Show<'_>, width: u16) -> Vec<Line<'static>> {
    let Some(stats) = show.engine.stats() else { return Vec::new() };
    let room = usize::from(width).saturating_sub(26);
    Class::ALL
        .iter()
        .map(|class| {
            let last = stats.rates.last(*class, room);
            let now = stats.rates.now(*class);
            let tone = match class {
                Class::Loss if last.iter().any(|n| *n > 0) => Tone::Bad,
                _ if now == 0 => Tone::Dim,
                _ => Tone::Plain,
            };
            Line::from(vec![
                show.span(format!("{:<12}", class.name()), tone),
                show.span(format!("{:>10}/s ", grouped(now)), tone),
                show.span(bars(&last), tone),
            ])
        })
        .collect()
}

fn verdicts(show: &Show<'_>) -> Vec<Line<'static>> {
    let Some(sink) = show.engine.sink() else { return vec![Line::from("not judged")] };
    let [held, violated, unknown, blind] = sink.counts();
    let mut lines = vec![
        Line::from(show.span("Rules", Tone::Strong)),
        Line::from(show.span(format!("{held:>4} held"), Tone::Good)),
        Line::from(show.span(format!("{violated:>4} violated"), if violated > 0 { Tone::Bad } else { Tone::Dim })),
        Line::from(show.span(format!("{unknown:>4} unknown"), if unknown > 0 { Tone::Doubt } else { Tone::Dim })),
        Line::from(show.span(format!("{blind:>4} not observable here"), Tone::Dim)),
    ];
    for wanted in [Verdict::Violated, Verdict::Unknown] {
        for rule in RULES.iter().filter(|r| sink.verdict(r.id) == wanted) {
            let tone = if wanted == Verdict::Violated { Tone::Bad } else { Tone::Doubt };
            let why = match wanted {
                Verdict::Violated => format!("{} times", grouped(sink.violations(rule.id))),
                _ => sink.reason(rule.id).unwrap_or_default(),
            };
            lines.push(Line::from(show.span(format!("{} {}: {} {why}", rule.name, wanted.name(), rule.title), tone)));
        }
    }
    lines
}

fn causes_and_locks(show: &Show<'_>) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(show.span("Why pages are faulted", Tone::Strong))];
    if let Some(model) = show.engine.model() {
        let total: u64 = model.causes().iter().sum::<u64>().max(1);
        for (cause, n) in Cause::ALL.iter().zip(model.causes()) {
            let tone = if *n == 0 { Tone::Dim } else { Tone::Plain };
            let text = format!("{:<15} {:>12} {:>5.1}%", cause.name(), grouped(*n), *n as f64 * 100.0 / total as f64);
            lines.push(Line::from(show.span(text, tone)));
        }
    }
    lines.push(Line::from(show.span("mmap_locks under pressure", Tone::Strong)));
    if let Some(stats) = show.engine.stats() {
        let mut locks: Vec<_> = stats.locks.iter().collect();
        locks.sort_by_key(|(mm, lock)| (std::cmp::Reverse(lock.pressure()), *mm));
        for (_, lock) in locks.iter().take(4) {
            lines.push(Line::from(format!(
                "pid {:<8} writers wait p99 {:>8}, readers {:>8}",
                lock.tgid,
                duration(lock.write_wait.quantile(0.99)),
                duration(lock.read_wait.quantile(0.99)),
            )));
        }
    }
    lines
}
