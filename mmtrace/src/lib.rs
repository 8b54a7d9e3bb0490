//! mmtrace checks the page-table and mm lock protocols of a Linux kernel against
//! an executable reference: live, over a capture, or exhaustively.
//!
//! Data flows one way: source → model → verdict → view. `ARCHITECTURE.md` is the map.

pub mod context;
