//! Workloads: each drives one path of the kernel's memory management, so that its events can be seen on any machine.
//!
//! [`WORKLOADS`] says which there are and which events each provokes. A workload is bounded in time and memory, ends
//! early when told to, and leaves every setting as it found it.

mod all;
mod children;
mod collapse_file;
mod compaction;
mod faults;
mod fork;
mod gup;
mod hugetlb;
mod inspect;
mod journal;
mod khugepaged;
mod markers;
mod migrate;
mod mmap;
mod mremap;
mod process;
mod settings;
mod stamp;
mod swap;
mod sys;
mod table;
mod tally;
#[cfg(test)]
mod tests;
mod threads;
mod uffd;
mod uffd_wp;

pub use swap::header as swap_header;
pub use table::{WORKLOADS, Workload};
pub use tally::PathOutcome;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use table::Body;
use tally::Tally;

/// Longest time to run, seconds: a day.
pub const SECONDS_MAX: f64 = 86_400.0;
/// Less would not hold the smallest region of each thread.
const MEMORY_MIN: u64 = 16 << 20;
/// Bytes that each thread must have.
const THREAD_MIN: usize = 1 << 20;

/// Arguments of `mmtrace workload`.
#[derive(Args, Clone, Debug)]
pub struct WorkloadArgs {
    /// Which path of the kernel to drive
    ///
    /// `--list` shows the events that each provokes.
    #[arg(value_name = "NAME", value_parser = names(), required_unless_present_any = ["list", "restore"])]
    pub name: Option<String>,

    /// List the workloads, the events they provoke and what they need
    #[arg(long)]
    pub list: bool,

    /// Put back the settings that a workload left which was killed, and do nothing else
    ///
    /// The next workload that changes settings does so too, before it changes any.
    #[arg(long, conflicts_with_all = ["name", "list"])]
    pub restore: bool,

    /// How long to run, in seconds
    ///
    /// Fractions are fine. `all` divides the time: each workload alone for a slice, so that its events stand apart,
    /// then all of them at once. Giving memory back at the end may take a moment longer.
    #[arg(long, value_name = "N", default_value = "10", value_parser = seconds)]
    pub seconds: f64,

    /// Threads per workload [default: the CPUs that this process may use]
    ///
    /// Contention needs more threads than one; a workload may add a few of its own. There are never more threads than
    /// MiB of memory.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Most memory to use at a time, such as 256M or 2G; at least 16M, for `all` 160M
    ///
    /// Never more than half of what /proc/meminfo calls MemAvailable at the start is used, whatever is said here.
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = size)]
    pub memory: u64,

    /// Let `khugepaged` and `swap` create a temporary swap file, if there is no swap, and swap to it (root)
    ///
    /// Collapsing a range of which a part is swapped out is the one way to `mm_collapse_huge_page_swapin`. The file
    /// has 32 MiB, lies in the folder for temporary files or in /var/tmp, and is switched off and removed at the end.
    /// While it exists, the kernel may swap other processes' memory to it.
    #[arg(long)]
    pub allow_swap: bool,

    /// Print one JSON object instead of a line per path
    #[arg(long)]
    pub json: bool,
}

/// What a workload did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Name of the workload; empty if they were only listed.
    pub workload: String,
    /// How long it ran, in seconds.
    pub seconds: f64,
    /// Whether it was told to stop before its time was over.
    pub interrupted: bool,
    /// One entry per path.
    pub paths: Vec<PathOutcome>,
}

/// Runs a workload, or lists them, and prints what it did to `out`. Returns early once `stop` is set.
///
/// # Errors
/// If no memory is available, or `out` cannot be written. A path that fails does not end the others: its entry in the
/// outcome says why.
pub fn run(args: &WorkloadArgs, stop: &AtomicBool, out: &mut dyn Write) -> Result<Outcome> {
    if args.list {
        table::list(args.json, out)?;
        return Ok(Outcome::default());
    }
    if args.restore {
        let told = journal::journal().restore().context("cannot put back what an earlier workload left")?;
        told.iter().try_for_each(|told| writeln!(out, "{told}"))?;
        if told.is_empty() {
            writeln!(out, "nothing to put back: no workload that was killed has left anything changed")?;
        }
        return Ok(Outcome::default());
    }
    // What a dead workload has left is no original, and it makes others slow: it goes also where nothing is changed.
    match journal::journal().restore() {
        Ok(told) => told.iter().for_each(|told| crate::console::tell(told)),
        // It was root's, and is for root to put back.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
        Err(error) => crate::console::tell(&format!("cannot put back what an earlier workload left: {error}")),
    }
    let outcome = execute(args, stop, &all::this_program)?;
    print(&outcome, args.json, out).context("cannot print the outcome")?;
    Ok(outcome)
}

/// Files of settings that a workload has left changed which was killed.
///
/// # Errors
/// They are for root to know.
pub fn left_changed() -> std::io::Result<Vec<std::path::PathBuf>> {
    journal::journal().pending()
}

fn execute(args: &WorkloadArgs, stop: &AtomicBool, launch: all::Launch<'_>) -> Result<Outcome> {
    let name = args.name.as_deref().context("no workload was named")?;
    let workload = WORKLOADS.iter().find(|w| w.name == name).with_context(|| format!("no workload {name}"))?;
    let start = Instant::now();
    let cpus = process::allowed_cpus();
    let least = if matches!(workload.body, Body::All) { table::parts().count() as u64 } else { 1 } * MEMORY_MIN;
    let memory = budget(args.memory, least)?;
    let job = Job {
        stop,
        end: start + Duration::from_secs_f64(args.seconds),
        threads: args.threads.unwrap_or(cpus.len()).clamp(1, memory / THREAD_MIN),
        memory,
        allow_swap: args.allow_swap,
        cpus,
    };
    let tally = Tally::new(workload.name);
    match workload.body {
        Body::One(body) | Body::Alone(body) => body(&job, &tally),
        Body::All => all::run(&job, args, launch, &tally),
    }
    let refused = threads::refused();
    if refused > 0 {
        bail!(
            "{name} could not start all of its threads ({refused} are missing), so it did less than it is for: allow \
             more processes (ulimit -u, the cgroup's pids.max), or ask for fewer with --threads"
        );
    }
    Ok(Outcome {
        workload: workload.name.to_owned(),
        seconds: start.elapsed().as_secs_f64(),
        interrupted: stop.load(Ordering::Relaxed),
        paths: tally.into_paths(),
    })
}

/// What a workload's body gets.
struct Job<'a> {
    stop: &'a AtomicBool,
    end: Instant,
    threads: usize,
    /// Bytes, for all threads together.
    memory: usize,
    allow_swap: bool,
    cpus: Vec<usize>,
}

impl Job<'_> {
    /// Whether to go on.
    fn go(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && Instant::now() < self.end
    }

    /// Sleeps, but not beyond the end; whether to go on.
    fn pause(&self, length: Duration) -> bool {
        let until = (Instant::now() + length).min(self.end);
        while self.go() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
        false
    }

    /// Runs `body` again and again until the end or its first error, which the path's outcome then tells.
    fn repeat(&self, tally: &Tally, path: &'static str, mut body: impl FnMut() -> std::io::Result<()>) {
        while self.go() {
            if let Err(error) = body() {
                tally.note(path, format!("stopped early: {error}"));
                return;
            }
        }
    }
}

/// Bytes to use, given what was asked for.
fn budget(asked: u64, least: u64) -> Result<usize> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .context("/proc/meminfo tells no MemAvailable")?;
    let bytes = asked.min(kib * 1024 / 2);
    if bytes < least {
        bail!(
            "this workload needs {} MiB; {} were allowed, and half of the available memory is {}",
            least >> 20,
            asked >> 20,
            kib >> 11
        );
    }
    Ok(usize::try_from(bytes)?)
}

fn print(outcome: &Outcome, json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if json {
        mmtrace_model::untrusted::json_line(outcome, &mut *out)?;
        return writeln!(out);
    }
    for path in &outcome.paths {
        writeln!(out, "{path}")?;
    }
    let how = if outcome.interrupted { "stopped" } else { "done" };
    writeln!(out, "{}: {how} after {:.1} s", outcome.workload, outcome.seconds)
}

/// The names of the workloads, for an argument that takes one.
#[must_use]
pub fn names() -> PossibleValuesParser {
    WORKLOADS.iter().map(|w| PossibleValue::new(w.name).help(w.about)).collect::<Vec<_>>().into()
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n > 0.0 && n <= SECONDS_MAX => Ok(n),
        _ => Err("a number of seconds above 0 and at most 86400 (a day)".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let hint = || "a number of bytes, or with K, M or G behind it; at least 16M".to_owned();
    let text = text.trim_end_matches("iB").trim_end_matches('B');
    let (number, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: u64 = number.parse().map_err(|_| hint())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes >= MEMORY_MIN).ok_or_else(hint)
}
