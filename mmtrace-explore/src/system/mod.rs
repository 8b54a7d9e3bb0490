//! A small system: the objects of a [`Protocol`], in the [`Cells`] of a [`State`], and threads that run
//! [`Program`]s over them. Nothing here knows of the kernel.

mod cells;
mod program;
mod property;
mod protocol;
mod state;
#[expect(clippy::module_inception, reason = "the system is what the other modules are the parts of")]
mod system;

pub use cells::{Cells, Local, THREADS_MAX, Tid};
pub use program::{Flow, Guard, Label, Program, Protection, Site};
pub use property::{Broken, Property};
pub use protocol::access::{Access, Look};
pub(crate) use protocol::access::{Log, Outcome};
pub use protocol::{DEADLOCK, LIVELOCK, Protocol};
pub(crate) use state::{CELLS, Footprint};
pub use state::{Cell, SHARED, State};
pub use system::{Move, System};
