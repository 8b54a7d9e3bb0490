//! Effects: the fault, the wait, the hold or the collapse that an event completed, and its duration.
//!
//! The model decides what a call is, under which lock it runs, and what of it was seen. Statistics count effects and decide
//! nothing.

use mmtrace_common::{Call, Kind, Record};

use super::{fault_cause::Cause, lock_mode::Mode, mappings::At};

/// Effect of an event, with its task, mm and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The task.
    pub tid: u32,
    /// Its process.
    pub tgid: u32,
    /// The mm that the event is about, as a kernel pointer; 0: none.
    pub mm: u64,
    /// Time of the event, nanoseconds of `CLOCK_MONOTONIC`: the end of whatever it ended.
    pub ts: u64,
    /// The task's entry into the kernel, if the event tells it.
    pub call: Option<Call>,
    /// The kind of effect, with its fields.
    pub what: What,
    /// Faults of the task whose kind is settled by the event. An older one may be settled together with a new one.
    pub faults: [Option<Fault>; 2],
}

/// A page fault, once its kind is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The task.
    pub tid: u32,
    /// Its process.
    pub tgid: u32,
    /// Its mm.
    pub mm: u64,
    /// Time when the CPU raised it, nanoseconds.
    pub ts: u64,
    /// The address.
    pub addr: u64,
    /// The instruction that accessed it.
    pub ip: u64,
    /// The access was a write.
    pub write: bool,
    /// In user mode.
    pub user: bool,
    /// The task's entry into the kernel, for a fault in the kernel that tells it.
    pub call: Option<Call>,
    /// Mapping that the address belonged to when the CPU raised it.
    pub at: At,
    /// Its kind.
    pub cause: Cause,
}

impl Effect {
    /// An event begins to be taken.
    #[inline]
    pub(super) const fn begin(&mut self, record: &Record) {
        self.tid = record.tid;
        self.tgid = record.tgid;
        self.mm = record.mm;
        self.ts = record.ts;
        self.call = None;
        self.what = What::Nothing;
        self.faults = [None; 2];
    }

    /// Returns the time when the CPU raised the fault in user mode whose handling the event ended, nanoseconds, if it ended
    /// one that was seen whole.
    #[inline]
    #[must_use]
    pub const fn ended_fault(&self) -> Option<u64> {
        match self.what {
            What::Handled { trap, .. } => trap,
            What::Accounted { since, user: true } => since,
            _ => None,
        }
    }

    /// Returns how long a fault took, nanoseconds, if the event ended it. An older one may be settled together with it.
    #[inline]
    pub(crate) fn took(&self, fault: &Fault) -> Option<u64> {
        (self.ended_fault() == Some(fault.ts)).then(|| self.since(fault.ts))
    }

    /// Nanoseconds since a time before it.
    #[must_use]
    pub const fn since(&self, ts: u64) -> u64 {
        self.ts.saturating_sub(ts)
    }
}

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
    /// Time when the call was entered, nanoseconds.
    pub since: u64,
    /// Time when the VMA lock was granted, nanoseconds, if the call runs under it and the grant was seen.
    pub granted: Option<u64>,
}

/// Outcome of a call of `handle_mm_fault()`.
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

/// A hold of the mmap_lock that is over, or a wait for it. The effect that carries it says whose, of which mm, and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Mode in which the lock was held, or is to be held.
    pub mode: Mode,
    /// Time when it began, nanoseconds.
    pub since: u64,
    /// Events of the lock may be missing in it. It is one interval all the same: they cannot have been an end and another
    /// begin.
    pub across_loss: bool,
    /// A collapse isolated its pages in it.
    pub isolated: bool,
}

/// Memory that was scanned, or replaced by a huge page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Anonymous memory.
    Anonymous,
    /// A file's.
    File,
    /// A huge page that is mapped by PTEs: `collapse_pte_mapped_thp()`.
    PteMapped,
}

/// Kind of effect, with its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    /// Nothing that a figure tells of.
    #[default]
    Nothing,
    /// Events are missing.
    Missing {
        /// Of this kind; `None`: of any.
        of: Option<Kind>,
        /// Their number; 0: unknown.
        count: u64,
        /// Up to this time, nanoseconds.
        until: u64,
    },

    /// The CPU has raised a page fault. It is counted when its kind is settled: see [`Effect::faults`].
    Faulted {
        /// In user mode: the task holds and waits for no lock.
        user: bool,
    },
    /// `handle_mm_fault()` was entered.
    Handles(Handling),
    /// `handle_mm_fault()` has returned.
    Handled {
        /// The call.
        call: Handling,
        /// Its outcome.
        outcome: Outcome,
        /// The kernel read from disk: `VM_FAULT_MAJOR`.
        major: bool,
        /// Time when the CPU raised the fault in user mode, nanoseconds, if this call was the last one for it.
        trap: Option<u64>,
        /// Time when the VMA's lock was refused or given up, nanoseconds, if the fault was handled under the mmap_lock
        /// instead.
        fell_back: Option<u64>,
    },
    /// `handle_mm_fault()` has returned; events are missing before.
    HandledUnseen,
    /// The kernel has counted a fault of the task as handled, where no function shows that.
    Accounted {
        /// Time when the CPU raised it, nanoseconds; `None`: events are missing before.
        since: Option<u64>,
        /// In user mode.
        user: bool,
    },

    /// A task begins to acquire the mmap_lock.
    LockAwaited {
        /// For write.
        write: bool,
    },
    /// It is queued for its own mm's mmap_lock, and blocks.
    LockBlocked,
    /// It has given up: a failed trylock, or a wait that was killed.
    LockRefused {
        /// For write.
        write: bool,
        /// Time since it began to acquire the lock, if that was seen whole; of a trylock it is next to nothing.
        waited: Option<Interval>,
        /// Time since which every holder of the lock is known, nanoseconds; `None`: one may not be known.
        complete_since: Option<u64>,
    },
    /// It has acquired the mmap_lock, or downgraded it.
    Locked {
        /// Mode in which it holds the lock now.
        mode: Mode,
        /// The wait, if it was seen whole.
        waited: Option<Interval>,
        /// The hold for write that the downgrade ended, if it was seen whole.
        ended: Option<Interval>,
        /// Time since which every holder of the lock before this one is known, nanoseconds; `None`: one may not be known.
        complete_since: Option<u64>,
    },
    /// It is about to release the mmap_lock.
    Unlocked {
        /// For write.
        write: bool,
        /// The hold, if it was seen whole.
        ended: Option<Interval>,
        /// Time from which on the task has held it at least, nanoseconds, if it is a hold for write that began before the
        /// recording: nobody was seen to acquire the lock or to release it before, and no event can be missing. No
        /// figure contains it.
        known_since: Option<u64>,
    },

    /// `lock_vma_under_rcu()` gave this VMA; 0: none, and the mmap_lock is taken instead.
    VmaGranted {
        /// The VMA.
        vma: u64,
    },
    /// `__vma_start_write()` was entered.
    VmaAwaited {
        /// The VMA.
        vma: u64,
    },
    /// `__vma_start_write()` has returned.
    VmaLocked {
        /// The VMA.
        vma: u64,
        /// It is locked; else the task was killed while it waited.
        locked: bool,
        /// The hold of the mmap_lock for write that it is locked in was seen to begin.
        in_hold: bool,
    },
    /// A VMA object is given back.
    VmaFreed {
        /// The VMA.
        vma: u64,
    },

    /// A VMA was stored in the mm's tree, or cleared from it.
    VmaStored {
        /// From here on.
        addr: u64,
    },
    /// The mappings of the mm were read from /proc/PID/maps.
    MapsRead {
        /// Time when the reading began, nanoseconds.
        since: u64,
    },
    /// `exit_mmap()`: nothing is mapped any more.
    Unmapped,
    /// A task exits.
    Exited,

    /// A range was scanned by khugepaged or MADV_COLLAPSE.
    Scanned {
        /// Of this.
        range: Range,
        /// `scan_result`.
        result: u64,
    },
    /// A collapse is over.
    Collapsed {
        /// Of this.
        range: Range,
        /// `scan_result`.
        result: u64,
        /// Address, and time when it began, nanoseconds; `None` if its begin was not seen.
        begun: Option<(u64, u64)>,
        /// A huge page is mapped now.
        succeeded: bool,
    },
    /// `retract_page_tables()` has returned.
    RetractEnded {
        /// Time when it was entered, nanoseconds, if that was seen.
        since: Option<u64>,
    },
    /// A PTE table is unlinked to make room for a huge page of a file.
    TableUnlinked {
        /// The address.
        addr: u64,
        /// By `retract_page_tables()`, else by `collapse_pte_mapped_thp()`.
        retracted: bool,
    },

    /// `migrate_pages()` has returned.
    Migrated {
        /// `migrate_reason`.
        reason: u64,
        /// Pages.
        succeeded: u64,
        /// Pages.
        failed: u64,
    },
    /// A migration entry was set.
    EntrySet,
    /// A migration entry was removed.
    EntryRemoved {
        /// Of a PTE, else of a PMD.
        pte: bool,
        /// Time when it was set, nanoseconds, if that is known.
        since: Option<u64>,
    },
    /// `migration_entry_wait()` inside a fault has returned.
    MigrationAwaited {
        /// The mm.
        mm: u64,
        /// The address of the fault.
        addr: u64,
        /// The VMA whose lock was held meanwhile; 0: the mmap_lock was.
        vma: u64,
        /// Time when the wait began, nanoseconds.
        since: u64,
    },
    /// `migration_entry_wait()` has returned; its begin was not seen, or it was in no fault.
    MigrationAwaitedUnseen,
    /// A task goes to sleep until a migration is over.
    MigrationSlept,
    /// A fault met a migration entry of hugetlb.
    HugeEntryMet,
    /// `compact_zone()` has returned.
    Compacted,
}
