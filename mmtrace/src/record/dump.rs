//! `--dump-on`: saves what the flight recorder holds when a rule is broken.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, TryRecvError},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use mmtrace_capture::{CaptureError, CaptureWriter, free_name};
use mmtrace_model::{
    context::Context,
    replay::Engine,
    verdict::{RULES, Rule, Severity},
};

/// How long after it the recorder goes on, so that what follows is kept as well.
const AFTER: Duration = Duration::from_secs(1);

/// The occasion on which the flight recorder's events are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Occasion {
    /// A rule is violated
    Violation,
    /// A rule is violated, or a hazard occurs
    Hazard,
}

impl Occasion {
    /// Whether it is about this rule.
    fn covers(self, rule: &Rule) -> bool {
        rule.severity.can_fail() || (self == Self::Hazard && rule.severity == Severity::Hazard)
    }

    /// Whether any rule that it is about can be observed with these probes.
    pub(super) fn can_happen(self, context: &Context) -> bool {
        RULES.iter().any(|rule| self.covers(rule) && rule.blocked(context).is_none())
    }

    /// As it is typed.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Violation => "violation",
            Self::Hazard => "hazard",
        }
    }
}

/// Watches for the occasion, and has the capture kept.
pub(super) struct Dumps {
    occasion: Occasion,
    /// The recording's own folder.
    dir: PathBuf,
    /// Rules for which something was kept: once for each, or the disk would fill.
    kept: Vec<&'static str>,
    /// The next save: when, and for which rule.
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

    /// Returns the results of the saves, once the writer has ended.
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
                format!("saved {} events in {}", mmtrace_model::report::grouped(events), dir.display())
            }
            Some(Err(error)) => format!("cannot save the events of the flight recorder in {}: {error}", dir.display()),
            None => {
                format!("cannot save the events of the flight recorder in {}: the recording ended first", dir.display())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmtrace_capture::{Capture, Condition, FinalInfo, WriterOptions};

    /// Records a golden capture anew, in which the hazard H07 is met and no rule is broken.
    fn recorded(occasion: Occasion, dir: &Path) -> Vec<String> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/6.18-mmap/capture");
        let golden = Capture::open(&golden).expect("a capture");
        let mut engine = Engine::new(golden.context().clone(), true);
        let options = WriterOptions::keeping(Some(64 << 20));
        let mut writer = CaptureWriter::create(dir, golden.context(), Vec::new(), options).expect("created");
        let mut dumps = Dumps::new(occasion, dir);
        let mut told = Vec::new();
        for (i, record) in golden.records().take(20_000).enumerate() {
            engine.apply(&record);
            writer.append(&record).expect("written");
            if i % 1000 == 0 {
                told.extend(dumps.tick(&engine, &mut writer).expect("looked"));
            }
        }
        assert!(told.is_empty(), "what follows is kept as well: {told:?}");
        dumps.close(&engine, &mut writer).expect("kept");
        writer.finish(FinalInfo::default()).expect("finished");
        dumps.last()
    }

    #[test]
    fn what_the_recorder_holds_is_kept_once_when_it_happens() {
        let temp = tempfile::tempdir().expect("a folder");
        let dir = temp.path().join("capture");
        let told = recorded(Occasion::Hazard, &dir);
        let kept = temp.path().join("capture.H07-1");
        assert_eq!(told, [format!("saved 20,000 events in {}", kept.display())]);
        let capture = Capture::open(&kept).expect("a capture");
        assert_eq!(capture.condition(), Condition::Complete);
        assert_eq!(capture.records().count(), 20_000);
        assert_eq!(std::fs::read_dir(temp.path()).expect("listed").count(), 2);
    }

    #[test]
    fn an_occasion_whose_rules_lack_their_events_cannot_happen() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/6.18-mmap/capture");
        let mut context = Capture::open(&golden).expect("a capture").context().clone();
        assert!(Occasion::Violation.can_happen(&context) && Occasion::Hazard.can_happen(&context));
        context.probes.iter_mut().filter(|probe| probe.event != "tlb_flush").for_each(|probe| probe.form = None);
        assert!(!Occasion::Violation.can_happen(&context) && !Occasion::Hazard.can_happen(&context));
        for occasion in Occasion::value_variants() {
            assert_eq!(occasion.to_possible_value().expect("one").get_name(), occasion.name());
        }
    }

    #[test]
    fn a_hazard_is_no_violation() {
        let temp = tempfile::tempdir().expect("a folder");
        assert!(recorded(Occasion::Violation, &temp.path().join("capture")).is_empty());
        assert_eq!(std::fs::read_dir(temp.path()).expect("listed").count(), 1);
    }
}
