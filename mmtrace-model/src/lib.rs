//! An executable reference of the Linux kernel's page-table and mm lock protocols.
//!
//! The reference takes a stream of events, one [`Record`](mmtrace_common::Record) after the other. It follows the
//! locks, address spaces, tasks and page tables that the events show, and evaluates rules: statements of the kernel's
//! documentation and sources that must hold whenever certain events occur. A rule is *held*, *violated*, *unknown*
//! (events are missing) or *not observable* (the kernel lacks a probe). The reference concludes nothing from events
//! that it has not seen.
//!
//! This crate opens no file and knows no file format, and it cannot tell where the records come from. The `mmtrace`
//! command reads them from a running kernel, `mmtrace-capture` reads them from disk, and `mmtrace-explore` makes them
//! from executions of a protocol.
//!
//! # Example
//!
//! Two tasks that hold one mmap_lock for write at the same time violate L01:
//!
//! ```
//! use mmtrace_common::{Column, Kind, Record, spec};
//! use mmtrace_model::{
//!     context::{Context, Kernel},
//!     replay::Engine,
//!     verdict::{RuleId, Verdict},
//! };
//!
//! /// What a task does to the mmap_lock of one mm, for write.
//! fn event(ts: u64, tid: u32, kind: Kind) -> Record {
//!     let mut record = Record { ts, mm: 0xffff_8880_1000_0000, tgid: tid, tid, kind: kind as u16, ..Record::default() };
//!     for field in spec(kind).fields {
//!         match field.column {
//!             Column::Write | Column::Success => field.set(&mut record, 1),
//!             _ => {}
//!         }
//!     }
//!     record
//! }
//!
//! let kernel = Kernel { release: "6.18.0".to_owned(), ..Kernel::default() };
//! let mut engine = Engine::new(Context::with_every_probe(kernel), true);
//! // Times are nanoseconds. Clocks of two CPUs may differ by less than 2 us, so holds that overlap by less are no
//! // violation.
//! for (ts, tid, kind) in [
//!     (1_000_000, 1, Kind::StartLocking),
//!     (1_010_000, 1, Kind::AcquireReturned),
//!     (1_020_000, 2, Kind::StartLocking),
//!     (1_030_000, 2, Kind::AcquireReturned),
//!     (1_040_000, 1, Kind::Released),
//!     (1_050_000, 2, Kind::Released),
//! ] {
//!     engine.apply(&event(ts, tid, kind));
//! }
//! engine.finish();
//!
//! let sink = engine.sink().expect("it judges");
//! assert_eq!(sink.verdict(RuleId::L01), Verdict::Violated);
//! let violation = sink.kept().next().expect("the first ones are kept");
//! assert_eq!((violation.rule, violation.mm), (RuleId::L01, 0xffff_8880_1000_0000));
//! ```
//!
//! # Where to begin
//!
//! | module | noun |
//! |---|---|
//! | [`replay`] | [`Engine`](replay::Engine), which takes the records; [`Timeline`](replay::timeline::Timeline), the state as of any time |
//! | [`context`] | the source of a stream: the kernel, its probes, its enums |
//! | [`verdict`] | the rule table and the findings |
//! | [`kernel_version`], [`examined_kernels`] | versions of the kernel, and the series that mmtrace was examined on |
//! | [`model`] | the state that the rules are evaluated on, and the [invariants](model::invariant) of the explorer |
//! | [`names`] | what tasks are called, and the names of calls |
//! | [`stats`], [`durations`], [`coverage`] | figures, and what share of what there was each is made of |
//! | [`report`] | the closing report, as text and as JSON |
//! | [`untrusted`], [`bounded`], [`when`] | text of strangers, limits of their JSON, times as users type them |
//!
//! # What is stable
//!
//! The names of rules (`L01`) and the JSON of the [`Report`](report::Report) are stable: fields are added, never
//! renamed. The Rust interface is not stable yet: until 1.0, a minor version may change any of it.

// The reference is asked, and says nothing on its own.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod bounded;
mod colours;
pub mod context;
pub mod coverage;
pub mod durations;
pub mod examined_kernels;
pub mod kernel_version;
pub mod model;
pub mod names;
mod numbers;
pub mod optional_events;
mod recent_map;
pub mod replay;
pub mod report;
pub mod stats;
pub mod tables;
mod texts;
pub mod untrusted;
pub mod verdict;
pub mod when;
