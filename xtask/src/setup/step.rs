//! The result of one step of the setup.

use std::fmt;

/// The result of one step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Nothing to do.
    Present(String),
    /// Done.
    Installed(String),
    /// This machine does not allow it, or the network does not deliver it.
    Impossible(String),
    /// It was begun and went wrong.
    Failed(String),
}

impl Step {
    /// Whether the thing is there now.
    pub(crate) const fn is_there(&self) -> bool {
        matches!(self, Self::Present(_) | Self::Installed(_))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present(what) => write!(f, "present: {what}"),
            Self::Installed(what) => write!(f, "installed: {what}"),
            Self::Impossible(why) => write!(f, "not possible here: {why}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// Whether what a program said is about a network that did not deliver, rather than about what was asked for.
pub(super) fn is_network(said: &str) -> bool {
    const SIGNS: [&str; 12] = [
        "Failed to fetch",
        "Could not resolve",
        "Could not connect",
        "Temporary failure",
        "Network is unreachable",
        "Connection timed out",
        "Connection refused",
        "could not download",
        "failed to download",
        "download of",
        "spurious network error",
        "No matching distribution",
    ];
    SIGNS.iter().any(|sign| said.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_does_not_deliver_is_told_from_a_failure() {
        assert!(is_network("E: Failed to fetch a.deb  Temporary failure resolving 'deb.example.org'"));
        assert!(is_network("ERROR: No matching distribution found for duckdb"));
        assert!(!is_network("error[E0433]: failed to resolve: use of undeclared crate"));
    }
}
