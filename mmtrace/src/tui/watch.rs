//! The dashboard over a recording.

use std::{path::Path, sync::Arc, thread, thread::JoinHandle, time::Duration};

use anyhow::{Context as _, Result};
use mmtrace_capture::{CaptureError, Saved, Staging, free_name, save};
use mmtrace_common::Record;
use mmtrace_model::replay::{
    Engine,
    recent::{Recent, Stored},
};
use tokio::sync::Notify;

use super::{
    Dashboard,
    layout::Layout,
    player::{NO_FOLDER, Player, SAVED, duration, told},
    state::Request,
    view::Place,
};

/// The dashboard, what it can go back in, and the moment that it stands still at.
pub(crate) struct Watch {
    dashboard: Dashboard,
    recent: Recent,
    /// Player of the kept records while the dashboard is paused; `None` while it is live.
    still: Option<Box<Player<Stored>>>,
    saving: Vec<JoinHandle<Result<Option<Saved>, CaptureError>>>,
    realtime_offset_ns: Option<i64>,
    /// Where saves are made; `None` if there is no such folder.
    staging: Option<Arc<Staging>>,
    over: bool,
    events: u64,
}

impl Watch {
    /// Takes the terminal over. `wake` is told of input.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn new(
        layout: Layout,
        realtime_offset_ns: Option<i64>,
        staging: Option<Arc<Staging>>,
        wake: Arc<Notify>,
    ) -> Result<Self> {
        Ok(Self {
            dashboard: Dashboard::new(layout, move || wake.notify_one())?,
            recent: Recent::default(),
            still: None,
            saving: Vec::new(),
            realtime_offset_ns,
            staging,
            over: false,
            events: 0,
        })
    }

    /// Keeps what the engine is about to take.
    pub(crate) fn keep(&mut self, engine: &Engine, records: &[Record]) {
        self.recent.push(engine, records);
    }

    /// Says something at the bottom.
    pub(crate) fn say(&mut self, message: &str) {
        self.dashboard.say(message);
    }

    /// Takes what was typed, and draws if it is time to.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub(crate) fn tick(&mut self, engine: &Engine) -> Result<()> {
        self.dashboard.searching(self.still.as_ref().is_some_and(|player| player.is_searching()));
        for request in self.dashboard.requests() {
            match request {
                // Nothing is left to stop if an earlier request of this batch went on live.
                Request::Stop if self.still.is_none() => {}
                Request::Pause if self.still.is_some() => self.still = None,
                Request::Quit => self.over = true,
                Request::Save(length) => match self.save(engine, &length) {
                    Ok(()) => self.dashboard.say("saving"),
                    Err(error) => self.dashboard.say(format!("cannot save: {error:#}")),
                },
                Request::Speed(_) => self.dashboard.say("a live recording has one speed; + and - are for captures"),
                request => {
                    // Whoever moves about wants it to stand still.
                    let recent = &mut self.recent;
                    let player =
                        self.still.get_or_insert_with(|| Box::new(Player::over(recent.stored(), engine.clone())));
                    if request != Request::Pause
                        && let Some(message) = player.take(&request)
                    {
                        self.dashboard.say(message);
                    }
                }
            }
        }
        for done in self.saving.extract_if(.., |thread| thread.is_finished()) {
            self.dashboard.say(match done.join() {
                Ok(Ok(saved)) => told(saved.as_ref()),
                Ok(Err(error)) => format!("cannot save: {error}"),
                Err(_) => "cannot save: the thread that writes the events has panicked".to_owned(),
            });
        }
        if let Some(message) = self.still.as_mut().and_then(|player| player.go_on_searching()) {
            self.dashboard.say(message);
        }
        let moved = engine.total() != self.events;
        self.events = engine.total();
        match &self.still {
            Some(player) => {
                let newest = engine.span().map_or(0, |s| s.1);
                let (at, of) = player.at();
                let behind = newest.saturating_sub(player.cursor());
                let place = Place::Paused { behind, at, of: of.unwrap_or(at) };
                self.dashboard.draw(player.engine(), place, moved)
            }
            None => self.dashboard.draw(engine, Place::Live, moved),
        }
    }

    /// Saves what lies before the time that is shown, in a thread of its own: the rings do not wait.
    fn save(&mut self, engine: &Engine, length: &str) -> Result<()> {
        let to = self.still.as_ref().map_or_else(|| engine.span().map_or(0, |s| s.1), |player| player.cursor());
        let from = to.saturating_sub(duration(length)?);
        let stored = self.still.as_ref().map(|player| player.stored());
        let records = stored.unwrap_or_else(|| self.recent.stored()).filter(move |r| r.ts <= to);
        let (context, offset) = (engine.context().clone(), self.realtime_offset_ns);
        let (dir, staging) = (free_name(Path::new(SAVED)), self.staging.clone().context(NO_FOLDER)?);
        let write = move || save(&dir, &staging, &context, crate::command_line::words(), offset, from, records);
        self.saving.push(thread::Builder::new().name("save".to_owned()).spawn(write)?);
        Ok(())
    }

    /// The user has seen enough.
    #[must_use]
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// Gives the terminal back. Returns the saves that are under way, which go on.
    #[must_use]
    pub(crate) fn close(self) -> Saving {
        Saving(self.saving)
    }

    /// Pictures drawn so far, and the time that took.
    #[must_use]
    pub(crate) const fn drawing(&self) -> (u64, Duration) {
        self.dashboard.drawing()
    }
}

/// Saves that are under way when the dashboard is closed.
#[derive(Default)]
pub(crate) struct Saving(Vec<JoinHandle<Result<Option<Saved>, CaptureError>>>);

impl Saving {
    /// Returns whether all of them are over.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }
}
