//! From findings to verdicts: the rules, what was found, and what it adds up to.

pub mod history;
pub mod rule;
pub mod rules;
pub mod sink;

pub use rule::{Rule, Severity};
pub use rules::{RULES, RuleId};
pub use sink::{Sink, Verdict, Violation};
