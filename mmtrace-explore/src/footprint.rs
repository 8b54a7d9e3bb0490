//! What each step touches, and what a thread may still touch: the basis of the
//! partial-order reduction.
//!
//! Nobody declares this: it is learned from the steps that are run. A search that learns
//! something new is repeated, until it runs within what was known when it began. That is
//! enough: were there a step, in a state that the reduced search left out, that touches a
//! cell not known here, take the first one on a path there. Everything before it is within
//! what is known, so the reduced search runs an equivalent of that path; what it runs in
//! addition is independent of the path, and does not change what the step reads before
//! the unknown cell. So the step is run there too, touches the cell, and is learned.

use crate::protocol::{
    layout::{THREADS_MAX, Tid},
    state::Footprint,
};

const STEPS: usize = 256;

#[derive(Clone, Debug)]
struct Learned {
    step: Vec<Footprint>,
    next: Vec<[u64; STEPS / 64]>,
    future: Vec<Footprint>,
}

/// What was learned.
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

    /// A step at `pc` touched this, and went on to `next`.
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

    /// What a thread at `pc` may touch from now on.
    #[inline]
    pub(super) fn future(&self, tid: Tid, pc: u8) -> Footprint {
        self.threads[usize::from(tid)].future[usize::from(pc)]
    }

    /// Whether anything was learned since [`Footprints::settle`].
    pub(super) const fn has_grown(&self) -> bool {
        self.grown
    }

    /// Begins to notice anew whether anything is learned.
    pub(super) const fn look(&mut self) {
        self.grown = false;
    }

    /// Takes what was learned into the futures.
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
