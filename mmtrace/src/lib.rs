//! mmtrace checks the page-table and mm lock protocols of a Linux kernel against
//! an executable reference: live, over a capture, or exhaustively.
//!
//! Data flows one way: source → model → verdict → view. `ARCHITECTURE.md` is the map.
//!
//! This library is what the `mmtrace` command is made of: probes, recording, dashboard, exports, workloads. Nothing in it
//! is stable. The reference is in `mmtrace-model`, the explorer in `mmtrace-explore`, captures in `mmtrace-capture`.
//!
//! # Example
//!
//! The dashboard over a stream, as text without colours:
//!
//! ```
//! use mmtrace::tui::{layout::Layout, picture, state::State, view::Place};
//! use mmtrace_model::{
//!     context::{Context, Kernel},
//!     replay::Engine,
//! };
//!
//! let kernel = Kernel { release: "6.18.0".to_owned(), ..Kernel::default() };
//! let engine = Engine::new(Context::with_every_probe(kernel), true).with_stats();
//! let (text, _) = picture(&engine, Place::Live, &Layout::default(), &State::default(), 80, 24);
//! assert_eq!(text.lines().count(), 24);
//! ```

// They panic where the descriptor cannot be written, and wait where nobody reads it: `console` does neither. Tests may.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod btf;
pub mod catalogue;
pub mod cli;
pub mod command_line;
pub mod commands;
pub mod confine;
pub mod console;
pub mod doctor;
pub mod environment;
pub mod export;
pub mod moment;
pub mod needs;
pub mod outlet;
pub mod panics;
pub mod percent;
pub mod probe;
pub mod record;
pub mod tui;
pub mod workload;
