//! Hugetlb VMA locks and walks of page tables (mm/hugetlb.c, mm/memory.c).

use mmtrace_common::Kind;

use super::{entry, exit};
use crate::{
    args::{Args, member},
    filter::wanted,
    offsets,
    ring::emit,
};

#[inline(always)]
fn of_vma(args: Args, kind: Kind) {
    let mm = member::<true>(args.mm(), offsets::vma_mm());
    if wanted(kind, mm) {
        emit(kind, mm, 0, [args.field::<0>()]);
    }
}

#[inline(always)]
fn lock(args: Args, kind: Kind, aux: u64) {
    let mm = member::<true>(args.mm(), offsets::vma_mm());
    if wanted(kind, mm) {
        let vma = args.field::<0>();
        let object = member::<true>(vma, offsets::vma_private());
        emit(kind, mm, aux, [vma, object, member::<true>(vma, offsets::vma_flags())]);
    }
}

#[inline(always)]
fn unshare(args: Args) {
    let mm = member::<true>(args.mm(), offsets::vma_mm());
    if wanted(Kind::HugePmdUnshare, mm) {
        emit(Kind::HugePmdUnshare, mm, 0, [args.field::<0>(), args.field::<1>()]);
    }
}

exit!(Kind::VmaPgtableWalkBegin, vma_pgtable_walk_begin, POS_VMA_PGTABLE_WALK_BEGIN, |args| of_vma(
    args,
    Kind::VmaPgtableWalkBegin
));
entry!(Kind::VmaPgtableWalkEnd, vma_pgtable_walk_end, POS_VMA_PGTABLE_WALK_END, |args| of_vma(
    args,
    Kind::VmaPgtableWalkEnd
));
exit!(Kind::HugetlbVmaLockRead, hugetlb_vma_lock_read, POS_HUGETLB_VMA_LOCK_READ, |args| lock(
    args,
    Kind::HugetlbVmaLockRead,
    0
));
entry!(Kind::HugetlbVmaUnlockRead, hugetlb_vma_unlock_read, POS_HUGETLB_VMA_UNLOCK_READ, |args| lock(
    args,
    Kind::HugetlbVmaUnlockRead,
    0
));
exit!(Kind::HugetlbVmaLockWrite, hugetlb_vma_lock_write, POS_HUGETLB_VMA_LOCK_WRITE, |args| lock(
    args,
    Kind::HugetlbVmaLockWrite,
    0
));
entry!(Kind::HugetlbVmaUnlockWrite, hugetlb_vma_unlock_write, POS_HUGETLB_VMA_UNLOCK_WRITE, |args| lock(
    args,
    Kind::HugetlbVmaUnlockWrite,
    0
));
exit!(Kind::HugetlbVmaTrylockWrite, hugetlb_vma_trylock_write, POS_HUGETLB_VMA_TRYLOCK_WRITE, |args: Args| lock(
    args,
    Kind::HugetlbVmaTrylockWrite,
    u64::from(args.field::<3>() as u32 != 0)
));
entry!(Kind::HugetlbZapEnd, hugetlb_zap_end, POS_HUGETLB_ZAP_END, |args| of_vma(args, Kind::HugetlbZapEnd));
entry!(Kind::HugePmdUnshare, huge_pmd_unshare, POS_HUGE_PMD_UNSHARE, unshare);
