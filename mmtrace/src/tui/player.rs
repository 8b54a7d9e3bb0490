//! The dashboard over a capture: plays it, stops, steps, jumps.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Dashboard,
    state::Request,
    view::{Place, Show},
};
use crate::{
    capture::Capture,
    replay::{Engine, timeline::Timeline},
    verdict::{RULES, Severity},
    when::When,
};

/// Records between two looks at the keyboard.
const SLICE: u64 = 20_000;
/// How long the keyboard is waited for when nothing else is to do.
const IDLE: Duration = Duration::from_millis(100);
/// Between two ticks of a capture that is played.
const TICK: Duration = Duration::from_millis(33);
/// Fastest and slowest replay.
const SPEEDS: (f64, f64) = (1.0 / 1024.0, 1024.0);

/// A capture being looked at.
struct Player<'a> {
    timeline: Timeline<'a>,
    start: u64,
    end: Option<u64>,
    playing: bool,
    speed: f64,
    /// The time that is shown, nanoseconds.
    cursor: u64,
    ticked: Instant,
}

/// Shows a capture until the user has seen enough. Returns whether anything in it is violated, as far as it was played.
///
/// # Errors
///
/// It cannot be read, or there is no terminal.
pub fn run(dir: &Path) -> Result<bool> {
    let capture = Capture::open(dir)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut dashboard = Dashboard::new()?;
    let span = capture.summary().span;
    let start = span.map_or(0, |s| s.0);
    let mut player = Player {
        timeline: Timeline::new(&capture),
        start,
        end: span.map(|s| s.1),
        playing: true,
        speed: 1.0,
        cursor: start,
        ticked: Instant::now(),
    };
    while !stop.load(Ordering::Relaxed) {
        let moved = player.tick();
        dashboard.draw(&player.show(), moved)?;
        let wait = if player.playing { TICK } else { IDLE };
        let mut requests: Vec<Request> = dashboard.wait(wait).into_iter().collect();
        requests.extend(dashboard.requests());
        for request in requests {
            if request == Request::Quit {
                return Ok(player.timeline.engine().sink().is_some_and(|s| s.any_violated()));
            }
            if let Some(message) = player.take(&request) {
                dashboard.say(message);
            }
        }
    }
    Ok(player.timeline.engine().sink().is_some_and(|s| s.any_violated()))
}

impl Player<'_> {
    fn show(&self) -> Show<'_> {
        let of = self.end.map(|end| end.saturating_sub(self.start));
        let at = self.cursor.saturating_sub(self.start);
        let place = Place::Capture { playing: self.playing, speed: self.speed, at, of };
        Show { engine: self.timeline.engine(), place, colour: false }
    }

    /// Goes on, if it is played. Returns whether anything is different.
    fn tick(&mut self) -> bool {
        let passed = self.ticked.elapsed();
        self.ticked = Instant::now();
        if !self.playing {
            return false;
        }
        let to = self.cursor.saturating_add((passed.as_nanos() as f64 * self.speed) as u64);
        let to = self.end.map_or(to, |end| to.min(end));
        // What cannot be done in a tick is done in the next one: the clock waits.
        let there = self.timeline.play(to, SLICE);
        self.cursor = if there { to } else { self.timeline.ts() };
        if there && self.end.is_some_and(|end| to >= end) {
            self.playing = false;
        }
        true
    }

    fn take(&mut self, request: &Request) -> Option<String> {
        match request {
            Request::Pause => {
                self.playing ^= true;
                if self.playing && self.end.is_some_and(|end| self.cursor >= end) {
                    self.go(self.start);
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
                let to = self.cursor.saturating_add_signed(*by * (whole / 10) as i64);
                self.go(to);
            }
            Request::GoTo(text) => match place(text, self.start, self.end) {
                Some(ts) => self.go(ts),
                None => return Some(format!("\"{text}\" is no time: 1.5s, 250ms, 40%")),
            },
            Request::Violation(next) => return self.violation(*next),
            Request::Speed(faster) => {
                let speed = if *faster { self.speed * 2.0 } else { self.speed / 2.0 };
                self.speed = speed.clamp(SPEEDS.0, SPEEDS.1);
            }
            Request::Quit => {}
        }
        None
    }

    fn go(&mut self, ts: u64) {
        let ts = ts.max(self.start).min(self.end.unwrap_or(u64::MAX));
        self.timeline.seek(ts);
        self.cursor = ts;
        self.ticked = Instant::now();
    }

    /// To where the number of violations changes.
    fn violation(&mut self, next: bool) -> Option<String> {
        self.playing = false;
        if next {
            let before = marks(self.timeline.engine());
            while self.timeline.step().is_some() {
                if marks(self.timeline.engine()) > before {
                    self.cursor = self.timeline.ts();
                    return None;
                }
            }
            self.cursor = self.timeline.ts().max(self.start);
            return Some("there is none after this".to_owned());
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
        (!found).then(|| "there is none before this".to_owned())
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
        return (0.0..=100.0).contains(&percent).then(|| start + (whole * percent / 100.0) as u64);
    }
    text.parse::<When>().ok().map(|when| when.after(start))
}
