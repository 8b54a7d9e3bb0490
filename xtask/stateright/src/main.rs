//! SC-X.1 (`v.7.2`: readers that lock a VMA against writers that change it) as a model for
//! stateright, with the steps of testdata/promela/sc-x.1.pml: `cargo xtask bench explore
//! --stateright`.
//!
//! Usage: stateright-vma-lock READERS WRITERS

use stateright::{Checker, Model, Property};

/// Threads at most.
const THREADS: usize = 6;
/// In `vm_refcnt`: a writer waits, or has waited.
const EXCLUDE: u8 = 128;
/// In `mmap_lock`: its holder writes.
const WRITE: u8 = 128;
/// Where a reader or a writer is done.
const READER_END: u8 = 19;
const WRITER_END: u8 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    at: [u8; THREADS],
    mmap_lock: u8,
    mm_lock_seq: u8,
    vm_lock_seq: u8,
    vm_refcnt: u8,
    granted: u8,
    rcu: u8,
    broken: bool,
}

struct VmaLock {
    readers: usize,
    writers: usize,
}

impl VmaLock {
    const fn threads(&self) -> usize {
        self.readers + self.writers
    }

    /// The step of a reader; `None`: it waits, or is done.
    fn reader(s: &mut State, t: usize) -> Option<u8> {
        let me = 1 << t;
        let writing = s.mm_lock_seq % 2 == 1 && s.vm_lock_seq == s.mm_lock_seq;
        let equal = s.vm_lock_seq == s.mm_lock_seq;
        Some(match s.at[t] {
            // lock_vma_under_rcu()
            0 => {
                s.rcu |= me;
                1
            }
            1 => 2,
            2 if equal => 12,
            2 => 3,
            3 if s.vm_refcnt == 0 => 10,
            3 if s.vm_refcnt >= EXCLUDE => 12,
            3 => {
                s.vm_refcnt += 1;
                4
            }
            4 => 5,
            5 if equal => 11,
            5 => 6,
            6 => {
                s.rcu &= !me;
                7
            }
            7 => 8,
            8 => {
                s.broken |= writing;
                s.granted |= me;
                9
            }
            // The fault is handled, and the lock released.
            9 => {
                s.broken |= writing;
                13
            }
            13 => {
                s.granted &= !me;
                s.vm_refcnt -= 1;
                18
            }
            10 => {
                s.rcu &= !me;
                0
            }
            11 => {
                s.vm_refcnt -= 1;
                12
            }
            12 => {
                s.rcu &= !me;
                14
            }
            // With the mmap_lock.
            14 if s.mmap_lock < WRITE => {
                s.mmap_lock |= me;
                15
            }
            14 => return None,
            15 => 16,
            16 => {
                s.broken |= writing;
                17
            }
            17 => {
                s.mmap_lock &= !me;
                18
            }
            18 => READER_END,
            _ => return None,
        })
    }

    /// The step of a writer; `None`: it waits, or is done.
    fn writer(s: &mut State, t: usize) -> Option<u8> {
        Some(match s.at[t] {
            0 if s.mmap_lock == 0 => {
                s.mmap_lock = WRITE | 1 << t;
                s.mm_lock_seq += 1;
                1
            }
            // vma_start_write()
            1 if s.vm_lock_seq == s.mm_lock_seq => 6,
            1 => 2,
            2 => {
                s.vm_refcnt += EXCLUDE;
                3
            }
            3 if s.vm_refcnt == EXCLUDE + 1 => 4,
            4 => {
                s.vm_lock_seq = s.mm_lock_seq;
                s.broken |= s.granted != 0;
                5
            }
            5 => {
                s.vm_refcnt -= EXCLUDE;
                6
            }
            6 => {
                s.broken |= s.granted != 0;
                8
            }
            8 => {
                s.mm_lock_seq += 1;
                s.mmap_lock = 0;
                WRITER_END
            }
            _ => return None,
        })
    }
}

impl Model for VmaLock {
    type State = State;
    type Action = u8;

    fn init_states(&self) -> Vec<State> {
        let at = [0; THREADS];
        let (mmap_lock, mm_lock_seq, vm_lock_seq, vm_refcnt) = (0, 2, 0, 1);
        vec![State { at, mmap_lock, mm_lock_seq, vm_lock_seq, vm_refcnt, granted: 0, rcu: 0, broken: false }]
    }

    fn actions(&self, _: &State, actions: &mut Vec<u8>) {
        actions.extend(0..self.threads() as u8);
    }

    fn next_state(&self, last: &State, thread: u8) -> Option<State> {
        let (mut state, t) = (*last, usize::from(thread));
        let next = if t < self.readers { Self::reader(&mut state, t) } else { Self::writer(&mut state, t) };
        state.at[t] = next?;
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("I-VEXCL", |_, state: &State| !state.broken)]
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|a| a.parse().ok());
    let (Some(readers), Some(writers)) = (numbers.next(), numbers.next()) else {
        eprintln!("usage: stateright-vma-lock READERS WRITERS");
        std::process::exit(2);
    };
    let model = VmaLock { readers, writers };
    assert!(model.threads() <= THREADS, "at most {THREADS} threads");
    let checker = model.checker().threads(1).spawn_dfs().join();
    checker.assert_properties();
    // It counts the first state as generated.
    let (states, transitions) = (checker.unique_state_count(), checker.state_count() - 1);
    println!("{{\"states\": {states}, \"transitions\": {transitions}}}");
}
