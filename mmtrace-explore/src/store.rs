//! The states that were seen. They are packed to the bits that change, found by hash, and compared whole.

use crate::system::{CELLS, State};

/// A value of a cell that has no code yet.
#[derive(Clone, Copy, Debug)]
struct Unknown {
    cell: usize,
    value: u8,
}

/// Bits of a word.
const WORD: u8 = 64;
/// Values of a byte.
const VALUES: usize = 256;
/// The pattern of a value without a code. No value has it: a cell has eight bits at most.
const UNKNOWN: u64 = u64::MAX;

/// The place of a cell's code in a packed state: in one word, each bit at a place of its own. A cell that never changes
/// has a width of 0.
#[derive(Clone, Copy, Debug, Default)]
struct Field {
    word: u8,
    width: u8,
    bits: [u8; 8],
}

/// The packing of states. Each value that a cell was seen with has a code, and a cell has as many bits as its codes
/// need. A value that was not seen before gets its code when a state with it is packed, so two different states never
/// become equal.
#[derive(Clone, Debug)]
pub(super) struct Packer {
    base: State,
    /// The bits of each value of each cell in the cell's word. The base is 0.
    patterns: Vec<u64>,
    /// The value of each code of each cell.
    values: Vec<Vec<u8>>,
    fields: [Field; CELLS],
    /// The number of used bits of each word.
    taken: Vec<u8>,
    words: usize,
    /// The groups of eight cells that the system has; the others are never written.
    used: Vec<u8>,
}

impl Packer {
    /// Packs states that differ from this one in `cells` at most.
    pub(super) fn new(base: &State, cells: impl IntoIterator<Item = usize>) -> Self {
        let mut used: Vec<u8> = cells.into_iter().map(|cell| (cell / 8) as u8).collect();
        used.dedup();
        let mut packer = Self {
            base: *base,
            patterns: vec![UNKNOWN; CELLS * VALUES],
            values: vec![Vec::new(); CELLS],
            fields: [Field::default(); CELLS],
            taken: vec![0],
            words: 1,
            used,
        };
        packer.learn(base);
        packer
    }

    /// Gives a value a code, and its cell another bit if the code needs one. Returns false if the cell's word is full: then
    /// every cell must be laid out again.
    fn add(&mut self, new: Unknown) -> bool {
        let code = self.values[new.cell].len();
        self.values[new.cell].push(new.value);
        let field = &mut self.fields[new.cell];
        if code >> field.width != 0 {
            if field.width == 0 {
                let roomiest = (0..self.words).min_by_key(|word| self.taken[*word]);
                field.word = roomiest.unwrap_or_default() as u8;
            }
            let taken = &mut self.taken[usize::from(field.word)];
            if *taken == WORD {
                return false;
            }
            field.bits[usize::from(field.width)] = *taken;
            field.width += 1;
            *taken += 1;
        }
        self.patterns[new.cell * VALUES + usize::from(new.value)] = field.pattern(code);
        true
    }

    /// Gives every value of a state a code. Returns whether one is new.
    pub(super) fn learn(&mut self, state: &State) -> bool {
        let mut new = false;
        for (cell, value) in state.0.iter().copied().enumerate() {
            if !self.values[cell].contains(&value) {
                // A full word does not matter: the cells are laid out before they are used.
                self.add(Unknown { cell, value });
                new = true;
            }
        }
        new
    }

    /// Gives each cell as many bits as it needs now, in as few words as possible, and leaves room in each word for values
    /// that come later.
    pub(super) fn lay_out(&mut self) {
        let width = |values: &Vec<u8>| (usize::BITS - (values.len() - 1).leading_zeros()) as u8;
        let mut cells: Vec<(usize, u8)> = self.values.iter().map(width).enumerate().filter(|(_, w)| *w != 0).collect();
        cells.sort_by_key(|(_, width)| std::cmp::Reverse(*width));
        let bits: usize = cells.iter().map(|(_, width)| usize::from(*width)).sum();
        self.words = bits.div_ceil(usize::from(WORD)).max(1);
        while !self.place(&cells) {
            self.words += 1;
        }
        for (cell, values) in self.values.iter().enumerate() {
            for (code, value) in values.iter().enumerate() {
                self.patterns[cell * VALUES + usize::from(*value)] = self.fields[cell].pattern(code);
            }
        }
    }

    /// Puts each cell into the word that has most room. Returns whether there was enough.
    fn place(&mut self, cells: &[(usize, u8)]) -> bool {
        self.taken = vec![0; self.words];
        self.fields = [Field::default(); CELLS];
        for (cell, width) in cells {
            let Some((word, taken)) = self.taken.iter_mut().enumerate().min_by_key(|(_, taken)| **taken) else {
                return false;
            };
            if *taken + width > WORD {
                return false;
            }
            let field = &mut self.fields[*cell];
            (field.word, field.width) = (word as u8, *width);
            for (bit, at) in field.bits.iter_mut().zip(*taken..*taken + width) {
                *bit = at;
            }
            *taken += width;
        }
        true
    }

    /// Makes `out`, which is `before` packed, into `after` packed: packs the cells that differ.
    #[inline]
    fn repack(&self, before: &State, after: &State, out: &mut [u64]) -> Result<(), Unknown> {
        let (was, is) = (before.0.as_chunks::<8>().0, after.0.as_chunks::<8>().0);
        for at in self.used.iter().map(|at| usize::from(*at)) {
            let (was, is) = (&was[at], &is[at]);
            let mut changed = u64::from_le_bytes(*was) ^ u64::from_le_bytes(*is);
            while changed != 0 {
                let byte = changed.trailing_zeros() as usize / 8;
                let (cell, value) = (at * 8 + byte, is[byte]);
                let pattern = |value: u8| self.patterns[cell * VALUES + usize::from(value)];
                let (old, new) = (pattern(was[byte]), pattern(value));
                if new == UNKNOWN {
                    return Err(Unknown { cell, value });
                }
                out[usize::from(self.fields[cell].word)] ^= old ^ new;
                changed &= !(0xff << (byte * 8));
            }
        }
        Ok(())
    }

    fn unpack(&self, words: &[u64]) -> State {
        let mut state = self.base;
        for ((value, field), values) in state.0.iter_mut().zip(&self.fields).zip(&self.values) {
            if field.width != 0 {
                *value = values[field.code(words[usize::from(field.word)])];
            }
        }
        state
    }
}

impl Field {
    fn places(&self) -> impl Iterator<Item = (usize, u8)> {
        self.bits.iter().take(usize::from(self.width)).copied().enumerate()
    }

    /// Returns the bits of a code in the word.
    fn pattern(&self, code: usize) -> u64 {
        self.places().map(|(bit, at)| (code as u64 >> bit & 1) << at).sum()
    }

    /// Returns the code that a word has.
    fn code(&self, word: u64) -> usize {
        self.places().map(|(bit, at)| ((word >> at & 1) as usize) << bit).sum()
    }
}

/// Returns a hash in which every bit of the words moves every bit: a field has few bits.
#[inline]
fn hash(words: &[u64]) -> u32 {
    let hash = words.iter().fold(0x243f_6a88_85a3_08d3, |hash, word| {
        let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15;
        product as u64 ^ (product >> 64) as u64
    });
    (hash >> 32) as u32
}

/// The numbers of states by hash, with open addressing. A slot is 0, or the hash and the number: so the table grows without a
/// look at the states, and nearly every other state is told apart without one.
#[derive(Debug)]
struct Index {
    slots: Vec<u64>,
    used: usize,
}

impl Index {
    fn new() -> Self {
        Self { slots: vec![0; 64], used: 0 }
    }

    /// Returns where the search for a hash begins. Slots have the order of the hashes, whatever the size of the table.
    #[inline]
    fn home(slots: &[u64], hash: u32) -> usize {
        ((u64::from(hash) * slots.len() as u64) >> 32) as usize
    }

    /// Returns the slot where the search for a hash begins.
    #[inline]
    fn first(&self, hash: u32) -> u64 {
        self.slots[Self::home(&self.slots, hash)]
    }

    /// Returns the number with this hash for which `is_it` is true, or the slot where it would be.
    #[inline]
    fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let mut at = Self::home(&self.slots, hash);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return Err(at);
            }
            if (slot >> 32) as u32 == hash && is_it(slot as u32 - 1) {
                return Ok(slot as u32 - 1);
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }

    /// Puts a number into the slot where it was not found.
    #[inline]
    fn add(&mut self, at: usize, hash: u32, id: u32) {
        self.slots[at] = u64::from(hash) << 32 | u64::from(id + 1);
        self.used += 1;
        if self.used > self.slots.len() / 4 * 3 {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let mut slots = vec![0; self.slots.len() * 2];
        for slot in self.slots.iter().filter(|s| **s != 0) {
            let mut at = Self::home(&slots, (slot >> 32) as u32);
            while slots[at] != 0 {
                at = (at + 1) % slots.len();
            }
            slots[at] = *slot;
        }
        self.slots = slots;
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.used = 0;
    }
}

/// The set of states. They are numbered in the order in which they were found.
#[derive(Debug)]
pub(super) struct Store {
    packer: Packer,
    arena: Vec<u64>,
    index: Index,
    /// Packed states that are being looked up, and their hashes.
    scratch: Vec<u64>,
    hashes: Vec<u32>,
    firsts: Vec<u64>,
}

#[inline]
fn same(a: &[u64], b: &[u64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

impl Store {
    /// Has the base alone, with the number 0.
    pub(super) fn new(packer: Packer) -> Self {
        let base = vec![0; packer.words];
        let (arena, index) = (Vec::new(), Index::new());
        let mut store = Self { packer, arena, index, scratch: Vec::new(), hashes: Vec::new(), firsts: Vec::new() };
        store.put(hash(&base), &base);
        store
    }

    fn packed(&self, id: u32) -> &[u64] {
        let words = self.packer.words;
        &self.arena[id as usize * words..(id as usize + 1) * words]
    }

    /// Packs the states of `next` into the scratch, one after the other. Steps have made them of `state`, which has this
    /// number.
    #[inline]
    fn pack<T>(&mut self, id: u32, state: &State, next: &[T], of: impl Fn(&T) -> &State) {
        'again: loop {
            let words = self.packer.words;
            let parent = id as usize * words..(id as usize + 1) * words;
            self.scratch.clear();
            for next in next {
                let at = self.scratch.len();
                // A few words take less time than a call of memcpy().
                for word in &self.arena[parent.clone()] {
                    self.scratch.push(*word);
                }
                if let Err(unknown) = self.packer.repack(state, of(next), &mut self.scratch[at..]) {
                    self.grow(unknown);
                    continue 'again;
                }
            }
            return;
        }
    }

    /// Gives a value its code. All states are packed again if the cell's word is full.
    #[cold]
    fn grow(&mut self, unknown: Unknown) {
        // In the packed states a new bit is 0, as it is in the codes that they have.
        let old = self.packer.clone();
        if self.packer.add(unknown) {
            return;
        }
        self.packer.lay_out();
        let arena = std::mem::take(&mut self.arena);
        self.index.clear();
        let mut packed = vec![0; self.packer.words];
        for words in arena.chunks_exact(old.words) {
            packed.fill(0);
            let state = old.unpack(words);
            // Every value has a code, since it was unpacked from one.
            let known = self.packer.repack(&old.base, &state, &mut packed);
            debug_assert!(known.is_ok(), "{known:?}");
            self.put(hash(&packed), &packed);
        }
    }

    #[inline]
    fn put(&mut self, hash: u32, packed: &[u64]) -> (u32, bool) {
        match self.index.find(hash, |id| same(self.packed(id), packed)) {
            Ok(id) => (id, false),
            Err(slot) => {
                let id = self.len() as u32;
                self.arena.extend_from_slice(packed);
                self.index.add(slot, hash, id);
                (id, true)
            }
        }
    }

    /// Inserts `next`, which a step has made of `state`, which has the number `id`. Returns its number, and whether it is
    /// new.
    #[inline]
    pub(super) fn insert(&mut self, id: u32, state: &State, next: &State) -> (u32, bool) {
        self.pack(id, state, std::slice::from_ref(next), |next| next);
        let packed = std::mem::take(&mut self.scratch);
        let put = self.put(hash(&packed), &packed);
        self.scratch = packed;
        put
    }

    /// Inserts several, in their order, as [`Store::insert`] does. `put` gets what that returns of each.
    ///
    /// The memory that a look-up reads is seldom in a cache. It is read first for all, in loops that do nothing else, so that
    /// the processor waits for many places at once instead of one after the other.
    #[inline]
    pub(super) fn insert_all<T>(
        &mut self,
        id: u32,
        state: &State,
        next: &[T],
        of: impl Fn(&T) -> &State,
        put: &mut Vec<(u32, bool)>,
    ) {
        self.pack(id, state, next, of);
        let words = self.packer.words;
        let packed = std::mem::take(&mut self.scratch);
        self.hashes.clear();
        self.hashes.extend(packed.chunks_exact(words).map(hash));
        let mut seen = 0;
        for hash in &self.hashes {
            let slot = self.index.first(*hash);
            self.firsts.push(slot);
        }
        for slot in self.firsts.drain(..) {
            // An empty slot reads the state with the number 0, which does no harm.
            seen ^= self.arena[(slot as u32).saturating_sub(1) as usize * words];
        }
        std::hint::black_box(seen);
        put.clear();
        for (at, packed) in packed.chunks_exact(words).enumerate() {
            put.push(self.put(self.hashes[at], packed));
        }
        self.scratch = packed;
    }

    /// Returns the number of `next`, if it was seen. A step has made it of `state`, which has the number `id`.
    #[inline]
    pub(super) fn find(&mut self, id: u32, state: &State, next: &State) -> Option<u32> {
        self.pack(id, state, std::slice::from_ref(next), |next| next);
        self.index.find(hash(&self.scratch), |id| same(self.packed(id), &self.scratch)).ok()
    }

    pub(super) fn get(&self, id: u32) -> State {
        self.packer.unpack(self.packed(id))
    }

    pub(super) fn len(&self) -> usize {
        self.arena.len() / self.packer.words
    }

    /// Returns the bytes of the set.
    pub(super) fn bytes(&self) -> usize {
        (self.arena.capacity() + self.index.slots.capacity()) * size_of::<u64>()
    }

    /// Returns the bytes of one packed state.
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
        /// Different states stay different and equal ones equal, whenever a cell gets another bit.
        #[test]
        fn nothing_is_lost(changes in proptest::collection::vec((0..CELLS, any::<u8>()), 1..60)) {
            let base = State::default();
            let mut state = base;
            let mut states = vec![base];
            for (cell, value) in changes {
                state.0[cell] = value;
                states.push(state);
            }
            let mut packer = Packer::new(&base, 0..CELLS);
            packer.lay_out();
            let mut store = Store::new(packer);
            let mut last = (0, base);
            for s in &states {
                last = (store.insert(last.0, &last.1, s).0, *s);
            }
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
