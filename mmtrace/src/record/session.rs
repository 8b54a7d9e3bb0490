//! One recording from beginning to end.

use std::{
    cell::RefCell,
    io::Write,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use mmtrace_common::Record;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time::{sleep, sleep_until},
};

use super::{
    RecordArgs,
    child::Recorded,
    dump::Dumps,
    kernel,
    silence::Silence,
    status::{Face, Status, tell},
    target::Asked,
};
use crate::{
    btf::Btf,
    capture::{CaptureWriter, FinalInfo, WriterOptions, make_room},
    context::Context,
    environment::Environment,
    export::{
        metrics,
        serve::{Address, serve},
    },
    probe::{
        object::{self, Object},
        plan::Plan,
        rings::{Pass, Rings},
        spares::{self, Spares},
        symbols::Symbols,
        sys,
    },
    replay::Engine,
    report::{Report, Style},
    tui::{layout::Layout, terminal, watch::Watch},
};

/// While events come, how long a pass waits for more of them.
const PASS_EVERY: Duration = Duration::from_millis(10);
/// While none come, how often they are looked for: programs wake nobody. The smallest ring by default, 8 MiB, takes a
/// hundred thousand events, which is more than a CPU brings forth in this time.
const IDLE_EVERY: Duration = Duration::from_millis(20);
/// At the end, how long a record that is still being written is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often metrics are made anew.
const METRICS_EVERY: Duration = Duration::from_secs(1);
/// How often a half-filled batch goes to disk: what a killed recorder loses at most.
const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// What takes longer is told.
const LONG: Duration = Duration::from_secs(1);
/// A workload that has not ended by so much after its time is ended.
const WORKLOAD_GRACE: Duration = Duration::from_secs(20);

/// Records, and prints the report. Returns whether anything was violated.
///
/// # Errors
/// The environment does not allow it, the kernel refuses the programs, or the capture cannot be written.
pub fn run(args: &RecordArgs, out: &mut dyn Write, style: Style) -> Result<bool> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot set up the event loop")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, record(args, out, style))
}

async fn record(args: &RecordArgs, out: &mut dyn Write, style: Style) -> Result<bool> {
    // From the first moment on, so that Ctrl-C never leaves half a capture behind.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;

    let mut layout = None;
    if args.tui {
        // Before an earlier capture is moved out of the way.
        terminal::required()?;
        layout = Some(Layout::load(&args.dashboard)?);
    }

    let asked = Asked::check(&args.watch)?;
    let environment = Environment::examine();
    if let Some(finding) = environment.blocking() {
        bail!("cannot record here: {finding}\nsee: mmtrace doctor");
    }
    let selection = args.watch.events.clone().unwrap_or_default();
    let btf = Btf::from_kernel().context("cannot read the kernel's type information")?;
    let mut plan = Plan::new(&btf, &Symbols::from_kernel(), &selection);
    let mut target = asked.resolve(&args.watch, environment.initial_pid_namespace, &btf)?;
    drop(btf);
    plan.serve(&target.filter);
    for note in &target.notes {
        tell(note);
    }
    let metrics = match args.watch.metrics {
        Some(address) => Some(Metrics::offer(address).await?),
        None => None,
    };

    let kernel = kernel::running();
    let spares = Spares::of(&kernel, &environment.preemption, args.watch.spares);
    let mut object = Object::load(&plan, &target.filter, args.watch.buffer.map(|mib| mib << 20), spares)?;
    let diagnostics = tokio::task::spawn_local(object.log());
    let begun = Instant::now();
    let probes = object.attach(&plan)?;
    let attached = probes.iter().filter(|p| p.form.is_some()).count();
    if begun.elapsed() >= LONG {
        tell(&format!("{attached} of {} probes attached in {:.1} s", probes.len(), begun.elapsed().as_secs_f64()));
    }
    if !object.bare().is_empty() {
        tell(&format!("the kernel refused spares of {}: what it skips of them is missing", object.bare().join(", ")));
    }
    let silence = Silence::new(&args.watch, &plan, &probes);
    if silence.attached() == 0 {
        let why = plan.asked(&probes).find_map(|p| p.reason.as_deref()).unwrap_or("none was asked for");
        bail!("no event that was asked for can be observed: {why}\nsee: mmtrace doctor");
    }
    for need in target.filter.needs() {
        let state = probes.iter().find(|p| p.event == need.kind.name() && p.form.is_none());
        if let Some(why) = state.and_then(|p| p.reason.as_deref()) {
            tell(&format!("the filter lacks {}: {}: {why}", need.kind.name(), need.without));
        }
    }
    target.join(&mut object)?;
    let mut context = Context {
        kernel,
        probes,
        offsets: object::offsets(&plan),
        enums: plan.enums.clone(),
        filter: target.described(&plan),
        start: 0,
    };
    if let Some(occasion) = args.dump_on.filter(|occasion| !occasion.can_happen(&context)) {
        bail!(
            "--dump-on {}: none of its rules can be observed with these events, so nothing would be kept",
            occasion.name()
        );
    }
    let streams = object.streams()?;
    // Only now is an earlier capture moved: all that could stand in the way has been looked at.
    if !args.no_capture
        && let Some(old) = make_room(&args.output)?
    {
        tell(&format!("the earlier capture is now {}", old.display()));
    }
    let mut rings = Rings::new(streams, &context.kernel).context("cannot read the loss counters")?;
    context.start = rings.start();
    let realtime_offset_ns = Some(sys::realtime_offset_ns());
    let mut writer = None;
    if !args.no_capture {
        let options = WriterOptions { realtime_offset_ns, ..WriterOptions::keeping(args.ring.map(|r| r.0)) };
        writer = Some(CaptureWriter::create(&args.output, &context, std::env::args().collect(), options)?);
    }
    let engine = Engine::new(context, !args.no_validate);
    // By rings that have something, and by the keyboard.
    let wake = Arc::new(Notify::new());
    let (engine, face) = match layout {
        Some(layout) => {
            (engine.with_stats(), Face::Dashboard(Box::new(Watch::new(layout, realtime_offset_ns, Arc::clone(&wake))?)))
        }
        None => (engine, Face::Line(Status::new())),
    };
    let dumps = args.dump_on.map(|occasion| Dumps::new(occasion, &args.output));
    let mut live = Live { engine, writer, dumps, face, metrics, batch: Vec::new(), flushed: Instant::now() };

    let mut child = start_child(args, &mut object, target.own)?;
    // A workload ends by itself, and is recorded to its end: probes come off a quiet machine.
    let grace = if args.watch.workload.is_some() { WORKLOAD_GRACE } else { Duration::ZERO };
    let deadline = args.watch.seconds.map(|s| tokio::time::Instant::now() + Duration::from_secs_f64(s) + grace);
    sys::raise_priority();

    let mut result = Ok(());
    let mut failed = None;
    while !live.has_seen_enough() {
        match live.pass(&mut rings) {
            Ok(Pass::More) => {}
            Ok(pass @ (Pass::Drained | Pass::Held)) => {
                let busy = pass == Pass::Held || !live.batch.is_empty();
                tokio::select! {
                    biased;
                    _ = interrupt.recv() => break,
                    _ = terminate.recv() => break,
                    _ = hangup.recv() => break,
                    () = until(deadline) => break,
                    status = ended(child.as_mut()) => {
                        live.face.clear();
                        if let (Some(child), false) = (&child, status.success()) {
                            let told = format!("{} ended with {status}", child.name());
                            tell(&told);
                            failed = args.watch.workload.is_some().then_some(told);
                        }
                        child = None;
                        break;
                    }
                    why = target.over(&mut object) => {
                        live.face.clear();
                        tell(&format!("{why}, and so has the recording"));
                        break;
                    }
                    () = sleep(if busy { PASS_EVERY } else { IDLE_EVERY }) => {}
                    () = wake.notified() => {}
                }
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }

    // Nothing after this moment counts; then the probes come off, so that nobody
    // pays for them while the rest is written.
    rings.stop();
    diagnostics.abort();
    let costs = rings.costs();
    let patience = Instant::now() + PATIENCE;
    while result.is_ok() && !rings.has_settled() && Instant::now() < patience {
        match live.pass(&mut rings) {
            Ok(Pass::Held) => sleep(PASS_EVERY).await,
            Ok(Pass::More | Pass::Drained) => {}
            Err(error) => result = Err(error),
        }
    }
    let detaching = Detaching::begin(object);
    while result.is_ok() {
        match live.pass(&mut rings) {
            Ok(Pass::More) => {}
            Ok(Pass::Held) if Instant::now() < patience => sleep(PASS_EVERY).await,
            Ok(Pass::Drained | Pass::Held) => break,
            Err(error) => result = Err(error),
        }
    }
    live.face.close();
    if let Some(child) = child {
        child.end().await;
    }
    // What was judged is worth a report, also when it could not all be written.
    let silent = silence.explain(&live.engine, &target);
    let closed = live.close(args, rings.watermark(), out, style);
    for line in silent {
        tell(&line);
    }
    let missed = rings.missed_despite_spares();
    if missed > 0 && spares.most() < spares::MOST {
        tell(&format!(
            "{missed} events are missing since tasks were preempted in a probe and in its spare: --spares {} misses fewer",
            spares::MOST
        ));
    }
    for (kind, runs, ns) in costs {
        tell(&format!("cost of {}: {} ns each of {runs} runs", kind.name(), ns / runs.max(1)));
    }
    detaching.end();
    result?;
    match (closed?, failed) {
        // What did not do its work shows nothing by raising no violation.
        (false, Some(failed)) => bail!("{failed}: the report is about whatever it did before"),
        (violated, _) => Ok(violated),
    }
}

/// Probes that are coming off. The kernel waits for a grace period at each function, one after the other, so
/// that of many takes seconds; what was recorded is judged and written meanwhile.
struct Detaching {
    thread: std::thread::JoinHandle<()>,
    begun: Instant,
}

impl Detaching {
    fn begin(object: Object) -> Self {
        Self { thread: std::thread::spawn(move || object.detach()), begun: Instant::now() }
    }

    /// Waits until the last is off.
    fn end(self) {
        let Self { thread, begun } = self;
        if !thread.is_finished() && begun.elapsed() >= LONG {
            tell("waiting for the kernel to take the last probes off");
        }
        // It cannot panic: it only drops.
        let _ = thread.join();
        if begun.elapsed() >= LONG {
            tell(&format!("probes taken off in {:.1} s", begun.elapsed().as_secs_f64()));
        }
    }
}

/// The recording as it goes.
struct Live {
    engine: Engine,
    writer: Option<CaptureWriter>,
    dumps: Option<Dumps>,
    face: Face,
    metrics: Option<Metrics>,
    batch: Vec<Record>,
    flushed: Instant,
}

impl Live {
    /// The user has closed the dashboard.
    fn has_seen_enough(&self) -> bool {
        matches!(&self.face, Face::Dashboard(watch) if watch.is_over())
    }

    /// Takes what has arrived: judges it, writes it.
    fn pass(&mut self, rings: &mut Rings) -> Result<Pass> {
        self.batch.clear();
        let pass = rings.pass(&mut self.batch).context("cannot read what the probes have lost")?;
        self.face.keep(&self.engine, &self.batch);
        for record in &self.batch {
            self.engine.apply(record);
            if let Some(writer) = &mut self.writer {
                writer.append(record)?;
            }
        }
        if self.flushed.elapsed() >= FLUSH_EVERY {
            self.flushed = Instant::now();
            if let Some(writer) = &mut self.writer {
                writer.flush()?;
            }
        }
        if let (Some(dumps), Some(writer)) = (&mut self.dumps, &mut self.writer)
            && let Some(message) = dumps.tick(&self.engine, writer)?
        {
            self.face.say(&message);
        }
        self.face.tick(&self.engine)?;
        if let Some(metrics) = &mut self.metrics {
            metrics.tick(&self.engine);
        }
        Ok(pass)
    }

    /// Seals the capture and prints the report.
    fn close(mut self, args: &RecordArgs, end_ts: u64, out: &mut dyn Write, style: Style) -> Result<bool> {
        self.engine.finish();
        if let (Some(dumps), Some(writer)) = (&mut self.dumps, &mut self.writer) {
            // If it cannot be kept, the capture itself cannot be finished either: that tells why.
            let _ = dumps.close(&self.engine, writer);
        }
        let sealed = self.writer.map(|writer| writer.finish(FinalInfo { end_ts }));
        for message in self.dumps.iter_mut().flat_map(Dumps::last) {
            tell(&message);
        }
        let report = Report::new(&self.engine);
        report.print(args.json, style, out).context("cannot print the report")?;
        if sealed.transpose()?.is_some() && !args.json {
            tell(&format!("capture in {}; to judge it again: mmtrace replay {0}", args.output.display()));
        }
        Ok(report.is_violated())
    }
}

/// The metrics, as they are offered.
struct Metrics {
    text: Rc<RefCell<String>>,
    made: Option<Instant>,
}

impl Metrics {
    async fn offer(Address(address): Address) -> Result<Self> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot offer metrics at {address}"))?;
        let text = Rc::default();
        tokio::task::spawn_local(serve(listener, Rc::clone(&text)));
        Ok(Self { text, made: None })
    }

    /// Makes them anew if it is time to.
    fn tick(&mut self, engine: &Engine) {
        if self.made.is_none_or(|made| made.elapsed() >= METRICS_EVERY) {
            self.made = Some(Instant::now());
            self.text.replace(metrics::text(engine));
        }
    }
}

/// Starts the command while mmtrace itself is wanted: the child is then wanted from
/// its fork on, and nothing of it is missed. mmtrace's own mm is never recorded.
/// `own` is mmtrace's id, as the programs know it.
fn start_child(args: &RecordArgs, object: &mut Object, own: u32) -> Result<Option<Recorded>> {
    if args.watch.command.is_empty() || args.watch.all {
        return Recorded::start(args);
    }
    object.want_pid(own)?;
    let child = Recorded::start(args)?;
    object.unwant_pid(own)?;
    Ok(child)
}

async fn ended(child: Option<&mut Recorded>) -> std::process::ExitStatus {
    match child {
        Some(child) => child.ended().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
