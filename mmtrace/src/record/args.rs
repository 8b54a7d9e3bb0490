//! Arguments of `mmtrace record` and `mmtrace top`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{occasion::Occasion, size::Size};
use crate::{export::serve::Address, percent::Percent, probe::selection::Selection, workload::names};

/// The dashboard that is shown when none is named.
pub const DASHBOARD: &str = crate::tui::layout_file::BUILT_IN[0].0;

/// Folder that is written, and read, when none is named.
pub const DEFAULT_DIR: &str = "mmtrace.data";
/// Least size of a flight recorder, bytes.
const RING_MIN: u64 = 16 << 20;

/// What to record: common to `mmtrace record` and `mmtrace top`.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Stop after N seconds [default: at Ctrl-C, or when the command ends]
    ///
    /// N may be a fraction, such as 0.5.
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub seconds: Option<f64>,

    /// Record this process and the children that it will start
    ///
    /// mmtrace records everything that happens to the process's mm, whichever task causes it. The id of a thread selects
    /// its process. Repeat the option for several processes: -p 1234 -p 5678. The recording ends when all of them and
    /// their recorded children have ended, unless --cgroup or --comm selects further tasks.
    #[arg(short = 'p', long = "pid", value_name = "PID", value_parser = pid)]
    pub(crate) pids: Vec<u32>,

    /// Record the tasks of this cgroup (v2) and of the cgroups below it
    ///
    /// PATH is a folder of the cgroup2 file system, or a path below its root, such as system.slice.
    #[arg(short = 'G', long, value_name = "PATH")]
    pub(crate) cgroup: Option<PathBuf>,

    /// Record the tasks of this container
    ///
    /// NAME is the id of a container, a beginning of it as docker, podman, crictl and nerdctl print it, or the name that
    /// docker, podman, nerdctl, LXC or systemd-machined gave it. The container is found by its cgroup (v2).
    #[arg(long, value_name = "NAME", conflicts_with = "cgroup")]
    pub container: Option<String>,

    /// Record the tasks whose command name is NAME
    ///
    /// The kernel keeps the first 15 bytes of a program's file name as its command name; /proc/PID/comm shows it.
    #[arg(long, value_name = "NAME", value_parser = comm)]
    pub(crate) comm: Option<String>,

    /// Select events: +NAME adds, -NAME removes, only:NAME starts from none
    #[arg(
        short = 'e',
        long = "events",
        value_name = "LIST",
        allow_hyphen_values = true,
        long_help = EVENTS_HELP
    )]
    pub events: Option<Selection>,

    /// Run this workload while recording, and stop when it ends
    ///
    /// A workload drives one path of the kernel; `mmtrace workload --list` describes each. It runs for --seconds, or for
    /// 10 seconds. If the workload fails and no rule is violated, the exit status is 2.
    #[arg(long, value_name = "NAME", conflicts_with = "command", value_parser = names(), hide_possible_values = true)]
    pub(crate) workload: Option<String>,

    /// Record the whole system while the command runs, not only the command
    #[arg(short = 'a', long)]
    pub(crate) all: bool,

    /// Size of each ring buffer in MiB, a power of two up to 1024 [default: 32, less beyond 4 CPUs]
    ///
    /// A ring buffer is kernel memory between the eBPF programs and mmtrace. Each CPU has one, up to 16; on larger
    /// machines CPUs share. If the report counts lost events, double this size.
    #[arg(long, value_name = "MIB", value_parser = buffer)]
    pub(crate) buffer: Option<u32>,

    /// Number of standby programs of each probe, 0 to 2 [default: 1 where tasks are preempted in probes, else 0, and 1 more
    /// when the kernel skips a tracepoint's probe]
    ///
    /// The kernel skips an eBPF program that is running already on the same CPU. If a task is preempted in it, that is so
    /// for every other task on this CPU; an interrupt on top of it, such as a profiler's, may bring forth its event too.
    /// These events are missing. A standby program is a copy of the program that records them. Each standby program makes
    /// an event cost about half as much again. 2 helps on machines with many more busy tasks than CPUs. With N, no more are
    /// attached while mmtrace records. `mmtrace doctor` says whether this kernel preempts tasks.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=2))]
    pub(crate) standby: Option<u32>,

    /// Shed optional events while recording takes more than PERCENT of the CPU time of all CPUs
    ///
    /// In each second, mmtrace adds up the CPU time of its eBPF programs, as the kernel measures it, and its own. If that
    /// is more than PERCENT of the time of all online CPUs, mmtrace stops recording optional events, in this order and as
    /// far as needed: TLB flushes, `pte_offset_map` calls, links of PTE tables, VMA locks, the handling of page faults,
    /// blocking on locks, page faults. It passes over those that take less than 5 % of its programs' time. They are not
    /// recorded again. Rules that need them are unknown from then on, figures cover the time before, and the report says
    /// so. What is left may still cost more: the report says that too. The kernel measures programs for as long as the
    /// recording lasts, which costs some 10 ns each time that one runs.
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    pub max_overhead: Option<Percent>,

    /// Call a rule unknown if less than PERCENT of its evaluations, or of the time, could be judged
    ///
    /// Events can be missing: a ring had no room for them, or the kernel skipped a probe's run. A rule that was never broken
    /// is held if enough of it could be judged all the same, and the report says what could not.
    #[arg(long, value_name = "PERCENT", default_value = "99")]
    pub min_judged: Percent,

    /// Offer Prometheus metrics at http://ADDR/metrics
    ///
    /// ADDR is a port, which only this machine can reach (9464), or an address with a port (0.0.0.0:9464).
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<Address>,

    /// Run the command as this user; without a value, as the user who called sudo [default: as mmtrace itself]
    ///
    /// The command gets the user's groups, HOME, USER and LOGNAME, and no capabilities. A numeric id that the user
    /// database does not have gets the group nogroup.
    #[arg(long, value_name = "NAME|UID", num_args = 0..=1, requires = "command", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: Option<Option<String>>,

    /// Run this command, record it and its children, and stop when it ends
    ///
    /// mmtrace says with which status the command ended, but does not return that status. The exit status is mmtrace's
    /// own: 2 if the command cannot be run.
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// The long help of `--events`; its examples need lines of their own.
const EVENTS_HELP: &str = "\
Select events: +NAME adds, -NAME removes, only:NAME starts from none

NAME is an event (page_fault_user), all events of a trace system (mmap_lock), or one event of a system \
(mmap_lock:mmap_lock_released); `all` is every event. `mmtrace doctor` lists them. A rule that needs a removed event is \
\"not observable\" in the report. only: keeps the events that name tasks and their cgroups (task_rename, \
cgroup_attach_task, sched_process_fork, sched_process_exec, sched_process_exit), which are few; -NAME removes them too. If \
a filter is in use (-p, -G, --comm or a command), mmtrace records the events that the filter needs in any case, such as \
forks.

Examples:
  -e -tlb_flush,-ma_write  the default events, except two
  -e only:mmap_lock        the mmap_lock, and what names tasks
  -e +pte_offset_map       one event more, which is off by default";

/// Arguments of `mmtrace record`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudo mmtrace record                                the whole system, until Ctrl-C, into mmtrace.data/
  sudo mmtrace record --seconds 10 --workload all    10 seconds, while mmtrace drives each path of the kernel
  sudo mmtrace record -p 1234                        one process, and the children that it will start
  sudo mmtrace record --user -- make -j8             a command, which runs as the user who called sudo
  sudo mmtrace record --ring 2G --dump-on violation  a flight recorder that saves what led to a violation
  sudo mmtrace record --ring 2G --dump-on 'wait > 50ms'
                                                     the same, for whatever led to a long wait

Exit status: 0 no rule was violated, 1 a rule was violated, 2 error")]
pub struct RecordArgs {
    /// What to watch.
    #[command(flatten)]
    pub(crate) watch: WatchArgs,

    /// Folder for the capture; a capture that is there is moved to DIR.old
    #[arg(short = 'o', long, value_name = "DIR", default_value = DEFAULT_DIR)]
    pub(crate) output: PathBuf,

    /// Write a capture without judging it; `mmtrace replay` judges it later
    #[arg(long)]
    pub(crate) no_validate: bool,

    /// Judge without writing a capture
    #[arg(long, conflicts_with_all = ["output", "no_validate"])]
    pub(crate) no_capture: bool,

    /// Keep only the newest events, in SIZE bytes on disk, such as 512M or 2G
    ///
    /// This makes a flight recorder that can run for any time: mmtrace removes the oldest segments of the capture. The
    /// report still counts all events. SIZE is at least 16M.
    #[arg(long, value_name = "SIZE", value_parser = ring_size, conflicts_with = "no_capture")]
    pub(crate) ring: Option<Size>,

    /// Save what the flight recorder holds as a separate capture when this happens
    ///
    /// WHAT is `violation` (a rule is violated), `hazard` (a rule is violated, or a hazard occurs), or a wait for an
    /// mmap_lock, a hold of one, or a page fault that takes longer than a time: 'wait > 50ms', 'hold > 10ms',
    /// 'fault > 100ms'. Repeat the option for several. mmtrace saves 1 second after it has happened, to DIR.WHAT-1
    /// (mmtrace.data.L25-1, mmtrace.data.wait-1), and what happens within that second with it: once for each rule; for
    /// waits, holds and faults 5 times each, and not again within 10 seconds.
    #[arg(long, value_name = "WHAT", requires = "ring", conflicts_with = "no_validate")]
    pub(crate) dump_on: Vec<Occasion>,

    /// Print the closing report as JSON (docs/report.md describes the format)
    #[arg(long)]
    pub json: bool,

    /// Write the closing report to FILE instead of standard output, where the command prints as well
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Print every rule and every kind of event in the closing report as well
    #[arg(long, conflicts_with = "json")]
    pub rules: bool,

    /// Show the dashboard while recording
    #[arg(long, conflicts_with_all = ["json", "no_validate"])]
    pub tui: bool,

    /// Layout of the dashboard: default, contention, or a TOML file like those in dashboards/
    #[arg(long, value_name = "FILE", requires = "tui", default_value = DASHBOARD)]
    pub dashboard: String,
}

/// Arguments of `mmtrace top`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudo mmtrace top                         the whole system
  sudo mmtrace top -p 1234                 one process, and the children that it will start
  sudo mmtrace top --dashboard contention  who waits for which lock

In the dashboard, ? lists the keys and q quits.")]
pub struct TopArgs {
    /// What to watch.
    #[command(flatten)]
    pub(crate) watch: WatchArgs,

    /// Layout of the dashboard: default, contention, or a TOML file like those in dashboards/
    #[arg(long, value_name = "FILE", default_value = DASHBOARD)]
    pub dashboard: String,
}

impl From<&TopArgs> for RecordArgs {
    /// A recording that writes nothing.
    fn from(top: &TopArgs) -> Self {
        Self {
            watch: top.watch.clone(),
            output: DEFAULT_DIR.into(),
            no_validate: false,
            rules: false,
            no_capture: true,
            ring: None,
            dump_on: Vec::new(),
            json: false,
            report: None,
            tui: true,
            dashboard: top.dashboard.clone(),
        }
    }
}

/// Arguments of `mmtrace stat`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudo mmtrace stat --seconds 10      the whole system for 10 seconds
  sudo mmtrace stat -p 1234           one process, and the children that it will start, until Ctrl-C
  sudo mmtrace stat -- make -j8       a command
  sudo mmtrace stat --json -p 1234    the report of docs/report.md, for scripts
  sudo mmtrace stat --json --report run.json -- make
                                      the same in a file; standard output is the command's

Exit status: 0 no rule was violated, 1 a rule was violated, 2 error")]
pub struct StatArgs {
    /// What to watch.
    #[command(flatten)]
    pub(crate) watch: WatchArgs,

    /// Print the report as JSON (docs/report.md describes the format)
    #[arg(long)]
    pub json: bool,

    /// Write the closing report to FILE instead of standard output, where the command prints as well
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Print every rule and every kind of event as well
    #[arg(long, conflicts_with = "json")]
    pub rules: bool,
}

impl From<&StatArgs> for RecordArgs {
    /// A recording that writes nothing.
    fn from(stat: &StatArgs) -> Self {
        Self {
            watch: stat.watch.clone(),
            output: DEFAULT_DIR.into(),
            no_validate: false,
            no_capture: true,
            ring: None,
            dump_on: Vec::new(),
            json: stat.json,
            report: stat.report.clone(),
            rules: stat.rules,
            tui: false,
            dashboard: DASHBOARD.to_owned(),
        }
    }
}

fn pid(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(0) => Err("0 is the id of every CPU's idle task, which is not a process".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("a process id is a number; `pgrep NAME` finds it, and -p 1 -p 2 names several".to_owned()),
    }
}

fn comm(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a command name is not empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n > 0.0 && n <= 31_536_000.0 => Ok(n),
        _ => Err("give a number of seconds above 0 and at most 31536000 (a year)".to_owned()),
    }
}

fn ring_size(text: &str) -> Result<Size, String> {
    match text.parse::<Size>()? {
        Size(bytes) if bytes < RING_MIN => {
            Err("the flight recorder needs at least 16M, which is about a million events".to_owned())
        }
        size => Ok(size),
    }
}

fn buffer(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(n) if n.is_power_of_two() && n <= 1024 => Ok(n),
        _ => Err("give a power of two from 1 to 1024".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use mmtrace_model::optional_events::OPTIONAL_EVENTS;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: WatchArgs,
    }

    #[test]
    fn the_help_states_the_order_in_which_events_are_shed() {
        let command = Command::command();
        let option = command.get_arguments().find(|arg| arg.get_long() == Some("max-overhead")).expect("it is there");
        let help = option.get_long_help().expect("it has one").to_string().replace('\n', " ");
        let order: Vec<&str> = OPTIONAL_EVENTS.iter().map(|group| group.name).collect();
        assert!(help.contains(&order.join(", ")), "{help}");
    }
}
