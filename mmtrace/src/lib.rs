//! mmtrace checks the page-table and mm lock protocols of a Linux kernel against
//! an executable reference: live, over a capture, or exhaustively.
//!
//! Data flows one way: source → model → verdict → view. `ARCHITECTURE.md` is the map.

// They panic where the descriptor cannot be written, and wait where nobody reads it: `console` does neither. Tests may.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod bounded;
pub mod btf;
pub mod capture;
pub mod catalogue;
pub mod cli;
pub mod console;
pub mod context;
pub mod coverage;
pub mod doctor;
pub mod environment;
pub mod explore;
pub mod export;
pub mod identity;
pub mod model;
pub mod outlet;
pub mod panics;
pub mod probe;
pub mod protocol;
pub mod record;
pub mod replay;
pub mod report;
pub mod stats;
pub mod tui;
pub mod untrusted;
pub mod verdict;
pub mod when;
pub mod workload;
