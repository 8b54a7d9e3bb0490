//! What a rule is: how bad it is to break it, what it rests on, and where it cannot be observed.

use mmtrace_common::Kind;

use super::rules::{RULES, RuleId};
use crate::{context::Context, kernel_version::KernelVersion};

/// How bad a broken rule is.
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

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Which.
    pub id: RuleId,
    /// Its name in reports: never changes its meaning.
    pub name: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What must be true.
    pub statement: &'static str,
    /// Why the kernel needs it.
    pub why: &'static str,
    /// Where in the kernel, or which thread, it comes from.
    pub source: &'static str,
    /// Why the probes cannot make it cry without cause.
    pub sound: &'static str,
    /// What a violation would mean.
    pub meaning: &'static str,
    /// What it looks like.
    pub example: &'static str,
    /// Events without which it cannot be judged.
    pub needs: &'static [Kind],
    /// First kernel that it is true of.
    pub since: KernelVersion,
    /// First kernel that it is no longer known to be true of.
    pub before: Option<KernelVersion>,
    /// It needs the events of every mm: a filter turns it off.
    pub whole_system: bool,
    /// It reads entries in x86-64's format.
    pub x86_64: bool,
}

impl Rule {
    /// Why it cannot be observed in this context, if it cannot.
    #[must_use]
    pub fn blocked(&self, context: &Context) -> Option<String> {
        let (series, release) = (context.kernel.series(), &context.kernel.release);
        if series.is_none_or(|series| series < self.since) {
            return Some(format!("true of kernels from {} on, this is {release}", self.since));
        }
        if let Some(before) = self.before.filter(|before| series.is_some_and(|series| series >= *before)) {
            return Some(format!("checked against sources before {before} only, this is {release}"));
        }
        if self.x86_64 && context.kernel.machine != "x86_64" {
            return Some(format!("reads x86-64 page-table entries, this is {}", context.kernel.machine));
        }
        if self.whole_system && context.filter.is_some() {
            return Some("needs the events of every process, and a filter is in use".to_owned());
        }
        let missing: Vec<&str> = self.needs.iter().filter(|k| !context.has(**k)).map(|k| k.name()).collect();
        if missing.is_empty() { None } else { Some(format!("not attached: {}", missing.join(", "))) }
    }

    /// The row with this name, in any case.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        RULES.iter().find(|r| r.name.eq_ignore_ascii_case(name))
    }
}
