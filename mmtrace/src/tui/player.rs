//! The dashboard over a capture, or over what is kept of a recording: plays it, stops, steps, jumps.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use mmtrace_capture::{Capture, LOOK_BACK_NS, Saved, Staging, free_name, save};
use mmtrace_model::{
    replay::{Engine, recent::Stored, source::Source, timeline::Timeline},
    report::grouped,
    verdict::{RULES, Severity},
    when::When,
};

use super::{
    Dashboard,
    layout::Layout,
    state::Request,
    view::{Place, seconds},
};

/// Records between two looks at the keyboard.
const SLICE: u64 = 20_000;
/// Longest wait for the keyboard when there is nothing else to do.
const IDLE: Duration = Duration::from_millis(100);
/// Time between two ticks of a capture that is played.
const TICK: Duration = Duration::from_millis(33);
/// Fastest and slowest replay.
const SPEEDS: (f64, f64) = (1.0 / 1024.0, 1024.0);

/// Signals that end the dashboard.
const ENDING: [i32; 3] = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP];

/// A capture being looked at, or what is kept of a recording.
pub(super) struct Player<S: Source> {
    timeline: Timeline<S>,
    start: u64,
    end: Option<u64>,
    playing: bool,
    speed: f64,
    /// The time that is shown, nanoseconds.
    cursor: u64,
    ticked: Instant,
    searching: Option<Sought>,
}

/// Goal of a search, which goes on from the position in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sought {
    /// First position with more violations and hazards than this.
    Mark(u64),
    /// A time, nanoseconds.
    Time(u64),
}

/// Longest time to read the rest of the capture after the dashboard has ended, to say whether it is damaged.
const VERIFIED_WITHIN: Duration = Duration::from_secs(2);

/// Shows a capture until the user has seen enough. Returns whether anything in it is violated, as far as it was played.
/// Meanwhile another thread reads all of it, so that what is wrong with it is known in the end, played or not.
///
/// # Errors
///
/// There is no terminal.
pub(crate) fn run(capture: &Capture, layout: Layout, staging: Option<&Staging>) -> Result<bool> {
    let given_up = AtomicBool::new(false);
    thread::scope(|scope| {
        let verify = || capture.verify(|| given_up.load(Ordering::Relaxed));
        // Without a thread, only what is played is verified.
        let verifier = thread::Builder::new().name("verify".to_owned()).spawn_scoped(scope, verify).ok();
        let violated = look(capture, layout, staging);
        let over = Instant::now();
        while verifier.as_ref().is_some_and(|verifier| !verifier.is_finished()) && over.elapsed() < VERIFIED_WITHIN {
            thread::sleep(Duration::from_millis(5));
        }
        given_up.store(true, Ordering::Relaxed);
        violated
    })
}

fn look(capture: &Capture, layout: Layout, staging: Option<&Staging>) -> Result<bool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in ENDING {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut dashboard = Dashboard::new(layout, || {})?;
    let span = capture.summary().span;
    let start = span.map_or(0, |s| s.0);
    let mut player = Player {
        timeline: Timeline::new(capture.context().clone(), capture),
        start,
        end: span.map(|s| s.1),
        playing: true,
        speed: 1.0,
        cursor: start,
        ticked: Instant::now(),
        searching: None,
    };
    while !stop.load(Ordering::Relaxed) {
        let searched = player.go_on_searching();
        let moved = player.tick() || searched.is_some();
        if let Some(message) = searched {
            dashboard.say(message);
        }
        dashboard.searching(player.is_searching());
        dashboard.draw(player.engine(), player.place(), moved)?;
        let wait = match (player.searching, player.playing) {
            (Some(_), _) => Duration::ZERO,
            (None, true) => TICK,
            (None, false) => IDLE,
        };
        for request in dashboard.wait(wait) {
            let message = match &request {
                Request::Quit => {
                    stop.store(true, Ordering::Relaxed);
                    None
                }
                Request::Save(length) => Some(match player.save(capture, staging, length) {
                    Ok(message) => message,
                    Err(error) => format!("cannot save: {error:#}"),
                }),
                request => player.take(request),
            };
            if let Some(message) = message {
                dashboard.say(message);
            }
        }
    }
    Ok(player.timeline.engine().sink().is_some_and(|s| s.any_violated()))
}

impl Player<Stored> {
    /// Standing at the end of what is kept of a recording, where `engine` is.
    pub(super) fn over(stored: Stored, engine: Engine) -> Self {
        let end = engine.span().map_or(0, |s| s.1);
        let start = stored.clone().next().map_or(end, |r| r.ts);
        Self {
            timeline: Timeline::at_end(stored, engine),
            start,
            end: Some(end),
            playing: false,
            speed: 1.0,
            cursor: end,
            ticked: Instant::now(),
            searching: None,
        }
    }

    /// Returns the records that are kept of the recording, from the first one on.
    pub(super) fn stored(&self) -> Stored {
        self.timeline.source().records()
    }
}

impl Player<&Capture> {
    /// Saves what lies before the time that is shown.
    fn save(&self, capture: &Capture, staging: Option<&Staging>, length: &str) -> Result<String> {
        let from = self.cursor.saturating_sub(duration(length)?);
        let offset = capture.manifest().clock.realtime_offset_ns;
        let records = capture.records_between(from.saturating_sub(LOOK_BACK_NS).max(1), self.cursor);
        let staging = staging.context(NO_FOLDER)?;
        let dir = free_name(Path::new(SAVED));
        let saved = save(&dir, staging, capture.context(), crate::command_line::words(), offset, from, records)?;
        Ok(told(saved.as_ref()))
    }
}

impl<S: Source> Player<S> {
    /// The state at the time that is shown.
    pub(super) const fn engine(&self) -> &Engine {
        self.timeline.engine()
    }

    /// That time, nanoseconds.
    pub(super) const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Nanoseconds from the beginning, and in all.
    pub(super) fn at(&self) -> (u64, Option<u64>) {
        let of = self.end.map(|end| end.saturating_sub(self.start));
        (self.cursor.saturating_sub(self.start), of)
    }

    /// Whether something is searched for.
    pub(super) const fn is_searching(&self) -> bool {
        self.searching.is_some()
    }

    fn place(&self) -> Place {
        let (at, of) = self.at();
        Place::Capture { playing: self.playing, speed: self.speed, at, of }
    }

    /// Goes on, if it is played. Returns whether anything is different.
    fn tick(&mut self) -> bool {
        let passed = self.ticked.elapsed();
        self.ticked = Instant::now();
        if !self.playing || self.is_searching() {
            return false;
        }
        let to = self.cursor.saturating_add((passed.as_nanos() as f64 * self.speed) as u64);
        let to = self.end.map_or(to, |end| to.min(end));
        // The clock waits for events that did not fit into this tick: the next one plays them.
        let there = self.timeline.play(to, SLICE);
        self.cursor = if there { to } else { self.timeline.ts() };
        if there && self.end.is_some_and(|end| to >= end) {
            self.playing = false;
        }
        true
    }

    /// Carries out a request. Returns a message to the user, if there is one.
    pub(super) fn take(&mut self, request: &Request) -> Option<String> {
        let sought = self.searching;
        if !matches!(request, Request::Speed(_)) {
            self.searching = None;
        }
        match request {
            Request::Pause => {
                self.playing ^= true;
                if self.playing && self.end.is_some_and(|end| self.cursor >= end) {
                    return self.go(self.start);
                }
            }
            Request::Step(by) => {
                self.playing = false;
                let taken = self.timeline.taken().saturating_add_signed(*by);
                self.timeline.seek_taken(taken);
                self.cursor = self.timeline.ts().max(self.start);
            }
            Request::Jump(by) => {
                let whole = self.end.unwrap_or(self.cursor).saturating_sub(self.start);
                // A jump during another one starts from the other's goal.
                let from = if let Some(Sought::Time(ts)) = sought { ts } else { self.cursor };
                return self.go(from.saturating_add_signed(by.saturating_mul((whole / 10) as i64)));
            }
            Request::GoTo(text) => match place(text, self.start, self.end) {
                Some(ts) => return self.go(ts),
                None => return Some(format!("\"{text}\" is no time: 1.5s, 250ms, 40%")),
            },
            Request::Violation(next) => return self.violation(*next),
            Request::Speed(faster) => {
                let speed = if *faster { self.speed * 2.0 } else { self.speed / 2.0 };
                self.speed = speed.clamp(SPEEDS.0, SPEEDS.1);
            }
            Request::Stop => {
                // A user who stops a search wants to look at this place.
                self.playing &= sought.is_none();
                return sought.map(|_| format!("stopped at {}", seconds(self.at().0)));
            }
            Request::Quit | Request::Save(_) => {}
        }
        None
    }

    /// Goes to a time. Returns a message to the user if it is not reached at once.
    fn go(&mut self, ts: u64) -> Option<String> {
        let ts = ts.max(self.start).min(self.end.unwrap_or(u64::MAX));
        self.timeline.approach(ts);
        self.searching = Some(Sought::Time(ts));
        self.search()
    }

    /// Goes to the next or the previous position at which the number of violations and hazards changes.
    fn violation(&mut self, next: bool) -> Option<String> {
        self.playing = false;
        if next {
            self.searching = Some(Sought::Mark(marks(self.timeline.engine())));
            return self.search();
        }
        let here = marks(self.timeline.engine());
        let taken = self.timeline.taken();
        let mut found = here > 0;
        if found {
            self.timeline.seek_first(|engine| marks(engine) >= here);
            if self.timeline.taken() == taken {
                // This is the place that the count is from: the one before, then.
                self.timeline.seek_taken(taken.saturating_sub(1));
                let before = marks(self.timeline.engine());
                found = before > 0;
                if found {
                    self.timeline.seek_first(|engine| marks(engine) >= before);
                } else {
                    self.timeline.seek_taken(taken);
                }
            }
        }
        self.cursor = self.timeline.ts().max(self.start);
        (!found).then(|| "there is no violation or hazard before this time".to_owned())
    }

    /// Searches on for as long as the keyboard can wait. Returns a message to the user if the goal is not found.
    fn search(&mut self) -> Option<String> {
        let sought = self.searching?;
        let found = match sought {
            Sought::Mark(before) => self.next_mark(before),
            Sought::Time(ts) => self.timeline.play(ts, SLICE).then_some(true),
        };
        self.cursor = self.timeline.ts().max(self.start);
        let Some(found) = found else {
            let to = match sought {
                Sought::Mark(_) => "searching".to_owned(),
                Sought::Time(ts) => format!("going to {}", seconds(ts.saturating_sub(self.start))),
            };
            return Some(format!("{to}, at {}; Esc stops", seconds(self.at().0)));
        };
        self.searching = None;
        if let Sought::Time(ts) = sought {
            self.cursor = ts;
        }
        (!found).then(|| "there is no violation or hazard after this time".to_owned())
    }

    /// Whether there is one; `None`: not so far.
    fn next_mark(&mut self, before: u64) -> Option<bool> {
        for _ in 0..SLICE {
            if self.timeline.step().is_none() {
                return Some(false);
            }
            if marks(self.timeline.engine()) > before {
                return Some(true);
            }
        }
        None
    }

    /// Searches on, if something is searched for. Returns a message to the user about it.
    pub(super) fn go_on_searching(&mut self) -> Option<String> {
        let found = match self.searching? {
            Sought::Mark(_) => "found".to_owned(),
            Sought::Time(ts) => format!("at {}", seconds(ts.saturating_sub(self.start))),
        };
        Some(self.search().unwrap_or(found))
    }
}

/// Folders of what `P` saves begin so.
pub const SAVED: &str = "mmtrace.saved";
/// Why nothing can be saved.
pub(super) const NO_FOLDER: &str =
    "mmtrace could make no folder where it was started, in which it saves; start it in one that you can write into";

/// A length of time as it is typed, nanoseconds.
pub(super) fn duration(text: &str) -> Result<u64> {
    match text.trim().parse::<When>() {
        Ok(when) => Ok(when.after(0)),
        Err(why) => bail!(why),
    }
}

/// Returns a message that says what was saved.
pub(super) fn told(saved: Option<&Saved>) -> String {
    match saved {
        Some(saved) => {
            let seconds = saved.ns as f64 / 1e9;
            format!("{} records of {seconds:.3} s are saved in {}", grouped(saved.events), saved.dir.display())
        }
        None => "there are no events to save".to_owned(),
    }
}

/// Violations and hazards so far.
fn marks(engine: &Engine) -> u64 {
    let Some(sink) = engine.sink() else { return 0 };
    RULES.iter().filter(|r| r.severity != Severity::Measure).map(|r| sink.violations(r.id)).sum()
}

/// A time as it is typed: from the beginning, or in percent.
fn place(text: &str, start: u64, end: Option<u64>) -> Option<u64> {
    let text = text.trim();
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().ok()?;
        let whole = end?.saturating_sub(start) as f64;
        return (0.0..=100.0).contains(&percent).then(|| start.saturating_add((whole * percent / 100.0) as u64));
    }
    text.parse::<When>().ok().map(|when| when.after(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(capture: &Capture) -> Player<&Capture> {
        let (start, end) = capture.summary().span.expect("it has events");
        let timeline = Timeline::new(capture.context().clone(), capture);
        Player {
            timeline,
            start,
            end: Some(end),
            playing: false,
            speed: 1.0,
            cursor: start,
            ticked: Instant::now(),
            searching: None,
        }
    }

    fn golden() -> Capture {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/6.18-mmap/capture");
        Capture::open(&dir).expect("a capture")
    }

    /// Does what is asked for, slice by slice; what is said in the end.
    fn asked(player: &mut Player<&Capture>, request: &Request) -> Option<String> {
        let mut said = player.take(request);
        while player.is_searching() {
            assert!(said.is_some_and(|text| text.ends_with("; Esc stops")));
            said = player.go_on_searching();
        }
        said.filter(|text| text != "found" && !text.starts_with("at "))
    }

    /// To the next one; `false`: there is none.
    fn next(player: &mut Player<&Capture>) -> bool {
        asked(player, &Request::Violation(true)).is_none()
    }

    fn go(player: &mut Player<&Capture>, text: &str) {
        assert_eq!(asked(player, &Request::GoTo(text.to_owned())), None);
    }

    #[test]
    fn a_search_stops_where_one_goes_elsewhere() {
        let capture = golden();
        let mut player = over(&capture);
        while next(&mut player) {}
        player.searching = Some(Sought::Mark(u64::MAX));
        player.take(&Request::Speed(true));
        assert!(player.is_searching(), "that is no move");
        assert_eq!(player.take(&Request::Step(-1)), None);
        assert_eq!((player.searching, player.go_on_searching()), (None, None));
    }

    #[test]
    fn the_way_to_a_time_is_told_and_can_be_stopped() {
        let capture = golden();
        let mut player = over(&capture);
        let at = |player: &Player<&Capture>| player.at().0;
        player.playing = true;
        let said = player.take(&Request::GoTo("100ms".to_owned())).expect("there are more events than one slice has");
        assert!(said.starts_with("going to 0.100 s, at 0.0"), "{said}");
        assert!(player.timeline.taken() <= SLICE && at(&player) < 100_000_000);
        assert!(!player.tick(), "it is not played meanwhile");
        // As long as one is on the way, jumps are from where one goes to.
        let tenth = (player.end.expect("known") - player.start) / 10;
        player.take(&Request::Jump(1));
        assert_eq!(player.searching, Some(Sought::Time(player.start + 100_000_000 + tenth)));
        player.go_on_searching();
        let stopped = at(&player);
        let said = player.take(&Request::Stop).expect("it is said");
        assert!(said.starts_with("stopped at 0."), "{said}");
        assert_eq!((player.go_on_searching(), at(&player)), (None, stopped));
        assert_eq!(player.take(&Request::Stop), None, "there is nothing to stop");
        assert!(!player.playing);
    }

    #[test]
    fn hazards_are_visited_in_both_directions() {
        let capture = golden();
        let mut player = over(&capture);
        let mut times = Vec::new();
        while next(&mut player) {
            times.push(player.cursor());
        }
        assert_eq!(times.len(), 4, "H07 is met four times in this capture: {times:?}");
        assert!(times.is_sorted());
        let mut back = Vec::new();
        while player.take(&Request::Violation(false)).is_none() {
            back.push(player.cursor());
        }
        back.reverse();
        assert_eq!(back, times);
        assert_eq!(
            player.take(&Request::Violation(false)).as_deref(),
            Some("there is no violation or hazard before this time")
        );
    }

    #[test]
    fn one_goes_where_one_asks_to() {
        let capture = golden();
        let mut player = over(&capture);
        let whole = player.end.expect("known") - player.start;
        let at = |player: &Player<&Capture>| player.cursor() - player.start;
        go(&mut player, "50%");
        assert_eq!(at(&player), whole / 2);
        asked(&mut player, &Request::Jump(1));
        assert_eq!(at(&player), whole / 2 + whole / 10);
        asked(&mut player, &Request::Jump(-9));
        assert_eq!(at(&player), 0, "not before the beginning");
        go(&mut player, "100ms");
        assert_eq!(at(&player), 100_000_000);
        player.take(&Request::GoTo("1h".to_owned())).expect("no time");
        go(&mut player, "5min");
        assert_eq!(at(&player), whole, "not beyond the end");
        let taken = player.timeline.taken();
        player.take(&Request::Step(-3));
        player.take(&Request::Step(1));
        assert_eq!(player.timeline.taken(), taken - 2);
        for _ in 0..40 {
            player.take(&Request::Speed(true));
        }
        assert!((player.speed - SPEEDS.1).abs() < f64::EPSILON);
        // From the end, playing begins again.
        go(&mut player, "100%");
        player.take(&Request::Pause);
        assert!(player.playing && at(&player) == 0);
        while player.playing {
            player.tick();
        }
        assert_eq!(at(&player), whole);
    }
}
