//! A protocol that is defined outside of the crate, through its facade alone: verdicts and schedules in every order of
//! search, and what becomes of programs that are not sound.

use mmtrace_explore::{
    Cell, Cells, DEADLOCK, Flow, Found, LIVELOCK, Limits, Look, Order, Program, Property, Protocol, System, schedule,
    search,
};
use proptest::prelude::*;

const ORDERS: [Order; 3] = [Order::Breadth, Order::Depth, Order::Reduced];

fn found<P: Protocol>(system: &System<P>, order: Order) -> Found {
    search(system, order, &mut Limits::default()).expect("it fits")
}

static EXCLUSION: Property =
    Property { id: "EXCLUSION", statement: "one thread at most is in the critical section", source: "Peterson 1981" };

/// Peterson's mutual exclusion of two threads.
#[derive(Clone, Copy)]
struct Peterson {
    wants: [Cell; 2],
    turn: Cell,
    inside: Cell,
}

impl Protocol for Peterson {
    type Event = ();

    fn always(&self, look: &mut Look<'_>) {
        let inside = look.get(self.inside);
        look.require(inside <= 1, &EXCLUSION, "two threads are in the critical section");
    }
}

/// Two threads. `wants_first` is the order of the two stores that the proof needs.
fn peterson(wants_first: bool) -> System<Peterson> {
    let mut cells = Cells::new();
    let protocol = Peterson {
        wants: [cells.cell("wants[0]", 0), cells.cell("wants[1]", 0)],
        turn: cells.cell("turn", 0),
        inside: cells.cell("inside", 0),
    };
    let Peterson { wants, turn, inside } = protocol;
    let mut system = System::new(cells, protocol);
    for (me, name) in ["A", "B"].into_iter().enumerate() {
        let other = 1 - me;
        let mut p = Program::new();
        for store in if wants_first { [0, 1] } else { [1, 0] } {
            match store {
                0 => p.run("wants[me] = 1", move |step| step.set(wants[me], 1)),
                _ => p.run("turn = other", move |step| step.set(turn, other as u8)),
            }
        }
        p.step("while (wants[other] && turn == other)", move |step| {
            if step.get(wants[other]) != 0 && step.get(turn) == other as u8 { Flow::Block } else { Flow::Next }
        });
        p.run("enter", move |step| {
            let now = step.get(inside);
            step.set(inside, now + 1);
        });
        p.run("leave", move |step| {
            let now = step.get(inside);
            step.set(inside, now - 1);
        });
        p.run("wants[me] = 0", move |step| step.set(wants[me], 0));
        system.thread(name, p);
    }
    system
}

#[test]
fn a_correct_protocol_is_proved_with_the_same_states_by_breadth_and_depth() {
    let [breadth, depth, reduced] = ORDERS.map(|order| found(&peterson(true), order));
    for found in [&breadth, &depth, &reduced] {
        assert_eq!(found.broken, None);
    }
    assert_eq!((breadth.states, breadth.transitions), (depth.states, depth.transitions));
    assert!(reduced.states <= depth.states);
    assert!(breadth.states > 20);
}

#[test]
fn a_violation_is_found_in_every_order_and_the_shortest_by_breadth() {
    let system = peterson(false);
    for order in ORDERS {
        let (moves, broken) = found(&system, order).broken.expect("it is broken");
        assert_eq!(*broken.property, EXCLUSION);
        // A: turn. B: turn, wants, looks, enters. A: wants, looks, enters.
        assert!(moves.len() >= 8, "{order:?}: {}", moves.len());
        if order == Order::Breadth {
            assert_eq!(moves.len(), 8, "{}", schedule::print(&system, &moves));
        }
        let text = schedule::print(&system, &moves);
        let again = schedule::run(&system, &schedule::parse(&system, &text).expect("it was printed")).expect("it runs");
        assert_eq!(again.broken, Some(broken));
        assert_eq!(again.lines.len(), moves.len());
    }
}

static APART: Property =
    Property { id: "APART", statement: "the cells never have these values together", source: "here" };

/// Cells that are not to have these values together.
struct Apart(Vec<(Cell, u8)>);

impl Protocol for Apart {
    type Event = ();

    fn always(&self, look: &mut Look<'_>) {
        // Looks at a cell only if those before it have their values.
        let together = !self.0.is_empty() && self.0.iter().all(|(cell, value)| look.get(*cell) == *value);
        look.require(!together, &APART, "they do");
    }
}

#[test]
fn the_reduction_keeps_orders_that_only_a_check_can_tell_apart() {
    let mut cells = Cells::new();
    let [x, y] = ["x", "y"].map(|name| cells.cell(name, 0));
    let mut system = System::new(cells, Apart(vec![(x, 1), (y, 1)]));
    for (name, cell) in [("X", x), ("Y", y)] {
        let mut p = Program::new();
        p.run("up", move |step| step.set(cell, 1));
        p.run("down", move |step| step.set(cell, 0));
        system.thread(name, p);
    }
    for order in ORDERS {
        let (moves, broken) = found(&system, order).broken.expect("both can be up");
        assert_eq!((moves.len(), broken.property), (2, &APART), "{order:?}");
    }
}

/// A step of a random program, over a few cells.
#[derive(Clone, Copy, Debug)]
enum Op {
    Set(usize, u8),
    Copy(usize, usize),
    WaitFor(usize, u8),
    Either(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let cell = || 0..4usize;
    let value = || 0..3u8;
    prop_oneof![
        4 => (cell(), value()).prop_map(|(c, v)| Op::Set(c, v)),
        2 => (cell(), cell()).prop_map(|(c, d)| Op::Copy(c, d)),
        1 => (cell(), value()).prop_map(|(c, v)| Op::WaitFor(c, v)),
        1 => (cell(), cell()).prop_map(|(c, d)| Op::Either(c, d)),
    ]
}

fn random(programs: &[Vec<Op>], apart: &[(usize, u8)]) -> System<Apart> {
    let mut cells = Cells::new();
    let all = ["a", "b", "c", "d"].map(|name| cells.cell(name, 0));
    let mut system = System::new(cells, Apart(apart.iter().map(|(cell, value)| (all[*cell], *value)).collect()));
    for (ops, name) in programs.iter().zip(["X", "Y", "Z"]) {
        let mut p = Program::new();
        for op in ops {
            match *op {
                Op::Set(cell, value) => p.run("set", move |step| step.set(all[cell], value)),
                Op::Copy(from, to) => p.run("copy", move |step| {
                    let value = step.get(all[from]);
                    step.set(all[to], value);
                }),
                Op::WaitFor(cell, value) => {
                    p.step("wait", move |step| if step.get(all[cell]) == value { Flow::Next } else { Flow::Block });
                }
                Op::Either(one, other) => p.choice("either", 2, move |step| {
                    step.set(all[if step.choice() == 0 { one } else { other }], 2);
                    Flow::Next
                }),
            }
        }
        system.daemon(name, p);
    }
    system
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The reduced search finds a violation exactly if the search of every interleaving does.
    #[test]
    fn the_reduction_has_the_verdict_of_every_interleaving(
        programs in proptest::collection::vec(proptest::collection::vec(op(), 1..5), 2..4),
        apart in proptest::collection::vec((0..4usize, 0..3u8), 1..4),
    ) {
        let system = random(&programs, &apart);
        let [breadth, depth, reduced] = ORDERS.map(|order| found(&system, order));
        prop_assert_eq!(breadth.broken.is_some(), depth.broken.is_some());
        prop_assert_eq!(reduced.broken.is_some(), depth.broken.is_some());
        if depth.broken.is_none() {
            prop_assert_eq!(breadth.states, depth.states);
            prop_assert!(reduced.states <= depth.states);
        }
    }
}

/// Nothing is demanded.
struct Free;

impl Protocol for Free {
    type Event = ();
}

#[test]
fn threads_that_wait_for_each_other_are_a_deadlock() {
    let mut cells = Cells::new();
    let locks = ["one", "two"].map(|name| cells.cell(name, 0));
    let mut system = System::new(cells, Free);
    for (name, order) in [("A", [0, 1]), ("B", [1, 0])] {
        let mut p = Program::new();
        let guards = order.map(|lock| {
            p.lock("lock", move |step| {
                let free = step.get(locks[lock]) == 0;
                if free {
                    step.set(locks[lock], 1);
                }
                free
            })
        });
        for (lock, guard) in order.into_iter().zip(guards) {
            p.release(guard, "unlock", move |step| step.set(locks[lock], 0));
        }
        system.thread(name, p);
    }
    for order in ORDERS {
        let (moves, broken) = found(&system, order).broken.expect("a deadlock");
        assert_eq!((moves.len(), broken.property), (2, &DEADLOCK), "{order:?}");
        assert_eq!(broken.why, "nobody can go on: A waits in lock; B waits in lock");
    }
}

#[test]
fn a_program_without_an_end_is_a_livelock() {
    let mut system = System::new(Cells::new(), Free);
    let mut p = Program::new();
    let again = p.mark();
    p.goto("for (;;)", again);
    system.thread("A", p);
    for order in ORDERS {
        let (_, broken) = found(&system, order).broken.expect("a livelock");
        assert_eq!(broken.property, &LIVELOCK);
    }
}

#[test]
fn a_daemon_without_an_end_is_a_state_that_was_seen() {
    let mut system = System::new(Cells::new(), Free);
    let mut p = Program::new();
    let again = p.mark();
    p.goto("for (;;)", again);
    system.daemon("D", p);
    for order in ORDERS {
        assert_eq!(found(&system, order).broken, None);
    }
}

#[test]
fn the_first_state_is_checked() {
    let mut cells = Cells::new();
    let x = cells.cell("x", 1);
    let system = System::new(cells, Apart(vec![(x, 1)]));
    for order in ORDERS {
        let (moves, broken) = found(&system, order).broken.expect("it is broken from the beginning");
        assert!(moves.is_empty());
        assert_eq!(schedule::run(&system, &moves).expect("it runs").broken, Some(broken));
    }
}

#[test]
fn a_panic_of_a_step_reaches_the_caller() {
    let mut system = System::new(Cells::new(), Free);
    let mut p = Program::new();
    p.run("panic", |_| panic!("the step's own words"));
    system.thread("A", p);
    for order in ORDERS {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| found(&system, order)));
        let payload = result.expect_err("it panics");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the step's own words"));
    }
}

#[test]
#[should_panic(expected = "\"goto out\" of A goes to a label that stands nowhere")]
fn a_branch_to_a_label_without_a_place_is_refused() {
    let mut p = Program::new();
    let nowhere = p.label();
    p.goto("goto out", nowhere);
    System::new(Cells::new(), Free).thread("A", p);
}

#[test]
#[should_panic(expected = "a step goes to a label that stands nowhere")]
fn a_step_that_goes_to_a_label_without_a_place_panics() {
    let mut p = Program::new();
    let nowhere = p.label();
    p.step("goto out", move |_| Flow::Goto(nowhere));
    let mut system = System::new(Cells::new(), Free);
    system.thread("A", p);
    found(&system, Order::Breadth);
}
