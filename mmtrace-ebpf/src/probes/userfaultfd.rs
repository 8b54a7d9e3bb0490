//! Registration with userfaultfd, and its write-protection (mm/userfaultfd.c).

use mmtrace_common::{Kind, event};

use super::{entry, exit, record};
use crate::{
    args::{Args, arg, member},
    offsets,
};

#[inline(always)]
fn set_ctx(args: Args) {
    record!(
        args.mm_of_vma(),
        event::UserfaultfdSetCtx {
            vma: arg!(args, UserfaultfdSetCtx, Vma),
            ctx: arg!(args, UserfaultfdSetCtx, Ctx),
            vm_flags: arg!(args, UserfaultfdSetCtx, VmFlags),
        }
    );
}

/// The mm of the `userfaultfd_ctx` that stands in the mm's place.
#[inline(always)]
fn mm_of_ctx(args: Args) -> u64 {
    member::<true>(args.mm(), offsets::uffd_mm())
}

#[inline(always)]
fn protect(args: Args) {
    record!(
        mm_of_ctx(args),
        event::MwriteprotectRange {
            addr: arg!(args, MwriteprotectRange, Addr),
            len: arg!(args, MwriteprotectRange, Len),
            enable_wp: arg!(args, MwriteprotectRange, EnableWp) & 1 != 0,
        }
    );
}

#[inline(always)]
fn protected(args: Args) {
    record!(
        mm_of_ctx(args),
        event::MwriteprotectRangeReturn {
            addr: arg!(args, MwriteprotectRangeReturn, Addr),
            len: arg!(args, MwriteprotectRangeReturn, Len),
            ret: arg!(args, MwriteprotectRangeReturn, Ret) as i32,
        }
    );
}

entry!(Kind::UserfaultfdSetCtx, userfaultfd_set_ctx, POS_USERFAULTFD_SET_CTX, set_ctx);
entry!(Kind::MwriteprotectRange, mwriteprotect_range, POS_MWRITEPROTECT_RANGE, protect);
exit!(Kind::MwriteprotectRangeReturn, mwriteprotect_range_return, POS_MWRITEPROTECT_RANGE_RETURN, protected);
