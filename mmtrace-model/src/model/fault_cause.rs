//! Why a page is faulted.

use serde::Serialize;

/// Why a fault happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// First fault on the page since its range was mapped.
    FirstTouch,
    /// A page that had been faulted before is not present: reclaimed, discarded
    /// (MADV_DONTNEED) or swapped out; tracepoints do not say which.
    Refault,
    /// A write to an entry that is present and read-only: copy-on-write, zero page,
    /// dirty tracking or write-protection.
    WriteProtect,
    /// A present entry refused the access for another reason, or the entry was present when the kernel looked: a
    /// spurious fault.
    Spurious,
    /// A migration entry is known to be at this address in some mm.
    Migration,
    /// An address of the kernel's half.
    KernelAddress,
    /// Not handled: the kernel took the fault with page faults disabled, for example because a profiler read user
    /// memory in an interrupt. No page is faulted in, and the task itself may never have touched the page.
    PagefaultDisabled,
    /// The page's history is not known.
    Unknown,
}

impl Cause {
    /// Every cause, in the order of reports.
    pub const ALL: [Self; 8] = [
        Self::FirstTouch,
        Self::Refault,
        Self::WriteProtect,
        Self::Spurious,
        Self::Migration,
        Self::KernelAddress,
        Self::PagefaultDisabled,
        Self::Unknown,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstTouch => "first_touch",
            Self::Refault => "refault",
            Self::WriteProtect => "write_protect",
            Self::Spurious => "spurious",
            Self::Migration => "migration",
            Self::KernelAddress => "kernel_address",
            Self::PagefaultDisabled => "pagefault_disabled",
            Self::Unknown => "unknown",
        }
    }

    /// The cause in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::FirstTouch => "first touch",
            Self::Refault => "refault",
            Self::WriteProtect => "write protect",
            Self::Spurious => "spurious",
            Self::Migration => "migration",
            Self::KernelAddress => "kernel address",
            Self::PagefaultDisabled => "not handled (page faults disabled)",
            Self::Unknown => "unknown",
        }
    }
}
