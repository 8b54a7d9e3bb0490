//! Page faults: of which kind they are, and calls of `handle_mm_fault()`.

pub mod address_space;
pub(in crate::model) mod cause;
pub(in crate::model) mod handling;
mod kind;
pub(in crate::model) mod open;
pub(in crate::model) mod user_mode;
