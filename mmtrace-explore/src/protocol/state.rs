//! One state of a small system: a row of bytes.
//!
//! A byte is a *cell*: a lock word, an entry of a page table, a thread's position. A
//! scenario allocates the cells that it needs ([`World`](super::World) remembers what
//! they mean), so that states are small, compare by value and pack tightly.

/// Cells that threads share: as many as fit a footprint.
pub const SHARED: usize = 128;
/// Cells in all.
pub const CELLS: usize = 224;

/// A shared cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(pub(crate) u8);

/// The values of all cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub(crate) [u8; CELLS]);

impl Default for State {
    fn default() -> Self {
        Self([0; CELLS])
    }
}

/// The shared cells that a step looked at and changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bit n: cell n was read.
    pub reads: u128,
    /// Bit n: cell n was written.
    pub writes: u128,
}

impl Footprint {
    /// Both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self { reads: self.reads | other.reads, writes: self.writes | other.writes }
    }

    /// Whether the order of the two can matter.
    #[must_use]
    pub const fn conflicts(self, other: Self) -> bool {
        self.writes & (other.reads | other.writes) != 0 || other.writes & self.reads != 0
    }

    /// Whether everything of `self` is in `other`.
    #[must_use]
    pub const fn within(self, other: Self) -> bool {
        self.reads & !other.reads == 0 && self.writes & !other.writes == 0
    }
}
