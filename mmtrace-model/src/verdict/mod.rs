//! From findings to verdicts: the rules, what was found, and what it adds up to.

pub mod history;
pub mod rules;
pub mod severity;
pub mod sink;

pub use rules::{RULES, Rule, RuleId};
pub use severity::Severity;
pub use sink::{Sink, Verdict, Violation};
