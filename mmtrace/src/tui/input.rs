//! Keys and what they do: the one table that the help, the palette and the loop read.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseEvent, MouseEventKind};

/// Something that can be asked of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
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
    /// Sorts by the next column.
    Sort,
    /// Turns the order round.
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

/// A key, what it does, and how it is called.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys, as the help shows them.
    pub keys: &'static str,
    codes: &'static [KeyCode],
    /// What they do.
    pub action: Action,
    /// Name in the palette.
    pub name: &'static str,
    /// In a few words.
    pub help: &'static str,
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
pub const BINDINGS: &[Binding] = &[
    binding("1", &[Char('1')], Action::View(0), "overview", "rates, verdicts, losses"),
    binding("2", &[Char('2')], Action::View(1), "locks", "mmap_locks: who holds, who waits"),
    binding("3", &[Char('3')], Action::View(2), "faults", "page faults by process and region"),
    binding("4", &[Char('4')], Action::View(3), "collapse", "khugepaged, migration, compaction"),
    binding("5", &[Char('5')], Action::View(4), "walker", "page tables and what the walker expects"),
    binding("6", &[Char('6')], Action::View(5), "rules", "every rule with its verdict"),
    binding("7", &[Char('7')], Action::View(6), "events", "the stream, event by event"),
    binding("Tab", &[Tab], Action::NextView, "next-view", "next view"),
    binding("BackTab", &[KeyCode::BackTab], Action::PreviousView, "previous-view", "view before"),
    binding("j Down", &[Char('j'), Down], Action::Down, "down", "one row down"),
    binding("k Up", &[Char('k'), Up], Action::Up, "up", "one row up"),
    binding("PgDn", &[PageDown], Action::PageDown, "page-down", "a page down"),
    binding("PgUp", &[PageUp], Action::PageUp, "page-up", "a page up"),
    binding("Home", &[Home], Action::Top, "top", "first row"),
    binding("End G", &[End, Char('G')], Action::Bottom, "bottom", "last row"),
    binding("Enter", &[Enter], Action::Enter, "enter", "look into the selected row"),
    binding("Esc", &[Esc], Action::Back, "back", "back; closes what is open"),
    binding("Space", &[Char(' ')], Action::Pause, "pause", "pause, or go on; recording does not stop"),
    binding("Right", &[Right], Action::StepOn, "step", "one event on (capture)"),
    binding("Left", &[Left], Action::StepBack, "step-back", "one event back (capture)"),
    binding("]", &[Char(']')], Action::JumpOn, "jump", "a tenth on (capture)"),
    binding("[", &[Char('[')], Action::JumpBack, "jump-back", "a tenth back (capture)"),
    binding("g", &[Char('g')], Action::GoTo, "go-to", "go to a time: 1.5s, 250ms, 40% (capture)"),
    binding("n", &[Char('n')], Action::NextViolation, "next-violation", "next violation or hazard (capture)"),
    binding("N", &[Char('N')], Action::PreviousViolation, "previous-violation", "violation or hazard before (capture)"),
    binding("+", &[Char('+'), Char('=')], Action::Faster, "faster", "replay twice as fast"),
    binding("-", &[Char('-')], Action::Slower, "slower", "replay half as fast"),
    binding("s", &[Char('s')], Action::Sort, "sort", "sort by the next column"),
    binding("r", &[Char('r')], Action::Reverse, "reverse", "turn the order round"),
    binding("/", &[Char('/')], Action::Filter, "filter", "only rows with this text"),
    binding(":", &[Char(':')], Action::Palette, "palette", "any action by name"),
    binding("?", &[Char('?')], Action::Help, "help", "this help"),
    binding("q", &[Char('q')], Action::Quit, "quit", "quit"),
];

/// What a key does.
#[must_use]
pub fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, Char('c' | 'd')).then_some(Action::Quit);
    }
    BINDINGS.iter().find(|b| b.codes.contains(&key.code)).map(|b| b.action)
}

/// What the mouse does.
#[must_use]
pub const fn mouse(event: MouseEvent) -> Option<Action> {
    match event.kind {
        MouseEventKind::ScrollDown => Some(Action::Down),
        MouseEventKind::ScrollUp => Some(Action::Up),
        _ => None,
    }
}

/// The action of this name, or of the only name that begins so.
#[must_use]
pub fn named(name: &str) -> Option<Action> {
    let name = name.trim();
    let mut found = BINDINGS.iter().filter(|b| b.name.starts_with(name) && !name.is_empty());
    BINDINGS
        .iter()
        .find(|b| b.name == name)
        .or_else(|| match (found.next(), found.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        })
        .map(|b| b.action)
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
            assert_eq!(named(b.name), Some(b.action));
        }
        assert_eq!(named("ov"), Some(Action::View(0)));
        assert_eq!(named("step"), Some(Action::StepOn), "a whole name counts before others that begin so");
        assert_eq!(named("p"), None);
    }
}
