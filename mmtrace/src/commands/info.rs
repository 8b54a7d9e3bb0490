//! `mmtrace info`: what a capture is, without its events.

use super::error::ShowError;
use super::time_text::{Seconds, utc};
use mmtrace_capture::{Capture, Condition, Manifest, Problem, State, Summary, Totals, has_tables, tables_bytes};
use mmtrace_common::{Kind, Record, SPECS};
use mmtrace_model::context::{Form, ProbeState};
use mmtrace_model::replay::Engine;
use mmtrace_model::report::{grouped, overhead::RecordingCost};
use mmtrace_model::untrusted::{clean, json};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

/// Arguments of `mmtrace info`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mmtrace info             describe mmtrace.data/
  mmtrace info DIR --json  the same as JSON, with the whole manifest

Exit status: 0 all of the capture can be read, 2 a part of it cannot")]
pub struct InfoArgs {
    /// Capture to describe: a folder that `mmtrace record` wrote
    #[arg(value_name = "DIR", default_value = crate::record::DEFAULT_DIR)]
    pub dir: PathBuf,
    /// Print one JSON object, which has the manifest under "manifest"
    #[arg(long)]
    pub json: bool,
}

/// Shows what a capture is, and in what condition. Returns whether all of it can be read as it was written. All of it
/// is read: that a checksum is right says only that whoever made the file made the checksum too.
///
/// # Errors
///
/// The capture cannot be opened, or the output cannot be written.
pub fn info(args: &InfoArgs, out: &mut dyn Write) -> Result<bool, ShowError> {
    let capture = Capture::open(&args.dir)?;
    capture.verify(|| false);
    let summary = capture.summary();
    let written = if args.json { as_json(&capture, &summary, out) } else { as_text(&capture, &summary, out) };
    ShowError::unless_broken_pipe(written.and_then(|()| out.flush()))?;
    Ok(!capture.has_problems())
}

/// Returns the capture's start and end, nanoseconds: as the recorder says, else its first and last event's times.
fn span(capture: &Capture, summary: &Summary) -> Option<(u64, u64)> {
    let manifest = capture.manifest();
    let start = Some(manifest.context.start).filter(|ts| *ts != 0).or(summary.span.map(|s| s.0))?;
    let end = manifest.end_ts.filter(|ts| *ts != 0).or(summary.span.map(|s| s.1))?;
    (start <= end).then_some((start, end))
}

fn meaning(capture: &Capture, condition: Condition) -> &'static str {
    match (condition, capture.manifest().state) {
        (Condition::Recovered, _) if capture.is_live() => {
            "mmtrace is still recording; everything up to its last batch on disk can be read"
        }
        (Condition::Complete, _) => "the recording came to its end, and all of it can be read",
        (Condition::Recovered, _) => {
            "the recording was interrupted; everything up to its last batch on disk can be read"
        }
        (Condition::Damaged, State::Complete) => {
            "parts of the capture cannot be read; a gap event stands for each, and the model is unknown after it"
        }
        (Condition::Damaged, State::Recording) => {
            "the recording was interrupted, and parts cannot be read; a gap event stands for each, and the model is unknown after it"
        }
    }
}

fn bytes_per(bytes: u64, events: u64) -> f64 {
    if events == 0 { 0.0 } else { bytes as f64 / events as f64 }
}

fn per_event(summary: &Summary) -> f64 {
    bytes_per(summary.bytes, summary.events)
}

/// Returns the number of events that happened, as reports count them, and that of the other records: names, mappings, marks
/// and what is missing.
fn happened(summary: &Summary) -> (u64, u64) {
    let is_other = |name: &str| SPECS.iter().any(|spec| spec.name == name && spec.kind.is_synthetic());
    let others = summary.kinds.iter().filter(|(name, _)| is_other(name)).map(|(_, n)| *n).sum::<u64>();
    (summary.events.saturating_sub(others), others)
}

/// Returns what recording cost, and which events it shed for that.
fn recording_cost(capture: &Capture, summary: &Summary) -> Option<RecordingCost> {
    const TELL: [Kind; 2] = [Kind::RecordingCost, Kind::EventsShed];
    let mut engine = Engine::new(capture.context().clone(), false);
    if TELL.iter().any(|kind| summary.kinds.contains_key(kind.name())) {
        let tells = |record: &Record| record.kind().is_some_and(|kind| TELL.contains(&kind));
        capture.records().filter(tells).for_each(|record| engine.apply(&record));
    }
    RecordingCost::of(&engine)
}

/// The object that `info --json` prints.
#[derive(Serialize)]
struct Info<'a> {
    bytes: u64,
    bytes_per_event: f64,
    condition: &'static str,
    duration_ns: Option<u64>,
    /// As reports count them: `totals` has every record.
    events: u64,
    kinds: &'a BTreeMap<String, u64>,
    manifest: &'a Manifest,
    meaning: &'static str,
    problems: Vec<Problem>,
    /// As in reports: absent without `--max-overhead`.
    #[serde(skip_serializing_if = "Option::is_none")]
    recording_cost: Option<RecordingCost>,
    /// Whether the tables of names are there.
    tables: bool,
    /// Bytes that they take, which are not among `bytes`.
    tables_bytes: u64,
    totals: Totals,
}

fn as_json(capture: &Capture, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let condition = capture.condition();
    let info = Info {
        bytes: summary.bytes,
        bytes_per_event: per_event(summary),
        condition: condition.name(),
        duration_ns: span(capture, summary).map(|(start, end)| end - start),
        events: happened(summary).0,
        kinds: &summary.kinds,
        manifest: capture.manifest(),
        meaning: meaning(capture, condition),
        problems: capture.problems(),
        recording_cost: recording_cost(capture, summary),
        tables: has_tables(capture.dir()),
        tables_bytes: tables_bytes(capture.dir()),
        totals: Totals { events: summary.events, lost: summary.lost, missed: summary.missed },
    };
    json(&info, out)?;
    writeln!(out)
}

fn as_text(capture: &Capture, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let manifest = capture.manifest();
    let context = &manifest.context;
    let condition = capture.condition();
    writeln!(out, "capture    {}", clean(&capture.dir().to_string_lossy()))?;
    writeln!(out, "condition  {}: {}", condition.name(), meaning(capture, condition))?;
    for problem in capture.problems() {
        writeln!(out, "           {}", clean(&problem.to_string()))?;
    }
    let kernel = &context.kernel;
    let cpus = if kernel.cpus == 1 { "CPU" } else { "CPUs" };
    writeln!(out, "kernel     {} {}, {} {cpus}", clean(&kernel.release), clean(&kernel.machine), kernel.cpus)?;
    writeln!(out, "           {}", clean(&kernel.version))?;
    writeln!(out, "recorded   {} by mmtrace {}", utc(manifest.created), clean(&manifest.tool))?;
    writeln!(out, "command    {}", clean(&manifest.command_line.join(" ")))?;
    if let Some(filter) = &context.filter {
        writeln!(out, "filter     {}", clean(filter))?;
    }
    match span(capture, summary) {
        Some((start, ts)) => writeln!(out, "duration   {} s", Seconds { ts, start })?,
        None => writeln!(out, "duration   unknown")?,
    }
    writeln!(out, "size       {} bytes, {:.2} per event", grouped(summary.bytes), per_event(summary))?;
    match has_tables(capture.dir()) {
        true => {
            let bytes = tables_bytes(capture.dir());
            let all = bytes_per(summary.bytes + bytes, summary.events);
            let bytes = grouped(bytes);
            writeln!(
                out,
                "tables     tasks.parquet, mappings.parquet, functions.parquet: names, for SQL; {bytes} bytes, {all:.2} per event in all"
            )?;
        }
        false => writeln!(out, "tables     none of names, for SQL: mmtrace tables writes them")?,
    }
    writeln!(
        out,
        "loss       {} lost (a ring had no room), {} missed (the kernel skipped the program's run)",
        grouped(summary.lost),
        grouped(summary.missed)
    )?;
    if let Some(cost) = recording_cost(capture, summary) {
        let (percent, limit) = (cost.percent, cost.max_overhead_percent);
        writeln!(out, "cost       {percent:.1} % of {} {cpus}; limit {limit} % (--max-overhead)", kernel.cpus)?;
        for row in &cost.shed {
            writeln!(out, "shed       at {:.1} s: {}", row.at_ns as f64 / 1e9, row.events.join(", "))?;
        }
    }
    if let Some(places) = summary.kinds.get(Kind::Foreign.name()) {
        writeln!(
            out,
            "foreign    {places} foreign events: records in a ring that no program of mmtrace can have written"
        )?;
    }
    let (events, others) = happened(summary);
    writeln!(out, "events     {}", grouped(events))?;
    if others > 0 {
        let what = "records of names, mappings, marks, cost and what is missing: no events, and in no report's total";
        writeln!(out, "           {} further {what}", grouped(others))?;
    }
    if manifest.dropped.segments > 0 {
        writeln!(out, "removed    {} older events, by the flight recorder (--ring)", grouped(manifest.dropped.events))?;
    }
    let mut kinds: Vec<_> = summary.kinds.iter().collect();
    kinds.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    for (kind, n) in kinds {
        let share = *n as f64 * 100.0 / summary.events.max(1) as f64;
        writeln!(out, "           {:>14} {share:>5.1} %  {}", grouped(*n), clean(kind))?;
    }
    let attached = context.probes.iter().filter(|p| p.form.is_some()).count();
    writeln!(out, "probes     {attached} of {} attached", context.probes.len())?;
    for probe in &context.probes {
        if let Some(remark) = remark(probe) {
            writeln!(out, "           {}: {}", clean(&probe.event), clean(&remark))?;
        }
    }
    Ok(())
}

/// Whether there is no better form of that event's program.
fn is_best(form: Form, event: &str) -> bool {
    SPECS.iter().find(|s| s.name == event).is_none_or(|s| Form::of(s.site.at).first() == Some(&form))
}

/// Returns a remark on a probe; nothing if it is attached in its best form.
fn remark(probe: &ProbeState) -> Option<String> {
    let mut parts = Vec::new();
    match probe.form {
        None => parts.push("not attached".to_owned()),
        Some(form) if is_best(form, &probe.event) => {}
        Some(form) => parts.push(format!("attached as {}", form.name())),
    }
    parts.extend(probe.reason.clone());
    if !probe.absent.is_empty() {
        parts.push(format!("without {}", probe.absent.join(", ")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
