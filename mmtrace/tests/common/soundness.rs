//! What a sound kernel does breaks nothing: seen as a whole, with holes, or from the middle on.

use mmtrace::{
    context::Context,
    verdict::{RULES, RuleId},
};
use mmtrace_common::Record;

use crate::{
    judging::{broken, judge},
    kernel::{Random, context},
    planting::holes,
};

/// What a sound kernel does, from a seed, in so many steps.
pub(crate) type Stream = fn(u64, usize) -> Vec<Record>;

/// These rules are evaluated often meanwhile.
pub(crate) fn whole(stream: Stream, rules: &[RuleId]) {
    let mut sums = vec![0; RULES.len()];
    for seed in 0..400 {
        let engine = judge(&context(), stream(seed, 2000));
        assert_eq!(broken(&engine), [], "seed {seed}");
        let sink = engine.sink().expect("it judges");
        for (sum, rule) in sums.iter_mut().zip(RULES) {
            *sum += sink.evaluations(rule.id);
        }
    }
    for rule in rules {
        assert!(sums[*rule as usize] > 100, "{}: {}", rule.rule().name, sums[*rule as usize]);
    }
}

/// This rule is evaluated more often than that in spite of the holes.
pub(crate) fn with_holes(stream: Stream, rule: RuleId, least: u64) {
    let mut judged = 0;
    for seed in 0..1500 {
        let engine = judge(&context(), holes(&stream(seed, 800), seed));
        assert_eq!(broken(&engine), [], "seed {seed}");
        judged += engine.sink().expect("it judges").evaluations(rule);
    }
    assert!(judged > least, "{judged}");
}

/// Recording begins anywhere.
pub(crate) fn from_the_middle(stream: Stream) {
    for seed in 0..300 {
        let records = stream(seed, 800);
        let from = Random(seed).below(records.len() as u64) as usize;
        let context = Context { start: records[from].ts - 1, ..context() };
        assert_eq!(broken(&judge(&context, &records[from..])), [], "seed {seed} from {from}");
    }
}
