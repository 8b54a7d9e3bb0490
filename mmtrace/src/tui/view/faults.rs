//! Page faults by process and region.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Paragraph,
};

use super::{
    Drawn, Show, Tone, bars,
    listing::{self, Cell, Column, Row, left, rest, right},
};
use crate::{
    model::space::Cause,
    report::wrap,
    stats::faults::{Process, REGION_SHIFT, Region},
    tui::state::State,
};

/// The columns.
pub const COLUMNS: &[Column] = &[
    right("pid", 7),
    right("faults", 11),
    right("for write", 11),
    right("first", 10),
    right("refault", 10),
    right("wp/cow", 10),
    right("spurious", 9),
    right("migration", 9),
    right("unknown", 10),
    left("state", 6),
];

const REGIONS: &[Column] =
    &[left("region (2 MiB)", 18), right("faults", 11), right("of entries", 10), right("VMAs set", 9), rest("", 10)];

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, state: &State) -> Drawn {
    let Some(stats) = show.engine.stats() else { return Drawn::default() };
    let how = state.current();
    if let Some(process) = how.inside.and_then(|pid| stats.faults.get(pid as u32)) {
        return regions(frame, area, show, state, process);
    }
    let mut processes: Vec<_> = stats.faults.iter().collect();
    processes.sort_by_key(|(pid, p)| (std::cmp::Reverse(p.total()), *pid));
    let rows = processes.into_iter().map(|(pid, p)| {
        let cause = |c: Cause| Cell::number(p.causes[c as usize]);
        Row {
            key: u64::from(pid),
            cells: vec![
                Cell { text: pid.to_string(), order: u64::from(pid), tone: Tone::Plain },
                Cell::number(p.total()),
                Cell::number(p.writes),
                cause(Cause::FirstTouch),
                cause(Cause::Refault),
                cause(Cause::WriteProtect),
                cause(Cause::Spurious),
                cause(Cause::Migration),
                cause(Cause::Unknown),
                Cell::text(if p.exited { "exited" } else { "" }).tone(Tone::Dim),
            ],
        }
    });
    listing::draw(frame, area, show, COLUMNS, rows.collect(), how)
}

/// A process: its address space as a strip, and region by region.
fn regions(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, state: &State, process: &Process) -> Drawn {
    let mut regions: Vec<_> = process.regions.iter().map(|(r, n)| (*r, *n)).collect();
    regions.sort_unstable_by_key(|(region, _)| *region);
    let strip = strip(show, &regions, area.width);
    let height = if area.height > 12 { strip.len() as u16 } else { 0 };
    let [top, list] = Layout::vertical([Constraint::Length(height), Constraint::Min(1)]).areas(area);
    frame.render_widget(Paragraph::new(strip), top);
    let most = regions.iter().map(|(_, n)| n.faults).max().unwrap_or(1).max(1);
    let rows = regions.into_iter().map(|(region, n)| Row {
        key: region,
        cells: vec![
            Cell { text: format!("{:#x}", region << REGION_SHIFT), order: region, tone: Tone::Plain },
            Cell::number(u64::from(n.faults)),
            Cell::number(u64::from(n.migration)),
            Cell::number(u64::from(n.vmas)),
            Cell::text("#".repeat((u64::from(n.faults) * 40).div_ceil(u64::from(most)) as usize)),
        ],
    });
    listing::draw(frame, list, show, REGIONS, rows.collect(), state.current())
}

/// The regions that anything happened in, side by side, with a row for each thing that did.
fn strip(show: &Show<'_>, regions: &[(u64, Region)], width: u16) -> Vec<Line<'static>> {
    const LABEL: usize = 12;
    let room = usize::from(width).saturating_sub(LABEL).max(1);
    let per = regions.len().div_ceil(room).max(1);
    let sums = |of: fn(&Region) -> u32| -> Vec<u64> {
        regions.chunks(per).map(|c| c.iter().map(|(_, r)| u64::from(of(r))).sum()).collect()
    };
    // Where a cell is not followed by the region that is next to it, there is a hole.
    let holes: String = regions
        .chunks(per)
        .scan(None, |before: &mut Option<u64>, chunk| {
            let first = chunk.first()?.0;
            let adjoins = before.is_none_or(|last| last + 1 == first);
            *before = chunk.last().map(|(r, _)| *r);
            Some(if adjoins { '─' } else { '┊' })
        })
        .collect();
    let row = |label: &str, of: fn(&Region) -> u32| {
        let values = sums(of);
        let tone = if values.iter().all(|n| *n == 0) { Tone::Dim } else { Tone::Plain };
        Line::from(show.span(format!("{label:<LABEL$}{}", bars(&values)), tone))
    };
    let cell = if per == 1 { "2 MiB".to_owned() } else { format!("{per} regions of 2 MiB") };
    let mut lines =
        vec![
            Line::from(show.span(
                format!("{} regions touched, {cell} to a character, ┊ a hole before it", regions.len()),
                Tone::Dim,
            )),
            row("faults", |r| r.faults),
            row("of entries", |r| r.migration),
            row("VMAs set", |r| r.vmas),
            Line::from(show.span(format!("{:<LABEL$}{holes}", ""), Tone::Dim)),
        ];
    let note = "of entries: on migration entries. Locks taken, retries and collapses by address need function probes.";
    lines.extend(wrap(note, usize::from(width).max(8)).into_iter().map(|l| Line::from(show.span(l, Tone::Dim))));
    lines
}
