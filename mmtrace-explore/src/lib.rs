//! The explorer: every interleaving of a few threads that run a protocol of the kernel's mm.
//!
//! [`protocol`] has the kernel's operations as programs: what one thread does, step by step, in the kernel's order and
//! words. A [`Scenario`](scenario::Scenario) names a few threads and the variants of a protocol that they run;
//! [`search`] looks at every interleaving and checks the [invariants](mmtrace_model::model::invariant) at every step;
//! [`schedule`] shows how one is broken. Memory is sequentially consistent: nothing is said about barriers.
//!
//! An execution can be rendered as the events that a kernel would have emitted ([`render`]), so that the rules of
//! `mmtrace-model`, which judge a running kernel, can be held against it ([`live`]).
//!
//! # Example
//!
//! `retract_page_tables()` as it was posted loses a userfaultfd marker; the shortest schedule that does says how:
//!
//! ```
//! use mmtrace_explore::{
//!     scenarios, schedule,
//!     search::{Limits, MEMORY, Order, search},
//! };
//!
//! let variant = scenarios::find("SC-4.1").and_then(|scenario| scenario.variant("r.posted")).expect("it is there");
//! let world = variant.world();
//! let found = search(&world, Order::Breadth, &mut Limits { memory: MEMORY, progress: &mut |_, _| {} })?;
//! let (moves, broken) = found.broken.expect("this variant is not safe");
//! println!("{}: {}", broken.invariant.id(), broken.why);
//!
//! // The schedule can be printed, read and run again.
//! let text = schedule::print(&world, &moves);
//! let execution = schedule::run(&world, &schedule::parse(&world, &text)?)?;
//! assert_eq!(execution.broken, Some(broken));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is stable
//!
//! The names of scenarios, variants and invariants are, and so is the form in which schedules are printed. The Rust
//! interface is not yet: until 1.0, a minor version may change any of it.

// The reference is asked, and says nothing on its own.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod enlarged;
mod footprint;
pub mod live;
pub mod mailing_list;
pub mod matrix;
pub mod mutation;
pub mod protocol;
pub mod render;
pub mod scenario;
pub mod scenarios;
pub mod schedule;
pub mod search;
mod store;
pub mod view;
