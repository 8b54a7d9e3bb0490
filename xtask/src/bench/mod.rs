//! `cargo xtask bench`: what watching costs those who are watched.
//!
//! The same storm of page faults runs alone and under each recorder in turn, round
//! after round, and the rates are set against each other.
//!
//! `cargo xtask bench standby`: what standby programs add to an event ([`standby`]).
//! `cargo xtask bench explore`: how fast the explorer is ([`explore`]).

mod dashboard;
mod explore;
mod recorder;
mod standby;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process;
use recorder::{Bench, Recorder, median, spawn, stop};

/// Measure what recording costs a storm of page faults, beside perf
///
/// Needs root. perf (Debian: linux-perf) is the peer; without it its row is missing.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Something else
    #[command(subcommand)]
    other: Option<Other>,
    /// How long each storm lasts, in seconds
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// How often everything is run in turn
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Threads of the storm
    ///
    /// One shows what the probes add to a fault. On all CPUs faults get in each other's way, and a
    /// recorder that takes a share of the CPUs may make the rest faster: that shows what is lost, not what it costs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: u32,
}

/// Other benchmarks.
#[derive(clap::Subcommand)]
enum Other {
    Explore(explore::Args),
    Dashboard(dashboard::Args),
    Standby(standby::Args),
}

/// Runs everything and prints the ratios.
pub(crate) fn command(args: &Args) -> Result<bool> {
    match &args.other {
        Some(Other::Explore(args)) => return explore::command(args),
        Some(Other::Dashboard(args)) => return dashboard::command(args),
        Some(Other::Standby(args)) => return standby::command(args),
        None => {}
    }
    let bench = Bench::prepare()?;
    let mut recorders = [
        Recorder { name: "nobody", start: |_| Ok(None), rates: Vec::new() },
        Recorder {
            name: "mmtrace record -e only:page_fault_user",
            start: |b| b.mmtrace(&["-e", "only:page_fault_user"]),
            rates: Vec::new(),
        },
        Recorder { name: "mmtrace record", start: |b| b.mmtrace(&[]), rates: Vec::new() },
        Recorder {
            name: "perf record -a -e exceptions:page_fault_user",
            start: |b| {
                let Some(perf) = &b.perf else { return Ok(None) };
                let mut command = Command::new(perf);
                command.args(["record", "-q", "-a", "-e", "exceptions:page_fault_user", "-o"]);
                spawn(command.arg(b.folder.join("perf.data")).stdout(Stdio::null()))
            },
            rates: Vec::new(),
        },
    ];
    for round in 1..=args.rounds {
        for recorder in &mut recorders {
            if recorder.name.starts_with("perf") && bench.perf.is_none() {
                continue;
            }
            let (rate, note) = once(&bench, recorder, args)?;
            say!("round {round}: {rate:>10.0} faults/s watched by {}{note}", recorder.name);
            recorder.rates.push(rate);
        }
    }
    summary(&mut recorders);
    Ok(true)
}

/// One storm under one recorder: its rate, and what the recorder lost.
fn once(bench: &Bench, recorder: &Recorder, args: &Args) -> Result<(f64, String)> {
    let mut child = (recorder.start)(bench)?;
    // Until its probes are attached.
    thread::sleep(Duration::from_secs(2));
    let mut storm = Command::new(&bench.mmtrace);
    let (seconds, threads) = (args.seconds.to_string(), args.threads.to_string());
    storm.args(["workload", "faults", "--json", "--seconds", &seconds, "--threads", &threads]);
    let storm = process::within(Duration::from_secs(args.seconds + 60), &mut storm)?;
    let outcome: Value = serde_json::from_slice(&storm.stdout).context("what the workload printed is no JSON")?;
    let mut note = String::new();
    if let Some(child) = &mut child {
        let memory = resident(child.id());
        stop(child)?;
        if recorder.name.starts_with("mmtrace") {
            let report = bench.report()?;
            note = format!(
                " ({} events, {} lost, {}, {memory} MiB resident)",
                report["events"]["total"],
                report["lost"],
                report["verdict"].as_str().unwrap_or("no verdict")
            );
        }
    }
    Ok((rate(&outcome).context("the workload does not say how many faults it took")?, note))
}

/// Faults per second by the kernel's own count.
fn rate(outcome: &Value) -> Option<f64> {
    let seconds = outcome["seconds"].as_f64()?;
    let paths = outcome["paths"].as_array()?;
    let faults = paths.iter().find_map(|p| p["counts"]["page faults by the kernel's own count"].as_u64())?;
    Some(faults as f64 / seconds)
}

/// MiB of memory that a process has, 0 when that cannot be told.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

fn summary(recorders: &mut [Recorder]) {
    let Some(alone) = recorders.first_mut().and_then(|r| median(&mut r.rates)) else { return };
    say!("\n{:>12}  {:>8}  {:>14}  watched by", "faults/s", "ratio", "cost per fault");
    let mut costs = Vec::new();
    for recorder in recorders {
        let Some(rate) = median(&mut recorder.rates) else { continue };
        let cost = 1e9 / rate - 1e9 / alone;
        say!("{rate:>12.0}  {:>8.2}  {cost:>11.0} ns  {}", rate / alone, recorder.name);
        costs.push((recorder.name, cost));
    }
    let of = |start: &str| costs.iter().find(|(n, _)| n.starts_with(start)).map(|(_, c)| *c);
    if let (Some(ours), Some(perf)) = (of("mmtrace record -e"), of("perf"))
        && ours > 0.0
        && perf > 0.0
    {
        say!(
            "\nThe same event recorded and judged by mmtrace costs {:.2} times what perf's recording costs.",
            ours / perf
        );
    }
}
