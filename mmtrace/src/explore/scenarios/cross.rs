//! The VMA lock itself, and what belongs to several seeds.

use crate::explore::scenario::Scenario;

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[];
