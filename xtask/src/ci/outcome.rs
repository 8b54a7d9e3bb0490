//! The outcome of a lane, and the state that it leaves for others.

use crate::{setup::Setup, test::Sums, workspace::Workspace};

/// The outcome of a lane.
pub(super) enum Outcome {
    /// It ran and found nothing; what else there is to say.
    Passed(String),
    /// It found something, or could not run and should have.
    Failed(String),
    /// This machine cannot run it: why.
    NotRun(String),
}

/// The state that lanes leave for others.
pub(super) struct Run {
    pub(super) workspace: Workspace,
    /// In CI, what can be installed must be.
    pub(super) ci: bool,
    pub(super) setup: Option<Setup>,
    pub(super) sums: Option<Sums>,
}

impl Outcome {
    /// Returns it in one line of a table.
    pub(super) fn told(&self) -> String {
        let (word, why) = match self {
            Self::Passed(why) => ("passed", why),
            Self::Failed(why) => ("failed", why),
            Self::NotRun(why) => ("not run here", why),
        };
        // A table has lines; the rest of a message stands where the lane ran.
        match why.lines().next() {
            None => word.to_owned(),
            Some(why) => format!("{word}: {why}"),
        }
    }
}
