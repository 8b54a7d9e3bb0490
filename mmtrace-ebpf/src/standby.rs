//! Standby programs: further attachments of a program, which cover the runs that the kernel skips.
//!
//! The kernel skips a program that is running already on the same CPU. Where a task can be preempted in a program, that
//! is so for every other task on this CPU, for a time slice or several. An interrupt on top of a program can bring forth the
//! program's own event. The recorder therefore attaches standby programs behind each program: copies of it, which the kernel
//! enters one after the other. The first one that is entered leaves a mark and records the event. The ones behind it see the
//! mark and return.
//!
//! The number of standby programs of a kind is read for each event, since the recorder attaches more while programs run. It
//! sets the number first. An event whose programs the kernel had listed before that has a mark that no standby program takes
//! away; a later event of the same context can then be missing, and is counted as such.
//!
//! The mark is the address of the event's context, which lies on the stack that the event happened on, in a slot of the
//! current task. Events of interrupts have slots of their own. So have those that happen on a task's own stack while it
//! is preempted and put on again: contention of the scheduler's locks, and the end of an mm. No program thus takes
//! another event for its own, and an event between two programs leaves the mark alone. Programs on tracepoints that no task
//! can be preempted in need no slot of the task: the slot is that of the CPU.
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

/// Set by the loader: whether any program can have standby programs. Where none can, the verifier removes what makes
/// and reads marks.
#[unsafe(no_mangle)]
static STANDBY_POSSIBLE: u32 = 0;
/// Set by the loader: whether a task can be preempted in a program on a tracepoint.
#[unsafe(no_mangle)]
static TRACEPOINTS_PREEMPTIBLE: u32 = 0;
/// Set by the loader: the number of task ids that have a slot, as a power of two.
#[unsafe(no_mangle)]
static MARK_BITS: u32 = 0;

/// Set by the recorder, while programs run too: number of standby programs of each program, by kind.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.standby")]
static mut STANDBY: [u8; LOST_KINDS] = [0; LOST_KINDS];

/// Slots of a CPU, so that those of two CPUs are in different cache lines; two of them are in use: of events off the
/// task's stack, and on it.
const SLOTS_OF_CPU: u32 = 8;

/// Marks of one slot: of most events, and of those that can come between the programs of one.
type Marks = [u32; 2];

/// Marks by task; behind them those by CPU: of interrupts and of the idle task, and of events in which no task can be
/// preempted.
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
    /// What it is attached to; none for an event that has no standby programs.
    place: Option<Place>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Tracepoint,
    Function,
}

impl Attachment {
    /// The only program on its event: no task is preempted there, and no interrupt brings it forth.
    pub const ONLY: Self = Self { number: 0, place: None };

    /// A program on a tracepoint.
    pub const fn tracepoint(number: u32) -> Self {
        Self { number, place: Some(Place::Tracepoint) }
    }

    /// A program on a function.
    pub const fn function(number: u32) -> Self {
        Self { number, place: Some(Place::Function) }
    }

    /// Whether this program is the one that records this event.
    #[inline(always)]
    pub fn records(self, kind: Kind, ctx: *mut c_void) -> bool {
        let Some(place) = self.place else { return true };
        // SAFETY: a byte of a static of ours, read at once; volatile, since the recorder changes it.
        let standby = u32::from(unsafe { (&raw const STANDBY[kind as usize]).read_volatile() });
        if self.number == 0 && standby == 0 {
            return true;
        }
        // SAFETY: a static of ours; volatile, since the loader sets it.
        if unsafe { addr_of!(STANDBY_POSSIBLE).read_volatile() } == 0 {
            return self.number == 0;
        }
        let context = low_half(ctx);
        // A task whose id is beyond the table has no mark: its standby programs return.
        let Some(marks) = slot(place, context) else { return self.number == 0 };
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

/// Where an event on this context leaves its marks: the current task's slot, or that of the CPU: where no task can be
/// preempted; for its idle task, of which all have the id 0; and for interrupts, so that they do not touch the mark of the
/// task below.
#[inline(always)]
fn slot(place: Place, context: u32) -> Option<*mut Marks> {
    // SAFETY: statics of ours; volatile, since the loader sets them.
    let (bits, preemptible) =
        unsafe { (addr_of!(MARK_BITS).read_volatile() & 31, addr_of!(TRACEPOINTS_PREEMPTIBLE).read_volatile() != 0) };
    // SAFETY: always returns the current task, with its BTF type.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let on_task = is_on_stack_of(task, context);
    let tid =
        if place == Place::Function || preemptible { member32::<true>(task, offsets::task_pid()) as u32 } else { 0 };
    let index = if tid == 0 || !on_task {
        // SAFETY: a helper without preconditions.
        (1 << bits) + SLOTS_OF_CPU * unsafe { bpf_get_smp_processor_id() } + u32::from(on_task)
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
