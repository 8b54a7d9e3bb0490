//! Arguments, and what they point to.
//!
//! A tracepoint's parameters move between kernel versions, so a program does not
//! know their positions: the loader looks them up by name and sets the program's
//! position table. To the verifier the table is constant, so it removes every
//! branch below but the right one, and the load costs what a fixed one costs.

use aya_ebpf::{
    bindings::bpf_perf_event_data,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_get_func_arg},
};
use core::{arch::asm, ffi::c_void, hint::assert_unchecked};
use mmtrace_common::{ABSENT, POSITIONS};

use crate::{
    memory::{half_at, word_at},
    offsets,
};

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
pub fn load<const OFFSET: usize>(ctx: *mut c_void) -> u64 {
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

    /// Returns the program's context.
    #[inline(always)]
    pub const fn context(self) -> *mut c_void {
        self.ctx
    }

    /// The parameter that gives the event's mm.
    #[inline(always)]
    pub fn mm(self) -> u64 {
        self.at(0)
    }

    /// Returns the VMA's mm, where a VMA gives the event's mm. Only in programs on functions.
    #[inline(always)]
    pub fn mm_of_vma(self) -> u64 {
        member::<true>(self.mm(), offsets::vma_mm())
    }

    /// Returns the parameter of field `N`, as [`arg`] asks for it; 0 where this kernel's event lacks it.
    #[inline(always)]
    pub fn field<const N: usize>(self) -> u64 {
        self.at(N + 1)
    }

    /// Returns the word that the parameter of field `N` points to, as [`pointee`] asks for it; 0 where this kernel's
    /// function lacks the parameter.
    #[inline(always)]
    pub fn pointee<const N: usize>(self) -> u64 {
        if self.position(N + 1) == ABSENT { 0 } else { member::<true>(self.at(N + 1), 0) }
    }

    /// Returns the parameter of field `N` as a plain number, as [`number`] asks for it: the verifier refuses to load a
    /// pointer to a pointer directly, and lets nobody calculate with a typed pointer. Only in programs on functions.
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

    /// Returns the parameter of field `N`, as [`arg`] asks for it.
    #[inline(always)]
    pub fn field<const N: usize>(self) -> u64 {
        self.at(N + 1)
    }

    /// Returns the function's return value.
    #[inline(always)]
    pub fn returned(self) -> u64 {
        load::<80>(self.ctx)
    }
}

/// The parameter that a field's value comes from, as a 64-bit word: `arg!(args, PageFaultUser, Addr)`.
///
/// Only the bits that the parameter's C type has are defined, so its reader cuts the word to that type: `as u32`,
/// `as i32`, `& 1 != 0`.
macro_rules! arg {
    ($args:expr, $event:ident, $column:ident) => {
        $args.field::<{ mmtrace_common::event::$event::field(mmtrace_common::Column::$column) }>()
    };
}
pub(crate) use arg;

/// The word that a field's parameter points to: `pointee!(args, PteOffsetMap, Pmd)`.
macro_rules! pointee {
    ($args:expr, $event:ident, $column:ident) => {
        $args.pointee::<{ mmtrace_common::event::$event::field(mmtrace_common::Column::$column) }>()
    };
}
pub(crate) use pointee;

/// A field's parameter as a plain number, where it is a pointer: `number!(args, PteFreeNow, Table)`.
macro_rules! number {
    ($args:expr, $event:ident, $column:ident) => {
        $args.number::<{ mmtrace_common::event::$event::field(mmtrace_common::Column::$column) }>()
    };
}
pub(crate) use number;

/// The address that a software event comes with: `struct bpf_perf_event_data` has it behind the registers and the sample's
/// period, which is ABI.
#[inline(always)]
pub fn sample_addr(ctx: *mut c_void) -> u64 {
    load::<{ core::mem::offset_of!(bpf_perf_event_data, addr) }>(ctx)
}

/// Converts a word whose upper half is 0 to an int, for a field that has a whole word of the record. The promise saves
/// the two instructions that would clear the upper half.
///
/// It holds for what [`member32`] returns, and for ints that tracepoints pass: the kernel extends them with zeros
/// (include/trace/bpf_probe.h:CAST_TO_U64). It does not hold for a function's parameters: those take `as i32`.
#[inline(always)]
pub fn int(word: u64) -> i32 {
    // SAFETY: by the above. The loader refuses a parameter of more than 32 bits (mmtrace/src/probe/plan.rs: `Expect::Int`).
    unsafe { assert_unchecked(word <= u64::from(u32::MAX)) };
    word as i32
}

/// A word of kernel memory, `offset` bytes into a struct that a parameter or helper gave.
#[inline(always)]
pub fn member<const TYPED: bool>(base: u64, offset: usize) -> u64 {
    if TYPED {
        // SAFETY: `base` carries its BTF type, the verifier checks the offset
        // against it; a fault reads as 0.
        unsafe { (base as *const u8).add(offset).cast::<u64>().read_volatile() }
    } else {
        word_at(base + offset as u64).unwrap_or(0)
    }
}

/// As [`member`], for 32 bits.
#[inline(always)]
pub fn member32<const TYPED: bool>(base: u64, offset: usize) -> u64 {
    if TYPED {
        // SAFETY: as in `member`.
        u64::from(unsafe { (base as *const u8).add(offset).cast::<u32>().read_volatile() })
    } else {
        half_at(base + offset as u64).unwrap_or(0)
    }
}

/// The current task's mm; 0 for a kernel thread.
#[inline(always)]
pub fn current_mm() -> u64 {
    // SAFETY: always returns the current task, with its BTF type in both program forms.
    let task = unsafe { bpf_get_current_task_btf() };
    member::<true>(task as u64, offsets::task_mm())
}

/// The current task's tid, and its tgid in the upper half, as `bpf_get_current_pid_tgid()` returns them. Two loads cost
/// less than a call.
#[inline(always)]
pub fn current_ids() -> u64 {
    let (tid, tgid) = (offsets::task_pid(), offsets::task_tgid());
    if tid == 0 || tgid == 0 {
        return bpf_get_current_pid_tgid();
    }
    // SAFETY: as in `current_mm`.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    member32::<true>(task, tgid) << 32 | member32::<true>(task, tid)
}

/// Whether the current task has page faults disabled, so that a fault in the kernel is not handled.
#[inline(always)]
pub fn pagefault_disabled() -> bool {
    // SAFETY: as in `current_mm`.
    let task = unsafe { bpf_get_current_task_btf() };
    member32::<true>(task as u64, offsets::task_pagefault_disabled()) != 0
}

/// The current task's mm as a plain number: the verifier allows no arithmetic on a
/// typed pointer, and writing it out as text is arithmetic.
#[inline(always)]
pub fn current_mm_number() -> u64 {
    // SAFETY: always returns the current task.
    let task = unsafe { bpf_get_current_task_btf() };
    member::<false>(task as u64, offsets::task_mm())
}
