//! The live rules that an execution of the explorer violates.

use mmtrace_model::{
    replay::Engine,
    verdict::{RULES, Rule, Verdict},
};

use super::{protocol::event::Event, render, schedule::Execution};

/// Returns the rules that the events of an execution break, on a kernel that has every probe.
#[must_use]
pub(crate) fn violated(execution: &Execution<Event>) -> Vec<&'static Rule> {
    let mut engine = Engine::new(render::context(), true);
    for record in render::records(execution) {
        engine.apply(&record);
    }
    engine.finish();
    let Some(sink) = engine.sink() else { return Vec::new() };
    RULES.iter().filter(|rule| sink.verdict(rule.id) == Verdict::Violated).collect()
}
