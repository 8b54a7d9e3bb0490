//! The mappings of one mm: which address belongs to which. What was stored last is there.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included},
    sync::Arc,
};

use super::mapping::{Backing, Doing, Mapping, VM_GROWSDOWN};

/// Mappings that are followed, in one mm. An mm that has more is unknown.
const PIECES_MAX: usize = 1 << 16;
/// Ranges that are found again at once.
const RECENT: usize = 4;
/// Ranges that are looked through for a VMA that is registered with userfaultfd. Where there are more, the label does not
/// say that a mapping was registered.
const REGISTER_MAX: usize = 1 << 10;

/// A range of addresses that belongs to a mapping. A mapping may consist of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Last address, inclusive.
    end: u64,
    /// Time when it was stored; if only a reading has shown it, the time when that began. Nanoseconds.
    stored: u64,
    /// Time when the last reading began that has shown it, nanoseconds; 0: none has.
    read: u64,
    mapping: Mapping,
}

/// A mapping where an address lies, with the range that is known to belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The mapping.
    pub mapping: Mapping,
    /// First address.
    pub start: u64,
    /// Last address, inclusive.
    pub end: u64,
    only_read: Option<u64>,
    /// When the last reading began that showed it, nanoseconds; 0: none.
    read: u64,
}

impl Found {
    /// Returns the time when the reading of /proc/PID/maps began that showed the mapping, nanoseconds, if no store of
    /// it was seen.
    #[must_use]
    pub(crate) const fn only_read(&self) -> Option<u64> {
        self.only_read
    }

    /// Whether a reading has shown the mapping that began after this time, nanoseconds: the name that it has, or has not,
    /// is that of then.
    pub(super) const fn was_read_after(&self, ts: u64) -> bool {
        self.read > ts
    }
}

fn found(start: u64, piece: &Piece) -> Found {
    let only_read = (piece.stored == piece.read).then_some(piece.read);
    Found { mapping: piece.mapping, start, end: piece.end, only_read, read: piece.read }
}

/// Mapping that an address belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// Not known.
    #[default]
    Unknown,
    /// No mapping.
    Outside,
    /// A mapping.
    Mapping(Found),
}

/// The mappings of one mm. An empty map knows nothing.
///
/// A copy shares the ranges until one of the two changes.
#[derive(Clone, Debug, Default)]
pub(super) struct AddressMap {
    pieces: Arc<BTreeMap<u64, Piece>>,
    /// What was found last, by [`AddressMap::find`]; the oldest is replaced next.
    recent: [Option<Found>; RECENT],
    oldest: usize,
    /// Every mapping is in `pieces`. Some that are there may be gone: munmap() stores an empty range by a function that
    /// emits no event.
    whole: bool,
    /// It has more mappings than are followed.
    too_many: bool,
}

impl AddressMap {
    /// Returns what an address belongs to, and finds it again at once until something changes: most faults are in few
    /// mappings, by few instructions.
    #[inline]
    pub(super) fn find(&mut self, addr: u64) -> At {
        if let Some(found) = self.recent(addr) {
            return At::Mapping(*found);
        }
        let at = self.search(addr);
        if let At::Mapping(found) = at
            && found.start <= addr
        {
            self.recent[self.oldest] = Some(found);
            self.oldest = (self.oldest + 1) % RECENT;
        }
        at
    }

    /// Whether it is known what an address belongs to. As [`AddressMap::find`].
    #[inline]
    pub(super) fn finds(&mut self, addr: u64) -> bool {
        self.recent(addr).is_some() || self.find(addr) != At::Unknown
    }

    /// Returns what an address belongs to.
    #[inline]
    pub(super) fn at(&self, addr: u64) -> At {
        self.recent(addr).map_or_else(|| self.search(addr), |found| At::Mapping(*found))
    }

    #[inline]
    fn recent(&self, addr: u64) -> Option<&Found> {
        self.recent.iter().flatten().find(|found| found.start <= addr && addr <= found.end)
    }

    fn search(&self, addr: u64) -> At {
        if let Some((start, piece)) = self.pieces.range(..=addr).next_back()
            && addr <= piece.end
        {
            return At::Mapping(found(*start, piece));
        }
        if !self.whole {
            return At::Unknown;
        }
        // The kernel takes the mapping above: if that grows downwards, it is extended (mm/mmap_lock.c:
        // lock_mm_and_find_vma).
        match self.pieces.range(addr..).next() {
            Some((start, piece)) if piece.mapping.vm_flags & VM_GROWSDOWN != 0 => At::Mapping(found(*start, piece)),
            _ => At::Outside,
        }
    }

    /// Returns how many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether a reading of /proc/PID/maps would be of use.
    pub(super) const fn can_be_read(&self) -> bool {
        !self.too_many
    }

    /// Whether every mapping is known.
    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    /// The ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64, &Mapping)> {
        self.pieces.iter().map(|(start, piece)| (*start, piece.end, &piece.mapping))
    }

    /// The ranges within `[start, end]`, cut to that, in order.
    pub(super) fn between(&self, start: u64, end: u64) -> impl Iterator<Item = Found> {
        let first = self.pieces.range(..=start).next_back().filter(|(_, piece)| piece.end >= start && start <= end);
        let from = first.map_or(start, |(at, _)| *at);
        // A range that ends before it begins has nothing.
        let pieces = (start <= end).then(|| self.pieces.range(from..=end));
        let cut = move |(at, piece): (&u64, &Piece)| {
            let found = found(*at, piece);
            Found { start: found.start.max(start), end: found.end.min(end), ..found }
        };
        pieces.into_iter().flatten().map(cut)
    }

    /// The first mapping in `[start, end]`, and how many ranges there are in all.
    pub(super) fn within(&self, start: u64, end: u64) -> Option<(Found, usize)> {
        if end <= start {
            return None;
        }
        let before = self.pieces.range(..=start).next_back().filter(|(_, piece)| piece.end >= start);
        let mut pieces = before.into_iter().chain(self.pieces.range((Excluded(start), Included(end))));
        let (first, piece) = pieces.next()?;
        Some((found(*first, piece), 1 + pieces.count()))
    }

    /// Forgets everything, and follows nothing any more.
    fn give_up(&mut self) {
        *self = Self { too_many: true, ..Self::default() };
    }

    /// The VMA tree has this mapping over `[start, end]` from now on; `None`: nothing.
    pub(super) fn store(&mut self, start: u64, end: u64, mapping: Option<Mapping>, doing: Doing, ts: u64) {
        if self.too_many || end < start {
            return;
        }
        if self.pieces.len() >= PIECES_MAX {
            self.give_up();
            return;
        }
        let before = start.checked_sub(1).and_then(|addr| self.piece(addr));
        let below = self.cut_out(start, end, mapping.is_some());
        let Some(mut mapping) = mapping else { return };
        let changes = matches!(doing, Doing::Changes | Doing::Names);
        let heap = |piece: &Piece| piece.mapping.backing == Backing::Heap;
        if mapping.backing == Backing::Anonymous {
            let was_heap = !below.is_empty() && below.iter().all(|(_, piece)| heap(piece));
            if doing == Doing::Heap || changes && was_heap {
                mapping.backing = Backing::Heap;
            }
        }
        // A mapping that grows, shrinks, is split or merged stays the same one, if it has the same kind of memory.
        let old = below.iter().map(|(_, piece)| piece).chain(before.as_ref().filter(|_| below.is_empty()));
        if let Some(old) = old.map(|piece| &piece.mapping).find(|old| old.continues(&mapping)) {
            if below.iter().any(|(_, piece)| piece.mapping.id == old.id) {
                mapping.id = old.id;
            }
            if changes {
                mapping.name = old.name;
            }
        }
        self.insert(start, Piece { end, stored: ts, read: 0, mapping });
    }

    /// A reading that began at `since` has shown this mapping over `[start, end]`. What was stored later stays.
    pub(super) fn read(&mut self, start: u64, end: u64, mapping: Mapping, since: u64, later: impl Fn(u64) -> bool) {
        if self.too_many || end < start {
            return;
        }
        if self.pieces.len() >= PIECES_MAX {
            self.give_up();
            return;
        }
        let below = self.cut_out(start, end, true);
        let new = |end: u64| Piece { end, stored: since, read: since, mapping };
        let mut next = Some(start);
        for (from, piece) in below {
            if let Some(next) = next.filter(|next| *next < from) {
                self.insert(next, new(from - 1));
            }
            let is_same = piece.mapping.continues(&mapping)
                || piece.mapping.backing == Backing::Anonymous && mapping.backing == Backing::Heap;
            let piece = if later(piece.stored) {
                piece
            } else if is_same {
                let (backing, name) = (mapping.backing, mapping.name);
                Piece { read: since, mapping: Mapping { backing, name, ..piece.mapping }, ..piece }
            } else {
                new(piece.end)
            };
            self.insert(from, piece);
            next = piece.end.checked_add(1);
        }
        if let Some(next) = next.filter(|next| *next <= end) {
            self.insert(next, new(end));
        }
    }

    /// A reading is over that began at `since`. If it was whole, what it has not shown and what was not stored later is
    /// gone.
    pub(super) fn was_read(&mut self, since: u64, whole: bool, later: impl Fn(u64) -> bool) {
        if self.too_many || !whole {
            return;
        }
        self.whole = true;
        if self.pieces.values().any(|piece| piece.read != since && !later(piece.stored)) {
            self.pieces_mut().retain(|_, piece| piece.read == since || later(piece.stored));
        }
    }

    /// A VMA is about to have these flags.
    pub(super) fn register(&mut self, vma: u64, vm_flags: u64) {
        // The event does not say where the VMA is, and one call may register them all.
        if self.pieces.len() <= REGISTER_MAX && self.pieces.values().any(|piece| piece.mapping.vma == vma) {
            let pieces = self.pieces_mut().values_mut();
            pieces.filter(|piece| piece.mapping.vma == vma).for_each(|piece| piece.mapping.register(vm_flags));
        }
    }

    /// Returns the first mapping above an address.
    pub(super) fn above(&self, addr: u64) -> Option<Found> {
        self.pieces.range(addr..).next().map(|(start, piece)| found(*start, piece))
    }

    /// The ranges, to change them.
    fn pieces_mut(&mut self) -> &mut BTreeMap<u64, Piece> {
        self.recent = Default::default();
        Arc::make_mut(&mut self.pieces)
    }

    fn piece(&self, addr: u64) -> Option<Piece> {
        let (_, piece) = self.pieces.range(..=addr).next_back()?;
        (addr <= piece.end).then_some(*piece)
    }

    fn insert(&mut self, start: u64, piece: Piece) {
        self.pieces_mut().insert(start, piece);
    }

    /// Takes the pieces within `[start, end]` out, cut to that range, in order. If `is_replaced`, the caller puts another one at
    /// `start`, in the place of one that is there.
    fn cut_out(&mut self, start: u64, end: u64, is_replaced: bool) -> Vec<(u64, Piece)> {
        let mut found: Vec<(u64, Piece)> =
            self.pieces.range(..=end).rev().take_while(|(_, p)| p.end >= start).map(|(s, p)| (*s, *p)).collect();
        if found.is_empty() {
            return found;
        }
        found.reverse();
        let pieces = self.pieces_mut();
        for (from, piece) in &mut found {
            if *from < start {
                if let Some(front) = pieces.get_mut(from) {
                    front.end = start - 1;
                }
                *from = start;
            } else if *from > start || !is_replaced {
                pieces.remove(from);
            }
            if piece.end > end {
                pieces.insert(end + 1, *piece);
                piece.end = end;
            }
        }
        found
    }
}
