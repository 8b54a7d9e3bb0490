//! The ABI between the eBPF programs and the user side: the event record, its
//! kinds, and what each of its words means.
//!
//! [`SPECS`] is the one table that names every event: its tracepoint, the
//! parameters it takes (by the kernel's own names), where each value travels in
//! a [`Record`], and the capture column it ends up in. The eBPF programs, the
//! attach plan, the capture's schema, `mmtrace dump` and the documentation all
//! read it.
//!
//! # Example
//!
//! ```
//! use mmtrace_common::{Column, Event, Kind, Record, View as _, event};
//!
//! let mut record = Record { ts: 1_000, tid: 7, ..Record::default() };
//! let fault = event::PageFaultUser { addr: 0x7f00_0000_1000, ip: 0x40_1000, error_code: 6, walk: 0, vma_facts: 0 };
//! fault.write(&mut record);
//!
//! assert_eq!(record.kind().map(Kind::name), Some("page_fault_user"));
//! assert_eq!(Event::of(&record), Some(Event::PageFaultUser(fault)));
//! // By column, as captures and tables have it:
//! assert_eq!(record.get(Column::Addr), Some(0x7f00_0000_1000));
//! assert_eq!(record.get(Column::Vma), None, "this event has no such column");
//! ```
//!
//! # What is stable
//!
//! Names of events and columns are: captures hold them. Numbers of kinds and places within a record are not: programs and
//! user side are built together.
#![no_std]

mod call;
mod cast;
mod record;
mod spec;
mod vma_facts;
mod walk;

pub use call::{Call, ProcFile, SYSCALLS_MAX};
pub use cast::CAST_CALL;
pub use record::{ARGS_MAX, HEADER_WORDS, LOST_KINDS, Record, header_word};
pub use spec::{
    ABSENT, At, CALL_OFFSETS, Class, Column, Event, FUNCTION, Field, FieldType, Function, Kind, MmFrom, OFFSETS,
    Offset, OffsetId, POSITIONS, PROC_FILE_OFFSETS, SOFTWARE, SPECS, STANDBY_OFFSETS, Site, Slot, Source, Spec,
    UNCHANGED_OFFSETS, VMA_FACTS_OFFSETS, View, event, spec, unknown,
};
pub use vma_facts::{TMPFS_MAGIC, VmaFacts, grows_down};
pub use walk::{Entry, Walk};
