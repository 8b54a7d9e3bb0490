//! The cells that each step touches, and those that a thread can still touch: the basis of the partial-order reduction.
//!
//! Nobody declares them: they are learned from the steps that are run. A search that learns something new is repeated,
//! until it runs within what was known when it began. That is enough. Suppose that some step, in a state that the
//! reduced search left out, touches a cell that is not known here, and take the first such step on a path to that
//! state. Everything before it is within what is known, so the reduced search runs an equivalent of that path. The
//! steps that it runs in addition are independent of the path, and do not change what the step reads before the unknown
//! cell. So the step is run there too, touches the cell, and is learned.
//!
//! [`Protocol::always`](crate::Protocol::always) is part of every step, and so are its reads, if the step has written any
//! of the cells that it read. If the step has not, the check read what it would have read before the step, and says the
//! same. That is not changed by a step of another thread whose footprint does not conflict with this one's: if the other
//! writes a cell that the check reads, then the other's footprint has every cell that the check reads after it, and this
//! step writes none of these.

use crate::system::{Footprint, THREADS_MAX, Tid};

/// Steps of a program, and its end.
const STEPS: usize = 256;

/// The footprints of one thread, by step.
#[derive(Clone, Debug)]
struct Learned {
    /// The cells that the step touched.
    step: Vec<Footprint>,
    /// The steps that followed it, bit by step.
    next: Vec<[u64; STEPS / 64]>,
    /// The cells that a thread at this step can touch from now on.
    future: Vec<Footprint>,
}

/// The footprints of all threads.
#[derive(Clone, Debug)]
pub(super) struct Footprints {
    threads: Vec<Learned>,
    grown: bool,
}

impl Footprints {
    pub(super) fn new() -> Self {
        let learned = Learned {
            step: vec![Footprint::default(); STEPS],
            next: vec![[0; STEPS / 64]; STEPS],
            future: vec![Footprint::default(); STEPS],
        };
        Self { threads: vec![learned; THREADS_MAX], grown: false }
    }

    /// Learns that a step at `pc` touched these cells and went on to `next`.
    #[inline]
    pub(super) fn learn(&mut self, tid: Tid, pc: u8, footprint: Footprint, next: u8) {
        let thread = &mut self.threads[usize::from(tid)];
        let step = &mut thread.step[usize::from(pc)];
        if !footprint.within(*step) {
            *step = step.union(footprint);
            self.grown = true;
        }
        let (word, bit) = (usize::from(next) / 64, 1 << (next % 64));
        let edges = &mut thread.next[usize::from(pc)][word];
        if *edges & bit == 0 {
            *edges |= bit;
            self.grown = true;
        }
    }

    /// Returns what a thread at `pc` can touch from now on.
    #[inline]
    pub(super) fn future(&self, tid: Tid, pc: u8) -> Footprint {
        self.threads[usize::from(tid)].future[usize::from(pc)]
    }

    /// Returns whether anything was learned since [`Footprints::settle`] or [`Footprints::look`].
    pub(super) const fn has_grown(&self) -> bool {
        self.grown
    }

    /// Begins to notice anew whether anything is learned.
    pub(super) const fn look(&mut self) {
        self.grown = false;
    }

    /// Computes the futures from what was learned.
    pub(super) fn settle(&mut self) {
        self.grown = false;
        for thread in &mut self.threads {
            thread.future.clone_from(&thread.step);
            let mut changed = true;
            while changed {
                changed = false;
                for pc in (0..STEPS).rev() {
                    let mut future = thread.future[pc];
                    for (word, bits) in thread.next[pc].iter().enumerate() {
                        let mut bits = *bits;
                        while bits != 0 {
                            future = future.union(thread.future[word * 64 + bits.trailing_zeros() as usize]);
                            bits &= bits - 1;
                        }
                    }
                    if future != thread.future[pc] {
                        thread.future[pc] = future;
                        changed = true;
                    }
                }
            }
        }
    }
}
