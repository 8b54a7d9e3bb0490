//! From the event table to probes on the running kernel.
//!
//! [`selection`] says which events are wanted, [`plan`] finds each one's arguments
//! in the kernel's BTF or refuses it with the reason ([`refusal`]; [`function`] and
//! [`symbols`] serve kernel functions), [`object`] loads and attaches,
//! [`rings`] brings the records over in an order that can be judged, [`standby`] says how many
//! standby programs each program gets, [`skips`] which events are missing all the same, `casting` how
//! the programs read memory, `freezing` which maps mmtrace can write while they run, [`tasks`] says
//! how the programs know a task, and [`sys`] holds the `bpf(2)` calls that the loader library does not offer.

mod casting;
pub mod filter;
mod freezing;
pub mod function;
pub mod object;
mod page_tables;
pub mod plan;
pub mod refusal;
pub mod rings;
pub mod selection;
pub mod skips;
pub mod standby;
pub mod symbols;
pub mod sys;
pub mod tasks;
