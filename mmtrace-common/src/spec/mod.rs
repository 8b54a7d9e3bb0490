//! The table of events.

mod column;
mod functions;
mod synthetic;
mod tracepoints;

pub use column::Column;

use crate::LOST_KINDS;

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
    /// `handle_mm_fault()` is entered
    HandleMmFault = 29,
    /// and returns
    HandleMmFaultReturn = 30,
    /// `lock_vma_under_rcu()` returns
    LockVmaUnderRcu = 31,
    /// `lock_mm_and_find_vma()` returns
    LockMmAndFindVma = 32,
    /// `__vma_start_write()` is entered
    VmaStartWrite = 33,
    /// and returns
    VmaStartWriteReturn = 34,
    /// `vm_area_free()` is entered
    VmAreaFree = 35,
    /// `migration_entry_wait()` is entered
    MigrationEntryWait = 36,
    /// and returns
    MigrationEntryWaitReturn = 37,
    /// `migration_entry_wait_on_locked()` is entered: the task is about to sleep
    MigrationEntryWaitOnLocked = 38,
    /// `migration_entry_wait_huge()` is entered
    MigrationEntryWaitHuge = 39,
    /// `__pte_offset_map()` returns
    PteOffsetMap = 40,
    /// `pte_offset_map_lock()` is entered
    PteOffsetMapLockEnter = 41,
    /// `pte_offset_map_lock()` returns
    PteOffsetMapLock = 42,
    /// `pte_offset_map_rw_nolock()` returns (before 6.13 `pte_offset_map_nolock()`)
    PteOffsetMapRwNolock = 43,
    /// `pte_offset_map_ro_nolock()` returns
    PteOffsetMapRoNolock = 44,
    /// `pmd_install()` returns
    PmdInstall = 45,
    /// `pmdp_collapse_flush()` is entered
    PmdpCollapseFlush = 46,
    /// and returns
    PmdpCollapseFlushReturn = 47,
    /// `pte_free_defer()` is entered
    PteFreeDefer = 48,
    /// `pte_free_now()` is entered, in RCU context
    PteFreeNow = 49,
    /// `___pte_free_tlb()` is entered
    PteFreeTlb = 50,
    /// `retract_page_tables()` is entered
    RetractPageTables = 51,
    /// and returns
    RetractPageTablesReturn = 52,
    /// `collapse_pte_mapped_thp()` is entered
    CollapsePteMappedThp = 53,
    /// and returns
    CollapsePteMappedThpReturn = 54,
    /// `collapse_huge_page()` is entered
    CollapseHugePageEnter = 55,
    /// `__mmdrop()` is entered
    Mmdrop = 56,
    /// `vma_pgtable_walk_begin()` returns
    VmaPgtableWalkBegin = 57,
    /// `vma_pgtable_walk_end()` is entered
    VmaPgtableWalkEnd = 58,
    /// `hugetlb_vma_lock_read()` returns
    HugetlbVmaLockRead = 59,
    /// `hugetlb_vma_unlock_read()` is entered
    HugetlbVmaUnlockRead = 60,
    /// `hugetlb_vma_lock_write()` returns
    HugetlbVmaLockWrite = 61,
    /// `hugetlb_vma_unlock_write()` is entered
    HugetlbVmaUnlockWrite = 62,
    /// `hugetlb_vma_trylock_write()` returns
    HugetlbVmaTrylockWrite = 63,
    /// `__hugetlb_zap_end()` is entered
    HugetlbZapEnd = 67,
    /// `huge_pmd_unshare()` is entered
    HugePmdUnshare = 68,
    /// `userfaultfd_set_ctx()` is entered
    UserfaultfdSetCtx = 69,
    /// `mwriteprotect_range()` is entered
    MwriteprotectRange = 70,
    /// and returns
    MwriteprotectRangeReturn = 71,
    /// `__vmf_anon_prepare()` returns
    VmfAnonPrepare = 72,
    /// `__folio_lock_or_retry()` returns
    FolioLockOrRetry = 73,
    /// Synthetic: records of one kind that a CPU could not deliver.
    Loss = 64,
    /// Synthetic: events that are missing because the kernel skipped one probe's runs (`recursion_misses`).
    Missed = 65,
    /// Synthetic: part of a capture could not be read back.
    Gap = 66,
    /// Synthetic: a ring held records that no program of ours can have written.
    Foreign = 74,
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
        matches!(self, Self::Loss | Self::Missed | Self::Gap | Self::Foreign)
    }

    /// The event's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        spec(self).name
    }
}

/// Where the event's mm comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmFrom {
    /// The parameter of this name.
    Arg(&'static str),
    /// What these members, one after the other, lead to from the parameter of this name.
    Path(&'static str, &'static [OffsetId]),
    /// The current task's: right only where the event is by its nature the current task's own.
    Current,
    /// That of the task in the parameter of this name.
    TaskArg(&'static str),
    /// The `mm_mt` that the `ma_state` parameter of this name points into, which must be the current task's.
    TreeArg(&'static str),
    /// The lock that is passed must be the current task's mmap_lock, else the event is dropped.
    LockArg(&'static str),
    /// The event says nothing of an mm.
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
    /// The parameter of this name.
    Arg(&'static str),
    /// What the function returns; absent where it returns nothing.
    Return,
    /// A member of the struct that the function returns a pointer to; 0 for a null pointer.
    OfReturn(OffsetId),
    /// The word that the parameter of this name points to.
    Deref(&'static str),
    /// What these members, one after the other, lead to from the parameter of this name.
    Path(&'static str, &'static [OffsetId]),
    /// What the program makes of the parameter of this name, as the column's description says.
    Made(&'static str),
    /// A member of a struct that the parameter of this name points to.
    Member(&'static str, OffsetId),
    /// A 32-bit member of the current task; absent where the kernel's `task_struct` lacks it.
    Current(OffsetId),
    /// The user side makes it.
    User,
}

impl Source {
    /// Struct offsets that it takes to read it.
    #[must_use]
    pub const fn offsets(&self) -> &[OffsetId] {
        match self {
            Self::Member(_, id) | Self::OfReturn(id) | Self::Current(id) => core::slice::from_ref(id),
            Self::Path(_, path) => path,
            _ => &[],
        }
    }

    /// The parameter that it takes to read it.
    #[must_use]
    pub const fn parameter(&self) -> Option<&'static str> {
        match self {
            Self::Arg(name) | Self::Deref(name) | Self::Path(name, _) | Self::Made(name) | Self::Member(name, _) => {
                Some(name)
            }
            Self::Return | Self::OfReturn(_) | Self::Current(_) | Self::User => None,
        }
    }
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

/// Where a program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// On a tracepoint.
    Tracepoint,
    /// Where a function is entered.
    Entry,
    /// Where a function returns.
    Exit,
    /// Where a function is entered that no trampoline can be put on, since it returns a struct.
    EntryOfStruct,
    /// Where such a function returns.
    ExitOfStruct,
    /// Nowhere: the user side makes the event.
    User,
}

impl At {
    /// Whether it is on a function.
    #[must_use]
    pub const fn is_function(self) -> bool {
        matches!(self, Self::Entry | Self::Exit | Self::EntryOfStruct | Self::ExitOfStruct)
    }
}

/// A kernel function as some kernel has it. A program is put on it only where the kernel's BTF
/// says exactly this: a symbol's BTF entry can be that of another function of its name.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// The symbol.
    pub symbol: &'static str,
    /// All its parameters, in order. `there:here` where this table calls it by another name.
    pub params: &'static [&'static str],
}

/// One event: its place in the kernel and what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its number.
    pub kind: Kind,
    /// Trace system, as in tracefs; [`FUNCTION`] for functions; empty for synthetic events.
    pub system: &'static str,
    /// Its name: the tracepoint's, or the function's, with `_enter` or `_return` where one event does not say it all.
    pub name: &'static str,
    /// Where its program sits.
    pub at: At,
    /// The functions it can sit on, best first; one is used.
    pub functions: &'static [Function],
    /// Whether it is attached unless the user says otherwise. The others cost more than they tell most people.
    pub on: bool,
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
    TaskStack "task_struct" "stack" "OFF_TASK_STACK";
    TaskPid "task_struct" "pid" "OFF_TASK_PID";
    TaskTgid "task_struct" "tgid" "OFF_TASK_TGID";
    TaskPagefaultDisabled "task_struct" "pagefault_disabled" "OFF_TASK_PAGEFAULT_DISABLED";
    MmMmapLock "mm_struct" "mmap_lock" "OFF_MM_MMAP_LOCK";
    MmMt "mm_struct" "mm_mt" "OFF_MM_MT";
    MasTree "ma_state" "tree" "OFF_MAS_TREE";
    MasIndex "ma_state" "index" "OFF_MAS_INDEX";
    MasLast "ma_state" "last" "OFF_MAS_LAST";
    RegsIp "pt_regs" "ip" "OFF_REGS_IP";
    VmaMm "vm_area_struct" "vm_mm" "OFF_VMA_MM";
    VmaStart "vm_area_struct" "vm_start" "OFF_VMA_START";
    VmaEnd "vm_area_struct" "vm_end" "OFF_VMA_END";
    VmaFlags "vm_area_struct" "vm_flags" "OFF_VMA_FLAGS";
    VmaPrivate "vm_area_struct" "vm_private_data" "OFF_VMA_PRIVATE";
    VmfVma "vm_fault" "vma" "OFF_VMF_VMA";
    VmfAddress "vm_fault" "address" "OFF_VMF_ADDRESS";
    VmfFlags "vm_fault" "flags" "OFF_VMF_FLAGS";
    TlbMm "mmu_gather" "mm" "OFF_TLB_MM";
    // include/linux/types.h defines `rcu_head` as `callback_head`, and so names the member.
    PageRcuHead "page" "callback_head" "OFF_PAGE_RCU_HEAD";
    UffdMm "userfaultfd_ctx" "mm" "OFF_UFFD_MM";
}

/// Struct offsets that every program needs where it has spares.
pub const SPARE_OFFSETS: &[OffsetId] = &[OffsetId::TaskStack, OffsetId::TaskPid];

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

/// Trace system of events that are kernel functions.
pub const FUNCTION: &str = "function";

const fn ret(column: Column, slot: Slot, required: bool) -> Field {
    Field { column, source: Source::Return, slot, required }
}

const fn of_return(column: Column, id: OffsetId, slot: u8) -> Field {
    Field { column, source: Source::OfReturn(id), slot: Slot::Arg(slot), required: true }
}

const fn path(column: Column, of: &'static str, path: &'static [OffsetId], slot: Slot) -> Field {
    Field { column, source: Source::Path(of, path), slot, required: true }
}

const fn deref(column: Column, of: &'static str, slot: u8, required: bool) -> Field {
    Field { column, source: Source::Deref(of), slot: Slot::Arg(slot), required }
}

const fn made(column: Column, of: &'static str, slot: Slot) -> Field {
    Field { column, source: Source::Made(of), slot, required: true }
}

const fn of_current(column: Column, id: OffsetId, slot: u8) -> Field {
    Field { column, source: Source::Current(id), slot: Slot::Arg(slot), required: false }
}

const fn user(column: Column, slot: u8) -> Field {
    Field { column, source: Source::User, slot: Slot::Arg(slot), required: true }
}

const ROWS: usize = tracepoints::ROWS.len() + functions::ROWS.len() + synthetic::ROWS.len();

/// Every event there is, in one array.
const TABLE: [Spec; ROWS] = {
    let mut table = [synthetic::ROWS[0]; ROWS];
    let parts = [tracepoints::ROWS, functions::ROWS, synthetic::ROWS];
    let (mut part, mut to) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            table[to] = parts[part][row];
            to += 1;
            row += 1;
        }
        part += 1;
    }
    table
};

/// Every event there is: tracepoints, functions, synthetic ones.
pub const SPECS: &[Spec] = &TABLE;

/// No row has this number.
const NO_ROW: u8 = u8::MAX;

/// Rows by wire number.
const INDICES: [u8; LOST_KINDS] = {
    let mut index = [NO_ROW; LOST_KINDS];
    let mut row = 0;
    while row < TABLE.len() {
        index[TABLE[row].kind as usize] = row as u8;
        row += 1;
    }
    index
};

/// The row of a wire number.
#[inline]
const fn index(number: u16) -> Option<usize> {
    if number as usize >= LOST_KINDS {
        return None;
    }
    match INDICES[number as usize] {
        NO_ROW => None,
        row => Some(row as usize),
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

/// Entries of a program's position table. What a function returns stands behind its parameters.
pub const POSITIONS: usize = 12;

/// In a position table: this kernel's event has no such parameter.
pub const ABSENT: u8 = 0xff;

impl Spec {
    /// The struct members whose offsets its program needs.
    pub fn members(&self) -> impl Iterator<Item = OffsetId> {
        let mm: &[OffsetId] = match self.mm {
            MmFrom::Path(_, path) => path,
            _ => &[],
        };
        let fields = self.fields.iter().flat_map(|f| f.source.offsets());
        self.offsets.iter().chain(mm).chain(fields).copied()
    }
}

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
            let used = SPARE_OFFSETS.contains(&o.id) || SPECS.iter().any(|s| s.members().any(|id| id == o.id));
            assert!(used, "{}.{}", o.strukt, o.member);
        }
    }
}
