//! The explorer: every interleaving of a few threads that run a protocol.
//!
//! A [`Scenario`](scenario::Scenario) names the threads and the variants; [`search`] looks at every interleaving and
//! checks the [invariants](crate::model::invariant) at every step; [`schedule`] shows how one is broken.

pub mod command;
pub mod enlarged;
mod footprint;
pub mod live;
pub mod matrix;
pub mod mutation;
pub mod render;
pub mod scenario;
pub mod scenarios;
pub mod schedule;
pub mod search;
pub mod seeds;
mod store;
pub mod view;
