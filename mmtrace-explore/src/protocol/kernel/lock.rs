//! Locks.

use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::{Mode, Rank},
};

use super::Kernel;
use crate::protocol::layout::{Lock, WRITE};

impl Kernel<'_> {
    /// Returns how this thread holds a lock.
    #[must_use]
    pub(crate) fn holds(&self, lock: Lock) -> Option<Mode> {
        let info = &self.protocol.locks[usize::from(lock.0)];
        let word = self.peek(info.cell);
        let mine = 1 << self.me();
        if word & mine == 0 {
            return None;
        }
        let downgraded = info.downgraded.is_some_and(|d| self.peek(d) & mine != 0);
        Some(match (word & WRITE != 0, downgraded) {
            (true, _) => Mode::Write,
            (false, true) => Mode::Downgraded,
            (false, false) => Mode::Read,
        })
    }

    /// Checks that this thread holds a lock in any mode (I-STATE).
    pub(crate) fn needs(&mut self, lock: Lock, what: &str) {
        if self.holds(lock).is_none() {
            let why = format!("{what} without {} held", self.protocol.locks[usize::from(lock.0)].name);
            self.violate(Invariant::State, why);
        }
    }

    /// Checks that this thread holds a lock for write (I-STATE).
    pub(crate) fn needs_write(&mut self, lock: Lock, what: &str) {
        if self.holds(lock) != Some(Mode::Write) {
            let why = format!("{what} without {} held for write", self.protocol.locks[usize::from(lock.0)].name);
            self.violate(Invariant::State, why);
        }
    }

    /// `…_trylock()`: returns whether the lock was taken.
    pub(crate) fn trylock(&mut self, lock: Lock, mode: Mode) -> bool {
        let cell = self.protocol.locks[usize::from(lock.0)].cell;
        let word = self.get(cell);
        let free = match mode {
            Mode::Write => word == 0,
            _ => word & WRITE == 0,
        };
        if free {
            self.set(cell, word | 1 << self.me() | if mode == Mode::Write { WRITE } else { 0 });
        }
        free
    }

    /// Takes a lock, and checks the lock order (I-ORDER). Returns false if the thread has to wait.
    pub(crate) fn lock(&mut self, lock: Lock, mode: Mode) -> bool {
        let free = self.trylock(lock, mode);
        if free {
            self.check_order(lock);
        }
        free
    }

    fn check_order(&mut self, lock: Lock) {
        let layout = self.protocol;
        let info = &layout.locks[usize::from(lock.0)];
        let Some(rank) = info.rank else { return };
        let inner = layout.locks.iter().enumerate().find(|(i, other)| {
            let higher =
                other.rank.is_some_and(|r| r > rank || (r == rank && rank != Rank::Ptl && rank != Rank::PageTableLock));
            *i != usize::from(lock.0) && higher && self.peek(other.cell) & 1 << self.me() != 0
        });
        if let Some((_, inner)) = inner {
            let why = format!("{} is waited for while {} is held, which comes after it", info.name, inner.name);
            self.violate(Invariant::Order, why);
        }
    }

    /// Returns the threads that hold a lock, bit by thread.
    pub(crate) fn readers(&mut self, lock: Lock) -> u8 {
        self.get(self.protocol.locks[usize::from(lock.0)].cell) & !WRITE
    }

    /// Releases a lock.
    pub(crate) fn unlock(&mut self, lock: Lock) {
        let info = &self.protocol.locks[usize::from(lock.0)];
        let mine = 1 << self.me();
        let word = self.get(info.cell);
        if word & mine == 0 {
            let why = format!("{} is released, and this thread does not hold it", info.name);
            let exclusive = word & WRITE != 0;
            self.violate(if exclusive { Invariant::Own } else { Invariant::Dbl }, why);
            return;
        }
        self.set(info.cell, if word & WRITE != 0 { 0 } else { word & !mine });
        if let Some(downgraded) = info.downgraded {
            let was = self.peek(downgraded);
            if was & mine != 0 {
                self.set(downgraded, was & !mine);
            }
        }
    }

    /// `mmap_write_downgrade()`.
    pub(crate) fn downgrade(&mut self, lock: Lock) {
        let info = &self.protocol.locks[usize::from(lock.0)];
        let mine = 1 << self.me();
        let word = self.get(info.cell);
        if word != mine | WRITE {
            let why = format!("{} is downgraded by a thread that does not hold it for write", info.name);
            self.violate(Invariant::Own, why);
            return;
        }
        self.set(info.cell, mine);
        if let Some(downgraded) = info.downgraded {
            let others = self.get(downgraded);
            if others != 0 {
                self.violate(Invariant::Down, "two threads hold the mmap_lock downgraded");
            }
            self.set(downgraded, others | mine);
        }
    }
}
