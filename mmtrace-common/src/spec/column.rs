//! The columns of a capture.

use super::FieldType;

macro_rules! columns {
    ($($variant:ident $name:literal $ty:expr, $doc:literal;)*) => {
        /// A capture column that holds a value only for some kinds. (`ts`, `cpu`,
        /// `pid`, `tid`, `kind` and `mm` are there for every event.)
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Column { $(#[doc = $doc] $variant),* }

        impl Column {
            /// Every column, in the order of the capture's schema.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The column's name in captures, dumps and SQL.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// How its values are shown.
            #[must_use]
            pub const fn ty(self) -> FieldType {
                match self { $(Self::$variant => $ty),* }
            }

            /// Its meaning, with its unit.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$variant => $doc),* }
            }
        }
    };
}

columns! {
    Addr "addr" FieldType::Hex, "user virtual address";
    Ip "ip" FieldType::Hex, "instruction pointer at the fault";
    ErrorCode "error_code" FieldType::Hex, "x86 page-fault error code: 1 present, 2 write, 4 user, 8 reserved bit, 16 fetch, 32 protection key, 64 shadow stack";
    Walk "walk" FieldType::Walk, "what the page tables had at the address when the CPU raised the fault: level and entry";
    PagefaultDisabled "pagefault_disabled" FieldType::Bool, "the task had page faults disabled (pagefault_disable): the fault is not handled, the access fails";
    Write "write" FieldType::Bool, "mmap_lock taken or released for write";
    Success "success" FieldType::Bool, "the acquisition succeeded (false: failed trylock or killed wait)";
    Call "call" FieldType::Call, "entry through which the task came into the kernel: system call, user trap, kernel thread, …";
    Pte "pte" FieldType::Hex, "page-table entry as stored";
    Pmd "pmd" FieldType::Hex, "PMD entry as stored";
    Order "order" FieldType::Int, "order of the folio, log2 of base pages";
    Mode "mode" FieldType::Enum("migrate_mode"), "enum migrate_mode";
    Reason "reason" FieldType::Enum("migrate_reason"), "enum migrate_reason";
    FlushReason "flush_reason" FieldType::Enum("tlb_flush_reason"), "enum tlb_flush_reason";
    Succeeded "succeeded" FieldType::Uint, "base pages migrated";
    Failed "failed" FieldType::Uint, "base pages not migrated";
    ThpSucceeded "thp_succeeded" FieldType::Uint, "huge pages migrated whole";
    ThpFailed "thp_failed" FieldType::Uint, "huge pages not migrated";
    ThpSplit "thp_split" FieldType::Uint, "huge pages split for migration";
    LargeFolioSplit "large_folio_split" FieldType::Uint, "other large folios split for migration";
    Referenced "referenced" FieldType::Int, "recently referenced entries in the PMD range";
    NoneOrZero "none_or_zero" FieldType::Int, "empty or zero-page entries in the PMD range";
    Status "status" FieldType::Enum("scan_result"), "enum scan_result: how the scan or collapse ended";
    Unmapped "unmapped" FieldType::Int, "swapped-out entries in the PMD range";
    Isolated "isolated" FieldType::Int, "the collapse succeeded";
    SwappedIn "swapped_in" FieldType::Int, "pages swapped in";
    Ret "ret" FieldType::Int, "result";
    Present "present" FieldType::Int, "page-cache entries present in the range";
    Swap "swap" FieldType::Int, "page-cache entries swapped out in the range";
    Index "index" FieldType::Uint, "offset in the file, in base pages";
    IsShmem "is_shmem" FieldType::Bool, "the file is shmem";
    Nr "nr" FieldType::Int, "base pages of the new folio";
    Progress "progress" FieldType::Uint, "entries that khugepaged looked at";
    FullScanFinished "full_scan_finished" FieldType::Bool, "khugepaged has been through every mm";
    ChildPid "child_pid" FieldType::Int, "process id of the new task";
    ChildTid "child_tid" FieldType::Int, "thread id of the new task";
    OldPid "old_pid" FieldType::Int, "thread id before the exec";
    GroupDead "group_dead" FieldType::Bool, "last thread of its process";
    Pages "pages" FieldType::Uint, "base pages flushed; 2^64-1 means all";
    ZoneStart "zone_start" FieldType::Uint, "first pfn of the zone";
    ZoneEnd "zone_end" FieldType::Uint, "pfn after the zone";
    Sync "sync" FieldType::Bool, "compaction may block";
    CompactResult "compact_result" FieldType::Enum("compact_result"), "enum compact_result";
    Lock "lock" FieldType::Hex, "address of the lock";
    LockFlags "lock_flags" FieldType::Hex, "1 spin, 2 read, 4 write, 8 rt, 16 percpu, 32 mutex";
    End "end" FieldType::Hex, "last address of the range, inclusive";
    Vma "vma" FieldType::Hex, "the VMA (kernel pointer); 0: none";
    FaultFlags "fault_flags" FieldType::Hex, "enum fault_flag: 1 WRITE, 4 ALLOW_RETRY, 8 RETRY_NOWAIT, 0x20 TRIED, 0x40 USER, 0x80 REMOTE, 0x1000 VMA_LOCK";
    VmaFacts "vma_facts" FieldType::VmaFacts, "what the VMA is: anonymous, file, shared, hugetlb, shmem, …";
    InTrap "in_trap" FieldType::Bool, "the call has registers: it handles a fault of the current task, not another's access (gup)";
    FaultResult "fault_result" FieldType::Hex, "vm_fault_t: 0x400 RETRY, 0x4000 COMPLETED, 0x100 NOPAGE, …; 0 resolved";
    VmaStart "vma_start" FieldType::Hex, "first address of the VMA";
    VmaEnd "vma_end" FieldType::Hex, "address after the VMA";
    SameMm "same_mm" FieldType::Bool, "the VMA belongs to the mm that was asked for";
    VmFlags "vm_flags" FieldType::Hex, "flags of the VMA";
    Pmdp "pmdp" FieldType::Hex, "address of the PMD entry (kernel pointer); may be a copy on the caller's stack";
    PmdUsed "pmd_used" FieldType::Hex, "the PMD entry that the map went by";
    Ptep "ptep" FieldType::Hex, "address of the PTE (kernel pointer); 0: there is no PTE table";
    Installed "installed" FieldType::Bool, "the table was taken; else there was one already";
    Table "table" FieldType::Hex, "page frame number of the PTE table";
    Entry "entry" FieldType::Hex, "first marker in the table, or else its first present entry, or else its first entry that is not none";
    EntryIndex "entry_index" FieldType::Uint, "its place in the table";
    Markers "markers" FieldType::Uint, "markers in the table (0 to 512)";
    Presents "presents" FieldType::Uint, "present entries in the table (0 to 512)";
    Scanned "scanned" FieldType::Bool, "the table was looked at";
    Mapping "mapping" FieldType::Hex, "struct address_space (kernel pointer)";
    LockObject "lock_object" FieldType::Hex, "vm_private_data of the VMA: its hugetlb_vma_lock or resv_map, or 0";
    Ctx "ctx" FieldType::Hex, "struct userfaultfd_ctx (kernel pointer)";
    Len "len" FieldType::Hex, "length of the range, function or build id, bytes";
    EnableWp "enable_wp" FieldType::Bool, "write-protect; else un-protect";
    OfTid "of_tid" FieldType::Int, "thread id of the task that the event is about";
    OfPid "of_pid" FieldType::Int, "process id of the task that the event is about";
    Threadgroup "threadgroup" FieldType::Bool, "all threads of the process; else one thread";
    CgroupId "cgroup_id" FieldType::Uint, "id of a cgroup v2: the inode of its directory; 0: not known";
    Comm "new_comm" FieldType::Text, "the task's command name from now on: its first eight bytes";
    CommTail "new_comm_tail" FieldType::Text, "the task's command name from now on: its last eight bytes";
    Pgoff "pgoff" FieldType::Uint, "offset of the mapping in its file, in base pages; of anonymous memory, its address in base pages when it was mapped";
    Ino "ino" FieldType::Uint, "inode of the file; 0: no file";
    Dev "dev" FieldType::Hex, "device of the file's file system, as in the kernel: major number << 20 | minor number";
    Anonymous "anonymous" FieldType::Bool, "private anonymous memory: the mapping has no file and no operations";
    Name "name" FieldType::Text, "the name of a file, a mapping or a cgroup, or a mark: its first eight bytes";
    Name2 "name_2" FieldType::Text, "bytes 8 to 15 of the name";
    Name3 "name_3" FieldType::Text, "bytes 16 to 23 of the name";
    Name4 "name_4" FieldType::Text, "bytes 24 to 31 of the name";
    Name5 "name_5" FieldType::Text, "bytes 32 to 39 of the name";
    Part "part" FieldType::Uint, "which 40 bytes of the name these are, from 0 on";
    FileOffset "file_offset" FieldType::Hex, "where the function begins in the file, bytes";
    BuildId "build_id" FieldType::Hex, "the file's build id: its first eight bytes, the first one highest";
    BuildId2 "build_id_2" FieldType::Hex, "bytes 8 to 15 of the build id";
    BuildId3 "build_id_3" FieldType::Hex, "bytes 16 to 19 of the build id, as the highest four bytes";
    Since "since" FieldType::Time, "when the reading of /proc/PID/maps began";
    Whole "whole" FieldType::Bool, "every mapping of the mm is among the records";
    CpusNs "cpus_ns" FieldType::Uint, "CPU time that all online CPUs had in the second that was measured, nanoseconds";
    ProgramsNs "programs_ns" FieldType::Uint, "CPU time of mmtrace's eBPF programs in that second, nanoseconds";
    MmtraceNs "mmtrace_ns" FieldType::Uint, "CPU time of mmtrace itself in that second, nanoseconds";
    MaxOverhead "max_overhead" FieldType::Uint, "most CPU time that recording may take (--max-overhead), in hundredths of a percent of all CPUs";
    ShedKind "shed_kind" FieldType::Kind, "kind of the events that are not recorded any more";
    StandbyKind "standby_kind" FieldType::Kind, "kind of the events that have a standby program more from here on";
    StandbyPrograms "standby_programs" FieldType::Uint, "number of standby programs that the kernel enters for these events";
    LostKind "lost_kind" FieldType::Kind, "kind of the events that are missing";
    Count "count" FieldType::Uint, "number of events missing, 0 when it cannot be known";
    Until "until" FieldType::Time, "the loss happened between `ts` and this time";
}
