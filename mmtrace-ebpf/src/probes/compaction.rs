//! `compaction:mm_compaction_begin` and `_end`: brackets around migration.

use mmtrace_common::Kind;

use super::probe;
use crate::{args::Args, filter::wanted, ring::emit};

#[inline(always)]
fn begin<const TYPED: bool>(args: Args) {
    if wanted(Kind::CompactionBegin, 0) {
        emit(Kind::CompactionBegin, 0, args.field::<2>() & 1, [args.field::<0>(), args.field::<1>()]);
    }
}

#[inline(always)]
fn end<const TYPED: bool>(args: Args) {
    if wanted(Kind::CompactionEnd, 0) {
        emit(
            Kind::CompactionEnd,
            0,
            args.field::<2>() & 1 | (args.field::<3>() & 0xff) << 8,
            [args.field::<0>(), args.field::<1>()],
        );
    }
}

probe!(Kind::CompactionBegin, mm_compaction_begin, mm_compaction_begin_raw, POS_MM_COMPACTION_BEGIN, begin);
probe!(Kind::CompactionEnd, mm_compaction_end, mm_compaction_end_raw, POS_MM_COMPACTION_END, end);
