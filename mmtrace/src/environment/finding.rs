//! A checked fact, with its consequence and its fix.

use std::fmt;

use serde::Serialize;

/// Degree to which a fact stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be, or of no importance.
    Ok,
    /// Something works less well.
    Warn,
    /// Recording is impossible.
    Fail,
    /// Could not be found out.
    Unknown,
}

impl Status {
    /// As tables and JSON show it.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// One checked fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the fact that was checked.
    pub name: &'static str,
    /// Whether it stands in the way.
    pub(crate) status: Status,
    /// Its value, as found.
    pub(crate) value: String,
    /// The consequence for the user, a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) consequence: Option<String>,
    /// The fix: a command where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

impl Finding {
    pub(super) fn new(name: &'static str, status: Status, value: impl Into<String>) -> Self {
        Self { name, status, value: value.into(), consequence: None, fix: None }
    }

    pub(super) fn ok(name: &'static str, value: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, value)
    }

    pub(super) fn consequence(mut self, text: impl Into<String>) -> Self {
        self.consequence = Some(text.into());
        self
    }

    pub(super) fn fix(mut self, text: impl Into<String>) -> Self {
        self.fix = Some(text.into());
        self
    }
}

impl fmt::Display for Finding {
    /// Three lines at most: fact, consequence, fix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)?;
        if let Some(consequence) = &self.consequence {
            write!(f, "\n  {consequence}")?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}
