//! The views. Each draws what it is given, and keeps nothing.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Clear, Paragraph, Wrap},
};

use super::{
    input::BINDINGS,
    state::{State, VIEWS},
};
use crate::{replay::Engine, report::grouped};

pub mod events;
pub mod faults;
pub mod listing;
pub mod locks;
pub mod overview;
pub mod rules;
pub mod walker;
pub mod work;

/// Where the stream is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// The kernel, now.
    Live,
    /// The kernel, a while ago: the view stands still, the recording does not.
    Paused {
        /// Nanoseconds since.
        behind: u64,
    },
    /// A capture.
    Capture {
        /// It goes on by itself.
        playing: bool,
        /// So many times as fast as it was.
        speed: f64,
        /// Nanoseconds from its beginning.
        at: u64,
        /// Nanoseconds that it lasts, where that is known.
        of: Option<u64>,
    },
}

/// What a view is given.
#[derive(Clone, Copy, Debug)]
pub struct Show<'a> {
    /// Model, verdicts and statistics.
    pub engine: &'a Engine,
    /// Where in the stream.
    pub place: Place,
    /// Colours may be used.
    pub colour: bool,
}

/// What was drawn, for those who move about in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Rows there are.
    pub rows: usize,
    /// Columns they have.
    pub columns: usize,
    /// Rows that fit.
    pub page: usize,
    /// Key of the selected row.
    pub key: Option<u64>,
}

/// How something is to be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Wrong, lost.
    Bad,
    /// Not known.
    Doubt,
    /// Beside the point.
    Dim,
    /// A heading.
    Strong,
}

impl Show<'_> {
    /// The style of a tone. Without colours, what is wrong is reversed.
    #[must_use]
    pub fn style(&self, tone: Tone) -> Style {
        let plain = Style::new();
        match (tone, self.colour) {
            (Tone::Plain, _) | (Tone::Good | Tone::Doubt, false) => plain,
            (Tone::Good, true) => plain.fg(Color::Green),
            (Tone::Bad, true) => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Bad, false) => plain.add_modifier(Modifier::REVERSED),
            (Tone::Doubt, true) => plain.fg(Color::Yellow),
            (Tone::Dim, _) => plain.add_modifier(Modifier::DIM),
            (Tone::Strong, _) => plain.add_modifier(Modifier::BOLD),
        }
    }

    /// Text in a tone.
    pub fn span(&self, text: impl Into<String>, tone: Tone) -> Span<'static> {
        Span::styled(text.into(), self.style(tone))
    }
}

/// A view.
pub struct View {
    /// In the row of tabs.
    pub name: &'static str,
    /// What it shows, in one line.
    pub explains: &'static str,
    draw: fn(&mut Frame<'_>, Rect, &Show<'_>, &State) -> Drawn,
}

/// Every view, in the order of the keys.
pub const ALL: [View; VIEWS] = [
    View {
        name: "Overview",
        explains: "rates of the last minutes, verdicts, and what is missing",
        draw: overview::draw,
    },
    View {
        name: "Locks",
        explains: "mmap_locks: how long they are held and waited for, by whom now",
        draw: locks::draw,
    },
    View { name: "Faults", explains: "page faults by process and cause; Enter: by region", draw: faults::draw },
    View { name: "Collapse", explains: "khugepaged, MADV_COLLAPSE, migration, compaction: results", draw: work::draw },
    View {
        name: "Walker",
        explains: "page tables: linked, retracted, freed; what a walk may find",
        draw: walker::draw,
    },
    View { name: "Rules", explains: "every rule with its verdict; Enter: why, and what broke it", draw: rules::draw },
    View { name: "Events", explains: "the newest events; / filters, Enter: all fields", draw: events::draw },
];

/// Smallest size that anything can be read in.
const LEAST: (u16, u16) = (30, 8);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, show: &Show<'_>, state: &State) -> Drawn {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("too small: {}x{} at least", LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return Drawn::default();
    }
    let [head, tabs, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
            .areas(area);
    frame.render_widget(header(show), head);
    frame.render_widget(tab_row(show, state), tabs);
    let view = &ALL[state.view];
    let [title, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(body);
    frame.render_widget(Line::from(show.span(view.explains, Tone::Dim)), title);
    let drawn = (view.draw)(frame, body, show, state);
    frame.render_widget(footer(show, state), foot);
    if state.help {
        help(frame, area, show);
    }
    drawn
}

fn header(show: &Show<'_>) -> Line<'static> {
    let (place, tone) = match show.place {
        Place::Live => ("LIVE".to_owned(), Tone::Good),
        Place::Paused { behind } => (format!("PAUSED {} ago", seconds(behind)), Tone::Doubt),
        Place::Capture { playing, speed, at, of } => {
            let of = of.map_or_else(String::new, |of| format!("/{}", short(of)));
            let state = if playing { format!("REPLAY x{speed}") } else { "STOPPED".to_owned() };
            (format!("{state} {}{of}", short(at)), if playing { Tone::Good } else { Tone::Doubt })
        }
    };
    let engine = show.engine;
    let mut spans = vec![show.span("mmtrace ", Tone::Strong), show.span(place, tone)];
    for (n, what) in [(engine.lost(), "lost"), (engine.missed(), "missed"), (engine.gaps(), "gaps")] {
        let tone = if n > 0 { Tone::Bad } else { Tone::Dim };
        if n > 0 || what != "gaps" {
            spans.push(show.span("  ", Tone::Plain));
            spans.push(show.span(format!("{} {what}", grouped(n)), tone));
        }
    }
    if let Some(sink) = engine.sink() {
        let violated = sink.counts()[1];
        if violated > 0 {
            spans.push(show.span(format!("  {violated} rules VIOLATED"), Tone::Bad));
        }
    }
    spans.push(show.span(format!("  {} events", grouped(engine.total())), Tone::Plain));
    spans.push(show.span(format!("  Linux {}", engine.context().kernel.release), Tone::Dim));
    Line::from(spans)
}

fn tab_row(show: &Show<'_>, state: &State) -> Line<'static> {
    let spans = ALL.iter().enumerate().flat_map(|(i, view)| {
        let chosen = i == state.view;
        let style =
            if chosen { show.style(Tone::Strong).add_modifier(Modifier::REVERSED) } else { show.style(Tone::Plain) };
        [Span::styled(format!(" {} {} ", i + 1, view.name), style), Span::raw(" ")]
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn footer(show: &Show<'_>, state: &State) -> Line<'static> {
    if let Some(prompt) = &state.prompt {
        return Line::from(show.span(format!("{}{}_", prompt.what.mark(), prompt.text), Tone::Strong));
    }
    if let Some(message) = &state.message {
        return Line::from(show.span(message.clone(), Tone::Doubt));
    }
    let filter = &state.current().filter;
    let mut text = "? help  Tab view  Space pause  / filter  s sort  : actions  q quit".to_owned();
    if !filter.is_empty() {
        text = format!("only rows with \"{filter}\" (Esc: all)  {text}");
    }
    Line::from(show.span(text, Tone::Dim))
}

fn help(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>) {
    let lines: Vec<Line<'_>> = BINDINGS
        .iter()
        .map(|b| {
            Line::from(vec![
                show.span(format!("{:<9}", b.keys), Tone::Strong),
                show.span(format!("{:<20}", b.name), Tone::Plain),
                show.span(b.help, Tone::Dim),
            ])
        })
        .collect();
    let width = 78.min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let block = Block::new().borders(Borders::ALL).title(" keys; any of them closes this ");
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

/// Seconds, with as many digits as matter.
fn short(ns: u64) -> String {
    let s = ns as f64 / 1e9;
    if s < 10.0 { format!("{s:.2}s") } else { format!("{s:.1}s") }
}

/// Seconds with three digits.
#[must_use]
pub fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

/// Values as a row of bars, each as high as its part of the largest.
#[must_use]
pub fn bars(values: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let max = values.iter().copied().max().unwrap_or(0).max(1);
    let bar = |v: &u64| if *v == 0 { ' ' } else { BARS[((v * 7).div_ceil(max) as usize).min(7)] };
    values.iter().map(bar).collect()
}
