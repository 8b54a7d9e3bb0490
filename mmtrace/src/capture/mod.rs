//! Captures: writing, reading and recovering a stream of events on disk.
//!
//! A capture is a directory:
//!
//! | file | content |
//! |---|---|
//! | `manifest.json` | what a replay must know besides the events: [`Manifest`] |
//! | `segment-000001.parquet` | a sealed segment, readable by any Parquet reader |
//! | `segment-000002.arrows` | the open segment, as Arrow IPC streams (see [`stream`]) |
//! | `segment-000002.parquet.part` | the open segment on its way to Parquet; of no use after a crash |
//!
//! A capture is its owner's alone: under sudo, of who called it, with whose rights it is written then. All that is
//! written, renamed or removed lies beneath a folder that is held open (see `folder`).
//!
//! The order of records in a capture is the order in which they were appended.
//! Readers deliver them in that order, and put a [`Kind::Gap`](mmtrace_common::Kind::Gap)
//! record wherever records are missing.

mod batch;
mod decode;
mod dump;
mod error;
mod file;
mod filter;
mod folder;
mod info;
mod manifest;
mod names;
mod pages;
mod place;
mod reader;
mod records;
mod rights;
mod save;
mod schema;
mod sealed;
mod segment;
mod show;
pub mod stream;
mod thrift;
mod writer;

pub use batch::{BATCH_ROWS, Batch, BatchBuilder};
pub use decode::{Decoded, decode};
pub use dump::{DumpArgs, Dumped, dump};
pub use error::{CaptureError, ShowError};
pub use filter::{Filter, FilterError};
pub use info::{InfoArgs, info};
pub use manifest::{Clock, Dropped, Manifest, SegmentEntry, State, Totals, Version};
pub use names::Names;
pub use place::make_room;
pub use reader::{Capture, Condition, Problem, Records, Summary};
pub use save::{LOOK_BACK_NS, Saved, free_name, save};
pub use schema::{DictionaryKey, FIXED, schema, writer_properties};
pub use writer::{CaptureWriter, FinalInfo, WriterOptions};
