//! mmap_locks.

use ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph};

use super::{
    Drawn, Show, Tone,
    listing::{self, Cell, Column, Row, rest, right},
};
use crate::{
    report::duration,
    stats::locks::{Holder, MmLock},
    tui::state::State,
};

/// The columns.
pub const COLUMNS: &[Column] = &[
    right("pid", 7),
    right("mm", 6),
    right("acquired", 10),
    right("R held p50", 10),
    right("R held p99", 10),
    right("W held p50", 10),
    right("W held p99", 10),
    right("R wait p99", 10),
    right("W wait p99", 10),
    right("longest", 9),
    rest("now", 20),
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
    let now = show.engine.span().map_or(0, |s| s.1);
    let rows = locks.into_iter().map(|(mm, lock)| Row {
        key: mm,
        cells: vec![
            Cell { text: lock.tgid.to_string(), order: u64::from(lock.tgid), tone: Tone::Plain },
            Cell { text: short_id(mm), order: mm, tone: Tone::Dim },
            Cell::number(lock.acquired()),
            Cell::duration(lock.read_hold.quantile(0.5)),
            Cell::duration(lock.read_hold.quantile(0.99)),
            Cell::duration(lock.write_hold.quantile(0.5)),
            Cell::duration(lock.write_hold.quantile(0.99)),
            Cell::duration(lock.read_wait.quantile(0.99)),
            Cell::duration(lock.write_wait.quantile(0.99)),
            Cell::duration(lock.longest.map_or(0, |(_, ns)| ns)),
            Cell::text(state_of(lock, now)),
        ],
    });
    listing::draw(frame, area, show, COLUMNS, rows.collect(), how)
}

/// What tells mms apart on a screen: the digits of the pointer that differ.
fn short_id(mm: u64) -> String {
    format!("{:05x}", (mm >> 6) & 0xf_ffff)
}

/// Who holds and who waits, in a few characters.
fn state_of(lock: &MmLock, now: u64) -> String {
    let readers = lock.holders.iter().filter(|h| !h.write).count();
    let writer = lock.holders.iter().find(|h| h.write);
    let since = |h: &Holder| duration(now.saturating_sub(h.since));
    let held = match (writer, readers) {
        (Some(w), _) => format!("W {} for {}", w.tid, since(w)),
        (None, 0) => "free".to_owned(),
        (None, 1) => format!("R {} for {}", lock.holders[0].tid, since(&lock.holders[0])),
        (None, n) => format!("{n} R for {}", since(&lock.holders[0])),
    };
    let wait = if lock.waiting.len() == 1 { "waits" } else { "wait" };
    if lock.waiting.is_empty() { held } else { format!("{held}, {} {wait}", lock.waiting.len()) }
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
        let at = |q: f64| if d.count() == 0 { "-".to_owned() } else { duration(d.quantile(q)) };
        lines.push(Line::from(format!(
            "  {name:<15} {:>11} times  p50 {:>8}  p90 {:>8}  p99 {:>8}  max {:>8}",
            crate::report::grouped(d.count()),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
        )));
    }
    lines.push(Line::from(format!("  failed trylocks {:>11}", crate::report::grouped(lock.failed))));
    if let Some((holder, ns)) = lock.longest {
        let how = if holder.write { "for write" } else { "for read" };
        lines.push(Line::from(format!("  longest hold: task {} {how}, {}", holder.tid, duration(ns))));
    }
    for (title, tasks) in [("holds it now", &lock.holders), ("waits for it", &lock.waiting)] {
        lines.push(Line::from(show.span(title, Tone::Strong)));
        if tasks.is_empty() {
            lines.push(Line::from(show.span("  nobody", Tone::Dim)));
        }
        lines.extend(tasks.iter().map(who));
    }
    lines
}
