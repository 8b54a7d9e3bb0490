//! `cargo xtask ci`: everything that CI runs, lane by lane.

mod cases;
mod endings;
mod fault_kinds;
mod lanes;
mod live;
mod metrics;
mod oracle;
mod outcome;
mod sql;
mod vm;

use std::{env, fs, time::Instant};

use anyhow::Result;

use crate::{disk, test::Sums, workspace::Workspace};
use outcome::{Outcome, Run};

/// Run everything that CI runs, lane by lane, and sum up
///
/// Exit status 1 if any lane failed. The lanes:
///
/// setup  what `cargo xtask setup` does
/// fmt    rustfmt, workspace and mmtrace-ebpf
/// clippy the workspace, and mmtrace-ebpf where its toolchain has clippy; warnings are errors; no modules import each
///        other in a circle, and every source file is a module of something
/// rustdoc  doc comments give no warning, and the public API of each published library is that of docs/api/
///        (`api --check`)
/// test   the tests of the workspace
/// package  `cargo package`: each published package builds from what is in it. It takes minutes, since each package is
///        built with features of its own: only with --full, or if it is named
/// oracle Spin, on its own models of some scenarios (testdata/promela), finds the same verdicts, as many
///        states, and counterexamples as short
/// ebpf   the eBPF object is what its sources give (`build-ebpf --check`)
/// docs   docs/*.md are what the tables in the code say (`docs --check`)
/// live   mmtrace records this kernel for 20 s under load, and 6 s with standby programs: nothing lost (or not a second time),
///        no rule violated, and replay says the same; recorders that are slow, killed or whose command hangs
///        end and leave a capture that replays
/// cases  mmtrace records situations whose culprit is known (`mmtrace workload --list`: case-…): the first ten lines of the
///        report name it, and shares of holds, waits and faults are those that the situation counted itself
/// metrics  promtool accepts dashboards/prometheus-rules.yml; a prometheus that scrapes `mmtrace record --metrics`
///        has every metric, and answers what dashboards/grafana.json asks for
/// sql    the SQL in README.md runs in DuckDB over a capture of testdata/, and pyarrow reads
///        every event
/// vm     `cargo xtask vm`: mmtrace records other examined kernels in virtual machines; no rule violated, and replay
///        says the same
///
/// A lane, or part of one, that this machine cannot run is "not run here", with the reason. That
/// is no failure, with one exception: with CI=true, what setup began to install and could not
/// (other than for a network that does not deliver) fails the lane that needs it. A rebuilt eBPF object that differs fails its lane, unless
/// the tools are not those that it was built with: then the difference says nothing.
///
/// With CI=true, what a lane has built and no later one needs is removed when it is over. How much room is left on the
/// disk is said at the beginning, and by every lane that fails with little of it.
///
/// The last line is the sum of the tests: "N passed, N failed, N skipped".
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only these lanes, in their usual order
    #[arg(value_name = "LANE", value_parser = clap::builder::PossibleValuesParser::new(LANES))]
    lanes: Vec<String>,

    /// All lanes, those too that run only if they are named
    #[arg(long, conflicts_with = "lanes")]
    full: bool,
}

impl Args {
    /// Whether a lane is to run.
    fn wants(&self, lane: &str) -> bool {
        if self.lanes.is_empty() { self.full || lane != SLOW } else { self.lanes.iter().any(|named| named == lane) }
    }
}

/// The lane that runs only with `--full`, or if it is named.
const SLOW: &str = "package";

/// The lanes, in order.
const LANES: [&str; 14] = [
    "setup", "fmt", "clippy", "rustdoc", "test", "package", "oracle", "ebpf", "docs", "live", "cases", "metrics",
    "sql", "vm",
];

/// Runs the command.
pub(crate) fn command(args: &Args) -> Result<bool> {
    let ci = env::var("CI").is_ok_and(|v| v == "true" || v == "1");
    let mut run = Run { workspace: Workspace::find()?, ci, setup: None, sums: None };
    let target = run.workspace.target.clone();
    let free = disk::free(&target);
    say!("{}", free.map_or_else(String::new, |free| format!("{} MiB are free on {}", free >> 20, target.display())));
    if let Some(lack) = disk::lack(&target, free, disk::NEEDED) {
        say!("{lack}");
    }
    let start = Instant::now();
    let mut results = Vec::new();
    for lane in LANES.into_iter().filter(|lane| args.wants(lane)) {
        say!("\n── {lane} ──");
        let start = Instant::now();
        let mut outcome = run.lane(lane).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        if let Outcome::Failed(why) = &mut outcome
            && let Some(lack) = disk::lack(&target, disk::free(&target), disk::SCARCE)
        {
            // First, since the table shows one line.
            *why = format!("{lack}. {why}");
        }
        if ci {
            run.clear_after(lane);
        }
        let seconds = start.elapsed().as_secs_f64();
        say!("── {lane}: {} ({seconds:.1} s)", outcome.told());
        results.push((lane, seconds, outcome));
    }
    Ok(sum_up(&results, start.elapsed().as_secs_f64(), run.sums))
}

impl Run {
    fn lane(&mut self, lane: &str) -> Result<Outcome> {
        match lane {
            "setup" => Ok(lanes::setup(self)),
            "fmt" => lanes::fmt(self),
            "clippy" => lanes::clippy(self),
            "rustdoc" => lanes::rustdoc(self),
            "test" => lanes::test(self),
            "package" => lanes::package(self),
            "oracle" => oracle::lane(self),
            "ebpf" => lanes::ebpf(self),
            "docs" => lanes::docs(self),
            "live" => live::lane(self),
            "cases" => cases::lane(self),
            "metrics" => metrics::lane(self),
            "sql" => sql::lane(self),
            _ => vm::lane(self),
        }
    }

    /// Removes what a lane has built and no later one needs; in CI, where nobody builds on it.
    fn clear_after(&self, lane: &str) {
        let scratch: &[&str] = match lane {
            // Incremental compilation is for changed sources: here none change.
            "test" => &["debug/incremental"],
            "rustdoc" => &["doc"],
            "package" => &["package"],
            "oracle" => &["spin"],
            "ebpf" => &["ebpf"],
            _ => &[],
        };
        for folder in scratch.iter().map(|name| self.workspace.target.join(name)).filter(|f| f.exists()) {
            if let Err(error) = fs::remove_dir_all(&folder) {
                say!("cannot remove {}: {error}", folder.display());
            }
        }
    }
}

/// Prints the table and the sums. Whether no lane failed.
fn sum_up(results: &[(&str, f64, Outcome)], seconds: f64, sums: Option<Sums>) -> bool {
    say!("\n── summary ──");
    for (lane, seconds, outcome) in results {
        say!("{lane:<8} {seconds:>7.1} s  {}", outcome.told());
    }
    let count = |which: fn(&Outcome) -> bool| results.iter().filter(|(_, _, outcome)| which(outcome)).count();
    let failed = count(|o| matches!(o, Outcome::Failed(_)));
    say!(
        "lanes: {} passed, {failed} failed, {} not run here; {seconds:.0} s\n",
        count(|o| matches!(o, Outcome::Passed(_))),
        count(|o| matches!(o, Outcome::NotRun(_)))
    );
    if let Some(sums) = sums {
        say!("{sums}");
    }
    failed == 0
}
