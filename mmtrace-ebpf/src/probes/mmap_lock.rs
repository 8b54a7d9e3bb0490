//! `mmap_lock:*`: the second hottest; seven per mmap and munmap pair.

use mmtrace_common::Kind;

use super::probe;
use crate::{
    args::Args,
    filter::{forget_if_dying, wanted},
    ring::emit,
};

#[inline(always)]
fn start_locking<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::StartLocking, mm) {
        emit(Kind::StartLocking, mm, args.field::<0>() & 1, []);
    }
}

#[inline(always)]
fn acquire_returned<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::AcquireReturned, mm) {
        emit(Kind::AcquireReturned, mm, args.field::<0>() & 1 | (args.field::<1>() & 1) << 1, []);
    }
}

#[inline(always)]
fn released<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::Released, mm) {
        let write = args.field::<0>() & 1;
        emit(Kind::Released, mm, write, []);
        if write != 0 {
            forget_if_dying(mm);
        }
    }
}

probe!(
    Kind::StartLocking,
    mmap_lock_start_locking,
    mmap_lock_start_locking_raw,
    POS_MMAP_LOCK_START_LOCKING,
    start_locking
);
probe!(
    Kind::AcquireReturned,
    mmap_lock_acquire_returned,
    mmap_lock_acquire_returned_raw,
    POS_MMAP_LOCK_ACQUIRE_RETURNED,
    acquire_returned
);
probe!(Kind::Released, mmap_lock_released, mmap_lock_released_raw, POS_MMAP_LOCK_RELEASED, released);
