//! PTE tables: mapped, linked, freed (mm/pgtable-generic.c, mm/memory.c, arch/x86/mm/pgtable.c).

use core::ptr::addr_of;
use mmtrace_common::{Kind, event};

use super::{atomic_entry, entry, exit, record};
use crate::{
    args::{Args, arg, member, number, pointee},
    offsets,
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

/// Records an event of a walk that has looked for the PTE table behind a PMD entry.
macro_rules! map {
    ($args:ident, $mm:expr, $event:ident $(, $field:ident: $value:expr)?) => {
        record!($mm, event::$event {
            pmdp: arg!($args, $event, Pmdp),
            addr: arg!($args, $event, Addr),
            ptep: arg!($args, $event, Ptep),
            pmd: pointee!($args, $event, Pmd),
            $($field: $value,)?
        })
    };
}

#[inline(always)]
fn map(args: Args) {
    map!(args, 0, PteOffsetMap);
}

#[inline(always)]
fn map_lock_enter(args: Args) {
    record!(
        args.mm(),
        event::PteOffsetMapLockEnter {
            pmdp: arg!(args, PteOffsetMapLockEnter, Pmdp),
            addr: arg!(args, PteOffsetMapLockEnter, Addr),
        }
    );
}

#[inline(always)]
fn map_lock(args: Args) {
    map!(args, args.mm(), PteOffsetMapLock);
}

#[inline(always)]
fn map_rw(args: Args) {
    map!(args, args.mm(), PteOffsetMapRwNolock, pmd_used: pointee!(args, PteOffsetMapRwNolock, PmdUsed));
}

#[inline(always)]
fn map_ro(args: Args) {
    map!(args, args.mm(), PteOffsetMapRoNolock);
}

#[inline(always)]
fn install(args: Args) {
    record!(
        args.mm(),
        event::PmdInstall {
            pmdp: arg!(args, PmdInstall, Pmdp),
            pmd: pointee!(args, PmdInstall, Pmd),
            // The function clears the caller's pointer to the new table when it takes the table.
            installed: member::<false>(number!(args, PmdInstall, Installed), 0) == 0,
        }
    );
}

#[inline(always)]
fn free_defer(args: Args) {
    record!(args.mm(), event::PteFreeDefer { table: pfn(number!(args, PteFreeDefer, Table)) });
}

#[inline(always)]
fn free_now(args: Args) {
    record!(
        0,
        event::PteFreeNow {
            table: pfn(number!(args, PteFreeNow, Table).wrapping_sub(offsets::page_rcu_head() as u64)),
        }
    );
}

#[inline(always)]
fn free_tlb(args: Args) {
    let mm = member::<true>(args.mm(), offsets::tlb_mm());
    record!(mm, event::PteFreeTlb { table: pfn(number!(args, PteFreeTlb, Table)) });
}

exit!(Kind::PteOffsetMap, pte_offset_map, POS_PTE_OFFSET_MAP, map);
entry!(Kind::PteOffsetMapLockEnter, pte_offset_map_lock_enter, POS_PTE_OFFSET_MAP_LOCK_ENTER, map_lock_enter);
exit!(Kind::PteOffsetMapLock, pte_offset_map_lock, POS_PTE_OFFSET_MAP_LOCK, map_lock);
exit!(Kind::PteOffsetMapRwNolock, pte_offset_map_rw_nolock, POS_PTE_OFFSET_MAP_RW_NOLOCK, map_rw);
exit!(Kind::PteOffsetMapRoNolock, pte_offset_map_ro_nolock, POS_PTE_OFFSET_MAP_RO_NOLOCK, map_ro);
exit!(Kind::PmdInstall, pmd_install, POS_PMD_INSTALL, install);
entry!(Kind::PteFreeDefer, pte_free_defer, POS_PTE_FREE_DEFER, free_defer);
// An RCU callback: bottom halves are off.
atomic_entry!(Kind::PteFreeNow, pte_free_now, POS_PTE_FREE_NOW, free_now);
entry!(Kind::PteFreeTlb, pte_free_tlb, POS_PTE_FREE_TLB, free_tlb);
