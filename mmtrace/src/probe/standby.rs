//! Standby programs: the second and third attachment of a program, which cover one that a task was preempted in.
//!
//! The kernel skips a program that still runs on the same CPU, for a task that was preempted in it. Standby programs
//! are copies, which the kernel then enters (`mmtrace-ebpf/src/standby.rs` says which of them records the event). They
//! cost something on every event, so mmtrace attaches them only where preemption is possible.

use std::fs;

use mmtrace_model::context::{Form, Kernel};

use crate::environment::Preemption;

/// Number of standby programs that the object has for each program.
pub(crate) const MOST: u32 = 2;
/// Standby programs of a program that can be preempted. A second one is for machines with many more busy tasks than
/// CPUs: while one task waits to go on in the program, another must not be preempted in the standby program.
const USUAL: u32 = 1;

/// Number of standby programs that each program gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standby {
    /// On a tracepoint.
    pub(crate) tracepoint: u32,
    /// On a function.
    pub(crate) function: u32,
}

impl Standby {
    /// Returns as many as help on this kernel, or as many as the user asked for.
    #[must_use]
    pub(crate) fn of(kernel: &Kernel, preemption: &Preemption, asked: Option<u32>) -> Self {
        let where_possible = |possible: bool| asked.unwrap_or(if possible { USUAL } else { 0 }).min(MOST);
        Self {
            tracepoint: where_possible(preemption.happens() && kernel.preempts_tracepoints()),
            function: where_possible(preemption.happens()),
        }
    }

    /// Returns how many a program of this form gets. The handlers of breakpoints and software events are not preempted, and
    /// the untyped form is for kernels without BTF.
    #[must_use]
    pub(crate) const fn behind(self, form: Form) -> u32 {
        match form {
            Form::TpBtf => self.tracepoint,
            Form::Fentry | Form::Fexit => self.function,
            Form::RawTp | Form::Kprobe | Form::Kretprobe | Form::PerfEvent => 0,
        }
    }

    /// The largest number that a program has.
    #[must_use]
    pub(crate) const fn most(self) -> u32 {
        if self.tracepoint > self.function { self.tracepoint } else { self.function }
    }

    /// Whether there are any.
    #[must_use]
    pub(crate) const fn any(self) -> bool {
        self.most() > 0
    }
}

/// Task ids that this system can have, as a power of two: the marks of so many tasks are kept, eight bytes for each, so
/// 32 MiB of kernel memory at most.
#[must_use]
pub(crate) fn task_bits() -> u32 {
    let most = fs::read_to_string("/proc/sys/kernel/pid_max").ok().and_then(|t| t.trim().parse::<u32>().ok());
    // include/linux/threads.h: PID_MAX_LIMIT is 4 Mi on 64-bit kernels.
    most.map_or(22, |n| n.clamp(1 << 10, 1 << 22).next_power_of_two().ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standby_programs_are_where_they_are_of_use() {
        let kernel = |release: &str| Kernel { release: release.to_owned(), ..Kernel::default() };
        let preemption = |model: &str| Preemption { model: Some(model.to_owned()) };
        let of = |release, model, asked| {
            let standby = Standby::of(&kernel(release), &preemption(model), asked);
            (standby.tracepoint, standby.function)
        };
        assert_eq!(of("7.2.13", "lazy", None), (1, 1));
        assert_eq!(of("7.2.13", "lazy", Some(0)), (0, 0));
        assert_eq!(of("6.12.1", "full", None), (0, 1));
        assert_eq!(of("6.12.1", "voluntary", None), (0, 0));
        assert_eq!(of("6.18.1", "none", Some(2)), (2, 2));
    }
}
