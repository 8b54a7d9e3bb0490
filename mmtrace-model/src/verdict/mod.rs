//! Rules, findings and verdicts.

pub mod blind;
pub mod history;
pub mod judged;
pub mod rules;
pub mod severity;
pub mod sink;

pub use blind::BlindTimes;
pub use judged::Judged;
pub use rules::{RULES, Rule, RuleId};
pub use severity::Severity;
pub use sink::{Ended, Sink, Verdict, Violation};
