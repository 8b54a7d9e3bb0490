//! The part of `cargo xtask` that the first process of its virtual machines shares. Everything else is in the programs.

pub mod guest;
