//! What the live rules would say of an execution.

use mmtrace_model::{
    replay::Engine,
    verdict::{RULES, Rule, Verdict},
};

use super::{render, schedule::Execution};

/// The rules that its events break, on a kernel that has every probe.
#[must_use]
pub fn violated(execution: &Execution) -> Vec<&'static Rule> {
    let mut engine = Engine::new(render::context(), true);
    for record in render::records(execution) {
        engine.apply(&record);
    }
    engine.finish();
    let Some(sink) = engine.sink() else { return Vec::new() };
    RULES.iter().filter(|rule| sink.verdict(rule.id) == Verdict::Violated).collect()
}
