//! Page tables and the walker.

use ratatui::{
    Frame,
    layout::Rect,
    widgets::{Paragraph, Wrap},
};

use super::{Drawn, Show};
use crate::tui::state::State;

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, area: Rect, _: &Show<'_>, _: &State) -> Drawn {
    let text = "Page tables are not observable here: their birth, retraction and end, and what a walk finds, are seen \
                by function probes (fentry, kprobe), and this recording has tracepoints only. \"mmtrace doctor\" says \
                which probes there are and why others are not.";
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
    Drawn { page: usize::from(area.height), ..Drawn::default() }
}
