//! Largest difference between the clocks of two CPUs.

/// Two intervals observed on different CPUs overlap only if they do so by more
/// than this: `bpf_ktime_get_ns()` of two CPUs may differ by a little.
pub const EPSILON_NS: u64 = 2_000;
