//! Rules, findings and verdicts.

pub mod history;
pub mod rule;
pub mod rules;
pub mod sink;

pub use rule::{Rule, Severity};
pub use rules::{RULES, RuleId};
pub use sink::{Sink, Verdict, Violation};
