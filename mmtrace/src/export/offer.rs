//! The metrics of a recording, offered while it goes on.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use mmtrace_model::replay::Engine;
use tokio::net::TcpListener;

use super::{
    metrics,
    serve::{Address, serve},
};

/// Time after which the metrics are made anew.
const EVERY: Duration = Duration::from_secs(1);

/// The metrics as text, which every scrape gets.
pub(crate) struct Offer {
    text: Rc<RefCell<String>>,
    made: Option<Instant>,
}

impl Offer {
    /// Listens, and answers as a task of the current `LocalSet`.
    ///
    /// # Errors
    /// The address cannot be listened at.
    pub(crate) async fn at(Address(address): Address) -> Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot offer metrics at {address}; name another address or port with --metrics")
        })?;
        let text = Rc::default();
        tokio::task::spawn_local(serve(listener, Rc::clone(&text)));
        Ok(Self { text, made: None })
    }

    /// Makes the metrics anew, if it is time to.
    pub(crate) fn tick(&mut self, engine: &Engine) {
        if self.made.is_none_or(|made| made.elapsed() >= EVERY) {
            self.made = Some(Instant::now());
            self.text.replace(metrics::text(engine));
        }
    }
}
