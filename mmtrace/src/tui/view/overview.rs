//! What goes on, what is held, what is missing.

use mmtrace_common::Kind;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Paragraph,
};

use super::{Drawn, Show, Tone, bars, listing::cut};
use crate::{
    model::space::Cause,
    report::{duration, grouped},
    stats::rates::Class,
    tui::state::State,
    verdict::{RULES, Severity, Verdict},
};

/// A part of the overview.
pub struct Panel {
    /// In layouts.
    pub name: &'static str,
    /// It takes the whole width.
    wide: bool,
    lines: fn(&Show<'_>, u16) -> Vec<Line<'static>>,
}

/// Every part.
pub const PANELS: [Panel; 4] = [
    Panel { name: "rates", wide: true, lines: rates },
    Panel { name: "verdicts", wide: false, lines: verdicts },
    Panel { name: "causes", wide: false, lines: causes },
    Panel { name: "locks", wide: false, lines: locks },
];

/// Locks that are shown.
const LOCKS: usize = 4;

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, _: &State) -> Drawn {
    let names = &show.layout.view(show.view).panels;
    let chosen: Vec<&Panel> = if names.is_empty() {
        PANELS.iter().collect()
    } else {
        names.iter().filter_map(|name| PANELS.iter().find(|p| p.name == *name)).collect()
    };
    let mut left = area;
    let mut take = |lines: usize| {
        let [top, bottom] = Layout::vertical([Constraint::Length(lines as u16), Constraint::Min(0)]).areas(left);
        left = bottom;
        top
    };
    for panel in chosen.iter().filter(|p| p.wide) {
        let lines = (panel.lines)(show, area.width);
        let place = take(lines.len() + 1);
        frame.render_widget(Paragraph::new(lines), place);
    }
    // The first of the others has a column of its own, the rest share one.
    let narrow: Vec<&&Panel> = chosen.iter().filter(|p| !p.wide).collect();
    let [one, other] =
        Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).spacing(2).areas(left);
    if let Some((first, rest)) = narrow.split_first() {
        frame.render_widget(Paragraph::new((first.lines)(show, one.width)), one);
        let lines: Vec<Line<'_>> = rest.iter().flat_map(|p| (p.lines)(show, other.width)).collect();
        frame.render_widget(Paragraph::new(lines), other);
    }
    Drawn { page: usize::from(area.height), ..Drawn::default() }
}

fn rates(show: &Show<'_>, width: u16) -> Vec<Line<'static>> {
    let Some(stats) = show.engine.stats() else { return Vec::new() };
    let room = usize::from(width).saturating_sub(26);
    let names = &show.layout.view(show.view).rates;
    let chosen = Class::ALL.iter().filter(|c| names.is_empty() || names.iter().any(|n| n == c.name()));
    chosen
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

fn verdicts(show: &Show<'_>, width: u16) -> Vec<Line<'static>> {
    let width = usize::from(width);
    let Some(sink) = show.engine.sink() else { return vec![Line::from("not judged")] };
    let [held, violated, unknown, blind] = sink.counts();
    let count = |n: usize, what: &str, tone| {
        Line::from(show.span(format!("{n:>4} {what}"), if n > 0 { tone } else { Tone::Dim }))
    };
    let mut lines = vec![
        Line::from(show.span("Rules", Tone::Strong)),
        count(held, "held", Tone::Good),
        count(violated, "violated", Tone::Bad),
        count(unknown, "unknown", Tone::Doubt),
        count(blind, "not observable here", Tone::Dim),
    ];
    for rule in RULES.iter().filter(|r| sink.verdict(r.id) == Verdict::Violated) {
        let times = grouped(sink.violations(rule.id));
        let text = format!("{} VIOLATED {times} times: {}", rule.name, rule.title);
        lines.push(Line::from(show.span(cut(&text, width), Tone::Bad)));
    }
    for rule in RULES.iter().filter(|r| r.severity == Severity::Hazard && sink.violations(r.id) > 0) {
        let text = format!("{} met {} times: {}", rule.name, grouped(sink.violations(rule.id)), rule.title);
        lines.push(Line::from(show.span(cut(&text, width), Tone::Plain)));
    }
    // Why the others are unknown: one line for all that nothing happened to.
    let unknown = RULES.iter().filter(|r| r.severity != Severity::Measure && sink.verdict(r.id) == Verdict::Unknown);
    let (idle, missing): (Vec<_>, Vec<_>) =
        unknown.partition(|r| sink.reason(r.id).is_none_or(|why| why.starts_with("never evaluated: nothing")));
    for rule in missing {
        let why = sink.reason(rule.id).unwrap_or_default();
        lines.push(Line::from(show.span(cut(&format!("{} unknown: {why}", rule.name), width), Tone::Doubt)));
    }
    if !idle.is_empty() {
        let names: Vec<&str> = idle.iter().map(|r| r.name).collect();
        let text = format!("unknown, as nothing happened: {}", names.join(" "));
        lines.extend(crate::report::wrap(&text, width.max(8)).into_iter().map(|l| Line::from(show.span(l, Tone::Dim))));
    }
    lines
}

fn causes(show: &Show<'_>, width: u16) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(show.span("Why pages are faulted", Tone::Strong))];
    if let Some(model) = show.engine.model() {
        let total: u64 = model.causes().iter().sum::<u64>().max(1);
        for (cause, n) in Cause::ALL.iter().zip(model.causes()).filter(|(_, n)| **n > 0) {
            let name = cause.name().replace('_', " ");
            let text = format!("{name:<15} {:>12} {:>5.1}%", grouped(*n), *n as f64 * 100.0 / total as f64);
            lines.push(Line::from(text));
        }
    }
    if lines.len() == 1 {
        lines.push(Line::from(show.span("none yet", Tone::Dim)));
    }
    if !show.engine.context().has(Kind::HandleMmFaultReturn) {
        let text = "latency: not observable by tracepoints: none is at a fault's end";
        lines.push(Line::from(show.span(cut(text, usize::from(width)), Tone::Dim)));
    }
    lines
}

fn locks(show: &Show<'_>, width: u16) -> Vec<Line<'static>> {
    let title = cut("mmap_locks most waited for: p99", usize::from(width));
    let mut lines = vec![Line::from(show.span(title, Tone::Strong))];
    let Some(stats) = show.engine.stats() else { return lines };
    let mut locks: Vec<_> = stats.locks.iter().collect();
    locks.sort_by_key(|(mm, lock)| (std::cmp::Reverse(lock.pressure()), *mm));
    for (_, lock) in locks.iter().take(LOCKS) {
        let wait = |d: &crate::stats::locks::Durations| {
            if d.count() == 0 { "-".to_owned() } else { duration(d.quantile(0.99)) }
        };
        let (read, write) = (wait(&lock.read_wait), wait(&lock.write_wait));
        let text = format!("pid {:<7} R {read:>7}  W {write:>7}", lock.tgid);
        lines.push(Line::from(cut(&text, usize::from(width))));
    }
    lines
}
