//! The dashboard: live and over captures, one code path.
//!
//! [`state`] is what is shown and how, [`input`] the table of keys, [`view`] draws. None of
//! them keeps anything about the kernel: that is the [`Engine`](crate::replay::Engine)'s.

use std::time::{Duration, Instant};

use anyhow::Result;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind};

pub mod input;
pub mod player;
pub mod state;
pub mod terminal;
pub mod view;
pub mod watch;

use crate::report::Style;
use state::{Request, State};
use terminal::Screen;
use view::{Drawn, Show};

/// Shortest time between two pictures: thirty a second.
const PICTURE_EVERY: Duration = Duration::from_millis(33);
/// How often a picture is drawn because the stream went on.
const STREAM_EVERY: Duration = Duration::from_millis(200);

/// The dashboard on a terminal.
pub struct Dashboard {
    screen: Screen,
    state: State,
    drawn: Drawn,
    colour: bool,
    /// Something has changed that the user did.
    touched: bool,
    last: Instant,
    /// Time that drawing took.
    drawing: Duration,
}

impl Dashboard {
    /// Takes the terminal over.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn new() -> Result<Self> {
        Ok(Self {
            screen: Screen::new()?,
            state: State::default(),
            drawn: Drawn::default(),
            colour: Style::for_stdout().has_colour(),
            touched: true,
            last: Instant::now(),
            drawing: Duration::ZERO,
        })
    }

    /// Takes what was typed since; returns what the loop has to do about it.
    pub fn requests(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        while let Ok(event) = self.screen.input.try_recv() {
            self.touched = true;
            requests.extend(self.take(&event));
        }
        requests
    }

    /// Waits for input, at most so long.
    pub fn wait(&mut self, most: Duration) -> Option<Request> {
        let event = self.screen.input.recv_timeout(most).ok()?;
        self.touched = true;
        self.take(&event)
    }

    fn take(&mut self, event: &Event) -> Option<Request> {
        let request = take(&mut self.state, event, self.drawn.key);
        self.state.clamp(self.drawn.rows, self.drawn.columns, self.drawn.page);
        request
    }

    /// Says something at the bottom.
    pub fn say(&mut self, message: impl Into<String>) {
        self.state.message = Some(message.into());
        self.touched = true;
    }

    /// Draws, if there is a reason to and it is time. `moved`: the stream has gone on.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub fn draw(&mut self, show: &Show<'_>, moved: bool) -> Result<()> {
        let since = self.last.elapsed();
        let due = (self.touched && since >= PICTURE_EVERY) || (moved && since >= STREAM_EVERY);
        if !due {
            return Ok(());
        }
        let start = Instant::now();
        let (state, drawn) = (&self.state, &mut self.drawn);
        let show = Show { colour: self.colour, ..*show };
        self.screen.terminal.draw(|frame| *drawn = view::draw(frame, &show, state))?;
        self.state.clamp(drawn.rows, drawn.columns, drawn.page);
        self.touched = false;
        self.last = Instant::now();
        self.drawing += start.elapsed();
        Ok(())
    }

    /// Time spent on drawing so far.
    #[must_use]
    pub const fn drawing(&self) -> Duration {
        self.drawing
    }
}

/// Takes one event of the terminal.
pub fn take(state: &mut State, event: &Event, key: Option<u64>) -> Option<Request> {
    match event {
        Event::Key(pressed) if pressed.kind != KeyEventKind::Release && state.prompt.is_some() => {
            typed(state, *pressed, key)
        }
        Event::Key(pressed) => input::action(*pressed).and_then(|action| state.act(action, key)),
        Event::Mouse(event) => input::mouse(*event).and_then(|action| state.act(action, key)),
        _ => None,
    }
}

fn typed(state: &mut State, pressed: KeyEvent, key: Option<u64>) -> Option<Request> {
    if pressed.modifiers.contains(ratatui::crossterm::event::KeyModifiers::CONTROL) {
        return matches!(pressed.code, KeyCode::Char('c')).then_some(Request::Quit);
    }
    match pressed.code {
        KeyCode::Enter => return state.entered(key),
        KeyCode::Esc => state.dropped(),
        KeyCode::Backspace => state.erased(),
        KeyCode::Char(c) => state.typed(c),
        _ => {}
    }
    None
}
