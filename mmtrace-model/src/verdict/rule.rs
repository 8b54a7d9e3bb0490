//! A rule: how bad it is to break it, what it rests on, and where it cannot be observed.

use mmtrace_common::Kind;

use super::rules::{RULES, RuleId};
use crate::context::Context;

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
    /// A measurement, which cannot be broken.
    Measure,
}

impl Severity {
    /// Whether breaking the rule makes the run fail.
    #[must_use]
    pub const fn can_fail(self) -> bool {
        matches!(self, Self::Violation | Self::Consistency)
    }

    /// The severity's name in lists.
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
    /// The rule's id.
    pub id: RuleId,
    /// Its name in reports, which never changes its meaning.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The statement that must be true.
    pub statement: &'static str,
    /// Why the kernel needs it.
    pub why: &'static str,
    /// Where it comes from: a place in the kernel, or a mailing-list thread.
    pub source: &'static str,
    /// Why the probes raise no false alarm: the soundness argument.
    pub sound: &'static str,
    /// The meaning of a violation, or of a count or a measurement.
    pub meaning: &'static str,
    /// A sequence of events that breaks it.
    pub example: &'static str,
    /// The events without which it cannot be judged.
    pub needs: &'static [Kind],
    /// The first kernel of which it is true.
    pub since: (u32, u32),
    /// The first kernel of which it is no longer known to be true.
    pub before: Option<(u32, u32)>,
    /// It needs the events of every mm, so a filter turns it off.
    pub whole_system: bool,
    /// It reads entries in x86-64's format.
    pub x86_64: bool,
}

impl Rule {
    /// Returns why it cannot be observed in this context, if it cannot.
    #[must_use]
    pub fn blocked(&self, context: &Context) -> Option<String> {
        let kernel = context.kernel.major_minor();
        if kernel < self.since {
            return Some(format!(
                "true of kernels from {}.{} on, this is {}",
                self.since.0, self.since.1, context.kernel.release
            ));
        }
        if let Some(before) = self.before.filter(|b| kernel >= *b) {
            return Some(format!(
                "checked against sources before {}.{} only, this is {}",
                before.0, before.1, context.kernel.release
            ));
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
