//! Registration with userfaultfd, and its write-protection (mm/userfaultfd.c).

use mmtrace_common::Kind;

use super::{entry, exit};
use crate::{
    args::{Args, member},
    filter::wanted,
    offsets,
    ring::emit,
};

#[inline(always)]
fn set_ctx(args: Args) {
    let mm = member::<true>(args.mm(), offsets::vma_mm());
    if wanted(Kind::UserfaultfdSetCtx, mm) {
        emit(Kind::UserfaultfdSetCtx, mm, 0, [args.field::<0>(), args.field::<1>(), args.field::<2>()]);
    }
}

#[inline(always)]
fn protect(args: Args, kind: Kind, aux: u64) {
    let mm = member::<true>(args.mm(), offsets::uffd_mm());
    if wanted(kind, mm) {
        emit(kind, mm, aux, [args.field::<0>(), args.field::<1>()]);
    }
}

entry!(Kind::UserfaultfdSetCtx, userfaultfd_set_ctx, POS_USERFAULTFD_SET_CTX, set_ctx);
entry!(Kind::MwriteprotectRange, mwriteprotect_range, POS_MWRITEPROTECT_RANGE, |args: Args| protect(
    args,
    Kind::MwriteprotectRange,
    args.field::<2>() & 1
));
exit!(
    Kind::MwriteprotectRangeReturn,
    mwriteprotect_range_return,
    POS_MWRITEPROTECT_RANGE_RETURN,
    |args: Args| protect(args, Kind::MwriteprotectRangeReturn, args.field::<2>())
);
