//! The command line.

use clap::{Parser, Subcommand};

use crate::{catalogue, commands, doctor, record, workload};

/// Watches a live Linux kernel's page faults, migration, khugepaged and mmap_lock, and checks
/// every event against an executable reference of the kernel's own rules.
#[derive(Parser, Debug)]
#[command(
    name = "mmtrace",
    version,
    max_term_width = 100,
    after_help = "Start with: sudo mmtrace doctor, then sudo mmtrace record --seconds 10 --workload all\n\
                  Exit status: 0 nothing violated, 1 something was, 2 error"
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Record and judge what the kernel does now
    Record(record::RecordArgs),
    /// Watch the kernel in a dashboard; nothing is written
    Top(record::TopArgs),
    /// Judge a capture again, with the same code
    Replay(commands::replay::ReplayArgs),
    /// Say what a capture holds
    Info(commands::InfoArgs),
    /// Print the events of a capture
    Dump(commands::DumpArgs),
    /// Say what would work here, what not, why, and how to fix it
    Doctor(doctor::DoctorArgs),
    /// List the rules
    Rules(catalogue::RulesArgs),
    /// Explain a rule: what, why, where in the kernel, why it raises no false alarm
    Explain(catalogue::ExplainArgs),
    /// Run a protocol's threads in every order: proof, or the shortest schedule that breaks it
    Explore(commands::explore::ExploreArgs),
    /// Drive one path of the kernel, with bounded time and memory
    Workload(workload::WorkloadArgs),
}
