//! `retract_page_tables()` without mmap or vma lock.

use crate::scenario::{Live, Scenario};

mod collapse_pte_mapped;
mod fill;
mod folio_lock;
pub(crate) mod initial_states;
mod markers;
mod mremap;

/// The rule that sees a table that is removed with something in it.
const L25: Live = Live::Rule("L25");
/// The reason why the live rules do not see a PMD entry that changed before its use.
const NO_RULE: Live =
    Live::Unseen("no event shows a move of page tables, or the PMD entry at the moment when its lock is looked up");

/// Situations that must occur if one thread removes a table and another one puts something into it.
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
