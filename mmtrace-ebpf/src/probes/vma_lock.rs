//! Per-VMA locks (mm/memory.c, from 7.0 mm/mmap_lock.c).

use mmtrace_common::Kind;

use super::{entry, exit};
use crate::{
    args::{Args, member},
    filter::wanted,
    offsets,
    ring::emit,
};

#[inline(always)]
fn lock(args: Args) {
    let mm = args.mm();
    if !wanted(Kind::LockVmaUnderRcu, mm) {
        return;
    }
    // Of a null pointer the verifier's own loads read 0.
    let vma = args.field::<1>();
    let start = member::<true>(vma, offsets::vma_start());
    let end = member::<true>(vma, offsets::vma_end());
    let same = u64::from(member::<true>(vma, offsets::vma_mm()) == mm);
    emit(Kind::LockVmaUnderRcu, mm, same, [args.field::<0>(), vma, start, end]);
}

#[inline(always)]
fn of_vma(args: Args, kind: Kind, aux: u64) {
    let mm = member::<true>(args.mm(), offsets::vma_mm());
    if wanted(kind, mm) {
        emit(kind, mm, aux, [args.field::<0>()]);
    }
}

exit!(Kind::LockVmaUnderRcu, lock_vma_under_rcu, POS_LOCK_VMA_UNDER_RCU, lock);
entry!(Kind::VmaStartWrite, vma_start_write, POS_VMA_START_WRITE, |args| of_vma(args, Kind::VmaStartWrite, 0));
exit!(Kind::VmaStartWriteReturn, vma_start_write_return, POS_VMA_START_WRITE_RETURN, |args: Args| of_vma(
    args,
    Kind::VmaStartWriteReturn,
    args.field::<1>()
));
entry!(Kind::VmAreaFree, vm_area_free, POS_VM_AREA_FREE, |args| of_vma(args, Kind::VmAreaFree, 0));
