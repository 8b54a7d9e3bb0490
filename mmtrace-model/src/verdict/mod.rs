//! Rules, findings and verdicts.

pub mod history;
pub mod rules;
pub mod severity;
pub mod sink;

pub use rules::{RULES, Rule, RuleId};
pub use severity::Severity;
pub use sink::{Ended, Sink, Verdict, Violation};
