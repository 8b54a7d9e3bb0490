//! From the event table to probes on the running kernel.
//!
//! [`selection`] says which events are wanted, [`plan`] finds each one's arguments
//! in the kernel's BTF or refuses it with the reason ([`function`] and [`symbols`]: for
//! kernel functions), [`object`] loads and attaches,
//! [`rings`] brings the records over in an order that can be judged, and [`sys`]
//! holds the two `bpf(2)` calls that the loader library does not offer.

pub mod filter;
pub mod function;
pub mod object;
pub mod plan;
pub mod rings;
pub mod selection;
pub mod symbols;
pub mod sys;
