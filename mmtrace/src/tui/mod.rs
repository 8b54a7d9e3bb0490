//! The dashboard: live and over captures, one code path.
//!
//! [`state`] is what is shown and how, [`input`] the table of keys, [`view`] draws. None of
//! them keeps anything about the kernel: that is the [`Engine`]'s.

use std::{
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use anyhow::Result;
use mmtrace_model::replay::Engine;
use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::{Terminal, backend::TestBackend};

pub mod column;
pub mod drawn;
pub mod input;
pub mod layout;
pub mod layout_file;
pub mod player;
pub mod state;
pub mod terminal;
pub mod tone;
pub mod view;
pub mod watch;

use crate::console;
use drawn::Drawn;
use input::Action;
use layout::Layout;
use state::{Request, State};
use terminal::Screen;
use view::{Place, Scene};

/// Shortest time between two pictures: thirty a second.
const PICTURE_EVERY: Duration = Duration::from_millis(33);
/// Time between two pictures that are drawn because the stream went on.
const STREAM_EVERY: Duration = Duration::from_millis(200);

/// The dashboard on a terminal.
pub(crate) struct Dashboard {
    screen: Screen,
    state: State,
    layout: Layout,
    colour: bool,
    /// Typed, and not to be taken before what it is about is drawn.
    held: Option<Event>,
    /// Something has changed that the user did.
    touched: bool,
    last: Instant,
    /// Time that drawing took.
    drawing: Duration,
    /// Pictures drawn.
    pictures: u64,
}

impl Dashboard {
    /// Takes the terminal over. `on_input` is called by another thread when there is something to take.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn new(layout: Layout, on_input: impl Fn() + Send + 'static) -> Result<Self> {
        Ok(Self {
            screen: Screen::new(on_input)?,
            state: State::default(),
            layout,
            colour: console::style_of_stdout().has_colour(),
            held: None,
            touched: true,
            last: Instant::now(),
            drawing: Duration::ZERO,
            pictures: 0,
        })
    }

    /// Takes what was typed since; returns what the loop has to do about it.
    pub(crate) fn requests(&mut self) -> Vec<Request> {
        self.wait(Duration::ZERO)
    }

    /// Waits for input, at most so long, and takes all there is, but nothing that is about what has yet to be drawn.
    /// A terminal that is gone wants to end.
    pub(crate) fn wait(&mut self, most: Duration) -> Vec<Request> {
        let mut requests = Vec::new();
        let mut drawn = self.held.is_some();
        let mut event = self.held.take().map_or_else(|| self.screen.input.recv_timeout(most), Ok);
        loop {
            match event {
                Ok(event) if !drawn && awaits_drawing(&self.state, &event) => {
                    self.held = Some(event);
                    return requests;
                }
                Ok(event) => {
                    drawn = false;
                    self.touched = true;
                    requests.extend(take(&mut self.state, &event, &self.layout));
                }
                Err(RecvTimeoutError::Timeout) if requests.is_empty() && self.screen.is_hung_up() => {
                    requests.push(Request::Quit);
                    return requests;
                }
                Err(RecvTimeoutError::Timeout) => return requests,
                Err(RecvTimeoutError::Disconnected) => {
                    requests.push(Request::Quit);
                    return requests;
                }
            }
            event = self.screen.input.recv_timeout(Duration::ZERO);
        }
    }

    /// Says something at the bottom.
    pub(crate) fn say(&mut self, message: impl Into<String>) {
        self.state.message = Some(message.into());
        self.touched = true;
    }

    /// Whether something is searched for, which Esc stops.
    pub(crate) fn searching(&mut self, searching: bool) {
        self.state.searching = searching;
    }

    /// Draws, if there is a reason to and it is time. `moved`: the stream has gone on.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub(crate) fn draw(&mut self, engine: &Engine, place: Place, moved: bool) -> Result<()> {
        let since = self.last.elapsed();
        let due = self.held.is_some() || (self.touched && since >= PICTURE_EVERY) || (moved && since >= STREAM_EVERY);
        if !due {
            return Ok(());
        }
        if !self.screen.is_free()? {
            // Nobody reads what was drawn last: the next picture is for whoever comes back.
            self.touched = true;
            return Ok(());
        }
        let start = Instant::now();
        let scene = Scene { colour: self.colour, ..Scene::new(engine, place, &self.layout) };
        let (state, mut drawn) = (&self.state, Drawn::default());
        self.screen.terminal.draw(|frame| drawn = view::draw(frame, &scene, state))?;
        self.screen.show();
        self.state.drew(drawn);
        self.touched = false;
        self.last = Instant::now();
        self.drawing += start.elapsed();
        self.pictures += 1;
        Ok(())
    }

    /// Pictures drawn so far, and the time spent on them.
    #[must_use]
    pub(crate) const fn drawing(&self) -> (u64, Duration) {
        (self.pictures, self.drawing)
    }
}

/// Returns the picture as text without colours, for pages and tests.
#[must_use]
pub fn picture(
    engine: &Engine,
    place: Place,
    layout: &Layout,
    state: &State,
    width: u16,
    height: u16,
) -> (String, Drawn) {
    let mut drawn = Drawn::default();
    let scene = Scene::new(engine, place, layout);
    // A terminal in memory has no errors.
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| drawn = view::draw(frame, &scene, state));
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    ((0..height).map(line).collect::<Vec<_>>().join("\n"), drawn)
}

/// Whether an event means rows of a picture that is not drawn yet: who types fast, or far away, means what comes next.
fn awaits_drawing(state: &State, event: &Event) -> bool {
    match event {
        Event::Key(pressed) if state.prompt.is_none() => input::action(*pressed).is_some_and(|a| state.awaits(a)),
        _ => false,
    }
}

/// Takes one event of the terminal.
pub fn take(state: &mut State, event: &Event, layout: &Layout) -> Option<Request> {
    match event {
        Event::Key(pressed) if pressed.kind != KeyEventKind::Release && state.prompt.is_some() => {
            typed(state, *pressed, layout)
        }
        Event::Key(pressed) => input::action(*pressed).and_then(|action| state.act(action, layout)),
        Event::Mouse(event) => pointed(state, *event, layout),
        _ => None,
    }
}

fn pointed(state: &mut State, event: MouseEvent, layout: &Layout) -> Option<Request> {
    if state.prompt.is_some() {
        match input::mouse(event) {
            Some(Action::Down) => state.chose(true, layout),
            Some(Action::Up) => state.chose(false, layout),
            _ => {}
        }
        return None;
    }
    if let (MouseEventKind::Down(MouseButton::Left) | MouseEventKind::Drag(MouseButton::Left), Some(bar)) =
        (event.kind, state.drawn.bar)
        && event.row == bar.y
        && bar.width > 1
    {
        let part = f64::from(event.column.saturating_sub(bar.x)) / f64::from(bar.width - 1);
        return Some(Request::GoTo(format!("{:.3}%", (part * 100.0).min(100.0))));
    }
    input::mouse(event).and_then(|action| state.act(action, layout))
}

fn typed(state: &mut State, pressed: KeyEvent, layout: &Layout) -> Option<Request> {
    if pressed.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(pressed.code, KeyCode::Char('c')).then_some(Request::Quit);
    }
    match pressed.code {
        KeyCode::Enter => return state.entered(layout),
        KeyCode::Esc => state.dropped(),
        KeyCode::Backspace => state.erased(),
        KeyCode::Down | KeyCode::Tab => state.chose(true, layout),
        KeyCode::Up | KeyCode::BackTab => state.chose(false, layout),
        KeyCode::Char(c) => state.typed(c),
        _ => {}
    }
    None
}
