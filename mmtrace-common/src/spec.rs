//! The table of events.

/// What happened. The numbers are the wire format; a number is never reused.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `exceptions:page_fault_user`
    PageFaultUser = 1,
    /// `exceptions:page_fault_kernel`
    PageFaultKernel = 2,
    /// `mmap_lock:mmap_lock_start_locking`
    StartLocking = 3,
    /// `mmap_lock:mmap_lock_acquire_returned`
    AcquireReturned = 4,
    /// `mmap_lock:mmap_lock_released`
    Released = 5,
    /// `migrate:set_migration_pte`
    SetMigrationPte = 6,
    /// `migrate:remove_migration_pte`
    RemoveMigrationPte = 7,
    /// `thp:set_migration_pmd`
    SetMigrationPmd = 8,
    /// `thp:remove_migration_pmd`
    RemoveMigrationPmd = 9,
    /// `migrate:mm_migrate_pages_start`
    MigratePagesStart = 10,
    /// `migrate:mm_migrate_pages`
    MigratePages = 11,
    /// `huge_memory:mm_khugepaged_scan_pmd`
    ScanPmd = 12,
    /// `huge_memory:mm_khugepaged_scan`
    KhugepagedScan = 13,
    /// `huge_memory:mm_collapse_huge_page_isolate`
    CollapseIsolate = 14,
    /// `huge_memory:mm_collapse_huge_page`
    CollapseHugePage = 15,
    /// `huge_memory:mm_collapse_huge_page_swapin`
    CollapseSwapin = 16,
    /// `huge_memory:mm_khugepaged_scan_file`
    ScanFile = 17,
    /// `huge_memory:mm_khugepaged_collapse_file`
    CollapseFile = 18,
    /// `mmap:exit_mmap`
    ExitMmap = 19,
    /// `sched:sched_process_fork`
    Fork = 20,
    /// `sched:sched_process_exec`
    Exec = 21,
    /// `sched:sched_process_exit`
    Exit = 22,
    /// `tlb:tlb_flush`
    TlbFlush = 23,
    /// `compaction:mm_compaction_begin`
    CompactionBegin = 24,
    /// `compaction:mm_compaction_end`
    CompactionEnd = 25,
    /// `lock:contention_begin`, only for the mmap_lock of the current task's mm
    ContentionBegin = 26,
    /// `lock:contention_end`, only for the mmap_lock of the current task's mm
    ContentionEnd = 27,
    /// `maple_tree:ma_write`, only `mas_store_prealloc` on the current task's VMA tree
    MaWrite = 28,
    /// Synthetic: records of one kind that a CPU could not deliver.
    Loss = 64,
    /// Synthetic: runs of one probe that the kernel skipped (`recursion_misses`).
    Missed = 65,
    /// Synthetic: part of a capture could not be read back.
    Gap = 66,
}

impl Kind {
    /// The kind with this wire number, if there is one.
    #[inline]
    #[must_use]
    pub const fn from_u16(number: u16) -> Option<Self> {
        match index(number) {
            Some(index) => Some(SPECS[index].kind),
            None => None,
        }
    }

    /// Whether the user side made the event (loss accounting), not a probe.
    #[must_use]
    pub const fn is_synthetic(self) -> bool {
        self as u16 >= Self::Loss as u16
    }

    /// The tracepoint's name, or the synthetic event's.
    #[must_use]
    pub fn name(self) -> &'static str {
        spec(self).name
    }
}

/// Where the event's mm comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmFrom {
    /// The tracepoint passes it as the parameter of this name.
    Arg(&'static str),
    /// The current task's: right only where the event is by its nature the current task's own.
    Current,
    /// A task's that the tracepoint passes as the parameter of this name.
    TaskArg(&'static str),
    /// The `mm_mt` that the `ma_state` parameter of this name points into, which must be the current task's.
    TreeArg(&'static str),
    /// The lock that is passed must be the current task's mmap_lock, else the event is dropped.
    LockArg(&'static str),
    /// The tracepoint says nothing of an mm.
    None,
}

/// Where a value travels in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Argument word of this index.
    Arg(u8),
    /// `bits` of the header's aux, from bit `shift` on.
    Aux {
        /// Lowest bit.
        shift: u8,
        /// Number of bits, at most 32.
        bits: u8,
    },
}

/// Where a value comes from in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The tracepoint's parameter of this name.
    Arg(&'static str),
    /// A member of a struct that the parameter of this name points to.
    Member(&'static str, OffsetId),
    /// The user side makes it.
    User,
}

/// How a value is to be read and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// 64 bits, shown in hexadecimal: addresses, entries, kernel pointers.
    Hex,
    /// Unsigned number.
    Uint,
    /// Signed 32 bits.
    Int,
    /// Yes or no.
    Bool,
    /// A value of the kernel's enum of this name; shown by the enumerator's name.
    Enum(&'static str),
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    Time,
    /// An event [`Kind`].
    Kind,
}

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

            /// How its values read.
            #[must_use]
            pub const fn ty(self) -> FieldType {
                match self { $(Self::$variant => $ty),* }
            }

            /// What it means, with its unit.
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
    Write "write" FieldType::Bool, "mmap_lock taken or released for write";
    Success "success" FieldType::Bool, "the acquisition succeeded (false: failed trylock or killed wait)";
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
    Vma "vma" FieldType::Hex, "VMA stored (kernel pointer); 0: the range was cleared";
    LostKind "lost_kind" FieldType::Kind, "kind of the events that are missing";
    Count "count" FieldType::Uint, "number of events missing, 0 when it cannot be known";
    Until "until" FieldType::Time, "the loss happened between `ts` and this time";
}

/// One value of an event.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The capture column it goes to.
    pub column: Column,
    /// Where the kernel has it.
    pub source: Source,
    /// Where the record has it.
    pub slot: Slot,
    /// Without it the probe is refused; an optional one is simply absent on kernels that lack it.
    pub required: bool,
}

/// One event: its tracepoint and what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its number.
    pub kind: Kind,
    /// Trace system, as in tracefs. Empty for synthetic events.
    pub system: &'static str,
    /// Tracepoint name.
    pub name: &'static str,
    /// Where the mm comes from.
    pub mm: MmFrom,
    /// Values, in the order of the program's position table.
    pub fields: &'static [Field],
    /// Parameters the program needs that are not recorded; their positions follow the fields'.
    pub also: &'static [&'static str],
    /// Struct offsets the program needs beyond those its fields name.
    pub offsets: &'static [OffsetId],
    /// In one line: where it fires and what it means.
    pub doc: &'static str,
}

macro_rules! offsets {
    ($($id:ident $strukt:literal $member:literal $global:literal;)*) => {
        /// A struct member whose byte offset the programs need.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum OffsetId { $(#[doc = concat!("`", $strukt, ".", $member, "`")] $id),* }

        /// One row of [`OFFSETS`].
        #[derive(Clone, Copy, Debug)]
        pub struct Offset {
            /// Which.
            pub id: OffsetId,
            /// C name of the struct.
            pub strukt: &'static str,
            /// Member, possibly inside anonymous structs and unions.
            pub member: &'static str,
            /// The eBPF object's read-only global that receives the offset.
            pub global: &'static str,
        }

        /// Every struct offset the programs take from the running kernel's BTF.
        pub const OFFSETS: &[Offset] = &[
            $(Offset { id: OffsetId::$id, strukt: $strukt, member: $member, global: $global }),*
        ];
    };
}

offsets! {
    TaskMm "task_struct" "mm" "OFF_TASK_MM";
    TaskPid "task_struct" "pid" "OFF_TASK_PID";
    TaskTgid "task_struct" "tgid" "OFF_TASK_TGID";
    MmMmapLock "mm_struct" "mmap_lock" "OFF_MM_MMAP_LOCK";
    MmMt "mm_struct" "mm_mt" "OFF_MM_MT";
    MasTree "ma_state" "tree" "OFF_MAS_TREE";
    MasIndex "ma_state" "index" "OFF_MAS_INDEX";
    MasLast "ma_state" "last" "OFF_MAS_LAST";
    RegsIp "pt_regs" "ip" "OFF_REGS_IP";
}

const fn arg(column: Column, name: &'static str, slot: u8) -> Field {
    Field { column, source: Source::Arg(name), slot: Slot::Arg(slot), required: true }
}

const fn opt(column: Column, name: &'static str, slot: u8) -> Field {
    Field { column, source: Source::Arg(name), slot: Slot::Arg(slot), required: false }
}

const fn aux(column: Column, name: &'static str, shift: u8, bits: u8) -> Field {
    Field { column, source: Source::Arg(name), slot: Slot::Aux { shift, bits }, required: true }
}

const fn aux_opt(column: Column, name: &'static str, shift: u8, bits: u8) -> Field {
    Field { column, source: Source::Arg(name), slot: Slot::Aux { shift, bits }, required: false }
}

const fn member(column: Column, of: &'static str, id: OffsetId, slot: u8) -> Field {
    Field { column, source: Source::Member(of, id), slot: Slot::Arg(slot), required: true }
}

const fn user(column: Column, slot: u8) -> Field {
    Field { column, source: Source::User, slot: Slot::Arg(slot), required: true }
}

use Column as C;
use Kind as K;

const FAULT: &[Field] =
    &[arg(C::Addr, "address", 0), member(C::Ip, "regs", OffsetId::RegsIp, 1), aux(C::ErrorCode, "error_code", 0, 32)];
const MIGRATION_PTE: &[Field] = &[arg(C::Addr, "addr", 0), arg(C::Pte, "pte", 1), aux(C::Order, "order", 0, 32)];
const MIGRATION_PMD: &[Field] = &[arg(C::Addr, "addr", 0), arg(C::Pmd, "pmd", 1)];

/// Every event there is, in the order of its number.
pub const SPECS: &[Spec] = &[
    Spec {
        kind: K::PageFaultUser,
        system: "exceptions",
        name: "page_fault_user",
        mm: MmFrom::Current,
        fields: FAULT,
        also: &[],
        offsets: &[OffsetId::TaskMm],
        doc: "a fault taken in user mode; interrupts off, no lock held yet (arch/x86/mm/fault.c:handle_page_fault)",
    },
    Spec {
        kind: K::PageFaultKernel,
        system: "exceptions",
        name: "page_fault_kernel",
        mm: MmFrom::Current,
        fields: FAULT,
        also: &[],
        offsets: &[OffsetId::TaskMm],
        doc: "a fault taken in kernel mode: user-space access by the kernel, or a kernel address",
    },
    Spec {
        kind: K::StartLocking,
        system: "mmap_lock",
        name: "mmap_lock_start_locking",
        mm: MmFrom::Arg("mm"),
        fields: &[aux(C::Write, "write", 0, 1)],
        also: &[],
        offsets: &[],
        doc: "before an mmap_lock acquisition or trylock (include/linux/mmap_lock.h)",
    },
    Spec {
        kind: K::AcquireReturned,
        system: "mmap_lock",
        name: "mmap_lock_acquire_returned",
        mm: MmFrom::Arg("mm"),
        fields: &[aux(C::Write, "write", 0, 1), aux(C::Success, "success", 1, 1)],
        also: &[],
        offsets: &[],
        doc: "after the acquisition; a downgrade shows as write=0 success=1 without start_locking",
    },
    Spec {
        kind: K::Released,
        system: "mmap_lock",
        name: "mmap_lock_released",
        mm: MmFrom::Arg("mm"),
        fields: &[aux(C::Write, "write", 0, 1)],
        also: &[],
        offsets: &[],
        doc: "before the release",
    },
    Spec {
        kind: K::SetMigrationPte,
        system: "migrate",
        name: "set_migration_pte",
        mm: MmFrom::None,
        fields: MIGRATION_PTE,
        also: &[],
        offsets: &[],
        doc: "a migration entry has replaced a PTE; PTL held (mm/rmap.c:try_to_migrate_one)",
    },
    Spec {
        kind: K::RemoveMigrationPte,
        system: "migrate",
        name: "remove_migration_pte",
        mm: MmFrom::None,
        fields: MIGRATION_PTE,
        also: &[],
        offsets: &[],
        doc: "a present PTE has replaced a migration entry; PTL held (mm/migrate.c:remove_migration_pte)",
    },
    Spec {
        kind: K::SetMigrationPmd,
        system: "thp",
        name: "set_migration_pmd",
        mm: MmFrom::None,
        fields: MIGRATION_PMD,
        also: &[],
        offsets: &[],
        doc: "a migration entry has replaced a huge PMD (mm/huge_memory.c:set_pmd_migration_entry)",
    },
    Spec {
        kind: K::RemoveMigrationPmd,
        system: "thp",
        name: "remove_migration_pmd",
        mm: MmFrom::None,
        fields: MIGRATION_PMD,
        also: &[],
        offsets: &[],
        doc: "a huge PMD has replaced a migration entry (mm/huge_memory.c:remove_migration_pmd)",
    },
    Spec {
        kind: K::MigratePagesStart,
        system: "migrate",
        name: "mm_migrate_pages_start",
        mm: MmFrom::None,
        fields: &[aux(C::Mode, "mode", 0, 8), aux(C::Reason, "reason", 8, 8)],
        also: &[],
        offsets: &[],
        doc: "entry of mm/migrate.c:migrate_pages",
    },
    Spec {
        kind: K::MigratePages,
        system: "migrate",
        name: "mm_migrate_pages",
        mm: MmFrom::None,
        fields: &[
            arg(C::Succeeded, "succeeded", 0),
            arg(C::Failed, "failed", 1),
            arg(C::ThpSucceeded, "thp_succeeded", 2),
            arg(C::ThpFailed, "thp_failed", 3),
            arg(C::ThpSplit, "thp_split", 4),
            opt(C::LargeFolioSplit, "large_folio_split", 5),
            aux(C::Mode, "mode", 0, 8),
            aux(C::Reason, "reason", 8, 8),
        ],
        also: &[],
        offsets: &[],
        doc: "exit of mm/migrate.c:migrate_pages",
    },
    Spec {
        kind: K::ScanPmd,
        system: "huge_memory",
        name: "mm_khugepaged_scan_pmd",
        mm: MmFrom::Arg("mm"),
        fields: &[
            arg(C::Referenced, "referenced", 0),
            arg(C::NoneOrZero, "none_or_zero", 1),
            arg(C::Unmapped, "unmapped", 2),
            aux(C::Status, "status", 0, 32),
        ],
        also: &[],
        offsets: &[],
        doc: "end of a PMD scan, after the collapse that it started (mm/khugepaged.c)",
    },
    Spec {
        kind: K::KhugepagedScan,
        system: "huge_memory",
        name: "mm_khugepaged_scan",
        mm: MmFrom::Arg("mm"),
        fields: &[arg(C::Progress, "progress", 0), aux(C::FullScanFinished, "full_scan_finished", 0, 1)],
        also: &[],
        offsets: &[],
        doc: "khugepaged has finished with one mm for now (7.x)",
    },
    Spec {
        kind: K::CollapseIsolate,
        system: "huge_memory",
        name: "mm_collapse_huge_page_isolate",
        mm: MmFrom::None,
        fields: &[
            arg(C::NoneOrZero, "none_or_zero", 0),
            arg(C::Referenced, "referenced", 1),
            aux(C::Status, "status", 0, 16),
            aux_opt(C::Order, "order", 16, 16),
        ],
        also: &[],
        offsets: &[],
        doc: "pages isolated, mmap_lock held for write, old PMD cleared (mm/khugepaged.c:__collapse_huge_page_isolate)",
    },
    Spec {
        kind: K::CollapseHugePage,
        system: "huge_memory",
        name: "mm_collapse_huge_page",
        mm: MmFrom::Arg("mm"),
        fields: &[arg(C::Isolated, "isolated", 0), aux(C::Status, "status", 0, 16), aux_opt(C::Order, "order", 16, 16)],
        also: &[],
        offsets: &[],
        doc: "end of an anonymous collapse, after the mmap_lock's release (mm/khugepaged.c:collapse_huge_page)",
    },
    Spec {
        kind: K::CollapseSwapin,
        system: "huge_memory",
        name: "mm_collapse_huge_page_swapin",
        mm: MmFrom::Arg("mm"),
        fields: &[
            arg(C::SwappedIn, "swapped_in", 0),
            arg(C::Referenced, "referenced", 1),
            arg(C::Ret, "ret", 2),
            aux_opt(C::Order, "order", 0, 16),
        ],
        also: &[],
        offsets: &[],
        doc: "swap-in before an anonymous collapse",
    },
    Spec {
        kind: K::ScanFile,
        system: "huge_memory",
        name: "mm_khugepaged_scan_file",
        mm: MmFrom::Arg("mm"),
        fields: &[arg(C::Present, "present", 0), arg(C::Swap, "swap", 1), aux(C::Status, "result", 0, 32)],
        also: &[],
        offsets: &[],
        doc: "end of a file range scan, after the collapse that it started",
    },
    Spec {
        kind: K::CollapseFile,
        system: "huge_memory",
        name: "mm_khugepaged_collapse_file",
        mm: MmFrom::Arg("mm"),
        fields: &[
            arg(C::Index, "index", 0),
            arg(C::Addr, "addr", 1),
            arg(C::IsShmem, "is_shmem", 2),
            arg(C::Nr, "nr", 3),
            aux(C::Status, "result", 0, 32),
        ],
        also: &[],
        offsets: &[],
        doc: "end of a file collapse, after page tables were retracted; no mmap_lock held (mm/khugepaged.c:collapse_file)",
    },
    Spec {
        kind: K::ExitMmap,
        system: "mmap",
        name: "exit_mmap",
        mm: MmFrom::Arg("mm"),
        fields: &[],
        also: &[],
        offsets: &[],
        doc: "page tables and VMAs are gone, mmap_lock still held for write (mm/mmap.c:exit_mmap)",
    },
    Spec {
        kind: K::Fork,
        system: "sched",
        name: "sched_process_fork",
        mm: MmFrom::TaskArg("child"),
        fields: &[
            member(C::ChildPid, "child", OffsetId::TaskTgid, 0),
            member(C::ChildTid, "child", OffsetId::TaskPid, 1),
        ],
        also: &[],
        offsets: &[OffsetId::TaskMm],
        doc: "a task has been copied and not yet woken; mm is the child's (kernel/fork.c)",
    },
    Spec {
        kind: K::Exec,
        system: "sched",
        name: "sched_process_exec",
        mm: MmFrom::Current,
        fields: &[arg(C::OldPid, "old_pid", 0)],
        also: &[],
        offsets: &[OffsetId::TaskMm],
        doc: "an exec succeeded; mm is already the new one (fs/exec.c)",
    },
    Spec {
        kind: K::Exit,
        system: "sched",
        name: "sched_process_exit",
        mm: MmFrom::Current,
        fields: &[aux_opt(C::GroupDead, "group_dead", 0, 1)],
        also: &[],
        offsets: &[OffsetId::TaskMm],
        doc: "a task exits; before 6.18 its mm is already gone here (kernel/exit.c:do_exit)",
    },
    Spec {
        kind: K::TlbFlush,
        system: "tlb",
        name: "tlb_flush",
        mm: MmFrom::None,
        fields: &[arg(C::Pages, "pages", 0), aux(C::FlushReason, "reason", 0, 8)],
        also: &[],
        offsets: &[],
        doc: "a TLB flush; for remote shootdowns the current task is unrelated (arch/x86/mm/tlb.c)",
    },
    Spec {
        kind: K::CompactionBegin,
        system: "compaction",
        name: "mm_compaction_begin",
        mm: MmFrom::None,
        fields: &[arg(C::ZoneStart, "zone_start", 0), arg(C::ZoneEnd, "zone_end", 1), aux(C::Sync, "sync", 0, 1)],
        also: &[],
        offsets: &[],
        doc: "one zone's compaction starts (mm/compaction.c:compact_zone)",
    },
    Spec {
        kind: K::CompactionEnd,
        system: "compaction",
        name: "mm_compaction_end",
        mm: MmFrom::None,
        fields: &[
            arg(C::ZoneStart, "zone_start", 0),
            arg(C::ZoneEnd, "zone_end", 1),
            aux(C::Sync, "sync", 0, 1),
            aux(C::CompactResult, "status", 8, 8),
        ],
        also: &[],
        offsets: &[],
        doc: "one zone's compaction ends",
    },
    Spec {
        kind: K::ContentionBegin,
        system: "lock",
        name: "contention_begin",
        mm: MmFrom::LockArg("lock"),
        fields: &[arg(C::Lock, "lock", 0), aux(C::LockFlags, "flags", 0, 32)],
        also: &[],
        offsets: &[OffsetId::TaskMm, OffsetId::MmMmapLock],
        doc: "the task is about to block on its own mm's mmap_lock (kernel/locking/rwsem.c slow paths)",
    },
    Spec {
        kind: K::ContentionEnd,
        system: "lock",
        name: "contention_end",
        mm: MmFrom::LockArg("lock"),
        fields: &[arg(C::Lock, "lock", 0), aux(C::Ret, "ret", 0, 32)],
        also: &[],
        offsets: &[OffsetId::TaskMm, OffsetId::MmMmapLock],
        doc: "the block has ended: 0 acquired, below 0 given up",
    },
    Spec {
        kind: K::MaWrite,
        system: "maple_tree",
        name: "ma_write",
        mm: MmFrom::TreeArg("mas"),
        fields: &[
            member(C::Addr, "mas", OffsetId::MasIndex, 0),
            member(C::End, "mas", OffsetId::MasLast, 1),
            arg(C::Vma, "val", 2),
        ],
        also: &["fn"],
        offsets: &[OffsetId::TaskMm, OffsetId::MmMt, OffsetId::MasTree],
        doc: "a VMA was stored in the current task's VMA tree (lib/maple_tree.c:mas_store_prealloc)",
    },
    Spec {
        kind: K::Loss,
        system: "",
        name: "loss",
        mm: MmFrom::None,
        fields: &[user(C::LostKind, 0), user(C::Count, 1), user(C::Until, 2)],
        also: &[],
        offsets: &[],
        doc: "the ring buffer was full: events of one kind on one CPU were not delivered between `ts` and `until`",
    },
    Spec {
        kind: K::Missed,
        system: "",
        name: "missed",
        mm: MmFrom::None,
        fields: &[user(C::LostKind, 0), user(C::Count, 1), user(C::Until, 2)],
        also: &[],
        offsets: &[],
        doc: "the kernel skipped a probe that was already running on that CPU, between `ts` and `until`",
    },
    Spec {
        kind: K::Gap,
        system: "",
        name: "gap",
        mm: MmFrom::None,
        fields: &[user(C::Count, 0), user(C::Until, 1)],
        also: &[],
        offsets: &[],
        doc: "part of the capture is missing or damaged, between `ts` and `until`",
    },
];

/// Numbers below this are wire kinds without a hole, from 1 on.
const WIRE: u16 = SPECS.len() as u16 - 3;

/// The row of a wire number. (A test holds this to the table.)
const fn index(number: u16) -> Option<usize> {
    match number {
        1..=WIRE => Some(number as usize - 1),
        64..=66 => Some((WIRE + number - 64) as usize),
        _ => None,
    }
}

/// The row of one kind.
#[inline]
#[must_use]
pub const fn spec(kind: Kind) -> &'static Spec {
    match index(kind as u16) {
        Some(index) => &SPECS[index],
        None => panic!("every kind has a row"),
    }
}

/// Entries of a program's position table.
pub const POSITIONS: usize = 12;

/// In a position table: this kernel's event has no such parameter.
pub const ABSENT: u8 = 0xff;

impl Field {
    /// Its value in a record, as raw bits.
    #[inline]
    #[must_use]
    pub fn get(&self, record: &crate::Record) -> u64 {
        match self.slot {
            Slot::Arg(i) => record.args[usize::from(i)],
            Slot::Aux { shift, bits } => u64::from(record.aux >> shift) & ((1u64 << bits) - 1),
        }
    }

    /// Puts its value into a record: what [`Field::get`] will return, cut to the slot's width.
    #[inline]
    pub fn set(&self, record: &mut crate::Record, value: u64) {
        match self.slot {
            Slot::Arg(i) => record.args[usize::from(i)] = value,
            Slot::Aux { shift, bits } => {
                let mask = ((1u64 << bits) - 1) as u32;
                record.aux = record.aux & !(mask << shift) | (value as u32 & mask) << shift;
            }
        }
    }
}

impl crate::Record {
    /// What happened, if this build knows the number.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_u16(self.kind)
    }

    /// The value that goes to this column, as raw bits; `None` where the kind has no such field.
    #[must_use]
    pub fn get(&self, column: Column) -> Option<u64> {
        let spec = spec(self.kind()?);
        spec.fields.iter().find(|f| f.column == column).map(|f| f.get(self))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::{ARGS_MAX, LOST_KINDS, Record};
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_finds_its_row() {
        let mut numbers = BTreeSet::new();
        for s in SPECS {
            assert_eq!(spec(s.kind).kind, s.kind);
            assert_eq!(Kind::from_u16(s.kind as u16), Some(s.kind));
            assert!(numbers.insert(s.kind as u16), "{} twice", s.name);
            assert!(s.kind.is_synthetic() || (s.kind as usize) < LOST_KINDS);
        }
    }

    #[test]
    fn fields_of_an_event_do_not_overlap() {
        for s in SPECS {
            let mut record = Record::default();
            for (i, f) in s.fields.iter().enumerate() {
                f.set(&mut record, i as u64 & 1);
            }
            for (i, f) in s.fields.iter().enumerate() {
                assert_eq!(f.get(&record), i as u64 & 1, "{}.{}", s.name, f.column.name());
                if let Slot::Arg(slot) = f.slot {
                    assert!(usize::from(slot) < ARGS_MAX);
                }
            }
            let columns: BTreeSet<_> = s.fields.iter().map(|f| f.column).collect();
            assert_eq!(columns.len(), s.fields.len(), "{}: a column twice", s.name);
        }
    }

    #[test]
    fn every_column_and_offset_is_used() {
        for c in Column::ALL {
            assert!(SPECS.iter().any(|s| s.fields.iter().any(|f| f.column == *c)), "{} is in no event", c.name());
        }
        for o in OFFSETS {
            let used = SPECS.iter().any(|s| {
                s.offsets.contains(&o.id)
                    || s.fields.iter().any(|f| matches!(f.source, Source::Member(_, id) if id == o.id))
            });
            assert!(used, "{}.{}", o.strukt, o.member);
        }
    }
}
