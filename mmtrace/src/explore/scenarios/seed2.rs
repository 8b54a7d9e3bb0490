//! Seed 2: dropping the VMA lock before waiting for migration.

use crate::explore::scenario::Scenario;

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[];
