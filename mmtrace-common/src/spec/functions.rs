//! Events that are kernel functions: what tracepoints do not show.
//!
//! Signatures are those of 6.1, 6.12, 6.18 and 7.2, where they differ. An argument that a
//! function hands on by pointer is read where the event sits.

use super::{
    At, Column as C, FUNCTION, Field, Function, Kind as K, MmFrom, OffsetId as O, Slot, Spec, arg, aux, deref, made,
    member, of_return, path, ret,
};

const fn function(kind: K, name: &'static str, at: At, functions: &'static [Function], doc: &'static str) -> Spec {
    Spec {
        kind,
        system: FUNCTION,
        name,
        at,
        functions,
        on: true,
        mm: MmFrom::None,
        fields: &[],
        also: &[],
        offsets: &[],
        doc,
    }
}

const fn entry(kind: K, name: &'static str, functions: &'static [Function], doc: &'static str) -> Spec {
    function(kind, name, At::Entry, functions, doc)
}

const fn exit(kind: K, name: &'static str, functions: &'static [Function], doc: &'static str) -> Spec {
    function(kind, name, At::Exit, functions, doc)
}

impl Spec {
    const fn of(self, mm: MmFrom) -> Self {
        let offsets: &[O] = if matches!(mm, MmFrom::Current) { &[O::TaskMm] } else { &[] };
        Self { mm, offsets, ..self }
    }

    const fn with(self, fields: &'static [Field]) -> Self {
        Self { fields, ..self }
    }

    const fn off(self) -> Self {
        Self { on: false, ..self }
    }
}

const fn bits(shift: u8, bits: u8) -> Slot {
    Slot::Aux { shift, bits }
}

/// A signature.
macro_rules! f {
    ($symbol:ident($($param:literal),*)) => {
        Function { symbol: stringify!($symbol), params: &[$($param),*] }
    };
}

const MM: MmFrom = MmFrom::Arg("mm");
const MM_OF_VMA: MmFrom = MmFrom::Path("vma", &[O::VmaMm]);
const VMA: Field = arg(C::Vma, "vma", 0);

const HANDLE_MM_FAULT: &[Function] = &[f!(handle_mm_fault("vma", "address", "flags", "regs"))];
const VMA_START_WRITE: &[Function] =
    &[f!(__vma_start_write("vma", "state")), f!(__vma_start_write("vma", "mm_lock_seq"))];
const MIGRATION_ENTRY_WAIT: &[Function] = &[f!(migration_entry_wait("mm", "pmd", "address"))];
const PTE_OFFSET_MAP_LOCK: &[Function] =
    &[f!(pte_offset_map_lock("mm", "pmd", "addr", "ptlp")), f!(__pte_offset_map_lock("mm", "pmd", "addr", "ptlp"))];
const PMDP_COLLAPSE_FLUSH: &[Function] = &[f!(pmdp_collapse_flush("vma", "address", "pmdp"))];
const RETRACT_PAGE_TABLES: &[Function] = &[f!(retract_page_tables("mapping", "pgoff"))];
const COLLAPSE_PTE_MAPPED_THP: &[Function] = &[
    f!(try_collapse_pte_mapped_thp("mm", "addr", "install_pmd")),
    f!(collapse_pte_mapped_thp("mm", "addr", "install_pmd")),
];
const MWRITEPROTECT_RANGE: &[Function] = &[f!(mwriteprotect_range("ctx", "start", "len", "enable_wp"))];

/// Of a map: the PMD entry's address and the address mapped, the PTE's address, the PMD entry now.
const MAP: &[Field] =
    &[arg(C::Pmdp, "pmd", 0), arg(C::Addr, "addr", 1), ret(C::Ptep, Slot::Arg(2), true), deref(C::Pmd, "pmd", 3, true)];
const MAP_NOLOCK: &[Field] = &[
    arg(C::Pmdp, "pmd", 0),
    arg(C::Addr, "addr", 1),
    ret(C::Ptep, Slot::Arg(2), true),
    deref(C::Pmd, "pmd", 3, true),
    deref(C::PmdUsed, "pmdvalp", 4, false),
];
/// Of a hugetlb VMA lock: which VMA, and what says which lock that is.
const HUGETLB_LOCK: &[Field] =
    &[VMA, member(C::LockObject, "vma", O::VmaPrivate, 1), member(C::VmFlags, "vma", O::VmaFlags, 2)];
const HUGETLB_TRYLOCK: &[Field] = &[
    VMA,
    member(C::LockObject, "vma", O::VmaPrivate, 1),
    member(C::VmFlags, "vma", O::VmaFlags, 2),
    ret(C::Success, bits(0, 1), true),
];

/// The functions.
pub(super) const ROWS: &[Spec] = &[
    entry(K::HandleMmFault, "handle_mm_fault", HANDLE_MM_FAULT, "a fault is handled; the VMA's or the mm's lock is held (mm/memory.c)")
        .of(MM_OF_VMA)
        .with(&[VMA, arg(C::Addr, "address", 1), aux(C::FaultFlags, "flags", 0, 16), made(C::InTrap, "regs", bits(31, 1))]),
    exit(K::HandleMmFaultReturn, "handle_mm_fault_return", HANDLE_MM_FAULT, "and has been; with RETRY or COMPLETED the lock is gone, and perhaps the VMA")
        .of(MmFrom::Current)
        .with(&[VMA, arg(C::Addr, "address", 1), ret(C::FaultResult, bits(0, 32), true)]),
    exit(K::LockVmaUnderRcu, "lock_vma_under_rcu", &[f!(lock_vma_under_rcu("mm", "address"))], "a VMA is locked for reading, or (vma 0) the caller has to take the mmap_lock (mm/memory.c, from 7.0 mm/mmap_lock.c)")
        .of(MM)
        .with(&[
            arg(C::Addr, "address", 0),
            ret(C::Vma, Slot::Arg(1), true),
            of_return(C::VmaStart, O::VmaStart, 2),
            of_return(C::VmaEnd, O::VmaEnd, 3),
            made(C::SameMm, "mm", bits(0, 1)),
        ]),
    exit(K::LockMmAndFindVma, "lock_mm_and_find_vma", &[f!(lock_mm_and_find_vma("mm", "addr", "regs"))], "the mmap_lock is held for reading and a VMA found, or (vma 0) neither (mm/memory.c)")
        .of(MM)
        .with(&[arg(C::Addr, "addr", 0), ret(C::Vma, Slot::Arg(1), true)]),
    entry(K::VmaStartWrite, "vma_start_write", VMA_START_WRITE, "a VMA is about to be locked for writing, perhaps after waiting for its readers (mm/memory.c, from 7.0 mm/mmap_lock.c)")
        .of(MM_OF_VMA)
        .with(&[VMA]),
    exit(K::VmaStartWriteReturn, "vma_start_write_return", VMA_START_WRITE, "and is, until the mmap_lock is released or downgraded; unless `ret` is below 0")
        .of(MM_OF_VMA)
        .with(&[VMA, ret(C::Ret, bits(0, 32), false)]),
    entry(K::VmAreaFree, "vm_area_free", &[f!(vm_area_free("vma"))], "a VMA object is given back (kernel/fork.c, from 7.0 mm/vma_init.c)")
        .of(MM_OF_VMA)
        .with(&[VMA]),
    entry(K::MigrationEntryWait, "migration_entry_wait", MIGRATION_ENTRY_WAIT, "a fault has met a migration entry (mm/migrate.c)")
        .of(MM)
        .with(&[arg(C::Addr, "address", 0), arg(C::Pmdp, "pmd", 1)]),
    exit(K::MigrationEntryWaitReturn, "migration_entry_wait_return", MIGRATION_ENTRY_WAIT, "and goes on: it has waited, or the entry was gone")
        .of(MM)
        .with(&[arg(C::Addr, "address", 0)]),
    entry(
        K::MigrationEntryWaitOnLocked,
        "migration_entry_wait_on_locked",
        &[
            f!(softleaf_entry_wait_on_locked("entry", "ptl")),
            f!(migration_entry_wait_on_locked("entry", "ptl")),
            f!(migration_entry_wait_on_locked("entry", "ptep", "ptl")),
        ],
        "the task is about to sleep until the migration is over; the PTL is still held (mm/filemap.c)",
    )
    .of(MmFrom::Current),
    entry(
        K::MigrationEntryWaitHuge,
        "migration_entry_wait_huge",
        &[f!(migration_entry_wait_huge("vma", "addr", "ptep")), f!(migration_entry_wait_huge("vma", "pte"))],
        "a hugetlb fault has met a migration entry (mm/migrate.c)",
    )
    .of(MM_OF_VMA)
    .with(&[VMA]),
    exit(
        K::PteOffsetMap,
        "pte_offset_map",
        &[f!(__pte_offset_map("pmd", "addr", "pmdvalp")), f!(___pte_offset_map("pmd", "addr", "pmdvalp"))],
        "a PTE table is mapped; RCU keeps it from being freed (mm/pgtable-generic.c:__pte_offset_map)",
    )
    .with(MAP)
    .off(),
    entry(K::PteOffsetMapLockEnter, "pte_offset_map_lock_enter", PTE_OFFSET_MAP_LOCK, "a PTE table is about to be mapped and locked (mm/pgtable-generic.c)")
        .of(MM)
        .with(&[arg(C::Pmdp, "pmd", 0), arg(C::Addr, "addr", 1)])
        .off(),
    exit(K::PteOffsetMapLock, "pte_offset_map_lock", PTE_OFFSET_MAP_LOCK, "a PTE table is mapped and its lock held, and the PMD entry still led to it; or (ptep 0) there is none (mm/pgtable-generic.c)")
        .of(MM)
        .with(MAP),
    exit(
        K::PteOffsetMapRwNolock,
        "pte_offset_map_rw_nolock",
        &[
            f!(pte_offset_map_rw_nolock("mm", "pmd", "addr", "pmdvalp", "ptlp")),
            f!(pte_offset_map_nolock("mm", "pmd", "addr", "ptlp")),
        ],
        "a PTE table is mapped and not locked; whoever writes must look at the PMD entry again (mm/pgtable-generic.c)",
    )
    .of(MM)
    .with(MAP_NOLOCK),
    exit(K::PteOffsetMapRoNolock, "pte_offset_map_ro_nolock", &[f!(pte_offset_map_ro_nolock("mm", "pmd", "addr", "ptlp"))], "a PTE table is mapped and not locked, to be read only (mm/pgtable-generic.c)")
        .of(MM)
        .with(MAP),
    exit(K::PmdInstall, "pmd_install", &[f!(pmd_install("mm", "pmd", "pte"))], "a PTE table was to be linked (mm/memory.c)")
        .of(MM)
        .with(&[arg(C::Pmdp, "pmd", 0), deref(C::Pmd, "pmd", 1, true), made(C::Installed, "pte", bits(0, 1))]),
    function(K::PmdpCollapseFlush, "pmdp_collapse_flush", At::EntryOfStruct, PMDP_COLLAPSE_FLUSH, "a PTE table is about to be unlinked; PML is held, and unless the mmap_lock is held for writing the PTL too (mm/pgtable-generic.c)")
        .of(MM_OF_VMA)
        .with(&[
            VMA,
            arg(C::Addr, "address", 1),
            arg(C::Pmdp, "pmdp", 2),
            deref(C::Pmd, "pmdp", 3, true),
            made(C::Entry, "pmdp", Slot::Arg(4)),
            path(C::VmFlags, "vma", &[O::VmaFlags], Slot::Arg(5)),
            made(C::Markers, "pmdp", bits(0, 10)),
            made(C::Presents, "pmdp", bits(10, 10)),
            made(C::EntryIndex, "pmdp", bits(20, 9)),
            made(C::Scanned, "pmdp", bits(29, 1)),
        ]),
    function(K::PmdpCollapseFlushReturn, "pmdp_collapse_flush_return", At::ExitOfStruct, PMDP_COLLAPSE_FLUSH, "and is unlinked, and the TLB flushed")
        .with(&[ret(C::Pmd, Slot::Arg(0), true)]),
    entry(K::PteFreeDefer, "pte_free_defer", &[f!(pte_free_defer("mm", "pgtable"))], "a PTE table will be freed after a grace period (mm/pgtable-generic.c)")
        .of(MM)
        .with(&[made(C::Table, "pgtable", Slot::Arg(0))]),
    Spec {
        offsets: &[O::PageRcuHead],
        ..entry(K::PteFreeNow, "pte_free_now", &[f!(pte_free_now("head"))], "the grace period is over: the PTE table is freed; in RCU context, the current task has nothing to do with it (mm/pgtable-generic.c)")
            .with(&[made(C::Table, "head", Slot::Arg(0))])
    },
    entry(K::PteFreeTlb, "pte_free_tlb", &[f!(___pte_free_tlb("tlb", "pte"))], "a PTE table has been unlinked by munmap, exit or reclaim, and will be freed with the flush or after a grace period (arch/x86/mm/pgtable.c:___pte_free_tlb)")
        .of(MmFrom::Path("tlb", &[O::TlbMm]))
        .with(&[made(C::Table, "pte", Slot::Arg(0))]),
    entry(K::RetractPageTables, "retract_page_tables", RETRACT_PAGE_TABLES, "PTE tables of a file range that was collapsed are about to be unlinked, in every mm that maps it (mm/khugepaged.c)")
        .with(&[arg(C::Mapping, "mapping", 0), arg(C::Index, "pgoff", 1)]),
    exit(K::RetractPageTablesReturn, "retract_page_tables_return", RETRACT_PAGE_TABLES, "and have been")
        .with(&[arg(C::Mapping, "mapping", 0)]),
    entry(K::CollapsePteMappedThp, "collapse_pte_mapped_thp", COLLAPSE_PTE_MAPPED_THP, "the PTE table of a range that maps one huge folio is about to be unlinked (mm/khugepaged.c, from 7.0 try_collapse_pte_mapped_thp)")
        .of(MM)
        .with(&[arg(C::Addr, "addr", 0)]),
    exit(K::CollapsePteMappedThpReturn, "collapse_pte_mapped_thp_return", COLLAPSE_PTE_MAPPED_THP, "and has been, or not")
        .of(MM)
        .with(&[arg(C::Addr, "addr", 0), ret(C::Status, bits(0, 32), false)]),
    entry(
        K::CollapseHugePageEnter,
        "collapse_huge_page",
        &[
            f!(collapse_huge_page("mm", "start_addr:address", "referenced", "unmapped", "cc", "order")),
            f!(collapse_huge_page("mm", "address", "referenced", "unmapped", "cc")),
        ],
        "an anonymous collapse begins; it ends with mm_collapse_huge_page (mm/khugepaged.c)",
    )
    .of(MM)
    .with(&[arg(C::Addr, "address", 0)]),
    entry(K::Mmdrop, "mmdrop", &[f!(__mmdrop("mm"))], "an mm_struct is given back (kernel/fork.c:__mmdrop)").of(MM),
    exit(K::VmaPgtableWalkBegin, "vma_pgtable_walk_begin", &[f!(vma_pgtable_walk_begin("vma"))], "page tables of a VMA are about to be walked; a hugetlb VMA is locked (mm/memory.c)")
        .of(MM_OF_VMA)
        .with(&[VMA]),
    entry(K::VmaPgtableWalkEnd, "vma_pgtable_walk_end", &[f!(vma_pgtable_walk_end("vma"))], "and have been")
        .of(MM_OF_VMA)
        .with(&[VMA]),
    exit(K::HugetlbVmaLockRead, "hugetlb_vma_lock_read", &[f!(hugetlb_vma_lock_read("vma"))], "the hugetlb lock of a VMA, if it has one, is held for reading (mm/hugetlb.c)")
        .of(MM_OF_VMA)
        .with(HUGETLB_LOCK),
    entry(K::HugetlbVmaUnlockRead, "hugetlb_vma_unlock_read", &[f!(hugetlb_vma_unlock_read("vma"))], "and is about to be released")
        .of(MM_OF_VMA)
        .with(HUGETLB_LOCK),
    exit(K::HugetlbVmaLockWrite, "hugetlb_vma_lock_write", &[f!(hugetlb_vma_lock_write("vma"))], "the hugetlb lock of a VMA, if it has one, is held for writing (mm/hugetlb.c)")
        .of(MM_OF_VMA)
        .with(HUGETLB_LOCK),
    entry(K::HugetlbVmaUnlockWrite, "hugetlb_vma_unlock_write", &[f!(hugetlb_vma_unlock_write("vma"))], "and is about to be released")
        .of(MM_OF_VMA)
        .with(HUGETLB_LOCK),
    exit(K::HugetlbVmaTrylockWrite, "hugetlb_vma_trylock_write", &[f!(hugetlb_vma_trylock_write("vma"))], "the hugetlb lock of a VMA was tried for writing (mm/hugetlb.c)")
        .of(MM_OF_VMA)
        .with(HUGETLB_TRYLOCK),
    entry(K::HugetlbZapEnd, "hugetlb_zap_end", &[f!(__hugetlb_zap_end("vma", "details"))], "a hugetlb range has been zapped; its lock is about to be released, or has gone with the VMA (mm/hugetlb.c:__hugetlb_zap_end)")
        .of(MM_OF_VMA)
        .with(&[VMA]),
    entry(
        K::HugePmdUnshare,
        "huge_pmd_unshare",
        &[f!(huge_pmd_unshare("tlb", "vma", "addr", "ptep")), f!(huge_pmd_unshare("mm", "vma", "addr", "ptep"))],
        "an rmap walk is about to drop its use of a shared PMD table; other callers are inlined (mm/hugetlb.c)",
    )
    .of(MM_OF_VMA)
    .with(&[VMA, arg(C::Addr, "addr", 1)]),
    entry(
        K::UserfaultfdSetCtx,
        "userfaultfd_set_ctx",
        &[f!(userfaultfd_set_ctx("vma", "ctx", "vm_flags")), f!(userfaultfd_set_ctx("vma", "ctx", "flags:vm_flags"))],
        "a VMA is about to be registered with userfaultfd, or no longer (ctx 0) (mm/userfaultfd.c)",
    )
    .of(MM_OF_VMA)
    .with(&[VMA, arg(C::Ctx, "ctx", 1), arg(C::VmFlags, "vm_flags", 2)]),
    entry(K::MwriteprotectRange, "mwriteprotect_range", MWRITEPROTECT_RANGE, "UFFDIO_WRITEPROTECT begins (mm/userfaultfd.c)")
        .of(MmFrom::Path("ctx", &[O::UffdMm]))
        .with(&[arg(C::Addr, "start", 0), arg(C::Len, "len", 1), aux(C::EnableWp, "enable_wp", 0, 1)]),
    exit(K::MwriteprotectRangeReturn, "mwriteprotect_range_return", MWRITEPROTECT_RANGE, "and is done")
        .of(MmFrom::Path("ctx", &[O::UffdMm]))
        .with(&[arg(C::Addr, "start", 0), arg(C::Len, "len", 1), ret(C::Ret, bits(0, 32), true)]),
    exit(K::VmfAnonPrepare, "vmf_anon_prepare", &[f!(__vmf_anon_prepare("vmf"))], "a fault needed the VMA to have an anon_vma (mm/memory.c:__vmf_anon_prepare)")
        .of(MmFrom::Current)
        .with(&[
            path(C::Vma, "vmf", &[O::VmfVma], Slot::Arg(0)),
            path(C::Addr, "vmf", &[O::VmfAddress], Slot::Arg(1)),
            ret(C::FaultResult, bits(0, 32), true),
        ]),
    exit(K::FolioLockOrRetry, "folio_lock_or_retry", &[f!(__folio_lock_or_retry("folio", "vmf"))], "a fault needed a folio that was locked (mm/filemap.c:__folio_lock_or_retry)")
        .of(MmFrom::Current)
        .with(&[path(C::FaultFlags, "vmf", &[O::VmfFlags], bits(0, 16)), ret(C::FaultResult, Slot::Arg(0), true)]),
];
