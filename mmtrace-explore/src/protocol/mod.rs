//! The kernel's operations as programs, with the variants that the mailing list discussed.
//!
//! A [`Layout`] says which objects there are, as cells of a [`State`]; a [`Program`] is what one thread does, step by
//! step, in the kernel's order and words; a [`Kernel`] is what a step may do; a
//! [`World`] is a layout with programs, which the [explorer](crate) interleaves.

pub(crate) mod alloc;
pub(crate) mod anon_collapse;
pub(crate) mod anon_fault;
mod emitted_events;
pub(crate) mod event;
pub(crate) mod fault;
pub(crate) mod file;
pub(crate) mod guard;
pub(crate) mod gup;
pub(crate) mod hugetlb;
pub(crate) mod kernel;
pub(crate) mod khugepaged;
pub(crate) mod layout;
pub(crate) mod migrate;
pub(crate) mod mm;
pub(crate) mod mremap;
pub(crate) mod nolock;
pub(crate) mod page_cache;
pub(crate) mod pt_reclaim;
pub(crate) mod rcu;
pub(crate) mod spf;
pub(crate) mod tlb;
pub(crate) mod uffd;
pub(crate) mod unmap;
pub(crate) mod vma;
pub(crate) mod walk;
pub(crate) mod walker_locks;

pub use event::Event;
pub(crate) use kernel::Kernel;
pub(crate) use layout::{ExpectedMarker, Lock, Slot, Table};
pub use layout::{Layout, World};

pub(crate) use crate::system::{Cell, Flow, Guard, Label, Local, Protection, Site, Tid};

/// The code of one thread of a scenario.
pub(crate) type Program = crate::system::Program<Layout>;
