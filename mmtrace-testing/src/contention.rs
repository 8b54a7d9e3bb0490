//! Streams of a contended mmap_lock, made by a lock that queues its waiters as the kernel's does, with the truth about each
//! wait.

use std::collections::{BTreeMap, VecDeque};

use mmtrace_common::{Column, Kind, Record, View as _, event};

use crate::{
    kernel::{MM, Made, START},
    random::Random,
};

/// The tasks, each with a name of its own: their ids are 1 to this.
pub const TASKS: u32 = 8;

/// A task, and whether it holds or awaits the lock for write.
pub type Party = (u32, bool);

/// A stream, and what is true of it.
pub struct Contention {
    pub records: Vec<Record>,
    /// Nanoseconds for which a task waited (the first party) while another one held the lock, be it in the task's own way or
    /// in that of a writer ahead of it.
    pub in_the_way: BTreeMap<(Party, Party), u64>,
}

/// State of a task.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Begins to acquire the lock, and does not run before it is in the queue.
    Begins(bool),
    /// Is in the queue.
    Queued(bool),
    /// Has been granted the lock, and has not run yet.
    Granted(bool),
    Holds(bool),
}

/// Makes a stream of so many steps.
///
/// The lock is granted in the order of the queue; readers next to each other get it together. A reader gets a free lock, and
/// one that readers hold, if nobody is queued. A task that is granted the lock runs later.
pub fn contention(seed: u64, steps: usize) -> Contention {
    let mut random = Random(seed);
    let mut made = Made { step: 0, ..Made::new() };
    for tid in 1..=TASKS {
        made.user(tid, START);
        let mut name = Record { ts: made.now, tid, tgid: 1, ..Record::default() };
        event::TaskName { comm: u64::from(b'a') + u64::from(tid), comm_tail: 0 }.write(&mut name);
        made.records.push(name);
    }
    let mut lock = Lock { states: vec![State::Idle; TASKS as usize + 1], ..Lock::default() };
    let mut in_the_way = BTreeMap::new();
    for _ in 0..steps {
        let most = if random.below(8) == 0 { 60_000 } else { 4_000 };
        let passed = 1 + random.below(most);
        made.later(passed);
        lock.charge(passed, &mut in_the_way);
        let tid = 1 + random.below(u64::from(TASKS)) as u32;
        let write = random.below(3) == 0;
        lock.step(tid, write, &mut random, &mut made);
    }
    Contention { records: made.records, in_the_way }
}

#[derive(Default)]
struct Lock {
    states: Vec<State>,
    queue: VecDeque<u32>,
}

impl Lock {
    fn state(&self, tid: u32) -> State {
        self.states[tid as usize]
    }

    fn holders(&self) -> impl Iterator<Item = Party> + '_ {
        (1..=TASKS).filter_map(|tid| match self.state(tid) {
            State::Holds(write) => Some((tid, write)),
            _ => None,
        })
    }

    /// Whether anybody has it, or is about to.
    fn is_taken(&self) -> (bool, bool) {
        let has = |write| self.states.iter().any(|state| [State::Holds(write), State::Granted(write)].contains(state));
        (has(false), has(true))
    }

    /// Whether a reader that awaits the lock waits for readers as well: a writer is ahead of it.
    fn is_behind_a_writer(&self, reader: u32) -> bool {
        let ahead = self.queue.iter().take_while(|tid| **tid != reader);
        let queued = ahead.into_iter().any(|tid| self.state(*tid) == State::Queued(true));
        // The order in which tasks get into the queue is not seen.
        let begins = matches!(self.state(reader), State::Begins(_)) && self.states.contains(&State::Begins(true));
        queued || begins
    }

    fn charge(&self, ns: u64, in_the_way: &mut BTreeMap<(Party, Party), u64>) {
        for tid in 1..=TASKS {
            let (State::Begins(write) | State::Queued(write)) = self.state(tid) else { continue };
            let all = write || self.is_behind_a_writer(tid);
            for holder in self.holders().filter(|(_, holds)| *holds || all) {
                *in_the_way.entry(((tid, write), holder)).or_default() += ns;
            }
        }
    }

    fn grant(&mut self) {
        while let Some(first) = self.queue.front().copied() {
            let State::Queued(write) = self.state(first) else { unreachable!("who is queued awaits the lock") };
            let (read, written) = self.is_taken();
            if written || (write && read) {
                return;
            }
            self.queue.pop_front();
            self.states[first as usize] = State::Granted(write);
        }
    }

    fn step(&mut self, tid: u32, write: bool, random: &mut Random, made: &mut Made) {
        let call = (Column::Call, u64::from(mmtrace_common::Call::System(tid as u16).number()));
        let column = |write: bool| (Column::Write, u64::from(write));
        let got = (Column::Success, 1);
        match self.state(tid) {
            State::Idle => {
                made.at(tid, Kind::StartLocking, MM, &[column(write), call]);
                self.states[tid as usize] = State::Begins(write);
            }
            State::Begins(write) => {
                self.states[tid as usize] = State::Queued(write);
                self.queue.push_back(tid);
            }
            // Killed.
            State::Queued(write) if random.below(40) == 0 => {
                made.at(tid, Kind::AcquireReturned, MM, &[column(write), (Column::Success, 0)]);
                self.queue.retain(|queued| *queued != tid);
                self.states[tid as usize] = State::Idle;
            }
            State::Queued(_) => {}
            State::Granted(write) => {
                made.at(tid, Kind::AcquireReturned, MM, &[column(write), got]);
                self.states[tid as usize] = State::Holds(write);
            }
            State::Holds(true) if random.below(6) == 0 => {
                made.at(tid, Kind::AcquireReturned, MM, &[column(false), got]);
                self.states[tid as usize] = State::Holds(false);
            }
            State::Holds(write) => {
                made.at(tid, Kind::Released, MM, &[column(write)]);
                self.states[tid as usize] = State::Idle;
            }
        }
        self.grant();
    }
}
