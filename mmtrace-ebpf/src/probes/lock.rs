//! `lock:contention_*`, restricted to the mmap_lock of the current task's mm: of
//! all contended locks, the ones the model follows.

use mmtrace_common::Kind;

use super::probe;
use crate::{
    args::{Args, current_mm},
    filter::wanted,
    offsets,
    ring::emit,
};

#[inline(always)]
fn contention(args: Args, kind: Kind) {
    let lock = args.field::<0>();
    let mm = current_mm();
    if mm == 0 || lock != mm + offsets::mm_mmap_lock() as u64 {
        return;
    }
    if wanted(kind, mm) {
        emit(kind, mm, args.field::<1>(), [lock]);
    }
}

#[inline(always)]
fn begin<const TYPED: bool>(args: Args) {
    contention(args, Kind::ContentionBegin);
}

#[inline(always)]
fn end<const TYPED: bool>(args: Args) {
    contention(args, Kind::ContentionEnd);
}

probe!(Kind::ContentionBegin, contention_begin, contention_begin_raw, POS_CONTENTION_BEGIN, begin);
probe!(Kind::ContentionEnd, contention_end, contention_end_raw, POS_CONTENTION_END, end);
