//! The end of a recording, when all events are judged: the report, the capture, the command, the probes. Each may wait for
//! something that does not come: a reader of standard output, a disk, a task that the kernel keeps, a grace period. So
//! each has its bound, or ends at a signal, and it is said what was left.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SendError, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use mmtrace_capture::{CaptureError, CaptureWriter, FinalInfo, write_tables};
use mmtrace_model::{
    replay::Engine,
    report::{Output, Report, Style, grouped},
    untrusted::Screened,
    verdict::Verdict,
};
use tokio::time::sleep;

use super::{
    RecordArgs, child::Recorded, detaching::Detaching, dump::Dumps, helper::Helper, report_file::ReportFile,
    signals::Signals,
};
use crate::{
    console::{self, tell},
    outlet::{Outlet, write_a_piece},
    probe::object::Object,
    tui::watch::Saving,
};

/// Time between two looks at what is still under way.
const EVERY: Duration = Duration::from_millis(5);
/// Time after which a report that nobody reads is given up, once a signal has come.
const UNREAD: Duration = Duration::from_secs(5);
/// Time that the report and the capture may still take after a second signal.
const HURRIED: Duration = Duration::from_secs(1);
/// Longest wait until a capture is sealed, or what the dashboard saves is on disk.
const SEAL: Duration = Duration::from_secs(60);
/// A wait that is longer is told to the user.
const LONG: Duration = Duration::from_secs(1);

/// The rest of a recording whose events are all judged.
pub(super) struct Closing<'a> {
    pub(super) args: &'a RecordArgs,
    pub(super) signals: Signals,
    pub(super) engine: Engine,
    pub(super) capture: Option<Capture>,
    /// Error that ended the recording, if one did.
    pub(super) failed: Option<anyhow::Error>,
    /// Message about the workload's failure, if it failed.
    pub(super) unfinished: Option<String>,
    /// Possible reasons, if nothing was recorded.
    pub(super) silent: Vec<String>,
    /// File for the report; `None` for standard output.
    pub(super) report: Option<ReportFile>,
    pub(super) child: Option<Recorded>,
    /// Ends with the recording.
    pub(super) helper: Option<Helper>,
    pub(super) detaching: Detaching<Object>,
    pub(super) saving: Saving,
}

/// The result of sealing a capture.
struct Sealed {
    result: Result<(), CaptureError>,
    /// Messages about what was saved besides.
    messages: Vec<String>,
    /// The folder is still where it was created.
    in_place: bool,
}

/// A capture that is to be sealed.
pub(super) struct Capture {
    pub(super) writer: CaptureWriter,
    pub(super) dumps: Option<Dumps>,
    pub(super) end_ts: u64,
}

impl Capture {
    /// Seals it.
    fn seal(mut self, engine: &Engine) -> Sealed {
        let kept = self.dumps.as_mut().map_or(Ok(()), |dumps| dumps.close(engine, &mut self.writer));
        let in_place = self.writer.is_in_place();
        // A capture whose last part could not be written is incomplete, and must not be marked complete.
        let result = kept.and_then(|()| self.writer.finish(FinalInfo { end_ts: self.end_ts }).map(drop));
        Sealed { result, messages: self.dumps.iter_mut().flat_map(Dumps::last).collect(), in_place }
    }
}

/// A capture that is being sealed, by a thread where one can be had.
struct Sealing {
    thread: Option<JoinHandle<Option<Sealed>>>,
    done: Option<Sealed>,
}

impl Sealing {
    fn begin(capture: Option<Capture>, engine: Engine) -> Self {
        let Some(capture) = capture else { return Self { thread: None, done: None } };
        // Through a channel: what a thread that does not start was given is gone.
        let (send, receive) = channel::<(Capture, Engine)>();
        let seal = move || receive.recv().ok().map(|(capture, engine)| capture.seal(&engine));
        let thread = Builder::new().name("sealing".to_owned()).spawn(seal);
        match (send.send((capture, engine)), thread) {
            (Ok(()), Ok(thread)) => Self { thread: Some(thread), done: None },
            (Err(SendError((capture, engine))), _) => Self { thread: None, done: Some(capture.seal(&engine)) },
            // It cannot be sent to nobody.
            (Ok(()), Err(_)) => Self { thread: None, done: None },
        }
    }

    fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Returns the result; `None` if there was no capture.
    fn end(self) -> Option<Sealed> {
        // A thread that has panicked has said so.
        self.done.or_else(|| self.thread.and_then(|thread| thread.join().ok().flatten()))
    }
}

/// The report on its way to standard output.
enum Printing {
    Thread(Outlet),
    /// No thread can be had: what can be taken without waiting is written now and then.
    Piecewise {
        to: File,
        text: Vec<u8>,
        written: usize,
    },
    Failed(io::Error),
}

impl Printing {
    fn begin(text: Vec<u8>, file: Option<&ReportFile>) -> Self {
        let open = || file.map_or_else(console::stdout, ReportFile::empty);
        let (to, again) = match (open(), open()) {
            (Ok(to), Ok(again)) => (to, again),
            (Err(error), _) | (_, Err(error)) => return Self::Failed(error),
        };
        match Outlet::new("report", to, usize::MAX) {
            Ok(outlet) => {
                outlet.put(&text);
                Self::Thread(outlet)
            }
            Err(_) => Self::Piecewise { to: again, text, written: 0 },
        }
    }

    /// Goes on with it. Returns whether it is over.
    fn is_over(&mut self) -> bool {
        let error = match self {
            Self::Thread(outlet) => return outlet.is_idle(),
            Self::Failed(_) => return true,
            Self::Piecewise { to, text, written } => loop {
                match write_a_piece(to, &text[*written..]) {
                    Ok(0) => return *written == text.len(),
                    Ok(n) => *written += n,
                    Err(error) => break error,
                }
            },
        };
        *self = Self::Failed(error);
        true
    }

    /// Bytes written so far.
    fn written(&self) -> u64 {
        match self {
            Self::Thread(outlet) => outlet.written(),
            Self::Piecewise { written, .. } => *written as u64,
            Self::Failed(_) => 0,
        }
    }

    /// Returns the error that kept part of the report from being written, if there was one.
    fn error(mut self) -> Option<io::Error> {
        let over = self.is_over();
        let error = match self {
            Self::Thread(outlet) => outlet.error(),
            Self::Failed(error) => Some(error),
            Self::Piecewise { .. } => None,
        };
        error.or_else(|| (!over).then(|| io::Error::new(io::ErrorKind::TimedOut, "nothing reads standard output")))
    }
}

impl Closing<'_> {
    /// Prints the report, and sees to the end of everything else. Returns whether anything was violated.
    pub(super) async fn close(self, style: Style) -> Result<bool> {
        let Self { args, mut signals, engine, capture, mut failed, unfinished, silent, report: file, .. } = self;
        let Self { child, helper, detaching, saving, .. } = self;
        let style = if file.is_some() { Style::plain() } else { style };
        let report = Report::new(&engine);
        let (violated, verdict) = (report.is_violated(), report.verdict.map_or("not validated", Verdict::name));
        let mut text = Vec::new();
        let mut screened = Screened::new(&mut text, style.has_colour());
        report.print(Output::of(args.json, args.rules), style, &mut screened).context("cannot make the report")?;
        drop(screened);
        let mut printing = Printing::begin(text, file.as_ref());
        printing.is_over();
        let sealing = Sealing::begin(capture, engine);
        wait_for_both(&mut printing, &sealing, &mut signals).await;

        let mut sealed = false;
        if !sealing.is_over() {
            failed.get_or_insert(anyhow!(
                "mmtrace did not wait until the capture in {0} was complete: it can be read up to its last batch on disk, \
                 as after an interruption; to judge that part: mmtrace replay {0}",
                args.output.display()
            ));
        } else if let Some(Sealed { result, messages, in_place }) = sealing.end() {
            messages.iter().for_each(|message| tell(message));
            if !in_place {
                let dir = args.output.display();
                tell(&format!(
                    "somebody renamed or removed the folder {dir} during the recording: the capture is in the renamed \
                     folder, and what is at {dir} now is not this capture"
                ));
            }
            match result {
                Ok(()) => sealed = in_place,
                Err(error) => drop(failed.get_or_insert(error.into())),
            }
        }
        let error = printing.error();
        let printed = error.is_none();
        match error {
            None => {}
            // The reader has seen enough: the verdict is the exit status.
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Some(error) => {
                let again = match sealed {
                    true => format!("; to print it again: mmtrace replay {}", args.output.display()),
                    false => String::new(),
                };
                let error = anyhow!("cannot print the report (verdict: {verdict}): {error}{again}");
                match &failed {
                    None => failed = Some(error),
                    Some(_) => tell(&error.to_string()),
                }
            }
        }
        if let Some(file) = file.filter(|_| printed) {
            tell(&format!("{verdict}; wrote the report to {}", file.path().display()));
        }
        if sealed && !args.json {
            tell(&format!(
                "wrote the capture to {0}; for all rows: mmtrace report {0} --limit 0; to judge it again: mmtrace replay {0}",
                args.output.display()
            ));
        }
        if sealed {
            tables(&args.output, &mut signals).await;
        }
        silent.iter().for_each(|line| tell(line));
        if let Some(child) = child {
            child.end(&mut signals).await;
        }
        detaching.end(&mut signals).await;
        saved(saving, &mut signals).await;
        drop(helper);
        match (failed, unfinished) {
            (Some(error), _) => Err(error),
            // A workload that did not do its work shows nothing by raising no violation.
            (None, Some(why)) if !violated => Err(anyhow!("{why}, so the report covers only what it did before that")),
            (None, _) => Ok(violated),
        }
    }
}

/// Waits until the report is printed and the capture sealed, or until one of them takes too long.
async fn wait_for_both(printing: &mut Printing, sealing: &Sealing, signals: &mut Signals) {
    let begun = Instant::now();
    let mut progress = (printing.written(), begun);
    let mut hurried = None;
    let mut told = false;
    loop {
        let (printed, sealed) = (printing.is_over(), sealing.is_over());
        let now = Instant::now();
        if printing.written() != progress.0 {
            progress = (printing.written(), now);
        }
        if Signals::count() > 1 {
            hurried.get_or_insert(now);
        }
        let hurried = hurried.is_some_and(|since| now - since >= HURRIED);
        let unread = hurried || Signals::count() > 0 && now - progress.1 >= UNREAD;
        if (printed || unread) && (sealed || hurried || now - begun >= SEAL) {
            return;
        }
        if printed && !told && now - begun >= LONG {
            told = true;
            tell("waiting until the capture is on disk");
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = signals.beyond(Signals::count()) => {}
        }
    }
}

/// Writes the tables of names beside the segments. A signal that comes meanwhile ends that: they hold nothing that the
/// capture does not have.
async fn tables(dir: &Path, signals: &mut Signals) {
    let (stop, records) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (stopped, seen, of) = (Arc::clone(&stop), Arc::clone(&records), dir.to_path_buf());
    let write = move || {
        let capture = mmtrace_capture::Capture::open(&of)?;
        write_tables(&capture, |n| {
            seen.store(n, Ordering::Relaxed);
            stopped.load(Ordering::Relaxed)
        })
    };
    let Ok(thread) = Builder::new().name("tables".to_owned()).spawn(write) else {
        tell(&format!(
            "cannot start a thread that writes the tables of names; to write them: mmtrace tables {}",
            dir.display()
        ));
        return;
    };
    let (begun, signalled, mut told) = (Instant::now(), Signals::count(), false);
    while !thread.is_finished() {
        if !told && begun.elapsed() >= LONG {
            told = true;
            let records = grouped(records.load(Ordering::Relaxed));
            tell(&format!(
                "writing the tables of names: {records} records in the first second; Ctrl-C leaves them out"
            ));
        }
        if Signals::count() > signalled {
            stop.store(true, Ordering::Relaxed);
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = signals.beyond(Signals::count()) => {}
        }
    }
    match thread.join() {
        Ok(Ok(Some(_))) => {}
        Ok(Ok(None)) => {
            tell(&format!("the tables of names are left out; to write them: mmtrace tables {}", dir.display()));
        }
        Ok(Err(error)) => tell(&error.to_string()),
        // It has said so.
        Err(_) => {}
    }
}

/// Waits for what is being saved from the dashboard.
async fn saved(saving: Saving, signals: &mut Signals) {
    let begun = Instant::now();
    while !saving.is_over() && begun.elapsed() < SEAL && Signals::count() < 2 {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = signals.beyond(1) => {}
        }
    }
    if !saving.is_over() {
        tell("mmtrace did not wait until the events saved with P were on disk: that capture is incomplete");
    }
}
