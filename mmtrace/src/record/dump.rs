//! `--dump-on`: saves what the flight recorder holds when something happens.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, TryRecvError},
    time::{Duration, Instant},
};

use mmtrace_capture::{CaptureError, CaptureWriter, free_name};
use mmtrace_common::Record;
use mmtrace_model::{
    replay::Engine,
    report::{duration, grouped},
    verdict::{RULES, Rule},
};

use super::occasion::{Measure, Occasion};

/// Time from the first occasion to the save, so that the events that follow are kept as well.
const AFTER: Duration = Duration::from_secs(1);
/// A long wait, hold or fault is saved so often, and not again within this time: the disk would fill.
const LONG_MAX: usize = 5;
const LONG_EVERY: Duration = Duration::from_secs(10);

/// Between the name of the capture and what a save is named after.
const SEPARATOR: &str = ".";

/// A save that is due.
struct Due {
    when: Instant,
    /// The first rule or measure, which names the folder.
    name: &'static str,
    /// Occasions of the save in order, each as a phrase, separated by semicolons.
    why: String,
}

/// Watches for the occasions, and has the capture kept.
pub(super) struct Dumps {
    occasions: Vec<Occasion>,
    /// The recording's own folder.
    dir: PathBuf,
    /// Rules for which something was kept: once for each, or the disk would fill.
    kept: Vec<&'static str>,
    /// Long waits, holds and faults for which something was kept, and when.
    long: Vec<(Measure, Instant)>,
    /// The next save.
    due: Option<Due>,
    writing: Vec<Writing>,
}

/// A save that goes on.
struct Writing {
    dir: PathBuf,
    why: String,
    done: Receiver<Result<u64, CaptureError>>,
}

/// Returns what the names of all that is kept beside the capture at `dir` begin with.
pub(super) fn names(dir: &Path) -> OsString {
    let name = named(dir, "x");
    let name = name.file_name().unwrap_or_default().as_bytes();
    OsStr::from_bytes(&name[..name.len().saturating_sub(1)]).to_owned()
}

/// Returns a path beside the capture at `dir`, whether a slash ends that or not.
fn named(dir: &Path, what: &str) -> PathBuf {
    let mut name = dir.components().as_path().as_os_str().to_owned();
    name.push(SEPARATOR);
    name.push(what);
    name.into()
}

impl Dumps {
    /// Nothing happened yet.
    pub(super) fn new(occasions: &[Occasion], dir: &Path) -> Self {
        let (occasions, dir) = (occasions.to_vec(), dir.to_path_buf());
        Self { occasions, dir, kept: Vec::new(), long: Vec::new(), due: None, writing: Vec::new() }
    }

    /// Looks at what the last event came to, for a wait, hold or fault that took too long.
    #[inline]
    pub(super) fn see(&mut self, engine: &Engine, record: &Record) {
        let Some((measure, ns)) = engine.model().and_then(|model| Measure::of(model.effect())) else { return };
        if self.occasions.iter().any(|occasion| occasion.is_exceeded(measure, ns)) {
            self.exceeded(measure, ns, engine, record);
        }
    }

    #[cold]
    fn exceeded(&mut self, measure: Measure, ns: u64, engine: &Engine, record: &Record) {
        let now = Instant::now();
        let mut earlier = self.long.iter().filter(|(of, _)| *of == measure);
        let lately = earlier.clone().any(|(_, when)| now.duration_since(*when) < LONG_EVERY);
        if lately || earlier.by_ref().count() >= LONG_MAX {
            return;
        }
        self.long.push((measure, now));
        let at = record.ts.saturating_sub(engine.context().start) as f64 / 1e9;
        let why = format!("{} {} {} until {at:.3} s", engine.tasks().label(record.tid), measure.verb(), duration(ns));
        self.save(measure.name(), &why, now);
    }

    /// A save is due a little later; what happens until then is saved with it.
    fn save(&mut self, name: &'static str, why: &str, now: Instant) {
        match &mut self.due {
            None => self.due = Some(Due { when: now + AFTER, name, why: why.to_owned() }),
            Some(due) => due.why = format!("{}; {why}", due.why),
        }
    }

    /// Looks for something new. What there is to say about it, if there is.
    pub(super) fn tick(&mut self, engine: &Engine, writer: &mut CaptureWriter) -> Result<Option<String>, CaptureError> {
        self.look(engine, Instant::now());
        if self.due.as_ref().is_some_and(|due| Instant::now() >= due.when) {
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
        let broken = RULES.iter().filter(|r| sink.violations(r.id) > 0);
        let covered = |rule: &&&Rule| self.occasions.iter().any(|occasion| occasion.covers(rule));
        let new: Vec<_> = broken.filter(|rule| covered(&rule) && !self.kept.contains(&rule.name)).collect();
        for rule in new {
            self.kept.push(rule.name);
            self.save(rule.name, &format!("{} {}", rule.name, rule.title), now);
        }
    }

    fn dump(&mut self, writer: &mut CaptureWriter) -> Result<(), CaptureError> {
        let Some(Due { name: what, why, .. }) = self.due.take() else { return Ok(()) };
        let dir = free_name(&named(&self.dir, what));
        let done = writer.dump(&dir)?;
        self.writing.push(Writing { dir, why, done });
        Ok(())
    }

    fn told(&mut self) -> Option<String> {
        let (i, answer) = self.writing.iter().enumerate().find_map(|(i, writing)| match writing.done.try_recv() {
            Ok(answer) => Some((i, Some(answer))),
            Err(TryRecvError::Disconnected) => Some((i, None)),
            Err(TryRecvError::Empty) => None,
        })?;
        let Writing { dir, why, .. } = self.writing.remove(i);
        let dir = dir.display();
        Some(match answer {
            Some(Ok(events)) => format!("{why}: saved {} records in {dir}", grouped(events)),
            Some(Err(error)) => format!("{why}: cannot save the events of the flight recorder in {dir}: {error}"),
            None => {
                format!("{why}: cannot save the events of the flight recorder in {dir}: the recording ended first")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmtrace_capture::{Capture, Condition, FinalInfo, WriterOptions};

    /// Records a golden capture anew, in which the hazard H07 is met and no rule is broken.
    fn recorded(occasion: &str, dir: &Path) -> Vec<String> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/6.18-mmap/capture");
        let golden = Capture::open(&golden).expect("a capture");
        let mut engine = Engine::new(golden.context().clone(), true);
        let options = WriterOptions::keeping(Some(64 << 20));
        let mut writer = CaptureWriter::create(dir, golden.context(), Vec::new(), options).expect("created");
        let mut dumps = Dumps::new(&[occasion.parse().expect("an occasion")], dir);
        let mut told = Vec::new();
        for (i, record) in golden.records().take(20_000).enumerate() {
            engine.apply(&record);
            dumps.see(&engine, &record);
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
    fn what_is_kept_begins_with_the_name_of_the_capture() {
        for (dir, begins) in [("capture", "capture."), ("a/b.mmt", "b.mmt."), ("/x/", "x."), (".", "..")] {
            assert_eq!(names(Path::new(dir)), *begins);
            let saved = free_name(&named(Path::new(dir), "wait"));
            assert!(saved.file_name().expect("a name").as_bytes().starts_with(begins.as_bytes()), "{dir}");
        }
    }

    #[test]
    fn what_the_recorder_holds_is_kept_once_when_it_happens() {
        let temp = tempfile::tempdir().expect("a folder");
        let dir = temp.path().join("capture");
        let told = recorded("hazard", &dir);
        let kept = temp.path().join("capture.H07-1");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("H07 "), "{told:?}");
        assert!(told[0].ends_with(&format!(": saved 20,000 records in {}", kept.display())), "{told:?}");
        let capture = Capture::open(&kept).expect("a capture");
        assert_eq!(capture.condition(), Condition::Complete);
        assert_eq!(capture.records().count(), 20_000);
        assert_eq!(std::fs::read_dir(temp.path()).expect("listed").count(), 2);
    }

    #[test]
    fn a_long_hold_is_kept_and_told_with_the_task() {
        let temp = tempfile::tempdir().expect("a folder");
        let dir = temp.path().join("capture");
        let told = recorded("hold > 20us", &dir);
        let kept = temp.path().join("capture.hold-1");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(" held an mmap_lock for "), "{told:?}");
        assert!(told[0].ends_with(&format!("saved 20,000 records in {}", kept.display())), "{told:?}");
        assert!(recorded("hold > 10min", &temp.path().join("other")).is_empty());
    }

    #[test]
    fn a_hazard_is_no_violation() {
        let temp = tempfile::tempdir().expect("a folder");
        assert!(recorded("violation", &temp.path().join("capture")).is_empty());
        assert_eq!(std::fs::read_dir(temp.path()).expect("listed").count(), 1);
    }
}
