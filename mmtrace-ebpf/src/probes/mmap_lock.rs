//! `mmap_lock:*`: the second hottest; seven per mmap and munmap pair.

use mmtrace_common::{Kind, event};

use super::{probe, record};
use crate::{
    args::{Args, arg},
    call::call_on_file,
    filter::{forget_if_dying, wanted},
    ring::emit,
};

#[inline(always)]
fn start_locking<const TYPED: bool>(args: Args) {
    record!(
        args.mm(),
        event::StartLocking { write: arg!(args, StartLocking, Write) & 1 != 0, call: call_on_file(args.context()) }
    );
}

#[inline(always)]
fn acquire_returned<const TYPED: bool>(args: Args) {
    record!(
        args.mm(),
        event::AcquireReturned {
            write: arg!(args, AcquireReturned, Write) & 1 != 0,
            success: arg!(args, AcquireReturned, Success) & 1 != 0,
        }
    );
}

#[inline(always)]
fn released<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::Released, mm) {
        let write = arg!(args, Released, Write) & 1;
        emit(mm, event::Released { write: write != 0 });
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
