//! The model's verdicts on a stream.

use std::borrow::Borrow;

use mmtrace_common::Record;
use mmtrace_model::{
    context::Context,
    replay::Engine,
    verdict::{RULES, Verdict},
};

/// Judges a stream from beginning to end.
pub fn judge<R: Borrow<Record>>(context: &Context, records: impl IntoIterator<Item = R>) -> Engine {
    let mut engine = Engine::new(context.clone(), true);
    for record in records {
        engine.apply(record.borrow());
    }
    engine.finish();
    engine
}

/// The rules that were broken, and how.
pub fn broken(engine: &Engine) -> Vec<(&'static str, String)> {
    let sink = engine.sink().expect("it judges");
    let rules = RULES.iter().filter(|r| sink.verdict(r.id) == Verdict::Violated);
    rules
        .map(|r| {
            let first = sink.kept().find(|v| v.rule == r.id);
            (r.name, first.map_or_else(String::new, |v| format!("{} (at {})", v.what, v.ts)))
        })
        .collect()
}
