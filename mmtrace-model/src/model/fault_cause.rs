//! Kinds of faults: the reasons why pages are faulted.

use serde::Serialize;

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $cause:ident = $name:literal, $words:literal;)*) => {
        /// Kind of a fault: the reason why it happened.
        ///
        /// Most are read: from the page tables as they were when the CPU raised the fault, from the VMA, and from the
        /// result of `handle_mm_fault()` (`faults/kind.rs` has the table). Where the page tables were not walked, the
        /// history of the page tells [`Cause::FirstTouch`], [`Cause::Refault`], [`Cause::WriteProtect`],
        /// [`Cause::Spurious`] or [`Cause::Migration`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Cause { $($(#[doc = $doc])+ $cause),* }

        impl Cause {
            /// Every cause, in the order of reports.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$cause),*];

            /// The name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$cause => $name),* }
            }

            /// Returns the meaning of the kind, in sentences.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$cause => concat!($($doc),+).trim_ascii()),* }
            }

            /// The cause in words.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Self::$cause => $words),* }
            }
        }
    };
}

causes! {
    /// An empty entry of anonymous memory: a page is filled with zeros, or the zero page is mapped.
    AnonymousFirstTouch = "anonymous_first_touch", "anonymous first touch";
    /// As before, and the kernel mapped a huge page.
    HugeFirstTouch = "huge_first_touch", "huge page first touch";
    /// An empty entry of a file's mapping; the page was in the page cache, and is mapped.
    CacheHit = "cache_hit", "page-cache hit";
    /// An empty entry of a file's mapping; the page was read (`VM_FAULT_MAJOR`).
    Major = "major", "read from disk (major)";
    /// An empty entry of a file's mapping, which the kernel counted as major after another attempt: the page was read, or
    /// the task waited for it, since another task was reading it or had it locked.
    MajorRetried = "major_retried", "major (read, or waited for the page)";
    /// An empty entry of a file's mapping. Whether the page was in the page cache, or anything is there, was not seen.
    FilePage = "file_page", "file page (outcome not seen)";
    /// An empty entry of shared memory (tmpfs, memfd): a page was there, or is filled with zeros.
    SharedMemory = "shared_memory", "shared memory page";
    /// A write to a read-only entry of a private mapping, or to an empty one of a private mapping of a file. The page is
    /// copied, unless nobody else has it.
    CopyOnWrite = "copy_on_write", "copy-on-write";
    /// A write to a read-only entry of a shared mapping: the page is made writable, and its file system is told.
    WriteNotify = "write_notify", "write notification";
    /// The entry was that of a page in swap, or in the swap cache.
    SwapIn = "swap_in", "swap-in";
    /// The page was made inaccessible to see who uses it: NUMA balancing.
    NumaHint = "numa_hint", "NUMA hint";
    /// Handed to a userfaultfd.
    Userfaultfd = "userfaultfd", "userfaultfd";
    /// In a hugetlb mapping.
    Hugetlb = "hugetlb", "hugetlb";
    /// A stack grew down to the address.
    StackGrowth = "stack_growth", "stack growth";
    /// In a mapping of a driver's or the kernel's own pages.
    Device = "device", "device or special mapping";
    /// A marker forbids the access: a guard page, or a poisoned one.
    Marker = "marker", "guard or poison marker";
    /// It failed: no such mapping, no right to the access, nothing behind the end of the file, a read error, no memory.
    Failed = "failed", "failed (SIGSEGV, SIGBUS, EFAULT)";
    /// First fault on the page since its range was mapped.
    FirstTouch = "first_touch", "first touch";
    /// A page that had been faulted before is not present: reclaimed, discarded
    /// (MADV_DONTNEED) or swapped out; tracepoints do not say which.
    Refault = "refault", "refault";
    /// A write to an entry that is present and read-only: copy-on-write, zero page,
    /// dirty tracking or write-protection.
    WriteProtect = "write_protect", "write protect";
    /// A present entry refused the access for another reason, or the entry was present when the kernel looked: a
    /// spurious fault.
    Spurious = "spurious", "spurious";
    /// The entry was a migration entry; or, where the page tables were not walked, one is known to be at this address in
    /// some mm.
    Migration = "migration", "migration";
    /// An address of the kernel's half.
    KernelAddress = "kernel_address", "kernel address";
    /// Not handled: the kernel took the fault with page faults disabled, for example because a profiler read user
    /// memory in an interrupt. No page is faulted in, and the task itself may never have touched the page.
    PagefaultDisabled = "pagefault_disabled", "not handled (page faults disabled)";
    /// The entry was empty. Neither what is mapped there is known, nor whether the page was touched before.
    EmptyEntry = "empty_entry", "empty entry (mapping not known)";
    /// An empty entry of a mapping of shared memory or hugetlb that is registered with userfaultfd. Whether it was handed
    /// to the userfaultfd depends on whether the file had the page, and on the mode; that was not seen.
    RegisteredPage = "registered_page", "unknown (userfaultfd, or a page of the file)";
    /// Not known.
    Unknown = "unknown", "unknown";
}
