//! Tasks, processes and mms, from birth to death.

pub(in crate::model) mod dead_mm;
pub(in crate::model) mod process;
pub mod task;
