//! A map that finds again at once what it found last: most events are of few tasks, on few mms.

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// What a [`RecentMap`] is asked by.
pub(crate) trait Key: Copy + Eq + Hash {
    /// Returns a number that mostly differs for keys that are asked for in turns.
    fn number(self) -> u64;
}

impl Key for u32 {
    #[inline]
    fn number(self) -> u64 {
        self.into()
    }
}

impl Key for u64 {
    #[inline]
    fn number(self) -> u64 {
        self
    }
}

/// A hash map whose rows lie in one list, with the places where the last ones were found. Asking for one of those takes a
/// comparison in place of a search. There is room for `RECENT` of them, a power of two: by default for more tasks than most
/// machines have CPUs.
///
/// Rows have no order.
#[derive(Clone, Debug)]
pub(crate) struct RecentMap<K, V, const RECENT: usize = 64> {
    rows: Vec<(K, V)>,
    places: FxHashMap<K, u32>,
    /// Places where rows were found. One may be of another row by now, or of none.
    recent: [u32; RECENT],
}

impl<K, V, const RECENT: usize> Default for RecentMap<K, V, RECENT> {
    fn default() -> Self {
        Self { rows: Vec::new(), places: FxHashMap::default(), recent: [0; RECENT] }
    }
}

impl<K: Key, V, const RECENT: usize> RecentMap<K, V, RECENT> {
    #[inline(always)]
    fn slot(key: K) -> usize {
        // Fibonacci hashing: neighbours go to different slots, and so do pointers to objects of one slab.
        (key.number().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - RECENT.ilog2())) as usize
    }

    /// Returns the place of a row, if it is among the last ones.
    #[inline(always)]
    fn recent(&self, key: K) -> Option<usize> {
        let at = self.recent[Self::slot(key)] as usize;
        self.rows.get(at).is_some_and(|(of, _)| *of == key).then_some(at)
    }

    #[inline(always)]
    fn find(&mut self, key: K) -> Option<usize> {
        self.recent(key).or_else(|| self.search(key))
    }

    #[inline(never)]
    fn search(&mut self, key: K) -> Option<usize> {
        let at = *self.places.get(&key)?;
        self.recent[Self::slot(key)] = at;
        Some(at as usize)
    }

    #[inline(never)]
    fn push(&mut self, key: K, value: V) -> usize {
        let at = self.rows.len();
        self.rows.push((key, value));
        self.places.insert(key, at as u32);
        self.recent[Self::slot(key)] = at as u32;
        at
    }

    /// Returns the value of a key.
    #[inline]
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        let at = self.place(key)?;
        Some(&self.rows[at].1)
    }

    /// Returns the value of a key.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.find(key)?;
        Some(&mut self.rows[at].1)
    }

    /// Whether a key has a value.
    pub(crate) fn contains_key(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    /// Returns the value of a key, which `make` makes if there is none.
    #[inline]
    pub(crate) fn or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.find(key) {
            Some(at) => at,
            None => self.push(key, make()),
        };
        &mut self.rows[at].1
    }

    /// Returns the value of a key, at first the default. `make_room` is called before there are more than `most` rows.
    ///
    /// What is not among the last rows is found by a call: the model asks several of these maps about each event.
    #[inline(always)]
    pub(crate) fn or_default_within(&mut self, key: K, most: usize, make_room: impl FnOnce(&mut Self)) -> &mut V
    where
        V: Default,
    {
        let at = match self.recent(key) {
            Some(at) => at,
            None => self.search_or_default(key, most, make_room),
        };
        &mut self.rows[at].1
    }

    #[inline(never)]
    fn search_or_default(&mut self, key: K, most: usize, make_room: impl FnOnce(&mut Self)) -> usize
    where
        V: Default,
    {
        self.search(key).unwrap_or_else(|| {
            if self.rows.len() >= most {
                make_room(self);
            }
            self.push(key, V::default())
        })
    }

    /// Returns the place of a row. The row stays there until a row is taken out.
    #[inline]
    pub(crate) fn place(&self, key: K) -> Option<usize> {
        self.recent(key).or_else(|| Some(*self.places.get(&key)? as usize))
    }

    /// Returns the value of the row at a place.
    #[inline(always)]
    pub(crate) fn at_place(&mut self, place: usize) -> Option<&mut V> {
        self.rows.get_mut(place).map(|(_, value)| value)
    }

    /// Sets the value of a key. Returns the one that it had.
    #[inline]
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(at) = self.find(key) {
            return Some(std::mem::replace(&mut self.rows[at].1, value));
        }
        self.push(key, value);
        None
    }

    /// Takes the value of a key out.
    #[inline]
    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.places.remove(&key)?;
        let (_, value) = self.rows.swap_remove(at as usize);
        if let Some((moved, _)) = self.rows.get(at as usize) {
            self.places.insert(*moved, at);
        }
        Some(value)
    }

    /// Keeps the rows for which this is true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.rows.retain_mut(|(key, value)| keep(key, value));
        self.places = self.rows.iter().zip(0..).map(|((key, _), at)| (*key, at)).collect();
    }
}

impl<K, V, const RECENT: usize> RecentMap<K, V, RECENT> {
    /// Returns the number of rows.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Forgets all rows.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.places.clear();
    }

    /// Returns all rows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, value)| (key, value))
    }

    /// Returns all keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.rows.iter().map(|(key, _)| key)
    }

    /// Returns all values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.rows.iter().map(|(_, value)| value)
    }

    /// Returns all values.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.rows.iter_mut().map(|(_, value)| value)
    }

    /// Takes all rows out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        self.places.clear();
        self.rows.drain(..)
    }
}

impl<K: Key, V, const RECENT: usize> FromIterator<(K, V)> for RecentMap<K, V, RECENT> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(rows: I) -> Self {
        let mut map = Self::default();
        for (key, value) in rows {
            map.insert(key, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern.
    fn numbers() -> impl Iterator<Item = u64> {
        std::iter::successors(Some(1_u64), |n| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
            .map(|n| n >> 33)
    }

    #[test]
    fn it_is_a_map() {
        let (mut map, mut plain) = (RecentMap::<u32, u64>::default(), FxHashMap::default());
        for (n, random) in numbers().take(100_000).enumerate() {
            // Some two hundred keys, more than are found at once.
            let (key, value) = ((random % 211) as u32, n as u64);
            match random / 211 % 5 {
                0 => assert_eq!(map.insert(key, value), plain.insert(key, value)),
                1 => assert_eq!(map.remove(key), plain.remove(&key)),
                2 => assert_eq!(map.get_mut(key), plain.get_mut(&key)),
                3 => assert_eq!(map.or_insert_with(key, || value), plain.entry(key).or_insert(value)),
                _ => assert_eq!(map.get(key), plain.get(&key)),
            }
            if n % 10_000 == 9_999 {
                map.retain(|key, value| !(u64::from(*key) + *value).is_multiple_of(3));
                plain.retain(|key, value| !(u64::from(*key) + *value).is_multiple_of(3));
            }
            assert_eq!(map.len(), plain.len());
        }
        assert_eq!(map.iter().map(|(key, value)| (*key, *value)).collect::<FxHashMap<_, _>>(), plain);
        assert_eq!(map.drain().count(), plain.len());
        assert!(plain.keys().all(|key| map.get(*key).is_none()));
    }

    #[test]
    fn there_is_room_made_before_a_row_too_many() {
        let mut map = RecentMap::<u32, u64>::default();
        for key in 0..1000 {
            *map.or_default_within(key, 10, RecentMap::clear) += 1;
            assert!(map.len() <= 10);
        }
        assert_eq!(*map.or_default_within(999, 10, RecentMap::clear), 1, "it is there already");
    }
}
