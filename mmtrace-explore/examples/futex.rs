//! Three mutexes that are not ours: those of "Futexes Are Tricky" by Ulrich Drepper (2011).
//!
//! The paper builds a mutex on `futex()`, says what is wrong with it, and mends it in "Mutex, Take 2" and "Mutex, Take 3".
//! The explorer looks at every interleaving of three threads that lock and unlock twice each. It prints the shortest
//! schedule by which the first mutex lets two threads in, and proves the other two.
//!
//! ```text
//! cargo run -p mmtrace-explore --example futex            all three
//! cargo run -p mmtrace-explore --example futex -- 2 3     some of them
//! ```
//!
//! Each run checks that the verdict is the paper's, in all three orders of search.

use std::error::Error;

use mmtrace_explore::{
    Access, Cell, Cells, Flow, Limits, Local, Look, Order, Program, Property, Protocol, State, Style, System, Tid,
    schedule, search, view,
};

/// What a mutex is for.
static EXCLUSION: Property = Property {
    id: "EXCLUSION",
    statement: "at most one thread is between lock() and unlock()",
    source: "Drepper, Futexes Are Tricky",
};

/// What a mutex is when every thread is done.
static FREE: Property = Property {
    id: "FREE",
    statement: "a mutex that no thread holds or waits for has the value of a free one",
    source: "Drepper, Futexes Are Tricky",
};

/// Threads that lock and unlock.
const THREADS: u8 = 3;
/// How often each of them does.
const ROUNDS: usize = 2;
/// Values of an `int`, which the first mutex counts up. The paper's has 2^32: it overflows the same way, later.
const INT: u8 = 4;

/// A mutex, its queue in the kernel, and who is in the critical section.
#[derive(Clone, Copy)]
struct Mutex {
    /// `int val`.
    val: Cell,
    /// The threads that sleep in `futex_wait()` on it, bit by thread.
    asleep: Cell,
    /// The threads between `lock()` and `unlock()`, bit by thread. No code has this: the property is about it.
    inside: Cell,
}

impl Protocol for Mutex {
    type Event = ();

    fn always(&self, look: &mut Look<'_>) {
        let inside = look.get(self.inside);
        look.require(inside.count_ones() <= 1, &EXCLUSION, "two threads are in the critical section");
    }

    fn finally(&self, look: &mut Look<'_>) {
        let val = look.get(self.val);
        look.require(val == 0, &FREE, "every thread has unlocked, and the mutex is not free");
    }

    fn held_by(&self, state: &State, tid: Tid) -> Vec<String> {
        let held = state.get(self.inside) & 1 << tid != 0;
        held.then(|| "mutex".to_owned()).into_iter().collect()
    }
}

impl Mutex {
    /// `cmpxchg(val, old, new)`: returns the value before.
    fn cmpxchg(self, step: &mut Access<'_, Self>, old: u8, new: u8) -> u8 {
        let val = step.get(self.val);
        step.note(|| format!("val = {val}"));
        if val == old {
            step.set(self.val, new);
        }
        val
    }

    /// `xchg(val, new)`, `val = new`: returns the value before.
    fn xchg(self, step: &mut Access<'_, Self>, new: u8) -> u8 {
        let val = step.get(self.val);
        step.note(|| format!("val = {val}, is {new}"));
        step.set(self.val, new);
        val
    }

    /// `futex_wait(&val, expected)`. The kernel compares and queues the thread under the lock of the hash bucket.
    fn futex_wait(self, p: &mut Program<Self>, expected: impl Fn(&Access<'_, Self>) -> u8 + Send + Sync + 'static) {
        p.function("futex_wait", |p| {
            let out = p.label();
            p.branch("val != expected: EWOULDBLOCK", out, move |step| {
                let differs = step.get(self.val) != expected(step);
                if !differs {
                    let asleep = step.get(self.asleep) | 1 << step.me();
                    step.set(self.asleep, asleep);
                    step.note(|| "sleeps".to_owned());
                }
                differs
            });
            p.step("schedule()", move |step| match step.get(self.asleep) >> step.me() & 1 {
                0 => Flow::Next,
                _ => Flow::Block,
            });
            p.bind(out);
        });
    }

    /// `futex_wake(&val, 1)`: wakes any one of the threads that sleep.
    fn futex_wake(self, p: &mut Program<Self>) {
        p.function("futex_wake", |p| {
            p.choice("wake one", THREADS, move |step| {
                let asleep = step.get(self.asleep);
                match (asleep, step.choice()) {
                    (0, 0) => Flow::Next,
                    (_, one) if asleep >> one & 1 != 0 => {
                        step.set(self.asleep, asleep & !(1 << one));
                        Flow::Next
                    }
                    _ => Flow::Block,
                }
            });
        });
    }
}

/// One of the paper's mutexes.
struct Take {
    name: &'static str,
    lock: fn(Mutex, &mut Program<Mutex>, Local),
    unlock: fn(Mutex, &mut Program<Mutex>, Local),
    /// What the paper says.
    is_right: bool,
}

const TAKES: [Take; 3] = [
    Take { name: "mutex", lock: lock_1, unlock: unlock_1, is_right: false },
    Take { name: "mutex2", lock: lock_2, unlock: unlock_2, is_right: true },
    Take { name: "mutex3", lock: lock_3, unlock: unlock_2, is_right: true },
];

/// ```c
/// while ((c = atomic_inc(val)) != 0)
///         futex_wait(&val, c + 1);
/// ```
fn lock_1(m: Mutex, p: &mut Program<Mutex>, c: Local) {
    let (again, locked) = (p.mark(), p.label());
    p.branch("(c = atomic_inc(val)) == 0", locked, move |step| {
        let val = step.get(m.val);
        m.xchg(step, (val + 1) % INT);
        step.set_local(c, val);
        val == 0
    });
    m.futex_wait(p, move |step| (step.local(c) + 1) % INT);
    p.goto("while", again);
    p.bind(locked);
}

/// ```c
/// val = 0;
/// futex_wake(&val, 1);
/// ```
fn unlock_1(m: Mutex, p: &mut Program<Mutex>, _c: Local) {
    p.run("val = 0", move |step| {
        m.xchg(step, 0);
    });
    m.futex_wake(p);
}

/// ```c
/// if ((c = cmpxchg(val, 0, 1)) != 0)
///         do {
///                 if (c == 2 || cmpxchg(val, 1, 2) != 0)
///                         futex_wait(&val, 2);
///         } while ((c = cmpxchg(val, 0, 2)) != 0);
/// ```
fn lock_2(m: Mutex, p: &mut Program<Mutex>, c: Local) {
    let (locked, wait, free) = (p.label(), p.label(), p.label());
    p.branch("(c = cmpxchg(val, 0, 1)) == 0", locked, move |step| {
        let val = m.cmpxchg(step, 0, 1);
        step.set_local(c, val);
        val == 0
    });
    let again = p.mark();
    p.branch("c == 2", wait, move |step| step.local(c) == 2);
    p.branch("cmpxchg(val, 1, 2) == 0", free, move |step| m.cmpxchg(step, 1, 2) == 0);
    p.bind(wait);
    m.futex_wait(p, |_| 2);
    p.bind(free);
    p.branch("(c = cmpxchg(val, 0, 2)) != 0", again, move |step| {
        let val = m.cmpxchg(step, 0, 2);
        step.set_local(c, val);
        val != 0
    });
    p.bind(locked);
}

/// ```c
/// if (atomic_dec(val) != 1) {
///         val = 0;
///         futex_wake(&val, 1);
/// }
/// ```
fn unlock_2(m: Mutex, p: &mut Program<Mutex>, _c: Local) {
    let out = p.label();
    p.branch("atomic_dec(val) == 1", out, move |step| {
        let val = step.get(m.val);
        m.xchg(step, val.wrapping_sub(1)) == 1
    });
    p.run("val = 0", move |step| {
        m.xchg(step, 0);
    });
    m.futex_wake(p);
    p.bind(out);
}

/// ```c
/// if ((c = cmpxchg(val, 0, 1)) != 0) {
///         if (c != 2)
///                 c = xchg(val, 2);
///         while (c != 0) {
///                 futex_wait(&val, 2);
///                 c = xchg(val, 2);
///         }
/// }
/// ```
fn lock_3(m: Mutex, p: &mut Program<Mutex>, c: Local) {
    let (locked, wait) = (p.label(), p.label());
    p.branch("(c = cmpxchg(val, 0, 1)) == 0", locked, move |step| {
        let val = m.cmpxchg(step, 0, 1);
        step.set_local(c, val);
        val == 0
    });
    p.branch("c == 2", wait, move |step| step.local(c) == 2);
    p.branch("(c = xchg(val, 2)) == 0", locked, move |step| m.xchg(step, 2) == 0);
    p.bind(wait);
    m.futex_wait(p, |_| 2);
    p.branch("(c = xchg(val, 2)) != 0", wait, move |step| m.xchg(step, 2) != 0);
    p.bind(locked);
}

/// The threads of one mutex.
fn system(take: &Take) -> System<Mutex> {
    let mut cells = Cells::new();
    let m = Mutex { val: cells.cell("val", 0), asleep: cells.cell("asleep", 0), inside: cells.cell("inside", 0) };
    let mut system = System::new(cells, m);
    for name in ["A", "B", "C"].into_iter().take(usize::from(THREADS)) {
        let mut p = Program::new();
        let c = p.local("c", 0);
        for _ in 0..ROUNDS {
            p.function("lock", |p| {
                (take.lock)(m, p, c);
                p.run("return", move |step| {
                    let inside = step.get(m.inside) | 1 << step.me();
                    step.set(m.inside, inside);
                    step.set_local(c, 0);
                });
            });
            p.function("unlock", |p| {
                p.run("enter", move |step| {
                    let inside = step.get(m.inside) & !(1 << step.me());
                    step.set(m.inside, inside);
                });
                (take.unlock)(m, p, c);
            });
        }
        system.thread(name, p);
    }
    system
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: Vec<usize> = std::env::args().skip(1).map(|number| number.parse()).collect::<Result<_, _>>()?;
    for (number, take) in (1..).zip(&TAKES) {
        if !wanted.is_empty() && !wanted.contains(&number) {
            continue;
        }
        let system = system(take);
        let [shortest, depth, reduced] =
            [Order::Breadth, Order::Depth, Order::Reduced].map(|order| search(&system, order, &mut Limits::default()));
        let (shortest, depth, reduced) = (shortest?, depth?, reduced?);
        println!("{}: {}; {}", take.name, view::verdict(&shortest), view::effort(&shortest));
        if let Some((moves, broken)) = &shortest.broken {
            let execution = schedule::run(&system, moves)?;
            println!("\n{}", view::table(&system, &execution, Style::plain(), view::WIDTH));
            print!("{}", view::broken(broken, Style::plain()));
            println!("  schedule: {}\n", schedule::print(&system, moves));
            assert_eq!(*broken.property, EXCLUSION);
        } else {
            assert_eq!(depth.states, shortest.states, "depth-first search must find the same states");
            assert!(reduced.states <= depth.states);
        }
        for found in [&shortest, &depth, &reduced] {
            assert_eq!(found.broken.is_none(), take.is_right, "{} is not as the paper says", take.name);
        }
    }
    Ok(())
}
