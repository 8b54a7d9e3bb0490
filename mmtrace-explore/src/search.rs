//! The search: breadth-first for the shortest counterexample, depth-first with partial-order reduction for proof.

use std::time::{Duration, Instant};

use super::{
    footprint::Footprints,
    store::{Packer, Store},
};
use crate::system::{Broken, Footprint, Move, Outcome, Protocol, State, System, Tid};

/// The order of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Level by level. A counterexample is the shortest there is.
    Breadth,
    /// Path by path, in every interleaving.
    Depth,
    /// Path by path, in one order only of steps that do not touch the same cells.
    Reduced,
}

/// The bounds of a search, and whom it tells how far it is.
pub struct Limits<'a> {
    /// Most bytes that the states take.
    pub memory: usize,
    /// Called with the numbers of states and of transitions, once in 16384 states.
    pub progress: Option<&'a mut dyn FnMut(usize, usize)>,
}

impl Default for Limits<'_> {
    fn default() -> Self {
        Self { memory: MEMORY, progress: None }
    }
}

/// The default of [`Limits::memory`]: 2 GiB.
pub const MEMORY: usize = 2 << 30;

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// A schedule that breaks a property; `None` if no schedule breaks any.
    pub broken: Option<(Vec<Move>, Broken)>,
    /// Distinct states.
    pub states: usize,
    /// Steps that were taken.
    pub transitions: usize,
    /// Steps of the longest path.
    pub depth: usize,
    /// The time that the search took.
    pub elapsed: Duration,
    /// *Sometimes* properties that were reached, bit by number ([`Access::reach`](crate::Access::reach)).
    pub reached: u32,
    /// Bytes of all states.
    pub bytes: usize,
    /// Bytes of one state.
    pub state_bytes: usize,
}

/// The reason why a search did not end.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The states need more memory than the search may take.
    #[error(
        "the states take more than {limit} MiB after {states} of them, and the search is not over: it proves nothing; \
         allow more with --memory MIB, or look at a smaller scenario"
    )]
    Memory {
        /// The limit, MiB.
        limit: usize,
        /// The number of states that were found until then.
        states: usize,
    },
}

/// The reason why a search stops before it is over.
enum Stop {
    /// A step touched cells that were not known when the search began: it begins again.
    Learned,
    Error(SearchError),
}

/// Looks at every interleaving of a system's threads, until a property is broken.
///
/// The number of states is finite, because a state is a row of bytes. A step that panics ends the search with its panic; one
/// that never returns is not noticed ([`Program`](crate::Program)).
///
/// # Errors
///
/// [`SearchError::Memory`]: the states take more than [`Limits::memory`]. Then nothing is proved.
pub fn search<P: Protocol>(system: &System<P>, order: Order, limits: &mut Limits<'_>) -> Result<Found, SearchError> {
    let start = Instant::now();
    let found = Found {
        broken: system.check_initial().map(|broken| (Vec::new(), broken)),
        states: 1,
        transitions: 0,
        depth: 0,
        elapsed: Duration::ZERO,
        reached: 0,
        bytes: 0,
        state_bytes: 0,
    };
    if found.broken.is_some() {
        return Ok(found);
    }
    let mut packer = Packer::new(system.initial(), system.cells.places());
    let mut footprints = Footprints::new();
    warm_up(system, &mut packer, &mut footprints, if order == Order::Reduced { IN_VAIN } else { 16 });
    loop {
        footprints.settle();
        let mut run = Run { system, store: Store::new(packer), found: found.clone(), limits };
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

/// Runs random schedules, until `patience` of them in a row teach nothing new, because a search that learns much has to be
/// repeated. Some switch threads at every step, some seldom.
fn warm_up<P: Protocol>(system: &System<P>, packer: &mut Packer, footprints: &mut Footprints, patience: usize) {
    let mut bits = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (bits >> 33) as usize
    };
    let mut in_vain = 0;
    for walk in 0..WALKS {
        let mut state = *system.initial();
        let mut first = random();
        let mut learned = false;
        for _ in 0..WALK {
            let mut any = false;
            let chance = random();
            if chance & ((1 << (walk % 5)) - 1) == 0 {
                first = random();
            }
            for i in 0..system.threads() {
                let tid = ((first + i) % system.threads()) as Tid;
                let choices = system.choices(&state, tid);
                if choices == 0 {
                    continue;
                }
                let mut next = state;
                let choice = (chance >> 8) % usize::from(choices);
                let outcome = take(system, &mut next, tid, choice as u8, Some(footprints));
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

/// Most random schedules.
const WALKS: usize = 10_000;
/// Most steps of one.
const WALK: usize = 400;
/// After this many in a row that teach nothing, the reduced search begins.
const IN_VAIN: usize = 256;

#[inline]
fn take<P: Protocol>(
    system: &System<P>,
    state: &mut State,
    tid: Tid,
    choice: u8,
    learn: Option<&mut Footprints>,
) -> Outcome {
    let pc = system.pc(state, tid);
    let outcome = system.step(state, tid, choice, None);
    if let Some(footprints) = learn {
        let next = if outcome.blocked { pc } else { system.pc(state, tid) };
        footprints.learn(tid, pc, outcome.footprint, next);
    }
    outcome
}

/// The limits are looked at once in this many states.
const EVERY: usize = 1 << 14;
/// Most steps that a thread runs alone, to see whether it comes back to where it was.
const ALONE: usize = 2000;

struct Run<'w, 'l, 'p, P: Protocol> {
    system: &'w System<P>,
    store: Store,
    found: Found,
    limits: &'l mut Limits<'p>,
}

/// The step by which a state was reached first.
#[derive(Clone, Copy)]
struct Origin {
    parent: u32,
    by: Move,
    depth: u32,
}

/// A step that can be taken, with what it leads to.
struct Successor {
    by: Move,
    state: State,
    /// The number of that state; `None` until it is looked up.
    id: Option<u32>,
    outcome: Outcome,
}

struct Frame {
    state: State,
    id: u32,
    /// The move that led to this state.
    by: Move,
    /// Index of its first successor in [`Path::successors`]. They end at the next frame's first one.
    first: usize,
}

/// A path, with the successors of each of its states that are still to be looked at.
struct Path {
    frames: Vec<Frame>,
    successors: Vec<Successor>,
    /// The states that are on it, bit by number.
    on_it: Vec<u64>,
    /// The numbers of one state's successors, and whether each is new.
    put: Vec<(u32, bool)>,
}

impl<P: Protocol> Run<'_, '_, '_, P> {
    fn breadth(&mut self) -> Result<(), Stop> {
        let none = Move { tid: 0, choice: 0 };
        let mut origins = vec![Origin { parent: 0, by: none, depth: 0 }];
        let mut id = 0;
        while (id as usize) < self.store.len() {
            let state = self.store.get(id);
            let depth = origins[id as usize].depth;
            let mut enabled = false;
            for tid in 0..self.system.threads() as Tid {
                for choice in 0..self.system.choices(&state, tid) {
                    let mut next = state;
                    let outcome = take(self.system, &mut next, tid, choice, None);
                    if outcome.blocked {
                        continue;
                    }
                    enabled = true;
                    let by = Move { tid, choice };
                    self.found.transitions += 1;
                    self.found.reached |= outcome.reached;
                    let broken = outcome.broken.or_else(|| alone(self.system, &state, &next, tid));
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
            if !enabled && let Some(broken) = stuck(self.system, &state) {
                self.found.broken = Some((path(&origins, id, None), broken));
                return Ok(());
            }
            id += 1;
        }
        Ok(())
    }

    fn depth(&mut self, mut reduce: Option<&mut Footprints>) -> Result<(), Stop> {
        let mut path = Path { frames: Vec::new(), successors: Vec::new(), on_it: vec![0; 1], put: Vec::new() };
        path.push(Frame { state: *self.system.initial(), id: 0, by: Move { tid: 0, choice: 0 }, first: 0 });
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
            // It is better to begin again now than at the end.
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

    /// Adds the successors of the last state of the path. Returns what is broken: by a step, with its move, or by a state
    /// that no thread can leave.
    fn expand(&mut self, path: &mut Path, reduce: Option<&mut Footprints>) -> Option<(Option<Move>, Broken)> {
        let Path { frames, successors, on_it, put } = path;
        let frame = frames.last()?;
        let threads = self.system.threads() as Tid;
        let reduced = reduce.is_some();
        if let Some(footprints) = reduce {
            // The thread that ran last is tried first: that switches less, and keeps the stack short.
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
            return stuck(self.system, &frame.state).map(|broken| (None, broken));
        }
        self.found.transitions += successors.len() - frame.first;
        for next in &mut successors[frame.first..] {
            self.found.reached |= next.outcome.reached;
            let broken = next.outcome.broken.take();
            let broken = broken.or_else(|| alone(self.system, &frame.state, &next.state, next.by.tid));
            if let Some(broken) = broken {
                return Some((Some(next.by), broken));
            }
        }
        // Where every interleaving is looked at, the order does not matter. All successors are looked up at once, so that
        // the processor waits for the memory of several at the same time.
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

    /// Takes every way of a thread's next step. Returns whether there is one, and none blocks.
    #[inline]
    fn try_steps(
        &self,
        state: &State,
        tid: Tid,
        successors: &mut Vec<Successor>,
        mut learn: Option<&mut Footprints>,
    ) -> bool {
        let choices = self.system.choices(state, tid);
        let mut free = choices != 0;
        for choice in 0..choices {
            // A state is too large to be moved about.
            let at = successors.len();
            successors.push(Successor {
                by: Move { tid, choice },
                state: *state,
                id: None,
                outcome: Outcome::default(),
            });
            let next = &mut successors[at];
            next.outcome = take(self.system, &mut next.state, tid, choice, learn.as_deref_mut());
            if next.outcome.blocked {
                free = false;
                successors.truncate(at);
            }
        }
        free
    }

    /// Returns whether it is enough to look at this thread's next step alone. It is if the step conflicts with nothing that
    /// other threads can ever do, and does not close a circle in which they would be forgotten. A step that blocks does not
    /// get here: other threads can make it possible, so the order matters.
    fn may_go_alone(
        &mut self,
        frame: &Frame,
        tid: Tid,
        steps: &[Successor],
        footprints: &Footprints,
        on_path: &[u64],
    ) -> bool {
        let others =
            (0..self.system.threads() as Tid).filter(|other| *other != tid).fold(Footprint::default(), |all, other| {
                all.union(footprints.future(other, self.system.pc(&frame.state, other)))
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
            if let Some(progress) = &mut self.limits.progress {
                progress(states, self.found.transitions);
            }
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

/// Returns what a state breaks that no thread can leave.
pub(super) fn stuck<P: Protocol>(system: &System<P>, state: &State) -> Option<Broken> {
    let waits = |tid: &Tid| system.must_finish(*tid) && !system.is_done(state, *tid);
    let waiting: Vec<Tid> = (0..system.threads() as Tid).filter(waits).collect();
    if waiting.is_empty() {
        return system.check_end(state);
    }
    let each = waiting.iter().filter_map(|tid| {
        let (function, text) = system.next_step(state, *tid)?;
        let place = if function.is_empty() { text.to_owned() } else { format!("{function}: {text}") };
        Some(format!("{} waits in {place}", system.thread_name(*tid)))
    });
    let why = format!("nobody can go on: {}", each.collect::<Vec<_>>().join("; "));
    Some(Broken { property: system.protocol.deadlock(&waiting), why })
}

/// Returns what is broken if a thread that has stepped back goes round for ever, when no other runs.
pub(super) fn alone<P: Protocol>(system: &System<P>, before: &State, after: &State, tid: Tid) -> Option<Broken> {
    if system.pc(after, tid) > system.pc(before, tid) || !system.must_finish(tid) {
        return None;
    }
    let mut state = *after;
    for _ in 0..ALONE {
        // A step that can go several ways waits for something that happens at some time.
        if system.choices(&state, tid) != 1 {
            return None;
        }
        let outcome = system.step(&mut state, tid, 0, None);
        if outcome.blocked || outcome.broken.is_some() {
            return None;
        }
        if state == *after {
            let why = format!("{} goes round in circles although nobody else runs", system.thread_name(tid));
            return Some(Broken { property: system.protocol.livelock(), why });
        }
    }
    None
}
