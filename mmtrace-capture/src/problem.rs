//! Problems: parts of a capture that cannot be read back.

use rustc_hash::FxHashSet;
use serde::Serialize;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Part of a capture that could not be read back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Problem {
    /// File name within the capture.
    pub file: String,
    /// Defect of the file, as a sentence without its subject.
    pub what: String,
    /// Records missing because of it; `None` when it cannot be known.
    pub missing: Option<u64>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.missing {
            Some(n) => write!(f, "{}: {}; {n} events are missing", self.file, self.what),
            None => write!(f, "{}: {}; an unknown number of events is missing", self.file, self.what),
        }
    }
}

/// Problems in the order in which they were found, each of them once.
#[derive(Debug, Default)]
pub(super) struct Problems(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    listed: Vec<Problem>,
    known: FxHashSet<Problem>,
}

impl Problems {
    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, file: &str, what: &str, missing: Option<u64>) {
        let problem = Problem { file: file.to_owned(), what: what.to_owned(), missing };
        let mut list = self.list();
        // The same damage is met again by every reading.
        if list.known.insert(problem.clone()) {
            list.listed.push(problem);
        }
    }

    pub(super) fn all(&self) -> Vec<Problem> {
        self.list().listed.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list().listed.is_empty()
    }

    /// Returns whether any of them is about records that are missing, or may be.
    pub(super) fn has_damage(&self) -> bool {
        self.list().listed.iter().any(|problem| problem.missing != Some(0))
    }
}
