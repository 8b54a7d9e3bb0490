//! Threads of a workload, which a limit may refuse (`ulimit -u`, `pids.max`).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread::{Builder, Scope},
};

/// Threads that could not be started, in this process.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Starts a thread that the scope waits for. A thread that is refused is counted: the others go on without it.
pub(super) fn start<'scope>(scope: &'scope Scope<'scope, '_>, work: impl FnOnce() + Send + 'scope) {
    if Builder::new().spawn_scoped(scope, work).is_err() {
        REFUSED.fetch_add(1, Ordering::Relaxed);
    }
}

/// As [`start`], under a name of at most 15 bytes.
pub(super) fn start_as<'scope>(scope: &'scope Scope<'scope, '_>, name: &str, work: impl FnOnce() + Send + 'scope) {
    if Builder::new().name(name.to_owned()).spawn_scoped(scope, work).is_err() {
        REFUSED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the number of threads that the system refused.
pub(super) fn refused() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}
