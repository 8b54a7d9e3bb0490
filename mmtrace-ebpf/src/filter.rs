//! Which events are wanted.
//!
//! Rules about an mm need all of its events, whoever causes them: khugepaged and
//! reclaim work on foreign mms. So the choice is by mm. A task that matches the
//! filter makes its own mm wanted, from its first event on; an event that has no
//! mm is wanted when its task matches.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, generated::bpf_get_current_ancestor_cgroup_id},
    macros::map,
    maps::HashMap,
};
use core::ptr::addr_of;
use mmtrace_common::Kind;

use crate::{
    args::{current_ids, current_mm},
    ring::count_lost,
};

/// Set by the loader: bits of the filters in use; 0 takes everything.
#[unsafe(no_mangle)]
static FILTER: u32 = 0;
/// cgroup v2 id that a wanted task is in or below.
#[unsafe(no_mangle)]
static FILTER_CGROUP: u64 = 0;
/// Depth of that cgroup below the root.
#[unsafe(no_mangle)]
static FILTER_CGROUP_LEVEL: u32 = 0;
/// Command name of a wanted task, padded with zeros, as two words.
#[unsafe(no_mangle)]
static FILTER_COMM: [u64; 2] = [0; 2];

/// [`FILTER`]: processes in [`WANTED_PIDS`].
const BY_PID: u32 = 1;
/// [`FILTER`]: a cgroup.
const BY_CGROUP: u32 = 2;
/// [`FILTER`]: a command name.
const BY_COMM: u32 = 4;

/// mmtrace's own mm: its events would be about the watching, not the watched.
#[unsafe(no_mangle)]
pub static mut OWN_MM: u64 = 0;

/// Process ids (tgid) that are wanted; children join at fork.
#[map]
static WANTED_PIDS: HashMap<u32, u8> = HashMap::with_max_entries(1 << 16, 0);

/// mms of wanted tasks; [`LIVE`], or [`DYING`] from their `exit_mmap` to the release that ends it.
#[map]
static WANTED_MMS: HashMap<u64, u8> = HashMap::with_max_entries(1 << 16, 0);

/// `BPF_NOEXIST`
const NO_EXIST: u64 = 1;
/// The error if the key is there already.
const EEXIST: i32 = -17;

/// Value in [`WANTED_MMS`].
const LIVE: u8 = 0;
/// Value in [`WANTED_MMS`]: `exit_mmap` has been seen, its write hold is not over.
const DYING: u8 = 1;

#[inline(always)]
fn filter() -> u32 {
    // SAFETY: a static of ours; volatile, since the loader sets it.
    unsafe { addr_of!(FILTER).read_volatile() }
}

#[inline(always)]
fn tgid() -> u32 {
    (current_ids() >> 32) as u32
}

/// Whether the current task matches one of the filters.
#[inline(always)]
fn current_matches(filter: u32) -> bool {
    if filter & BY_PID != 0 {
        // SAFETY: the value is not read.
        if unsafe { WANTED_PIDS.get(tgid()) }.is_some() {
            return true;
        }
    }
    if filter & BY_CGROUP != 0 {
        // SAFETY: statics of ours, and a helper without preconditions.
        let (id, level) =
            unsafe { (addr_of!(FILTER_CGROUP).read_volatile(), addr_of!(FILTER_CGROUP_LEVEL).read_volatile()) };
        // SAFETY: no precondition; 0 where there is no such ancestor.
        if unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) } == id {
            return true;
        }
    }
    if filter & BY_COMM != 0
        && let Ok(comm) = bpf_get_current_comm()
    {
        // SAFETY: a static of ours; volatile, since the loader sets it.
        let wanted = unsafe { addr_of!(FILTER_COMM).read_volatile() };
        let (words, _) = comm.as_chunks::<8>();
        return u64::from_ne_bytes(words[0]) == wanted[0] && u64::from_ne_bytes(words[1]) == wanted[1];
    }
    false
}

/// Whether an event on this mm (0: none) is to be recorded.
#[inline(always)]
pub fn wanted(kind: Kind, mm: u64) -> bool {
    // SAFETY: a static of ours, written once before this program is attached.
    if mm != 0 && mm == unsafe { addr_of!(OWN_MM).read_volatile() } {
        return false;
    }
    let filter = filter();
    if filter == 0 {
        return true;
    }
    // SAFETY: the value is not read.
    if mm != 0 && unsafe { WANTED_MMS.get(mm) }.is_some() {
        return true;
    }
    if !current_matches(filter) {
        return false;
    }
    if mm == 0 {
        return true;
    }
    if mm != current_mm() {
        return false;
    }
    want_mm(kind, mm);
    true
}

#[inline(always)]
fn want_mm(kind: Kind, mm: u64) {
    // Not replaced when another task was faster: replacing hides the entry for a moment.
    if WANTED_MMS.insert(mm, LIVE, NO_EXIST).is_err_and(|e| e != EEXIST) {
        // Other tasks' events on this mm will be missing.
        count_lost(kind);
    }
}

/// Makes the child of a wanted process wanted too. Returns whether the event is.
#[inline(always)]
pub fn fork(child_tgid: u32, child_mm: u64) -> bool {
    let filter = filter();
    if filter == 0 {
        return true;
    }
    if !current_matches(filter) {
        return false;
    }
    if filter & BY_PID != 0 && WANTED_PIDS.insert(child_tgid, 0, 0).is_err() {
        count_lost(Kind::Fork);
    }
    if child_mm != 0 {
        want_mm(Kind::Fork, child_mm);
    }
    true
}

/// Marks an mm whose `exit_mmap` has begun. The release that ends it is still to come, and wanted.
#[inline(always)]
pub fn dying(mm: u64) {
    if filter() == 0 {
        return;
    }
    if let Some(state) = WANTED_MMS.get_ptr_mut(mm) {
        // SAFETY: a byte of the map; the only other writer is a new entry for the same mm.
        unsafe { *state = DYING };
    }
}

/// An mm's lock is about to be released for write: if that ends its `exit_mmap`, it is
/// forgotten, since its address may be reused by somebody who is not wanted.
#[inline(always)]
pub fn forget_if_dying(mm: u64) {
    // SAFETY: one byte, read at once.
    if filter() != 0 && unsafe { WANTED_MMS.get(mm) }.is_some_and(|v| *v == DYING) {
        let _ = WANTED_MMS.remove(mm);
    }
}

/// Forgets a process whose last thread exits: its id may be reused.
#[inline(always)]
pub fn forget_process() {
    if filter() & BY_PID != 0 {
        let _ = WANTED_PIDS.remove(tgid());
    }
}
