//! `lock:contention_*`, restricted to the mmap_lock of the current task's mm: of
//! all contended locks, the ones the model follows.

use mmtrace_common::{Kind, event};

use super::{probe, record};
use crate::{
    args::{Args, arg, current_mm},
    offsets,
};

/// The current task's mm, if `lock` is its mmap_lock.
#[inline(always)]
fn mm_of_own(lock: u64) -> Option<u64> {
    let mm = current_mm();
    (mm != 0 && lock == mm + offsets::mm_mmap_lock() as u64).then_some(mm)
}

#[inline(always)]
fn begin<const TYPED: bool>(args: Args) {
    let lock = arg!(args, ContentionBegin, Lock);
    if let Some(mm) = mm_of_own(lock) {
        record!(mm, event::ContentionBegin { lock, lock_flags: arg!(args, ContentionBegin, LockFlags) as u32 });
    }
}

#[inline(always)]
fn end<const TYPED: bool>(args: Args) {
    let lock = arg!(args, ContentionEnd, Lock);
    if let Some(mm) = mm_of_own(lock) {
        record!(mm, event::ContentionEnd { lock, ret: arg!(args, ContentionEnd, Ret) as i32 });
    }
}

probe!(Kind::ContentionBegin, contention_begin, contention_begin_raw, POS_CONTENTION_BEGIN, begin);
probe!(Kind::ContentionEnd, contention_end, contention_end_raw, POS_CONTENTION_END, end);
