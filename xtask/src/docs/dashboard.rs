//! docs/dashboard.md, and the screen in README.md: pictures of the dashboard over captures in testdata/.

use anyhow::{Context as _, Result, bail};
use mmtrace::tui::{
    drawn::Drawn, input::offers, layout::Layout, layout_file::BUILT_IN, picture, state::State, view::Place,
};
use mmtrace_capture::Capture;
use mmtrace_model::replay::{Engine, timeline::Timeline};

use super::markdown::{code, head, table};
use crate::workspace::Workspace;

/// Size of the pictures.
const SIZE: (u16, u16) = (100, 24);
/// Around the screen in README.md.
const MARKS: (&str, &str) = ("<!-- screen: written by `cargo xtask docs` -->\n", "<!-- screen: end -->\n");

/// A screen.
struct Screen {
    title: &'static str,
    capture: &'static str,
    /// The kind of view.
    view: &'static str,
    /// The row that is looked into; of the view's own order.
    inside: Option<usize>,
}

const SCREENS: &[Screen] = &[
    Screen { title: "Overview", capture: "6.18-khugepaged", view: "overview", inside: None },
    Screen { title: "Locks", capture: "6.18-fork", view: "locks", inside: None },
    Screen { title: "One lock", capture: "6.18-mmap", view: "locks", inside: Some(0) },
    Screen { title: "Callers", capture: "6.18-names", view: "callers", inside: None },
    Screen { title: "One caller", capture: "6.18-names", view: "callers", inside: Some(0) },
    Screen { title: "Faults", capture: "6.18-fork", view: "faults", inside: None },
    Screen { title: "One process", capture: "6.18-mmap", view: "faults", inside: Some(0) },
    Screen { title: "With function probes: overview", capture: "6.12-collapse-file", view: "overview", inside: None },
    Screen { title: "With function probes: locks", capture: "missed/7.2-migrate", view: "locks", inside: None },
    Screen { title: "With function probes: faults", capture: "6.12-collapse-file", view: "faults", inside: None },
    Screen {
        title: "With function probes: one process",
        capture: "bugs/6.12-poison-collapse",
        view: "faults",
        inside: Some(0),
    },
    Screen { title: "Collapse and migration", capture: "6.18-compaction", view: "collapse", inside: None },
    Screen {
        title: "With function probes: collapse",
        capture: "bugs/6.12-poison-collapse",
        view: "collapse",
        inside: None,
    },
    Screen { title: "Walker", capture: "6.18-khugepaged", view: "walker", inside: None },
    Screen { title: "Rules", capture: "6.18-khugepaged", view: "rules", inside: None },
    Screen { title: "Events", capture: "6.18-khugepaged", view: "events", inside: None },
    Screen { title: "One event", capture: "6.18-mmap", view: "events", inside: Some(4) },
];

/// The state at the end of a capture, and how long it is.
fn end(workspace: &Workspace, name: &str) -> Result<(Engine, u64)> {
    let dir = workspace.path(&format!("testdata/{name}/capture"));
    let capture = Capture::open(&dir)?;
    let (first, last) = capture.summary().span.with_context(|| format!("{} is empty", dir.display()))?;
    let mut timeline = Timeline::new(capture.context().clone(), &capture);
    timeline.seek(last);
    Ok((timeline.engine().clone(), last - first))
}

impl Screen {
    fn picture(&self, workspace: &Workspace) -> Result<String> {
        let layout = Layout::default();
        let (engine, of) = end(workspace, self.capture)?;
        let place = Place::Capture { playing: false, speed: 1.0, at: of, of: Some(of) };
        let view = layout.showing(self.view).with_context(|| format!("no view shows {}", self.view))?;
        let mut state = State { view, ..State::default() };
        let draw = |state: &State| -> (String, Drawn) { picture(&engine, place, &layout, state, SIZE.0, SIZE.1) };
        if let Some(row) = self.inside {
            state.rows[view].selected = row;
            let key = draw(&state).1.key.with_context(|| format!("{}: there is no such row", self.title))?;
            state.rows[view].inside = Some(key);
            state.rows[view].selected = 0;
        }
        Ok(draw(&state).0)
    }
}

/// The page.
pub(super) fn page(workspace: &Workspace) -> Result<String> {
    let mut text = head("The dashboard", "mmtrace::tui and captures in testdata/");
    text.push_str(
        "\n`mmtrace top`, `mmtrace record --tui` and `mmtrace replay DIR --tui` show one stream with one application.\n\
         A recording keeps its newest million events in memory. You can pause it and move in these events as in a\n\
         capture; recording and judging go on. `P` saves the last seconds as a capture, `mmtrace.saved-1` and so on.\n\
         The keys below move in time, and so does a click on the bar above the last line. A cross on the\n\
         bar stands for a time at which events are missing. Times are seconds since the start of the recording.\n\n\
         In the locks view, `now` says who holds a lock, by which call and since when, and who has waited longest, in\n\
         which call. The id stands behind a name that several of the tasks shown have, and the number behind the name of\n\
         several threads of one process (`fault-worker ×6`).\n\n\
         `!` marks a value that passes a limit, and `!!` a value that passes the bad one. Losses and violations are\n\
         red, or reversed if there are no colours (`NO_COLOR`).\n\n## Keys\n\n",
    );
    let layout = Layout::default();
    let rows = offers(&layout).into_iter().map(|offer| {
        let keys: Vec<String> = offer.keys.split(' ').map(code).collect();
        vec![keys.join(" "), offer.name.to_owned(), offer.help.to_owned()]
    });
    text.push_str(&table(&["key", "name in the palette", "what it does"], rows));
    let names: Vec<String> = BUILT_IN.iter().map(|(name, _)| format!("`{name}`")).collect();
    text.push_str(&format!(
        "\n## Layouts\n\nA layout is a file: `--dashboard FILE`. It sets the views, their columns, the columns that a narrow\nterminal \
         drops first, and the limits. Built in are {}. [dashboards/default.toml](../dashboards/default.toml)\nsays what a \
         layout can contain.\n",
        names.join(" and ")
    ));
    for screen in SCREENS {
        let picture = screen.picture(workspace)?;
        text.push_str(&format!("\n## {}\n\n```text\n{}\n```\n", screen.title, picture.trim_end()));
    }
    Ok(text)
}

/// README.md with the screen that it shows.
pub(super) fn readme(workspace: &Workspace) -> Result<String> {
    let text = std::fs::read_to_string(workspace.path("README.md")).context("cannot read README.md")?;
    let picture = SCREENS[0].picture(workspace)?;
    with_screen(&text, &picture)
}

fn with_screen(text: &str, picture: &str) -> Result<String> {
    let parts = text.split_once(MARKS.0).and_then(|(before, rest)| Some((before, rest.split_once(MARKS.1)?.1)));
    let Some((before, after)) = parts else { bail!("README.md has no place for the screen: {}{}", MARKS.0, MARKS.1) };
    Ok(format!("{before}{}```text\n{}\n```\n{}{after}", MARKS.0, picture.trim_end(), MARKS.1))
}

#[cfg(test)]
mod tests {
    use mmtrace::tui::view::KINDS;

    use super::*;

    #[test]
    fn the_page_shows_every_kind_of_view() {
        for kind in &KINDS {
            assert!(SCREENS.iter().any(|screen| screen.view == kind.name), "no screen shows {}", kind.name);
        }
    }

    #[test]
    fn the_screen_is_replaced_and_nothing_else() {
        let text = format!("a\n{}old\n{}b\n", MARKS.0, MARKS.1);
        let new = with_screen(&text, "new\n\n").expect("it has a place");
        assert_eq!(new, format!("a\n{}```text\nnew\n```\n{}b\n", MARKS.0, MARKS.1));
        assert_eq!(with_screen(&new, "new").expect("still"), new);
        assert!(with_screen("a", "new").is_err());
    }
}
