//! The kernel stack that an event happened on.

use core::{arch::asm, ffi::c_void, ptr::addr_of};

use crate::{args::member, offsets};

/// Set by the loader: bytes of a task's kernel stack (THREAD_SIZE).
#[unsafe(no_mangle)]
static STACK_SIZE: u32 = 0;

/// Whether an address lies on the kernel stack of the task at `task`; `context` is its [`low_half`]. The context of an
/// event in an interrupt of the kernel lies on the interrupt's own stack.
#[inline(always)]
pub fn is_on_stack_of(task: u64, context: u32) -> bool {
    // SAFETY: a static of ours; volatile, since the loader sets it.
    let size = unsafe { addr_of!(STACK_SIZE).read_volatile() };
    context.wrapping_sub(member::<true>(task, offsets::task_stack()) as u32) < size
}

/// The lower half of an address on a stack; it tells the contexts of one slot's events from each other.
#[inline(always)]
pub fn low_half(ctx: *mut c_void) -> u32 {
    let low: u64;
    // SAFETY: no memory is touched. Written out, since the verifier lets a pointer become a number in this form only.
    unsafe { asm!("w0 = w1", in("r1") ctx, out("r0") low) };
    low as u32
}
