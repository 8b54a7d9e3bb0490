//! SC-1.1 `m.rw+pte+pmd` with more of everything.

use crate::protocol::World;

/// x
#[must_use]
pub fn enlarged(writers: usize, slots: u8, tables: u8) -> World {
    let _ = (writers, slots, tables);
    World::new()
}
