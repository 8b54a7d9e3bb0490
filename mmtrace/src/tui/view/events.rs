//! The stream.

use mmtrace_capture::{Filter, Names};
use mmtrace_common::{Column as Field, Kind, Record};
use mmtrace_model::report::{fields, grouped};
use ratatui::{Frame, layout::Rect};

use super::{
    cgroup::{CGROUP, cgroup},
    listing::{self, Cell, Row, visible},
    scene::Scene,
    text::above_note,
};
use crate::tui::{
    column::{Column, left, rest, right},
    drawn::{Drawn, Goal, Jump},
    state::{Rows, State},
    tone::Tone,
};

/// The columns.
pub(crate) const COLUMNS: &[Column] = &[
    right("time", 12),
    right("cpu", 3),
    right("pid", 7),
    right("tid", 7),
    left("comm", 15).of(&[Kind::TaskRename]),
    CGROUP,
    left("event", 27),
    rest("fields", 22),
];

const DETAILS: &[Column] = &[left("field", 14), left("value", 36), rest("Enter", 20)];

/// Events that are offered.
const NEWEST: usize = 4096;
/// Among so many those are looked for that a filter lets through.
const SEARCHED: usize = 1 << 15;

/// Draws the view.
pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, state: &State) -> Drawn {
    let Some(sink) = scene.engine.sink() else { return Drawn::default() };
    let how = state.current();
    let context = scene.engine.context();
    let start = scene.engine.span().map_or(0, |s| s.0);
    if let Some(key) = how.inside {
        let record = sink.recent(SEARCHED).into_iter().rev().find(|r| key_of(r) == key);
        return details(frame, area, scene, how, record.as_ref(), start);
    }
    let offered = if how.filter.is_empty() { NEWEST } else { SEARCHED } as u64;
    let part = (scene.engine.total() > offered).then(|| {
        let what = if how.filter.is_empty() { "listed" } else { "searched" };
        format!("{what}: the newest {} of {} events", grouped(offered), grouped(scene.engine.total()))
    });
    let area = above_note(frame, area, scene, part.as_deref());
    // Newest first: there the eye is, and there it stays.
    if how.filter.is_empty() && how.sort.is_none() && !how.reverse {
        let recent = sink.recent(NEWEST);
        let seen = visible(area, recent.len(), how);
        let rows = recent.iter().rev().enumerate().map(|(i, record)| match seen.contains(&i) {
            true => row(scene, record, start),
            false => Row { key: key_of(record), cells: Vec::new() },
        });
        return listing::draw(frame, area, scene, COLUMNS, rows.collect(), how);
    }
    let recent = sink.recent(if how.filter.is_empty() { NEWEST } else { SEARCHED });
    // An expression as `dump --filter` takes it, or else a text.
    let names = Names::new(context);
    let mut how = how.clone();
    let filter = Filter::parse(&how.filter, &names).ok();
    if filter.is_some() {
        how.filter.clear();
    }
    let kept = recent
        .iter()
        .rev()
        .filter(|record| filter.as_ref().is_none_or(|f| f.matches(&names, record, scene.engine.tasks())));
    listing::draw(frame, area, scene, COLUMNS, kept.map(|record| row(scene, record, start)).collect(), &how)
}

/// Returns the key of an event's row, from its time, task and kind.
fn key_of(record: &Record) -> u64 {
    record.ts ^ u64::from(record.tid) << 40 ^ u64::from(record.kind) << 56
}

fn name(record: &Record) -> &'static str {
    record.kind().map_or("?", Kind::name)
}

fn row(scene: &Scene<'_>, record: &Record, start: u64) -> Row {
    let context = scene.engine.context();
    let tone = if record.kind().is_some_and(Kind::is_missing) { Tone::Bad } else { Tone::Plain };
    let fields: Vec<String> =
        fields(record, context).into_iter().map(|(column, value)| format!("{}={value}", column.name())).collect();
    Row {
        key: key_of(record),
        cells: vec![
            Cell { text: format!("{:.6}", record.ts.saturating_sub(start) as f64 / 1e9), order: record.ts, tone },
            Cell { text: record.cpu.to_string(), order: u64::from(record.cpu), tone },
            Cell { text: record.tgid.to_string(), order: u64::from(record.tgid), tone },
            Cell { text: record.tid.to_string(), order: u64::from(record.tid), tone },
            scene
                .engine
                .tasks()
                .comm(record.tid)
                .map_or_else(Cell::none, |comm| Cell::text(comm.to_string()).tone(tone)),
            cgroup(scene.engine.tasks(), record.tid, record.tgid).tone(tone),
            Cell::text(name(record)).tone(tone),
            Cell::text(fields.join(" ")).tone(tone),
        ],
    }
}

/// One event, field by field; what a field names can be gone to.
fn details(
    frame: &mut Frame<'_>,
    area: Rect,
    scene: &Scene<'_>,
    how: &Rows,
    record: Option<&Record>,
    start: u64,
) -> Drawn {
    let Some(record) = record else {
        frame.render_widget(scene.span("it has gone by: Space pauses, a capture keeps everything", Tone::Dim), area);
        return Drawn { page: usize::from(area.height), ..Drawn::default() };
    };
    let to = |kind, goal| scene.layout.showing(kind).map(|view| Jump { view, goal });
    let mut rows: Vec<(String, String, &str, Option<Jump>)> = vec![
        ("event".to_owned(), name(record).to_owned(), "", None),
        ("time".to_owned(), format!("{:.9} s from the start", record.ts.saturating_sub(start) as f64 / 1e9), "", None),
        ("ts".to_owned(), format!("{} ns", record.ts), "", None),
        ("cpu".to_owned(), record.cpu.to_string(), "", None),
        ("pid".to_owned(), record.tgid.to_string(), "its faults", to("faults", Goal::Inside(u64::from(record.tgid)))),
        (
            "tid".to_owned(),
            record.tid.to_string(),
            "the thread's events",
            to("events", Goal::Filter("tid", u64::from(record.tid))),
        ),
    ];
    if record.mm != 0 {
        let lock = to("locks", Goal::Inside(record.mm));
        rows.push(("mm".to_owned(), format!("{:#x}", record.mm), "its mmap_lock", lock));
    }
    for (column, value) in fields(record, scene.engine.context()) {
        let raw = record.get(column).unwrap_or(0);
        let jump = (column == Field::Vma && raw != 0).then(|| to("events", Goal::Filter("vma", raw))).flatten();
        rows.push((column.name().to_owned(), value, if jump.is_some() { "the VMA's events" } else { "" }, jump));
    }
    let listed = rows.iter().enumerate().map(|(i, (field, value, goes, jump))| Row {
        key: i as u64,
        cells: vec![
            Cell::text(field.clone()),
            Cell::text(value.clone()),
            Cell::text(if jump.is_some() { *goes } else { "" }).tone(Tone::Dim),
        ],
    });
    // Fields have an order of their own.
    let how = Rows { selected: how.selected, ..Rows::default() };
    let mut drawn = listing::draw(frame, area, scene, DETAILS, listed.collect(), &how);
    drawn.jump = rows.get(how.selected.min(rows.len() - 1)).and_then(|(.., jump)| *jump);
    drawn
}
