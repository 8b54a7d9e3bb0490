//! Page faults: why they happen, and calls of `handle_mm_fault()`.

pub mod address_space;
pub(in crate::model) mod cause;
pub(in crate::model) mod handling;
pub(in crate::model) mod user_mode;
