//! What was typed.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{dump::Occasion, size::Size};
use crate::{export::serve::Address, probe::selection::Selection, workload::names};

/// The dashboard that is shown when none is named.
pub const DASHBOARD: &str = crate::tui::layout_file::BUILT_IN[0].0;

/// Least size of a flight recorder, bytes.
const RING_MIN: u64 = 16 << 20;

/// What to watch: common to `mmtrace record` and `mmtrace top`.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Stop after so many seconds [default: at Ctrl-C, or when the command ends]
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub seconds: Option<f64>,

    /// Record this process and the children it will have
    ///
    /// Everything that happens to its mm is recorded, whoever does it. May be given several times. A thread stands for
    /// its process. Recording ends when all of them have ended, unless --cgroup or --comm may let others join.
    #[arg(short = 'p', long = "pid", value_name = "PID", value_parser = pid)]
    pub pids: Vec<u32>,

    /// Record the tasks of this cgroup (v2) and of those below it
    ///
    /// A path of the file system, or one below the cgroup2 root such as `system.slice`.
    #[arg(short = 'G', long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Record the tasks whose command name is NAME (the first 15 bytes of the file name)
    #[arg(long, value_name = "NAME", value_parser = comm)]
    pub comm: Option<String>,

    /// Which events: +NAME adds, -NAME takes away, only:NAME starts from nothing
    ///
    /// NAME is an event (page_fault_user), a trace system (mmap_lock) or both (mmap_lock:*).
    /// Rules that lack an event say so in the report. The few events that a filter (-p, -G, --comm, a command) lives
    /// by, such as forks, are recorded in any case. Example: -e -tlb_flush,-ma_write
    #[arg(short = 'e', long = "events", value_name = "LIST", allow_hyphen_values = true)]
    pub events: Option<Selection>,

    /// Drive the kernel meanwhile, for --seconds, and stop when it has ended: `mmtrace workload --list` names them
    ///
    /// If it fails, the exit status is 2, unless a rule was violated.
    #[arg(long, value_name = "NAME", conflicts_with = "command", value_parser = names(), hide_possible_values = true)]
    pub workload: Option<String>,

    /// With a command: record the whole system, not only the command
    #[arg(short = 'a', long)]
    pub all: bool,

    /// MiB of kernel memory for each ring buffer, a power of two [default: 32, less beyond 4 CPUs]
    ///
    /// Each CPU has a ring of its own, up to 16; more CPUs share. If events are lost, double this.
    #[arg(long, value_name = "MIB", value_parser = buffer)]
    pub buffer: Option<u32>,

    /// Standby programs behind each probe, which cover it while a task is preempted in it: 0 to 2
    /// [default: 1 where the kernel preempts tasks in probes, else 0]
    ///
    /// The kernel skips a probe that still runs on the same CPU, for a task that was preempted in it. Without standby
    /// programs those events are missing, and rules that need them are unknown. 2 is for machines with many more busy
    /// tasks than CPUs. Each makes an event cost half as much again (`cargo xtask bench standby`); `mmtrace doctor`
    /// says whether the kernel preempts.
    #[arg(long, alias = "spares", value_name = "N", value_parser = clap::value_parser!(u32).range(..=2))]
    pub standby: Option<u32>,

    /// Offer Prometheus metrics at http://ADDR/metrics; a port alone means this machine only
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<Address>,

    /// Run the command as this user; without a value, as who called sudo [default: as mmtrace itself]
    ///
    /// With their groups, HOME, USER and LOGNAME, and no capabilities. A number that the user database does not have
    /// gets the group nogroup.
    #[arg(long, value_name = "NAME|UID", num_args = 0..=1, requires = "command", value_parser = NonEmptyStringValueParser::new())]
    pub user: Option<Option<String>>,

    /// Run this command, record it and its children, and stop when it ends
    ///
    /// How it ended is told; the exit status is mmtrace's own: 2 if the command cannot be run, and nothing of its
    /// status.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Arguments of `mmtrace record`.
#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// What to watch.
    #[command(flatten)]
    pub watch: WatchArgs,

    /// Folder for the capture; an earlier capture there is kept beside it as DIR.old
    #[arg(short = 'o', long, value_name = "DIR", default_value = super::DEFAULT_DIR)]
    pub output: PathBuf,

    /// Write the capture only; judge it later with `mmtrace replay`
    #[arg(long)]
    pub no_validate: bool,

    /// Judge only; write no capture
    #[arg(long, conflicts_with_all = ["output", "no_validate"])]
    pub no_capture: bool,

    /// Keep the newest events only, in so much room on disk: 512M, 2G
    ///
    /// A flight recorder, to be left running: the oldest segments are removed. The report still
    /// counts everything.
    #[arg(long, value_name = "SIZE", value_parser = ring_size, conflicts_with = "no_capture")]
    pub ring: Option<Size>,

    /// Keep what the flight recorder holds when this happens, as a capture of its own: DIR.RULE-1
    ///
    /// Once for each rule, a second after it.
    #[arg(long, value_name = "WHAT", requires = "ring", conflicts_with = "no_validate")]
    pub dump_on: Option<Occasion>,

    /// Print the closing report as JSON (the format of docs/report.md)
    #[arg(long)]
    pub json: bool,

    /// Show the dashboard meanwhile
    #[arg(long, conflicts_with_all = ["json", "no_validate"])]
    pub tui: bool,

    /// Which dashboard: default, contention, or a file like those in dashboards/
    #[arg(long, value_name = "FILE", requires = "tui", default_value = DASHBOARD)]
    pub dashboard: String,
}

/// Arguments of `mmtrace top`.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// What to watch.
    #[command(flatten)]
    pub watch: WatchArgs,

    /// Which dashboard: default, contention, or a file like those in dashboards/
    #[arg(long, value_name = "FILE", default_value = DASHBOARD)]
    pub dashboard: String,
}

impl From<&TopArgs> for RecordArgs {
    /// A recording that writes nothing.
    fn from(top: &TopArgs) -> Self {
        Self {
            watch: top.watch.clone(),
            output: super::DEFAULT_DIR.into(),
            no_validate: false,
            no_capture: true,
            ring: None,
            dump_on: None,
            json: false,
            tui: true,
            dashboard: top.dashboard.clone(),
        }
    }
}

fn pid(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(0) => Err("0 is no process: each CPU's idle task has that id".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("a process id is a number (`pgrep NAME` finds it); several: -p 1 -p 2".to_owned()),
    }
}

fn comm(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("no task is called nothing".to_owned()) } else { Ok(text.to_owned()) }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n > 0.0 && n <= 31_536_000.0 => Ok(n),
        _ => Err("a number of seconds above 0, a year at most".to_owned()),
    }
}

fn ring_size(text: &str) -> Result<Size, String> {
    match text.parse::<Size>()? {
        Size(bytes) if bytes < RING_MIN => Err("16M at least: that is some million events".to_owned()),
        size => Ok(size),
    }
}

fn buffer(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(n) if n.is_power_of_two() && n <= 1024 => Ok(n),
        _ => Err("a power of two from 1 to 1024".to_owned()),
    }
}
