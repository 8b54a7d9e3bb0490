//! The explorer: every interleaving of a few threads that run a protocol, and what must be true at every step.
//!
//! A [`Protocol`] has the objects that threads share, as [`Cell`]s of one byte, and the [`Property`]s that must hold. A
//! [`Program`] is what one thread does, step by step; a [`System`] is a protocol with its threads. [`search()`] looks at
//! every interleaving of the steps. It proves that none breaks a property, or finds a [`schedule`] that does: in
//! [`Order::Breadth`] the shortest. Memory is sequentially consistent: nothing is said about barriers.
//!
//! The protocols of the kernel's mm that come with the crate are [`scenarios`]. They are systems as anybody's are: of the
//! protocol [`Layout`].
//!
//! # Example: a protocol of one's own
//!
//! Two threads look whether a flag is clear, then set it. Nothing keeps the other from looking in between:
//!
//! ```
//! use mmtrace_explore::{
//!     Cell, Cells, Flow, Limits, Look, Order, Program, Property, Protocol, Style, System, schedule, search, view,
//! };
//!
//! static EXCLUSION: Property = Property {
//!     id: "EXCLUSION",
//!     statement: "at most one thread is in the critical section",
//!     source: "this page",
//! };
//!
//! /// The flag, and how many threads are in the critical section. No code has the second: the property is about it.
//! #[derive(Clone, Copy)]
//! struct Flag {
//!     flag: Cell,
//!     inside: Cell,
//! }
//!
//! impl Protocol for Flag {
//!     type Event = ();
//!
//!     fn always(&self, look: &mut Look<'_>) {
//!         let inside = look.get(self.inside);
//!         look.require(inside <= 1, &EXCLUSION, "two threads are in the critical section");
//!     }
//! }
//!
//! /// Two threads. `atomic`: they look and set in one step.
//! fn system(atomic: bool) -> System<Flag> {
//!     let mut cells = Cells::new();
//!     let protocol = Flag { flag: cells.cell("flag", 0), inside: cells.cell("inside", 0) };
//!     let Flag { flag, inside } = protocol;
//!     let mut system = System::new(cells, protocol);
//!     for name in ["A", "B"] {
//!         let mut p = Program::new();
//!         p.step("while (flag)", move |step| {
//!             if step.get(flag) != 0 {
//!                 return Flow::Block;
//!             }
//!             if atomic {
//!                 step.set(flag, 1);
//!             }
//!             Flow::Next
//!         });
//!         if !atomic {
//!             p.run("flag = 1", move |step| step.set(flag, 1));
//!         }
//!         p.run("enter", move |step| {
//!             let now = step.get(inside);
//!             step.set(inside, now + 1);
//!         });
//!         p.run("leave", move |step| {
//!             let now = step.get(inside);
//!             step.set(inside, now - 1);
//!         });
//!         p.run("flag = 0", move |step| step.set(flag, 0));
//!         system.thread(name, p);
//!     }
//!     system
//! }
//!
//! let wrong = system(false);
//! let found = search(&wrong, Order::Breadth, &mut Limits::default())?;
//! let (moves, broken) = found.broken.expect("it is wrong");
//! assert_eq!(*broken.property, EXCLUSION);
//! assert_eq!(schedule::print(&wrong, &moves), "A B A*2 B*2");
//! println!("{}", view::table(&wrong, &schedule::run(&wrong, &moves)?, Style::plain(), view::WIDTH));
//!
//! let found = search(&system(true), Order::Reduced, &mut Limits::default())?;
//! assert_eq!(found.broken, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/futex.rs` does this for a protocol that was published: the futex mutexes of "Futexes Are Tricky".
//!
//! # Example: a scenario
//!
//! `retract_page_tables()` as it was posted loses a userfaultfd marker; the shortest schedule that does says how:
//!
//! ```
//! use mmtrace_explore::{Limits, Order, scenarios, schedule, search};
//!
//! let variant = scenarios::find("SC-4.1").and_then(|scenario| scenario.variant("r.posted")).expect("it is there");
//! let world = variant.world();
//! let found = search(&world, Order::Breadth, &mut Limits::default())?;
//! let (moves, broken) = found.broken.expect("this variant is not safe");
//! assert_eq!(broken.property.id, "I-MARKER");
//! println!("{}", broken.why);
//!
//! // The schedule can be printed, read and run again.
//! let text = schedule::print(&world, &moves);
//! let execution = schedule::run(&world, &schedule::parse(&world, &text)?)?;
//! assert_eq!(execution.broken, Some(broken));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An execution of a scenario can be rendered as the events that a kernel would have emitted ([`render`]), so that the
//! rules of `mmtrace-model`, which judge a running kernel, can be held against it.
//!
//! # Bounds
//!
//! A system has at most [`THREADS_MAX`] threads, [`SHARED`] shared cells, and 96 bytes for the places and variables of its
//! threads; a program has at most 250 steps. Beyond that, building it panics. A search ends, because a state is a row of bytes, or
//! stops at [`Limits::memory`]. What a step must not do stands with [`Program`].
//!
//! # What is stable
//!
//! The names of scenarios, variants and invariants are, and so is the form in which schedules are printed. The Rust
//! interface is what this page lists: [`Protocol`] and the types at the root of the crate are meant for protocols from
//! outside; [`enlarged`], [`mailing_list`], [`matrix`] and [`mutation`] are for the `mmtrace` command and its pages. Until
//! 1.0, a minor version may change any of it.

// The explorer is asked, and says nothing on its own.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod enlarged;
mod footprint;
mod live;
pub mod mailing_list;
pub mod matrix;
pub mod mutation;
mod protocol;
pub mod render;
mod scenario;
pub mod scenarios;
pub mod schedule;
mod search;
mod store;
mod system;
pub mod view;

pub use mmtrace_model::report::Style;
pub use protocol::{Event, Layout, World};
pub use scenario::{Expect, Live, Scenario, Variant};
pub use search::{Found, Limits, MEMORY, Order, SearchError, search};
pub use system::{
    Access, Broken, Cell, Cells, DEADLOCK, Flow, Guard, LIVELOCK, Label, Local, Look, Move, Program, Property,
    Protection, Protocol, SHARED, Site, State, System, THREADS_MAX, Tid,
};
