//! Counting what the threads of a workload do.

use super::outcome::PathOutcome;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Collects the paths of one run.
pub(super) struct Tally {
    workload: &'static str,
    paths: Mutex<BTreeMap<(String, String), PathOutcome>>,
}

impl Tally {
    pub(super) fn new(workload: &'static str) -> Self {
        Self { workload, paths: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), PathOutcome>> {
        // Counters stay consistent even if a thread panicked between two of them.
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the count of one path. For frequent use, take [`Tally::local`].
    pub(super) fn add(&self, path: &'static str, what: &'static str, count: u64) {
        self.merge(PathOutcome {
            workload: self.workload.to_owned(),
            path: path.to_owned(),
            counts: BTreeMap::from([(what.to_owned(), count)]),
            note: None,
        });
    }

    /// Says why a path was not driven, or not to its end. The first reason stays.
    pub(super) fn note(&self, path: &'static str, reason: String) {
        self.merge(PathOutcome {
            workload: self.workload.to_owned(),
            path: path.to_owned(),
            counts: BTreeMap::new(),
            note: Some(reason),
        });
    }

    /// Adds what was counted elsewhere.
    pub(super) fn merge(&self, from: PathOutcome) {
        let mut paths = self.lock();
        let into = paths.entry((from.workload.clone(), from.path.clone())).or_insert_with(|| PathOutcome {
            workload: from.workload,
            path: from.path,
            ..PathOutcome::default()
        });
        for (what, count) in from.counts {
            *into.counts.entry(what).or_default() += count;
        }
        if into.note.is_none() {
            into.note = from.note;
        }
    }

    /// Counts of one thread and path, added when it is dropped: no lock is shared meanwhile.
    pub(super) fn local(&self, path: &'static str) -> Local<'_> {
        Local { tally: self, path, counts: Vec::new() }
    }

    pub(super) fn into_paths(self) -> Vec<PathOutcome> {
        self.paths.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
    }
}

/// See [`Tally::local`].
pub(super) struct Local<'a> {
    tally: &'a Tally,
    path: &'static str,
    counts: Vec<(&'static str, u64)>,
}

impl Local<'_> {
    pub(super) fn add(&mut self, what: &'static str, count: u64) {
        match self.counts.iter_mut().find(|(name, _)| *name == what) {
            Some((_, sum)) => *sum += count,
            None => self.counts.push((what, count)),
        }
    }
}

impl Drop for Local<'_> {
    fn drop(&mut self) {
        for (what, count) in &self.counts {
            self.tally.add(self.path, what, *count);
        }
    }
}
