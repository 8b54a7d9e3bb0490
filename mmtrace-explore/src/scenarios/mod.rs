//! The scenarios, one module for each thread.

use super::scenario::Scenario;

pub(crate) mod cross;
mod gup;
mod seed0;
pub(crate) mod seed1;
mod seed2;
mod seed3;
pub(crate) mod seed4;

/// By seed, and module by module.
pub(crate) const ALL: &[&[&[Scenario]]] = &[
    seed0::SCENARIOS,
    seed1::SCENARIOS,
    seed2::SCENARIOS,
    &[seed3::SCENARIOS],
    seed4::SCENARIOS,
    &[gup::SCENARIOS, cross::SCENARIOS],
];
