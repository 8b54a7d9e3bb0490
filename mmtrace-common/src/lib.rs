//! The ABI between the eBPF programs and the user side: the event record, its
//! kinds, and what each of its words means.
//!
//! [`SPECS`] is the one table that names every event: its tracepoint, the
//! parameters it takes (by the kernel's own names), where each value travels in
//! a [`Record`], and the capture column it ends up in. The eBPF programs, the
//! attach plan, the capture's schema, `mmtrace dump` and the documentation all
//! read it.
#![no_std]

mod record;
mod spec;

pub use record::{ARGS_MAX, HEADER_WORDS, LOST_KINDS, Record, header_word};
pub use spec::{
    ABSENT, At, Class, Column, Event, FUNCTION, Field, FieldType, Function, Kind, MmFrom, OFFSETS, Offset, OffsetId,
    POSITIONS, SPARE_OFFSETS, SPECS, Site, Slot, Source, Spec, View, event, spec, unknown,
};
