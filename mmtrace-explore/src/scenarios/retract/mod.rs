//! `retract_page_tables()` without mmap or vma lock.

use crate::scenario::{Live, Scenario};

mod collapse_pte_mapped;
mod fill;
mod folio_lock;
pub(crate) mod initial_states;
mod markers;
mod mremap;

/// Why the live rules do not see a table that is removed with an entry in it.
const L25: Live = Live::Rule("L25");
/// Why the live rules do not see a PMD that changed after it was read.
const NO_RULE: Live = Live::Unseen("no event shows a move of page tables, or the PMD entry when its lock is looked up");

/// What must occur where a table is removed and an entry is filled.
const SOMETIMES: &[&str] = &[
    "the table is removed",
    "user space is told that it is done",
    "a new table is allocated",
    "the remover gives up once it has the locks",
];

/// The scenarios, module by module.
pub(super) const SCENARIOS: &[&[Scenario]] =
    &[markers::SCENARIOS, fill::SCENARIOS, collapse_pte_mapped::SCENARIOS, mremap::SCENARIOS, folio_lock::SCENARIOS];

pub(crate) use markers::enlarged;
