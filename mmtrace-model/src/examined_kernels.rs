//! The kernels that mmtrace was examined on: the one list of them.
//!
//! The rules begin to be known at the first one, `cargo xtask vm` boots those that Debian has, `mmtrace doctor` says
//! whether the running kernel is one of them, and the pages name them.

use crate::kernel_version::KernelVersion;

/// A kernel series that was examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExaminedKernel {
    /// The series.
    pub version: KernelVersion,
    /// Whether the source that each rule names was read in it.
    pub has_rules_read: bool,
    /// The probes that were attached to it.
    pub probes: Probes,
    /// Machine on which mmtrace ran.
    pub machine: Machine,
}

/// The probes that were attached to an examined kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probes {
    /// On tracepoints and on functions.
    All,
    /// On tracepoints: the machine's security policy forbids programs on functions. Their signatures are those of its BTF.
    Tracepoints,
}

/// Machine with an examined kernel, on which mmtrace ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// In a virtual machine of `cargo xtask vm`, which boots Debian's cloud kernel.
    Virtual {
        /// The suite that has the kernel. One whose name ends in `-security` is in the security archive.
        suite: &'static str,
    },
    /// On a machine that captures of `testdata/` come from.
    Real,
}

/// Every examined kernel, oldest first.
pub const EXAMINED_KERNELS: &[ExaminedKernel] = &[
    // The last series before VMA locks.
    ExaminedKernel {
        version: KernelVersion::new(6, 1),
        has_rules_read: true,
        probes: Probes::All,
        machine: Machine::Virtual { suite: "bookworm-security" },
    },
    ExaminedKernel {
        version: KernelVersion::new(6, 12),
        has_rules_read: true,
        probes: Probes::All,
        machine: Machine::Virtual { suite: "bookworm-security" },
    },
    ExaminedKernel {
        version: KernelVersion::new(6, 18),
        // Single functions were looked up in 6.18.35; nobody went through the rules.
        has_rules_read: false,
        probes: Probes::Tracepoints,
        machine: Machine::Real,
    },
    // Tracepoints can be preempted.
    ExaminedKernel {
        version: KernelVersion::new(7, 2),
        has_rules_read: true,
        probes: Probes::All,
        machine: Machine::Virtual { suite: "sid" },
    },
];

/// First kernel whose sources and events the rules were held against: they begin to be true there, unless they say more.
pub const FIRST_EXAMINED: KernelVersion = EXAMINED_KERNELS[0].version;

impl ExaminedKernel {
    /// Returns the row of a series, if it was examined.
    #[must_use]
    pub fn find(version: KernelVersion) -> Option<&'static Self> {
        EXAMINED_KERNELS.iter().find(|kernel| kernel.version == version)
    }

    /// Returns the rows of the kernels that `cargo xtask vm` boots.
    pub fn virtual_ones() -> impl Iterator<Item = &'static Self> {
        EXAMINED_KERNELS.iter().filter(|kernel| matches!(kernel.machine, Machine::Virtual { .. }))
    }

    /// Returns the rows of the kernels that captures of real machines come from.
    pub fn real_ones() -> impl Iterator<Item = &'static Self> {
        EXAMINED_KERNELS.iter().filter(|kernel| kernel.machine == Machine::Real)
    }
}

/// Returns the series as a sentence lists them: `6.1, 6.12 and 7.2`.
#[must_use]
pub fn listed(kernels: impl IntoIterator<Item = &'static ExaminedKernel>) -> String {
    let mut names: Vec<String> = kernels.into_iter().map(|kernel| kernel.version.to_string()).collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_listed_once_and_oldest_first() {
        assert!(EXAMINED_KERNELS.windows(2).all(|pair| pair[0].version < pair[1].version));
    }

    #[test]
    fn a_sentence_lists_any_number_of_kernels() {
        const fn kernel(minor: u8) -> ExaminedKernel {
            ExaminedKernel { version: KernelVersion::new(6, minor), ..EXAMINED_KERNELS[0] }
        }
        const KERNELS: [ExaminedKernel; 3] = [kernel(1), kernel(12), kernel(18)];
        let of = |count| listed(&KERNELS[..count]);
        assert_eq!([of(0), of(1), of(2), of(3)], ["", "6.1", "6.1 and 6.12", "6.1, 6.12 and 6.18"]);
    }
}
