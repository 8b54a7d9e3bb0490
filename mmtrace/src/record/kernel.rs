//! Which kernel this is.

use std::fs;

use mmtrace_model::context::Kernel;

/// The running kernel.
#[must_use]
pub fn running() -> Kernel {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/sys/kernel/{name}"))
            .map_or_else(|_| "unknown".to_owned(), |t| t.trim().to_owned())
    };
    Kernel {
        release: read("osrelease"),
        version: read("version"),
        // /proc/sys/kernel/arch is of 6.1; this program runs on what it was built for.
        machine: std::env::consts::ARCH.to_owned(),
        cpus: aya::util::nr_cpus().map_or(1, |n| n as u32),
    }
}
