//! mmtrace's eBPF programs.
//!
//! They run inside other people's page faults, so each does three things only:
//! decide whether the event is wanted ([`filter`]), copy its arguments from where
//! this kernel has them ([`args`]), and put one record into a ring ([`ring`]).
//! Nothing is parsed, aggregated or judged here.
//!
//! Every program on a tracepoint exists twice with the same body: as BTF-typed raw
//! tracepoint (`tp_btf`), where the verifier knows the argument types and struct members
//! are plain loads, and as untyped raw tracepoint (`NAME_raw`), where they go through a
//! helper. Programs on functions exist once, as `fentry` or `fexit`; where the kernel
//! puts no trampoline on a function, as kprobe and kretprobe. Programs on software events
//! exist once. Programs that can be
//! preempted have standby programs ([`standby`]): `NAME_standby_1`, `NAME_standby_2`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, macro_metavar_expr_concat)]

mod args;
mod call;
mod fault_place;
mod filter;
mod memory;
mod offsets;
mod probes;
mod ring;
mod stack;
mod standby;
mod vma;
mod walk;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
