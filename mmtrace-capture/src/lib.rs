//! Captures: writing, reading and recovering a stream of events on disk.
//!
//! A capture is a directory:
//!
//! | file | content |
//! |---|---|
//! | `manifest.json` | what a replay must know besides the events: [`Manifest`] |
//! | `segment-000001.parquet` | a sealed segment, readable by any Parquet reader |
//! | `segment-000002.arrows` | the open segment, as Arrow IPC streams (see `stream`) |
//! | `segment-000002.parquet.part` | the open segment on its way to Parquet; of no use after a crash |
//!
//! A capture is its owner's alone: under sudo, of who called it, with whose rights it is written then. All that is
//! written, renamed or removed lies beneath a folder that is held open (see `folder`).
//!
//! The order of records in a capture is the order in which they were appended.
//! Readers deliver them in that order, and put a [`Kind::Gap`](mmtrace_common::Kind::Gap)
//! record wherever records are missing. What is read is a stranger's: a damaged or hostile capture costs bounded memory,
//! and what cannot be read is named ([`Capture::problems`]), never guessed.
//!
//! # Example
//!
//! ```
//! use mmtrace_capture::{Capture, CaptureWriter, Condition, FinalInfo, WriterOptions};
//! use mmtrace_common::{Kind, Record};
//! use mmtrace_model::context::{Context, Kernel};
//!
//! let folder = tempfile::tempdir()?;
//! let dir = folder.path().join("made.mmt");
//!
//! let context = Context::with_every_probe(Kernel { release: "6.18.0".to_owned(), ..Kernel::default() });
//! let mut writer = CaptureWriter::create(&dir, &context, vec!["example".to_owned()], WriterOptions::default())?;
//! let fault = Record { ts: 1_000, tgid: 7, tid: 7, kind: Kind::PageFaultUser as u16, ..Record::default() };
//! writer.append(&fault)?;
//! writer.finish(FinalInfo { end_ts: 2_000 })?;
//!
//! let capture = Capture::open(&dir)?;
//! assert_eq!(capture.condition(), Condition::Complete);
//! assert_eq!(capture.records().collect::<Vec<_>>(), [fault]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Capture`] is a [`Source`](mmtrace_model::replay::timeline::Source) of the model's
//! [`Timeline`](mmtrace_model::replay::timeline::Timeline): the state as of any time in it.
//!
//! # What is stable
//!
//! The format on disk is: columns are added, never renamed, and a reader refuses only a newer [`Version::major`]. The Rust
//! interface is not yet: until 1.0, a minor version may change any of it.

// Who opens a capture is told what is wrong with it, and decides what to say.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod batch;
mod capture_id;
mod decode;
mod digest;
mod error;
mod file;
mod filter;
mod folder;
pub mod identity;
mod inventory;
mod layout;
mod make_room;
mod manifest;
mod names;
mod pages;
pub mod panics;
mod parquet_file;
mod part;
mod problem;
mod reader;
mod records;
mod rights;
mod save;
mod schema;
mod sealed;
mod segment;
mod sequence;
mod stream;
mod thrift;
mod value_text;
mod writer;

pub use batch::{BATCH_ROWS, Batch, BatchBuilder};
pub use capture_id::CaptureId;
pub use error::CaptureError;
pub use filter::{Filter, FilterError};
pub use make_room::make_room;
pub use manifest::{Clock, Dropped, Manifest, SegmentEntry, State, Totals, Version};
pub use names::Names;
pub use problem::Problem;
pub use reader::{Capture, Condition, Summary};
pub use records::Records;
pub use save::{LOOK_BACK_NS, Saved, free_name, save};
pub use schema::{DictionaryKey, FIXED, schema, writer_properties};
pub use value_text::ValueText;
pub use writer::{CaptureWriter, FinalInfo, WriterOptions};
