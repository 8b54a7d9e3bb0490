//! Kernel operations as step machines over the model's objects, with the variants that the
//! threads discuss.
//!
//! A [`World`] says which objects there are; a [`Program`] is what one thread does, step by
//! step, in the kernel's order and words; a [`Kernel`] is what a step may do. The
//! [explorer](crate) interleaves the programs.

pub mod alloc;
pub mod anon_collapse;
pub mod anon_fault;
mod emitted_events;
pub mod event;
pub mod expected_marker;
pub mod fault;
pub mod file;
pub mod guard;
pub mod gup;
pub mod hugetlb;
pub mod kernel;
pub mod khugepaged;
pub mod migrate;
pub mod mm;
pub mod mremap;
pub mod nolock;
pub mod page_cache;
pub mod program;
pub mod pt_reclaim;
pub mod rcu;
pub mod spf;
pub mod state;
pub mod tlb;
pub mod uffd;
pub mod unmap;
pub mod vma;
pub mod walk;
pub mod walker_locks;
pub mod world;

pub use expected_marker::ExpectedMarker;
pub use kernel::Kernel;
pub use program::{Flow, Guard, Label, Local, Program, Protection, Site};
pub use state::{Cell, Footprint, State};
pub use world::{Lock, Slot, Table, Tid, World};
