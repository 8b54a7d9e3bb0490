//! What the dashboard shows and how: nothing about the kernel is kept here.

use super::input::{Action, named};

/// Number of views.
pub const VIEWS: usize = 7;

/// How the rows of a view are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The selected row, counted among those shown.
    pub selected: usize,
    /// Column that they are sorted by; `None`: the view's own order.
    pub sort: Option<usize>,
    /// The other way round.
    pub reverse: bool,
    /// Only rows with this text.
    pub filter: String,
    /// The row that is looked into, by its key.
    pub inside: Option<u64>,
}

/// A line of text that is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// For what.
    pub what: Asked,
    /// So far.
    pub text: String,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A filter.
    Filter,
    /// The name of an action.
    Command,
    /// A time.
    Time,
}

impl Asked {
    /// In front of the text.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Filter => "/",
            Self::Command => ":",
            Self::Time => "go to (1.5s, 250ms, 40%): ",
        }
    }
}

/// What the loop has to do after an action: everything that is not about the view alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Stop or go on.
    Pause,
    /// So many events on, or back.
    Step(i64),
    /// So many tenths of the whole on, or back.
    Jump(i64),
    /// To this time, as typed.
    GoTo(String),
    /// To the next violation (true), or the one before.
    Violation(bool),
    /// Faster (true) or slower.
    Speed(bool),
    /// End.
    Quit,
}

/// The dashboard's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The view that is shown.
    pub view: usize,
    /// How each view's rows are shown.
    pub rows: [Rows; VIEWS],
    /// The help is open.
    pub help: bool,
    /// A line that is being typed.
    pub prompt: Option<Prompt>,
    /// Said once, at the bottom.
    pub message: Option<String>,
    /// Rows of a page, as last drawn.
    pub page: usize,
    /// Rows there were, and columns they had, as last drawn.
    pub drawn: (usize, usize),
}

impl State {
    /// How the current view's rows are shown.
    #[must_use]
    pub fn current(&self) -> &Rows {
        &self.rows[self.view]
    }

    fn current_mut(&mut self) -> &mut Rows {
        &mut self.rows[self.view]
    }

    /// Keeps the selection where there is something.
    pub fn clamp(&mut self, rows: usize, columns: usize, page: usize) {
        self.page = page;
        self.drawn = (rows, columns);
        let current = self.current_mut();
        current.selected = current.selected.min(rows.saturating_sub(1));
        if current.sort.is_some_and(|c| c >= columns) {
            current.sort = None;
        }
    }

    /// Does what it can, and asks for the rest. `key` is that of the selected row.
    pub fn act(&mut self, action: Action, key: Option<u64>) -> Option<Request> {
        self.message = None;
        if self.help && !matches!(action, Action::Quit) {
            self.help = false;
            return None;
        }
        let (rows, columns, page) = (self.drawn.0, self.drawn.1, self.page.max(1));
        let last = rows.saturating_sub(1);
        match action {
            Action::View(n) => self.view = usize::from(n).min(VIEWS - 1),
            Action::NextView => self.view = (self.view + 1) % VIEWS,
            Action::PreviousView => self.view = (self.view + VIEWS - 1) % VIEWS,
            Action::Down => self.select(|s| (s + 1).min(last)),
            Action::Up => self.select(|s| s.saturating_sub(1)),
            Action::PageDown => self.select(|s| (s + page).min(last)),
            Action::PageUp => self.select(|s| s.saturating_sub(page)),
            Action::Top => self.select(|_| 0),
            Action::Bottom => self.select(|_| last),
            Action::Enter => {
                let current = self.current_mut();
                if current.inside.is_none() {
                    current.inside = key;
                }
            }
            Action::Back => {
                let current = self.current_mut();
                if current.inside.take().is_none() {
                    current.filter.clear();
                }
            }
            Action::Sort => {
                let current = self.current_mut();
                current.sort = match current.sort {
                    None if columns > 0 => Some(0),
                    Some(c) if c + 1 < columns => Some(c + 1),
                    _ => None,
                };
            }
            Action::Reverse => self.current_mut().reverse ^= true,
            Action::Filter => self.ask(Asked::Filter),
            Action::Palette => self.ask(Asked::Command),
            Action::GoTo => self.ask(Asked::Time),
            Action::Help => self.help = true,
            Action::Pause => return Some(Request::Pause),
            Action::StepOn => return Some(Request::Step(1)),
            Action::StepBack => return Some(Request::Step(-1)),
            Action::JumpOn => return Some(Request::Jump(1)),
            Action::JumpBack => return Some(Request::Jump(-1)),
            Action::NextViolation => return Some(Request::Violation(true)),
            Action::PreviousViolation => return Some(Request::Violation(false)),
            Action::Faster => return Some(Request::Speed(true)),
            Action::Slower => return Some(Request::Speed(false)),
            Action::Quit => return Some(Request::Quit),
        }
        None
    }

    fn select(&mut self, to: impl FnOnce(usize) -> usize) {
        let current = self.current_mut();
        current.selected = to(current.selected);
    }

    fn ask(&mut self, what: Asked) {
        let text = if what == Asked::Filter { self.current().filter.clone() } else { String::new() };
        self.prompt = Some(Prompt { what, text });
    }

    /// A character is typed into the prompt.
    pub fn typed(&mut self, c: char) {
        if let Some(prompt) = &mut self.prompt
            && prompt.text.len() < 200
            && !c.is_control()
        {
            prompt.text.push(c);
        }
        self.filter_as_typed();
    }

    /// The last one is taken back.
    pub fn erased(&mut self) {
        if let Some(prompt) = &mut self.prompt {
            prompt.text.pop();
        }
        self.filter_as_typed();
    }

    fn filter_as_typed(&mut self) {
        if let Some(Prompt { what: Asked::Filter, text }) = &self.prompt {
            let text = text.clone();
            let current = self.current_mut();
            current.filter = text;
            current.selected = 0;
        }
    }

    /// The prompt is given up.
    pub fn dropped(&mut self) {
        if self.prompt.take().is_some_and(|p| p.what == Asked::Filter) {
            self.current_mut().filter.clear();
        }
    }

    /// The prompt is complete.
    pub fn entered(&mut self, key: Option<u64>) -> Option<Request> {
        let prompt = self.prompt.take()?;
        match prompt.what {
            Asked::Filter => None,
            Asked::Time => Some(Request::GoTo(prompt.text)),
            Asked::Command => match named(&prompt.text) {
                Some(action) => self.act(action, key),
                None => {
                    self.message = Some(format!("there is no action \"{}\"; ? lists them", prompt.text));
                    None
                }
            },
        }
    }
}
