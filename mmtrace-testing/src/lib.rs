//! Streams of events made up for the tests of mmtrace's crates, and what the model says of them.
#![expect(missing_docs, reason = "tests read the names, which are those of the kernel's events")]

pub mod captured;
pub mod charges;
pub mod contention;
pub mod folders;
pub mod holes;
pub mod judging;
pub mod kernel;
pub mod page_tables;
pub mod planted;
pub mod random;
