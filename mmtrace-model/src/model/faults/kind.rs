//! The kind of a fault, as a table: what the page tables had, the access, the VMA, and the result.

use mmtrace_common::{Entry, VmaFacts, Walk};

use crate::model::fault_cause::Cause;

/// Bits of an x86 page-fault error code (arch/x86/include/asm/trap_pf.h).
mod access {
    pub(super) const WRITE: u32 = 1 << 1;
    pub(super) const FETCH: u32 = 1 << 4;
    pub(super) const PROTECTION_KEY: u32 = 1 << 5;
    pub(super) const SHADOW_STACK: u32 = 1 << 6;
    pub(super) const SGX: u32 = 1 << 15;
}

/// Swap types below this one are those of swap files: the kernel keeps at most ten for itself (include/linux/swap.h,
/// `MAX_SWAPFILES`).
const SWAP_FILES: u8 = 22;
/// `PTE_MARKER_POISONED | PTE_MARKER_GUARD` (include/linux/swapops.h); the third bit is `PTE_MARKER_UFFD_WP`.
const DEADLY_MARKER: u8 = 6;

/// Swap types that mean something other than a page in swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) struct SwapTypes {
    /// `SWP_PTE_MARKER`.
    pub(in crate::model) marker: u8,
    /// `SWP_SWAPIN_ERROR`, before 6.2.
    pub(in crate::model) poison: Option<u8>,
    /// Those that migration entries were seen to have: bit n for type n.
    pub(in crate::model) migration: u32,
}

/// Known result of a fault's handling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::model) enum End {
    /// Its end is not known.
    #[default]
    Unseen,
    /// `handle_mm_fault()` has handled it, as its result or the kernel's count of such faults says.
    Handled,
    /// `handle_mm_fault()` returned an error, or was not called.
    Failed,
}

/// VMA at an address, by what is known of the address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::model) enum Mapped {
    /// Not known.
    #[default]
    Unknown,
    /// Nothing is mapped there.
    Nothing,
    /// Nothing is mapped there, and a stack may grow down to it.
    BelowStack,
    /// A VMA, as it was when the fault was handled.
    Vma(VmaFacts),
    /// A VMA, as it was when it was stored into the tree, or when /proc/PID/maps was read: an mprotect or a registration
    /// with userfaultfd of the whole VMA since then is not seen, so these facts say nothing of access and userfaultfd.
    Stored(VmaFacts),
}

impl Mapped {
    /// Returns the VMA that the number of [`VmaFacts`] describes.
    pub(in crate::model) fn of_number(number: u32) -> Self {
        match VmaFacts::of_number(number) {
            None => Self::Unknown,
            Some(facts) if facts.is_nothing() => Self::Nothing,
            Some(facts) if facts.is_below_stack() => Self::BelowStack,
            Some(facts) => Self::Vma(facts),
        }
    }
}

/// Everything that is known of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) struct Seen {
    /// Result of the walk of the page tables; `None`: they were not walked.
    pub(in crate::model) walk: Option<Walk>,
    /// The error code.
    pub(in crate::model) code: u32,
    /// The VMA.
    pub(in crate::model) mapped: Mapped,
    /// The end.
    pub(in crate::model) end: End,
    /// Whether the page was read, by `VM_FAULT_MAJOR`; `None`: not known.
    pub(in crate::model) major: Option<bool>,
    /// The kernel has counted it as major: the page was read, or `handle_mm_fault()` was called again under the mmap_lock.
    pub(in crate::model) counted_major: bool,
    /// It waited for a migration, or was about to.
    pub(in crate::model) met_migration: bool,
    /// `handle_userfault()` was entered.
    pub(in crate::model) met_userfaultfd: bool,
    /// `handle_userfault()` would have been seen.
    pub(in crate::model) tells_userfaultfd: bool,
    /// `handle_mm_fault()` was called only once, and handled it: userfaultfd was not asked, since a call that asks it
    /// returns RETRY or fails.
    pub(in crate::model) at_once: bool,
    /// A stack grew down to the address.
    pub(in crate::model) grew: bool,
    /// A huge page was mapped for anonymous memory.
    pub(in crate::model) huge: bool,
}

impl Seen {
    const fn is(&self, bits: u32) -> bool {
        self.code & bits != 0
    }

    const fn writes(&self) -> bool {
        self.is(access::WRITE | access::SHADOW_STACK)
    }

    fn entry(&self) -> Option<Entry> {
        self.walk.map(|walk| walk.entry)
    }

    /// The VMA is known.
    const fn has_vma(&self) -> bool {
        matches!(self.mapped, Mapped::Vma(_) | Mapped::Stored(_))
    }

    /// The VMA is known, and this is true of what lies behind it.
    fn vma(&self, is: impl Fn(VmaFacts) -> bool) -> bool {
        matches!(self.mapped, Mapped::Vma(vma) | Mapped::Stored(vma) if is(vma))
    }

    /// The VMA is known as it was when the fault was handled, and this is true of its access and of userfaultfd.
    fn vma_now(&self, is: impl Fn(VmaFacts) -> bool) -> bool {
        matches!(self.mapped, Mapped::Vma(vma) if is(vma))
    }

    /// The entry is a marker; its bits.
    fn marker(&self, types: SwapTypes) -> Option<u8> {
        match self.entry() {
            Some(Entry::Swap { of, offset, .. }) if of == types.marker => Some(offset),
            _ => None,
        }
    }

    /// The entry has nothing in it that decides: it is none, or remembers userfaultfd's write protection of a hole.
    fn is_empty(&self, types: SwapTypes) -> bool {
        self.entry() == Some(Entry::None) || self.marker(types).is_some_and(|bits| bits & DEADLY_MARKER == 0)
    }

    fn is_swap(&self, which: impl Fn(u8) -> bool) -> bool {
        matches!(self.entry(), Some(Entry::Swap { of, .. }) if which(of))
    }

    /// A mapping of a file whose faults go to userfaultfd or not, by whether the file has the page; and no event would
    /// tell.
    fn may_ask_userfaultfd(&self) -> bool {
        let registered = self.vma_now(|vma| vma.has_uffd_missing() || vma.has_uffd_minor());
        registered && !self.tells_userfaultfd && !self.at_once
    }

    /// A present entry refuses the write.
    fn is_protected(&self) -> bool {
        self.writes() && matches!(self.entry(), Some(Entry::Present { writable: false, .. }))
    }
}

/// Makes the table a chain of conditions: every fault is asked for its kind, and calls through pointers take longer.
macro_rules! rows {
    ($(Row { kind: Cause::$kind:ident, when: $when:expr, source: $source:literal $(,)? },)*) => {
        /// Returns the kind that the first row names which is true of a fault.
        fn first(fault: &Seen, types: SwapTypes) -> Option<Cause> {
            $(
                let when: fn(&Seen, SwapTypes) -> bool = $when;
                if when(fault, types) {
                    return Some(Cause::$kind);
                }
            )*
            None
        }

        /// Where in the kernel each row is decided.
        #[cfg(test)]
        const SOURCES: &[&str] = &[$($source),*];
    };
}

// The table: a kind of fault, when a fault is of that kind, and where in the kernel that is decided. The first row that is
// true of a fault names its kind.
rows! {
    Row {
        kind: Cause::Marker,
        when: |f, types| {
            let deadly = f.marker(types).is_some_and(|bits| bits & DEADLY_MARKER != 0);
            f.end != End::Handled && (deadly || f.is_swap(|of| types.poison == Some(of)))
        },
        source: "mm/memory.c:handle_pte_marker",
    },
    Row {
        kind: Cause::Failed,
        when: |f, _| f.end == End::Failed || f.is(access::PROTECTION_KEY | access::SGX),
        source: "arch/x86/mm/fault.c:bad_area, access_error, do_sigbus",
    },
    Row { kind: Cause::Userfaultfd, when: |f, _| f.met_userfaultfd, source: "mm/userfaultfd.c:handle_userfault" },
    Row {
        kind: Cause::Migration,
        when: |f, types| f.met_migration || f.is_swap(|of| types.migration >> of & 1 != 0 && of >= SWAP_FILES),
        source: "mm/memory.c:do_swap_page, mm/migrate.c:migration_entry_wait",
    },
    Row {
        kind: Cause::Userfaultfd,
        when: |f, _| {
            let protected = matches!(f.entry(), Some(Entry::Present { uffd_wp: true, .. }));
            f.is_protected() && protected && !f.tells_userfaultfd
        },
        source: "mm/memory.c:do_wp_page, mm/hugetlb.c:hugetlb_fault",
    },
    Row {
        kind: Cause::RegisteredPage,
        when: |f, types| f.is_empty(types) && f.vma(VmaFacts::is_hugetlb) && f.may_ask_userfaultfd(),
        source: "mm/hugetlb.c:hugetlb_no_page, which asks userfaultfd by whether the page cache has the page",
    },
    Row { kind: Cause::Hugetlb, when: |f, _| f.vma(VmaFacts::is_hugetlb), source: "mm/hugetlb.c:hugetlb_fault" },
    Row { kind: Cause::SwapIn, when: |f, _| f.is_swap(|of| of < SWAP_FILES), source: "mm/memory.c:do_swap_page" },
    Row {
        kind: Cause::NumaHint,
        when: |f, _| {
            f.entry() == Some(Entry::ProtNone) && (f.end == End::Handled || f.vma_now(VmaFacts::is_accessible))
        },
        source: "mm/memory.c:handle_pte_fault, do_numa_page",
    },
    Row {
        kind: Cause::StackGrowth,
        when: |f, types| f.is_empty(types) && (f.grew || f.mapped == Mapped::BelowStack),
        source: "mm/mmap.c:expand_stack_locked",
    },
    Row {
        kind: Cause::Failed,
        when: |f, _| {
            let refused = |vma: VmaFacts| !vma.is_accessible() || (f.writes() && !vma.is_writable());
            f.end == End::Unseen && (f.mapped == Mapped::Nothing || f.vma_now(refused))
        },
        source: "arch/x86/mm/fault.c:bad_area, access_error",
    },
    Row {
        kind: Cause::Failed,
        when: |f, types| f.is_empty(types) && f.end == End::Unseen && f.vma(VmaFacts::is_past_end),
        source: "mm/filemap.c:filemap_fault, mm/shmem.c:shmem_get_folio_gfp",
    },
    Row {
        kind: Cause::WriteNotify,
        when: |f, _| f.is_protected() && f.vma(VmaFacts::is_shared),
        source: "mm/memory.c:do_wp_page, wp_page_shared",
    },
    Row {
        kind: Cause::CopyOnWrite,
        when: |f, _| f.is_protected() && f.has_vma(),
        source: "mm/memory.c:do_wp_page, wp_page_copy, wp_page_reuse",
    },
    Row { kind: Cause::WriteProtect, when: |f, _| f.is_protected(), source: "mm/memory.c:do_wp_page" },
    Row {
        kind: Cause::Failed,
        when: |f, _| f.is(access::FETCH) && matches!(f.entry(), Some(Entry::Present { no_exec: true, .. })),
        source: "arch/x86/mm/fault.c:access_error",
    },
    Row {
        kind: Cause::Spurious,
        when: |f, _| matches!(f.entry(), Some(Entry::Present { .. })),
        source: "mm/memory.c:handle_pte_fault, which finds the entry as another thread or CPU has left it",
    },
    Row {
        kind: Cause::HugeFirstTouch,
        when: |f, types| f.is_empty(types) && f.huge,
        source: "mm/huge_memory.c:do_huge_pmd_anonymous_page",
    },
    Row {
        kind: Cause::Userfaultfd,
        when: |f, types| {
            let missing = f.vma_now(|vma| vma.is_anonymous() && vma.has_uffd_missing());
            f.is_empty(types) && missing && !f.tells_userfaultfd
        },
        source: "mm/memory.c:do_anonymous_page",
    },
    Row {
        kind: Cause::RegisteredPage,
        when: |f, types| f.is_empty(types) && f.may_ask_userfaultfd(),
        source: "mm/shmem.c:shmem_get_folio_gfp: MISSING is for pages that the file lacks, MINOR for those that it has",
    },
    Row {
        kind: Cause::AnonymousFirstTouch,
        when: |f, types| f.is_empty(types) && f.vma(VmaFacts::is_anonymous),
        source: "mm/memory.c:do_anonymous_page",
    },
    Row {
        kind: Cause::Device,
        when: |f, types| f.is_empty(types) && f.vma(|vma| vma.is_device() || !vma.has_file()),
        source: "mm/memory.c:do_fault, the driver's vm_ops->fault",
    },
    Row {
        kind: Cause::Major,
        when: |f, types| f.is_empty(types) && f.major == Some(true),
        source: "mm/filemap.c:filemap_fault, mm/shmem.c:shmem_swapin_folio",
    },
    Row {
        kind: Cause::CopyOnWrite,
        when: |f, types| f.is_empty(types) && f.writes() && f.vma(|vma| !vma.is_shared()),
        source: "mm/memory.c:do_cow_fault",
    },
    Row {
        kind: Cause::SharedMemory,
        when: |f, types| f.is_empty(types) && f.vma(VmaFacts::is_shmem),
        source: "mm/shmem.c:shmem_fault",
    },
    Row {
        kind: Cause::CacheHit,
        when: |f, types| f.is_empty(types) && f.has_vma() && f.end == End::Handled && f.major == Some(false),
        source: "mm/filemap.c:filemap_fault, filemap_map_pages",
    },
    Row {
        kind: Cause::MajorRetried,
        when: |f, types| f.is_empty(types) && f.has_vma() && f.end == End::Handled && f.counted_major,
        source: "mm/memory.c:mm_account_fault, mm/filemap.c:filemap_fault, lock_folio_maybe_drop_mmap",
    },
    Row {
        kind: Cause::FilePage,
        when: |f, types| f.is_empty(types) && f.has_vma(),
        source: "mm/memory.c:do_read_fault, do_shared_fault; of a file of tmpfs too, where only its store was seen",
    },
}

/// What the table was asked, and its answer.
#[derive(Clone, Copy, Debug)]
struct Answer {
    seen: Seen,
    types: SwapTypes,
    history: Cause,
    kind: Cause,
}

/// Everything that decides the kind of a fault of which nothing is seen but the exception, if the VMA is among it: numbers
/// as the event has them, which need not be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) struct Exception {
    /// The number of the walk.
    pub(in crate::model) walk: u32,
    /// The error code.
    pub(in crate::model) code: u32,
    /// The number of what the VMA is.
    pub(in crate::model) vma_facts: u32,
    /// As [`Seen::tells_userfaultfd`].
    pub(in crate::model) tells_userfaultfd: bool,
    /// The swap types.
    pub(in crate::model) types: SwapTypes,
    /// What is known of the page from before.
    pub(in crate::model) history: Cause,
}

/// Slot of the answers about faults with this error code: whether the page was present, written, in user mode and fetched.
#[inline]
const fn slot(code: u32) -> usize {
    (code & 7 | code >> 1 & 8) as usize
}

/// The table, with the answers that it gave last: a row is found by a dozen conditions, and most faults are of few kinds.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Kinds {
    answers: [Option<Answer>; 16],
    of_exceptions: [Option<(Exception, Cause)>; 16],
}

impl Kinds {
    /// Returns the kind of a fault of which nothing else is seen, if it was kept.
    #[inline]
    pub(in crate::model) fn kept(&self, exception: &Exception) -> Option<Cause> {
        let (of, kind) = self.of_exceptions[slot(exception.code)].as_ref()?;
        (of == exception).then_some(*kind)
    }

    /// Keeps the kind of a fault of which nothing else is seen.
    pub(in crate::model) const fn keep(&mut self, exception: Exception, kind: Cause) {
        self.of_exceptions[slot(exception.code)] = Some((exception, kind));
    }

    /// As [`kind()`].
    #[inline]
    pub(in crate::model) fn of(&mut self, seen: &Seen, types: SwapTypes, history: Cause) -> Cause {
        let slot = slot(seen.code);
        if let Some(answer) = &self.answers[slot]
            && (answer.seen, answer.types, answer.history) == (*seen, types, history)
        {
            return answer.kind;
        }
        let kind = kind(seen, types, history);
        self.answers[slot] = Some(Answer { seen: *seen, types, history, kind });
        kind
    }
}

/// Returns the kind of a fault. `history`: what is known of its page from before.
#[inline(never)]
pub(in crate::model) fn kind(fault: &Seen, types: SwapTypes, history: Cause) -> Cause {
    let Some(walk) = fault.walk else { return history };
    if let Some(kind) = first(fault, types) {
        return kind;
    }
    match (walk.entry, history) {
        (Entry::None, Cause::FirstTouch | Cause::Refault) => history,
        (Entry::None, _) => Cause::EmptyEntry,
        (Entry::Swap { .. }, Cause::Migration) => Cause::Migration,
        _ => Cause::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: u32 = 4;
    const TYPES: SwapTypes = SwapTypes { marker: 31, poison: None, migration: 1 << 28 | 1 << 29 | 1 << 30 };
    const NONE: Entry = Entry::None;
    const READ_ONLY: Entry = Entry::Present { writable: false, no_exec: true, uffd_wp: false };
    const WRITABLE: Entry = Entry::Present { writable: true, no_exec: true, uffd_wp: false };

    fn seen(entry: Entry, code: u32, facts: Option<VmaFacts>, end: End) -> Seen {
        let mapped = facts.map_or(Mapped::Unknown, Mapped::Vma);
        Seen {
            walk: Some(Walk { level: 1, entry }),
            code: code | USER,
            mapped,
            end,
            major: (end == End::Handled).then_some(false),
            met_migration: false,
            met_userfaultfd: false,
            tells_userfaultfd: true,
            at_once: false,
            counted_major: false,
            grew: false,
            huge: false,
        }
    }

    fn swap(of: u8, offset: u8) -> Entry {
        Entry::Swap { of, offset, uffd_wp: false }
    }

    #[test]
    fn kinds_are_read() {
        let write = access::WRITE;
        let anonymous = Some(VmaFacts::new(0x73, false, false, 0));
        let no_access = Some(VmaFacts::new(0x70, false, false, 0));
        let private = Some(VmaFacts::new(0x73, true, true, 0xef53));
        let shared = Some(VmaFacts::new(0xfb, true, true, 0xef53));
        let memfd = Some(VmaFacts::new(0xfb, true, true, mmtrace_common::TMPFS_MAGIC));
        let hugetlb = Some(VmaFacts::new(0x40_00fb, true, true, 0x9584_58f6));
        let special = Some(VmaFacts::new(0x75, true, false, 0));
        let missing = Some(VmaFacts::new(0x273, false, false, 0));
        let (handled, failed, unseen) = (End::Handled, End::Failed, End::Unseen);
        for (entry, code, facts, end, expected) in [
            (NONE, write, anonymous, handled, Cause::AnonymousFirstTouch),
            (NONE, 0, anonymous, unseen, Cause::AnonymousFirstTouch),
            (NONE, 0, None, failed, Cause::Failed),
            (NONE, 0, None, unseen, Cause::EmptyEntry),
            (NONE, 0, private, handled, Cause::CacheHit),
            (NONE, 0, private, unseen, Cause::FilePage),
            (NONE, write, private, handled, Cause::CopyOnWrite),
            (NONE, write, shared, handled, Cause::CacheHit),
            (NONE, write, memfd, handled, Cause::SharedMemory),
            (NONE, write, memfd.map(|vma| vma.past_end(true)), unseen, Cause::Failed),
            (NONE, write, hugetlb, handled, Cause::Hugetlb),
            (READ_ONLY, write, hugetlb, handled, Cause::Hugetlb),
            (NONE, 0, special, handled, Cause::Device),
            (NONE, 0, missing, handled, Cause::AnonymousFirstTouch),
            (READ_ONLY, write, anonymous, handled, Cause::CopyOnWrite),
            (READ_ONLY, write, shared, handled, Cause::WriteNotify),
            (READ_ONLY, write, None, unseen, Cause::WriteProtect),
            (READ_ONLY, write, None, failed, Cause::Failed),
            (READ_ONLY, 0, None, unseen, Cause::Spurious),
            (READ_ONLY, access::FETCH, None, unseen, Cause::Failed),
            (WRITABLE, write, anonymous, handled, Cause::Spurious),
            (WRITABLE, write | access::PROTECTION_KEY, None, unseen, Cause::Failed),
            (Entry::ProtNone, 0, anonymous, handled, Cause::NumaHint),
            (Entry::ProtNone, 0, None, unseen, Cause::Unknown),
            (Entry::ProtNone, 0, anonymous, unseen, Cause::NumaHint),
            (Entry::ProtNone, 0, no_access, unseen, Cause::Failed),
            (swap(0, 3), 0, None, unseen, Cause::SwapIn),
            (swap(29, 0), 0, None, unseen, Cause::Migration),
            (swap(25, 0), 0, None, unseen, Cause::Unknown),
            (swap(31, 4), write, None, unseen, Cause::Marker),
            (swap(31, 2), write, None, failed, Cause::Marker),
            (swap(31, 1), 0, memfd, handled, Cause::SharedMemory),
            (Entry::Changing, 0, anonymous, handled, Cause::Unknown),
            (Entry::Refused, write, anonymous, handled, Cause::Unknown),
        ] {
            let fault = seen(entry, code, facts, end);
            assert_eq!(kind(&fault, TYPES, Cause::Unknown), expected, "{fault:?}");
        }
    }

    #[test]
    fn what_functions_saw_on_the_way_decides() {
        let anonymous = Some(VmaFacts::new(0x73, false, false, 0));
        let file = Some(VmaFacts::new(0x73, true, true, 0xef53));
        let none = |facts| seen(NONE, 0, facts, End::Handled);
        for (fault, expected) in [
            (Seen { huge: true, ..none(anonymous) }, Cause::HugeFirstTouch),
            (Seen { grew: true, ..none(anonymous) }, Cause::StackGrowth),
            (Seen { major: Some(true), ..none(file) }, Cause::Major),
            (Seen { major: None, ..none(file) }, Cause::FilePage),
            (Seen { major: None, counted_major: true, ..none(file) }, Cause::MajorRetried),
            (Seen { met_userfaultfd: true, ..none(file) }, Cause::Userfaultfd),
            (Seen { met_migration: true, ..seen(swap(25, 0), 0, anonymous, End::Handled) }, Cause::Migration),
        ] {
            assert_eq!(kind(&fault, TYPES, Cause::Unknown), expected, "{fault:?}");
        }
        // Where functions are not seen, the mappings tell what the result would.
        for (mapped, expected) in [
            (Mapped::Nothing, Cause::Failed),
            (Mapped::BelowStack, Cause::StackGrowth),
            (Mapped::Unknown, Cause::EmptyEntry),
        ] {
            let fault = Seen { mapped, ..seen(NONE, 0, None, End::Unseen) };
            assert_eq!(kind(&fault, TYPES, Cause::Unknown), expected);
        }
        // Where handle_userfault() cannot be seen, the VMA and the entry tell.
        let missing = Some(VmaFacts::new(0x273, false, false, 0));
        let fault = Seen { tells_userfaultfd: false, ..none(missing) };
        assert_eq!(kind(&fault, TYPES, Cause::Unknown), Cause::Userfaultfd);
        let entry = Entry::Present { writable: false, no_exec: true, uffd_wp: true };
        let fault = Seen { tells_userfaultfd: false, ..seen(entry, access::WRITE, None, End::Unseen) };
        assert_eq!(kind(&fault, TYPES, Cause::Unknown), Cause::Userfaultfd);
    }

    #[test]
    fn a_registered_file_s_page_is_told_only_where_userfaultfd_was_not_asked() {
        let registered = [1_u64 << 9, 1 << 37, 1 << 38, 1 << 41];
        for flags in registered {
            let memfd = Some(VmaFacts::new(0xfb | flags, true, true, mmtrace_common::TMPFS_MAGIC));
            let private = Some(VmaFacts::new(0x73 | flags, true, true, mmtrace_common::TMPFS_MAGIC));
            let hugetlb = Some(VmaFacts::new(0x40_00fb | flags, true, true, 0x9584_58f6));
            for (facts, otherwise) in
                [(memfd, Cause::SharedMemory), (private, Cause::CopyOnWrite), (hugetlb, Cause::Hugetlb)]
            {
                for end in [End::Handled, End::Unseen] {
                    let seen = seen(NONE, access::WRITE, facts, end);
                    assert_eq!(kind(&seen, TYPES, Cause::Unknown), otherwise, "functions would have told: {facts:?}");
                    let dark = Seen { tells_userfaultfd: false, ..seen };
                    assert_eq!(kind(&dark, TYPES, Cause::Unknown), Cause::RegisteredPage, "{facts:?}");
                    let at_once = Seen { at_once: true, ..dark };
                    assert_eq!(kind(&at_once, TYPES, Cause::Unknown), otherwise, "{facts:?}");
                }
            }
        }
        // The page is there, and protected by userfaultfd.
        let entry = Entry::Present { writable: false, no_exec: true, uffd_wp: true };
        let hugetlb = Some(VmaFacts::new(0x40_10fb, true, true, 0x9584_58f6));
        let fault = Seen { tells_userfaultfd: false, ..seen(entry, access::WRITE, hugetlb, End::Handled) };
        assert_eq!(kind(&fault, TYPES, Cause::Unknown), Cause::Userfaultfd);
        let anonymous = Some(VmaFacts::new(0x73 | 1 << 37, false, false, 0));
        let fault = Seen { tells_userfaultfd: false, ..seen(NONE, 0, anonymous, End::Handled) };
        assert_eq!(kind(&fault, TYPES, Cause::Unknown), Cause::AnonymousFirstTouch, "a shadow stack");
    }

    #[test]
    fn without_a_walk_the_history_tells() {
        let fault = Seen { walk: None, ..seen(NONE, 0, None, End::Failed) };
        assert_eq!(kind(&fault, TYPES, Cause::Refault), Cause::Refault);
        assert_eq!(kind(&seen(NONE, 0, None, End::Unseen), TYPES, Cause::FirstTouch), Cause::FirstTouch);
    }

    #[test]
    fn before_6_2_the_last_type_is_that_of_a_page_that_could_not_be_read() {
        let types = SwapTypes { marker: 30, poison: Some(31), migration: 0 };
        assert_eq!(kind(&seen(swap(31, 0), 0, None, End::Unseen), types, Cause::Unknown), Cause::Marker);
        let memfd = Some(VmaFacts::new(0xfb, true, true, mmtrace_common::TMPFS_MAGIC));
        assert_eq!(kind(&seen(swap(30, 1), 0, memfd, End::Handled), types, Cause::Unknown), Cause::SharedMemory);
    }

    #[test]
    fn every_row_has_its_source() {
        assert!(SOURCES.iter().all(|source| source.contains(".c:") || source.contains("vm_ops")));
    }

    #[test]
    fn an_answer_that_was_kept_is_that_of_the_table() {
        let mut random = mmtrace_testing::random::Random(7);
        let mut kinds = Kinds::default();
        for _ in 0..20_000 {
            let entry =
                random.pick(&[NONE, READ_ONLY, WRITABLE, Entry::ProtNone, swap(3, 0), swap(29, 0), swap(31, 4)]);
            let code = random.pick(&[0, access::WRITE, access::FETCH]);
            let facts =
                random.pick(&[None, Some(0x73), Some(0x273)]).map(|flags| VmaFacts::new(flags, false, false, 0));
            let end = random.pick(&[End::Unseen, End::Handled, End::Failed]);
            let fault = Seen { grew: random.below(2) == 0, ..seen(entry, code, facts, end) };
            let types = SwapTypes { migration: random.pick(&[0, TYPES.migration]), ..TYPES };
            let history = random.pick(&[Cause::Unknown, Cause::FirstTouch]);
            for _ in 0..2 {
                assert_eq!(kinds.of(&fault, types, history), kind(&fault, types, history), "{fault:?}");
            }
        }
    }
}
