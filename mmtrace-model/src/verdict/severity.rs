//! Severities of broken rules.

/// Severity of a broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The kernel did what its own rules forbid.
    Violation,
    /// Events contradict each other: the kernel, the probes or the model is wrong.
    Consistency,
    /// Something happened that is allowed and worth knowing; counted.
    Hazard,
    /// A measurement; nothing to break.
    Measure,
}

impl Severity {
    /// Whether breaking the rule makes the run fail.
    #[must_use]
    pub const fn can_fail(self) -> bool {
        matches!(self, Self::Violation | Self::Consistency)
    }

    /// As lists call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Violation => "violation",
            Self::Consistency => "consistency",
            Self::Hazard => "hazard",
            Self::Measure => "measure",
        }
    }
}
