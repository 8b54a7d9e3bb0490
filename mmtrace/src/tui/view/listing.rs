//! A list of rows: sorted, filtered, scrolled, one of them selected.

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::Modifier,
    widgets::{Cell as Drawable, Row as DrawableRow, Table, TableState},
};

use super::{Drawn, Show, Tone};
use crate::tui::state::Rows;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// At its head.
    pub name: &'static str,
    /// In characters; 0: what is left.
    pub width: u16,
    /// Numbers are aligned to the right.
    pub right: bool,
}

/// A column of text.
#[must_use]
pub const fn left(name: &'static str, width: u16) -> Column {
    Column { name, width, right: false }
}

/// A column of numbers.
#[must_use]
pub const fn right(name: &'static str, width: u16) -> Column {
    Column { name, width, right: true }
}

/// A cell: what is shown, what it is sorted by, how it is to be understood.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Shown.
    pub text: String,
    /// Sorted by; texts by themselves if this is 0 everywhere.
    pub order: u64,
    /// Understood.
    pub tone: Tone,
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), order: 0, tone: Tone::Plain }
    }

    /// A number.
    #[must_use]
    pub fn number(n: u64) -> Self {
        Self { text: crate::report::grouped(n), order: n, tone: if n == 0 { Tone::Dim } else { Tone::Plain } }
    }

    /// A duration, nanoseconds.
    #[must_use]
    pub fn duration(ns: u64) -> Self {
        let text = if ns == 0 { "-".to_owned() } else { crate::report::duration(ns) };
        Self { text, order: ns, tone: if ns == 0 { Tone::Dim } else { Tone::Plain } }
    }

    /// In another tone.
    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is about.
    pub key: u64,
    /// As many as there are columns.
    pub cells: Vec<Cell>,
}

/// Sorts and filters as the user wants it.
fn arrange(mut rows: Vec<Row>, how: &Rows) -> Vec<Row> {
    if !how.filter.is_empty() {
        let wanted = how.filter.to_lowercase();
        rows.retain(|row| row.cells.iter().any(|c| c.text.to_lowercase().contains(&wanted)));
    }
    if let Some(column) = how.sort {
        // Largest first, texts from a to z.
        rows.sort_by(|a, b| match (a.cells.get(column), b.cells.get(column)) {
            (Some(a), Some(b)) => b.order.cmp(&a.order).then_with(|| a.text.cmp(&b.text)),
            _ => std::cmp::Ordering::Equal,
        });
    }
    if how.reverse {
        rows.reverse();
    }
    rows
}

/// Which columns there is room for. Those at the right go first; the first two and the one that
/// takes what is left stay.
fn fitting(columns: &[Column], room: u16) -> Vec<usize> {
    const LEFT_OVER: u16 = 16;
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let needed = |kept: &[usize]| -> u16 {
        kept.iter().map(|i| if columns[*i].width == 0 { LEFT_OVER } else { columns[*i].width } + 1).sum()
    };
    while needed(&kept) > room {
        let Some(last) = kept.iter().rposition(|i| *i > 1 && columns[*i].width > 0) else { break };
        kept.remove(last);
    }
    kept
}

/// Draws a list.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    show: &Show<'_>,
    columns: &[Column],
    rows: Vec<Row>,
    how: &Rows,
) -> Drawn {
    let rows = arrange(rows, how);
    let page = usize::from(area.height.saturating_sub(1));
    let selected = how.selected.min(rows.len().saturating_sub(1));
    let drawn = Drawn { rows: rows.len(), columns: columns.len(), page, key: rows.get(selected).map(|r| r.key) };
    // Only what can be seen is made into widgets.
    let first = selected.saturating_sub(page.saturating_sub(1));
    let pad = |text: &str, c: &Column| {
        if c.right { format!("{text:>width$}", width = usize::from(c.width)) } else { text.to_owned() }
    };
    let kept = fitting(columns, area.width);
    let visible = rows.iter().skip(first).take(page).map(|row| {
        let cells = kept.iter().filter_map(|i| Some((row.cells.get(*i)?, &columns[*i])));
        DrawableRow::new(cells.map(|(cell, c)| Drawable::new(pad(&cell.text, c)).style(show.style(cell.tone))))
    });
    let head = kept.iter().map(|i| {
        let c = &columns[*i];
        let mark = match (how.sort == Some(*i), how.reverse) {
            (true, false) => "v",
            (true, true) => "^",
            _ => "",
        };
        Drawable::new(pad(&format!("{}{mark}", c.name), c))
    });
    let widths = kept.iter().map(|i| match columns[*i].width {
        0 => Constraint::Fill(1),
        width => Constraint::Length(width),
    });
    let table = Table::new(visible.collect::<Vec<_>>(), widths)
        .header(DrawableRow::new(head).style(show.style(Tone::Strong)))
        .row_highlight_style(ratatui::style::Style::new().add_modifier(Modifier::REVERSED))
        .column_spacing(1);
    let mut state = TableState::new();
    if !rows.is_empty() {
        state.select(Some(selected - first));
    }
    frame.render_stateful_widget(table, area, &mut state);
    drawn
}
