//! Kernel operations as step machines over the model's objects, with the variants that the
//! mailing list discussed.
//!
//! A [`Layout`] says which objects there are, as cells of a [`State`]; a [`Program`] is what one thread does, step by
//! step, in the kernel's order and words; a [`Kernel`] is what a step may do; a
//! [`World`] is a layout with programs, which the [explorer](crate) interleaves.

pub mod alloc;
pub mod anon_collapse;
pub mod anon_fault;
mod emitted_events;
pub mod event;
pub mod fault;
pub mod file;
pub mod guard;
pub mod gup;
pub mod hugetlb;
pub mod kernel;
pub mod khugepaged;
pub mod layout;
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

pub use kernel::Kernel;
pub use layout::{ExpectedMarker, Layout, Local, Lock, Slot, Table, Tid};
pub use program::{Flow, Guard, Label, Program, Protection, Site};
pub use state::{Cell, Footprint, State};
pub use world::World;
