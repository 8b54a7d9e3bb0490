//! One recording from beginning to end.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use mmtrace_capture::{CaptureWriter, WriterOptions, make_room};
use mmtrace_common::{Column, Kind, LOST_KINDS, Record};
use mmtrace_model::{
    context::Context,
    replay::Engine,
    report::{Style, grouped},
};
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::JoinHandle,
    time::{sleep, sleep_until},
};

use super::{
    RecordArgs,
    child::Recorded,
    closing::{self, Closing},
    detaching::Held,
    dump::Dumps,
    kernel, limits,
    signals::Signals,
    silence::Silence,
    status::{Face, Status},
    target::{Asked, Target},
    user,
};
use crate::{
    btf::Btf,
    command_line,
    console::{self, tell},
    environment::Environment,
    export::{
        metrics,
        serve::{Address, serve},
    },
    probe::{
        object::{self, Object},
        plan::Plan,
        rings::{self, Pass, Rings},
        standby::{self, Standby},
        symbols::Symbols,
        sys,
    },
    tui::{layout::Layout, terminal, watch::Watch},
};

/// While events come, how long a pass waits for more of them.
const PASS_EVERY: Duration = Duration::from_millis(10);
/// While none come, how often they are looked for: programs wake nobody. The smallest ring by default, 8 MiB, takes a
/// hundred thousand events, which is more than a CPU brings forth in this time.
const IDLE_EVERY: Duration = Duration::from_millis(20);
/// Records that are judged before signals, the clock and the child are looked at: 20 ms where a recorder has a tenth
/// of a CPU.
const SLICE: usize = 1 << 10;
/// At the end, how long a record that is still being written is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the rings are read after a signal. What they hold then is lost.
const DRAIN_TOLD: Duration = Duration::from_secs(5);
/// How long when nobody waits: the time is over, or the command has ended.
const DRAIN: Duration = Duration::from_secs(8);
/// How many MiB a second are read at least, where the user has asked for more rings than are read in [`DRAIN`].
const DRAIN_MIB: u32 = 32;
/// How long what is left in them is counted.
const COUNT: Duration = Duration::from_millis(500);
/// How often metrics are made anew.
const METRICS_EVERY: Duration = Duration::from_secs(1);
/// How often a half-filled batch goes to disk: what a killed recorder loses at most.
const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// What takes longer is told.
const LONG: Duration = Duration::from_secs(1);
/// A workload that has not ended by so much after its time is ended.
const WORKLOAD_GRACE: Duration = Duration::from_secs(20);

/// Records, and prints the report on standard output. Returns whether anything was violated.
///
/// # Errors
/// The environment does not allow it, the kernel refuses the programs, the capture cannot be written, or the report
/// cannot be printed.
pub fn run(args: &RecordArgs, style: Style) -> Result<bool> {
    limits::raise()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot set up the event loop")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, record(args, style))
}

async fn record(args: &RecordArgs, style: Style) -> Result<bool> {
    // From the first moment on, so that Ctrl-C never leaves half a capture behind.
    let signals = Signals::watch()?;
    console::never_wait();
    let mut session = Session::prepare(args, signals).await?;
    session.watch().await;
    session.drain().await.close(style).await
}

/// A recording that has begun.
struct Session<'a> {
    args: &'a RecordArgs,
    signals: Signals,
    live: Live,
    rings: Rings,
    object: Held<Object>,
    diagnostics: JoinHandle<()>,
    child: Option<Recorded>,
    deadline: Option<tokio::time::Instant>,
    /// Of the keyboard.
    wake: Arc<Notify>,
    standby: Standby,
    target: Target,
    silence: Silence,
    /// What there is to say once the terminal is given back.
    news: Option<String>,
    /// The workload failed: how.
    failed: Option<String>,
}

impl<'a> Session<'a> {
    /// Attaches the probes, creates the capture and starts the command.
    async fn prepare(args: &'a RecordArgs, signals: Signals) -> Result<Self> {
        let mut layout = None;
        if args.tui {
            // Before an earlier capture is moved out of the way.
            terminal::required()?;
            layout = Some(Layout::load(&args.dashboard)?);
        }
        let asked = Asked::check(&args.watch)?;
        user::wanted(args)?;
        let environment = Environment::examine();
        if let Some(finding) = environment.blocking() {
            bail!("cannot record here: {finding}\nsee: mmtrace doctor");
        }
        let selection = args.watch.events.clone().unwrap_or_default();
        let btf = Btf::from_kernel().context("cannot read the kernel's type information")?;
        let mut plan = Plan::new(&btf, &Symbols::from_kernel(), &selection);
        let target = asked.resolve(&args.watch, environment.initial_pid_namespace, &btf)?;
        drop(btf);
        plan.serve(&target.filter);
        target.notes.iter().for_each(|note| tell(note));
        let metrics = match args.watch.metrics {
            Some(address) => Some(Metrics::offer(address).await?),
            None => None,
        };

        let kernel = kernel::running();
        let standby = Standby::of(&kernel, &environment.preemption, args.watch.standby);
        let mut object = Object::load(&plan, &target.filter, args.watch.buffer.map(|mib| mib << 20), standby)?;
        let diagnostics = tokio::task::spawn_local(object.log());
        let probes = attach(&mut object, &plan)?;
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
        let mut object = Held::new(object);
        target.join(object.get())?;
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
        let streams = object.get().streams()?;
        // Only now is an earlier capture moved: all that could stand in the way has been looked at.
        if !args.no_capture
            && let Some(old) = make_room(&args.output)?
        {
            tell(&format!("the earlier capture is now {}", old.display()));
        }
        let rings = Rings::new(streams, &context.kernel).context("cannot read the loss counters")?;
        context.start = rings.start();
        let realtime_offset_ns = Some(sys::realtime_offset_ns());
        let mut writer = None;
        if !args.no_capture {
            let options = WriterOptions { realtime_offset_ns, ..WriterOptions::keeping(args.ring.map(|r| r.0)) };
            writer = Some(CaptureWriter::create(&args.output, &context, command_line::words(), options)?);
        }
        let engine = Engine::new(context, !args.no_validate);
        let wake = Arc::new(Notify::new());
        let (engine, face) = match layout {
            Some(layout) => {
                let watch = Watch::new(layout, realtime_offset_ns, Arc::clone(&wake))?;
                (engine.with_stats(), Face::Dashboard(Box::new(watch)))
            }
            None => (engine, Face::Line(Status::new())),
        };
        let dumps = args.dump_on.map(|occasion| Dumps::new(occasion, &args.output));
        let live = Live::new(engine, writer, dumps, face, metrics);

        let child = start_child(args, object.get(), target.own)?;
        // A workload ends by itself, and is recorded to its end: probes come off a quiet machine.
        let grace = if args.watch.workload.is_some() { WORKLOAD_GRACE } else { Duration::ZERO };
        let deadline = args.watch.seconds.map(|s| tokio::time::Instant::now() + Duration::from_secs_f64(s) + grace);
        sys::raise_priority();
        Ok(Self {
            args,
            signals,
            live,
            rings,
            object,
            diagnostics,
            child,
            deadline,
            wake,
            standby,
            target,
            silence,
            news: None,
            failed: None,
        })
    }

    /// Takes events until there is a reason to end. Nothing that it does keeps it from seeing that there is one.
    async fn watch(&mut self) {
        while !self.live.has_seen_enough() {
            let pause = match self.live.step(&mut self.rings) {
                Step::Busy => None,
                Step::Waiting => Some(PASS_EVERY),
                Step::Idle => Some(IDLE_EVERY),
            };
            tokio::select! {
                biased;
                () = self.signals.beyond(0) => break,
                () = until(self.deadline) => break,
                status = ended(self.child.as_mut()) => {
                    let child = self.child.take().filter(|_| !status.success());
                    self.news = child.map(|child| format!("{} ended with {status}", child.name()));
                    self.failed = self.news.clone().filter(|_| self.args.watch.workload.is_some());
                    break;
                }
                why = self.target.over(self.object.get()) => {
                    self.news = Some(format!("{why}, and so has the recording"));
                    break;
                }
                () = rest(pause) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Ends the recording: no event counts from now on. What lies in the rings is taken, for a bounded time; the rest
    /// is lost, and said to be.
    async fn drain(self) -> Closing<'a> {
        let Self { args, mut signals, mut live, mut rings, object, diagnostics, mut child, standby, news, .. } = self;
        let Self { target, silence, failed: unfinished, .. } = self;
        rings.stop();
        let begun = Instant::now();
        if let Some(child) = &mut child {
            child.ask();
        }
        let saving = live.face.close();
        news.iter().for_each(|news| tell(news));
        diagnostics.abort();
        let costs = rings.costs();
        // First the counters, which say nothing of use once probes come off; then the probes, so that nobody pays for
        // them while the rest is read.
        let mut settled = false;
        while !settled && begun.elapsed() < PATIENCE && Signals::count() < 2 {
            settled = live.settle(&mut rings);
            tokio::select! {
                () = sleep(PASS_EVERY) => {}
                () = signals.beyond(1) => {}
            }
        }
        let detaching = object.detach();

        let size = args.watch.buffer.unwrap_or(0) * rings.number() as u32;
        let unhurried = DRAIN.max(Duration::from_secs((size / DRAIN_MIB).into()));
        let mut end = begun + if Signals::count() > 0 { DRAIN_TOLD } else { unhurried };
        let mut told = Signals::count() > 0;
        let mut drained = false;
        while !drained && Instant::now() < end && Signals::count() < 2 {
            if !told && Signals::count() > 0 {
                told = true;
                end = end.min(Instant::now() + DRAIN_TOLD);
            }
            let pause = match live.step(&mut rings) {
                Step::Busy => None,
                Step::Waiting if live.is_held() && begun.elapsed() >= PATIENCE => break,
                Step::Waiting if live.is_behind() || live.is_held() => Some(PASS_EVERY),
                Step::Waiting | Step::Idle => {
                    drained = true;
                    None
                }
            };
            tokio::select! {
                biased;
                () = signals.beyond(Signals::count()) => {}
                () = rest(pause) => {}
            }
        }
        if !drained || !settled {
            let lost = live.give_up(&mut rings, settled, Instant::now() + COUNT);
            tell(&format!(
                "{lost} events were not read within {:.1} s of the end, and count as lost: rules that need them are unknown",
                begun.elapsed().as_secs_f64()
            ));
        }
        let missed = rings.missed_despite_standby();
        if missed > 0 && standby.most() < standby::MOST {
            tell(&format!(
                "{missed} events are missing since tasks were preempted in a probe and in its standby program: --standby {} misses \
                 fewer",
                standby::MOST
            ));
        }
        for (kind, runs, ns) in costs {
            tell(&format!("cost of {}: {} ns each of {runs} runs", kind.name(), ns / runs.max(1)));
        }
        let silent = silence.explain(&live.engine, &target);
        let (engine, capture, failed) = live.into_parts(rings.watermark());
        Closing { args, signals, engine, capture, failed, unfinished, silent, child, detaching, saving }
    }
}

/// Attaches the probes, and says what is unusual about it.
fn attach(object: &mut Object, plan: &Plan) -> Result<Vec<mmtrace_model::context::ProbeState>> {
    let begun = Instant::now();
    let probes = object.attach(plan)?;
    let attached = probes.iter().filter(|p| p.form.is_some()).count();
    if begun.elapsed() >= LONG {
        tell(&format!("{attached} of {} probes attached in {:.1} s", probes.len(), begun.elapsed().as_secs_f64()));
    }
    if let Some(probe) = probes.iter().find(|p| p.reason.as_deref().is_some_and(limits::was_met)) {
        bail!("{} cannot be attached: too many files are open; allow more: ulimit -n 4096", probe.event);
    }
    if !object.bare().is_empty() {
        tell(&format!(
            "the kernel refused standby programs of {}: what it skips of them is missing",
            object.bare().join(", ")
        ));
    }
    Ok(probes)
}

/// What a step of the recording leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is more: come back at once.
    Busy,
    /// There may be more soon.
    Waiting,
    /// There was nothing.
    Idle,
}

/// The recording as it goes.
struct Live {
    engine: Engine,
    writer: Option<CaptureWriter>,
    dumps: Option<Dumps>,
    face: Face,
    metrics: Option<Metrics>,
    /// Of the last pass.
    batch: Vec<Record>,
    /// Records of it that have been judged.
    judged: usize,
    pass: Pass,
    flushed: Instant,
    /// Why the recording has to end.
    failed: Option<anyhow::Error>,
}

impl Live {
    fn new(
        engine: Engine,
        writer: Option<CaptureWriter>,
        dumps: Option<Dumps>,
        face: Face,
        metrics: Option<Metrics>,
    ) -> Self {
        let (batch, flushed) = (Vec::new(), Instant::now());
        Self { engine, writer, dumps, face, metrics, batch, judged: 0, pass: Pass::Drained, flushed, failed: None }
    }

    /// The user has closed the dashboard, or something is wrong.
    fn has_seen_enough(&self) -> bool {
        self.failed.is_some() || matches!(&self.face, Face::Dashboard(watch) if watch.is_over())
    }

    /// Whether the writer has more to do than may wait.
    fn is_behind(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.has_room())
    }

    /// Whether a record is waited for that is still being written.
    fn is_held(&self) -> bool {
        self.pass == Pass::Held
    }

    fn fail(&mut self, error: anyhow::Error) {
        self.failed.get_or_insert(error);
    }

    /// Takes some of what has arrived: judges it, writes it.
    fn step(&mut self, rings: &mut Rings) -> Step {
        if self.judged == self.batch.len() {
            self.batch.clear();
            self.judged = 0;
            match rings.pass(&mut self.batch) {
                Ok(pass) => self.pass = pass,
                Err(error) => {
                    self.pass = Pass::Held;
                    self.fail(anyhow!(error).context("cannot read what the probes have lost"));
                }
            }
            self.face.keep(&self.engine, &self.batch);
        }
        let idle = self.batch.is_empty();
        let behind = self.is_behind();
        if !behind {
            let slice = self.judged..self.batch.len().min(self.judged + SLICE);
            self.judge(slice);
        }
        self.look_around();
        match self.pass {
            _ if behind => Step::Waiting,
            _ if self.judged < self.batch.len() => Step::Busy,
            Pass::More => Step::Busy,
            Pass::Drained if idle => Step::Idle,
            Pass::Held | Pass::Drained => Step::Waiting,
        }
    }

    /// Judges records of the batch, and writes them. A capture that cannot be written any more ends the recording, but
    /// what was recorded is worth a verdict.
    fn judge(&mut self, slice: std::ops::Range<usize>) {
        self.judged = slice.end;
        for record in &self.batch[slice] {
            self.engine.apply(record);
            if let Some(Err(error)) = self.writer.as_mut().map(|writer| writer.append(record)) {
                self.writer = None;
                self.failed.get_or_insert(error.into());
            }
        }
    }

    /// What is to be done now and then.
    fn look_around(&mut self) {
        if self.flushed.elapsed() >= FLUSH_EVERY
            && let Some(writer) = self.writer.as_mut().filter(|writer| writer.has_room())
        {
            self.flushed = Instant::now();
            if let Err(error) = writer.flush() {
                self.writer = None;
                self.fail(error.into());
            }
        }
        if let (Some(dumps), Some(writer)) = (&mut self.dumps, self.writer.as_mut().filter(|writer| writer.has_room()))
        {
            match dumps.tick(&self.engine, writer) {
                Ok(message) => message.iter().for_each(|message| self.face.say(message)),
                Err(error) => {
                    self.writer = None;
                    self.fail(error.into());
                }
            }
        }
        if let Err(error) = self.face.tick(&self.engine) {
            self.fail(error);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.tick(&self.engine);
        }
    }

    /// Adds what is known to be missing up to the stop. Returns whether that is all.
    fn settle(&mut self, rings: &mut Rings) -> bool {
        // Another pass is due, whatever the last one found.
        self.pass = Pass::More;
        match rings.settle(&mut self.batch) {
            Ok(settled) => settled,
            Err(error) => {
                self.fail(anyhow!(error).context("cannot read what the probes have lost"));
                false
            }
        }
    }

    /// Takes what was not read, or not judged, as lost. Returns how many events that are, in words.
    fn give_up(&mut self, rings: &mut Rings, settled: bool, end: Instant) -> String {
        let rest = rings.rest(end);
        let unjudged = self.batch.split_off(self.judged);
        let from = unjudged.first().map_or(rest.from, |record| record.ts);
        let mut missing = given_up(&unjudged, rest.counts, from, rings.stopped());
        let lost: u64 =
            missing.iter().filter(|r| r.kind() == Some(Kind::Loss)).filter_map(|r| r.get(Column::Count)).sum();
        let more = rest.more || !settled;
        if more {
            missing.push(rings::gap(from, rings.stopped()));
        }
        self.batch.extend(missing);
        self.judge(self.judged..self.batch.len());
        format!("{}{}", grouped(lost), if more { " and more" } else { "" })
    }

    /// What is left of it at the end, nanoseconds of `CLOCK_MONOTONIC`.
    fn into_parts(mut self, end_ts: u64) -> (Engine, Option<closing::Capture>, Option<anyhow::Error>) {
        self.engine.finish();
        let Self { engine, writer, dumps, failed, .. } = self;
        (engine, writer.map(|writer| closing::Capture { writer, dumps, end_ts }), failed)
    }
}

/// Loss records instead of records that were not judged, and of those in `counts`, by kind. What those tell of losses
/// stays.
fn given_up(unjudged: &[Record], mut counts: [u64; LOST_KINDS], from: u64, until: u64) -> Vec<Record> {
    let mut missing = Vec::new();
    for record in unjudged {
        match counts.get_mut(usize::from(record.kind)) {
            Some(count) if !record.kind().is_some_and(Kind::is_synthetic) => *count += 1,
            _ => missing.push(*record),
        }
    }
    let counts = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let kinds = counts.filter_map(|(kind, count)| Some((Kind::from_u16(kind as u16)?, *count)));
    missing.extend(kinds.map(|(kind, count)| rings::unread(kind, count, from, until)));
    missing
}

/// Waits, or only lets others see what has come.
async fn rest(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => tokio::task::yield_now().await,
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

#[cfg(test)]
mod tests {
    use super::*;
    use mmtrace_common::{View as _, event, spec};
    use mmtrace_model::verdict::{RULES, Verdict};

    fn at(ts: u64, kind: Kind) -> Record {
        Record { ts, kind: kind as u16, ..Record::default() }
    }

    #[test]
    fn what_is_given_up_is_lost_by_kind_and_what_was_lost_before_stays_told() {
        let before = rings::unread(Kind::MaWrite, 5, 10, 20);
        let unjudged = [before, at(21, Kind::Released), at(22, Kind::Released), at(23, Kind::MaWrite)];
        let mut counts = [0; LOST_KINDS];
        counts[Kind::MaWrite as usize] = 7;
        let missing = given_up(&unjudged, counts, 21, 99);
        let told: Vec<_> = missing.iter().map(|r| (r.ts, event::Loss::of(r))).collect();
        let loss = |kind: Kind, count, until| event::Loss { lost_kind: kind as u64, count, until };
        let expected =
            [(10, loss(Kind::MaWrite, 5, 20)), (21, loss(Kind::MaWrite, 8, 99)), (21, loss(Kind::Released, 2, 99))];
        for one in expected {
            assert!(told.contains(&one), "{one:?} in {told:?}");
        }
        assert_eq!(told.len(), 3, "{told:?}");
    }

    /// A live recording may end with a gap, as a capture that was read may hold one.
    #[test]
    fn what_is_given_up_without_a_count_makes_every_rule_unknown() {
        let mut engine = Engine::new(Context::default(), true);
        engine.apply(&rings::gap(5, 9));
        assert_eq!(engine.gaps(), 1);
        let sink = engine.sink().expect("it judges");
        assert!(RULES.iter().all(|r| matches!(sink.verdict(r.id), Verdict::Unknown | Verdict::NotObservable)));
        assert_eq!(spec(Kind::Gap).fields.len(), 2);
    }

    #[test]
    fn what_ends_is_seen_while_there_is_always_more_to_do() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let deadline = Some(tokio::time::Instant::now() + Duration::from_millis(50));
            let begun = Instant::now();
            loop {
                tokio::select! {
                    biased;
                    () = until(deadline) => break,
                    () = rest(None) => {}
                }
                assert!(begun.elapsed() < Duration::from_secs(20), "the clock is not looked at");
            }
        });
    }
}
