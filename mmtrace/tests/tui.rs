//! The dashboard on a terminal in memory: what each view shows, and that nothing typed at any
//! size breaks it.

use std::{path::Path, sync::OnceLock};

use mmtrace::tui::{
    drawn::Drawn,
    input::offers,
    layout::{Layout, VIEWS_MAX},
    picture,
    state::{Request, State},
    take,
    view::KINDS,
    view::Place,
};
use mmtrace_capture::Capture;
use mmtrace_common::{Call, Column, Kind, Record};
use mmtrace_model::names::Comm;
use mmtrace_model::replay::{Engine, timeline::Timeline};
use mmtrace_model::verdict::RULES;
use mmtrace_testing::{kernel, page_tables};
use proptest::prelude::*;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

/// Captures of real kernels.
const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata");

/// The state at the end of a golden capture.
fn engine(name: &str) -> Engine {
    let capture = Capture::open(&Path::new(TESTDATA).join(name).join("capture")).expect("open");
    let mut timeline = Timeline::new(capture.context().clone(), &capture);
    timeline.seek(u64::MAX);
    timeline.engine().clone()
}

fn layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(Layout::default)
}

const AT_END: Place = Place::Capture { playing: false, speed: 1.0, at: 200_000_000, of: Some(200_000_000) };

fn screen(engine: &Engine, state: &State, place: Place, width: u16, height: u16) -> (String, Drawn) {
    picture(engine, place, layout(), state, width, height)
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

/// Who holds, who waits, behind whom and by which call, where events tell names and calls.
#[test]
fn callers_at_three_sizes() {
    let engine = engine("6.18-names");
    for view in ["overview", "locks", "callers"] {
        let state = State { view: layout().showing(view).expect("shown"), ..State::default() };
        for (width, height) in [(80, 24), (120, 40), (200, 50)] {
            let (text, _) = screen(&engine, &state, AT_END, width, height);
            insta::assert_snapshot!(format!("6.18-names-{view}-{width}x{height}"), text);
        }
    }
    let number = layout().showing("callers").expect("shown");
    let mut state = State { view: number, ..State::default() };
    state.rows[number].inside = screen(&engine, &state, AT_END, 80, 24).1.key;
    insta::assert_snapshot!("a-caller", screen(&engine, &state, AT_END, 80, 24).0);
}

/// A task holds a lock in the middle of a call, and another one waits for it.
#[test]
fn a_holder_and_a_waiter_are_shown_with_their_calls() {
    let mut m = kernel::Made::begun();
    let call = |number: u16| (Column::Call, u64::from(Call::System(number).number()));
    m.say(2, Kind::StartLocking, &[(Column::Write, 1), call(10)]);
    m.say(2, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]);
    m.say(1, Kind::StartLocking, &[(Column::Write, 1), call(11)]).later(2_000_000).user(3, kernel::START);
    let mut engine = Engine::new(kernel::context(), true).with_stats();
    m.records.iter().for_each(|record| engine.apply(record));
    let number = layout().showing("locks").expect("shown");
    let mut state = State { view: number, ..State::default() };
    let (text, drawn) = screen(&engine, &state, AT_END, 80, 24);
    assert!(text.contains("W 2.02 ms 2: mprotect; waits 2.01 ms munmap: 1"), "{text}");
    state.rows[number].inside = drawn.key;
    let (text, _) = screen(&engine, &state, AT_END, 80, 24);
    let line = |call: &str| text.lines().find(|line| line.contains(call)).unwrap_or_else(|| panic!("{call}: {text}"));
    assert!(line("mprotect").starts_with("  W   2.02 ms  mprotect"), "{text}");
    assert!(line("munmap").starts_with("  W   2.01 ms  munmap"), "{text}");
}

/// Four tasks of one name: a holder and waiters are told apart by their ids, and callers as well.
#[test]
fn tasks_of_one_name_are_told_apart() {
    let mut m = kernel::Made::begun();
    let call = |number: u16| (Column::Call, u64::from(Call::System(number).number()));
    let cat = Comm::new(*b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let from = m.records.len();
    for tid in [21, 22, 23, 24] {
        m.say(tid, Kind::StartLocking, &[(Column::Write, 0), call(0)]);
        m.say(tid, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 1)]).later(50_000);
        m.unlock(tid, false);
    }
    m.say(21, Kind::StartLocking, &[(Column::Write, 0), call(0)]);
    m.say(21, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 1)]);
    m.say(22, Kind::StartLocking, &[(Column::Write, 1), call(10)]).later(2_000_000).user(3, kernel::START);
    m.records[from..].iter_mut().filter(|record| record.tid > 20).for_each(|record| record.tgid = record.tid);
    let mut engine = Engine::new(kernel::context(), true).with_stats();
    [21, 22, 23, 24].iter().for_each(|tid| engine.apply(&cat.named(*tid, *tid, kernel::START)));
    m.records.iter().for_each(|record| engine.apply(record));
    let shown = |view: &str, width| {
        let state = State { view: layout().showing(view).expect("shown"), ..State::default() };
        screen(&engine, &state, AT_END, width, 24).0
    };
    // Who holds, and in which call somebody waits, is there at any width; the name of the waiter is what is cut.
    let locks = shown("locks", 80);
    assert!(locks.contains("R 2.02 ms cat 21: read; waits 2.01 ms mprotect"), "{locks}");
    let locks = shown("locks", 100);
    assert!(locks.contains("mprotect: cat 22"), "{locks}");
    let callers = shown("callers", 80);
    for tid in [21, 22, 23, 24] {
        assert!(callers.lines().any(|line| line.starts_with(&format!("cat {tid} "))), "{callers}");
    }
}

/// What function events bring, on a kernel without VMA locks, on one whose write locks have no probe, with events that
/// are missing, and where something is violated.
#[test]
fn what_functions_show_at_three_sizes() {
    for (name, views) in [
        ("6.1-migrate", &["locks", "faults", "collapse"][..]),
        ("6.12-collapse-file", &["overview", "locks"]),
        ("missed/7.2-migrate", &["overview", "locks", "faults", "collapse"]),
        ("bugs/6.12-poison-collapse", &["faults", "collapse", "rules"]),
    ] {
        let engine = engine(name);
        for view in views {
            let state = State { view: layout().showing(view).expect("shown"), ..State::default() };
            for (width, height) in [(40, 12), (80, 24), (200, 60)] {
                let (text, _) = screen(&engine, &state, AT_END, width, height);
                insta::assert_snapshot!(format!("{}-{view}-{width}x{height}", name.replace('/', "-")), text);
            }
        }
    }
}

#[test]
fn looking_inside_what_functions_show() {
    for (name, view, width, height, file) in [
        ("missed/7.2-migrate", "locks", 80, 24, "vma-locks"),
        ("bugs/6.12-poison-collapse", "faults", 80, 24, "a-process-with-functions"),
        ("bugs/6.12-poison-collapse", "rules", 160, 50, "a-violation"),
        ("6.18-mappings", "faults", 120, 24, "a-process-with-mappings"),
    ] {
        let engine = engine(name);
        let number = layout().showing(view).expect("shown");
        let mut state = State { view: number, ..State::default() };
        let (_, drawn) = screen(&engine, &state, AT_END, width, height);
        state.rows[number].inside = drawn.key;
        insta::assert_snapshot!(file, screen(&engine, &state, AT_END, width, height).0);
    }
}

/// A violation of two tasks: what each of them did stands in a column of its own.
#[test]
fn two_tasks_stand_side_by_side() {
    let mut m = kernel::Made::begun();
    m.user(2, kernel::START).grant(2).fault(2, kernel::TRAP | kernel::VMA_LOCK);
    m.write_lock(1).vma_write(1).done(2, 0);
    let mut engine = Engine::new(kernel::context(), true).with_stats();
    m.records.iter().for_each(|record| engine.apply(record));
    let mut state = State { view: layout().showing("rules").expect("shown"), ..State::default() };
    let (_, drawn) = screen(&engine, &state, AT_END, 120, 30);
    state.rows[5].inside = drawn.key;
    let (text, _) = screen(&engine, &state, AT_END, 120, 30);
    assert!(text.contains("L19") && text.contains("task 2 ") && text.contains("task 1 "), "{text}");
    insta::assert_snapshot!("two-tasks", text);
}

/// What is sorted by a column that functions bring has its largest value first.
#[test]
fn one_sorts_by_what_functions_bring() {
    let engine = engine("6.12-collapse-file");
    let view = layout().showing("faults").expect("shown");
    let columns = &layout().view(view).columns;
    let at = columns.iter().position(|c| c == "mmap_lock").expect("it is a column");
    let mut state = State { view, ..State::default() };
    // Seven of those before it are not shown: this capture is older than names and cgroups, than the kinds of faults that
    // are read, and than faults with page faults disabled being told apart.
    state.rows[view].sort = Some(at - 7);
    let (text, drawn) = screen(&engine, &state, AT_END, 200, 24);
    assert_eq!(drawn.columns, columns.len() - 7);
    assert!(text.contains("mmap_lo…v"), "{text}");
    assert_eq!(drawn.key, Some(155), "{text}");
    // Where there is no room for the column, it is named below.
    let (text, _) = screen(&engine, &state, AT_END, 40, 24);
    assert!(text.contains("sorted by mmap_lock"), "{text}");
    // Without functions there are no such columns to sort by.
    let engine = one();
    let (text, drawn) = screen(engine, &State { view, ..State::default() }, AT_END, 200, 24);
    assert!(drawn.columns < columns.len() && !text.contains("retries "), "{text}");
}

/// A text that only the cgroup has selects a process, whether there is room for the column or not.
#[test]
fn the_filter_finds_processes_by_cgroup() {
    let engine = engine("6.18-cgroups");
    for view in ["locks", "faults"] {
        let number = layout().showing(view).expect("shown");
        for width in [80, 240] {
            let mut state = State { view: number, ..State::default() };
            let (all, _) = screen(&engine, &state, AT_END, width, 24);
            assert!(all.contains("batch-job") && all.contains("jobs"), "{all}");
            assert_eq!(all.contains("backup.service"), width == 240, "{all}");
            state.rows[number].filter = "Backup.serv".to_owned();
            let (found, _) = screen(&engine, &state, AT_END, width, 24);
            assert!(found.contains("batch-job") && !found.contains(" jobs"), "{found}");
        }
    }
}

/// What a recording with function events shows of page tables.
#[test]
fn the_walker_at_three_sizes() {
    let mut m = kernel::Made::learned();
    m.install(2, page_tables::PMDP, 0xa0).map_lock(2, 0xa0);
    m.map_nolock(2, page_tables::pte(0xa0, kernel::START), page_tables::table(0xa0));
    m.retract(3).take_out(3, 0xa0).defer(3, 0xa0).retracted(3).map_nolock(2, 0, 0);
    m.later(1_000_000).freed(1, 0xa0);
    let mut engine = Engine::new(kernel::context(), true);
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    let state = State { view: layout().showing("walker").expect("shown"), ..State::default() };
    for (width, height) in [(40, 12), (80, 24), (200, 60)] {
        let (text, _) = screen(&engine, &state, AT_END, width, height);
        insta::assert_snapshot!(format!("made-walker-{width}x{height}"), text);
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
    // A hazard is told with the events that led to it.
    let mut state = State { view: layout().showing("rules").expect("shown"), ..State::default() };
    state.rows[5].inside = RULES.iter().position(|r| r.name == "H07").map(|i| i as u64);
    insta::assert_snapshot!("a-hazard", screen(&engine, &state, AT_END, 100, 30).0);
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
    assert!(
        head(Place::Live).contains("LIVE ") && head(Place::Live).contains("s  since start"),
        "{}",
        head(Place::Live)
    );
    assert!(head(Place::Paused { behind: 1_500_000_000, at: 1, of: 2 }).contains("PAUSED 1.500 s ago"));
    let playing = Place::Capture { playing: true, speed: 4.0, at: 0, of: None };
    assert!(head(playing).contains("REPLAY x4"));
    assert!(head(AT_END).contains("0 lost"));
}

/// A number of which a part is cut off is another number.
#[test]
fn what_the_first_line_has_no_room_for_is_left_out() {
    for name in ["missed/7.2-migrate", "bugs/6.12-poison-collapse"] {
        let engine = engine(name);
        let head = |width| {
            let (text, _) = screen(&engine, &State::default(), AT_END, width, 20);
            text.lines().next().unwrap_or_default().trim_start_matches("mmtrace ").to_owned()
        };
        let whole = head(200);
        let parts: Vec<&str> = whole.split("  ").collect();
        for width in 30..130 {
            let head = head(width);
            for part in head.split("  ") {
                let cut = part
                    .strip_suffix('…')
                    .is_some_and(|kernel| kernel.starts_with("Linux 6.12") || kernel.starts_with("Linux 7.2."));
                assert!(cut || parts.contains(&part), "{part:?} at {width}: {head}");
            }
        }
    }
}

/// Where nothing is recorded, nothing is said not to have happened.
#[test]
fn what_has_no_probe_is_not_shown_as_nothing() {
    let engine = Engine::new(mmtrace_model::context::Context::default(), true).with_stats();
    // The last events are there or not: that view says how many.
    for view in KINDS.iter().map(|kind| kind.name).filter(|name| *name != "events") {
        let state = State { view: layout().showing(view).expect("shown"), ..State::default() };
        let (text, _) = screen(&engine, &state, AT_END, 120, 60);
        let body: Vec<&str> = text.lines().skip(3).collect();
        assert!(text.contains("not observable"), "{text}");
        let zero = |l: &&&str| l.contains("none yet") || l.contains("nothing yet") || l.contains(" 0/s");
        let told: Vec<_> =
            body.iter().filter(zero).filter(|l| !l.starts_with("lost") && !l.starts_with("missed")).collect();
        assert!(told.is_empty(), "{told:?} in {text}");
    }
}

/// What does not fit on a screen can be scrolled to, and it is said that it is there.
#[test]
fn texts_are_scrolled_to_their_ends() {
    let engine = engine("6.12-collapse-file");
    for view in ["overview", "walker"] {
        let number = layout().showing(view).expect("shown");
        let mut state = State { view: number, ..State::default() };
        let (text, drawn) = screen(&engine, &state, AT_END, 40, 12);
        let lines = drawn.rows - 1 + drawn.page;
        assert!(drawn.rows > 1 && text.contains(&format!(" 1-{} of {lines}", drawn.page)), "{text}");
        state.rows[number].selected = usize::MAX;
        let (end, drawn) = screen(&engine, &state, AT_END, 40, 12);
        assert!(end.contains(&format!("-{lines} of {lines}")), "{end}");
        state.drew(drawn);
        assert_eq!(state.current().selected, drawn.rows - 1, "no further than to the last line");
    }
}

fn press(state: &mut State, engine: &Engine, keys: &[KeyCode]) -> (String, Option<Request>) {
    let mut request = None;
    let mut text = screen(engine, state, AT_END, 100, 30).0;
    for code in keys {
        let (_, drawn) = screen(engine, state, AT_END, 100, 30);
        state.drew(drawn);
        request = take(state, &Event::Key(KeyEvent::new(*code, KeyModifiers::NONE)), layout());
        text = screen(engine, state, AT_END, 100, 30).0;
    }
    (text, request)
}

fn keys(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

#[test]
fn the_palette_offers_what_the_text_means_and_runs_what_is_chosen() {
    let engine = engine("6.18-fork");
    let mut state = State::default();
    let (text, _) = press(&mut state, &engine, &keys(":"));
    for offer in offers(layout()).iter().take(20) {
        assert!(text.contains(offer.name), "{}", offer.name);
    }
    let (text, _) = press(&mut state, &engine, &keys("violation"));
    assert!(text.contains("> next-violation") && text.contains("  previous-violation"), "{text}");
    let (_, request) = press(&mut state, &engine, &[KeyCode::Down, KeyCode::Enter]);
    assert_eq!(request, Some(Request::Violation(false)));
    let (text, _) = press(&mut state, &engine, &[&keys(":nothing")[..], &[KeyCode::Enter]].concat());
    assert!(text.contains("there is no action \"nothing\""), "{text}");
    // Saving asks for how much.
    let (_, request) = press(&mut state, &engine, &[KeyCode::Char('P'), KeyCode::Enter]);
    assert_eq!(request, Some(Request::Save("10s".to_owned())));
    let (_, request) = press(&mut state, &engine, &[&keys("P2s")[..], &[KeyCode::Enter]].concat());
    assert_eq!(request, Some(Request::Save("2s".to_owned())));
}

#[test]
fn esc_stops_a_search_before_it_goes_back() {
    let engine = engine("6.18-fork");
    let mut state = State { view: layout().showing("rules").expect("shown"), searching: true, ..State::default() };
    state.rows[5].inside = Some(0);
    assert_eq!(press(&mut state, &engine, &[KeyCode::Esc]).1, Some(Request::Stop));
    assert_eq!(state.current().inside, Some(0));
    state.searching = false;
    assert_eq!(press(&mut state, &engine, &[KeyCode::Esc]).1, None);
    assert_eq!(state.current().inside, None);
}

#[test]
fn what_an_event_names_can_be_gone_to_and_come_back_from() {
    let engine = engine("6.18-mmap");
    let mut state = State::default();
    // The fifth newest is a page fault.
    let (text, _) = press(&mut state, &engine, &[&keys("7jjjj")[..], &[KeyCode::Enter]].concat());
    assert!(text.contains("event          page_fault_user") && text.contains("its mmap_lock"), "{text}");
    let (text, _) = press(&mut state, &engine, &[&keys("jjjjjj")[..], &[KeyCode::Enter]].concat());
    assert!(text.contains("[2 Locks]") && text.contains("mmap_lock of process 2880"), "{text}");
    let (text, _) = press(&mut state, &engine, &[KeyCode::Esc]);
    assert!(text.contains("[7 Events]") && text.contains("its mmap_lock"), "{text}");
    let (text, _) = press(&mut state, &engine, &[KeyCode::Char('k'), KeyCode::Enter]);
    assert!(text.contains("only rows with \"tid == 2884\""), "{text}");
    assert!(!text.contains(" 2881 "), "other threads are not shown: {text}");
    let (text, _) = press(&mut state, &engine, &[KeyCode::Esc, KeyCode::Esc]);
    assert!(text.contains("contention_begin"), "{text}");
}

#[test]
fn the_bar_is_clicked_and_the_wheel_turned() {
    let engine = engine("6.18-fork");
    let mut state = State { view: layout().showing("rules").expect("shown"), ..State::default() };
    let (_, drawn) = screen(&engine, &state, AT_END, 101, 30);
    state.drew(drawn);
    let bar = drawn.bar.expect("a capture has one");
    let mouse = |kind, column, row| Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
    let click = mouse(MouseEventKind::Down(MouseButton::Left), 25, bar.y);
    assert_eq!(take(&mut state, &click, layout()), Some(Request::GoTo("25.000%".to_owned())));
    assert_eq!(take(&mut state, &mouse(MouseEventKind::Down(MouseButton::Left), 25, bar.y - 1), layout()), None);
    take(&mut state, &mouse(MouseEventKind::ScrollDown, 0, 0), layout());
    assert_eq!(state.current().selected, 1);
}

/// Times at which events are missing are crosses on the bar, at their places.
#[test]
fn the_bar_is_broken_where_events_are_missing() {
    let whole = engine("6.18-mmap");
    let mut stream = Vec::new();
    let capture = Capture::open(&Path::new(TESTDATA).join("6.18-mmap/capture")).expect("open");
    stream.extend(capture.records());
    let start = whole.context().start;
    let mut engine = Engine::new(whole.context().clone(), true);
    let mut gap = Record { ts: start + 100_000_000, kind: Kind::Gap as u16, ..Record::default() };
    gap.set(Column::Until, start + 119_000_000);
    stream.push(gap);
    stream.sort_by_key(|record| record.ts);
    stream.iter().for_each(|record| engine.apply(record));
    let bar = |engine: &Engine| {
        let (text, _) = screen(engine, &State::default(), AT_END, 100, 30);
        text.lines().rev().nth(1).expect("it is above the last line").to_owned()
    };
    assert!(!bar(&whole).contains('╳'));
    let crosses: Vec<usize> = bar(&engine).chars().enumerate().filter(|(_, c)| *c == '╳').map(|(at, _)| at).collect();
    // The bar stands for 200 ms, so a cell for 2 ms.
    assert_eq!(crosses, (50..60).collect::<Vec<_>>());
}

#[test]
fn a_layout_says_what_is_shown_and_marks_what_passes_a_limit() {
    let engine = engine("6.18-mmap");
    let text = "[[view]]\nname = 'Mine'\nshows = 'locks'\nexplains = ''\ncolumns = ['longest', 'pid']\n\
                [[view.threshold]]\ncolumn = 'longest'\nabove = '1ms'\nmeans = 'bad'\n";
    let layout = Layout::parse(text).expect("a layout");
    let (text, _) = picture(&engine, AT_END, &layout, &State::default(), 80, 24);
    assert!(text.contains("[1 Mine]") && !text.contains("Overview") && !text.contains("acquired"), "{text}");
    assert!(text.contains("5.52 ms!!    2880"), "{text}");
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
