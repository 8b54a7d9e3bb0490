//! The command line.

use clap::{Parser, Subcommand};

use crate::{catalogue, commands, doctor, record, workload};

/// Records what the memory management of a live Linux kernel does, and checks every event against the kernel's own rules
#[derive(Parser, Debug)]
#[command(
    name = "mmtrace",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  sudo mmtrace doctor                              check whether this machine can record
  sudo mmtrace record --seconds 10 --workload all  record for 10 seconds, and print a report
  mmtrace report                                   who held and awaited mmap_locks, whose faults there were
  mmtrace replay                                   judge the recorded capture again
  mmtrace explain L25                              read what a rule means

`mmtrace COMMAND --help` describes a command and has more examples.
Exit status: 0 no rule was violated, 1 a rule was violated, 2 error"
)]
pub struct Cli {
    /// Command to run
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Record events of the running kernel, judge them, and write a capture
    Record(record::RecordArgs),
    /// Show the running kernel in a dashboard, without writing a capture
    Top(record::TopArgs),
    /// Record and judge like `record`, without writing a capture
    Stat(record::StatArgs),
    /// Put a label on the time line of the recordings that run
    Mark(commands::mark::MarkArgs),
    /// Judge a capture again and print its report
    Replay(commands::replay::ReplayArgs),
    /// Show who held and awaited the mmap_locks of a capture, and whose page faults there were
    Report(commands::report::ReportArgs),
    /// Write the tables of a capture that SQL joins by id: names of tasks, cgroups and mappings
    Tables(commands::tables::TablesArgs),
    /// Describe a capture: kernel, condition, size, losses, probes
    Info(commands::InfoArgs),
    /// Print the events of a capture
    Dump(commands::DumpArgs),
    /// Check what works on this machine, and say how to fix what does not
    Doctor(doctor::DoctorArgs),
    /// List the rules
    Rules(catalogue::RulesArgs),
    /// Explain one rule: what it says, why, and where in the kernel it comes from
    Explain(catalogue::ExplainArgs),
    /// Run a scenario's threads in every order: prove it safe, or print the shortest order that breaks it
    Explore(commands::explore::ExploreArgs),
    /// Drive one path of the kernel's memory management for some seconds
    Workload(workload::WorkloadArgs),
}
