//! Arguments of `mmtrace workload`.

use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser},
};

use super::table::WORKLOADS;

/// Longest time to run, seconds: a day.
pub const SECONDS_MAX: f64 = 86_400.0;
/// Less would not hold the smallest region of each thread.
pub(super) const MEMORY_MIN: u64 = 16 << 20;

/// Arguments of `mmtrace workload`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mmtrace workload --list                              the workloads, their events, and what each needs
  mmtrace workload faults                              10 seconds of page faults
  sudo mmtrace workload khugepaged --allow-swap        collapse, of swapped-out pages too
  mmtrace workload mmap --seconds 2 --threads 4 --json
  sudo mmtrace record --seconds 10 --workload all      record while the workloads run

Exit status: 0 the workload did its work, 2 it could not do all of it")]
pub struct WorkloadArgs {
    /// Workload to run
    ///
    /// `--list` shows which events each provokes.
    #[arg(value_name = "NAME", value_parser = names(), required_unless_present_any = ["list", "restore"])]
    pub name: Option<String>,

    /// List the workloads, the events that they provoke, and what they need
    #[arg(long)]
    pub(crate) list: bool,

    /// Restore the kernel settings that a killed workload left changed, and do nothing else
    ///
    /// Every later workload does the same before it starts.
    #[arg(long, conflicts_with_all = ["name", "list"])]
    pub(crate) restore: bool,

    /// How long to run, in seconds
    ///
    /// N may be a fraction, such as 0.5. The workload `all` divides the time: it runs each workload alone for a slice,
    /// so that its events stand apart, and then all of them at once. Freeing the memory at the end may take a moment
    /// longer.
    #[arg(long, value_name = "N", default_value = "10", value_parser = seconds)]
    pub seconds: f64,

    /// Threads per workload [default: the CPUs that this process may use]
    ///
    /// Contention needs at least two threads. Some workloads start a few more. There is never more than one thread for
    /// each MiB of --memory.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Use at most this much memory at a time, such as 256M or 2G; at least 16M, for `all` 160M
    ///
    /// A workload never uses more than half of the memory that is available at its start (MemAvailable in
    /// /proc/meminfo).
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = size)]
    pub(crate) memory: u64,

    /// Let `khugepaged` and `swap` create a temporary swap file, if there is no swap (root)
    ///
    /// Only the collapse of a range with swapped-out pages emits mm_collapse_huge_page_swapin. The swap file has 32 MiB
    /// and lies in the folder for temporary files or in /var/tmp; the workload switches it off and removes it at the
    /// end. While it exists, the kernel may swap other processes' memory to it.
    #[arg(long)]
    pub(crate) allow_swap: bool,

    /// Print one JSON object instead of a line per path
    #[arg(long)]
    pub json: bool,
}

/// The names of the workloads, for an argument that takes one.
#[must_use]
pub fn names() -> PossibleValuesParser {
    WORKLOADS.iter().map(|w| PossibleValue::new(w.name).help(w.about)).collect::<Vec<_>>().into()
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n > 0.0 && n <= SECONDS_MAX => Ok(n),
        _ => Err("give a number of seconds above 0 and at most 86400 (a day)".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let hint = || "give a number of bytes, or a number with K, M or G, such as 256M; at least 16M".to_owned();
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
