//! The effect of an event: the fault, the wait or the collapse that it completed.
//!
//! The model decides what a call is and under which lock it runs. Statistics count the effects and decide nothing.

/// The lock under which a `handle_mm_fault()` call ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// The VMA lock.
    Vma,
    /// The mmap_lock, because the VMA lock was refused or given up with RETRY.
    FellBack,
    /// The mmap_lock, without an attempt at the VMA lock: faults of the kernel, GUP, kernels before 6.4.
    Mmap,
    /// The mmap_lock. No event shows whether the task tried the VMA lock before.
    Unknown,
}

impl Under {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Vma, Self::FellBack, Self::Mmap, Self::Unknown];
}

/// A call of `handle_mm_fault()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    /// The VMA's mm.
    pub mm: u64,
    /// The VMA.
    pub vma: u64,
    /// The address of the fault.
    pub addr: u64,
    /// The lock.
    pub under: Under,
    /// When the call was entered.
    pub since: u64,
    /// When the VMA lock was granted, if the call runs under it and the grant was seen.
    pub granted: Option<u64>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled; the lock is still held.
    Done,
    /// Handled, and the lock is released: `VM_FAULT_COMPLETED`.
    Completed,
    /// To be retried, and the lock is released: `VM_FAULT_RETRY`.
    Retry,
    /// `VM_FAULT_ERROR`: OOM, SIGBUS, SIGSEGV, poisoned.
    Error,
}

/// The effect of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `handle_mm_fault()` was entered.
    Handles(Handling),
    /// `handle_mm_fault()` has returned.
    Handled {
        /// The call.
        call: Handling,
        /// How it ended.
        outcome: Outcome,
        /// The kernel read from disk: `VM_FAULT_MAJOR`.
        major: bool,
        /// Nanoseconds since the CPU raised the fault in user mode, if this call ended that fault.
        trap_ns: Option<u64>,
    },
    /// A VMA was locked for write, in a write hold of the mmap_lock that was seen to begin.
    VmaWritten,
    /// `migration_entry_wait()` inside a fault has returned.
    Waited {
        /// The mm.
        mm: u64,
        /// The address.
        addr: u64,
        /// The task held the VMA lock during the wait; otherwise it held the mmap_lock.
        vma_lock: bool,
        /// The duration.
        ns: u64,
    },
    /// An anonymous collapse is over.
    Collapsed {
        /// The mm.
        mm: u64,
        /// The address, and the duration if the begin was seen.
        begun: Option<(u64, u64)>,
        /// A huge page is mapped now.
        succeeded: bool,
    },
    /// A PTE table is unlinked inside `retract_page_tables()`.
    Retracted,
    /// A PTE table is unlinked inside `collapse_pte_mapped_thp()`.
    PteMapped,
}
