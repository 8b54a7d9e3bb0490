//! Seed 3: the VMA sequence count: speculative page faults.

use crate::explore::scenario::Scenario;

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[];
