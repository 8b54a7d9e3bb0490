//! What was last asked of tasks: most events are of few tasks.

/// Slots: more than most machines have CPUs.
const SLOTS: usize = 64;

/// An answer about a task, by its ids.
#[derive(Clone, Copy, Debug)]
struct Asked<T> {
    tid: u32,
    tgid: u32,
    changes: u32,
    answer: T,
}

/// The newest answers, one for each slot of thread ids.
#[derive(Clone, Debug)]
pub(super) struct Recent<T>([Option<Asked<T>>; SLOTS]);

impl<T: Copy> Default for Recent<T> {
    fn default() -> Self {
        Self([None; SLOTS])
    }
}

impl<T: Copy> Recent<T> {
    const fn slot(tid: u32) -> usize {
        tid as usize % SLOTS
    }

    /// Returns the answer for a task, if it was given at this number of changes.
    #[inline]
    pub(super) fn get(&self, tid: u32, tgid: u32, changes: u32) -> Option<T> {
        let asked = self.0[Self::slot(tid)]?;
        ((asked.tid, asked.tgid, asked.changes) == (tid, tgid, changes)).then_some(asked.answer)
    }

    /// Keeps an answer. `changes`: a number that grows with every change that makes answers wrong.
    pub(super) fn put(&mut self, tid: u32, tgid: u32, changes: u32, answer: T) {
        self.0[Self::slot(tid)] = Some(Asked { tid, tgid, changes, answer });
    }

    /// Forgets the answer for a task.
    pub(super) fn forget(&mut self, tid: u32) {
        self.0[Self::slot(tid)] = None;
    }
}
