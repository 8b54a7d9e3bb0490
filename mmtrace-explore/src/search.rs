//! The search itself: breadth-first for the shortest counterexample, depth-first with
//! partial-order reduction for proof.

use std::time::{Duration, Instant};

use mmtrace_model::model::invariant::Invariant;

use super::{
    footprint::Footprints,
    store::{Packer, Store},
};
use crate::protocol::{
    Footprint, State, World,
    kernel::{Broken, Outcome},
    layout::Tid,
};

/// A transition: which thread, and which way if its step has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The thread.
    pub tid: Tid,
    /// The way.
    pub choice: u8,
}

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Level by level: a counterexample is the shortest there is.
    Breadth,
    /// Path by path, every interleaving.
    Depth,
    /// Path by path; of steps that do not touch what others touch, one order only.
    Reduced,
}

/// Bounds of a search, and who watches.
pub struct Limits<'a> {
    /// Bytes that the states may take.
    pub memory: usize,
    /// Called now and then with the number of states.
    pub progress: &'a mut dyn FnMut(usize, usize),
}

/// Default for [`Limits::memory`]: two GiB.
pub const MEMORY: usize = 2 << 30;

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The invariant that a schedule breaks; `None`: no schedule breaks any.
    pub broken: Option<(Vec<Move>, Broken)>,
    /// Distinct states.
    pub states: usize,
    /// Steps taken.
    pub transitions: usize,
    /// Longest path that was looked at, steps.
    pub depth: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// *Sometimes* properties that were reached, bit by number.
    pub reached: u32,
    /// Bytes that the states took.
    pub bytes: usize,
    /// Bytes of one state.
    pub state_bytes: usize,
}

/// Why a search did not end.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// It needs more memory than it may have.
    #[error(
        "the states take more than {limit} MiB after {states} of them, and the search is not over: it proves nothing; \
         allow more with --memory MIB, or look at a smaller scenario"
    )]
    Memory {
        /// What it may have, MiB.
        limit: usize,
        /// How far it came.
        states: usize,
    },
}

/// Why a search is not over yet.
enum Stop {
    /// Something was learned on the way that would have made it another search.
    Learned,
    Error(SearchError),
}

/// Looks at every interleaving of the world's threads.
///
/// # Errors
///
/// [`SearchError::Memory`].
pub fn search(world: &World, order: Order, limits: &mut Limits<'_>) -> Result<Found, SearchError> {
    let start = Instant::now();
    let mut packer = Packer::new(world.initial(), world.cells());
    let mut footprints = Footprints::new();
    warm_up(world, &mut packer, &mut footprints, if order == Order::Reduced { IN_VAIN } else { 16 });
    loop {
        footprints.settle();
        let mut run = Run {
            world,
            store: Store::new(packer),
            found: Found {
                broken: None,
                states: 0,
                transitions: 0,
                depth: 0,
                elapsed: Duration::ZERO,
                reached: 0,
                bytes: 0,
                state_bytes: 0,
            },
            limits,
        };
        let stop = match order {
            Order::Breadth => run.breadth(),
            Order::Depth => run.depth(None),
            Order::Reduced => run.depth(Some(&mut footprints)),
        };
        match stop {
            Err(Stop::Learned) => packer = run.store.into_packer(),
            Err(Stop::Error(error)) => return Err(error),
            // A counterexample is one, whatever was known.
            Ok(()) if order == Order::Reduced && footprints.has_grown() && run.found.broken.is_none() => {
                packer = run.store.into_packer();
            }
            Ok(()) => {
                let mut found = run.found;
                found.states = run.store.len();
                found.bytes = run.store.bytes();
                found.state_bytes = run.store.state_bytes();
                found.elapsed = start.elapsed();
                return Ok(found);
            }
        }
    }
}

/// Runs schedules at random, until nothing was learned for a while: a search that learns much
/// has to be repeated. Some switch threads at every step, some seldom.
fn warm_up(world: &World, packer: &mut Packer, footprints: &mut Footprints, patience: usize) {
    let mut bits = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (bits >> 33) as usize
    };
    let mut in_vain = 0;
    for walk in 0..WALKS {
        let mut state = *world.initial();
        let mut first = random();
        let mut learned = false;
        for _ in 0..WALK {
            let mut any = false;
            let chance = random();
            if chance & ((1 << (walk % 5)) - 1) == 0 {
                first = random();
            }
            for i in 0..world.threads() {
                let tid = ((first + i) % world.threads()) as Tid;
                let choices = world.choices(&state, tid);
                if choices == 0 {
                    continue;
                }
                let mut next = state;
                let choice = (chance >> 8) % usize::from(choices);
                let outcome = take(world, &mut next, tid, choice as u8, Some(footprints));
                if !outcome.blocked {
                    learned |= packer.learn(&next);
                    state = next;
                    any = outcome.broken.is_none();
                    break;
                }
            }
            if !any {
                break;
            }
        }
        learned |= footprints.has_grown();
        footprints.look();
        in_vain = if learned { 0 } else { in_vain + 1 };
        if in_vain > patience {
            break;
        }
    }
    packer.lay_out();
}

/// Schedules at random, at most.
const WALKS: usize = 10_000;
/// Steps of one, at most.
const WALK: usize = 400;
/// So many in a row that teach nothing are enough.
const IN_VAIN: usize = 256;

#[inline]
fn take(world: &World, state: &mut State, tid: Tid, choice: u8, learn: Option<&mut Footprints>) -> Outcome {
    let pc = world.pc(state, tid);
    let outcome = world.step(state, tid, choice, None);
    if let Some(footprints) = learn {
        let next = if outcome.blocked { pc } else { world.pc(state, tid) };
        footprints.learn(tid, pc, outcome.footprint, next);
    }
    outcome
}

/// How many states between two looks at the limits.
const EVERY: usize = 1 << 14;
/// A thread that does so many steps alone and is not done goes round in circles.
const ALONE: usize = 2000;

struct Run<'w, 'l, 'p> {
    world: &'w World,
    store: Store,
    found: Found,
    limits: &'l mut Limits<'p>,
}

/// Where a state was reached from.
#[derive(Clone, Copy)]
struct Origin {
    parent: u32,
    by: Move,
    depth: u32,
}

/// A step that can be taken, and has been on trial.
struct Successor {
    by: Move,
    /// What it leads to.
    state: State,
    /// The number of that; `None`: it was not looked up yet.
    id: Option<u32>,
    outcome: Outcome,
}

struct Frame {
    state: State,
    id: u32,
    /// The move that led here.
    by: Move,
    /// Where its successors begin among those that are still to be looked at; they end where
    /// those of the next frame begin.
    first: usize,
}

/// A path, with what is still to be tried from each of its states.
struct Path {
    frames: Vec<Frame>,
    successors: Vec<Successor>,
    /// Which states are on it, bit by number.
    on_it: Vec<u64>,
    /// What came of looking the successors of one state up.
    put: Vec<(u32, bool)>,
}

impl Run<'_, '_, '_> {
    fn breadth(&mut self) -> Result<(), Stop> {
        let none = Move { tid: 0, choice: 0 };
        let mut origins = vec![Origin { parent: 0, by: none, depth: 0 }];
        let mut id = 0;
        while (id as usize) < self.store.len() {
            let state = self.store.get(id);
            let depth = origins[id as usize].depth;
            let mut enabled = false;
            for tid in 0..self.world.threads() as Tid {
                for choice in 0..self.world.choices(&state, tid) {
                    let mut next = state;
                    let outcome = take(self.world, &mut next, tid, choice, None);
                    if outcome.blocked {
                        continue;
                    }
                    enabled = true;
                    let by = Move { tid, choice };
                    self.found.transitions += 1;
                    self.found.reached |= outcome.reached;
                    let broken = outcome.broken.or_else(|| alone(self.world, &state, &next, tid));
                    if let Some(broken) = broken {
                        self.found.depth = depth as usize + 1;
                        self.found.broken = Some((path(&origins, id, Some(by)), broken));
                        return Ok(());
                    }
                    let (_, new) = self.store.insert(id, &state, &next);
                    if new {
                        origins.push(Origin { parent: id, by, depth: depth + 1 });
                        self.check(origins.capacity() * size_of::<Origin>())?;
                    }
                }
            }
            self.found.depth = depth as usize;
            if !enabled && let Some(broken) = stuck(self.world, &state) {
                self.found.broken = Some((path(&origins, id, None), broken));
                return Ok(());
            }
            id += 1;
        }
        Ok(())
    }

    fn depth(&mut self, mut reduce: Option<&mut Footprints>) -> Result<(), Stop> {
        let mut path = Path { frames: Vec::new(), successors: Vec::new(), on_it: vec![0; 1], put: Vec::new() };
        path.push(Frame { state: *self.world.initial(), id: 0, by: Move { tid: 0, choice: 0 }, first: 0 });
        let mut broken = self.expand(&mut path, reduce.as_deref_mut());
        while broken.is_none() {
            let Some(frame) = path.frames.last() else { return Ok(()) };
            if path.successors.len() == frame.first {
                path.pop();
                continue;
            }
            let Some(next) = path.successors.last() else { return Ok(()) };
            let (state, by) = (next.state, next.by);
            let id = match next.id {
                Some(id) => Some(id),
                None => {
                    let (id, new) = self.store.insert(frame.id, &frame.state, &next.state);
                    new.then_some(id)
                }
            };
            path.successors.pop();
            let Some(id) = id else { continue };
            path.push(Frame { state, id, by, first: path.successors.len() });
            self.found.depth = self.found.depth.max(path.frames.len() - 1);
            self.check(path.bytes())?;
            // Better now than at the end.
            if self.store.len().is_power_of_two() && reduce.as_ref().is_some_and(|f| f.has_grown()) {
                return Err(Stop::Learned);
            }
            broken = self.expand(&mut path, reduce.as_deref_mut());
        }
        self.found.broken = broken.map(|(last, broken)| {
            let moves = path.frames.iter().skip(1).map(|f| f.by).chain(last);
            (moves.collect(), broken)
        });
        Ok(())
    }

    /// Determines what is to be tried from the last state of the path. What a step breaks is
    /// found here, with the move that breaks it, and so is a state that nobody can leave.
    fn expand(&mut self, path: &mut Path, reduce: Option<&mut Footprints>) -> Option<(Option<Move>, Broken)> {
        let Path { frames, successors, on_it, put } = path;
        let frame = frames.last()?;
        let threads = self.world.threads() as Tid;
        let reduced = reduce.is_some();
        if let Some(footprints) = reduce {
            // The one that ran last goes on if it may: fewer switches, and shorter stacks.
            for i in 0..threads {
                let tid = (frame.by.tid + i) % threads;
                let from = successors.len();
                let free = self.try_steps(&frame.state, tid, successors, Some(footprints));
                if free && self.may_go_alone(frame, tid, &successors[from..], footprints, on_it) {
                    successors.drain(frame.first..from);
                    break;
                }
            }
            successors[frame.first..].sort_by_key(|s| std::cmp::Reverse(s.by.tid));
        } else {
            for tid in (0..threads).rev() {
                self.try_steps(&frame.state, tid, successors, None);
            }
        }
        if successors.len() == frame.first {
            return stuck(self.world, &frame.state).map(|broken| (None, broken));
        }
        self.found.transitions += successors.len() - frame.first;
        for next in &mut successors[frame.first..] {
            self.found.reached |= next.outcome.reached;
            let broken = next.outcome.broken.take();
            let broken = broken.or_else(|| alone(self.world, &frame.state, &next.state, next.by.tid));
            if let Some(broken) = broken {
                return Some((Some(next.by), broken));
            }
        }
        // With every interleaving the order does not matter, and all are looked up at once: the
        // memory that the one needs comes while the other is being looked for.
        if !reduced {
            self.store.insert_all(frame.id, &frame.state, &successors[frame.first..], |next| &next.state, put);
            let mut kept = frame.first;
            for (at, (id, new)) in (frame.first..).zip(put.drain(..)) {
                if new {
                    successors[at].id = Some(id);
                    if kept != at {
                        successors.swap(kept, at);
                    }
                    kept += 1;
                }
            }
            successors.truncate(kept);
        }
        None
    }

    /// Takes every way of a thread's next step. Whether there is one, and none has to wait.
    #[inline]
    fn try_steps(
        &self,
        state: &State,
        tid: Tid,
        successors: &mut Vec<Successor>,
        mut learn: Option<&mut Footprints>,
    ) -> bool {
        let choices = self.world.choices(state, tid);
        let mut free = choices != 0;
        for choice in 0..choices {
            // In place: a state is large to be moved about.
            let at = successors.len();
            successors.push(Successor {
                by: Move { tid, choice },
                state: *state,
                id: None,
                outcome: Outcome::default(),
            });
            let next = &mut successors[at];
            next.outcome = take(self.world, &mut next.state, tid, choice, learn.as_deref_mut());
            if next.outcome.blocked {
                free = false;
                successors.truncate(at);
            }
        }
        free
    }

    /// Whether it is enough to look at this thread's next step alone: nothing that others may
    /// ever do depends on it or it on them, and it does not close a circle in which they
    /// would be forgotten. A step that has to wait may become possible through others, so
    /// their order matters; it does not get here.
    fn may_go_alone(
        &mut self,
        frame: &Frame,
        tid: Tid,
        steps: &[Successor],
        footprints: &Footprints,
        on_path: &[u64],
    ) -> bool {
        let others =
            (0..self.world.threads() as Tid).filter(|other| *other != tid).fold(Footprint::default(), |all, other| {
                all.union(footprints.future(other, self.world.pc(&frame.state, other)))
            });
        if steps.iter().any(|step| others.conflicts(step.outcome.footprint)) {
            return false;
        }
        for step in steps {
            if let Some(id) = self.store.find(frame.id, &frame.state, &step.state)
                && get(on_path, id)
            {
                return false;
            }
        }
        true
    }

    fn check(&mut self, beside: usize) -> Result<(), Stop> {
        let states = self.store.len();
        if states.is_multiple_of(EVERY) {
            (self.limits.progress)(states, self.found.transitions);
            if self.store.bytes() + beside > self.limits.memory {
                return Err(Stop::Error(SearchError::Memory { limit: self.limits.memory >> 20, states }));
            }
        }
        Ok(())
    }
}

impl Path {
    #[inline]
    fn push(&mut self, frame: Frame) {
        set(&mut self.on_it, frame.id, true);
        self.frames.push(frame);
    }

    #[inline]
    fn pop(&mut self) {
        if let Some(frame) = self.frames.pop() {
            set(&mut self.on_it, frame.id, false);
        }
    }

    fn bytes(&self) -> usize {
        self.frames.capacity() * size_of::<Frame>()
            + self.successors.capacity() * size_of::<Successor>()
            + self.on_it.capacity() * size_of::<u64>()
    }
}

fn get(bits: &[u64], id: u32) -> bool {
    bits.get(id as usize / 64).is_some_and(|w| w >> (id % 64) & 1 != 0)
}

fn set(bits: &mut Vec<u64>, id: u32, value: bool) {
    let word = id as usize / 64;
    if word >= bits.len() {
        bits.resize(word * 2 + 1, 0);
    }
    if value {
        bits[word] |= 1 << (id % 64);
    } else {
        bits[word] &= !(1 << (id % 64));
    }
}

fn path(origins: &[Origin], mut id: u32, last: Option<Move>) -> Vec<Move> {
    let mut moves: Vec<Move> = last.into_iter().collect();
    while id != 0 {
        let origin = origins[id as usize];
        moves.push(origin.by);
        id = origin.parent;
    }
    moves.reverse();
    moves
}

/// Nobody can go on: is anybody missing?
pub(super) fn stuck(world: &World, state: &State) -> Option<Broken> {
    let waits = |tid: &Tid| world.must_finish(*tid) && !world.is_done(state, *tid);
    let waiting: Vec<String> = (0..world.threads() as Tid)
        .filter(waits)
        .filter_map(|tid| {
            let (function, text) = world.next_step(state, tid)?;
            Some(format!("{} waits in {function}: {text}", world.thread_name(tid)))
        })
        .collect();
    if waiting.is_empty() {
        return world.check_end(state);
    }
    let writers = (0..world.threads() as Tid).filter(waits).all(|tid| world.is_writer(tid));
    let invariant = if writers { Invariant::Writer } else { Invariant::Dead };
    Some(Broken { invariant, why: format!("nobody can go on: {}", waiting.join("; ")) })
}

/// After a step back: does the thread go round for ever if nobody else runs (G-RETRY)?
pub(super) fn alone(world: &World, before: &State, after: &State, tid: Tid) -> Option<Broken> {
    if world.pc(after, tid) > world.pc(before, tid) || !world.must_finish(tid) {
        return None;
    }
    let mut state = *after;
    for _ in 0..ALONE {
        // A step that may go several ways waits for something that may happen.
        if world.choices(&state, tid) != 1 {
            return None;
        }
        let outcome = world.step(&mut state, tid, 0, None);
        if outcome.blocked || outcome.broken.is_some() {
            return None;
        }
        if state == *after {
            let why = format!("{} goes round in circles although nobody else runs", world.thread_name(tid));
            return Some(Broken { invariant: Invariant::Retry, why });
        }
    }
    None
}
