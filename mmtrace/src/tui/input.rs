//! Keys and what they do: the one table that the help, the palette and the loop read.

use super::layout::Layout;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseEvent, MouseEventKind};

/// Something that can be asked of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Shows a view, by number.
    View(u8),
    /// The next view.
    NextView,
    /// The one before.
    PreviousView,
    /// One row down.
    Down,
    /// One row up.
    Up,
    /// A page down.
    PageDown,
    /// A page up.
    PageUp,
    /// To the first row.
    Top,
    /// To the last row.
    Bottom,
    /// Into the selected row.
    Enter,
    /// Out of it; ends whatever is open.
    Back,
    /// Stops or goes on.
    Pause,
    /// One event on.
    StepOn,
    /// One event back.
    StepBack,
    /// A tenth of the whole on.
    JumpOn,
    /// A tenth of the whole back.
    JumpBack,
    /// To a time that is asked for.
    GoTo,
    /// To the next violation.
    NextViolation,
    /// To the one before.
    PreviousViolation,
    /// Twice as fast.
    Faster,
    /// Half as fast.
    Slower,
    /// Saves the last seconds as a capture.
    Save,
    /// Sorts by the next column.
    Sort,
    /// Reverses the order of the rows.
    Reverse,
    /// Shows only rows with a text.
    Filter,
    /// Runs an action by name.
    Palette,
    /// Explains the keys.
    Help,
    /// Ends.
    Quit,
}

/// An action as the help and the palette show it.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Its keys.
    pub keys: &'static str,
    /// Name in the palette.
    pub name: &'a str,
    /// In a few words.
    pub help: &'a str,
    /// The action itself.
    pub(crate) action: Action,
}

/// Every action that a layout has, in the order of the table of keys.
#[must_use]
pub fn offers(layout: &Layout) -> Vec<Offer<'_>> {
    let offer = |b: &'static Binding| match b.action {
        Action::View(n) => {
            let view = layout.views.get(usize::from(n))?;
            Some(Offer { keys: b.keys, name: &view.name, help: &view.explains, action: b.action })
        }
        action => Some(Offer { keys: b.keys, name: b.name, help: b.help, action }),
    };
    BINDINGS.iter().filter_map(offer).collect()
}

/// The actions that a text means: first those whose names begin with it, then those that have it anywhere.
#[must_use]
pub(crate) fn meant<'a>(layout: &'a Layout, text: &str) -> Vec<Offer<'a>> {
    let text = text.trim().to_lowercase();
    let place = |offer: &Offer<'_>| {
        let name = offer.name.to_lowercase();
        match (name == text, name.starts_with(&text), name.contains(&text), offer.help.to_lowercase().contains(&text)) {
            (true, ..) => Some(0),
            (_, true, ..) => Some(1),
            (_, _, true, _) => Some(2),
            (.., true) => Some(3),
            _ => None,
        }
    };
    let mut found: Vec<_> = offers(layout).into_iter().filter_map(|o| Some((place(&o)?, o))).collect();
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, offer)| offer).collect()
}

/// A key, what it does, and how it is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    /// The keys, as the help shows them.
    pub(crate) keys: &'static str,
    codes: &'static [KeyCode],
    /// Action of these keys.
    pub(crate) action: Action,
    /// Name in the palette.
    pub(crate) name: &'static str,
    /// In a few words.
    pub(crate) help: &'static str,
}

const fn binding(
    keys: &'static str,
    codes: &'static [KeyCode],
    action: Action,
    name: &'static str,
    help: &'static str,
) -> Binding {
    Binding { keys, codes, action, name, help }
}

use KeyCode::{Char, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up};

/// Every key.
pub(crate) const BINDINGS: &[Binding] = &[
    // Name and help of these are those of the views.
    binding("1", &[Char('1')], Action::View(0), "view-1", ""),
    binding("2", &[Char('2')], Action::View(1), "view-2", ""),
    binding("3", &[Char('3')], Action::View(2), "view-3", ""),
    binding("4", &[Char('4')], Action::View(3), "view-4", ""),
    binding("5", &[Char('5')], Action::View(4), "view-5", ""),
    binding("6", &[Char('6')], Action::View(5), "view-6", ""),
    binding("7", &[Char('7')], Action::View(6), "view-7", ""),
    binding("8", &[Char('8')], Action::View(7), "view-8", ""),
    binding("9", &[Char('9')], Action::View(8), "view-9", ""),
    binding("Tab", &[Tab], Action::NextView, "next-view", "next view"),
    binding("BackTab", &[KeyCode::BackTab], Action::PreviousView, "previous-view", "previous view"),
    binding("j Down", &[Char('j'), Down], Action::Down, "down", "one row down"),
    binding("k Up", &[Char('k'), Up], Action::Up, "up", "one row up"),
    binding("PgDn", &[PageDown], Action::PageDown, "page-down", "a page down"),
    binding("PgUp", &[PageUp], Action::PageUp, "page-up", "a page up"),
    binding("Home", &[Home], Action::Top, "top", "first row"),
    binding("End G", &[End, Char('G')], Action::Bottom, "bottom", "last row"),
    binding("Enter", &[Enter], Action::Enter, "enter", "look into the selected row, or go to what it names"),
    binding("Esc", &[Esc], Action::Back, "back", "back; closes what is open, stops a search"),
    binding("Space", &[Char(' ')], Action::Pause, "pause", "pause, or go on; what is recorded goes on"),
    binding("Right", &[Right], Action::StepOn, "step", "one event on"),
    binding("Left", &[Left], Action::StepBack, "step-back", "one event back"),
    binding("]", &[Char(']')], Action::JumpOn, "jump", "a tenth of the whole on"),
    binding("[", &[Char('[')], Action::JumpBack, "jump-back", "a tenth of the whole back"),
    binding("g", &[Char('g')], Action::GoTo, "go-to", "go to a time: 1.5s, 250ms, 40%"),
    binding("n", &[Char('n')], Action::NextViolation, "next-violation", "next violation or hazard"),
    binding("N", &[Char('N')], Action::PreviousViolation, "previous-violation", "violation or hazard before"),
    binding("+", &[Char('+'), Char('=')], Action::Faster, "faster", "replay twice as fast"),
    binding("-", &[Char('-')], Action::Slower, "slower", "replay half as fast"),
    binding("P", &[Char('P')], Action::Save, "save", "save the last seconds as a capture"),
    binding("s", &[Char('s')], Action::Sort, "sort", "sort by the next column"),
    binding("r", &[Char('r')], Action::Reverse, "reverse", "reverse the order"),
    binding("/", &[Char('/')], Action::Filter, "filter", "only rows with this text"),
    binding(":", &[Char(':')], Action::Palette, "palette", "any action by name"),
    binding("?", &[Char('?')], Action::Help, "help", "this help"),
    binding("q", &[Char('q')], Action::Quit, "quit", "quit"),
];

/// Returns the action of a key, if it has one.
#[must_use]
pub(crate) fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, Char('c' | 'd')).then_some(Action::Quit);
    }
    BINDINGS.iter().find(|b| b.codes.contains(&key.code)).map(|b| b.action)
}

/// Returns the action of a mouse event, if it has one.
#[must_use]
pub(crate) const fn mouse(event: MouseEvent) -> Option<Action> {
    match event.kind {
        MouseEventKind::ScrollDown => Some(Action::Down),
        MouseEventKind::ScrollUp => Some(Action::Up),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_and_no_name_is_there_twice() {
        let codes: Vec<KeyCode> = BINDINGS.iter().flat_map(|b| b.codes).copied().collect();
        for (i, code) in codes.iter().enumerate() {
            assert!(!codes[..i].contains(code), "{code:?}");
        }
        for (i, b) in BINDINGS.iter().enumerate() {
            assert!(BINDINGS[..i].iter().all(|other| other.name != b.name), "{}", b.name);
        }
    }

    #[test]
    fn every_action_is_found_by_its_name() {
        let layout = Layout::default();
        let first = |text: &str| meant(&layout, text).first().map(|o| o.action);
        for offer in offers(&layout) {
            assert_eq!(first(offer.name), Some(offer.action), "{}", offer.name);
        }
        assert_eq!(first("OVER"), Some(Action::View(0)));
        assert_eq!(first("step"), Some(Action::StepOn), "a whole name comes before others that begin so");
        assert_eq!(first("capture"), Some(Action::Save), "help texts count too");
        assert_eq!(first("zzz"), None);
        assert_eq!(meant(&layout, "").len(), offers(&layout).len());
    }
}
