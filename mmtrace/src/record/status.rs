//! Display of a recording: a line on standard error, or the dashboard.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use anyhow::Result;
use mmtrace_common::Record;
use mmtrace_model::{
    replay::Engine,
    report::{Style, grouped},
};

use crate::{
    console::{self, tell},
    tui::watch::{Saving, Watch},
};

/// Time between two updates of the line on a terminal, and between two lines elsewhere.
const ON_TERMINAL: Duration = Duration::from_millis(500);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// The part of a recording that the user sees.
pub(super) enum Face {
    /// The line.
    Line(Status),
    /// The dashboard.
    Dashboard(Box<Watch>),
    /// Nothing any more: the terminal has been given back.
    Closed,
}

impl Face {
    /// Shows the state of things if it is time to.
    pub(super) fn tick(&mut self, engine: &Engine) -> Result<()> {
        match self {
            Self::Line(status) => status.tick(engine),
            Self::Dashboard(watch) => watch.tick(engine)?,
            Self::Closed => {}
        }
        Ok(())
    }

    /// Keeps what the engine is about to take, for those who can go back.
    pub(super) fn keep(&mut self, engine: &Engine, records: &[Record]) {
        if let Self::Dashboard(watch) = self {
            watch.keep(engine, records);
        }
    }

    /// Says something.
    pub(super) fn say(&mut self, message: &str) {
        match self {
            Self::Dashboard(watch) => watch.say(message),
            Self::Line(status) => {
                status.clear();
                tell(message);
            }
            Self::Closed => tell(message),
        }
    }

    /// Gives the terminal back. What is being saved goes on.
    pub(super) fn close(&mut self) -> Saving {
        match std::mem::replace(self, Self::Closed) {
            Self::Line(status) => status.clear(),
            Self::Dashboard(watch) => {
                let (pictures, took) = watch.drawing();
                // First the terminal, then what is to stay on it.
                let saving = watch.close();
                tell(&format!("the dashboard drew {pictures} pictures in {:.3} s", took.as_secs_f64()));
                return saving;
            }
            Self::Closed => {}
        }
        Saving::default()
    }
}

/// The status line.
pub(super) struct Status {
    terminal: bool,
    style: Style,
    began: Instant,
    next: Instant,
    before: (Instant, u64),
}

impl Status {
    /// Nothing shown yet.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            terminal: std::io::stderr().is_terminal(),
            style: console::style_of_stderr(),
            began: now,
            next: now + ON_TERMINAL,
            before: (now, 0),
        }
    }

    /// Shows the state of things if it is time to.
    pub(super) fn tick(&mut self, engine: &Engine) {
        let now = Instant::now();
        // If nobody reads, an old line is not worth a place in the queue.
        if now < self.next || !console::is_idle() {
            return;
        }
        self.next = now + if self.terminal { ON_TERMINAL } else { ELSEWHERE };
        let total = engine.total();
        let rate = (total - self.before.1) as f64 / now.duration_since(self.before.0).as_secs_f64();
        self.before = (now, total);
        let count = |n: u64, what: &str| {
            let text = format!("{} {what}", grouped(n));
            if n > 0 { self.style.bad(&text) } else { text }
        };
        let mut line = format!(
            "recording for {:.1} s: {} events ({}/s), {}, {}",
            now.duration_since(self.began).as_secs_f64(),
            grouped(total),
            grouped(rate as u64),
            count(engine.lost(), "lost"),
            count(engine.missed(), "missed")
        );
        if engine.foreign() > 0 {
            line = format!("{line}, {}", count(engine.foreign(), "foreign"));
        }
        if let Some(sink) = engine.sink() {
            let [held, violated, unknown, _] = sink.counts();
            line = format!("{line}; rules: {held} held, {}, {unknown} unknown", count(violated as u64, "violated"));
        }
        console::put(&if self.terminal { format!("\r\x1b[K{line}") } else { format!("mmtrace: {line}\n") });
    }

    /// Makes room for other text.
    fn clear(&self) {
        if self.terminal {
            console::put("\r\x1b[K");
        }
    }
}
