//! `mmtrace explore`.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use mmtrace_capture::{CaptureWriter, FinalInfo, WriterOptions, make_room};
use mmtrace_explore::{
    Found, Limits, MEMORY, Move, Order, Scenario, Variant, World, enlarged, matrix, render, scenarios, schedule,
    search, view,
};
use mmtrace_model::report::{Style, grouped, wrap};
use serde_json::json;

use crate::{
    command_line,
    console::{self, complain},
};

/// Arguments of `mmtrace explore`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    mmtrace explore --list                     the scenarios and their variants\n  \
    mmtrace explore SC-4.1                     every variant of one scenario\n  \
    mmtrace explore SC-4.1 --variant r.posted  the shortest schedule that breaks this variant\n  \
    mmtrace explore --all                      every scenario, compared with its expected verdict\n  \
    mmtrace explore --matrix                   each way to remove a page table against each way to fill it\n\n\
    Exit status: 0 no invariant is broken (with --all and --matrix: nothing unexpected), 1 one is, 2 error")]
pub struct ExploreArgs {
    /// Scenario to run, such as SC-4.1 or 4.1
    #[arg(required_unless_present_any = ["all", "list", "matrix", "enlarged"], conflicts_with_all = ["all", "list", "matrix", "enlarged"])]
    pub(crate) scenario: Option<String>,
    /// Run only this variant of the scenario
    #[arg(long, requires = "scenario")]
    pub(crate) variant: Option<String>,
    /// Run every scenario, and compare each verdict with the expected one
    #[arg(long, conflicts_with = "list")]
    pub(crate) all: bool,
    /// Run every operation that removes page tables against every operation that fills them
    ///
    /// The exit status is 1 if a pair breaks an invariant and no known scenario says so.
    #[arg(long, conflicts_with_all = ["all", "list"])]
    pub(crate) matrix: bool,
    /// Run an enlarged scenario, to measure the explorer; without NAME, list them
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["all", "list", "matrix"])]
    pub(crate) enlarged: Option<String>,
    /// List the scenarios and their variants
    #[arg(long)]
    pub(crate) list: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Order of the search: breadth, depth or reduced
    ///
    /// All three give the same verdict. breadth finds the shortest counterexample. depth is a depth-first search through
    /// every interleaving. reduced does the same, but takes steps that touch no common cell in one order only.
    #[arg(long, value_name = "ORDER", default_value = "breadth", value_parser = order)]
    pub(crate) search: Order,
    /// Most memory for the states, in MiB
    #[arg(long, value_name = "MIB", default_value_t = MEMORY >> 20)]
    pub(crate) memory: usize,
    /// Run this schedule instead of searching; a counterexample prints one, such as 'K*3 U K/1'
    #[arg(long, value_name = "SCHEDULE", requires = "variant")]
    pub(crate) replay_schedule: Option<String>,
    /// Write the counterexample as a capture; if there is none, write one execution
    #[arg(long, value_name = "DIR", requires = "variant")]
    pub(crate) render: Option<PathBuf>,
}

fn order(text: &str) -> Result<Order, String> {
    match text {
        "breadth" => Ok(Order::Breadth),
        "depth" => Ok(Order::Depth),
        "reduced" => Ok(Order::Reduced),
        _ => Err("give breadth, depth or reduced".to_owned()),
    }
}

/// The verdict of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is broken; or with `--all`, all is as expected.
    Safe,
    /// Something is.
    Broken,
}

/// Runs it.
///
/// # Errors
///
/// No such scenario, variant or thread; not enough memory; or nothing can be printed.
pub fn run(args: &ExploreArgs, out: &mut dyn Write, style: Style) -> Result<Outcome> {
    if args.list {
        list(args.json, out, style)?;
        return Ok(Outcome::Safe);
    }
    if args.matrix {
        return matrix(args, out, style);
    }
    if let Some(name) = &args.enlarged {
        return enlarged(args, name, out, style);
    }
    let Some(id) = &args.scenario else { return all(args, out, style) };
    let Some(scenario) = scenarios::find(id) else {
        bail!("there is no scenario {id}; to list the scenarios: mmtrace explore --list")
    };
    let variants: Vec<&Variant> = match &args.variant {
        None => scenario.variants.iter().collect(),
        Some(name) => {
            let names: Vec<&str> = scenario.variants.iter().map(|v| v.id).collect();
            vec![scenario.variant(name).with_context(|| {
                format!("{} has no variant {name}; its variants are {}", scenario.id, names.join(", "))
            })?]
        }
    };
    if let (Some(text), [variant]) = (&args.replay_schedule, &variants[..]) {
        return replay(args, scenario, variant, text, out, style);
    }
    if !args.json {
        writeln!(out, "{} {}\n{}\n", style.bold(scenario.id), scenario.title, indent(scenario.question))?;
    }
    let mut outcome = Outcome::Safe;
    let mut results = Vec::new();
    for variant in variants {
        let world = variant.world();
        let found = find(args, &world)?;
        if found.broken.is_some() {
            outcome = Outcome::Broken;
        }
        if args.json {
            results.push(view::json(scenario, variant, &world, &found, scenario.is_expected(variant, &found)));
        } else {
            show(scenario, variant, &world, &found, out, style)?;
        }
        if let Some(dir) = &args.render {
            let moves = found.broken.as_ref().map_or_else(|| render::some(&world), |(m, _)| m.clone());
            write(&world, &moves, dir)?;
            complain(format_args!("wrote the execution to {0}; to judge it: mmtrace replay {0}", dir.display()));
        }
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "results": results }))?)?;
    }
    Ok(outcome)
}

fn find(args: &ExploreArgs, world: &World) -> Result<Found> {
    let terminal = std::io::stderr().is_terminal();
    let mut shown = false;
    let mut progress = |states: usize, transitions: usize| {
        if terminal {
            shown = true;
            let line = format!("\r{} states, {} transitions ", grouped(states as u64), grouped(transitions as u64));
            console::put(&line);
        }
    };
    let mut limits = Limits { memory: args.memory << 20, progress: Some(&mut progress) };
    let found = search(world, args.search, &mut limits);
    if shown {
        console::put(&format!("\r{:60}\r", ""));
    }
    Ok(found?)
}

fn show(
    scenario: &Scenario,
    variant: &Variant,
    world: &World,
    found: &Found,
    out: &mut dyn Write,
    style: Style,
) -> Result<()> {
    let verdict = view::verdict(found);
    let verdict = if found.broken.is_some() { style.bad(&verdict) } else { style.good(&verdict) };
    writeln!(out, "{} ({}): {verdict}; {}", style.bold(variant.id), variant.status, view::effort(found))?;
    writeln!(out, "{}", indent(variant.why))?;
    if let Some((moves, broken)) = &found.broken {
        let execution = schedule::run(world, moves)?;
        writeln!(out, "\n{}", view::table(world, &execution, style, width()))?;
        write!(out, "{}", view::broken(broken, style))?;
        writeln!(out, "  schedule: {}", schedule::print(world, moves))?;
    }
    if !scenario.is_expected(variant, found) {
        writeln!(out, "  {}: expected {}", style.doubtful("not as expected"), view::expected(variant.expect))?;
    }
    if found.broken.is_none() {
        for (name, reached) in scenario.unexpected(variant, found) {
            let what = if reached { "occurs, and should not" } else { "never occurs, and should" };
            writeln!(out, "  {}: {name}", style.doubtful(what))?;
        }
    }
    writeln!(out)?;
    Ok(())
}

fn replay(
    args: &ExploreArgs,
    scenario: &Scenario,
    variant: &Variant,
    text: &str,
    out: &mut dyn Write,
    style: Style,
) -> Result<Outcome> {
    let world = variant.world();
    let moves = schedule::parse(&world, text)?;
    let execution = schedule::run(&world, &moves)?;
    if let Some(dir) = &args.render {
        write(&world, &moves, dir)?;
    }
    if args.json {
        let found = Found {
            broken: execution.broken.clone().map(|b| (moves.clone(), b)),
            states: 0,
            transitions: moves.len(),
            depth: moves.len(),
            elapsed: std::time::Duration::ZERO,
            reached: 0,
            bytes: 0,
            state_bytes: 0,
        };
        let value = view::json(scenario, variant, &world, &found, scenario.is_expected(variant, &found));
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "results": [value] }))?)?;
    } else {
        writeln!(out, "{} {}, with this schedule:\n", style.bold(scenario.id), variant.id)?;
        write!(out, "{}", view::table(&world, &execution, style, width()))?;
        match &execution.broken {
            Some(broken) => write!(out, "\n{}", view::broken(broken, style))?,
            None => writeln!(out, "\n{}", style.good("this schedule breaks no invariant"))?,
        }
    }
    Ok(if execution.broken.is_some() { Outcome::Broken } else { Outcome::Safe })
}

fn all(args: &ExploreArgs, out: &mut dyn Write, style: Style) -> Result<Outcome> {
    let start = std::time::Instant::now();
    let (mut count, mut wrong, mut states) = (0u64, 0u64, 0u64);
    let mut results = Vec::new();
    for scenario in scenarios::all() {
        if !args.json {
            writeln!(out, "{} {}", style.bold(scenario.id), scenario.title)?;
        }
        for variant in scenario.variants {
            let world = variant.world();
            let found = find(args, &world)?;
            let good = scenario.is_expected(variant, &found);
            count += 1;
            wrong += u64::from(!good);
            states += found.states as u64;
            if args.json {
                results.push(view::json(scenario, variant, &world, &found, good));
                continue;
            }
            let verdict = format!("{:<10}", view::verdict(&found));
            let verdict = if found.broken.is_some() { style.bad(&verdict) } else { style.good(&verdict) };
            let length = found.broken.as_ref().map_or_else(String::new, |(m, _)| format!(" in {} steps", m.len()));
            writeln!(out, "  {:<24} {verdict} {:>7} states{length}", variant.id, grouped(found.states as u64))?;
            if !good {
                writeln!(out, "    {}: expected {}", style.bad("NOT AS EXPECTED"), view::expected(variant.expect))?;
                if found.broken.is_none() {
                    for (name, reached) in scenario.unexpected(variant, &found) {
                        let what = if reached { "occurs, and should not" } else { "never occurs, and should" };
                        writeln!(out, "    {}: {name}", style.bad(what))?;
                    }
                }
            }
        }
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "results": results, "unexpected": wrong }))?)?;
    } else {
        let summary = format!(
            "{count} variants of {} scenarios, {} states, {}: {}",
            scenarios::all().count(),
            grouped(states),
            view::took(start.elapsed()),
            if wrong == 0 { "every verdict as expected".to_owned() } else { format!("{wrong} NOT as expected") }
        );
        writeln!(out, "\n{}", if wrong == 0 { style.good(&summary) } else { style.bad(&summary) })?;
    }
    Ok(if wrong == 0 { Outcome::Safe } else { Outcome::Broken })
}

fn matrix(args: &ExploreArgs, out: &mut dyn Write, style: Style) -> Result<Outcome> {
    let start = std::time::Instant::now();
    let mut limits = Limits { memory: args.memory << 20, progress: None };
    let rows = matrix::run(args.search, &mut limits)?;
    let broken = rows.iter().filter(|r| r.invariant.is_some()).count();
    let candidates = rows.iter().filter(|r| r.is_candidate()).count();
    if args.json {
        let json: Vec<_> = rows.iter().map(matrix::Row::json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "rows": json, "candidates": candidates }))?)?;
    } else {
        write!(out, "{}", matrix::table(&rows))?;
        let states: usize = rows.iter().map(|r| r.states).sum();
        let summary = format!(
            "{} pairs, {} states, {}: {broken} break an invariant, {candidates} of them in an unknown way",
            rows.len(),
            grouped(states as u64),
            view::took(start.elapsed())
        );
        writeln!(out, "\n{}", if candidates == 0 { style.good(&summary) } else { style.bad(&summary) })?;
    }
    Ok(if candidates == 0 { Outcome::Safe } else { Outcome::Broken })
}

fn enlarged(args: &ExploreArgs, name: &str, out: &mut dyn Write, style: Style) -> Result<Outcome> {
    if name.is_empty() {
        for row in enlarged::ALL {
            writeln!(out, "{} {}", style.bold(&format!("{:<14}", row.name)), row.what)?;
        }
        return Ok(Outcome::Safe);
    }
    let Some(row) = enlarged::find(name) else {
        bail!("there is no enlarged scenario {name}; to list them: mmtrace explore --enlarged")
    };
    let found = find(args, &(row.build)())?;
    let seconds = found.elapsed.as_secs_f64().max(1e-9);
    if args.json {
        let value = json!({
            "name": row.name,
            "verdict": view::verdict(&found),
            "states": found.states,
            "transitions": found.transitions,
            "depth": found.depth,
            "seconds": seconds,
            "state_bytes": found.state_bytes,
            "bytes": found.bytes,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&value)?)?;
    } else {
        writeln!(out, "{}: {}\n{}: {}", style.bold(row.name), row.what, view::verdict(&found), view::effort(&found))?;
        writeln!(
            out,
            "{} transitions/s, {} states/s, {} bytes a state, {} MiB for all",
            grouped((found.transitions as f64 / seconds) as u64),
            grouped((found.states as f64 / seconds) as u64),
            found.state_bytes,
            found.bytes >> 20,
        )?;
    }
    Ok(if found.broken.is_some() { Outcome::Broken } else { Outcome::Safe })
}

fn list(json: bool, out: &mut dyn Write, style: Style) -> Result<()> {
    if json {
        let rows = scenarios::all().map(|s| {
            let variants = s
                .variants
                .iter()
                .map(|v| json!({ "id": v.id, "status": v.status, "expected": view::expected(v.expect), "why": v.why }));
            json!({
                "id": s.id, "thread": s.thread.map(|t| t.number), "title": s.title, "question": s.question, "source": s.source,
                "variants": variants.collect::<Vec<_>>(),
            })
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?)?;
        return Ok(());
    }
    for scenario in scenarios::all() {
        writeln!(out, "{} {}", style.bold(&format!("{:<8}", scenario.id)), scenario.title)?;
        for variant in scenario.variants {
            writeln!(out, "    {:<24} {:<12} {}", variant.id, view::expected(variant.expect), variant.status)?;
        }
    }
    Ok(())
}

fn indent(text: &str) -> String {
    wrap(text, 100).iter().map(|l| format!("  {l}")).collect::<Vec<_>>().join("\n")
}

/// Returns the greatest width of a table in columns: `COLUMNS`, else that of the terminal, else [`view::WIDTH`].
fn width() -> usize {
    let named = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let terminal = || terminal_size::terminal_size().map(|(w, _)| usize::from(w.0));
    named.or_else(terminal).filter(|c| *c >= 40).unwrap_or(view::WIDTH)
}

/// Writes an execution as a capture.
fn write(world: &World, moves: &[Move], dir: &Path) -> Result<()> {
    let execution = schedule::run(world, moves)?;
    if let Some(old) = make_room(dir)? {
        complain(format_args!("moved the earlier capture to {}", old.display()));
    }
    let mut writer = CaptureWriter::create(dir, &render::context(), command_line::words(), WriterOptions::default())?;
    for record in render::records(&execution) {
        writer.append(&record)?;
    }
    writer.finish(FinalInfo { end_ts: render::end(&execution) })?;
    Ok(())
}
