//! Kernel memory at an address that was calculated.
//!
//! The verifier lets a program load through a pointer whose type it knows, and a calculated address has none. The helper
//! that copies memory is a call, which costs more than the load itself. Since 6.2 there is `bpf_rdonly_cast()`, which gives
//! an address a type: the verifier replaces the call by a move (kernel/bpf/verifier.c:fixup_kfunc_call), and the load
//! behind it is one instruction with an entry in the kernel's table of exceptions, as loads through typed pointers are.
//!
//! The loader finds out whether the kernel has the function, and sets [`TYPE_OF_WORDS`]; it also puts the function's id
//! into the call instructions, or 0 if there is none. Where the type is 0, the verifier never comes to a call, and removes
//! it.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use core::{arch::asm, ptr::addr_of};
use mmtrace_common::CAST_CALL;

/// Set by the loader: the id of `struct pt_regs` in the kernel's BTF, whose first member is an unsigned word; 0: nothing
/// can be cast.
#[unsafe(no_mangle)]
static TYPE_OF_WORDS: u32 = 0;

/// Returns the id; 0 if nothing can be cast.
#[inline(always)]
fn type_of_words() -> u32 {
    // SAFETY: a static of ours; volatile, since the loader sets it.
    unsafe { addr_of!(TYPE_OF_WORDS).read_volatile() }
}

macro_rules! cast_and_load {
    ($load:literal, $at:expr, $kind:expr) => {{
        let word: u64;
        // SAFETY: one load from an address that the verifier takes for a pointer to `struct pt_regs`; where it cannot be
        // read, the word is 0.
        unsafe {
            asm!(
                ".quad {call}",
                $load,
                call = const CAST_CALL,
                inlateout("r1") $at => _,
                inlateout("r2") u64::from($kind) => _,
                lateout("r0") word,
                lateout("r3") _,
                lateout("r4") _,
                lateout("r5") _,
            );
        }
        word
    }};
}

/// Returns the word at an address of the kernel, and nothing if it cannot be read and the kernel says so: a load through
/// a cast pointer gives 0.
#[inline(always)]
pub fn word_at(at: u64) -> Option<u64> {
    match type_of_words() {
        // SAFETY: the helper checks the address.
        0 => unsafe { bpf_probe_read_kernel(at as *const u64) }.ok(),
        kind => Some(cast_and_load!("r0 = *(u64 *)(r0 + 0)", at, kind)),
    }
}

/// As [`word_at`], for 32 bits; the upper half is 0.
#[inline(always)]
pub fn half_at(at: u64) -> Option<u64> {
    match type_of_words() {
        0 => {
            // SAFETY: the helper checks the address.
            let mut word = u64::from(unsafe { bpf_probe_read_kernel(at as *const u32) }.ok()?);
            // SAFETY: no instruction. It hides that the word was 32 bits, to which the optimiser would cut it again, and
            // then clear the upper half at each use.
            unsafe { asm!("/* {0} */", inout(reg) word) };
            Some(word)
        }
        kind => Some(cast_and_load!("r0 = *(u32 *)(r0 + 0)", at, kind)),
    }
}
