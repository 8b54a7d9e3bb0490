//! State of the dashboard: its view, selection and input. Nothing about the kernel is kept here.

use super::{
    drawn::{Drawn, Goal, Jump},
    input::{Action, meant},
    layout::{Layout, VIEWS_MAX},
};
/// Longest text that can be typed, bytes.
const TYPED_MAX: usize = 200;

/// The length that is saved if none is typed.
const LENGTH: &str = "10s";

/// Selection, order and filter of a view's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The selected row, counted among those shown.
    pub selected: usize,
    /// Column that they are sorted by; `None`: the view's own order.
    pub sort: Option<usize>,
    /// The other way round.
    pub(crate) reverse: bool,
    /// Only rows with this text.
    pub filter: String,
    /// The row that is looked into, by its key.
    pub inside: Option<u64>,
    /// The row that was selected before one was looked into.
    pub(crate) outside: usize,
}

/// A line of text that is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its purpose.
    pub(crate) what: Asked,
    /// The text so far.
    pub text: String,
    /// The number of the chosen offer.
    pub(crate) chosen: usize,
}

/// The purpose of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A filter.
    Filter,
    /// The name of an action.
    Command,
    /// A time.
    Time,
    /// Length of the time span to be saved.
    Length,
}

impl Asked {
    /// In front of the text.
    #[must_use]
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Filter => "/",
            Self::Command => ":",
            Self::Time => "go to (1.5s, 250ms, 40%): ",
            Self::Length => "save the last (500ms, 2min; Enter alone: 10s): ",
        }
    }
}

/// Work for the loop after an action: everything that is not about the view alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Stop or go on.
    Pause,
    /// Goes this many events on, or back.
    Step(i64),
    /// Goes this many tenths of the whole on, or back.
    Jump(i64),
    /// To this time, as typed.
    GoTo(String),
    /// To the next violation (true), or the one before.
    Violation(bool),
    /// Faster (true) or slower.
    Speed(bool),
    /// Search no further.
    Stop,
    /// Save so much, as typed.
    Save(String),
    /// End.
    Quit,
}

/// The dashboard's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The view that is shown.
    pub view: usize,
    /// Selection, order and filter of each view's rows.
    pub rows: [Rows; VIEWS_MAX],
    /// The help is open, scrolled by so many lines.
    pub help: Option<usize>,
    /// A line that is being typed.
    pub prompt: Option<Prompt>,
    /// Said once, at the bottom.
    pub message: Option<String>,
    /// Something is searched for.
    pub searching: bool,
    /// The last picture.
    pub drawn: Drawn,
    /// View of the last picture, with the selection, order and filter of its rows.
    pub seen: (usize, Rows),
    /// Views that the user left by going to what a row names, newest last, each with its rows' selection.
    pub trail: Vec<(usize, Rows)>,
}

impl State {
    /// Returns the selection, order and filter of the current view's rows.
    #[must_use]
    pub fn current(&self) -> &Rows {
        &self.rows[self.view]
    }

    fn current_mut(&mut self) -> &mut Rows {
        &mut self.rows[self.view]
    }

    /// Takes note of what was drawn, and keeps the selection where there is something.
    pub fn drew(&mut self, drawn: Drawn) {
        self.drawn = drawn;
        let current = self.current_mut();
        current.selected = current.selected.min(drawn.rows.saturating_sub(1));
        if current.sort.is_some_and(|c| c >= drawn.columns) {
            current.sort = None;
        }
        self.seen = (self.view, self.current().clone());
        if let Some(help) = &mut self.help {
            *help = (*help).min(drawn.help);
        }
    }

    /// Whether an action is about rows that have not been drawn yet.
    #[must_use]
    pub(crate) fn awaits(&self, action: Action) -> bool {
        let (view, seen) = &self.seen;
        let rows = self.current();
        match action {
            Action::Enter => *view != self.view || seen != rows,
            Action::Down | Action::Up | Action::PageDown | Action::PageUp | Action::Top | Action::Bottom => {
                *view != self.view || seen.inside != rows.inside || seen.filter != rows.filter
            }
            _ => false,
        }
    }

    /// Does what it can, and asks for the rest.
    pub(crate) fn act(&mut self, action: Action, layout: &Layout) -> Option<Request> {
        self.message = None;
        if let Some(scrolled) = self.help {
            self.help = self.scrolled(action, scrolled);
            return (action == Action::Quit).then_some(Request::Quit);
        }
        let Drawn { rows, columns, .. } = self.drawn;
        let views = layout.views.len();
        match action {
            Action::View(n) if usize::from(n) < views => self.show(usize::from(n)),
            Action::View(n) => self.message = Some(format!("there is no view {}", n + 1)),
            Action::NextView => self.show((self.view + 1) % views),
            Action::PreviousView => self.show((self.view + views - 1) % views),
            Action::Down | Action::Up | Action::PageDown | Action::PageUp | Action::Top | Action::Bottom => {
                let (page, last) = (self.drawn.page.max(1), rows.saturating_sub(1));
                let current = self.current_mut();
                current.selected = moved(action, current.selected, page, last);
            }
            Action::Enter => self.enter(),
            Action::Back if self.searching => return Some(Request::Stop),
            Action::Back => self.back(),
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
            Action::Save => self.ask(Asked::Length),
            Action::Help => self.help = Some(0),
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

    /// Returns the number of lines that the help is scrolled by after an action; `None`: closed.
    fn scrolled(&self, action: Action, scrolled: usize) -> Option<usize> {
        let moves =
            [Action::Down, Action::Up, Action::PageDown, Action::PageUp, Action::Top, Action::Bottom].contains(&action);
        moves.then(|| moved(action, scrolled, 10, self.drawn.help))
    }

    fn show(&mut self, view: usize) {
        self.view = view;
        self.trail.clear();
    }

    /// Into the selected row, or to what it names.
    fn enter(&mut self) {
        if let Some(Jump { view, goal }) = self.drawn.jump {
            self.trail.push((self.view, self.rows[self.view].clone()));
            self.view = view;
            let rows = self.current_mut();
            *rows = Rows { sort: rows.sort, reverse: rows.reverse, ..Rows::default() };
            match goal {
                Goal::Inside(key) => rows.inside = Some(key),
                Goal::Filter(column, value) => {
                    rows.filter = match column {
                        "pid" | "tid" => format!("{column} == {value}"),
                        _ => format!("{column} == {value:#x}"),
                    }
                }
            }
            return;
        }
        let key = self.drawn.key;
        let current = self.current_mut();
        if let (None, Some(key)) = (current.inside, key) {
            current.inside = Some(key);
            current.outside = current.selected;
            current.selected = 0;
        }
    }

    /// Out of what is looked into, back to where one came from, or to all rows.
    fn back(&mut self) {
        if let Some((view, rows)) = self.trail.pop() {
            self.view = view;
            *self.current_mut() = rows;
            return;
        }
        let current = self.current_mut();
        if current.inside.take().is_some() {
            current.selected = current.outside;
        } else {
            current.filter.clear();
        }
    }

    fn ask(&mut self, what: Asked) {
        let text = match what {
            Asked::Filter => self.current().filter.clone(),
            Asked::Command | Asked::Time | Asked::Length => String::new(),
        };
        self.prompt = Some(Prompt { what, text, chosen: 0 });
    }

    /// A character is typed into the prompt.
    pub(crate) fn typed(&mut self, c: char) {
        if let Some(prompt) = &mut self.prompt
            && prompt.text.len() < TYPED_MAX
            && !c.is_control()
        {
            prompt.text.push(c);
            prompt.chosen = 0;
        }
        self.filter_as_typed();
    }

    /// The last one is taken back; of nothing, the prompt is given up.
    pub(crate) fn erased(&mut self) {
        if let Some(prompt) = &mut self.prompt {
            prompt.chosen = 0;
            if prompt.text.pop().is_none() {
                self.prompt = None;
            }
        }
        self.filter_as_typed();
    }

    /// Another one of what is offered is chosen.
    pub(crate) fn chose(&mut self, on: bool, layout: &Layout) {
        if let Some(prompt) = self.prompt.as_mut().filter(|p| p.what == Asked::Command) {
            let last = meant(layout, &prompt.text).len().saturating_sub(1);
            prompt.chosen = if on { (prompt.chosen + 1).min(last) } else { prompt.chosen.saturating_sub(1) };
        }
    }

    fn filter_as_typed(&mut self) {
        if let Some(Prompt { what: Asked::Filter, text, .. }) = &self.prompt {
            let text = text.clone();
            let current = self.current_mut();
            current.filter = text;
            current.selected = 0;
        }
    }

    /// The prompt is given up.
    pub(crate) fn dropped(&mut self) {
        if self.prompt.take().is_some_and(|p| p.what == Asked::Filter) {
            self.current_mut().filter.clear();
        }
    }

    /// The prompt is complete.
    pub(crate) fn entered(&mut self, layout: &Layout) -> Option<Request> {
        let prompt = self.prompt.take()?;
        match prompt.what {
            Asked::Filter => None,
            Asked::Time => Some(Request::GoTo(prompt.text)),
            Asked::Length if prompt.text.trim().is_empty() => Some(Request::Save(LENGTH.to_owned())),
            Asked::Length => Some(Request::Save(prompt.text)),
            Asked::Command => match meant(layout, &prompt.text).get(prompt.chosen) {
                Some(offer) => self.act(offer.action, layout),
                None => {
                    self.message = Some(format!("there is no action \"{}\"; ? lists them", prompt.text));
                    None
                }
            },
        }
    }
}

/// Returns the position after a move from `at`, at most `last`.
fn moved(action: Action, at: usize, page: usize, last: usize) -> usize {
    let to = match action {
        Action::Down => at + 1,
        Action::Up => at.saturating_sub(1),
        Action::PageDown => at + page,
        Action::PageUp => at.saturating_sub(page),
        Action::Top => 0,
        _ => last,
    };
    to.min(last)
}
