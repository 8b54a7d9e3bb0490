//! What an event completed: the fault, the wait or the collapse that it ended.
//!
//! The model decides what a call is and under which lock it runs; statistics count the effects and decide nothing.

/// The lock that a call of `handle_mm_fault()` ran under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// The VMA's.
    Vma,
    /// The mmap_lock, as the VMA's lock was refused, or given up with RETRY.
    FellBack,
    /// The mmap_lock, and no VMA lock was asked for: faults of the kernel, GUP, kernels before 6.4.
    Mmap,
    /// The mmap_lock; whether a VMA lock was asked for before was not seen.
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
    /// Where the fault is.
    pub addr: u64,
    /// The lock.
    pub under: Under,
    /// When the call was entered.
    pub since: u64,
    /// When the VMA was granted, where that is the lock and was seen.
    pub granted: Option<u64>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled; the lock is still held.
    Done,
    /// Handled, and the lock is gone: `VM_FAULT_COMPLETED`.
    Completed,
    /// To be tried again; the lock is gone: `VM_FAULT_RETRY`.
    Retry,
    /// `VM_FAULT_ERROR`: OOM, SIGBUS, SIGSEGV, poisoned.
    Error,
}

/// What an event completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `handle_mm_fault()` was entered.
    Handles(Handling),
    /// And has returned.
    Handled {
        /// The call.
        call: Handling,
        /// How it ended.
        outcome: Outcome,
        /// Something was read from disk: `VM_FAULT_MAJOR`.
        major: bool,
        /// Since the CPU raised the fault in user mode, if this was the end of it: nanoseconds.
        trap_ns: Option<u64>,
    },
    /// A VMA was locked for writing, in a write hold of the mmap_lock that was seen to begin.
    VmaWritten,
    /// `migration_entry_wait()` inside a fault has returned.
    Waited {
        /// The mm.
        mm: u64,
        /// Where.
        addr: u64,
        /// The VMA's lock was held meanwhile, else the mmap_lock.
        vma_lock: bool,
        /// How long.
        ns: u64,
    },
    /// An anonymous collapse is over.
    Collapsed {
        /// The mm.
        mm: u64,
        /// Where, and how long it took, where its begin was seen.
        begun: Option<(u64, u64)>,
        /// A huge page is mapped now.
        succeeded: bool,
    },
    /// A PTE table is unlinked inside `retract_page_tables()`.
    Retracted,
    /// Or inside `collapse_pte_mapped_thp()`.
    PteMapped,
}
