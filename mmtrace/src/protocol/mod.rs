//! Kernel operations as step machines over the model's objects, with the variants that the
//! threads discuss.
//!
//! A [`World`] says which objects there are; a [`Program`] is what one thread does, step by
//! step, in the kernel's order and words; a [`Kernel`] is what a step may do. The
//! [explorer](crate::explore) interleaves the programs.

pub mod anon_collapse;
pub mod anon_fault;
pub mod event;
pub mod fault;
pub mod gup;
pub mod hugetlb;
pub mod kernel;
pub mod migrate;
pub mod mm;
pub mod nolock;
pub mod program;
pub mod pt_reclaim;
pub mod rcu;
pub mod regime;
pub mod spf;
pub mod state;
pub mod unmap;
pub mod vma;
pub mod walk;
pub mod world;

pub use kernel::Kernel;
pub use program::{Flow, Guard, Label, Local, Program, Protection, Site};
pub use state::{Cell, Footprint, State};
pub use world::{Lock, Slot, Table, Tid, World};
