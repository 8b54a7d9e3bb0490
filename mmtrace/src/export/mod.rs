//! Numbers for others: Prometheus metrics of a recording.

pub mod metrics;
pub mod offer;
pub mod serve;
