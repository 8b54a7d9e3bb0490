//! Seed 0: `vma_pgtable_walk_begin/end()`: stabilising hugetlb page tables.

use crate::explore::scenario::Scenario;

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[];
