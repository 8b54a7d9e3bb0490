//! mmtrace checks the page-table and mm lock protocols of a Linux kernel against
//! an executable reference: live, over a capture, or exhaustively.
//!
//! Data flows one way: source → model → verdict → view. `ARCHITECTURE.md` is the map.

pub mod btf;
pub mod capture;
pub mod context;
pub mod environment;
pub mod model;
pub mod probe;
pub mod verdict;
pub mod workload;
