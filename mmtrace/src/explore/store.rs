//! The states that were seen: exact, bit-packed, found by hash.

use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher;

use crate::protocol::state::{CELLS, State};

/// A state does not fit the layout: this cell needs to hold this value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grow {
    cell: usize,
    value: u8,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    cell: u8,
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
    fields: Vec<Field>,
    words: usize,
    /// Bytes that may differ from the base.
    active: [u8; CELLS],
}

impl Packer {
    pub(super) fn new(base: &State) -> Self {
        let mut packer = Self { base: *base, max: [0; CELLS], fields: Vec::new(), words: 1, active: [0; CELLS] };
        packer.lay_out();
        packer
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
        self.fields.clear();
        let (mut word, mut shift) = (0, 0);
        for (cell, max) in self.max.iter().enumerate().filter(|(_, m)| **m != 0) {
            let width = (u8::BITS - max.leading_zeros()) as u8;
            if shift + width > 64 {
                word += 1;
                shift = 0;
            }
            self.fields.push(Field { cell: cell as u8, width, word, shift });
            self.active[cell] = u8::MAX;
            shift += width;
        }
        self.words = usize::from(word) + 1;
    }

    fn pack(&self, state: &State, out: &mut [u64]) -> Result<(), Grow> {
        out.fill(0);
        let mut over = 0;
        for f in &self.fields {
            let value = state.0[usize::from(f.cell)];
            over |= u16::from(value) >> f.width;
            out[usize::from(f.word)] |= u64::from(value) << f.shift;
        }
        let mut changed = 0;
        let chunks = state.0.chunks_exact(8).zip(self.base.0.chunks_exact(8)).zip(self.active.chunks_exact(8));
        for ((s, b), a) in chunks {
            let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
            changed |= (word(s) ^ word(b)) & !word(a);
        }
        if over == 0 && changed == 0 { Ok(()) } else { Err(self.misfit(state)) }
    }

    fn misfit(&self, state: &State) -> Grow {
        let outgrown = self.fields.iter().map(|f| (usize::from(f.cell), f.width));
        let inactive = (0..CELLS).filter(|c| self.active[*c] == 0).map(|c| (c, 0));
        let misfit = outgrown.chain(inactive).find(|(cell, width)| {
            let (value, base) = (state.0[*cell], self.base.0[*cell]);
            if *width == 0 { value != base } else { u16::from(value) >> width != 0 }
        });
        let cell = misfit.map_or(0, |(cell, _)| cell);
        Grow { cell, value: state.0[cell] }
    }

    fn unpack(&self, words: &[u64]) -> State {
        let mut state = self.base;
        for f in &self.fields {
            let mask = (1u64 << f.width) - 1;
            state.0[usize::from(f.cell)] = (words[usize::from(f.word)] >> f.shift & mask) as u8;
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

fn hash(words: &[u64]) -> u64 {
    let mut hasher = FxHasher::default();
    for word in words {
        hasher.write_u64(*word);
    }
    hasher.finish()
}

impl Store {
    pub(super) fn new(packer: Packer) -> Self {
        let scratch = vec![0; packer.words];
        Self { packer, arena: Vec::new(), index: HashTable::new(), scratch }
    }

    /// Its number, and whether it is new.
    #[inline]
    pub(super) fn insert(&mut self, state: &State) -> Result<(u32, bool), Grow> {
        let words = self.packer.words;
        self.packer.pack(state, &mut self.scratch)?;
        let (arena, scratch) = (&mut self.arena, &self.scratch);
        let at = |id: u32| id as usize * words..(id as usize + 1) * words;
        let found = self.index.entry(hash(scratch), |id| arena[at(*id)] == **scratch, |id| hash(&arena[at(*id)]));
        match found {
            hashbrown::hash_table::Entry::Occupied(entry) => Ok((*entry.get(), false)),
            hashbrown::hash_table::Entry::Vacant(entry) => {
                let id = (arena.len() / words) as u32;
                entry.insert(id);
                arena.extend_from_slice(scratch);
                Ok((id, true))
            }
        }
    }

    /// Its number, if it was seen.
    pub(super) fn find(&mut self, state: &State) -> Result<Option<u32>, Grow> {
        self.packer.pack(state, &mut self.scratch)?;
        let (words, scratch) = (self.packer.words, &self.scratch);
        let equal = |id: &u32| self.arena[*id as usize * words..(*id as usize + 1) * words] == **scratch;
        Ok(self.index.find(hash(scratch), equal).copied())
    }

    pub(super) fn get(&self, id: u32) -> State {
        let words = self.packer.words;
        self.packer.unpack(&self.arena[id as usize * words..(id as usize + 1) * words])
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
                match states.iter().try_for_each(|s| store.insert(s).map(|_| ())) {
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
