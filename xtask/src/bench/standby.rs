//! `cargo xtask bench standby`: what standby programs cost.

use std::{
    hint::black_box,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::recorder::{Bench, Recorder, median, spawn, stop};

/// Measure what standby programs add to an event of the mmap_lock, beside perf
///
/// One thread maps and unmaps memory: seven events of the mmap_lock each time. Standby programs are put behind the
/// programs on tracepoints whether this kernel needs them or not.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each storm lasts, in seconds
    #[arg(long, value_name = "N", default_value_t = 3)]
    seconds: u64,
    /// How often everything is run in turn
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
}

/// mmap_lock events of one mmap and munmap: each of the two takes the lock for write, and munmap downgrades it.
const EVENTS: f64 = 7.0;
/// More than glibc's `DEFAULT_MMAP_THRESHOLD_MAX`: every allocation is an mmap, and every free a munmap.
const BYTES: usize = 64 << 20;

/// Runs everything and prints what an event costs.
pub(super) fn command(args: &Args) -> Result<bool> {
    let bench = Bench::prepare()?;
    let row = |name, start| Recorder { name, start, rates: Vec::new() };
    let mut recorders = [
        row("nobody", |_: &Bench| Ok(None)),
        row("mmtrace record -e only:mmap_lock --standby 0", |b: &Bench| recorder(b, "0")),
        row("mmtrace record -e only:mmap_lock --standby 1", |b: &Bench| recorder(b, "1")),
        row("mmtrace record -e only:mmap_lock --standby 2", |b: &Bench| recorder(b, "2")),
        row("perf record -a -e mmap_lock:*", |b: &Bench| {
            let Some(perf) = &b.perf else { return Ok(None) };
            let mut command = Command::new(perf);
            command.args(["record", "-q", "-a", "-e", "mmap_lock:*", "-o"]);
            spawn(command.arg(b.folder.join("perf.data")).stdout(Stdio::null()).stderr(Stdio::null()))
        }),
    ];
    for round in 1..=args.rounds {
        for recorder in &mut recorders {
            if recorder.name.starts_with("perf") && bench.perf.is_none() {
                continue;
            }
            let mut child = (recorder.start)(&bench)?;
            // Until its probes are attached.
            thread::sleep(Duration::from_secs(2));
            let rate = storm(Duration::from_secs(args.seconds));
            let mut note = String::new();
            if let Some(child) = &mut child {
                stop(child)?;
                if recorder.name.starts_with("mmtrace") {
                    let report = bench.report()?;
                    if report["lost"].as_u64() != Some(0) {
                        bail!("{} lost {} events: the rates say nothing", recorder.name, report["lost"]);
                    }
                    note = format!(" ({} events, {} missed)", report["events"]["total"], report["missed"]);
                }
            }
            say!("round {round}: {rate:>10.0} mmap and munmap/s watched by {}{note}", recorder.name);
            recorder.rates.push(rate);
        }
    }
    let rates: Vec<_> = recorders.iter_mut().filter_map(|r| Some((r.name, median(&mut r.rates)?))).collect();
    let Some((_, alone)) = rates.first().copied() else { return Ok(true) };
    say!("\n{:>12}  {:>8}  {:>14}  watched by", "pairs/s", "ratio", "cost per event");
    for (name, rate) in rates {
        let cost = (1e9 / rate - 1e9 / alone) / EVENTS;
        say!("{rate:>12.0}  {:>8.2}  {cost:>11.0} ns  {name}", rate / alone);
    }
    Ok(true)
}

fn recorder(bench: &Bench, standby: &str) -> Result<Option<Child>> {
    bench.mmtrace(&["-e", "only:mmap_lock", "--standby", standby])
}

/// Pairs of mmap and munmap per second.
fn storm(time: Duration) -> f64 {
    let begun = Instant::now();
    let mut pairs = 0u32;
    while begun.elapsed() < time {
        for _ in 0..100 {
            drop(black_box(Vec::<u8>::with_capacity(BYTES)));
        }
        pairs += 100;
    }
    f64::from(pairs) / begun.elapsed().as_secs_f64()
}
