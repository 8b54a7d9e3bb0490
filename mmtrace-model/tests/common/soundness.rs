//! What a sound kernel does breaks nothing: seen as a whole, with holes, or from the middle on.

use mmtrace_common::Record;
use mmtrace_model::{
    context::Context,
    verdict::{RULES, RuleId},
};
use mmtrace_testing::{
    judging::{broken, judge},
    kernel::{OTHER, Random, context},
};

use crate::planting::holes;

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

/// A process is hidden from every BPF program: [`OTHER`], on top of which interrupts do their work, and any
/// of these tasks, which is a process of its own. Its events are missing, and no loss tells of that. Returns
/// how often this rule could not be judged.
pub(crate) fn with_a_hidden_process(stream: Stream, own: &[u32], rule: RuleId) -> u64 {
    let mut unjudged = 0;
    for seed in 0..1500 {
        let mut records = stream(seed, 800);
        assert_eq!(broken(&judge(&context(), &records)), [], "seed {seed}");
        let also = own.get(Random(seed).below(2 * own.len() as u64) as usize);
        records.retain(|r| r.tid != OTHER && also != Some(&r.tid));
        let engine = judge(&context(), &records);
        assert_eq!(broken(&engine), [], "seed {seed} without {also:?}");
        unjudged += engine.sink().expect("it judges").not_judged(rule);
    }
    unjudged
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
