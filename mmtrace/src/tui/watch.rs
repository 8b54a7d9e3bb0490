//! The dashboard over a recording.

use anyhow::Result;

use super::{
    Dashboard,
    state::Request,
    view::{Place, Show},
};
use crate::replay::Engine;

/// The dashboard, and the moment that it stands still at.
pub struct Watch {
    dashboard: Dashboard,
    /// What is shown while it is paused.
    still: Option<Box<Engine>>,
    over: bool,
    events: u64,
}

impl Watch {
    /// Takes the terminal over.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn new() -> Result<Self> {
        Ok(Self { dashboard: Dashboard::new()?, still: None, over: false, events: 0 })
    }

    /// Takes what was typed, and draws if it is time to.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub fn tick(&mut self, engine: &Engine) -> Result<()> {
        for request in self.dashboard.requests() {
            match request {
                Request::Pause if self.still.is_some() => self.still = None,
                Request::Pause => self.still = Some(Box::new(engine.clone())),
                Request::Quit => self.over = true,
                _ => self.dashboard.say("one can move about in a capture only: mmtrace replay DIR --tui"),
            }
        }
        let newest = |engine: &Engine| engine.span().map_or(0, |s| s.1);
        let moved = engine.total() != self.events;
        self.events = engine.total();
        let show = match &self.still {
            Some(still) => {
                let behind = newest(engine).saturating_sub(newest(still));
                Show { engine: still, place: Place::Paused { behind }, colour: false }
            }
            None => Show { engine, place: Place::Live, colour: false },
        };
        self.dashboard.draw(&show, moved)
    }

    /// The user has seen enough.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }
}
