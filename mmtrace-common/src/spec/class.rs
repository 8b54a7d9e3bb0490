//! Subjects of events.

/// The subject of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Page faults.
    Fault,
    /// mmap_lock, VMA locks, hugetlb VMA locks.
    Lock,
    /// Migration and compaction.
    Migration,
    /// khugepaged and MADV_COLLAPSE.
    Collapse,
    /// PTE tables: mapped, linked, unlinked, freed.
    Table,
    /// The VMA tree.
    Layout,
    /// Processes and mms.
    Life,
    /// TLB flushes.
    Tlb,
    /// The rings had no room for them.
    Lost,
    /// The kernel skipped the probe's run.
    Missed,
    /// Places where a capture could not be read.
    Gap,
    /// No program of ours can have written them.
    Foreign,
}

impl Class {
    /// Every class, in the order of views.
    pub const ALL: [Self; 12] = [
        Self::Fault,
        Self::Lock,
        Self::Migration,
        Self::Collapse,
        Self::Table,
        Self::Layout,
        Self::Life,
        Self::Tlb,
        Self::Lost,
        Self::Missed,
        Self::Gap,
        Self::Foreign,
    ];

    /// Returns its name in views.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fault => "page faults",
            Self::Lock => "locks",
            Self::Migration => "migration",
            Self::Collapse => "collapse",
            Self::Table => "page tables",
            Self::Layout => "VMA tree",
            Self::Life => "processes",
            Self::Tlb => "TLB flushes",
            Self::Lost => "lost",
            Self::Missed => "missed",
            Self::Gap => "gaps",
            Self::Foreign => "foreign",
        }
    }

    /// Whether it stands for events that are missing.
    #[must_use]
    pub const fn is_missing(self) -> bool {
        matches!(self, Self::Lost | Self::Missed | Self::Gap | Self::Foreign)
    }
}
