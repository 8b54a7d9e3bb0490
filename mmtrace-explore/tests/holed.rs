//! Executions of the explorer with holes: what is missing makes no rule cry where the kernel is sound, and hides no breach
//! from a rule that does not say so.

use mmtrace_common::Record;
use mmtrace_explore::{
    Expect, Limits, Live, Move, Order, Scenario, Variant, World, render, scenarios, schedule, search,
};
use mmtrace_model::verdict::Rule;
use mmtrace_testing::{
    holes::{Hole, Holed, Said, said, told_of},
    judging::{broken, judge},
    random::Random,
};

/// Most events that a hole takes away.
const LONGEST: usize = 12;
/// How much wider a hole may be told to be: two steps, nanoseconds.
const EDGE: u64 = 2_000_000;
/// Schedules of each sound variant, and holes for each schedule.
const SCHEDULES: u64 = 12;
const HOLES: u64 = 8;
/// Holes for each counterexample.
const HOLES_IN_BROKEN: u64 = 240;

fn variants() -> impl Iterator<Item = (&'static Scenario, &'static Variant)> {
    scenarios::all().flat_map(|s| s.variants.iter().map(move |v| (s, v)))
}

/// Takes random steps until nobody can go on.
fn any_schedule(world: &World, random: &mut Random) -> Vec<Move> {
    let (mut state, mut moves) = (*world.initial(), Vec::new());
    while moves.len() < 200 {
        let enabled: Vec<Move> = schedule::enabled(world, &state).collect();
        let Some(by) = enabled.get(random.index(enabled.len())) else { break };
        moves.push(*by);
        state = world.next_state(&state, *by).expect("the move is enabled");
    }
    moves
}

fn holed(records: &[Record], random: &mut Random) -> Vec<Record> {
    let mut holed = Holed::new(records);
    let at = random.index(records.len());
    holed.make(Hole::any(random, at, LONGEST, EDGE));
    holed.stream().copied().collect()
}

#[test]
fn what_is_missing_in_a_sound_execution_breaks_nothing() {
    let mut tried = 0;
    for (s, v) in variants().filter(|(_, v)| v.expect == Expect::Safe) {
        let world = v.world();
        for seed in 0..SCHEDULES {
            let mut random = Random(seed);
            let execution = schedule::run(&world, &any_schedule(&world, &mut random)).expect("it can be run");
            let records = render::records(&execution);
            for _ in 0..HOLES {
                let left = holed(&records, &mut random);
                let found = broken(&judge(&render::context(), &left));
                assert_eq!(found, [], "{} {}, schedule {seed}: {}", s.id, v.id, told_of(&left));
                tried += 1;
            }
        }
    }
    eprintln!("{tried} sound executions with a hole");
    assert!(tried > 3000, "{tried}");
}

#[test]
fn a_rule_says_so_when_a_hole_hides_a_counterexample() {
    let (mut tried, mut found, mut wrong) = (0, 0, Vec::new());
    for (s, v) in variants() {
        let Live::Rule(name) = v.live else { continue };
        let rule = Rule::find(name).expect("a rule").id;
        let world = v.world();
        let counterexample = search(&world, Order::Breadth, &mut Limits::default()).expect("it fits").broken;
        let (moves, _) = counterexample.expect("it breaks");
        let execution = schedule::run(&world, &moves).expect("it can be run");
        let records = render::records(&execution);
        let whole = judge(&render::context(), &records);
        let violation = whole.sink().expect("it judges").kept().find(|k| k.rule == rule).expect("it sees it");
        let times: Vec<u64> = violation.events.iter().map(|r| r.ts).chain([violation.ts]).collect();
        for seed in 0..HOLES_IN_BROKEN {
            let mut random = Random(seed);
            let left = holed(&records, &mut random);
            tried += 1;
            match said(&judge(&render::context(), &left), rule, &left, &times) {
                Said::Found => found += 1,
                Said::Unjudged => {}
                Said::Nothing => wrong.push(format!("{} {}, {seed}, {name}: {}", s.id, v.id, told_of(&left))),
            }
        }
    }
    eprintln!("{tried} counterexamples with a hole; a rule was broken in {found}");
    assert!(tried > 1000 && found > tried / 10, "{tried}, {found}");
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}
