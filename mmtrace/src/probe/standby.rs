//! Standby programs: the second and third attachment of a program, which cover the runs of it that the kernel skips.
//!
//! The kernel skips a program that still runs on the same CPU: for another task, where a task can be preempted in it, and
//! for an interrupt on top of it. Standby programs are copies, which the kernel then enters (`mmtrace-ebpf/src/standby.rs`
//! says which of them records the event). They cost something on every event, so mmtrace attaches them before the recording
//! only where preemption is possible. Of programs on tracepoints it has one more in reserve: loaded, and attached when the
//! kernel skips a run.

use std::fs;

use aya::{
    Ebpf,
    maps::{Array, MapError},
};
use mmtrace_common::{Kind, LOST_KINDS, spec};
use mmtrace_model::context::{Form, Kernel};

use crate::environment::Preemption;

/// Number of standby programs that the object has for each program.
pub(crate) const MOST: u32 = 2;
/// Standby programs of a program that can be preempted. A second one is for machines with many more busy tasks than
/// CPUs: while one task waits to go on in the program, another must not be preempted in the standby program.
const USUAL: u32 = 1;
/// Standby programs of a program on a tracepoint that are in reserve, unless the user said how many there are to be. To
/// load one takes about 10 ms of CPU time, which is less than it would take to keep a process with the right to load.
const RESERVE: u32 = 1;
/// Trace system of the events that an interrupt can bring forth: it tries to acquire a lock, and does not map, fork or
/// migrate.
const OF_INTERRUPTS: &str = "mmap_lock";

/// Marks that fill a cache line, as a power of two.
const ALIGNED_BITS: u32 = 3;
/// Marks of each CPU; `SLOTS_OF_CPU` in `mmtrace-ebpf/src/standby.rs`.
pub(crate) const MARKS_OF_CPU: u32 = 8;

/// Number of standby programs that each program gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standby {
    /// On a tracepoint.
    pub(crate) tracepoint: u32,
    /// On a function.
    pub(crate) function: u32,
    /// On a tracepoint, loaded and not attached. The programs of a function are entered in the reverse order of
    /// attaching, so that one more would come before the first.
    pub(crate) reserve: u32,
    /// A task can be preempted in a program on a tracepoint.
    pub(crate) preempts_tracepoints: bool,
}

impl Standby {
    /// Returns as many as help on this kernel, or as many as the user asked for.
    #[must_use]
    pub(crate) fn of(kernel: &Kernel, preemption: &Preemption, asked: Option<u32>) -> Self {
        let where_possible = |possible: bool| asked.unwrap_or(if possible { USUAL } else { 0 }).min(MOST);
        let preempts_tracepoints = preemption.happens() && kernel.preempts_tracepoints();
        let tracepoint = where_possible(preempts_tracepoints);
        let reserve = if asked.is_none() { RESERVE.min(MOST - tracepoint) } else { 0 };
        Self { tracepoint, function: where_possible(preemption.happens()), reserve, preempts_tracepoints }
    }

    /// The same with none in reserve.
    #[must_use]
    pub(crate) const fn without_reserve(self) -> Self {
        Self { reserve: 0, ..self }
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

    /// Whether the kernel can skip a program on this kind's tracepoint, so that one in reserve is of use.
    #[must_use]
    pub(crate) fn is_reserved(self, kind: Kind) -> bool {
        self.reserve > 0 && (self.preempts_tracepoints || spec(kind).site.system == OF_INTERRUPTS)
    }

    /// Whether there are any, or may be.
    #[must_use]
    pub(crate) const fn any(self) -> bool {
        self.tracepoint + self.function + self.reserve > 0
    }

    /// Returns for how many task ids marks are kept, as a power of two. Where no task is preempted in a program that has
    /// standby programs, the marks of the CPUs do, and those of a few ids are there to keep the others aligned.
    #[must_use]
    pub(crate) fn mark_bits(self) -> u32 {
        let by_task = self.function > 0 || self.preempts_tracepoints && self.any();
        if by_task { task_bits() } else { ALIGNED_BITS }
    }
}

/// Number of standby programs by kind, as the programs read it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Numbers([u8; LOST_KINDS]);

// SAFETY: an array of bytes: every bit pattern is a value, there is no padding.
unsafe impl aya::Pod for Numbers {}

impl Default for Numbers {
    fn default() -> Self {
        Self([0; LOST_KINDS])
    }
}

impl Numbers {
    /// Section of the object, and name of the map, that the programs read it from.
    const MAP: &str = ".data.standby";

    /// Sets the number of one kind, for each of its runs that begins from now on.
    ///
    /// # Errors
    /// The kernel did not take it.
    pub(super) fn set(&mut self, ebpf: &mut Ebpf, kind: Kind, number: u32) -> Result<(), MapError> {
        self.0[kind as usize] = number as u8;
        let map = ebpf.map_mut(Self::MAP).ok_or_else(|| MapError::InvalidName { name: Self::MAP.to_owned() })?;
        Array::try_from(map)?.set(0, *self, 0)
    }
}

/// Task ids that this system can have, as a power of two: the marks of so many tasks are kept, eight bytes for each, so
/// 32 MiB of kernel memory at most.
fn task_bits() -> u32 {
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
            (standby.tracepoint, standby.function, standby.reserve)
        };
        assert_eq!(of("7.2.13", "lazy", None), (1, 1, 1));
        assert_eq!(of("7.2.13", "lazy", Some(0)), (0, 0, 0));
        assert_eq!(of("6.12.1", "full", None), (0, 1, 1));
        assert_eq!(of("6.12.1", "voluntary", None), (0, 0, 1));
        assert_eq!(of("6.18.1", "none", Some(2)), (2, 2, 0));
    }

    #[test]
    fn those_are_in_reserve_that_the_kernel_can_skip() {
        let reserve = Standby { reserve: 1, ..Standby::default() };
        assert!(reserve.is_reserved(Kind::Released) && !reserve.is_reserved(Kind::Fork));
        assert!(Standby { preempts_tracepoints: true, ..reserve }.is_reserved(Kind::Fork));
        assert!(!Standby::default().is_reserved(Kind::Released));
    }

    #[test]
    fn marks_of_tasks_are_kept_where_a_task_can_be_preempted_in_a_program_that_has_standby_programs() {
        let reserve = Standby { reserve: 1, ..Standby::default() };
        assert_eq!(reserve.mark_bits(), ALIGNED_BITS);
        assert_eq!(1 << ALIGNED_BITS, MARKS_OF_CPU);
        for standby in [
            Standby { function: 1, ..reserve },
            Standby { preempts_tracepoints: true, ..reserve },
            Standby { preempts_tracepoints: true, tracepoint: 1, ..Standby::default() },
        ] {
            assert_eq!(standby.mark_bits(), task_bits());
        }
    }
}
