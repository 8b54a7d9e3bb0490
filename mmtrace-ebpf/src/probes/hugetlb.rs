//! Hugetlb VMA locks and walks of page tables (mm/hugetlb.c, mm/memory.c).

use mmtrace_common::{Kind, event};

use super::{entry, exit, record};
use crate::{
    args::{Args, arg, member},
    filter::wanted,
    offsets,
    ring::emit,
};

/// A program's body: records an event that carries a VMA and nothing else.
macro_rules! of_vma {
    ($event:ident) => {
        |args: Args| record!(args.mm_of_vma(), event::$event { vma: arg!(args, $event, Vma) })
    };
}

/// A program's body: records an event of a VMA's hugetlb lock. `$field` is one that other events of the lock lack,
/// `$value` a function that reads it.
macro_rules! lock {
    ($event:ident $(, $field:ident: $value:expr)?) => {
        |args: Args| {
            let mm = args.mm_of_vma();
            if wanted(Kind::$event, mm) {
                let vma = arg!(args, $event, Vma);
                let event = event::$event {
                    $($field: $value(args),)?
                    vma,
                    lock_object: member::<true>(vma, offsets::vma_private()),
                    vm_flags: member::<true>(vma, offsets::vma_flags()),
                };
                emit(mm, event);
            }
        }
    };
}

/// Whether the trylock succeeded. The function returns an int.
#[inline(always)]
fn is_locked(args: Args) -> bool {
    arg!(args, HugetlbVmaTrylockWrite, Success) as u32 != 0
}

#[inline(always)]
fn unshare(args: Args) {
    record!(
        args.mm_of_vma(),
        event::HugePmdUnshare { vma: arg!(args, HugePmdUnshare, Vma), addr: arg!(args, HugePmdUnshare, Addr) }
    );
}

exit!(Kind::VmaPgtableWalkBegin, vma_pgtable_walk_begin, POS_VMA_PGTABLE_WALK_BEGIN, of_vma!(VmaPgtableWalkBegin));
entry!(Kind::VmaPgtableWalkEnd, vma_pgtable_walk_end, POS_VMA_PGTABLE_WALK_END, of_vma!(VmaPgtableWalkEnd));
exit!(Kind::HugetlbVmaLockRead, hugetlb_vma_lock_read, POS_HUGETLB_VMA_LOCK_READ, lock!(HugetlbVmaLockRead));
entry!(Kind::HugetlbVmaUnlockRead, hugetlb_vma_unlock_read, POS_HUGETLB_VMA_UNLOCK_READ, lock!(HugetlbVmaUnlockRead));
exit!(Kind::HugetlbVmaLockWrite, hugetlb_vma_lock_write, POS_HUGETLB_VMA_LOCK_WRITE, lock!(HugetlbVmaLockWrite));
entry!(
    Kind::HugetlbVmaUnlockWrite,
    hugetlb_vma_unlock_write,
    POS_HUGETLB_VMA_UNLOCK_WRITE,
    lock!(HugetlbVmaUnlockWrite)
);
exit!(
    Kind::HugetlbVmaTrylockWrite,
    hugetlb_vma_trylock_write,
    POS_HUGETLB_VMA_TRYLOCK_WRITE,
    lock!(HugetlbVmaTrylockWrite, success: is_locked)
);
entry!(Kind::HugetlbZapEnd, hugetlb_zap_end, POS_HUGETLB_ZAP_END, of_vma!(HugetlbZapEnd));
entry!(Kind::HugePmdUnshare, huge_pmd_unshare, POS_HUGE_PMD_UNSHARE, unshare);
