//! The stream.

use mmtrace_common::Record;
use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Paragraph, Wrap},
};

use super::{
    Drawn, Show, Tone,
    listing::{self, Cell, Column, Row, left, right},
};
use crate::{context::Context, report::describe, tui::state::State};

const COLUMNS: &[Column] =
    &[right("time", 14), right("cpu", 4), right("pid", 8), right("tid", 8), left("event", 28), left("fields", 0)];

/// Events that are offered.
const NEWEST: usize = 4096;

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, state: &State) -> Drawn {
    let Some(sink) = show.engine.sink() else { return Drawn::default() };
    let how = state.current();
    let context = show.engine.context();
    let start = show.engine.span().map_or(0, |s| s.0);
    let recent = sink.recent(NEWEST);
    if let Some(key) = how.inside {
        let record = recent.iter().find(|r| key_of(r) == key);
        let lines = record.map_or_else(|| vec![Line::from("it has gone by")], |r| details(context, r, start));
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
        return Drawn { page: usize::from(area.height), ..Drawn::default() };
    }
    // Newest first: there the eye is, and there it stays.
    let rows = recent.iter().rev().map(|record| row(context, record, start));
    listing::draw(frame, area, show, COLUMNS, rows.collect(), how)
}

/// What an event carries.
fn fields(record: &Record, context: &Context) -> String {
    let text = describe(record, context);
    text.split_once(' ').map_or_else(String::new, |(_, fields)| fields.to_owned())
}

/// What tells events apart.
fn key_of(record: &Record) -> u64 {
    record.ts ^ u64::from(record.tid) << 40 ^ u64::from(record.kind) << 56
}

fn row(context: &Context, record: &Record, start: u64) -> Row {
    let tone = if record.kind().is_some_and(mmtrace_common::Kind::is_synthetic) { Tone::Bad } else { Tone::Plain };
    Row {
        key: key_of(record),
        cells: vec![
            Cell { text: format!("{:.6}", record.ts.saturating_sub(start) as f64 / 1e9), order: record.ts, tone },
            Cell { text: record.cpu.to_string(), order: u64::from(record.cpu), tone },
            Cell { text: record.tgid.to_string(), order: u64::from(record.tgid), tone },
            Cell { text: record.tid.to_string(), order: u64::from(record.tid), tone },
            Cell::text(record.kind().map_or("?", mmtrace_common::Kind::name)).tone(tone),
            Cell::text(fields(record, context)).tone(tone),
        ],
    }
}

fn details(context: &Context, record: &Record, start: u64) -> Vec<Line<'static>> {
    let mut lines = vec![
        Line::from(record.kind().map_or("?", mmtrace_common::Kind::name)),
        Line::from(format!(
            "  time  {} ns, {:.6} s from the start",
            record.ts,
            record.ts.saturating_sub(start) as f64 / 1e9
        )),
        Line::from(format!("  cpu   {}", record.cpu)),
        Line::from(format!("  task  pid {}, tid {}", record.tgid, record.tid)),
        Line::from(format!("  mm    {:#x}", record.mm)),
    ];
    lines.extend(fields(record, context).split_whitespace().map(|field| Line::from(format!("  {field}"))));
    lines
}
