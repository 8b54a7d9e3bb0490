//! Seed 4: `retract_page_tables()` without mmap or vma lock.

use crate::scenario::{Live, Scenario};

mod collapse;
mod fill;
mod moves;
mod others;
mod retract;
pub(crate) mod worlds;

/// A table that is removed with something in it.
const L25: Live = Live::Rule("L25");
/// Why they do not see a PMD that is not what it was taken for.
const NO_RULE: Live = Live::Unseen("no event shows a move of page tables, or the PMD entry when its lock is looked up");

/// What must occur where a table is removed and something is put into it.
const SOMETIMES: &[&str] = &[
    "the table is removed",
    "user space is told that it is done",
    "a new table is allocated",
    "the remover gives up once it has the locks",
];

/// The scenarios, module by module.
pub(super) const SCENARIOS: &[&[Scenario]] =
    &[retract::SCENARIOS, fill::SCENARIOS, collapse::SCENARIOS, moves::SCENARIOS, others::SCENARIOS];

pub(crate) use retract::enlarged;
