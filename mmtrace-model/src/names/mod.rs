//! Names for the numbers that events carry: what a task is called, and by which call it came into the kernel.

mod calls;
mod comm;
mod tasks;

pub use calls::{CALLS, call_name, call_of_name};
pub use comm::Comm;
pub use tasks::{Tasks, Thread, ThreadId};
