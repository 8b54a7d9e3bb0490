//! The states that were seen: exact, bit-packed, found by hash.

use hashbrown::HashTable;

use crate::protocol::state::{CELLS, State};

/// A state does not fit the layout: this cell needs to hold this value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grow {
    cell: usize,
    value: u8,
}

/// Where a cell stands in a packed state. No width: nowhere, it never changes.
#[derive(Clone, Copy, Debug, Default)]
struct Field {
    width: u8,
    word: u8,
    shift: u8,
}

/// Which cells ever change, and how many bits each needs. Cells that do not fit are found
/// when a state is packed: the search then begins again with more room, so that no
/// difference between two states is ever lost.
#[derive(Clone, Debug)]
pub(super) struct Packer {
    base: State,
    max: [u8; CELLS],
    fields: [Field; CELLS],
    words: usize,
}

impl Packer {
    pub(super) fn new(base: &State) -> Self {
        Self { base: *base, max: [0; CELLS], fields: [Field::default(); CELLS], words: 1 }
    }

    /// Makes room for a value.
    pub(super) fn grow(&mut self, grow: Grow) {
        self.max[grow.cell] |= grow.value | self.base.0[grow.cell];
        self.lay_out();
    }

    /// Makes room for a state.
    pub(super) fn learn(&mut self, state: &State) {
        for (cell, (value, base)) in state.0.iter().zip(&self.base.0).enumerate() {
            if value != base {
                self.max[cell] |= value | base;
            }
        }
    }

    pub(super) fn lay_out(&mut self) {
        let (mut word, mut shift) = (0, 0);
        for (field, max) in self.fields.iter_mut().zip(&self.max).filter(|(_, m)| **m != 0) {
            let width = (u8::BITS - max.leading_zeros()) as u8;
            if shift + width > 64 {
                word += 1;
                shift = 0;
            }
            *field = Field { width, word, shift };
            shift += width;
        }
        self.words = usize::from(word) + 1;
    }

    /// `out` is `before`, packed; makes it `after`. Looks at every cell, and packs those that differ.
    #[inline]
    fn repack(&self, before: &State, after: &State, out: &mut [u64]) -> Result<(), Grow> {
        let (was, is) = (before.0.as_chunks::<8>().0, after.0.as_chunks::<8>().0);
        for (at, (was, is)) in was.iter().zip(is).enumerate() {
            let mut changed = u64::from_le_bytes(*was) ^ u64::from_le_bytes(*is);
            while changed != 0 {
                let byte = changed.trailing_zeros() as usize / 8;
                let (cell, value) = (at * 8 + byte, is[byte]);
                let field = self.fields[cell];
                if field.width == 0 || u16::from(value) >> field.width != 0 {
                    return Err(Grow { cell, value });
                }
                out[usize::from(field.word)] ^= u64::from(value ^ was[byte]) << field.shift;
                changed &= !(0xff << (byte * 8));
            }
        }
        Ok(())
    }

    /// The base, packed.
    fn pack_base(&self, out: &mut [u64]) {
        out.fill(0);
        for (field, value) in self.fields.iter().zip(&self.base.0).filter(|(f, _)| f.width != 0) {
            out[usize::from(field.word)] |= u64::from(*value) << field.shift;
        }
    }

    fn unpack(&self, words: &[u64]) -> State {
        let mut state = self.base;
        for (value, field) in state.0.iter_mut().zip(&self.fields).filter(|(_, f)| f.width != 0) {
            let mask = (1u64 << field.width) - 1;
            *value = (words[usize::from(field.word)] >> field.shift & mask) as u8;
        }
        state
    }
}

/// The set. States are numbered in the order of their discovery.
#[derive(Debug)]
pub(super) struct Store {
    packer: Packer,
    arena: Vec<u64>,
    index: HashTable<u32>,
    scratch: Vec<u64>,
}

/// Every bit of the words moves every bit of this: fields are narrow, and the table looks at
/// the lowest bits and the highest.
#[inline]
fn hash(words: &[u64]) -> u64 {
    words.iter().fold(0x243f_6a88_85a3_08d3, |hash, word| {
        let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15;
        product as u64 ^ (product >> 64) as u64
    })
}

#[inline]
fn same(a: &[u64], b: &[u64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

impl Store {
    pub(super) fn new(packer: Packer) -> Self {
        let scratch = vec![0; packer.words];
        Self { packer, arena: Vec::new(), index: HashTable::new(), scratch }
    }

    fn packed(&self, id: u32) -> &[u64] {
        let words = self.packer.words;
        &self.arena[id as usize * words..(id as usize + 1) * words]
    }

    /// The first state, the packer's base.
    pub(super) fn first(&mut self) {
        self.packer.pack_base(&mut self.scratch);
        self.put();
    }

    /// Leaves `next` in the scratch: a state that a step has made of `state`, which has this number.
    #[inline]
    fn pack(&mut self, id: u32, state: &State, next: &State) -> Result<(), Grow> {
        let words = self.packer.words;
        self.scratch.copy_from_slice(&self.arena[id as usize * words..(id as usize + 1) * words]);
        self.packer.repack(state, next, &mut self.scratch)
    }

    #[inline]
    fn put(&mut self) -> (u32, bool) {
        let words = self.packer.words;
        let (arena, scratch) = (&mut self.arena, &self.scratch);
        let at = |id: u32| id as usize * words..(id as usize + 1) * words;
        let found = self.index.entry(hash(scratch), |id| same(&arena[at(*id)], scratch), |id| hash(&arena[at(*id)]));
        match found {
            hashbrown::hash_table::Entry::Occupied(entry) => (*entry.get(), false),
            hashbrown::hash_table::Entry::Vacant(entry) => {
                let id = (arena.len() / words) as u32;
                entry.insert(id);
                arena.extend_from_slice(scratch);
                (id, true)
            }
        }
    }

    /// The number of `next`, which a step has made of `state`, which has the number `id`; and whether it is new.
    #[inline]
    pub(super) fn insert(&mut self, id: u32, state: &State, next: &State) -> Result<(u32, bool), Grow> {
        self.pack(id, state, next)?;
        Ok(self.put())
    }

    /// The number of `next`, which a step has made of `state`, which has the number `id`; if it was seen.
    #[inline]
    pub(super) fn find(&mut self, id: u32, state: &State, next: &State) -> Result<Option<u32>, Grow> {
        self.pack(id, state, next)?;
        let scratch = &self.scratch;
        Ok(self.index.find(hash(scratch), |id| same(self.packed(*id), scratch)).copied())
    }

    pub(super) fn get(&self, id: u32) -> State {
        self.packer.unpack(self.packed(id))
    }

    pub(super) fn len(&self) -> usize {
        self.arena.len() / self.packer.words
    }

    /// Bytes that the set takes.
    pub(super) fn bytes(&self) -> usize {
        self.arena.capacity() * 8 + self.index.allocation_size()
    }

    /// Bytes of one packed state.
    pub(super) fn state_bytes(&self) -> usize {
        self.packer.words * 8
    }

    pub(super) fn into_packer(self) -> Packer {
        self.packer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Different states stay different, equal ones equal, whatever grows when.
        #[test]
        fn nothing_is_lost(changes in proptest::collection::vec((0..CELLS, any::<u8>()), 1..60)) {
            let base = State::default();
            let mut packer = Packer::new(&base);
            let mut states = vec![base];
            let mut state = base;
            for (cell, value) in changes {
                state.0[cell] = value;
                states.push(state);
            }
            let store = loop {
                let mut store = Store::new(packer.clone());
                store.first();
                let mut last = (0, base);
                let inserted = states.iter().try_for_each(|s| {
                    last = (store.insert(last.0, &last.1, s)?.0, *s);
                    Ok(())
                });
                match inserted {
                    Ok(()) => break store,
                    Err(grow) => packer.grow(grow),
                }
            };
            let mut distinct: Vec<State> = Vec::new();
            for s in &states {
                if !distinct.contains(s) {
                    distinct.push(*s);
                }
            }
            prop_assert_eq!(store.len(), distinct.len());
            for (id, s) in distinct.iter().enumerate() {
                prop_assert_eq!(store.get(id as u32), *s);
            }
        }
    }
}
