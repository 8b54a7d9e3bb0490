//! Page faults by process and region.

use ratatui::{Frame, layout::Rect};

use super::{
    Drawn, Show, Tone,
    listing::{self, Cell, Column, Row, left, right},
};
use crate::{
    model::space::Cause,
    stats::faults::{Process, REGION_SHIFT},
    tui::state::State,
};

const COLUMNS: &[Column] = &[
    right("pid", 8),
    right("faults", 12),
    right("for write", 12),
    right("first", 11),
    right("refault", 11),
    right("wp/cow", 11),
    right("spurious", 10),
    right("migration", 10),
    right("unknown", 11),
    left("", 0),
];

const REGIONS: &[Column] = &[left("region (2 MiB)", 20), right("faults", 12), left("", 0)];

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

fn regions(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, state: &State, process: &Process) -> Drawn {
    let most = u64::from(process.regions.values().copied().max().unwrap_or(1)).max(1);
    let mut regions: Vec<_> = process.regions.iter().map(|(r, n)| (*r, u64::from(*n))).collect();
    regions.sort_unstable();
    let rows = regions.into_iter().map(|(region, n)| Row {
        key: region,
        cells: vec![
            Cell { text: format!("{:#x}", region << REGION_SHIFT), order: region, tone: Tone::Plain },
            Cell::number(n),
            Cell::text("#".repeat((n * 40).div_ceil(most) as usize)),
        ],
    });
    listing::draw(frame, area, show, REGIONS, rows.collect(), state.current())
}
