//! One state of a small system: a row of bytes.
//!
//! A byte is a *cell*: a lock word, an entry of a page table, a thread's position. [`Cells`](super::Cells) hands them out,
//! so that a state is small, compares by value and packs tightly.

/// Most cells that threads can share: a footprint has a bit for each.
pub const SHARED: usize = 128;
/// Most cells of a state: the shared ones, and those of the threads.
pub(crate) const CELLS: usize = 224;

/// A shared cell: one byte, that every thread can read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(pub(crate) u8);

/// The values of all cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub(crate) [u8; CELLS]);

impl State {
    /// Returns the value of a shared cell.
    #[must_use]
    pub const fn get(&self, cell: Cell) -> u8 {
        self.0[cell.0 as usize]
    }
}

impl Default for State {
    fn default() -> Self {
        Self([0; CELLS])
    }
}

/// The shared cells that a step read and wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Bit n: cell n was read.
    pub(crate) reads: u128,
    /// Bit n: cell n was written.
    pub(crate) writes: u128,
}

impl Footprint {
    /// Returns the cells of either.
    pub(crate) const fn union(self, other: Self) -> Self {
        Self { reads: self.reads | other.reads, writes: self.writes | other.writes }
    }

    /// Returns whether the order of the two can matter.
    pub(crate) const fn conflicts(self, other: Self) -> bool {
        self.writes & (other.reads | other.writes) != 0 || other.writes & self.reads != 0
    }

    /// Returns whether every cell of `self` is in `other`.
    pub(crate) const fn within(self, other: Self) -> bool {
        self.reads & !other.reads == 0 && self.writes & !other.writes == 0
    }
}
