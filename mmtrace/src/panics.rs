//! The message about a panic.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};

use mmtrace_model::untrusted::clean;

use crate::console::complain;

/// Lets panics of this process be told in one line, as every other error is.
pub fn install() {
    panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    let what = panic.payload_as_str().unwrap_or("no reason given");
    complain(format_args!("mmtrace stopped because of a bug in mmtrace{place}: {}; please report it", clean(what)));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        for line in trace.to_string().lines() {
            complain(line);
        }
    }
}
