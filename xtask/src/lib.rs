//! What `cargo xtask` shares with the first process of its virtual machines. Everything else is in the programs.

pub mod guest;
