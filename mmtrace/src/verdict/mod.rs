//! From findings to verdicts: the rules, what was found, and what it adds up to.

pub mod history;
pub mod rules;
pub mod sink;

pub use rules::{RULES, Rule, RuleId, Severity};
pub use sink::{Sink, Verdict, Violation};
