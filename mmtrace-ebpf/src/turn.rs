//! Programs that stand in for others.
//!
//! The kernel does not enter a program that still runs on the same CPU, for a task
//! that was preempted in it: until that task is on again, a time slice or several,
//! the program is skipped for everybody else there. So where programs can be
//! preempted, the loader puts spares behind each program: copies of it, which the
//! kernel enters one after the other. The first one that is entered leaves a
//! mark and does the work, the ones behind it see the mark and have no more to do.
//!
//! The mark is the address of the event's context, which lies on the stack that the
//! event happened on, in a slot of the current task's own; events of interrupts have
//! slots of their own, and so have those that happen while a task is preempted and put
//! on again, on its own stack: contention of the scheduler's locks, and the end of an mm.
//! So no program takes another event for its own, and what comes between two programs
//! leaves the mark alone.
//!
//! All this comes before anything else that a program does. Events that spares took
//! over are counted then, whether they are wanted or not: the kernel's count of skipped
//! runs of the first program, less that count, is the number of events that nobody
//! took. The user side reports them as missed, whatever the reason was.

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

/// Set by the loader: spares behind each program on a tracepoint.
#[unsafe(no_mangle)]
static SPARES_TRACEPOINT: u32 = 0;
/// Set by the loader: spares behind each program on a function.
#[unsafe(no_mangle)]
static SPARES_FUNCTION: u32 = 0;
/// Set by the loader: there are slots for so many task ids, as a power of two.
#[unsafe(no_mangle)]
static MARK_BITS: u32 = 0;

/// Marks of one slot: of most events, and of those that can come between the programs of one.
type Marks = [u32; 2];

/// Marks by task; behind them those of each CPU's interrupts and idle task.
#[map]
static MARKS: Array<Marks> = Array::with_max_entries(1, 0);

/// Events that spares took over, by kind.
#[map]
static STOOD_IN: PerCpuArray<[u64; LOST_KINDS]> = PerCpuArray::with_max_entries(1, 0);

/// Which of the programs on an event one is.
#[derive(Clone, Copy)]
pub struct Turn {
    /// 0 for the first, from 1 on for its spares.
    place: u32,
    /// Number of spares. None where programs cannot be preempted, or this event's cannot anywhere.
    spares: Option<*const u32>,
}

impl Turn {
    /// The only program on its event: nobody is preempted there.
    pub const ALONE: Self = Self { place: 0, spares: None };

    /// A program on a tracepoint.
    pub const fn tracepoint(place: u32) -> Self {
        Self { place, spares: Some(&raw const SPARES_TRACEPOINT) }
    }

    /// A program on a function.
    pub const fn function(place: u32) -> Self {
        Self { place, spares: Some(&raw const SPARES_FUNCTION) }
    }

    /// Whether this event is this program's to look at.
    #[inline(always)]
    pub fn has_come(self, kind: Kind, ctx: *mut c_void) -> bool {
        let Some(spares) = self.spares else { return true };
        // SAFETY: a static of ours; volatile, since the loader sets it.
        let spares = unsafe { spares.read_volatile() };
        if self.place == 0 && spares == 0 {
            return true;
        }
        let context = low_half(ctx);
        // A task whose id is beyond the table has no spares.
        let Some(marks) = slot(context) else { return self.place == 0 };
        // A function's entry and its return have one context.
        let event = context ^ kind as u32;
        let between = matches!(kind, Kind::ContentionBegin | Kind::ContentionEnd | Kind::Mmdrop);
        // SAFETY: two words of the map; nobody else uses them now.
        unsafe {
            let mark = &raw mut (*marks)[between as usize];
            if self.place == 0 {
                mark.write_volatile(event);
                return true;
            }
            if mark.read_volatile() == event {
                if self.place == spares {
                    mark.write_volatile(0);
                }
                return false;
            }
            if self.place != spares {
                mark.write_volatile(event);
            }
        }
        count_stood_in(kind);
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
fn count_stood_in(kind: Kind) {
    if let Some(count) = STOOD_IN.get_ptr_mut(0) {
        // SAFETY: the map's value is that long.
        increment(unsafe { &raw mut (*count)[kind as usize] });
    }
}
