//! The sequences that colour a text on a terminal.

pub(crate) const BOLD: &str = "\x1b[1m";
pub(crate) const DIM: &str = "\x1b[2m";
pub(crate) const BAD: &str = "\x1b[1;31m";
pub(crate) const DOUBTFUL: &str = "\x1b[33m";
pub(crate) const GOOD: &str = "\x1b[32m";
pub(crate) const END: &str = "\x1b[0m";

/// All of them: they reach a terminal that colours, and no other sequence does.
pub(crate) const SEQUENCES: [&str; 6] = [BOLD, DIM, BAD, DOUBTFUL, GOOD, END];
