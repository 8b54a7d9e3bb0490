//! `compaction:mm_compaction_begin` and `_end`: brackets around migration.

use mmtrace_common::{Kind, event};

use super::{probe, record};
use crate::args::{Args, arg};

#[inline(always)]
fn begin<const TYPED: bool>(args: Args) {
    record!(
        0,
        event::CompactionBegin {
            zone_start: arg!(args, CompactionBegin, ZoneStart),
            zone_end: arg!(args, CompactionBegin, ZoneEnd),
            sync: arg!(args, CompactionBegin, Sync) & 1 != 0,
        }
    );
}

#[inline(always)]
fn end<const TYPED: bool>(args: Args) {
    record!(
        0,
        event::CompactionEnd {
            zone_start: arg!(args, CompactionEnd, ZoneStart),
            zone_end: arg!(args, CompactionEnd, ZoneEnd),
            sync: arg!(args, CompactionEnd, Sync) & 1 != 0,
            compact_result: arg!(args, CompactionEnd, CompactResult) as u32,
        }
    );
}

probe!(Kind::CompactionBegin, mm_compaction_begin, mm_compaction_begin_raw, POS_MM_COMPACTION_BEGIN, begin);
probe!(Kind::CompactionEnd, mm_compaction_end, mm_compaction_end_raw, POS_MM_COMPACTION_END, end);
