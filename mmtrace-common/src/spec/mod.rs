//! The table of events.

mod class;
mod column;
mod events;
pub mod unknown;
mod view;

pub use class::Class;
pub use column::Column;
pub use events::{Event, Kind, SPECS, View, event};

use crate::LOST_KINDS;

impl Kind {
    /// The kind with this wire number, if there is one.
    #[inline]
    #[must_use]
    pub const fn from_u16(number: u16) -> Option<Self> {
        if (number as usize) < LOST_KINDS { KINDS[number as usize] } else { None }
    }

    /// Whether the event has no probe of its own: it says what is missing, or what a task or a mapping is called.
    #[must_use]
    pub const fn is_synthetic(self) -> bool {
        matches!(spec(self).site.at, At::User | At::Beside)
    }

    /// Whether the user side makes the event, so that no program writes it.
    #[must_use]
    pub const fn is_made_by_user_side(self) -> bool {
        matches!(spec(self).site.at, At::User)
    }

    /// Whether the event says that others are missing.
    #[must_use]
    pub const fn is_missing(self) -> bool {
        spec(self).class.is_missing()
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
    /// The value that these members, one after the other, lead to from the parameter of this name.
    Path(&'static str, &'static [OffsetId]),
    /// The current task's: right only where the event is by its nature the current task's own.
    Current,
    /// The mm of the task in the parameter of this name.
    TaskArg(&'static str),
    /// The `mm_mt` that the `ma_state` parameter of this name points into, which must be the current task's.
    TreeArg(&'static str),
    /// The current task's mm, if the lock that is passed is its mmap_lock; else no event is recorded.
    LockArg(&'static str),
    /// Nowhere: the event has no mm.
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
    /// The return value of the function; absent where it returns nothing.
    Return,
    /// A member of the struct that the function returns a pointer to; 0 for a null pointer.
    OfReturn(OffsetId),
    /// The word that the parameter of this name points to.
    Deref(&'static str),
    /// The value that these members, one after the other, lead to from the parameter of this name.
    Path(&'static str, &'static [OffsetId]),
    /// The value that these members, one after the other, lead to from the pointer in the parameter of this name, whatever
    /// its type: itself, or something about it, as the column's description says. Absent where BTF lacks one of them.
    Through(&'static str, &'static [OffsetId]),
    /// A value that the program computes from the parameter of this name, as the column's description says.
    Made(&'static str),
    /// A member of a struct that the parameter of this name points to.
    Member(&'static str, OffsetId),
    /// A 32-bit member of the current task; absent where the kernel's `task_struct` lacks it.
    Current(OffsetId),
    /// The current task's entry into the kernel ([`Call`](crate::Call)); absent where BTF lacks one of [`CALL_OFFSETS`].
    Call,
    /// The end of a walk of the current task's page tables ([`Walk`](crate::Walk)); absent where BTF lacks `mm->pgd`, or
    /// where it is not known how the kernel reaches page tables.
    Walk,
    /// Facts about what the current task's VMA tree has at the address ([`VmaFacts`](crate::VmaFacts)); absent where BTF
    /// lacks one of [`VMA_FACTS_OFFSETS`].
    VmaFacts,
    /// The address that a software event comes with (`struct bpf_perf_event_data`, include/uapi/linux/bpf_perf_event.h).
    SampleAddr,
    /// The user side makes it.
    User,
}

impl Source {
    /// Returns the struct offsets that reading it takes.
    #[must_use]
    pub const fn offsets(&self) -> &[OffsetId] {
        match self {
            Self::Member(_, id) | Self::OfReturn(id) | Self::Current(id) => core::slice::from_ref(id),
            Self::Path(_, path) | Self::Through(_, path) => path,
            Self::Call => CALL_OFFSETS,
            Self::Walk => &[OffsetId::MmPgd],
            Self::VmaFacts => VMA_FACTS_OFFSETS,
            _ => &[],
        }
    }

    /// Returns the parameter that reading it takes.
    #[must_use]
    pub const fn parameter(&self) -> Option<&'static str> {
        match self {
            Self::Arg(name)
            | Self::Deref(name)
            | Self::Path(name, _)
            | Self::Through(name, _)
            | Self::Made(name)
            | Self::Member(name, _) => Some(name),
            Self::Return
            | Self::OfReturn(_)
            | Self::Current(_)
            | Self::Call
            | Self::Walk
            | Self::VmaFacts
            | Self::SampleAddr
            | Self::User => None,
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
    /// An entry into the kernel ([`Call`](crate::Call)), shown by name.
    Call,
    /// Eight bytes of text in memory order, padded with zeros.
    Text,
    /// The end of a walk of page tables ([`Walk`](crate::Walk)), shown in words.
    Walk,
    /// Facts about a VMA ([`VmaFacts`](crate::VmaFacts)), shown in words.
    VmaFacts,
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
    /// Where a function is entered to which no trampoline can be attached, since it returns a struct.
    EntryOfStruct,
    /// Where such a function returns.
    ExitOfStruct,
    /// Where the kernel counts a software event, in the task that it counts it of.
    SoftwareEvent {
        /// Its number, `PERF_COUNT_SW_*` (include/uapi/linux/perf_event.h).
        number: u8,
    },
    /// Nowhere of its own: the program of another event writes it.
    Beside,
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

/// Where in the kernel an event happens, and what its program needs there beyond the event's fields.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Where the program sits.
    pub at: At,
    /// Trace system, as in tracefs; [`FUNCTION`] for functions, [`SOFTWARE`] for software events; empty for synthetic events.
    pub system: &'static str,
    /// The functions it can sit on, best first; one is used.
    pub functions: &'static [Function],
    /// Whether it is attached unless the user says otherwise. The others cost more than they are worth to most users.
    pub on: bool,
    /// It is not attached where all of these are, which tell what it tells, unless the user says otherwise.
    pub unless: &'static [Kind],
    /// Where the mm comes from.
    pub mm: MmFrom,
    /// Parameters the program needs that are not recorded; their positions follow the fields'.
    pub also: &'static [&'static str],
    /// Struct offsets the program needs beyond those that its fields and its mm name.
    pub needs: &'static [OffsetId],
}

impl Site {
    const fn on(at: At, system: &'static str, functions: &'static [Function]) -> Self {
        Self { at, system, functions, on: true, unless: &[], mm: MmFrom::None, also: &[], needs: &[] }
    }

    const fn of(self, mm: MmFrom) -> Self {
        Self { mm, ..self }
    }

    const fn off(self) -> Self {
        Self { on: false, ..self }
    }

    const fn unless(self, unless: &'static [Kind]) -> Self {
        Self { unless, ..self }
    }

    const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    const fn needs(self, needs: &'static [OffsetId]) -> Self {
        Self { needs, ..self }
    }
}

/// One event: its place in the kernel and what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its number.
    pub kind: Kind,
    /// Its name: the tracepoint's, or the function's, with `_enter` or `_return` where one event does not say it all.
    pub name: &'static str,
    /// Where it happens.
    pub site: Site,
    /// Its subject.
    pub class: Class,
    /// The parts of the model that are unknown when one is missing.
    pub unknown: unknown::Parts,
    /// Values, in the order of the program's position table.
    pub fields: &'static [Field],
    /// In one line: when it fires and what it means.
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
            /// Its id.
            pub id: OffsetId,
            /// C name of the struct.
            pub strukt: &'static str,
            /// Member, possibly inside anonymous structs and unions; `outer.inner` for a member of a member.
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
    TaskFlags "task_struct" "flags" "OFF_TASK_FLAGS";
    TaskThreadInfo "task_struct" "thread_info" "OFF_TASK_THREAD_INFO";
    TaskFiles "task_struct" "files" "OFF_TASK_FILES";
    TaskCgroups "task_struct" "cgroups" "OFF_TASK_CGROUPS";
    TaskPagefaultDisabled "task_struct" "pagefault_disabled" "OFF_TASK_PAGEFAULT_DISABLED";
    MmMmapLock "mm_struct" "mmap_lock" "OFF_MM_MMAP_LOCK";
    MmPgd "mm_struct" "pgd" "OFF_MM_PGD";
    MmMt "mm_struct" "mm_mt" "OFF_MM_MT";
    // Only where it is a seqcount, which is odd while the mmap_lock is held for write: from 6.13 on.
    MmLockSeq "mm_struct" "mm_lock_seq.sequence" "OFF_MM_LOCK_SEQ";
    MmCtxId "mm_struct" "context.ctx_id" "OFF_MM_CTX_ID";
    TreeRoot "maple_tree" "ma_root" "OFF_TREE_ROOT";
    MasTree "ma_state" "tree" "OFF_MAS_TREE";
    MasIndex "ma_state" "index" "OFF_MAS_INDEX";
    MasLast "ma_state" "last" "OFF_MAS_LAST";
    RegsIp "pt_regs" "ip" "OFF_REGS_IP";
    RegsOrigAx "pt_regs" "orig_ax" "OFF_REGS_ORIG_AX";
    ThreadInfoStatus "thread_info" "status" "OFF_THREAD_INFO_STATUS";
    VmaMm "vm_area_struct" "vm_mm" "OFF_VMA_MM";
    VmaStart "vm_area_struct" "vm_start" "OFF_VMA_START";
    VmaEnd "vm_area_struct" "vm_end" "OFF_VMA_END";
    VmaFlags "vm_area_struct" "vm_flags" "OFF_VMA_FLAGS";
    VmaPgoff "vm_area_struct" "vm_pgoff" "OFF_VMA_PGOFF";
    VmaFile "vm_area_struct" "vm_file" "OFF_VMA_FILE";
    VmaOps "vm_area_struct" "vm_ops" "OFF_VMA_OPS";
    InodeMode "inode" "i_mode" "OFF_INODE_MODE";
    InodeSize "inode" "i_size" "OFF_INODE_SIZE";
    SuperMagic "super_block" "s_magic" "OFF_SUPER_MAGIC";
    VmaPrivate "vm_area_struct" "vm_private_data" "OFF_VMA_PRIVATE";
    VmfVma "vm_fault" "vma" "OFF_VMF_VMA";
    VmfAddress "vm_fault" "address" "OFF_VMF_ADDRESS";
    VmfFlags "vm_fault" "flags" "OFF_VMF_FLAGS";
    TlbMm "mmu_gather" "mm" "OFF_TLB_MM";
    // include/linux/types.h defines `rcu_head` as `callback_head`, and so names the member.
    PageRcuHead "page" "callback_head" "OFF_PAGE_RCU_HEAD";
    FilesTable "files_struct" "fdt" "OFF_FILES_TABLE";
    TableFiles "fdtable" "fd" "OFF_TABLE_FILES";
    TableSize "fdtable" "max_fds" "OFF_TABLE_SIZE";
    FileInode "file" "f_inode" "OFF_FILE_INODE";
    FilePath "file" "f_path" "OFF_FILE_PATH";
    InodeIno "inode" "i_ino" "OFF_INODE_INO";
    InodeSb "inode" "i_sb" "OFF_INODE_SB";
    SuperDev "super_block" "s_dev" "OFF_SUPER_DEV";
    PathDentry "path" "dentry" "OFF_PATH_DENTRY";
    DentryName "dentry" "d_name" "OFF_DENTRY_NAME";
    QstrHash "qstr" "hash" "OFF_QSTR_HASH";
    QstrName "qstr" "name" "OFF_QSTR_NAME";
    UffdMm "userfaultfd_ctx" "mm" "OFF_UFFD_MM";
    CssSetDflCgrp "css_set" "dfl_cgrp" "OFF_CSS_SET_DFL_CGRP";
    CgroupKn "cgroup" "kn" "OFF_CGROUP_KN";
    CgroupRoot "cgroup" "root" "OFF_CGROUP_ROOT";
    RootHierarchyId "cgroup_root" "hierarchy_id" "OFF_ROOT_HIERARCHY_ID";
    KernfsId "kernfs_node" "id" "OFF_KERNFS_ID";
}

/// Struct offsets that a program needs if it has standby programs.
pub const STANDBY_OFFSETS: &[OffsetId] = &[OffsetId::TaskStack, OffsetId::TaskPid];

/// Struct offsets that it takes to tell the current task's entry into the kernel.
pub const CALL_OFFSETS: &[OffsetId] = &[
    OffsetId::TaskStack,
    OffsetId::TaskFlags,
    OffsetId::RegsIp,
    OffsetId::RegsOrigAx,
    OffsetId::TaskThreadInfo,
    OffsetId::ThreadInfoStatus,
];

/// Struct offsets that it takes to tell which file of /proc a call is about. Where BTF lacks one, the call goes without.
pub const PROC_FILE_OFFSETS: &[OffsetId] = &[
    OffsetId::TaskFiles,
    OffsetId::FilesTable,
    OffsetId::TableFiles,
    OffsetId::TableSize,
    OffsetId::FileInode,
    OffsetId::InodeSb,
    OffsetId::SuperMagic,
    OffsetId::FilePath,
    OffsetId::PathDentry,
    OffsetId::DentryName,
    OffsetId::QstrName,
];

/// Struct offsets that it takes to find the VMA of an address, and to tell what it is.
pub const VMA_FACTS_OFFSETS: &[OffsetId] = &[
    OffsetId::MmMt,
    OffsetId::TreeRoot,
    OffsetId::VmaStart,
    OffsetId::VmaEnd,
    OffsetId::VmaFlags,
    OffsetId::VmaOps,
    OffsetId::VmaFile,
    OffsetId::VmaPgoff,
    OffsetId::FileInode,
    OffsetId::InodeSb,
    OffsetId::InodeMode,
    OffsetId::InodeSize,
    OffsetId::SuperMagic,
];

/// Struct offsets by which a program tells whether the VMAs of the current task's mm, and its upper page tables, are still
/// those of its last look at them. Kernels before 6.13 lack them; there the program looks each time.
pub const UNCHANGED_OFFSETS: &[OffsetId] = &[OffsetId::MmLockSeq, OffsetId::MmCtxId];

/// Trace system of events that are kernel functions.
pub const FUNCTION: &str = "function";

/// Trace system of events that the kernel counts as software events.
pub const SOFTWARE: &str = "software";

/// No row has this number.
const NO_ROW: u8 = u8::MAX;

/// Rows by wire number.
const INDICES: [u8; LOST_KINDS] = {
    let mut index = [NO_ROW; LOST_KINDS];
    let mut row = 0;
    while row < SPECS.len() {
        index[SPECS[row].kind as usize] = row as u8;
        row += 1;
    }
    index
};

/// Kinds by wire number.
const KINDS: [Option<Kind>; LOST_KINDS] = {
    let mut kinds = [None; LOST_KINDS];
    let mut row = 0;
    while row < SPECS.len() {
        kinds[SPECS[row].kind as usize] = Some(SPECS[row].kind);
        row += 1;
    }
    kinds
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

/// Entries of a program's position table. A function's return value stands behind its parameters.
pub const POSITIONS: usize = 12;

/// In a position table: this kernel's event has no such parameter.
pub const ABSENT: u8 = 0xff;

impl MmFrom {
    /// Returns the struct offsets that reading it takes.
    #[must_use]
    pub const fn offsets(&self) -> &[OffsetId] {
        match self {
            Self::Path(_, path) => path,
            Self::Current | Self::TaskArg(_) => &[OffsetId::TaskMm],
            Self::LockArg(_) => &[OffsetId::TaskMm, OffsetId::MmMmapLock],
            Self::TreeArg(_) => &[OffsetId::TaskMm, OffsetId::MmMt, OffsetId::MasTree],
            Self::Arg(_) | Self::None => &[],
        }
    }
}

impl Spec {
    /// The struct members whose offsets its program needs.
    pub fn members(&self) -> impl Iterator<Item = OffsetId> {
        let fields = self.fields.iter().flat_map(|f| f.source.offsets());
        self.site.needs.iter().chain(self.site.mm.offsets()).chain(fields).copied()
    }
}

/// The place of a column's value among fields.
const fn field_of(fields: &[Field], column: Column) -> usize {
    let mut i = 0;
    while i < fields.len() {
        if fields[i].column as usize == column as usize {
            return i;
        }
        i += 1;
    }
    panic!("the event has no such column")
}

impl Field {
    /// Its value in a record, as raw bits.
    #[inline]
    #[must_use]
    pub const fn get(&self, record: &crate::Record) -> u64 {
        self.slot.get(record)
    }

    /// Puts its value into a record, cut to the slot's width.
    #[inline]
    pub const fn set(&self, record: &mut crate::Record, value: u64) {
        self.slot.put(value, &mut record.aux, &mut record.args);
    }
}

impl crate::Record {
    /// Returns the kind of the event, if this build knows the number.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_u16(self.kind)
    }

    /// Puts a value that goes to this column, as raw bits. Returns whether the kind has such a field.
    pub fn set(&mut self, column: Column, value: u64) -> bool {
        let field = self.kind().and_then(|kind| spec(kind).fields.iter().find(|f| f.column == column));
        if let Some(field) = field {
            field.set(self, value);
        }
        field.is_some()
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
    fn a_view_writes_what_it_reads() {
        let event = event::PmdpCollapseFlush {
            vma: 1,
            addr: 2,
            pmdp: 3,
            pmd: 4,
            entry: 5,
            vm_flags: 6,
            markers: 512,
            presents: 7,
            entry_index: 511,
            scanned: true,
        };
        let mut record = Record { ts: 9, tid: 8, args: [!0; ARGS_MAX], ..Record::default() };
        event.write(&mut record);
        assert_eq!((record.ts, record.tid, record.kind()), (9, 8, Some(Kind::PmdpCollapseFlush)));
        assert_eq!(Event::of(&record), Some(Event::PmdpCollapseFlush(event)));
        assert_eq!(record.get(Column::Markers), Some(512));
        let negative = event::VmaStartWriteReturn { vma: 1, ret: -4 };
        negative.write(&mut record);
        assert_eq!(event::VmaStartWriteReturn::of(&record), negative);
        assert_eq!((record.aux, record.args), (-4_i32 as u32, [1, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn fields_are_called_as_their_columns() {
        for s in SPECS {
            assert!(s.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", s.name);
            assert!(!s.doc.is_empty() && !s.doc.contains("  "), "{}: {}", s.name, s.doc);
        }
    }

    #[test]
    fn every_column_and_offset_is_used() {
        for c in Column::ALL {
            assert!(SPECS.iter().any(|s| s.fields.iter().any(|f| f.column == *c)), "{} is in no event", c.name());
        }
        for o in OFFSETS {
            let aside = [STANDBY_OFFSETS, UNCHANGED_OFFSETS, PROC_FILE_OFFSETS].concat().contains(&o.id);
            let used = aside || SPECS.iter().any(|s| s.members().any(|id| id == o.id));
            assert!(used, "{}.{}", o.strukt, o.member);
        }
    }
}
