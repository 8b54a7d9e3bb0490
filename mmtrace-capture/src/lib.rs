//! Captures: writing, reading and recovering a stream of kernel events on disk.
//!
//! [`CaptureWriter`] writes a capture, [`Capture`] reads one. A capture is a [`Source`] of the model's
//! [`Timeline`](mmtrace_model::replay::timeline::Timeline), so that its state can be had as of any time.
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
//! # What holds
//!
//! - Readers deliver records in the order in which they were appended, and put a
//!   [`Kind::Gap`](mmtrace_common::Kind::Gap) record wherever records are missing.
//! - After a crash at any moment, a capture has every batch that was written, once.
//! - A reader never trusts a capture. A damaged or hostile one costs bounded memory, and the reader names what it
//!   cannot read ([`Capture::problems`]) instead of guessing it.
//! - A capture belongs to its owner alone; under sudo that is the user who called sudo, with whose rights it is
//!   written. Every file that is written, renamed or removed lies beneath a folder that is held open.
//!
//! # The format
//!
//! A capture is a folder:
//!
//! | file | content |
//! |---|---|
//! | `manifest.json` | [`Manifest`]: kernel, probes, and for each sealed segment its length, checksum and sums |
//! | `manifest.json.tmp` | the next manifest, before it replaces that one; of no use after a crash |
//! | `segment-000001.parquet` | a sealed segment, readable by any Parquet reader; [`columns`] lists its columns |
//! | `segment-000002.arrows` | the open segment, as Arrow IPC streams |
//! | `segment-000002.parquet.part` | the open segment on its way to Parquet; of no use after a crash |
//! | `tasks.parquet`, `mappings.parquet`, `functions.parquet` | tables of names, which [`write_tables`] derives from the segments; [`table_columns`] lists their columns |
//! | `tasks.parquet.part`, … | such a table before it is whole; of no use after a crash |
//!
//! **Tables** hold nothing that the segments do not have, and no reader of a capture looks at them. The manifest does not
//! list them. They can be removed, and written again.
//!
//! **Numbers.** Segments are numbered from 1, without gaps. A flight recorder removes the oldest and counts them in
//! [`Manifest::dropped`]. [`Manifest::totals`] are the sums over [`Manifest::segments`] in every manifest that is
//! stored. A reader tells by both that a segment is gone, or its entry.
//!
//! **The id.** [`Manifest::id`] is drawn for each capture. Every segment repeats it: a sealed one under the key
//! `mmtrace.capture` of its footer, an open one under the same key in the metadata of each stream's schema. A reader
//! names a segment with another id, or without one, and does not read it. Captures before version 1.1 have no ids.
//!
//! **The open segment** is one or more Arrow IPC streams, back to back. A stream has only some of the columns:
//! those that its events use. A new one begins when an event brings another column, or when no event has used some for
//! long. A recorder that begins the next segment ends this one with 16 bytes, the end-of-stream mark of Arrow twice: `ff ff ff ff 00 00 00 00 ff ff ff ff 00 00 00 00`. A stream
//! without them breaks off: it is the newest, or its end did not reach the disk.
//!
//! # What is stable
//!
//! The format is. Files and columns are added, never renamed, and a reader refuses only a newer [`Version::major`]. A
//! newer [`Version::minor`] can add fields to the manifest, which older readers ignore. Readers before 1.1 take an open
//! segment of a 1.1 capture for damaged, since they know no id in a stream.
//!
//! The Rust interface is not stable: until 1.0, a minor version may change any of it.
//!
//! [`Source`]: mmtrace_model::replay::source::Source

// The caller is told what is wrong with a capture, and decides what to say.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod batch;
mod beside;
mod capture_id;
mod decode;
mod digest;
mod error;
mod file;
mod filter;
mod folder;
mod identity;
mod inventory;
mod layout;
mod make_room;
mod manifest;
mod names;
mod pages;
mod panics;
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
mod staging;
mod stream;
mod tables;
mod thrift;
mod value_text;
mod writer;

pub use beside::open_file;
pub use capture_id::CaptureId;
pub use error::CaptureError;
pub use filter::{Filter, FilterError};
pub use identity::{User, effective_uid, parse_uid};
pub use layout::MANIFEST;
pub use make_room::make_room;
pub use manifest::{Clock, Dropped, Manifest, SegmentEntry, State, Totals, Version};
pub use names::Names;
pub use panics::{guarded, is_guarded};
pub use problem::Problem;
pub use reader::{Capture, Condition, Summary};
pub use records::Records;
pub use save::{LOOK_BACK_NS, Saved, free_name, save};
pub use schema::{StoredColumn, columns};
pub use staging::{Publish, Staging};
pub use tables::{TableColumn, TablesWritten, has_tables, table_columns, tables_bytes, write_tables};
pub use value_text::ValueText;
pub use writer::{CaptureWriter, FinalInfo, WriterOptions};
