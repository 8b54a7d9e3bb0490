//! Events that a recording can do without: which ones `--max-overhead` gives up, and in which order.

use mmtrace_common::Kind::{self, *};

/// Events that are given up together.
#[derive(Debug)]
pub struct OptionalEvents {
    /// Name of the group in documentation, in the plural.
    pub name: &'static str,
    /// The events.
    pub kinds: &'static [Kind],
    /// What a report lacks without them.
    pub without: &'static str,
}

/// The events that a recording can do without, in the order in which they are given up.
///
/// Those of mmap_locks, processes, names, mappings, cgroups, migration and collapse are never given up. They carry most
/// answers of a report, other events cannot be understood without them, or they are rare.
pub const OPTIONAL_EVENTS: &[OptionalEvents] = &[
    OptionalEvents { name: "TLB flushes", kinds: &[TlbFlush], without: "no rule and no figure but their own number" },
    OptionalEvents {
        name: "`pte_offset_map` calls",
        kinds: &[PteOffsetMap, PteOffsetMapLockEnter, PteOffsetMapLock, PteOffsetMapRwNolock, PteOffsetMapRoNolock],
        without: "rules about walks of page tables",
    },
    OptionalEvents {
        name: "links of PTE tables",
        kinds: &[PmdInstall, PteFreeTlb],
        without: "rules about PTE tables that are linked, or unlinked by munmap",
    },
    OptionalEvents {
        name: "VMA locks",
        kinds: &[LockVmaUnderRcu, VmaStartWrite, VmaStartWriteReturn],
        without: "rules and figures about VMA locks",
    },
    OptionalEvents {
        name: "the handling of page faults",
        kinds: &[
            HandleMmFault,
            HandleMmFaultReturn,
            LockMmAndFindVma,
            VmfAnonPrepare,
            FolioLockOrRetry,
            HugePmdAnonymous,
            HandleUserfault,
            ExpandStack,
            PageFaultsMin,
            PageFaultsMaj,
        ],
        without: "how long faults take, which of them fail, and rules about their handling",
    },
    OptionalEvents {
        name: "blocking on locks",
        kinds: &[ContentionBegin, ContentionEnd],
        without: "rules about tasks that sleep for an mmap_lock; waits below 10 us count as such only if the holder is seen",
    },
    OptionalEvents {
        name: "page faults",
        kinds: &[PageFaultUser, PageFaultKernel],
        without: "all figures about page faults, and rules that need to see tasks in user mode",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use mmtrace_common::{
        spec,
        unknown::{LOCKS, SPACE},
    };

    #[test]
    fn a_kind_is_in_one_group_and_no_lock_task_or_mapping_depends_on_it() {
        let kinds: Vec<Kind> = OPTIONAL_EVENTS.iter().flat_map(|group| group.kinds).copied().collect();
        for kind in &kinds {
            assert_eq!(kinds.iter().filter(|other| *other == kind).count(), 1, "{}", kind.name());
            assert_eq!(spec(*kind).unknown & (LOCKS | SPACE), 0, "{}", kind.name());
            assert!(!kind.is_synthetic(), "{}", kind.name());
        }
    }
}
