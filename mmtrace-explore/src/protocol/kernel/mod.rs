//! The operations of the kernel's steps: they take locks, and walk and change page tables, in the kernel's words.
//!
//! These are methods of [`Access`] for the objects of a [`Layout`], built on reading and writing cells. A violation of
//! an invariant is noticed where it happens.

mod expected_marker;
mod lock;
mod rcu;
mod table;

pub(crate) use super::layout::Kernel;
