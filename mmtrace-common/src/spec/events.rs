//! The table of events: the one place that says what an event is.
//!
//! A row reads:
//!
//! ```text
//! /// when it fires, and what it means (kernel file:function)
//! Kind = number, "name", site, class, what its loss makes unknown => {
//!     field: type, place in the record, capture column, source in the kernel;
//! }
//! ```
//!
//! Numbers are the wire format and are never reused. The fields stand in the order of the program's position table.

use super::{
    At, Class, Column, FUNCTION, Field, Function, MmFrom, OffsetId as O, SOFTWARE, Site, Slot, Source, Spec,
    unknown::{ALL, COLLAPSES, FUNCTIONS, LOCKS, NOTHING, SLOTS, SPACE, TABLES, TOUCHED, UNMAPPED},
    view::{Bits, events},
};
use crate::{Call, Record, Walk};

/// The values of one kind of event, by name.
///
/// `Words` is the array of argument words that a record of the kind has.
pub trait View: Copy {
    /// The kind of event.
    const KIND: Kind;
    /// Argument words, as the programs write them.
    type Words: AsRef<[u64]> + Copy;

    /// Reads the values of a record of this kind. From a record of another kind, they mean nothing.
    #[must_use]
    fn of(record: &Record) -> Self;

    /// The aux bits and argument words of a record with these values.
    #[must_use]
    fn pack(&self) -> (u32, Self::Words);

    /// Makes `record` one of this kind with these values; who, where and when stay.
    fn write(&self, record: &mut Record) {
        let (aux, words) = self.pack();
        record.kind = Self::KIND as u16;
        record.aux = aux;
        record.args = [0; crate::ARGS_MAX];
        for (to, from) in record.args.iter_mut().zip(words.as_ref()) {
            *to = *from;
        }
    }
}

/// A signature.
macro_rules! f {
    ($symbol:ident($($param:literal),*)) => {
        Function { symbol: stringify!($symbol), params: &[$($param),*] }
    };
}

const MM: MmFrom = MmFrom::Arg("mm");
const MM_OF_VMA: MmFrom = MmFrom::Path("vma", &[O::VmaMm]);

const HANDLE_MM_FAULT: &[Function] = &[f!(handle_mm_fault("vma", "address", "flags", "regs"))];
const MIGRATION_ENTRY_WAIT: &[Function] = &[f!(migration_entry_wait("mm", "pmd", "address"))];
const MWRITEPROTECT_RANGE: &[Function] = &[f!(mwriteprotect_range("ctx", "start", "len", "enable_wp"))];
const PMDP_COLLAPSE_FLUSH: &[Function] = &[f!(pmdp_collapse_flush("vma", "address", "pmdp"))];
const PTE_OFFSET_MAP_LOCK: &[Function] =
    &[f!(pte_offset_map_lock("mm", "pmd", "addr", "ptlp")), f!(__pte_offset_map_lock("mm", "pmd", "addr", "ptlp"))];
const RETRACT_PAGE_TABLES: &[Function] = &[f!(retract_page_tables("mapping", "pgoff"))];
const COLLAPSE_PTE_MAPPED_THP: &[Function] = &[
    f!(try_collapse_pte_mapped_thp("mm", "addr", "install_pmd")),
    f!(collapse_pte_mapped_thp("mm", "addr", "install_pmd")),
];
const VMA_START_WRITE: &[Function] =
    &[f!(__vma_start_write("vma", "state")), f!(__vma_start_write("vma", "mm_lock_seq"))];

/// Events that show the whole handling of a fault.
const FAULT_HANDLING: &[Kind] = &[Kind::HandleMmFault, Kind::HandleMmFaultReturn];

/// Members that lead to the base name of a VMA's file.
const FILE_NAME: &[O] = &[O::VmaFile, O::FilePath, O::PathDentry, O::DentryName, O::QstrName];

/// Members that lead to the id of a task's cgroup v2.
const CGROUP_ID: &[O] = &[O::TaskCgroups, O::CssSetDflCgrp, O::CgroupKn, O::KernfsId];

const fn tracepoint(system: &'static str) -> Site {
    Site::on(At::Tracepoint, system, &[])
}

const fn entry(functions: &'static [Function]) -> Site {
    Site::on(At::Entry, FUNCTION, functions)
}

const fn exit(functions: &'static [Function]) -> Site {
    Site::on(At::Exit, FUNCTION, functions)
}

const fn entry_of_struct(functions: &'static [Function]) -> Site {
    Site::on(At::EntryOfStruct, FUNCTION, functions)
}

const fn exit_of_struct(functions: &'static [Function]) -> Site {
    Site::on(At::ExitOfStruct, FUNCTION, functions)
}

const fn software(number: u8) -> Site {
    Site::on(At::SoftwareEvent { number }, SOFTWARE, &[])
}

const fn made_here() -> Site {
    Site::on(At::User, "", &[])
}

/// The program of another event writes it, beside its own record.
const fn beside() -> Site {
    Site::on(At::Beside, "", &[])
}

/// Argument word of this index.
const fn word(index: u8) -> Slot {
    Slot::Arg(index)
}

/// This many bits of the header's aux, from bit `shift` on.
const fn bits(shift: u8, bits: u8) -> Slot {
    Slot::Aux { shift, bits }
}

/// Bits of a device number that records carry. A file system's has no more: its major number is below 512
/// (block/genhd.c:BLKDEV_MAJOR_MAX), its minor number has 20 bits.
const DEV_BITS: u8 = 29;

/// A source, and whether the probe is refused without it.
type From = (Source, bool);

const fn arg(name: &'static str) -> From {
    (Source::Arg(name), true)
}

const fn returned() -> From {
    (Source::Return, true)
}

const fn of_returned(member: O) -> From {
    (Source::OfReturn(member), true)
}

const fn pointee(name: &'static str) -> From {
    (Source::Deref(name), true)
}

const fn path(name: &'static str, path: &'static [O]) -> From {
    (Source::Path(name, path), true)
}

const fn made(name: &'static str) -> From {
    (Source::Made(name), true)
}

/// A value that some kernels lack, or that is behind an untyped pointer.
const fn through(name: &'static str, path: &'static [O]) -> From {
    (Source::Through(name, path), false)
}

const fn member(name: &'static str, member: O) -> From {
    (Source::Member(name, member), true)
}

const fn of_current(member: O) -> From {
    (Source::Current(member), false)
}

/// The current task's entry into the kernel.
const fn call() -> From {
    (Source::Call, false)
}

/// What the page tables have at the address that the event is about.
const fn walk() -> From {
    (Source::Walk, false)
}

/// What is mapped at the address that the event is about.
const fn facts_at() -> From {
    (Source::VmaFacts, false)
}

/// The address that a software event comes with.
const fn sample_addr() -> From {
    (Source::SampleAddr, true)
}

const fn user() -> From {
    (Source::User, true)
}

/// A source that some kernels lack: the value is then absent.
const fn optional(from: From) -> From {
    (from.0, false)
}

events! {
    // Tracepoints.

    /// a fault taken in user mode; interrupts off, no lock held yet (arch/x86/mm/fault.c:handle_page_fault)
    PageFaultUser = 1, "page_fault_user", tracepoint("exceptions").of(MmFrom::Current), Fault, FUNCTIONS | TOUCHED => {
        addr: u64, word(0), Addr, arg("address");
        ip: u64, word(1), Ip, member("regs", O::RegsIp);
        error_code: u32, bits(0, 16), ErrorCode, arg("error_code");
        walk: u32, bits(16, Walk::BITS), Walk, walk();
        vma_facts: u32, word(2), VmaFacts, facts_at();
    }

    /// a fault taken in kernel mode: user-space access by the kernel, or a kernel address; one that is not handled
    /// where page faults are disabled (arch/x86/mm/fault.c:do_user_addr_fault)
    PageFaultKernel = 2, "page_fault_kernel",
        tracepoint("exceptions").of(MmFrom::Current),
        Fault, FUNCTIONS | TOUCHED => {
        addr: u64, word(0), Addr, arg("address");
        ip: u64, word(1), Ip, member("regs", O::RegsIp);
        error_code: u32, bits(0, 16), ErrorCode, arg("error_code");
        walk: u32, bits(16, Walk::BITS), Walk, walk();
        pagefault_disabled: bool, word(2), PagefaultDisabled, of_current(O::TaskPagefaultDisabled);
        call: u32, word(3), Call, call();
        vma_facts: u32, word(4), VmaFacts, facts_at();
    }

    /// before an mmap_lock acquisition or trylock (include/linux/mmap_lock.h)
    StartLocking = 3, "mmap_lock_start_locking",
        tracepoint("mmap_lock").of(MM),
        Lock, LOCKS | UNMAPPED | FUNCTIONS | SLOTS | COLLAPSES => {
        write: bool, bits(0, 1), Write, arg("write");
        call: u32, bits(1, Call::BITS), Call, call();
    }

    /// after the acquisition; a downgrade shows as write=0 success=1 without start_locking
    AcquireReturned = 4, "mmap_lock_acquire_returned",
        tracepoint("mmap_lock").of(MM),
        Lock, LOCKS | UNMAPPED | FUNCTIONS | SLOTS | COLLAPSES => {
        write: bool, bits(0, 1), Write, arg("write");
        success: bool, bits(1, 1), Success, arg("success");
    }

    /// before the mmap_lock is released (include/linux/mmap_lock.h)
    Released = 5, "mmap_lock_released", tracepoint("mmap_lock").of(MM), Lock, LOCKS | FUNCTIONS | SLOTS | COLLAPSES => {
        write: bool, bits(0, 1), Write, arg("write");
    }

    /// a migration entry has replaced a PTE; PTL held (mm/rmap.c:try_to_migrate_one)
    SetMigrationPte = 6, "set_migration_pte", tracepoint("migrate"), Migration, LOCKS | SLOTS | COLLAPSES => {
        addr: u64, word(0), Addr, arg("addr");
        pte: u64, word(1), Pte, arg("pte");
        order: i32, bits(0, 32), Order, arg("order");
    }

    /// a present PTE has replaced a migration entry; PTL held (mm/migrate.c:remove_migration_pte)
    RemoveMigrationPte = 7, "remove_migration_pte", tracepoint("migrate"), Migration, LOCKS | SLOTS | COLLAPSES => {
        addr: u64, word(0), Addr, arg("addr");
        pte: u64, word(1), Pte, arg("pte");
        order: i32, bits(0, 32), Order, arg("order");
    }

    /// a migration entry has replaced a huge PMD (mm/huge_memory.c:set_pmd_migration_entry)
    SetMigrationPmd = 8, "set_migration_pmd", tracepoint("thp"), Migration, LOCKS | SLOTS | COLLAPSES => {
        addr: u64, word(0), Addr, arg("addr");
        pmd: u64, word(1), Pmd, arg("pmd");
    }

    /// a huge PMD has replaced a migration entry (mm/huge_memory.c:remove_migration_pmd)
    RemoveMigrationPmd = 9, "remove_migration_pmd", tracepoint("thp"), Migration, LOCKS | SLOTS | COLLAPSES => {
        addr: u64, word(0), Addr, arg("addr");
        pmd: u64, word(1), Pmd, arg("pmd");
    }

    /// entry of mm/migrate.c:migrate_pages
    MigratePagesStart = 10, "mm_migrate_pages_start", tracepoint("migrate"), Migration, LOCKS | SLOTS | COLLAPSES => {
        mode: u32, bits(0, 8), Mode, arg("mode");
        reason: u32, bits(8, 8), Reason, arg("reason");
        call: u32, bits(16, Call::BITS), Call, call();
    }

    /// exit of mm/migrate.c:migrate_pages
    MigratePages = 11, "mm_migrate_pages", tracepoint("migrate"), Migration, LOCKS | SLOTS | COLLAPSES => {
        succeeded: u64, word(0), Succeeded, arg("succeeded");
        failed: u64, word(1), Failed, arg("failed");
        thp_succeeded: u64, word(2), ThpSucceeded, arg("thp_succeeded");
        thp_failed: u64, word(3), ThpFailed, arg("thp_failed");
        thp_split: u64, word(4), ThpSplit, arg("thp_split");
        large_folio_split: u64, word(5), LargeFolioSplit, optional(arg("large_folio_split"));
        mode: u32, bits(0, 8), Mode, arg("mode");
        reason: u32, bits(8, 8), Reason, arg("reason");
    }

    /// end of a PMD scan, after the collapse that it started (mm/khugepaged.c)
    ScanPmd = 12, "mm_khugepaged_scan_pmd", tracepoint("huge_memory").of(MM), Collapse, LOCKS | SLOTS | COLLAPSES => {
        referenced: i32, word(0), Referenced, arg("referenced");
        none_or_zero: i32, word(1), NoneOrZero, arg("none_or_zero");
        unmapped: i32, word(2), Unmapped, arg("unmapped");
        status: u32, bits(0, 32), Status, arg("status");
    }

    /// khugepaged has finished with one mm for now (7.x)
    KhugepagedScan = 13, "mm_khugepaged_scan", tracepoint("huge_memory").of(MM), Collapse, NOTHING => {
        progress: u64, word(0), Progress, arg("progress");
        full_scan_finished: bool, bits(0, 1), FullScanFinished, arg("full_scan_finished");
    }

    /// pages isolated, mmap_lock held for write, old PMD cleared (mm/khugepaged.c:__collapse_huge_page_isolate)
    CollapseIsolate = 14, "mm_collapse_huge_page_isolate",
        tracepoint("huge_memory"),
        Collapse, LOCKS | SLOTS | COLLAPSES => {
        none_or_zero: i32, word(0), NoneOrZero, arg("none_or_zero");
        referenced: i32, word(1), Referenced, arg("referenced");
        status: u32, bits(0, 16), Status, arg("status");
        order: i32, bits(16, 16), Order, optional(arg("order"));
    }

    /// end of an anonymous collapse, after the mmap_lock's release (mm/khugepaged.c:collapse_huge_page)
    CollapseHugePage = 15, "mm_collapse_huge_page",
        tracepoint("huge_memory").of(MM),
        Collapse, LOCKS | SLOTS | COLLAPSES => {
        isolated: i32, word(0), Isolated, arg("isolated");
        status: u32, bits(0, 16), Status, arg("status");
        order: i32, bits(16, 16), Order, optional(arg("order"));
    }

    /// pages were swapped in before an anonymous collapse (mm/khugepaged.c)
    CollapseSwapin = 16, "mm_collapse_huge_page_swapin", tracepoint("huge_memory").of(MM), Collapse, NOTHING => {
        swapped_in: i32, word(0), SwappedIn, arg("swapped_in");
        referenced: i32, word(1), Referenced, arg("referenced");
        ret: i32, word(2), Ret, arg("ret");
        order: i32, bits(0, 16), Order, optional(arg("order"));
    }

    /// end of a file range scan, after the collapse that it started
    ScanFile = 17, "mm_khugepaged_scan_file", tracepoint("huge_memory").of(MM), Collapse, LOCKS | SLOTS | COLLAPSES => {
        present: i32, word(0), Present, arg("present");
        swap: i32, word(1), Swap, arg("swap");
        status: u32, bits(0, 32), Status, arg("result");
    }

    /// end of a file collapse, after page tables were retracted; no mmap_lock held (mm/khugepaged.c:collapse_file)
    CollapseFile = 18, "mm_khugepaged_collapse_file",
        tracepoint("huge_memory").of(MM),
        Collapse, LOCKS | SLOTS | COLLAPSES => {
        index: u64, word(0), Index, arg("index");
        addr: u64, word(1), Addr, arg("addr");
        is_shmem: bool, word(2), IsShmem, arg("is_shmem");
        nr: i32, word(3), Nr, arg("nr");
        status: u32, bits(0, 32), Status, arg("result");
    }

    /// page tables and VMAs are gone, mmap_lock still held for write (mm/mmap.c:exit_mmap)
    ExitMmap = 19, "exit_mmap", tracepoint("mmap").of(MM), Life, ALL => {}

    /// a task has been copied and not yet woken; mm is the child's (kernel/fork.c)
    Fork = 20, "sched_process_fork", tracepoint("sched").of(MmFrom::TaskArg("child")), Life, ALL => {
        child_pid: i32, word(0), ChildPid, member("child", O::TaskTgid);
        child_tid: i32, word(1), ChildTid, member("child", O::TaskPid);
        cgroup_id: u64, word(2), CgroupId, through("child", CGROUP_ID);
    }

    /// an exec succeeded; mm is already the new one (fs/exec.c)
    Exec = 21, "sched_process_exec", tracepoint("sched").of(MmFrom::Current), Life, ALL => {
        old_pid: i32, word(0), OldPid, arg("old_pid");
    }

    /// a task exits; before 6.18 its mm is already gone here (kernel/exit.c:do_exit)
    Exit = 22, "sched_process_exit", tracepoint("sched").of(MmFrom::Current), Life, ALL => {
        group_dead: bool, bits(0, 1), GroupDead, optional(arg("group_dead"));
    }

    /// a TLB flush; for remote shootdowns the current task is unrelated (arch/x86/mm/tlb.c)
    TlbFlush = 23, "tlb_flush", tracepoint("tlb"), Tlb, NOTHING => {
        pages: u64, word(0), Pages, arg("pages");
        flush_reason: u32, bits(0, 8), FlushReason, arg("reason");
    }

    /// one zone's compaction starts (mm/compaction.c:compact_zone)
    CompactionBegin = 24, "mm_compaction_begin", tracepoint("compaction"), Migration, LOCKS | SLOTS | COLLAPSES => {
        zone_start: u64, word(0), ZoneStart, arg("zone_start");
        zone_end: u64, word(1), ZoneEnd, arg("zone_end");
        sync: bool, bits(0, 1), Sync, arg("sync");
    }

    /// one zone's compaction ends (mm/compaction.c:compact_zone)
    CompactionEnd = 25, "mm_compaction_end", tracepoint("compaction"), Migration, LOCKS | SLOTS | COLLAPSES => {
        zone_start: u64, word(0), ZoneStart, arg("zone_start");
        zone_end: u64, word(1), ZoneEnd, arg("zone_end");
        sync: bool, bits(0, 1), Sync, arg("sync");
        compact_result: u32, bits(8, 8), CompactResult, arg("status");
    }

    /// the task is about to block on its own mm's mmap_lock (kernel/locking/rwsem.c slow paths)
    ContentionBegin = 26, "contention_begin", tracepoint("lock").of(MmFrom::LockArg("lock")), Lock, FUNCTIONS => {
        lock: u64, word(0), Lock, arg("lock");
        lock_flags: u32, bits(0, 32), LockFlags, arg("flags");
    }

    /// the task no longer blocks on its own mm's mmap_lock: `ret` 0 acquired, below 0 given up
    ContentionEnd = 27, "contention_end", tracepoint("lock").of(MmFrom::LockArg("lock")), Lock, NOTHING => {
        lock: u64, word(0), Lock, arg("lock");
        ret: i32, bits(0, 32), Ret, arg("ret");
    }

    /// a VMA was stored in the current task's VMA tree (lib/maple_tree.c:mas_store_prealloc)
    MaWrite = 28, "ma_write", tracepoint("maple_tree").of(MmFrom::TreeArg("mas")).also(&["fn"]), Layout, SPACE => {
        addr: u64, word(0), Addr, member("mas", O::MasIndex);
        end: u64, word(1), End, member("mas", O::MasLast);
        vma: u64, word(2), Vma, arg("val");
        vm_flags: u64, word(3), VmFlags, through("val", &[O::VmaFlags]);
        pgoff: u64, word(4), Pgoff, through("val", &[O::VmaPgoff]);
        ino: u64, word(5), Ino, through("val", &[O::VmaFile, O::FileInode, O::InodeIno]);
        dev: u32, bits(0, DEV_BITS), Dev, through("val", &[O::VmaFile, O::FileInode, O::InodeSb, O::SuperDev]);
        anonymous: bool, bits(DEV_BITS, 1), Anonymous, through("val", &[O::VmaFile, O::VmaOps]);
    }

    // Functions: what tracepoints do not show. Signatures are those of 6.1, 6.12, 6.18 and 7.2, where they differ. A
    // value behind a pointer argument is read where the event sits.

    /// a fault is handled; the VMA's or the mm's lock is held (mm/memory.c)
    HandleMmFault = 29, "handle_mm_fault", entry(HANDLE_MM_FAULT).of(MM_OF_VMA), Fault, FUNCTIONS => {
        vma: u64, word(0), Vma, arg("vma");
        addr: u64, word(1), Addr, arg("address");
        fault_flags: u32, bits(0, 16), FaultFlags, arg("flags");
        in_trap: bool, bits(31, 1), InTrap, made("regs");
    }

    /// a fault has been handled; with RETRY or COMPLETED the lock is released, and the VMA may be freed
    /// (mm/memory.c)
    HandleMmFaultReturn = 30, "handle_mm_fault_return", exit(HANDLE_MM_FAULT).of(MmFrom::Current), Fault, FUNCTIONS => {
        vma: u64, word(0), Vma, arg("vma");
        addr: u64, word(1), Addr, arg("address");
        fault_result: u32, bits(0, 32), FaultResult, returned();
    }

    /// a VMA is locked for reading, or (vma 0) the caller has to take the mmap_lock (mm/memory.c, from 7.0
    /// mm/mmap_lock.c)
    LockVmaUnderRcu = 31, "lock_vma_under_rcu",
        exit(&[f!(lock_vma_under_rcu("mm", "address"))]).of(MM),
        Lock, FUNCTIONS => {
        addr: u64, word(0), Addr, arg("address");
        vma: u64, word(1), Vma, returned();
        vma_start: u64, word(2), VmaStart, of_returned(O::VmaStart);
        vma_end: u64, word(3), VmaEnd, of_returned(O::VmaEnd);
        same_mm: bool, bits(0, 1), SameMm, made("mm");
    }

    /// the mmap_lock is held for reading and a VMA found, or (vma 0) neither (mm/memory.c)
    LockMmAndFindVma = 32, "lock_mm_and_find_vma",
        exit(&[f!(lock_mm_and_find_vma("mm", "addr", "regs"))]).of(MM),
        Lock, NOTHING => {
        addr: u64, word(0), Addr, arg("addr");
        vma: u64, word(1), Vma, returned();
    }

    /// a VMA is about to be locked for writing, perhaps after waiting for its readers (mm/memory.c, from 7.0
    /// mm/mmap_lock.c)
    VmaStartWrite = 33, "vma_start_write", entry(VMA_START_WRITE).of(MM_OF_VMA), Lock, FUNCTIONS => {
        vma: u64, word(0), Vma, arg("vma");
    }

    /// a VMA is locked for writing until the mmap_lock is released or downgraded; not locked where `ret` is below 0
    VmaStartWriteReturn = 34, "vma_start_write_return", exit(VMA_START_WRITE).of(MM_OF_VMA), Lock, FUNCTIONS => {
        vma: u64, word(0), Vma, arg("vma");
        ret: i32, bits(0, 32), Ret, optional(returned());
    }

    /// a VMA object is given back (kernel/fork.c, from 7.0 mm/vma_init.c)
    VmAreaFree = 35, "vm_area_free",
        entry(&[f!(vm_area_free("vma"))]).of(MM_OF_VMA),
        Layout, TABLES | SLOTS | FUNCTIONS => {
        vma: u64, word(0), Vma, arg("vma");
    }

    /// a fault has met a migration entry (mm/migrate.c)
    MigrationEntryWait = 36, "migration_entry_wait",
        entry(MIGRATION_ENTRY_WAIT).of(MM),
        Migration, TABLES | SLOTS | FUNCTIONS => {
        addr: u64, word(0), Addr, arg("address");
        pmdp: u64, word(1), Pmdp, arg("pmd");
    }

    /// a fault that met a migration entry goes on: it has waited, or the entry was gone (mm/migrate.c)
    MigrationEntryWaitReturn = 37, "migration_entry_wait_return",
        exit(MIGRATION_ENTRY_WAIT).of(MM),
        Migration, FUNCTIONS => {
        addr: u64, word(0), Addr, arg("address");
    }

    /// the task is about to sleep until the migration is over; the PTL is still held (mm/filemap.c)
    MigrationEntryWaitOnLocked = 38, "migration_entry_wait_on_locked",
        entry(&[
            f!(softleaf_entry_wait_on_locked("entry", "ptl")),
            f!(migration_entry_wait_on_locked("entry", "ptl")),
            f!(migration_entry_wait_on_locked("entry", "ptep", "ptl")),
        ]).of(MmFrom::Current),
        Migration, TABLES | SLOTS => {}

    /// a hugetlb fault has met a migration entry (mm/migrate.c)
    MigrationEntryWaitHuge = 39, "migration_entry_wait_huge",
        entry(&[
            f!(migration_entry_wait_huge("vma", "addr", "ptep")),
            f!(migration_entry_wait_huge("vma", "pte")),
        ]).of(MM_OF_VMA),
        Migration, TABLES | SLOTS => {
        vma: u64, word(0), Vma, arg("vma");
    }

    /// a PTE table is mapped; RCU keeps it from being freed (mm/pgtable-generic.c:__pte_offset_map)
    PteOffsetMap = 40, "pte_offset_map",
        exit(&[
            f!(__pte_offset_map("pmd", "addr", "pmdvalp")),
            f!(___pte_offset_map("pmd", "addr", "pmdvalp")),
        ]).off(),
        Table, SLOTS => {
        pmdp: u64, word(0), Pmdp, arg("pmd");
        addr: u64, word(1), Addr, arg("addr");
        ptep: u64, word(2), Ptep, returned();
        pmd: u64, word(3), Pmd, pointee("pmd");
    }

    /// a PTE table is about to be mapped and locked (mm/pgtable-generic.c)
    PteOffsetMapLockEnter = 41, "pte_offset_map_lock_enter", entry(PTE_OFFSET_MAP_LOCK).of(MM).off(), Table, SLOTS => {
        pmdp: u64, word(0), Pmdp, arg("pmd");
        addr: u64, word(1), Addr, arg("addr");
    }

    /// a PTE table is mapped and its lock held, and the PMD entry still led to it; or (ptep 0) there is none
    /// (mm/pgtable-generic.c)
    PteOffsetMapLock = 42, "pte_offset_map_lock", exit(PTE_OFFSET_MAP_LOCK).of(MM), Table, SLOTS => {
        pmdp: u64, word(0), Pmdp, arg("pmd");
        addr: u64, word(1), Addr, arg("addr");
        ptep: u64, word(2), Ptep, returned();
        pmd: u64, word(3), Pmd, pointee("pmd");
    }

    /// a PTE table is mapped and not locked; whoever writes must look at the PMD entry again (mm/pgtable-generic.c)
    PteOffsetMapRwNolock = 43, "pte_offset_map_rw_nolock",
        exit(&[
            f!(pte_offset_map_rw_nolock("mm", "pmd", "addr", "pmdvalp", "ptlp")),
            f!(pte_offset_map_nolock("mm", "pmd", "addr", "ptlp")),
        ]).of(MM),
        Table, SLOTS => {
        pmdp: u64, word(0), Pmdp, arg("pmd");
        addr: u64, word(1), Addr, arg("addr");
        ptep: u64, word(2), Ptep, returned();
        pmd: u64, word(3), Pmd, pointee("pmd");
        pmd_used: u64, word(4), PmdUsed, optional(pointee("pmdvalp"));
    }

    /// a PTE table is mapped and not locked, to be read only (mm/pgtable-generic.c)
    PteOffsetMapRoNolock = 44, "pte_offset_map_ro_nolock",
        exit(&[f!(pte_offset_map_ro_nolock("mm", "pmd", "addr", "ptlp"))]).of(MM),
        Table, SLOTS => {
        pmdp: u64, word(0), Pmdp, arg("pmd");
        addr: u64, word(1), Addr, arg("addr");
        ptep: u64, word(2), Ptep, returned();
        pmd: u64, word(3), Pmd, pointee("pmd");
    }

    /// a PTE table was to be linked (mm/memory.c)
    PmdInstall = 45, "pmd_install", exit(&[f!(pmd_install("mm", "pmd", "pte"))]).of(MM), Table, SLOTS | FUNCTIONS => {
        pmdp: u64, word(0), Pmdp, arg("pmd");
        pmd: u64, word(1), Pmd, pointee("pmd");
        installed: bool, bits(0, 1), Installed, made("pte");
    }

    /// a PTE table is about to be unlinked; PML is held, and unless the mmap_lock is held for writing the PTL too
    /// (mm/pgtable-generic.c)
    PmdpCollapseFlush = 46, "pmdp_collapse_flush",
        entry_of_struct(PMDP_COLLAPSE_FLUSH).of(MM_OF_VMA),
        Table, TABLES | SLOTS | FUNCTIONS => {
        vma: u64, word(0), Vma, arg("vma");
        addr: u64, word(1), Addr, arg("address");
        pmdp: u64, word(2), Pmdp, arg("pmdp");
        pmd: u64, word(3), Pmd, pointee("pmdp");
        entry: u64, word(4), Entry, made("pmdp");
        vm_flags: u64, word(5), VmFlags, path("vma", &[O::VmaFlags]);
        markers: u32, bits(0, 10), Markers, made("pmdp");
        presents: u32, bits(10, 10), Presents, made("pmdp");
        entry_index: u32, bits(20, 9), EntryIndex, made("pmdp");
        scanned: bool, bits(29, 1), Scanned, made("pmdp");
    }

    /// a PTE table is unlinked and the TLB flushed (mm/pgtable-generic.c)
    PmdpCollapseFlushReturn = 47, "pmdp_collapse_flush_return",
        exit_of_struct(PMDP_COLLAPSE_FLUSH),
        Table, TABLES | SLOTS => {
        pmd: u64, word(0), Pmd, returned();
    }

    /// a PTE table will be freed after a grace period (mm/pgtable-generic.c)
    PteFreeDefer = 48, "pte_free_defer",
        entry(&[f!(pte_free_defer("mm", "pgtable"))]).of(MM),
        Table, TABLES | SLOTS => {
        table: u64, word(0), Table, made("pgtable");
    }

    /// the grace period is over: the PTE table is freed; in RCU context, the current task has nothing to do with it
    /// (mm/pgtable-generic.c)
    PteFreeNow = 49, "pte_free_now",
        entry(&[f!(pte_free_now("head"))]).needs(&[O::PageRcuHead]),
        Table, TABLES | SLOTS => {
        table: u64, word(0), Table, made("head");
    }

    /// a PTE table has been unlinked by munmap, exit or reclaim, and will be freed with the flush or after a grace
    /// period (arch/x86/mm/pgtable.c:___pte_free_tlb)
    PteFreeTlb = 50, "pte_free_tlb",
        entry(&[f!(___pte_free_tlb("tlb", "pte"))]).of(MmFrom::Path("tlb", &[O::TlbMm])),
        Table, SLOTS | FUNCTIONS => {
        table: u64, word(0), Table, made("pte");
    }

    /// PTE tables of a file range that was collapsed are about to be unlinked, in every mm that maps it
    /// (mm/khugepaged.c)
    RetractPageTables = 51, "retract_page_tables", entry(RETRACT_PAGE_TABLES), Collapse, TABLES | SLOTS | FUNCTIONS => {
        mapping: u64, word(0), Mapping, arg("mapping");
        index: u64, word(1), Index, arg("pgoff");
    }

    /// PTE tables of a file range that was collapsed are unlinked, in every mm that maps it (mm/khugepaged.c)
    RetractPageTablesReturn = 52, "retract_page_tables_return",
        exit(RETRACT_PAGE_TABLES),
        Collapse, TABLES | SLOTS | FUNCTIONS => {
        mapping: u64, word(0), Mapping, arg("mapping");
    }

    /// the PTE table of a range that maps one huge folio is about to be unlinked (mm/khugepaged.c, from 7.0
    /// try_collapse_pte_mapped_thp)
    CollapsePteMappedThp = 53, "collapse_pte_mapped_thp",
        entry(COLLAPSE_PTE_MAPPED_THP).of(MM),
        Collapse, TABLES | SLOTS => {
        addr: u64, word(0), Addr, arg("addr");
    }

    /// the PTE table of a range that maps one huge folio is unlinked, or `status` says why not (mm/khugepaged.c)
    CollapsePteMappedThpReturn = 54, "collapse_pte_mapped_thp_return",
        exit(COLLAPSE_PTE_MAPPED_THP).of(MM),
        Collapse, TABLES | SLOTS => {
        addr: u64, word(0), Addr, arg("addr");
        status: u32, bits(0, 32), Status, optional(returned());
    }

    /// an anonymous collapse begins; it ends with mm_collapse_huge_page (mm/khugepaged.c)
    CollapseHugePageEnter = 55, "collapse_huge_page",
        entry(&[
            f!(collapse_huge_page("mm", "start_addr:address", "referenced", "unmapped", "cc", "order")),
            f!(collapse_huge_page("mm", "address", "referenced", "unmapped", "cc")),
        ]).of(MM),
        Collapse, TABLES | SLOTS => {
        addr: u64, word(0), Addr, arg("address");
    }

    /// an mm_struct is given back (kernel/fork.c:__mmdrop)
    Mmdrop = 56, "mmdrop", entry(&[f!(__mmdrop("mm"))]).of(MM), Life, TABLES | SLOTS | FUNCTIONS => {}

    /// page tables of a VMA are about to be walked; a hugetlb VMA is locked (mm/memory.c)
    VmaPgtableWalkBegin = 57, "vma_pgtable_walk_begin",
        exit(&[f!(vma_pgtable_walk_begin("vma"))]).of(MM_OF_VMA),
        Table, TABLES | SLOTS => {
        vma: u64, word(0), Vma, arg("vma");
    }

    /// page tables of a VMA have been walked; a hugetlb VMA is about to be unlocked (mm/memory.c)
    VmaPgtableWalkEnd = 58, "vma_pgtable_walk_end",
        entry(&[f!(vma_pgtable_walk_end("vma"))]).of(MM_OF_VMA),
        Table, TABLES | SLOTS => {
        vma: u64, word(0), Vma, arg("vma");
    }

    /// the hugetlb lock of a VMA, if it has one, is held for reading (mm/hugetlb.c)
    HugetlbVmaLockRead = 59, "hugetlb_vma_lock_read",
        exit(&[f!(hugetlb_vma_lock_read("vma"))]).of(MM_OF_VMA),
        Lock, TABLES | SLOTS => {
        vma: u64, word(0), Vma, arg("vma");
        lock_object: u64, word(1), LockObject, member("vma", O::VmaPrivate);
        vm_flags: u64, word(2), VmFlags, member("vma", O::VmaFlags);
    }

    /// the hugetlb lock of a VMA, if it has one, is about to be released by a reader (mm/hugetlb.c)
    HugetlbVmaUnlockRead = 60, "hugetlb_vma_unlock_read",
        entry(&[f!(hugetlb_vma_unlock_read("vma"))]).of(MM_OF_VMA),
        Lock, TABLES | SLOTS => {
        vma: u64, word(0), Vma, arg("vma");
        lock_object: u64, word(1), LockObject, member("vma", O::VmaPrivate);
        vm_flags: u64, word(2), VmFlags, member("vma", O::VmaFlags);
    }

    /// the hugetlb lock of a VMA, if it has one, is held for writing (mm/hugetlb.c)
    HugetlbVmaLockWrite = 61, "hugetlb_vma_lock_write",
        exit(&[f!(hugetlb_vma_lock_write("vma"))]).of(MM_OF_VMA),
        Lock, TABLES | SLOTS => {
        vma: u64, word(0), Vma, arg("vma");
        lock_object: u64, word(1), LockObject, member("vma", O::VmaPrivate);
        vm_flags: u64, word(2), VmFlags, member("vma", O::VmaFlags);
    }

    /// the hugetlb lock of a VMA, if it has one, is about to be released by the writer (mm/hugetlb.c)
    HugetlbVmaUnlockWrite = 62, "hugetlb_vma_unlock_write",
        entry(&[f!(hugetlb_vma_unlock_write("vma"))]).of(MM_OF_VMA),
        Lock, TABLES | SLOTS => {
        vma: u64, word(0), Vma, arg("vma");
        lock_object: u64, word(1), LockObject, member("vma", O::VmaPrivate);
        vm_flags: u64, word(2), VmFlags, member("vma", O::VmaFlags);
    }

    /// the hugetlb lock of a VMA was tried for writing (mm/hugetlb.c)
    HugetlbVmaTrylockWrite = 63, "hugetlb_vma_trylock_write",
        exit(&[f!(hugetlb_vma_trylock_write("vma"))]).of(MM_OF_VMA),
        Lock, TABLES | SLOTS => {
        vma: u64, word(0), Vma, arg("vma");
        lock_object: u64, word(1), LockObject, member("vma", O::VmaPrivate);
        vm_flags: u64, word(2), VmFlags, member("vma", O::VmaFlags);
        success: bool, bits(0, 1), Success, returned();
    }

    /// a hugetlb range has been zapped; its lock is about to be released, or has gone with the VMA
    /// (mm/hugetlb.c:__hugetlb_zap_end)
    HugetlbZapEnd = 67, "hugetlb_zap_end",
        entry(&[f!(__hugetlb_zap_end("vma", "details"))]).of(MM_OF_VMA),
        Lock, TABLES | SLOTS => {
        vma: u64, word(0), Vma, arg("vma");
    }

    /// an rmap walk is about to drop its use of a shared PMD table; other callers are inlined (mm/hugetlb.c)
    HugePmdUnshare = 68, "huge_pmd_unshare",
        entry(&[
            f!(huge_pmd_unshare("tlb", "vma", "addr", "ptep")),
            f!(huge_pmd_unshare("mm", "vma", "addr", "ptep")),
        ]).of(MM_OF_VMA),
        Table, TABLES | SLOTS => {
        vma: u64, word(0), Vma, arg("vma");
        addr: u64, word(1), Addr, arg("addr");
    }

    /// a VMA is about to be registered with userfaultfd, or no longer (ctx 0) (mm/userfaultfd.c)
    UserfaultfdSetCtx = 69, "userfaultfd_set_ctx",
        entry(&[
            f!(userfaultfd_set_ctx("vma", "ctx", "vm_flags")),
            f!(userfaultfd_set_ctx("vma", "ctx", "flags:vm_flags")),
        ]).of(MM_OF_VMA),
        Fault, FUNCTIONS => {
        vma: u64, word(0), Vma, arg("vma");
        ctx: u64, word(1), Ctx, arg("ctx");
        vm_flags: u64, word(2), VmFlags, arg("vm_flags");
    }

    /// UFFDIO_WRITEPROTECT begins (mm/userfaultfd.c)
    MwriteprotectRange = 70, "mwriteprotect_range",
        entry(MWRITEPROTECT_RANGE).of(MmFrom::Path("ctx", &[O::UffdMm])),
        Fault, FUNCTIONS => {
        addr: u64, word(0), Addr, arg("start");
        len: u64, word(1), Len, arg("len");
        enable_wp: bool, bits(0, 1), EnableWp, arg("enable_wp");
    }

    /// UFFDIO_WRITEPROTECT is done (mm/userfaultfd.c)
    MwriteprotectRangeReturn = 71, "mwriteprotect_range_return",
        exit(MWRITEPROTECT_RANGE).of(MmFrom::Path("ctx", &[O::UffdMm])),
        Fault, FUNCTIONS => {
        addr: u64, word(0), Addr, arg("start");
        len: u64, word(1), Len, arg("len");
        ret: i32, bits(0, 32), Ret, returned();
    }

    /// a fault needed the VMA to have an anon_vma (mm/memory.c:__vmf_anon_prepare)
    VmfAnonPrepare = 72, "vmf_anon_prepare",
        exit(&[f!(__vmf_anon_prepare("vmf"))]).of(MmFrom::Current),
        Fault, FUNCTIONS => {
        vma: u64, word(0), Vma, path("vmf", &[O::VmfVma]);
        addr: u64, word(1), Addr, path("vmf", &[O::VmfAddress]);
        fault_result: u32, bits(0, 32), FaultResult, returned();
    }

    /// a fault needed a folio that was locked (mm/filemap.c:__folio_lock_or_retry)
    FolioLockOrRetry = 73, "folio_lock_or_retry",
        exit(&[f!(__folio_lock_or_retry("folio", "vmf"))]).of(MmFrom::Current),
        Fault, FUNCTIONS => {
        fault_flags: u32, bits(0, 16), FaultFlags, path("vmf", &[O::VmfFlags]);
        fault_result: u64, word(0), FaultResult, returned();
    }

    // Rare parts of a fault: what neither the page tables nor the result of the fault tell.

    /// a fault on memory without a page table has tried a huge page; with FALLBACK it goes on with a small one
    /// (mm/huge_memory.c)
    HugePmdAnonymous = 85, "do_huge_pmd_anonymous_page",
        exit(&[f!(do_huge_pmd_anonymous_page("vmf"))]).of(MmFrom::Current),
        Fault, FUNCTIONS => {
        vma: u64, word(0), Vma, path("vmf", &[O::VmfVma]);
        addr: u64, word(1), Addr, path("vmf", &[O::VmfAddress]);
        fault_result: u32, bits(0, 32), FaultResult, returned();
    }

    /// a fault is handed to userfaultfd, and waits there (fs/userfaultfd.c, from 7.0 mm/userfaultfd.c)
    HandleUserfault = 86, "handle_userfault",
        entry(&[f!(handle_userfault("vmf", "reason"))]).of(MmFrom::Current),
        Fault, FUNCTIONS => {
        vma: u64, word(0), Vma, path("vmf", &[O::VmfVma]);
        addr: u64, word(1), Addr, path("vmf", &[O::VmfAddress]);
    }

    /// a stack was to grow down to an address; `ret` 0: it did (mm/mmap.c; 6.1: expand_stack)
    ExpandStack = 87, "expand_stack_locked",
        exit(&[
            f!(expand_stack_locked("vma", "address")),
            f!(expand_stack("vma", "address")),
        ]).of(MM_OF_VMA),
        Fault, FUNCTIONS => {
        vma: u64, word(0), Vma, arg("vma");
        addr: u64, word(1), Addr, arg("address");
        ret: i32, bits(0, 32), Ret, returned();
    }

    // Names of tasks.

    /// a task's command name is about to change: prctl(PR_SET_NAME), /proc/PID/comm, or an exec
    /// (fs/exec.c:__set_task_comm)
    TaskRename = 75, "task_rename", tracepoint("task"), Life, NOTHING => {
        of_tid: i32, word(0), OfTid, member("task", O::TaskPid);
        comm: u64, word(1), Comm, made("comm");
        comm_tail: u64, word(2), CommTail, made("comm");
    }

    /// a task's command name, as it was when recording began or when the task was first met; made by the user side
    TaskName = 76, "task_name", made_here(), Life, NOTHING => {
        comm: u64, word(0), Comm, user();
        comm_tail: u64, word(1), CommTail, user();
    }

    // Cgroups of tasks.

    /// the cgroup v2 that a task is in, as it was when recording began or when the task was first met; made by the user side
    TaskCgroup = 82, "task_cgroup", made_here(), Life, NOTHING => {
        cgroup_id: u64, word(0), CgroupId, user();
    }

    /// the path of a cgroup v2 below its hierarchy's mount, in up to eight parts; made by the user side
    CgroupPath = 83, "cgroup_path", made_here(), Life, NOTHING => {
        cgroup_id: u64, word(0), CgroupId, user();
        name: u64, word(1), Name, user();
        name_2: u64, word(2), Name2, user();
        name_3: u64, word(3), Name3, user();
        name_4: u64, word(4), Name4, user();
        name_5: u64, word(5), Name5, user();
        part: u32, bits(0, 3), Part, user();
    }

    /// a task, or every thread of its process, was moved into a cgroup v2 (kernel/cgroup/cgroup.c:cgroup_attach_task)
    CgroupAttachTask = 84, "cgroup_attach_task",
        tracepoint("cgroup").needs(&[O::CgroupRoot, O::RootHierarchyId]),
        Life, NOTHING => {
        of_tid: i32, word(0), OfTid, member("task", O::TaskPid);
        of_pid: i32, word(1), OfPid, member("task", O::TaskTgid);
        cgroup_id: u64, word(2), CgroupId, path("dst_cgrp", &[O::CgroupKn, O::KernfsId]);
        threadgroup: bool, bits(0, 1), Threadgroup, arg("threadgroup");
    }

    // Software events: the end of a fault, where no function shows it.

    /// a fault has been handled, and the kernel counts it as minor: nothing had to be waited for. One that is to be tried
    /// again, or has failed, is not counted; nor is one that is handled for GUP (mm/memory.c:mm_account_fault)
    PageFaultsMin = 90, "page_faults_min",
        software(5).of(MmFrom::Current).unless(FAULT_HANDLING),
        Fault, NOTHING => {
        addr: u64, word(0), Addr, sample_addr();
    }

    /// a fault has been handled, and the kernel counts it as major: the call that handled it returned `VM_FAULT_MAJOR`, or
    /// it was tried again after a call that dropped the lock. Otherwise as page_faults_min (mm/memory.c:mm_account_fault)
    PageFaultsMaj = 91, "page_faults_maj",
        software(6).of(MmFrom::Current).unless(FAULT_HANDLING),
        Fault, NOTHING => {
        addr: u64, word(0), Addr, sample_addr();
    }

    // Names of mappings.

    /// the base name of a file that was mapped, where it is first seen; the program of ma_write writes it in front of its
    /// own record
    FileName = 77, "file_name", beside().needs(&[O::QstrHash]), Layout, NOTHING => {
        ino: u64, word(0), Ino, through("val", &[O::VmaFile, O::FileInode, O::InodeIno]);
        name: u64, word(1), Name, through("val", FILE_NAME);
        name_2: u64, word(2), Name2, through("val", FILE_NAME);
        name_3: u64, word(3), Name3, through("val", FILE_NAME);
        name_4: u64, word(4), Name4, through("val", FILE_NAME);
        name_5: u64, word(5), Name5, through("val", FILE_NAME);
        dev: u32, bits(0, DEV_BITS), Dev, through("val", &[O::VmaFile, O::FileInode, O::InodeSb, O::SuperDev]);
    }

    /// the path of a mapped file in /proc/PID/maps, in up to eight parts; made by the user side
    FilePath = 78, "file_path", made_here(), Layout, NOTHING => {
        ino: u64, word(0), Ino, user();
        name: u64, word(1), Name, user();
        name_2: u64, word(2), Name2, user();
        name_3: u64, word(3), Name3, user();
        name_4: u64, word(4), Name4, user();
        name_5: u64, word(5), Name5, user();
        dev: u32, bits(0, DEV_BITS), Dev, user();
        part: u32, bits(DEV_BITS, 3), Part, user();
    }

    /// a mapping in /proc/PID/maps, which was read because faults were in mappings that no ma_write had shown; made by
    /// the user side
    Mapping = 79, "mapping", made_here(), Layout, NOTHING => {
        addr: u64, word(0), Addr, user();
        end: u64, word(1), End, user();
        since: u64, word(2), Since, user();
        vm_flags: u64, word(3), VmFlags, user();
        pgoff: u64, word(4), Pgoff, user();
        ino: u64, word(5), Ino, user();
        dev: u32, bits(0, DEV_BITS), Dev, user();
        anonymous: bool, bits(DEV_BITS, 1), Anonymous, user();
    }

    /// the name of the mapping that begins at an address, such as `[heap]` or `[anon:NAME]`, in up to eight parts; stands
    /// in front of its mapping record; made by the user side
    MappingName = 80, "mapping_name", made_here(), Layout, NOTHING => {
        addr: u64, word(0), Addr, user();
        name: u64, word(1), Name, user();
        name_2: u64, word(2), Name2, user();
        name_3: u64, word(3), Name3, user();
        name_4: u64, word(4), Name4, user();
        name_5: u64, word(5), Name5, user();
        part: u32, bits(DEV_BITS, 3), Part, user();
    }

    /// /proc/PID/maps of an mm has been read: its mapping records stand in front of it; made by the user side
    MapsRead = 81, "maps_read", made_here(), Layout, NOTHING => {
        since: u64, word(0), Since, user();
        whole: bool, bits(0, 1), Whole, user();
    }

    // Names of functions.

    /// a function of a mapped file in which faults were, with its name in up to eight parts; made by the user side, from
    /// the file's symbol tables
    FunctionName = 88, "function_name", made_here(), Layout, NOTHING => {
        ino: u64, word(0), Ino, user();
        file_offset: u64, word(1), FileOffset, user();
        len: u64, word(2), Len, user();
        name: u64, word(3), Name, user();
        name_2: u64, word(4), Name2, user();
        name_3: u64, word(5), Name3, user();
        dev: u32, bits(0, DEV_BITS), Dev, user();
        part: u32, bits(DEV_BITS, 3), Part, user();
    }

    /// the build id of a mapped file in which faults were; made by the user side, from the file's notes
    BuildId = 89, "build_id", made_here(), Layout, NOTHING => {
        ino: u64, word(0), Ino, user();
        len: u64, word(1), Len, user();
        build_id: u64, word(2), BuildId, user();
        build_id_2: u64, word(3), BuildId2, user();
        build_id_3: u64, word(4), BuildId3, user();
        dev: u32, bits(0, DEV_BITS), Dev, user();
    }

    // Made by the user side: what users say.

    /// a label that `mmtrace mark` put on the time line, in up to eight parts; made by the user side
    Mark = 95, "mark", made_here(), Life, NOTHING => {
        name: u64, word(0), Name, user();
        name_2: u64, word(1), Name2, user();
        name_3: u64, word(2), Name3, user();
        name_4: u64, word(3), Name4, user();
        name_5: u64, word(4), Name5, user();
        part: u32, bits(0, 3), Part, user();
    }

    // Made by the user side: what recording itself costs, where `--max-overhead` limits it.

    /// the CPU time that recording took in about a second, up to `ts`; made by the user side
    RecordingCost = 93, "recording_cost", made_here(), Life, NOTHING => {
        cpus_ns: u64, word(0), CpusNs, user();
        programs_ns: u64, word(1), ProgramsNs, user();
        mmtrace_ns: u64, word(2), MmtraceNs, user();
        max_overhead: u32, bits(0, 16), MaxOverhead, user();
    }

    /// events of one kind are not recorded from `ts` on, since recording cost more CPU time than `--max-overhead` allows;
    /// made by the user side
    EventsShed = 94, "events_shed", made_here(), Life, NOTHING => {
        shed_kind: u64, word(0), ShedKind, user();
        cpus_ns: u64, word(1), CpusNs, user();
        programs_ns: u64, word(2), ProgramsNs, user();
        mmtrace_ns: u64, word(3), MmtraceNs, user();
        max_overhead: u32, bits(0, 16), MaxOverhead, user();
    }

    /// from `ts` on, the kernel enters a standby program more for events of one kind, since it had skipped runs of their
    /// program; made by the user side
    StandbyAttached = 96, "standby_attached", made_here(), Life, NOTHING => {
        standby_kind: u64, word(0), StandbyKind, user();
        standby_programs: u32, bits(0, 16), StandbyPrograms, user();
    }

    // Made by the user side: what is missing.

    /// the ring buffer was full: events of one kind on one CPU were not delivered between `ts` and `until`
    Loss = 64, "loss", made_here(), Lost, ALL => {
        lost_kind: u64, word(0), LostKind, user();
        count: u64, word(1), Count, user();
        until: u64, word(2), Until, user();
    }

    /// events are missing: between `ts` and `until`, the kernel skipped a probe that was already running on that CPU, and
    /// its standby programs
    Missed = 65, "missed", made_here(), Missed, ALL => {
        lost_kind: u64, word(0), LostKind, user();
        count: u64, word(1), Count, user();
        until: u64, word(2), Until, user();
    }

    /// part of the capture is missing or damaged, between `ts` and `until`
    Gap = 66, "gap", made_here(), Gap, ALL => {
        count: u64, word(0), Count, user();
        until: u64, word(1), Until, user();
    }

    /// a ring held records that no program of mmtrace can have written: which events are missing for them, between
    /// `ts` and `until`, is not known
    Foreign = 74, "foreign", made_here(), Foreign, ALL => {
        count: u64, word(0), Count, user();
        until: u64, word(1), Until, user();
    }
}
