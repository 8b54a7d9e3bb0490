//! The state that a view draws.

use mmtrace_common::SPECS;
use mmtrace_model::{replay::Engine, untrusted::escaped};
use ratatui::{
    style::{Color, Modifier, Style},
    text::Span,
};

use crate::tui::{column::Column, layout::Layout, tone::Tone};

/// Position in the stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// The kernel, now.
    Live,
    /// The kernel, a while ago: the view stands still, the recording does not.
    Paused {
        /// Nanoseconds since.
        behind: u64,
        /// Nanoseconds from the beginning of what is kept.
        at: u64,
        /// Nanoseconds that are kept.
        of: u64,
    },
    /// A capture.
    Capture {
        /// It goes on by itself.
        playing: bool,
        /// Speed as a multiple of the recorded one.
        speed: f64,
        /// Nanoseconds from its beginning.
        at: u64,
        /// Nanoseconds that it lasts, where that is known.
        of: Option<u64>,
    },
}

/// The state that a view draws.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Model, verdicts and statistics.
    pub(crate) engine: &'a Engine,
    /// Position in the stream.
    pub(crate) place: Place,
    /// Colours may be used.
    pub(crate) colour: bool,
    /// The views that there are.
    pub(crate) layout: &'a Layout,
    /// Index of the view that is drawn; [`draw`](super::draw) sets it.
    pub(crate) view: usize,
    /// The columns that the layout of this view speaks of; [`draw`](super::draw) sees to that.
    pub(crate) columns: &'a [Column],
}

impl<'a> Scene<'a> {
    /// Without colours, of the first view.
    #[must_use]
    pub(crate) const fn new(engine: &'a Engine, place: Place, layout: &'a Layout) -> Self {
        Self { engine, place, colour: false, layout, view: 0, columns: &[] }
    }

    /// Whether any kernel function is recorded; else there are tracepoints only.
    #[must_use]
    pub(crate) fn has_functions(&self) -> bool {
        let context = self.engine.context();
        SPECS.iter().any(|s| s.site.at.is_function() && context.has(s.kind))
    }

    /// The style of a tone. Without colours, what is wrong is reversed.
    #[must_use]
    pub(crate) fn style(&self, tone: Tone) -> Style {
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
    pub(crate) fn span(&self, text: impl Into<String>, tone: Tone) -> Span<'static> {
        Span::styled(escaped(&text.into()).into_owned(), self.style(tone))
    }
}
