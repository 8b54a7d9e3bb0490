//! The beginning of a recording: all that can stand in the way is looked at before an earlier capture is moved and a
//! command is started.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use mmtrace_capture::{CaptureWriter, Staging, WriterOptions, make_room};
use mmtrace_common::{Column, Kind};
use mmtrace_model::{
    context::{Context, ProbeState},
    replay::Engine,
};
use tokio::sync::Notify;

use super::{
    RecordArgs,
    child::Recorded,
    confinement,
    cost::Cost,
    detaching::Held,
    dump::{self, Dumps},
    functions::FunctionReader,
    helper::{Helper, Request},
    kernel, limits,
    live::{Live, Sources},
    maps::MapsReader,
    names::TaskNames,
    overhead::Overhead,
    report_file::ReportFile,
    session::Session,
    signals::Signals,
    silence::Silence,
    status::{Face, Status},
    target::{Asked, Target},
    user,
};
use crate::{
    btf::Btf,
    command_line,
    confine::{Access, publish_apart},
    console::tell,
    environment::{Environment, Takes, lack_of_memory},
    export::{offer::Offer, serve::AT_ONCE},
    probe::{
        object::{self, Object},
        plan::Plan,
        rings::Rings,
        standby::Standby,
        symbols::Symbols,
        sys,
    },
    tui::{layout::Layout, player::SAVED, terminal, watch::Watch},
};

/// A workload that has not ended by so much after its time is ended.
const WORKLOAD_GRACE: Duration = Duration::from_secs(20);
/// Attaching that takes longer is told.
const LONG: Duration = Duration::from_secs(1);

/// Attaches the probes, creates the capture and starts the command. From then on, this process holds nothing that a
/// recording does not need.
pub(super) async fn prepare(args: &RecordArgs, signals: Signals, helper: Option<Helper>) -> Result<Session<'_>> {
    let layout = dashboard(args)?;
    let asked = Asked::check(&args.watch)?;
    user::wanted(args)?;
    let capture = (!args.no_capture).then_some(args.output.as_path());
    let report = args.report.as_deref().map(|path| ReportFile::open(path, capture)).transpose()?;
    let environment = Environment::examine();
    if let Some(finding) = environment.blocking() {
        bail!("cannot record here: {finding}\nTo see everything that mmtrace checks: mmtrace doctor");
    }
    let (plan, target, sources) = plan(args, asked, &environment, helper.as_ref())?;
    let metrics = match args.watch.metrics {
        Some(address) => Some(Offer::at(address).await?),
        None => None,
    };

    let kernel = kernel::running();
    let takes = object::takes();
    let mut standby = Standby::of(&kernel, &environment.preemption, args.watch.standby);
    if !limits::allow(takes.files) {
        standby = standby.without_reserve();
    }
    let ring_bytes = args.watch.buffer.map_or(takes.ring_bytes, |mib| u64::from(mib) << 20);
    if let Some(finding) = lack_of_memory(Takes { ring_bytes, ..takes }) {
        tell(&finding.to_string());
    }
    let mut object = Object::load(&plan, &target.filter, args.watch.buffer.map(|mib| mib << 20), standby)?;
    if args.watch.max_overhead.is_some() {
        // Before any program is attached: the kernel patches its code for it.
        object.measure().context("--max-overhead needs the kernel to measure BPF programs, which it refused")?;
    }
    let diagnostics = tokio::task::spawn_local(object.log());
    let mut probes = attach(&mut object, &plan)?;
    if environment.cgroup2.is_none() {
        // Without a mount every task is in the root of a hierarchy that nobody uses.
        probes.iter_mut().filter(|probe| probe.event == Kind::Fork.name()).for_each(|probe| {
            probe.absent.push(Column::CgroupId.name().to_owned());
        });
    }
    let silence = Silence::new(&args.watch, &plan, &probes);
    if silence.attached() == 0 {
        let why = plan.asked(&probes).find_map(|p| p.reason.as_deref()).unwrap_or("-e selects none");
        bail!("no selected event can be recorded: {why}\nTo see why each event can or cannot be: mmtrace doctor");
    }
    tell_what_the_filter_lacks(&target, &probes);
    let mut object = Held::new(object);
    target.join(object.get())?;
    let mut context = Context {
        kernel,
        probes,
        offsets: object::offsets(&plan),
        enums: plan.enums.clone(),
        filter: target.described(&plan),
        max_overhead: args.watch.max_overhead.map(|percent| percent.0),
        min_judged: Some(args.watch.min_judged.0),
        start: 0,
    };
    if let Some((occasion, why)) = args.dump_on.iter().find_map(|of| Some((of, of.hindrance(&context)?))) {
        bail!("--dump-on {occasion} would never save anything: {why}; select more events with -e");
    }
    let streams = object.get().streams()?;
    // Only now is an earlier capture moved: all that could stand in the way has been looked at.
    if !args.no_capture
        && let Some(old) = make_room(&args.output)?
    {
        tell(&format!("moved the earlier capture to {}", old.display()));
    }
    let rings = Rings::new(streams, &context.kernel).context("cannot read the loss counters")?;
    context.start = rings.start();
    let realtime_offset_ns = Some(sys::realtime_offset_ns());
    // Before the command runs, which may put something else in their place.
    let (mut writer, mut held) = (None, Vec::new());
    if !args.no_capture {
        let options = WriterOptions { realtime_offset_ns, ..WriterOptions::keeping(args.ring.map(|r| r.0)) };
        let mut created = CaptureWriter::create(&args.output, &context, command_line::words(), options)?;
        held.push((created.held().context("cannot hold the folder of the capture")?, Access::Write));
        if !args.dump_on.is_empty() {
            let inside = created.stage(|staging| publish_apart(staging, &dump::names(&args.output)))?;
            held.push((inside, Access::Write));
        }
        writer = Some(created);
    }
    let engine = Engine::new(context, !args.no_validate);
    let wake = Arc::new(Notify::new());
    let (engine, face) = match layout {
        Some(layout) => {
            let mut staging = Staging::beside(Path::new(SAVED)).ok();
            if let Some(staging) = &mut staging {
                publish_apart(staging, SAVED.as_ref());
                held.extend(staging.held().ok().map(|(inside, _)| (inside, Access::Write)));
            }
            let staging = staging.map(Arc::new);
            let watch = Watch::new(layout, realtime_offset_ns, staging, Arc::clone(&wake))?;
            (engine.with_stats(), Face::Dashboard(Box::new(watch)))
        }
        None => (engine, Face::Line(Status::new())),
    };
    let dumps = (!args.dump_on.is_empty()).then(|| Dumps::new(&args.dump_on, &args.output));
    let mut live = Live::new(engine, writer, dumps, face, metrics, sources);

    let child = start_child(args, object.get(), target.own, helper.as_ref())?;
    // A workload ends by itself, and is recorded to its end: probes come off a quiet machine.
    let grace = if args.watch.workload.is_some() { WORKLOAD_GRACE } else { Duration::ZERO };
    let deadline = args.watch.seconds.map(|s| tokio::time::Instant::now() + Duration::from_secs_f64(s) + grace);
    sys::raise_priority();
    // Now that it gets a CPU when it needs one: others may keep it from doing even this.
    live.begin(rings.start());
    let reserved = object.get().in_reserve();
    let is_answered = || live.is_answered() && object.get().wanted().is_ok();
    if let Some(helper) = helper.as_ref().filter(|_| child.is_none()) {
        // From now on it ends nobody.
        let _ = helper.recorder().ask(&Request::Command);
    }
    let connections = args.watch.metrics.map_or(0, |_| AT_ONCE as u64 + 1);
    let files = reserved + connections;
    confinement::enter(args, held, is_answered, environment.cgroup2.as_deref(), files);
    let cost = Cost::new(&rings, object.get().is_measured());
    let overhead = args.watch.max_overhead.map(|limit| Overhead::new(limit, &rings));
    Ok(Session {
        args,
        signals,
        live,
        rings,
        object,
        diagnostics,
        child,
        deadline,
        wake,
        target,
        silence,
        report,
        cost,
        overhead,
        helper,
        news: None,
        failed: None,
    })
}

/// Returns the layout of the dashboard, if there is to be one; refuses before anything else where there is no terminal.
fn dashboard(args: &RecordArgs) -> Result<Option<Layout>> {
    if !args.tui {
        return Ok(None);
    }
    terminal::required()?;
    Layout::load(&args.dashboard).map(Some)
}

/// Returns where this kernel has each event, whom to record, and where to ask for names.
fn plan(
    args: &RecordArgs,
    asked: Asked,
    environment: &Environment,
    helper: Option<&Helper>,
) -> Result<(Plan, Target, Sources)> {
    let selection = args.watch.events.clone().unwrap_or_default();
    let btf = Btf::from_kernel().context("cannot read the kernel's type information (BTF)")?;
    let mut plan = Plan::new(&btf, &Symbols::from_kernel(), &selection);
    let target = asked.resolve(&args.watch, environment.initial_pid_namespace, &btf)?;
    let initial = environment.initial_pid_namespace == Some(true);
    let sources = (
        TaskNames::new(&btf, initial, helper.map(Helper::recorder)),
        MapsReader::new(&btf, initial, helper.map(Helper::maps)),
        FunctionReader::new(
            &btf,
            initial,
            args.watch.command.first().map(AsRef::as_ref),
            helper.map(Helper::functions),
        ),
    );
    plan.serve(&target.filter);
    target.notes.iter().for_each(|note| tell(note));
    Ok((plan, target, sources))
}

/// Attaches the probes, and says what is unusual about it.
fn attach(object: &mut Object, plan: &Plan) -> Result<Vec<ProbeState>> {
    let begun = Instant::now();
    let probes = object.attach(plan)?;
    let attached = probes.iter().filter(|p| p.form.is_some()).count();
    if begun.elapsed() >= LONG {
        tell(&format!("attached {attached} of {} probes in {:.1} s", probes.len(), begun.elapsed().as_secs_f64()));
    }
    if let Some(probe) = probes.iter().find(|p| p.reason.as_deref().is_some_and(limits::was_met)) {
        bail!(
            "cannot attach the probe of {}: this process has as many files open as it may; allow more: ulimit -n 4096",
            probe.event
        );
    }
    if !object.bare().is_empty() {
        tell(&format!(
            "the kernel refused the standby programs of {}: if it skips a run of these probes, the event is missing",
            object.bare().join(", ")
        ));
    }
    Ok(probes)
}

/// Says which events the filter needs and does not get, and what follows.
fn tell_what_the_filter_lacks(target: &Target, probes: &[ProbeState]) {
    for need in target.filter.needs() {
        let state = probes.iter().find(|p| p.event == need.kind.name() && p.form.is_none());
        if let Some(why) = state.and_then(|p| p.reason.as_deref()) {
            let event = need.kind.name();
            tell(&format!("the filter needs the event {event}, which cannot be recorded ({why}): {}", need.without));
        }
    }
}

/// Starts the command while mmtrace itself is wanted: the child is then wanted from
/// its fork on, and nothing of it is missed. mmtrace's own mm is never recorded.
/// `own` is mmtrace's id, as the programs know it.
fn start_child(args: &RecordArgs, object: &mut Object, own: u32, helper: Option<&Helper>) -> Result<Option<Recorded>> {
    let helper = helper.map(Helper::recorder);
    if args.watch.command.is_empty() || args.watch.all {
        return Recorded::start(args, helper);
    }
    object.want_pid(own)?;
    let child = Recorded::start(args, helper)?;
    object.unwant_pid(own)?;
    Ok(child)
}
