//! The views. Each draws what it is given, and keeps nothing.

use mmtrace_model::{report::grouped, untrusted::is_harmful};
use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::Modifier,
    text::{Line, Span},
    widgets::{Block, Borders, Clear, Paragraph, Wrap},
};

use super::{
    column::Column,
    drawn::Drawn,
    input::{meant, offers},
    state::{Asked, State},
    tone::Tone,
};
pub use scene::{Place, Scene};
use text::short;
pub use text::{bars, seconds};

pub mod callers;
mod cgroup;
pub mod events;
pub mod faults;
pub mod listing;
pub mod locks;
pub mod overview;
pub mod rules;
mod scene;
mod text;
pub mod walker;
pub mod work;

/// A kind of view.
pub struct ViewKind {
    /// In layouts.
    pub name: &'static str,
    /// The columns of its list.
    pub(crate) columns: &'static [Column],
    draw: fn(&mut Frame<'_>, Rect, &Scene<'_>, &State) -> Drawn,
}

/// Every kind of view.
pub const KINDS: [ViewKind; 8] = [
    ViewKind { name: "overview", columns: &[], draw: overview::draw },
    ViewKind { name: "locks", columns: locks::COLUMNS, draw: locks::draw },
    ViewKind { name: "callers", columns: callers::COLUMNS, draw: callers::draw },
    ViewKind { name: "faults", columns: faults::COLUMNS, draw: faults::draw },
    ViewKind { name: "collapse", columns: work::COLUMNS, draw: work::draw },
    ViewKind { name: "walker", columns: &[], draw: walker::draw },
    ViewKind { name: "rules", columns: rules::COLUMNS, draw: rules::draw },
    ViewKind { name: "events", columns: events::COLUMNS, draw: events::draw },
];

/// Smallest size that anything can be read in.
const LEAST: (u16, u16) = (30, 8);

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>, state: &State) -> Drawn {
    let drawn = compose(frame, scene, state);
    screen(frame.buffer_mut());
    drawn
}

/// Takes out what the terminal would obey or hide, should any of it have come into a cell.
fn screen(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if cell.symbol().chars().any(is_harmful) {
            cell.set_symbol("\u{fffd}");
        }
    }
}

fn compose(frame: &mut Frame<'_>, scene: &Scene<'_>, state: &State) -> Drawn {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("too small: {}x{} at least", LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return Drawn::default();
    }
    let kind = KINDS.iter().find(|kind| kind.name == scene.layout.view(state.view).shows);
    let scene = &Scene { view: state.view, columns: kind.map_or(&[], |kind| kind.columns), ..*scene };
    let whole = whole(scene.place).filter(|_| area.height >= WITH_BAR);
    let [head, tabs, body, bar, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(u16::from(whole.is_some())),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(header(scene, area.width), head);
    frame.render_widget(tab_row(scene, state, area.width), tabs);
    let view = scene.layout.view(state.view);
    let [title, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(body);
    let explains = listing::cut(&view.explains, usize::from(area.width));
    frame.render_widget(Line::from(scene.span(explains, Tone::Dim)), title);
    let mut drawn = kind.map_or_else(Drawn::default, |kind| (kind.draw)(frame, body, scene, state));
    if let Some(part) = whole {
        frame.render_widget(position(scene, part, bar.width), bar);
        drawn.bar = Some(bar);
    }
    frame.render_widget(footer(scene, state, &drawn, area.width), foot);
    if state.prompt.as_ref().is_some_and(|p| p.what == Asked::Command) {
        palette(frame, area, scene, state);
    }
    if let Some(scrolled) = state.help {
        drawn.help = help(frame, area, scene, scrolled);
    }
    drawn
}

/// Least height that has room for the bar.
const WITH_BAR: u16 = 12;

/// Returns the part of the whole that lies behind, from 0 to 1; `None` if the length is not known.
fn whole(place: Place) -> Option<f64> {
    match place {
        Place::Capture { at, of: Some(of), .. } | Place::Paused { at, of, .. } if of > 0 => {
            Some((at as f64 / of as f64).clamp(0.0, 1.0))
        }
        _ => None,
    }
}

/// Returns the position in the stream as a bar to click on. Where events are missing, it is broken.
fn position(scene: &Scene<'_>, part: f64, width: u16) -> Line<'static> {
    let width = usize::from(width);
    let at = ((width.saturating_sub(1)) as f64 * part).round() as usize;
    let mut spans = Vec::new();
    for cell in 0..at {
        let gap = cell_time(scene, cell, width)
            .is_some_and(|(from, until)| scene.engine.sink().is_some_and(|sink| sink.blind_times().meet(from, until)));
        spans.push(if gap { scene.span("╳", Tone::Bad) } else { scene.span("━", Tone::Plain) });
    }
    spans.push(scene.span("┃", Tone::Strong));
    spans.push(scene.span("─".repeat(width.saturating_sub(at + 1)), Tone::Dim));
    Line::from(spans)
}

/// Returns the time that a cell of the bar stands for, nanoseconds of `CLOCK_MONOTONIC`.
fn cell_time(scene: &Scene<'_>, cell: usize, width: usize) -> Option<(u64, u64)> {
    let (begin, of) = match scene.place {
        Place::Capture { of, .. } => (scene.engine.context().start, of?),
        Place::Paused { at, of, .. } => (scene.engine.span()?.1.saturating_sub(at), of),
        Place::Live => return None,
    };
    let edge = |cell: usize| begin.saturating_add((u128::from(of) * cell as u128 / width.max(1) as u128) as u64);
    Some((edge(cell), edge(cell + 1)))
}

/// Width from which the header says what its times are.
const SAYS_SINCE: u16 = 60;

/// Place and time since the start, what is wrong, what is missing. What there is no room for is left out: half a number is a wrong one.
fn header(scene: &Scene<'_>, width: u16) -> Line<'static> {
    let (place, tone) = match scene.place {
        Place::Live => {
            let now = scene.engine.span().map_or(0, |(_, now)| now);
            (format!("LIVE {}", short(now.saturating_sub(scene.engine.context().start))), Tone::Good)
        }
        Place::Paused { behind, .. } => (format!("PAUSED {} ago", seconds(behind)), Tone::Doubt),
        Place::Capture { playing, speed, at, of } => {
            let of = of.map_or_else(String::new, |of| format!("/{}", short(of)));
            let state = if playing { format!("REPLAY x{speed}") } else { "STOPPED".to_owned() };
            (format!("{state} {}{of}", short(at)), if playing { Tone::Good } else { Tone::Doubt })
        }
    };
    let engine = scene.engine;
    let mut parts = vec![(place, tone)];
    if width >= SAYS_SINCE && !matches!(scene.place, Place::Paused { .. }) {
        parts.push(("since start".to_owned(), Tone::Dim));
    }
    let violated = engine.sink().map_or(0, |sink| sink.counts()[1]);
    if violated > 0 {
        let rules = if violated == 1 { "rule" } else { "rules" };
        parts.push((format!("{violated} {rules} VIOLATED"), Tone::Bad));
    }
    let missing = [(engine.lost(), "lost"), (engine.missed(), "missed"), (engine.gaps(), "gaps")];
    let shed = (engine.overhead().ended().len() as u64, "kinds shed");
    for (n, what) in missing.into_iter().chain([(engine.foreign(), "foreign"), shed]) {
        if n > 0 || matches!(what, "lost" | "missed") {
            parts.push((format!("{} {what}", grouped(n)), if n > 0 { Tone::Bad } else { Tone::Dim }));
        }
    }
    parts.push((format!("{} events", grouped(engine.total())), Tone::Plain));
    let width = usize::from(width);
    let name = if width >= usize::from(SAYS_SINCE) { "mmtrace " } else { "" };
    let (mut spans, mut used) = (vec![scene.span(name, Tone::Strong)], name.len());
    let mut add = |text: String, tone| {
        let between = if used == name.len() { "" } else { "  " };
        let more = between.len() + text.chars().count();
        if used + more <= width {
            used += more;
            spans.extend([scene.span(between, Tone::Plain), scene.span(text, tone)]);
        }
        used
    };
    let used = parts.into_iter().map(|(text, tone)| add(text, tone)).last().unwrap_or(0);
    // A release may be cut, but not before its version.
    let room = width.saturating_sub(used + 2);
    if room > "Linux 6.12".len() {
        add(listing::cut(&format!("Linux {}", engine.context().kernel.release), room), Tone::Dim);
    }
    Line::from(spans)
}

fn tab_row(scene: &Scene<'_>, state: &State, width: u16) -> Line<'static> {
    let names: usize = scene.layout.views.iter().map(|view| view.name.chars().count()).sum();
    let (views, width) = (scene.layout.views.len(), usize::from(width));
    // First the space around names goes; only the numbers are shown if there is no room for all names.
    let dense = names + 5 * views > width + 1;
    let short = dense && names + 3 * views + 2 > width + 1;
    let spans = scene.layout.views.iter().enumerate().flat_map(|(i, view)| {
        let chosen = i == state.view;
        let style =
            if chosen { scene.style(Tone::Strong).add_modifier(Modifier::REVERSED) } else { scene.style(Tone::Plain) };
        // Without reverse video there are the brackets.
        let text = match (chosen, short, dense) {
            (true, ..) => format!("[{} {}]", i + 1, view.name),
            (false, true, _) => format!(" {}", i + 1),
            (false, false, true) => format!("{} {}", i + 1, view.name),
            (false, false, false) => format!(" {} {} ", i + 1, view.name),
        };
        [Span::styled(text, style), Span::raw(" ")]
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn footer(scene: &Scene<'_>, state: &State, drawn: &Drawn, width: u16) -> Line<'static> {
    let width = usize::from(width);
    if let Some(prompt) = &state.prompt {
        // The end is where one types.
        let text = format!("{}{}_", prompt.what.mark(), prompt.text);
        let from = text.chars().count().saturating_sub(width);
        return Line::from(scene.span(text.chars().skip(from).collect::<String>(), Tone::Strong));
    }
    if let Some(message) = &state.message {
        return Line::from(scene.span(listing::cut(message, width), Tone::Doubt));
    }
    // That there is more than can be seen.
    let at = state.current().selected.min(drawn.rows.saturating_sub(1));
    let [at, page, rows] = [at, drawn.page, drawn.rows].map(|n| n as u64);
    let place = match drawn.key {
        Some(_) if rows > page => format!("  {} of {}", grouped(at + 1), grouped(rows)),
        // Of a text, a row is where it can be scrolled to.
        None if rows > 1 => format!("  {}-{} of {}", grouped(at + 1), grouped(at + page), grouped(rows - 1 + page)),
        _ => String::new(),
    };
    let room = width.saturating_sub(place.chars().count());
    let mut text = String::new();
    let filter = &state.current().filter;
    if !filter.is_empty() {
        text = format!("only rows with \"{filter}\" (Esc: all)  ");
    }
    // The column need not be among those that there is room for.
    if let Some(column) = drawn.sorted {
        text += &format!("sorted by {column}  ");
    }
    for hint in ["? help", "Tab view", "Space pause", "/ filter", "s sort", ": actions", "q quit"] {
        if text.chars().count() + hint.len() <= room {
            text = text + hint + "  ";
        }
    }
    Line::from(scene.span(format!("{:<room$}{place}", listing::cut(text.trim_end(), room)), Tone::Dim))
}

/// Widest box that is laid over a view.
const BOX: u16 = 108;

/// A box in the middle of the lower part, with lines of which one may be chosen.
fn framed(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>, scrolled: usize) {
    let width = BOX.min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let block = Block::new().borders(Borders::ALL).title(title.to_owned());
    frame.render_widget(Paragraph::new(lines).block(block).scroll((scrolled as u16, 0)), place);
}

/// The actions that the text typed so far means.
fn palette(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, state: &State) {
    let Some(prompt) = &state.prompt else { return };
    // Beside the mark, the name and the keys, in a frame.
    let room = usize::from(BOX.min(area.width)).saturating_sub(33);
    let lines: Vec<Line<'_>> = meant(scene.layout, &prompt.text)
        .into_iter()
        .enumerate()
        .map(|(i, offer)| {
            let chosen = i == prompt.chosen;
            let mark = if chosen { "> " } else { "  " };
            let line = Line::from(vec![
                scene.span(format!("{mark}{:<20}", offer.name), Tone::Strong),
                scene.span(format!("{:<9}", offer.keys), Tone::Plain),
                scene.span(listing::cut(offer.help, room), Tone::Dim),
            ]);
            if chosen { line.style(scene.style(Tone::Plain).add_modifier(Modifier::REVERSED)) } else { line }
        })
        .collect();
    let above = Rect { height: area.height.saturating_sub(1), ..area };
    let seen = usize::from(above.height.saturating_sub(2)).max(1);
    let scrolled = (prompt.chosen + 1).saturating_sub(seen);
    framed(frame, above, " actions: type, or Up and Down; Enter runs, Esc closes ", lines, scrolled);
}

/// The keys. Returns by how many lines they can be scrolled.
fn help(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, scrolled: usize) -> usize {
    // Beside the keys and the name, in a frame.
    let width = usize::from(BOX.min(area.width)).saturating_sub(31);
    let lines: Vec<Line<'_>> = offers(scene.layout)
        .into_iter()
        .map(|offer| {
            Line::from(vec![
                scene.span(format!("{:<9}", offer.keys), Tone::Strong),
                scene.span(format!("{:<20}", offer.name), Tone::Plain),
                scene.span(listing::cut(offer.help, width), Tone::Dim),
            ])
        })
        .collect();
    let room = usize::from(area.height.saturating_sub(2));
    let hidden = lines.len().saturating_sub(room);
    let title = if hidden > 0 { " keys; j and k scroll, others close " } else { " keys; any of them closes this " };
    framed(frame, area, title, lines, scrolled.min(hidden));
    hidden
}
