//! Parts of the model that are unknown when an event is missing, as bits.
//!
//! A part of the model that reads an event has its bit in the event's row: the loss of an event makes exactly those parts
//! unknown.

/// Parts of the model.
pub type Parts = u8;

/// None: the event changes nothing that is concluded from.
pub const NOTHING: Parts = 0;
/// mmap_locks, tasks, and what tracepoints say of migration, collapse and compaction.
pub const LOCKS: Parts = 1 << 0;
/// The mappings of an mm, and so everything about its pages.
pub const SPACE: Parts = 1 << 1;
/// Faults and VMA locks, as functions tell of them.
pub const FUNCTIONS: Parts = 1 << 2;
/// Which PMD entry leads to which PTE table, which serves only for predictions.
pub const SLOTS: Parts = 1 << 3;
/// Tables that are unlinked or freed, tasks in a call that unlinks them, hugetlb locks.
pub const TABLES: Parts = 1 << 4;
/// Anonymous collapses, which end with a write hold.
pub const COLLAPSES: Parts = 1 << 5;
/// Which pages of an mm were touched.
pub const TOUCHED: Parts = 1 << 6;
/// Whether something of an mm was unmapped: downgrades say so.
pub const UNMAPPED: Parts = 1 << 7;
/// All of them.
pub const ALL: Parts = LOCKS | SPACE | FUNCTIONS | SLOTS | TABLES | COLLAPSES | TOUCHED | UNMAPPED;
