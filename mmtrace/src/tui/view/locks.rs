//! mmap_locks.

use ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph};

use super::{
    Drawn, Show, Tone,
    listing::{self, Cell, Column, Row, left, right},
};
use crate::{
    report::duration,
    stats::locks::{Holder, MmLock},
    tui::state::State,
};

const COLUMNS: &[Column] = &[
    right("pid", 8),
    right("acquired", 11),
    right("R hold p50", 10),
    right("p99", 8),
    right("W hold p50", 10),
    right("p99", 8),
    right("R wait p99", 10),
    right("W wait p99", 10),
    right("longest", 8),
    left("now", 0),
];

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, state: &State) -> Drawn {
    let Some(stats) = show.engine.stats() else { return Drawn::default() };
    let how = state.current();
    if let Some((mm, lock)) = how.inside.and_then(|mm| Some((mm, stats.locks.get(mm)?))) {
        frame.render_widget(Paragraph::new(inside(show, mm, lock)), area);
        return Drawn { page: usize::from(area.height), ..Drawn::default() };
    }
    let mut locks: Vec<_> = stats.locks.iter().collect();
    locks.sort_by_key(|(mm, lock)| (std::cmp::Reverse(lock.acquired()), *mm));
    let rows = locks.into_iter().map(|(mm, lock)| Row {
        key: mm,
        cells: vec![
            Cell { text: lock.tgid.to_string(), order: u64::from(lock.tgid), tone: Tone::Plain },
            Cell::number(lock.acquired()),
            Cell::duration(lock.read_hold.quantile(0.5)),
            Cell::duration(lock.read_hold.quantile(0.99)),
            Cell::duration(lock.write_hold.quantile(0.5)),
            Cell::duration(lock.write_hold.quantile(0.99)),
            Cell::duration(lock.read_wait.quantile(0.99)),
            Cell::duration(lock.write_wait.quantile(0.99)),
            Cell::duration(lock.longest.map_or(0, |(_, ns)| ns)),
            Cell::text(now(lock)),
        ],
    });
    listing::draw(frame, area, show, COLUMNS, rows.collect(), how)
}

/// Who holds and who waits, in a few characters.
fn now(lock: &MmLock) -> String {
    let readers = lock.holders.iter().filter(|h| !h.write).count();
    let writer = lock.holders.iter().find(|h| h.write);
    let held = match (writer, readers) {
        (Some(w), _) => format!("W {}", w.tid),
        (None, 0) => String::new(),
        (None, n) => format!("{n} R"),
    };
    if lock.waiting.is_empty() { held } else { format!("{held} <- {} wait", lock.waiting.len()) }
}

fn inside(show: &Show<'_>, mm: u64, lock: &MmLock) -> Vec<Line<'static>> {
    let now = show.engine.span().map_or(0, |s| s.1);
    let who = |h: &Holder| {
        let how = if h.write { "for write" } else { "for read" };
        Line::from(format!("  task {:<8} {how:<9} since {}", h.tid, duration(now.saturating_sub(h.since))))
    };
    let mut lines = vec![Line::from(show.span(format!("mmap_lock of pid {}, mm {mm:#x}", lock.tgid), Tone::Strong))];
    for (name, d) in [
        ("held for read", &lock.read_hold),
        ("held for write", &lock.write_hold),
        ("readers waited", &lock.read_wait),
        ("writers waited", &lock.write_wait),
    ] {
        lines.push(Line::from(format!(
            "  {name:<15} {:>11} times  p50 {:>8}  p90 {:>8}  p99 {:>8}  max {:>8}",
            crate::report::grouped(d.count()),
            duration(d.quantile(0.5)),
            duration(d.quantile(0.9)),
            duration(d.quantile(0.99)),
            duration(d.max()),
        )));
    }
    lines.push(Line::from(format!("  failed trylocks {:>11}", crate::report::grouped(lock.failed))));
    if let Some((holder, ns)) = lock.longest {
        let how = if holder.write { "for write" } else { "for read" };
        lines.push(Line::from(format!("  longest hold: task {} {how}, {}", holder.tid, duration(ns))));
    }
    lines.push(Line::from(show.span("holds it now", Tone::Strong)));
    lines.extend(lock.holders.iter().map(who));
    lines.push(Line::from(show.span("waits for it", Tone::Strong)));
    lines.extend(lock.waiting.iter().map(who));
    lines
}
