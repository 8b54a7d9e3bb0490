//! The dashboard on a terminal in memory: what each view shows, and that nothing typed at any
//! size breaks it.

use std::{path::Path, sync::OnceLock};

use mmtrace::{
    capture::Capture,
    replay::{Engine, timeline::Timeline},
    tui::{
        input::offers,
        layout::Layout,
        state::{Request, State, VIEWS_MAX},
        take,
        view::{self, Drawn, Place, Show},
    },
};
use proptest::prelude::*;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers},
};

/// Captures of real kernels.
const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata");

/// The state at the end of a golden capture.
fn engine(name: &str) -> Engine {
    let capture = Capture::open(&Path::new(TESTDATA).join(name).join("capture")).expect("open");
    let mut timeline = Timeline::new(&capture);
    timeline.seek(u64::MAX);
    timeline.engine().clone()
}

fn layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(Layout::default)
}

const AT_END: Place = Place::Capture { playing: false, speed: 1.0, at: 200_000_000, of: Some(200_000_000) };

fn screen(engine: &Engine, state: &State, place: Place, width: u16, height: u16) -> (String, Drawn) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
    let mut drawn = Drawn::default();
    let show = Show::new(engine, place, layout());
    terminal.draw(|frame| drawn = view::draw(frame, &show, state)).expect("in memory");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    ((0..height).map(line).collect::<Vec<_>>().join("\n"), drawn)
}

#[test]
fn every_view_at_three_sizes() {
    for name in ["6.18-mmap", "6.18-khugepaged"] {
        let engine = engine(name);
        for number in 0..layout().views.len() {
            let state = State { view: number, ..State::default() };
            for (width, height) in [(40, 12), (80, 24), (200, 60)] {
                let (text, _) = screen(&engine, &state, AT_END, width, height);
                let file = format!("{name}-{}-{width}x{height}", layout().view(number).name.to_lowercase());
                insta::assert_snapshot!(file, text);
            }
        }
    }
}

#[test]
fn looking_inside_and_asking_for_help() {
    let engine = engine("6.18-mmap");
    for (number, file) in [(1, "a-lock"), (2, "a-process"), (5, "a-rule")] {
        let mut state = State { view: number, ..State::default() };
        let (_, drawn) = screen(&engine, &state, AT_END, 100, 30);
        state.rows[number].inside = drawn.key;
        insta::assert_snapshot!(file, screen(&engine, &state, AT_END, 100, 30).0);
    }
    let state = State { help: Some(0), ..State::default() };
    let (text, _) = screen(&engine, &state, Place::Live, 100, 40);
    for offer in offers(layout()) {
        let cut: String = offer.help.chars().take(46).collect();
        assert!(text.contains(&cut) && text.contains(offer.keys) && text.contains(offer.name), "{}", offer.name);
    }
}

#[test]
fn where_one_is_is_always_said() {
    let engine = engine("6.18-fork");
    let state = State::default();
    let head = |place| screen(&engine, &state, place, 120, 20).0.lines().next().unwrap_or_default().to_owned();
    assert!(head(Place::Live).contains("LIVE"));
    assert!(head(Place::Paused { behind: 1_500_000_000, at: 1, of: 2 }).contains("PAUSED 1.500 s ago"));
    let playing = Place::Capture { playing: true, speed: 4.0, at: 0, of: None };
    assert!(head(playing).contains("REPLAY x4"));
    assert!(head(AT_END).contains("0 lost"));
}

fn one() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| engine("6.18-compaction"))
}

fn any_key() -> impl Strategy<Value = Event> {
    let codes = prop_oneof![
        4 => proptest::char::range(' ', '~').prop_map(KeyCode::Char),
        1 => prop_oneof![
            Just(KeyCode::Enter), Just(KeyCode::Esc), Just(KeyCode::Tab), Just(KeyCode::BackTab), Just(KeyCode::Up),
            Just(KeyCode::Down), Just(KeyCode::Left), Just(KeyCode::Right), Just(KeyCode::PageUp),
            Just(KeyCode::PageDown), Just(KeyCode::Home), Just(KeyCode::End), Just(KeyCode::Backspace),
            Just(KeyCode::Char('é')),
        ],
    ];
    codes.prop_map(|code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever is typed at whatever size: nothing panics, and the selection stays where there is something.
    #[test]
    fn anything_may_be_typed(
        keys in proptest::collection::vec((any_key(), 1_u16..120, 1_u16..50), 1..40),
    ) {
        let mut state = State::default();
        for (key, width, height) in keys {
            let asked = take(&mut state, &key, layout());
            if asked == Some(Request::Quit) {
                state = State::default();
            }
            let drawn = screen(one(), &state, Place::Live, width, height).1;
            state.drew(drawn);
            prop_assert!(state.view < VIEWS_MAX);
            prop_assert!(drawn.rows == 0 || state.current().selected < drawn.rows);
            prop_assert!(drawn.rows == 0 || state.current().sort.is_none_or(|c| c < drawn.columns));
        }
    }
}

#[test]
fn one_cell_is_enough_not_to_panic() {
    for width in 1..60 {
        for height in [1, 2, 7, 8, 9] {
            screen(one(), &State { help: Some(0), ..State::default() }, Place::Live, width, height);
        }
    }
}
