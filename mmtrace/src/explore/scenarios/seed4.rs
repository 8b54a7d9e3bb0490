//! Seed 4: `retract_page_tables()` without mmap or vma lock.

use crate::explore::scenario::Scenario;

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[];
