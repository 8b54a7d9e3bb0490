//! A small system: the objects of a [`Protocol`], in the [`Cells`] of a [`State`], and threads that run
//! [`Program`]s over them. Nothing here knows of the kernel.

mod access;
mod cells;
mod program;
mod protocol;
mod state;
#[expect(clippy::module_inception, reason = "the system is what the other modules are the parts of")]
mod system;

pub use access::{Access, Look};
pub(crate) use access::{Log, Outcome};
pub use cells::{Cells, Local, THREADS_MAX, Tid};
pub use program::{Flow, Guard, Label, Program, Protection, Site};
pub use protocol::{Broken, DEADLOCK, LIVELOCK, Property, Protocol};
pub(crate) use state::{CELLS, Footprint};
pub use state::{Cell, SHARED, State};
pub use system::{Move, System};
