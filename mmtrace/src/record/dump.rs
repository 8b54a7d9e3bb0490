//! `--dump-on`: what the flight recorder holds is kept when something happens.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, TryRecvError},
    time::{Duration, Instant},
};

use clap::ValueEnum;

use crate::{
    capture::{CaptureError, CaptureWriter, free_name},
    replay::Engine,
    verdict::{RULES, Rule, Severity},
};

/// How long after it the recorder goes on, so that what follows is kept as well.
const AFTER: Duration = Duration::from_secs(1);

/// What is worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Occasion {
    /// A rule is broken
    Violation,
    /// A rule is broken, or a hazard is met
    Hazard,
}

impl Occasion {
    /// Whether it is about this rule.
    fn covers(self, rule: &Rule) -> bool {
        rule.severity.can_fail() || (self == Self::Hazard && rule.severity == Severity::Hazard)
    }
}

/// Watches for the occasion, and has the capture kept.
pub(super) struct Dumps {
    occasion: Occasion,
    /// The recording's own folder.
    dir: PathBuf,
    /// Rules for which something was kept: once for each, or the disk would fill.
    kept: Vec<&'static str>,
    /// What is to be kept, and when.
    due: Option<(Instant, &'static str)>,
    writing: Vec<(PathBuf, Receiver<Result<u64, CaptureError>>)>,
}

impl Dumps {
    /// Nothing happened yet.
    pub(super) fn new(occasion: Occasion, dir: &Path) -> Self {
        Self { occasion, dir: dir.to_path_buf(), kept: Vec::new(), due: None, writing: Vec::new() }
    }

    /// Looks for something new. What there is to say about it, if there is.
    pub(super) fn tick(&mut self, engine: &Engine, writer: &mut CaptureWriter) -> Result<Option<String>, CaptureError> {
        self.look(engine, Instant::now());
        if self.due.is_some_and(|(when, _)| Instant::now() >= when) {
            self.dump(writer)?;
        }
        Ok(self.told())
    }

    /// Keeps what is still to be kept.
    pub(super) fn close(&mut self, engine: &Engine, writer: &mut CaptureWriter) -> Result<(), CaptureError> {
        self.look(engine, Instant::now());
        self.dump(writer)
    }

    /// What came of it, when the writer has ended.
    pub(super) fn last(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.told()).collect()
    }

    fn look(&mut self, engine: &Engine, now: Instant) {
        let Some(sink) = engine.sink() else { return };
        for rule in RULES.iter().filter(|r| self.occasion.covers(r) && sink.violations(r.id) > 0) {
            if !self.kept.contains(&rule.name) {
                self.kept.push(rule.name);
                self.due.get_or_insert((now + AFTER, rule.name));
            }
        }
    }

    fn dump(&mut self, writer: &mut CaptureWriter) -> Result<(), CaptureError> {
        let Some((_, rule)) = self.due.take() else { return Ok(()) };
        let mut name = self.dir.as_os_str().to_owned();
        name.push(format!(".{rule}"));
        let dir = free_name(Path::new(&name));
        let done = writer.dump(&dir)?;
        self.writing.push((dir, done));
        Ok(())
    }

    fn told(&mut self) -> Option<String> {
        let (i, answer) = self.writing.iter().enumerate().find_map(|(i, (_, done))| match done.try_recv() {
            Ok(answer) => Some((i, Some(answer))),
            Err(TryRecvError::Disconnected) => Some((i, None)),
            Err(TryRecvError::Empty) => None,
        })?;
        let (dir, _) = self.writing.remove(i);
        Some(match answer {
            Some(Ok(events)) => {
                format!("{} events are kept in {}", crate::report::grouped(events), dir.display())
            }
            Some(Err(error)) => format!("not kept: {error}"),
            None => format!("{} was not written: the recorder ended first", dir.display()),
        })
    }
}
