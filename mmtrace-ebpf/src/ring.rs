//! Ring buffers, and the count of records that found no room in them.
//!
//! One ring shared by many CPUs collapses under its own lock, so there are
//! [`RINGS`] of them and each CPU uses one. The loader gives the ones that are
//! not used the smallest size. Loss is counted where it happens, per CPU and kind;
//! the counter is raised before the traced code goes on, so whoever reads it after
//! a time T knows of every loss that anything before T could depend on.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, generated},
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use core::{arch::asm, ptr::addr_of};
use mmtrace_common::{HEADER_WORDS, Kind, LOST_KINDS, Slot, View, header_word, spec};

use crate::args::current_ids;

/// Number of rings; a power of two.
pub const RINGS: u32 = 16;

/// Set by the loader: rings in use, minus one.
#[unsafe(no_mangle)]
static RING_MASK: u32 = 0;

/// Records that found no room, by kind.
#[map]
static LOST: PerCpuArray<[u64; LOST_KINDS]> = PerCpuArray::with_max_entries(1, 0);

macro_rules! rings {
    ($($index:literal $name:ident),*) => {
        $(
            #[map]
            static $name: RingBuf = RingBuf::with_byte_size(1 << 24, 0);
        )*

        /// The ring of this CPU.
        #[inline(always)]
        fn ring(cpu: u32) -> *const RingBuf {
            // SAFETY: a static of ours; volatile, since the loader sets it.
            let mask = unsafe { addr_of!(RING_MASK).read_volatile() } & (RINGS - 1);
            match cpu & mask {
                $($index => opaque(addr_of!($name)),)*
                _ => opaque(addr_of!(RING_0)),
            }
        }
    };
}

/// Hides that the pointer is a constant: else the optimiser makes a table of map
/// addresses, which no loader can relocate.
#[inline(always)]
fn opaque(ring: *const RingBuf) -> *const RingBuf {
    let mut ring = ring;
    // SAFETY: no instruction.
    unsafe { asm!("/* {0} */", inout(reg) ring) };
    ring
}

rings!(
    0 RING_0, 1 RING_1, 2 RING_2, 3 RING_3, 4 RING_4, 5 RING_5, 6 RING_6, 7 RING_7,
    8 RING_8, 9 RING_9, 10 RING_10, 11 RING_11, 12 RING_12, 13 RING_13, 14 RING_14, 15 RING_15
);

/// Counts one record of this kind as lost.
#[inline(always)]
pub fn count_lost(kind: Kind) {
    if let Some(lost) = LOST.get_ptr_mut(0) {
        // SAFETY: the map's value is that long.
        increment(unsafe { &raw mut (*lost)[kind as usize] });
    }
}

/// Adds one to a counter of this CPU's own. Another task may be there between a load and a store, so it takes an atomic
/// addition.
#[inline(always)]
pub fn increment(counter: *mut u64) {
    // SAFETY: an aligned word of a map. Written out, since the target's `core` has no atomic addition.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) 1u64) };
}

/// Whether records of this kind have values in the header's aux.
const fn has_aux(kind: Kind) -> bool {
    let fields = spec(kind).fields;
    let mut i = 0;
    while i < fields.len() {
        if let Slot::Aux { .. } = fields[i].slot {
            return true;
        }
        i += 1;
    }
    false
}

/// Writes one record.
///
/// The time is read before the space is reserved: an event that another one
/// depends on is in its ring before the other's time is read. The user side's
/// merge of the rings rests on that.
#[inline(always)]
pub fn emit<const N: usize, E: View<Words = [u64; N]>>(mm: u64, event: E) {
    let (aux, words) = event.pack();
    // SAFETY: helpers without preconditions.
    let (ts, cpu) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
    let size = 8 * (HEADER_WORDS + N);
    // SAFETY: a map of ours and a constant size.
    let slot = unsafe { generated::bpf_ringbuf_reserve(ring(cpu).cast_mut().cast(), size as u64, 0) }.cast::<u64>();
    if slot.is_null() {
        count_lost(E::KIND);
        return;
    }
    // SAFETY: the helper reserved `size` bytes; they are submitted once.
    unsafe {
        slot.write(ts);
        slot.add(1).write(mm);
        slot.add(2).write(current_ids());
        let word = header_word(E::KIND as u16, cpu as u16, aux);
        if const { has_aux(E::KIND) } {
            // Stored by halves: in a whole word, LLVM moves the masks of aux's values behind the shift, where each takes a
            // 64-bit constant. An aux of 0 would only take a register more.
            slot.add(3).cast::<u32>().write(word as u32);
            slot.add(3).cast::<u32>().add(1).write((word >> 32) as u32);
        } else {
            slot.add(3).write(word);
        }
        let mut i = 0;
        while i < N {
            slot.add(HEADER_WORDS + i).write(words[i]);
            i += 1;
        }
        // The reader is never woken from here, it looks by itself: waking it takes an interrupt of this CPU's own, within
        // the traced page fault.
        generated::bpf_ringbuf_submit(slot.cast(), u64::from(BPF_RB_NO_WAKEUP));
    }
}
