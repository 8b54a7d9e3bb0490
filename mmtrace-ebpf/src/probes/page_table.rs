//! PTE tables: mapped, linked, freed (mm/pgtable-generic.c, mm/memory.c, arch/x86/mm/pgtable.c).

use core::ptr::addr_of;
use mmtrace_common::Kind;

use super::{atomic_entry, entry, exit};
use crate::{
    args::{Args, member},
    filter::wanted,
    offsets,
    ring::emit,
};

/// Where the array of `struct page` begins. Set once, by the program that the loader runs before all others.
#[unsafe(no_mangle)]
pub static mut VMEMMAP: u64 = 0;
/// log2 of the size of `struct page`; the loader refuses kernels where it is another.
const PAGE_STRUCT_SHIFT: u32 = 6;

/// The page frame number of a `struct page`.
#[inline(always)]
fn pfn(page: u64) -> u64 {
    // SAFETY: a word of ours, written once before this program is attached.
    page.wrapping_sub(unsafe { addr_of!(VMEMMAP).read_volatile() }) >> PAGE_STRUCT_SHIFT
}

#[inline(always)]
fn map_inner(args: Args) {
    if wanted(Kind::PteOffsetMap, 0) {
        let words = [args.field::<0>(), args.field::<1>(), args.field::<2>(), args.pointee::<3>()];
        emit(Kind::PteOffsetMap, 0, 0, words);
    }
}

#[inline(always)]
fn map_lock_enter(args: Args) {
    let mm = args.mm();
    if wanted(Kind::PteOffsetMapLockEnter, mm) {
        emit(Kind::PteOffsetMapLockEnter, mm, 0, [args.field::<0>(), args.field::<1>()]);
    }
}

#[inline(always)]
fn map(args: Args, kind: Kind) {
    let mm = args.mm();
    if wanted(kind, mm) {
        let words = [args.field::<0>(), args.field::<1>(), args.field::<2>(), args.pointee::<3>()];
        emit(kind, mm, 0, words);
    }
}

#[inline(always)]
fn map_rw(args: Args) {
    let mm = args.mm();
    if wanted(Kind::PteOffsetMapRwNolock, mm) {
        let words = [args.field::<0>(), args.field::<1>(), args.field::<2>(), args.pointee::<3>(), args.pointee::<4>()];
        emit(Kind::PteOffsetMapRwNolock, mm, 0, words);
    }
}

#[inline(always)]
fn install(args: Args) {
    let mm = args.mm();
    if wanted(Kind::PmdInstall, mm) {
        // The caller's pointer to the new table is cleared when it was taken.
        let installed = u64::from(member::<false>(args.number::<2>(), 0) == 0);
        emit(Kind::PmdInstall, mm, installed, [args.field::<0>(), args.pointee::<1>()]);
    }
}

#[inline(always)]
fn free_defer(args: Args) {
    let mm = args.mm();
    if wanted(Kind::PteFreeDefer, mm) {
        emit(Kind::PteFreeDefer, mm, 0, [pfn(args.number::<0>())]);
    }
}

#[inline(always)]
fn free_now(args: Args) {
    if wanted(Kind::PteFreeNow, 0) {
        let page = args.number::<0>().wrapping_sub(offsets::page_rcu_head() as u64);
        emit(Kind::PteFreeNow, 0, 0, [pfn(page)]);
    }
}

#[inline(always)]
fn free_tlb(args: Args) {
    let mm = member::<true>(args.mm(), offsets::tlb_mm());
    if wanted(Kind::PteFreeTlb, mm) {
        emit(Kind::PteFreeTlb, mm, 0, [pfn(args.number::<0>())]);
    }
}

exit!(Kind::PteOffsetMap, pte_offset_map, POS_PTE_OFFSET_MAP, map_inner);
entry!(Kind::PteOffsetMapLockEnter, pte_offset_map_lock_enter, POS_PTE_OFFSET_MAP_LOCK_ENTER, map_lock_enter);
exit!(Kind::PteOffsetMapLock, pte_offset_map_lock, POS_PTE_OFFSET_MAP_LOCK, |args| map(args, Kind::PteOffsetMapLock));
exit!(Kind::PteOffsetMapRwNolock, pte_offset_map_rw_nolock, POS_PTE_OFFSET_MAP_RW_NOLOCK, map_rw);
exit!(Kind::PteOffsetMapRoNolock, pte_offset_map_ro_nolock, POS_PTE_OFFSET_MAP_RO_NOLOCK, |args| map(
    args,
    Kind::PteOffsetMapRoNolock
));
exit!(Kind::PmdInstall, pmd_install, POS_PMD_INSTALL, install);
entry!(Kind::PteFreeDefer, pte_free_defer, POS_PTE_FREE_DEFER, free_defer);
// An RCU callback: bottom halves are off.
atomic_entry!(Kind::PteFreeNow, pte_free_now, POS_PTE_FREE_NOW, free_now);
entry!(Kind::PteFreeTlb, pte_free_tlb, POS_PTE_FREE_TLB, free_tlb);
