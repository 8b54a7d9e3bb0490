//! Arguments, and what they point to.
//!
//! A tracepoint's parameters move between kernel versions, so a program does not
//! know their positions: the loader looks them up by name and sets the program's
//! position table. To the verifier the table is constant, so it removes every
//! branch below but the right one, and the load costs what a fixed one costs.

use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_get_func_arg, bpf_probe_read_kernel};
use core::{arch::asm, ffi::c_void};
use mmtrace_common::{ABSENT, POSITIONS};

use crate::offsets;

/// Positions of a program's parameters: of the mm first, then of its fields in
/// the order of the event table.
pub type Positions = [u8; POSITIONS];

/// A program's context: the parameters, one word each, and behind them what the function returns.
#[derive(Clone, Copy)]
pub struct Args {
    ctx: *mut c_void,
    positions: *const Positions,
}

/// The word at byte `OFFSET` of the context.
///
/// The verifier wants a load from the unchanged context pointer with a constant
/// offset. Written in Rust, the optimiser would fold the branches of
/// [`Args::position`] into one load from a computed pointer, which is refused.
#[inline(always)]
fn load<const OFFSET: usize>(ctx: *mut c_void) -> u64 {
    let word: u64;
    // SAFETY: reads the context; the verifier checks that the word exists.
    unsafe {
        asm!("{word} = *(u64 *)({ctx} + {offset})", word = out(reg) word, ctx = in(reg) ctx, offset = const OFFSET);
    }
    word
}

impl Args {
    /// The parameters in `ctx`, found through `positions`.
    #[inline(always)]
    pub const fn new(ctx: *mut c_void, positions: *const Positions) -> Self {
        Self { ctx, positions }
    }

    #[inline(always)]
    fn position(self, entry: usize) -> u8 {
        // SAFETY: `entry` is a constant within the table at every call; volatile,
        // since the loader changes the table after compilation.
        unsafe { self.positions.cast::<u8>().add(entry).read_volatile() }
    }

    #[inline(always)]
    fn at(self, entry: usize) -> u64 {
        match self.position(entry) {
            0 => load::<0>(self.ctx),
            1 => load::<8>(self.ctx),
            2 => load::<16>(self.ctx),
            3 => load::<24>(self.ctx),
            4 => load::<32>(self.ctx),
            5 => load::<40>(self.ctx),
            6 => load::<48>(self.ctx),
            7 => load::<56>(self.ctx),
            8 => load::<64>(self.ctx),
            _ => 0,
        }
    }

    /// The parameter that gives the event's mm.
    #[inline(always)]
    pub fn mm(self) -> u64 {
        self.at(0)
    }

    /// The parameter of the event table's field `N`; 0 where this kernel's event lacks it.
    #[inline(always)]
    pub fn field<const N: usize>(self) -> u64 {
        self.at(N + 1)
    }

    /// What the parameter of field `N` points to; 0 where this kernel's function lacks it.
    #[inline(always)]
    pub fn pointee<const N: usize>(self) -> u64 {
        if self.position(N + 1) == ABSENT { 0 } else { member::<true>(self.at(N + 1), 0) }
    }

    /// As [`Args::field`], as a plain number: the verifier refuses to load a pointer to a pointer
    /// directly, and lets nobody calculate with a typed pointer. Only in programs on functions.
    #[inline(always)]
    pub fn number<const N: usize>(self) -> u64 {
        let mut value = 0u64;
        // SAFETY: the helper checks the number of the parameter; on failure the value stays 0.
        unsafe { bpf_get_func_arg(self.ctx, u32::from(self.position(N + 1)), &raw mut value) };
        value
    }
}

/// The context of a program on a function without trampoline: the registers at its entry or return.
#[derive(Clone, Copy)]
pub struct Regs {
    ctx: *mut c_void,
    positions: *const Positions,
}

impl Regs {
    /// The registers in `ctx`; arguments are found through `positions`.
    #[inline(always)]
    pub const fn new(ctx: *mut c_void, positions: *const Positions) -> Self {
        Self { ctx, positions }
    }

    #[inline(always)]
    fn at(self, entry: usize) -> u64 {
        // The offsets are those of `struct pt_regs` of x86-64, which is ABI.
        match Args::new(self.ctx, self.positions).position(entry) {
            0 => load::<112>(self.ctx),
            1 => load::<104>(self.ctx),
            2 => load::<96>(self.ctx),
            3 => load::<88>(self.ctx),
            4 => load::<72>(self.ctx),
            5 => load::<64>(self.ctx),
            _ => 0,
        }
    }

    /// The parameter of the event table's field `N`.
    #[inline(always)]
    pub fn field<const N: usize>(self) -> u64 {
        self.at(N + 1)
    }

    /// What the function returns.
    #[inline(always)]
    pub fn returned(self) -> u64 {
        load::<80>(self.ctx)
    }
}

/// A word of kernel memory, `offset` bytes into a struct that a parameter or helper gave.
#[inline(always)]
pub fn member<const TYPED: bool>(base: u64, offset: usize) -> u64 {
    if TYPED {
        // SAFETY: `base` carries its BTF type, the verifier checks the offset
        // against it; a fault reads as 0.
        unsafe { (base as *const u8).add(offset).cast::<u64>().read_volatile() }
    } else {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel((base + offset as u64) as *const u64) }.unwrap_or(0)
    }
}

/// As [`member`], for 32 bits.
#[inline(always)]
pub fn member32<const TYPED: bool>(base: u64, offset: usize) -> u64 {
    if TYPED {
        // SAFETY: as in `member`.
        u64::from(unsafe { (base as *const u8).add(offset).cast::<u32>().read_volatile() })
    } else {
        // SAFETY: the helper checks the address.
        u64::from(unsafe { bpf_probe_read_kernel((base + offset as u64) as *const u32) }.unwrap_or(0))
    }
}

/// The current task's mm; 0 for a kernel thread.
#[inline(always)]
pub fn current_mm() -> u64 {
    // SAFETY: always returns the current task, with its BTF type in both program forms.
    let task = unsafe { bpf_get_current_task_btf() };
    member::<true>(task as u64, offsets::task_mm())
}

/// Whether the current task has page faults disabled, so that a fault in the kernel is not handled: 1, else 0.
#[inline(always)]
pub fn pagefault_disabled() -> u64 {
    // SAFETY: as in `current_mm`.
    let task = unsafe { bpf_get_current_task_btf() };
    u64::from(member32::<true>(task as u64, offsets::task_pagefault_disabled()) != 0)
}

/// The current task's mm as a plain number: the verifier allows no arithmetic on a
/// typed pointer, and writing it out as text is arithmetic.
#[inline(always)]
pub fn current_mm_number() -> u64 {
    // SAFETY: always returns the current task.
    let task = unsafe { bpf_get_current_task_btf() };
    member::<false>(task as u64, offsets::task_mm())
}
