//! Per-VMA locks (mm/memory.c, from 7.0 mm/mmap_lock.c).

use mmtrace_common::{Kind, event};

use super::{entry, exit, record};
use crate::{
    args::{Args, arg, member},
    filter::wanted,
    offsets,
    ring::emit,
};

#[inline(always)]
fn lock(args: Args) {
    let mm = args.mm();
    if wanted(Kind::LockVmaUnderRcu, mm) {
        // The verifier's own loads read 0 through a null pointer.
        let vma = arg!(args, LockVmaUnderRcu, Vma);
        emit(
            mm,
            event::LockVmaUnderRcu {
                addr: arg!(args, LockVmaUnderRcu, Addr),
                vma,
                vma_start: member::<true>(vma, offsets::vma_start()),
                vma_end: member::<true>(vma, offsets::vma_end()),
                same_mm: member::<true>(vma, offsets::vma_mm()) == mm,
            },
        );
    }
}

#[inline(always)]
fn start_write(args: Args) {
    record!(args.mm_of_vma(), event::VmaStartWrite { vma: arg!(args, VmaStartWrite, Vma) });
}

#[inline(always)]
fn started_write(args: Args) {
    record!(
        args.mm_of_vma(),
        event::VmaStartWriteReturn {
            vma: arg!(args, VmaStartWriteReturn, Vma),
            ret: arg!(args, VmaStartWriteReturn, Ret) as i32,
        }
    );
}

#[inline(always)]
fn free(args: Args) {
    record!(args.mm_of_vma(), event::VmAreaFree { vma: arg!(args, VmAreaFree, Vma) });
}

exit!(Kind::LockVmaUnderRcu, lock_vma_under_rcu, POS_LOCK_VMA_UNDER_RCU, lock);
entry!(Kind::VmaStartWrite, vma_start_write, POS_VMA_START_WRITE, start_write);
exit!(Kind::VmaStartWriteReturn, vma_start_write_return, POS_VMA_START_WRITE_RETURN, started_write);
entry!(Kind::VmAreaFree, vm_area_free, POS_VM_AREA_FREE, free);
