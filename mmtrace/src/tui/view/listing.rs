//! A list of rows: sorted, filtered, scrolled, one of them selected.

use mmtrace_model::{context::Context, untrusted::clean};
use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::Modifier,
    widgets::{Cell as Drawable, Row as DrawableRow, Table, TableState},
};

use super::scene::Scene;
use crate::tui::{column::Column, drawn::Drawn, layout::View, state::Rows, tone::Tone};

/// A cell: what is shown, what it is sorted by, how it is to be understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    /// Shown.
    pub(crate) text: String,
    /// Sorted by; texts by themselves if this is 0 everywhere.
    pub(crate) order: u64,
    /// Understood.
    pub(crate) tone: Tone,
}

impl Cell {
    /// A text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), order: 0, tone: Tone::Plain }
    }

    /// A number.
    #[must_use]
    pub(crate) fn number(n: u64) -> Self {
        Self { text: mmtrace_model::report::grouped(n), order: n, tone: if n == 0 { Tone::Dim } else { Tone::Plain } }
    }

    /// A duration, nanoseconds.
    #[must_use]
    pub(crate) fn duration(ns: u64) -> Self {
        let text = if ns == 0 { "-".to_owned() } else { mmtrace_model::report::duration(ns) };
        Self { text, order: ns, tone: if ns == 0 { Tone::Dim } else { Tone::Plain } }
    }

    /// A number, where it can be known.
    #[must_use]
    pub(crate) fn known(n: Option<u64>) -> Self {
        n.map_or_else(Self::none, Self::number)
    }

    /// Nothing is known.
    #[must_use]
    pub(crate) fn none() -> Self {
        Self::text("-").tone(Tone::Dim)
    }

    /// In another tone.
    #[must_use]
    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// A row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Key of the thing that the row shows.
    pub(crate) key: u64,
    /// As many as there are columns.
    pub(crate) cells: Vec<Cell>,
}

/// Sorts and filters as the user wants it.
fn arrange(mut rows: Vec<Row>, how: &Rows, by: Option<usize>) -> Vec<Row> {
    if !how.filter.is_empty() {
        let wanted = how.filter.to_lowercase();
        rows.retain(|row| row.cells.iter().any(|c| c.text.to_lowercase().contains(&wanted)));
    }
    if let Some(column) = by {
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

/// Returns the columns that are shown: those of `ordered`, as far as there is room. Those that the layout calls
/// `narrow` go first, then those at the right; the first two and the one that takes the rest of the width stay.
fn fitting(columns: &[Column], layout: &View, ordered: &[usize], room: u16) -> Vec<usize> {
    let mut kept = ordered.to_vec();
    let needed = |kept: &[usize]| -> u16 {
        kept.iter().map(|i| if columns[*i].width == 0 { columns[*i].least } else { columns[*i].width } + 1).sum()
    };
    let mut dispensable = layout.narrow.iter();
    while needed(&kept) > room.saturating_add(1) {
        let next = match dispensable.next() {
            Some(name) => kept.iter().position(|i| columns[*i].name == name),
            None => match kept.iter().enumerate().rposition(|(at, i)| at > 1 && columns[*i].width > 0) {
                Some(last) => Some(last),
                None => break,
            },
        };
        if let Some(next) = next {
            kept.remove(next);
        }
    }
    kept
}

/// The columns that the layout names, in its order, as far as something can be seen in them.
fn ordered(columns: &[Column], layout: &View, context: &Context) -> Vec<usize> {
    let named = layout.columns.iter().filter_map(|name| columns.iter().position(|c| c.name == name));
    let seen = |i: &usize| columns[*i].is_observable(context);
    let found: Vec<usize> = named.filter(seen).collect();
    if found.is_empty() { (0..columns.len()).filter(seen).collect() } else { found }
}

/// A text in so many characters, clean; what is missing is shown to be.
#[must_use]
pub(crate) fn cut(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= width {
        return text.into_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The first row that is seen, if this one is selected and so many fit.
const fn first(selected: usize, page: usize) -> usize {
    selected.saturating_sub(page.saturating_sub(1))
}

/// The rows that will be seen of so many, if nothing is sorted or filtered: only these need cells.
#[must_use]
pub(crate) fn visible(area: Rect, rows: usize, how: &Rows) -> std::ops::Range<usize> {
    let page = usize::from(area.height.saturating_sub(1));
    let first = first(how.selected.min(rows.saturating_sub(1)), page);
    first..first.saturating_add(page)
}

/// Whether two lists have the same columns.
fn same(columns: &[Column], others: &[Column]) -> bool {
    columns.iter().map(|c| c.name).eq(others.iter().map(|c| c.name))
}

/// Draws a list.
pub(crate) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    scene: &Scene<'_>,
    columns: &[Column],
    rows: Vec<Row>,
    how: &Rows,
) -> Drawn {
    let layout = scene.layout.view(scene.view);
    // A list inside a view is not what the layout speaks of.
    let inner = View::default();
    let layout = if same(columns, scene.columns) { layout } else { &inner };
    let order = ordered(columns, layout, scene.engine.context());
    let by = how.sort.and_then(|c| order.get(c)).copied();
    let rows = arrange(rows, how, by);
    let page = usize::from(area.height.saturating_sub(1));
    let selected = how.selected.min(rows.len().saturating_sub(1));
    let key = rows.get(selected).map(|r| r.key);
    let drawn = Drawn {
        rows: rows.len(),
        columns: order.len(),
        page,
        key,
        sorted: by.map(|i| columns[i].name),
        ..Drawn::default()
    };
    let first = first(selected, page);
    let kept = fitting(columns, layout, &order, area.width);
    let sum: u16 = kept.iter().map(|i| columns[*i].width + 1).sum();
    let left_over = usize::from((area.width + 1).saturating_sub(sum));
    // Only what can be seen is made into widgets.
    let visible = rows.iter().skip(first).take(page).map(|row| {
        let cells = kept.iter().filter_map(|i| Some((row.cells.get(*i)?, &columns[*i])));
        DrawableRow::new(cells.map(|(cell, c)| {
            let width = if c.width == 0 { left_over } else { usize::from(c.width) };
            let (mark, tone) = layout.judge(c.name, cell.order).unwrap_or(("", cell.tone));
            Drawable::new(fit(cell, mark, c.right, width)).style(scene.style(tone))
        }))
    });
    let head = kept.iter().map(|i| {
        let c = &columns[*i];
        let mark = match (how.sort.and_then(|s| order.get(s)) == Some(i), how.reverse) {
            (true, false) => "v",
            (true, true) => "^",
            _ => "",
        };
        let room = if c.width == 0 { left_over } else { usize::from(c.width) };
        let name = format!("{}{mark}", cut(c.name, room.saturating_sub(mark.len())));
        Drawable::new(if c.right { format!("{name:>width$}", width = usize::from(c.width)) } else { name })
    });
    let widths = kept.iter().map(|i| match columns[*i].width {
        0 => Constraint::Fill(1),
        width => Constraint::Length(width),
    });
    let table = Table::new(visible.collect::<Vec<_>>(), widths)
        .header(DrawableRow::new(head).style(scene.style(Tone::Strong)))
        .row_highlight_style(ratatui::style::Style::new().add_modifier(Modifier::REVERSED))
        .column_spacing(1);
    let mut state = TableState::new();
    if !rows.is_empty() {
        state.select(Some(selected - first));
    }
    frame.render_stateful_widget(table, area, &mut state);
    if rows.is_empty() && area.height > 1 {
        let text = if how.filter.is_empty() { "nothing yet" } else { "no row has this text (Esc shows all)" };
        let below = Rect { y: area.y + 1, height: 1, ..area };
        frame.render_widget(scene.span(text, Tone::Dim), below);
    }
    drawn
}

/// A cell in its column. A number that is too long is rounded rather than cut; a word before it stays, and a unit behind
/// it moves up.
fn fit(cell: &Cell, mark: &str, right: bool, width: usize) -> String {
    let room = width.saturating_sub(mark.len());
    let mut text = cell.text.clone();
    let number = text.rfind(' ').map_or(0, |space| space + 1);
    if right && text.chars().count() > room && text[number..].chars().all(|c| c.is_ascii_digit() || c == ',') {
        text.replace_range(number.., &rounded(cell.order));
    }
    if right && text.chars().count() > room && text.starts_with(|c: char| c.is_ascii_digit()) {
        text.retain(|c| c != ' ');
    }
    let text = format!("{}{mark}", cut(&text, room));
    if right { format!("{text:>width$}") } else { text }
}

/// A number in three digits and a unit.
fn rounded(n: u64) -> String {
    let mut n = n as f64;
    for unit in ["", "k", "M", "G", "T", "P"] {
        // If rounding would add a digit, the next unit or one decimal place less has room for it.
        if n < 999.5 {
            let digits = if unit.is_empty() || n >= 99.95 { 0 } else { 1 + usize::from(n < 9.995) };
            return format!("{n:.digits$}{unit}");
        }
        n /= 1000.0;
    }
    format!("{n:.0}E")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::column::{rest, right};

    const COLUMNS: &[Column] = &[right("pid", 7), right("a", 9), right("b", 9), rest("now", 20)];

    fn names(layout: &View, room: u16) -> Vec<&'static str> {
        let order = ordered(COLUMNS, layout, &mmtrace_explore::render::context());
        fitting(COLUMNS, layout, &order, room).into_iter().map(|i| COLUMNS[i].name).collect()
    }

    #[test]
    fn what_is_dispensable_goes_first() {
        let mut layout = View::default();
        assert_eq!(names(&layout, 80), ["pid", "a", "b", "now"]);
        assert_eq!(names(&layout, 40), ["pid", "a", "now"]);
        assert_eq!(names(&layout, 1), ["pid", "a", "now"]);
        layout.narrow = vec!["a".to_owned()];
        assert_eq!(names(&layout, 40), ["pid", "b", "now"]);
        layout.columns = vec!["now".to_owned(), "pid".to_owned()];
        assert_eq!(names(&layout, 80), ["now", "pid"]);
    }

    #[test]
    fn what_does_not_fit_is_rounded_or_seen_to_be_cut() {
        assert_eq!(fit(&Cell::number(1_234_567), "", true, 9), "1,234,567");
        assert_eq!(fit(&Cell::number(1_234_567), "", true, 7), "  1.23M");
        assert_eq!(fit(&Cell::number(123_456_789), "!", true, 7), "  123M!");
        assert_eq!(fit(&Cell::text("a long text"), "", false, 6), "a lon…");
        let met = |n| Cell { text: format!("met {}", mmtrace_model::report::grouped(n)), order: n, tone: Tone::Doubt };
        assert_eq!(fit(&Cell::duration(19_900_000), "", true, 7), "19.9 ms");
        assert_eq!(fit(&Cell::duration(19_900_000), "!", true, 7), "19.9ms!");
        assert_eq!(fit(&met(1_234), "", true, 9), "met 1,234");
        assert_eq!(fit(&met(17_712), "", true, 9), "met 17.7k");
        assert_eq!(fit(&met(1_234_567_890), "", true, 9), "met 1.23G");
        assert_eq!(
            [9_994, 9_995, 99_949, 99_950, 999_499, 999_500].map(rounded).join(" "),
            "9.99k 10.0k 99.9k 100k 999k 1.00M"
        );
    }
}
