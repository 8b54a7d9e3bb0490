//! What was typed.

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
