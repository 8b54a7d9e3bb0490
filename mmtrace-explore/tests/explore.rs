//! The explorer and its scenarios: verdicts, in every order of search; what random schedules
//! and left-out protections do; and what the live rules say of the executions.

use std::collections::BTreeSet;

use mmtrace_explore::{
    Expect, Found, Limits, Live, Move, Order, Scenario, SearchError, Variant, World,
    mailing_list::THREADS,
    mutation, render,
    scenarios::{self, find},
    schedule, search,
};
use mmtrace_model::{model::invariant::INVARIANTS, verdict::RuleId};
use mmtrace_testing::judging::{broken, judge};
use proptest::prelude::*;

fn found(world: &World, order: Order) -> Found {
    search(world, order, &mut Limits::default()).expect("it fits")
}

fn variants() -> impl Iterator<Item = (&'static Scenario, &'static Variant)> {
    scenarios::all().flat_map(|s| s.variants.iter().map(move |v| (s, v)))
}

#[test]
fn every_verdict_is_the_expected_one() {
    let wrong: Vec<String> = variants()
        .filter_map(|(s, v)| {
            let found = found(&v.world(), Order::Breadth);
            let what = found.broken.as_ref().map(|(_, b)| (b.property.id, &b.why));
            (!s.is_expected(v, &found)).then(|| format!("{} {}: {what:?}, reached {:b}", s.id, v.id, found.reached))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn orders_of_search_agree() {
    for (s, v) in variants() {
        let world = v.world();
        let [breadth, depth, reduced] = [Order::Breadth, Order::Depth, Order::Reduced].map(|o| found(&world, o));
        let name = format!("{} {}", s.id, v.id);
        match v.expect {
            Expect::Safe => {
                assert!(depth.broken.is_none(), "{name}: depth-first {:?}", depth.broken);
                assert!(reduced.broken.is_none(), "{name}: reduced {:?}", reduced.broken);
                assert_eq!((breadth.states, breadth.transitions), (depth.states, depth.transitions), "{name}");
                assert!(reduced.states <= depth.states, "{name}");
                assert_eq!(reduced.reached, depth.reached, "{name}: the reduction must not hide what occurs");
            }
            Expect::Breaks(_) => {
                let shortest = breadth.broken.expect("it breaks").0.len();
                for other in [depth.broken, reduced.broken] {
                    // Another order may meet another violation first, never a shorter one.
                    let (moves, _) = other.unwrap_or_else(|| panic!("{name}: only breadth-first sees it break"));
                    assert!(moves.len() >= shortest, "{name}");
                }
            }
        }
    }
}

#[test]
fn a_counterexample_can_be_printed_read_and_run_again() {
    for (s, v) in variants() {
        let world = v.world();
        if let Some((moves, broken)) = found(&world, Order::Breadth).broken {
            let text = schedule::print(&world, &moves);
            let again = schedule::parse(&world, &text).expect("it was just printed");
            assert_eq!(again, moves, "{} {}", s.id, v.id);
            let execution = schedule::run(&world, &again).expect("it can be run");
            assert_eq!(execution.broken, Some(broken), "{} {}", s.id, v.id);
        }
    }
}

#[test]
fn every_mailing_list_thread_has_good_and_bad_variants() {
    for (number, thread) in THREADS.into_iter().enumerate() {
        assert_eq!(usize::from(thread.number), number);
        let of = |expect: fn(Expect) -> bool| variants().any(|(s, v)| s.thread == Some(thread) && expect(v.expect));
        assert!(of(|e| e == Expect::Safe) && of(|e| e != Expect::Safe), "{}", thread.name);
    }
}

#[test]
fn a_scenario_that_has_the_number_of_a_thread_is_of_that_thread() {
    for s in scenarios::all() {
        let number = s.id.strip_prefix("SC-").and_then(|rest| rest.split('.').next()?.parse::<u8>().ok());
        assert!(number.is_none() || number == s.thread.map(|t| t.number), "{}", s.id);
    }
}

#[test]
fn every_protection_is_needed_or_said_why_not() {
    let rows = mutation::table().expect("they fit");
    let unexplained: Vec<String> = rows
        .iter()
        .filter(|r| r.caught.is_empty() && r.reason().is_none())
        .map(|r| format!("{}: {} ({:?})", r.site.function, r.site.text, r.survived))
        .collect();
    assert!(unexplained.is_empty(), "nothing breaks without:\n{}", unexplained.join("\n"));
    for (function, text, _) in mutation::REDUNDANT {
        let row = rows.iter().find(|r| r.site.function == *function && r.site.text == *text);
        let row = row.unwrap_or_else(|| panic!("{function}: {text} is not there any more"));
        assert!(row.caught.is_empty(), "{function}: {text} is said to be redundant, and {:?} needs it", row.caught);
    }
}

#[test]
fn every_invariant_catches_something() {
    let named = variants().filter_map(|(_, v)| match v.expect {
        Expect::Breaks(invariant) => Some(invariant.id()),
        Expect::Safe => None,
    });
    let mut caught: BTreeSet<&str> = named.collect();
    for row in mutation::table().expect("they fit") {
        caught.extend(row.caught.iter().map(|c| c.broken.id));
    }
    let idle: Vec<&str> = INVARIANTS.iter().map(|s| s.id).filter(|id| !caught.contains(id)).collect();
    assert!(idle.is_empty(), "no scenario breaks {idle:?}, with or without its protections");
}

/// Takes steps as the numbers say, until nobody can go on.
fn random(world: &World, choices: &[u16]) -> Vec<Move> {
    let mut state = *world.initial();
    let mut moves = Vec::new();
    for choice in choices {
        let enabled: Vec<Move> = schedule::enabled(world, &state).collect();
        let Some(by) = enabled.get(usize::from(*choice) % enabled.len().max(1)) else { break };
        moves.push(*by);
        state = world.next_state(&state, *by).expect("the move is enabled");
    }
    moves
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// No schedule breaks a good variant; each can be run again from its printed form; and the
    /// live rules find nothing in its events.
    #[test]
    fn random_schedules_of_good_variants(choices in proptest::collection::vec(any::<u16>(), 150)) {
        for (s, v) in variants().filter(|(_, v)| v.expect == Expect::Safe) {
            let world = v.world();
            let moves = random(&world, &choices);
            let execution = schedule::run(&world, &moves).expect("it can be run");
            prop_assert_eq!(&execution.broken, &None, "{} {}", s.id, v.id);
            let again = schedule::parse(&world, &schedule::print(&world, &moves)).expect("it was just printed");
            prop_assert_eq!(&again, &moves);
            prop_assert_eq!(schedule::run(&world, &again).expect("again").state, execution.state);
            let engine = judge(&render::context(), render::records(&execution));
            prop_assert_eq!(broken(&engine), vec![], "{} {}", s.id, v.id);
        }
    }
}

#[test]
fn live_rules_see_what_they_can_of_each_counterexample() {
    let mut wrong = Vec::new();
    for (s, v) in variants() {
        let world = v.world();
        let Some((moves, _)) = found(&world, Order::Breadth).broken else {
            assert_eq!(v.live, Live::Quiet, "{} {}", s.id, v.id);
            continue;
        };
        let execution = schedule::run(&world, &moves).expect("it can be run");
        let engine = judge(&render::context(), render::records(&execution));
        let rules: Vec<&str> = broken(&engine).iter().map(|(rule, _)| *rule).collect();
        let right = match v.live {
            Live::Rule(rule) => rules == [rule],
            Live::Unseen(_) => rules.is_empty(),
            Live::Quiet => panic!("{} {} breaks, and says nothing of the live rules", s.id, v.id),
        };
        if !right {
            wrong.push(format!("{} {}: {rules:?}, said: {:?}", s.id, v.id, v.live));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A kernel that lacks a protection is seen by the live rules, wherever an event tells of it.
#[test]
fn live_rules_see_kernels_that_lack_a_protection() {
    let rows = mutation::table().expect("they fit");
    let seen: BTreeSet<&str> = rows.iter().flat_map(|row| row.live.iter().copied()).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["L11", "L12", "L20", "L21", "L23", "L25", "L31", "L47"]);
}

/// Some steps, the same in every run.
fn some_random(world: &World, seed: u32) -> Vec<Move> {
    let number = |n: u32| ((seed * 151 + n).wrapping_mul(2_654_435_761) >> 16) as u16;
    let choices: Vec<u16> = (0..150).map(number).collect();
    random(world, &choices)
}

/// That nothing is found in good executions says something: the rules are asked there.
#[test]
fn executions_of_good_variants_ask_the_rules_on_page_tables() {
    use RuleId::*;
    let rules = [L23, L24, L25, L28, L29, L30, L31, L32, L47, M07];
    let mut sums = [0; 10];
    for (_, v) in variants().filter(|(_, v)| v.expect == Expect::Safe) {
        let world = v.world();
        for seed in 0..20 {
            let execution = schedule::run(&world, &some_random(&world, seed)).expect("it can be run");
            let engine = judge(&render::context(), render::records(&execution));
            let sink = engine.sink().expect("it judges");
            for (sum, rule) in sums.iter_mut().zip(rules) {
                *sum += sink.evaluations(rule);
            }
        }
    }
    for (sum, rule) in sums.into_iter().zip(rules) {
        assert!(sum > 0, "{} is never asked: {sums:?}", rule.rule().name);
    }
}

/// What the series was about: a writer waits while the fault that it waits for waits for a migration.
#[test]
fn executions_show_what_keeping_the_lock_costs() {
    let measured = |variant| {
        let world = find("SC-2.1").and_then(|s| s.variant(variant)).expect("it is there").world();
        let of = |seed: u32| {
            let execution = schedule::run(&world, &some_random(&world, seed)).expect("it can be run");
            let engine = judge(&render::context(), render::records(&execution));
            engine.sink().expect("it judges").evaluations(RuleId::M01)
        };
        (0..300).map(of).sum::<u64>()
    };
    assert!(measured("w.hold") > 0);
    // Without the VMA's write lock as a function there is nothing to be seen.
    assert_eq!(measured("w.hold-6.12"), 0);
}

#[test]
fn too_little_memory_is_said_and_proves_nothing() {
    let world = find("SC-1.1").and_then(|s| s.variant("m.rw+pmd")).expect("it is there").world();
    let small = search(&world, Order::Breadth, &mut Limits { memory: 0, ..Limits::default() });
    // It is looked at only now and then: a small search is over before.
    assert!(matches!(small, Ok(_) | Err(SearchError::Memory { .. })));
}
