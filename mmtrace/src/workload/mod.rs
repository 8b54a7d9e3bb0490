//! Workloads: each drives one path of the kernel's memory management, so that its events can be seen on any machine.
//!
//! [`WORKLOADS`] says which there are and which events each provokes. A workload is bounded in time and memory, ends
//! early when told to, and leaves every setting as it found it.

mod all;
mod args;
mod cases;
mod children;
mod collapse_file;
mod compaction;
mod fault_kinds;
mod faults;
mod fork;
mod gup;
mod hugetlb;
mod inspect;
mod job;
mod journal;
mod kernel_files;
mod khugepaged;
mod markers;
mod migrate;
mod mmap;
mod mremap;
mod outcome;
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

use std::{
    ffi::CString,
    io::{self, Write},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::console::tell;
pub use args::{SECONDS_MAX, WorkloadArgs, names};
use job::Job;
pub use outcome::{Outcome, PathOutcome};
pub use swap::header as swap_header;
use table::Body;
pub use table::{WORKLOADS, Workload};
use tally::Tally;

/// Bytes that each thread must have.
const THREAD_MIN: usize = 1 << 20;

/// Runs a workload, or lists them, and prints what it did to `out`. Returns early once `stop` is set.
///
/// # Errors
/// If no memory is available, if `out` cannot be written, or if the workload did less than it should
/// (its `failures`, after the outcome is printed). A path that fails does not end the others: its entry in the
/// outcome says why.
pub fn run(args: &WorkloadArgs, stop: &AtomicBool, out: &mut dyn Write) -> Result<Outcome> {
    if args.list {
        table::list(args.json, out)?;
        return Ok(Outcome::default());
    }
    if args.restore {
        let done = journal::journal().restore().context(CANNOT_RESTORE)?;
        done.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        if done.is_empty() {
            writeln!(out, "nothing to restore: no killed workload has left a setting changed")?;
        }
        return Ok(Outcome::default());
    }
    // A value that a killed workload left is no original value, and it slows others down: it goes even if this workload
    // changes nothing.
    match journal::journal().restore() {
        Ok(done) => done.iter().for_each(|line| tell(line)),
        // Root's workload changed it, and only root can restore it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => tell(&format!("{CANNOT_RESTORE}: {error}")),
    }
    call_thread(args.name.as_deref().unwrap_or_default());
    let outcome = execute(args, stop, &all::this_program)?;
    outcome.print(args.json, out).context("cannot print the outcome")?;
    if !outcome.failures.is_empty() {
        bail!("the workload did less than it should: {}", outcome.failures.join("; "));
    }
    Ok(outcome)
}

/// Names this thread, and with it those that it starts, after a workload: reports then tell the parts of `all` apart.
fn call_thread(workload: &str) {
    // The kernel keeps 15 bytes. `khugepaged` alone would look like the kernel's own.
    if let Ok(name) = CString::new(format!("mm-{workload}")) {
        // A recording is as good with the old name.
        let _ = rustix::thread::set_name(&name);
    }
}

/// Message of a failure to restore settings.
const CANNOT_RESTORE: &str = "cannot restore the settings that a killed workload left changed";

/// Returns the files of the settings that killed workloads have left changed.
///
/// # Errors
/// Only root may read the journal.
pub(crate) fn left_changed() -> io::Result<Vec<PathBuf>> {
    journal::journal().pending()
}

fn execute(args: &WorkloadArgs, stop: &AtomicBool, launch: all::Launch<'_>) -> Result<Outcome> {
    let name = args.name.as_deref().context("no workload was named")?;
    let workload = WORKLOADS.iter().find(|w| w.name == name).with_context(|| format!("no workload {name}"))?;
    let start = Instant::now();
    let cpus = process::allowed_cpus();
    let least = if matches!(workload.body, Body::All) { table::parts().count() as u64 } else { 1 } * args::MEMORY_MIN;
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
    let mut failures = Vec::new();
    match workload.body {
        Body::One(body) | Body::Alone(body) => body(&job, &tally),
        Body::All => failures = all::run(&job, args, launch, &tally),
    }
    let refused = threads::refused();
    if refused > 0 {
        failures.push(format!(
            "the system refused to start {refused} threads of {name}; allow more processes (ulimit -u, the cgroup's \
             pids.max), or ask for fewer threads with --threads"
        ));
    }
    Ok(Outcome {
        workload: workload.name.to_owned(),
        seconds: start.elapsed().as_secs_f64(),
        interrupted: stop.load(Ordering::Relaxed),
        paths: tally.into_paths(),
        failures,
    })
}

/// Returns how many bytes to use, given how many were asked for and how many the workload needs.
fn budget(asked: u64, least: u64) -> Result<usize> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .context("/proc/meminfo has no line MemAvailable")?;
    let bytes = asked.min(kib * 1024 / 2);
    if bytes < least {
        bail!(
            "this workload needs {0} MiB of memory, and may use {1} MiB: --memory allows {2} MiB, and half of the \
             available memory is {3} MiB; allow more with --memory {0}M, or free memory",
            least >> 20,
            bytes >> 20,
            asked >> 20,
            kib >> 11
        );
    }
    Ok(usize::try_from(bytes)?)
}
