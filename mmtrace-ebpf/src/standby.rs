//! Standby programs: further attachments of a program, which cover the runs that the kernel skips.
//!
//! While a task is preempted in a program, the kernel skips that program for every other task on the same CPU, for a
//! time slice or several. Where programs can be preempted, the loader therefore attaches standby programs behind each
//! program: copies of it, which the kernel enters one after the other. The first one that is entered leaves a mark and
//! records the event. The ones behind it see the mark and return.
//!
//! The mark is the address of the event's context, which lies on the stack that the event happened on, in a slot of the
//! current task. Events of interrupts have slots of their own. So have those that happen on a task's own stack while it
//! is preempted and put on again: contention of the scheduler's locks, and the end of an mm. No program thus takes
//! another event for its own, and an event between two programs leaves the mark alone.
//!
//! All this comes before anything else that a program does. Standby programs count the events that they take over,
//! whether these are wanted or not. The kernel's count of skipped runs of the first program, less that count, is the
//! number of events that no program recorded. The user side reports them as missed, whatever the reason was.

use aya_ebpf::{
    helpers::{bpf_get_current_task_btf, bpf_get_smp_processor_id},
    macros::map,
    maps::{Array, PerCpuArray},
};
use core::{ffi::c_void, ptr::addr_of};
use mmtrace_common::{Kind, LOST_KINDS};

use crate::{
    args::member32,
    offsets,
    ring::increment,
    stack::{is_on_stack_of, low_half},
};

/// Set by the loader: number of standby programs of each program on a tracepoint.
#[unsafe(no_mangle)]
static STANDBY_TRACEPOINT: u32 = 0;
/// Set by the loader: number of standby programs of each program on a function.
#[unsafe(no_mangle)]
static STANDBY_FUNCTION: u32 = 0;
/// Set by the loader: the number of task ids that have a slot, as a power of two.
#[unsafe(no_mangle)]
static MARK_BITS: u32 = 0;

/// Marks of one slot: of most events, and of those that can come between the programs of one.
type Marks = [u32; 2];

/// Marks by task; behind them those of each CPU's interrupts and idle task.
#[map]
static MARKS: Array<Marks> = Array::with_max_entries(1, 0);

/// Events that standby programs took over, by kind.
#[map]
static TAKEN_OVER: PerCpuArray<[u64; LOST_KINDS]> = PerCpuArray::with_max_entries(1, 0);

/// Which attachment of a program to its event one is.
#[derive(Clone, Copy)]
pub struct Attachment {
    /// 0 for the first program, from 1 on for its standby programs.
    number: u32,
    /// Where the number of standby programs is; none for an event in which no task is preempted.
    standby: Option<*const u32>,
}

impl Attachment {
    /// The only program on its event: no task is preempted there.
    pub const ONLY: Self = Self { number: 0, standby: None };

    /// A program on a tracepoint.
    pub const fn tracepoint(number: u32) -> Self {
        Self { number, standby: Some(&raw const STANDBY_TRACEPOINT) }
    }

    /// A program on a function.
    pub const fn function(number: u32) -> Self {
        Self { number, standby: Some(&raw const STANDBY_FUNCTION) }
    }

    /// Whether this program is the one that records this event.
    #[inline(always)]
    pub fn records(self, kind: Kind, ctx: *mut c_void) -> bool {
        let Some(standby) = self.standby else { return true };
        // SAFETY: a static of ours; volatile, since the loader sets it.
        let standby = unsafe { standby.read_volatile() };
        if self.number == 0 && standby == 0 {
            return true;
        }
        let context = low_half(ctx);
        // A task whose id is beyond the table has no mark: its standby programs return.
        let Some(marks) = slot(context) else { return self.number == 0 };
        // A function's entry and its return have one context.
        let event = context ^ kind as u32;
        let between = matches!(kind, Kind::ContentionBegin | Kind::ContentionEnd | Kind::Mmdrop);
        // SAFETY: two words of the map; nobody else uses them now.
        unsafe {
            let mark = &raw mut (*marks)[between as usize];
            if self.number == 0 {
                mark.write_volatile(event);
                return true;
            }
            if mark.read_volatile() == event {
                if self.number == standby {
                    mark.write_volatile(0);
                }
                return false;
            }
            if self.number != standby {
                mark.write_volatile(event);
            }
        }
        count_taken_over(kind);
        true
    }
}

/// Where an event on this context leaves its marks: the current task's slot, or that of the CPU, for its idle task, of
/// which all have the id 0, and for interrupts, so that they do not touch the mark of the task below.
#[inline(always)]
fn slot(context: u32) -> Option<*mut Marks> {
    // SAFETY: a static of ours; volatile, since the loader sets it.
    let bits = unsafe { addr_of!(MARK_BITS).read_volatile() } & 31;
    // SAFETY: always returns the current task, with its BTF type.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let tid = member32::<true>(task, offsets::task_pid()) as u32;
    let index = if tid == 0 || !is_on_stack_of(task, context) {
        // SAFETY: a helper without preconditions.
        (1 << bits) + unsafe { bpf_get_smp_processor_id() }
    } else if tid >> bits != 0 {
        // There were not so many ids when recording began.
        return None;
    } else {
        // Neighbours run at the same time, on different CPUs: their marks are put into different cache lines.
        ((tid << (bits.wrapping_sub(4) & 31)) | (tid >> 4)) & ((1 << bits) - 1)
    };
    MARKS.get_ptr_mut(index)
}

#[inline(always)]
fn count_taken_over(kind: Kind) {
    if let Some(count) = TAKEN_OVER.get_ptr_mut(0) {
        // SAFETY: the map's value is that long.
        increment(unsafe { &raw mut (*count)[kind as usize] });
    }
}
