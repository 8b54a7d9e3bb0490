//! Faults by mapping.
//!
//! Mappings of one label in processes of one name are one row. While an mm lives, its mappings are counted one by one,
//! so that they go to the row of the name that they have in the end.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{callers::Causes, recent_faults::PlaceInMm};
use crate::{
    model::{
        effect::{Effect, Fault, What},
        faults::address_space::Cause,
        mappings::{At, Found, Label, MappingId, Mappings, Of},
    },
    names::{Comm, Tasks, ThreadId},
    recent_map::{Key, RecentMap},
};

/// Mappings, and what stands for them, that are counted one by one, over all mms.
const LIVE_MAX: usize = 1 << 12;
/// Mappings that are known to be in their rows' numbers while they live, over all mms.
const COUNTED_MAX: usize = 1 << 17;
/// Pages whose faults wait for the mappings of their mm to be read, over all mms.
const PENDING_MAX: usize = 1 << 14;
/// Rows that tell processes apart by name. As many again tell mappings apart alone.
const ROWS_MAX: usize = 1 << 12;

/// Place in one mm for which faults are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    Unknown,
    Outside,
    Kernel,
    Mapping(MappingId),
}

impl Place {
    const fn mapping(&self) -> Option<MappingId> {
        match self {
            Self::Mapping(id) => Some(*id),
            Self::Unknown | Self::Outside | Self::Kernel => None,
        }
    }
}

impl Key for Place {
    #[inline]
    fn number(self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Outside => 1,
            Self::Kernel => 2,
            Self::Mapping(id) => id.number(),
        }
    }
}

/// Faults in one mapping.
#[derive(Clone, Copy, Debug)]
struct Live {
    causes: Causes,
    /// First and last address that it had at most of its faults: a mapping can be split, and its parts fault in turns. If
    /// it never kept its addresses for long, some that it had.
    range: (u64, u64),
    /// Faults with those addresses that others have not outweighed (Boyer and Moore's vote).
    votes: u64,
    /// Its first address as of the last fault.
    start: u64,
    label: Label,
}

impl Live {
    /// Counts faults in the mapping, which has these addresses now.
    #[inline]
    const fn add(&mut self, range: (u64, u64), cause: Cause, n: u64) {
        if self.range.0 == range.0 && self.range.1 == range.1 {
            self.votes = self.votes.saturating_add(n);
        } else if self.votes > n {
            self.votes -= n;
        } else {
            (self.range, self.votes) = (range, n - self.votes);
        }
        self.start = range.0;
        self.causes[cause as usize] += n;
    }
}

/// Faults in one mm.
#[derive(Clone, Debug, Default)]
struct Mm {
    /// A thread of the process that faulted last.
    process: Option<ThreadId>,
    live: RecentMap<Place, Live, 8>,
    /// Pages with faults where nothing is known yet.
    pending: usize,
}

/// The mapping of a row that has most faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Top {
    /// Its faults.
    pub(crate) count: u64,
    /// First address.
    pub(crate) start: u64,
    /// Last address, inclusive.
    pub(crate) end: u64,
    /// Its mm, as a kernel pointer.
    pub(crate) mm: u64,
}

/// The faults of one row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// By cause, in the order of [`Cause::ALL`].
    pub(crate) causes: Causes,
    /// Number of mappings. Where more than 131,072 were counted, one that lives on may count again.
    pub(crate) mappings: u64,
    /// The one with most faults; absent of what is no mapping.
    pub(crate) top: Option<Top>,
}

impl Default for Row {
    fn default() -> Self {
        Self { causes: [0; Cause::ALL.len()], mappings: 0, top: None }
    }
}

impl Row {
    /// `is_new`: a mapping that is not in the number yet.
    fn add(&mut self, causes: &Causes, top: Option<Top>, is_new: bool) {
        self.causes.iter_mut().zip(causes).for_each(|(sum, n)| *sum += n);
        if let Some(top) = top {
            self.mappings += u64::from(is_new);
            if self.top.is_none_or(|old| (old.count, top.start) < (top.count, old.start)) {
                self.top = Some(top);
            }
        }
    }

    /// Faults of the row.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.causes.iter().sum()
    }
}

/// Rows by process name and label.
pub(crate) type Rows = FxHashMap<(Option<Comm>, Label), Row>;

/// Faults by mapping.
#[derive(Clone, Debug, Default)]
pub(crate) struct MappedFaults {
    mms: RecentMap<u64, Mm>,
    /// Faults where nothing is known yet, by mm, page and cause. A table for each mm would take ten times as much memory
    /// where there are many mms.
    pending: FxHashMap<(u64, u64, Cause), u64>,
    rows: Rows,
    live: usize,
    /// Number of times that mms were taken out.
    moves: u64,
    /// Mappings that are in the numbers of `rows`, and may fault again.
    counted: FxHashSet<MappingId>,
}

impl MappedFaults {
    /// Takes what an event came to, but for its faults.
    #[inline]
    pub(crate) fn apply(&mut self, effect: &Effect, mappings: &Mappings, names: &Tasks) {
        match effect.what {
            What::MapsRead { since } => self.resolve(effect.mm, since, mappings, names),
            What::Unmapped => self.settle(effect.mm, mappings, names),
            _ => {}
        }
    }

    /// Makes room for another mapping. That is due before each fault.
    #[inline]
    pub(super) fn make_room(&mut self, mappings: &Mappings, names: &Tasks) {
        if self.live >= LIVE_MAX {
            self.settle_all(mappings, names);
        }
    }

    /// Returns a number that grows when rows are taken out.
    #[inline]
    pub(super) const fn moves(&self) -> u64 {
        self.moves
    }

    /// Returns the place of the row that counts faults in a mapping.
    pub(super) fn place(&self, mm: u64, found: &Found) -> Option<PlaceInMm> {
        let of = self.mms.get(mm)?;
        let row = of.live.place(Place::Mapping(found.mapping.id))?;
        Some(PlaceInMm { mm: self.mms.place(mm)?, row })
    }

    /// Counts a fault of a thread in the row at a place.
    #[inline]
    pub(super) fn fault_at(&mut self, place: PlaceInMm, found: &Found, cause: Cause, thread: ThreadId) {
        let Some(of) = self.mms.at_place(place.mm) else { return };
        of.process = Some(thread);
        if let Some(live) = of.live.at_place(place.row) {
            live.add((found.start, found.end), cause, 1);
        }
    }

    /// Counts a fault of a thread.
    pub(crate) fn fault(&mut self, fault: &Fault, thread: ThreadId, mappings: &Mappings, names: &Tasks) {
        let Fault { mm, addr, at, cause, .. } = *fault;
        self.make_room(mappings, names);
        let of = self.mms.or_insert_with(mm, Mm::default);
        of.process = Some(thread);
        let (place, range) = match at {
            At::Mapping(found) => (Place::Mapping(found.mapping.id), (found.start, found.end)),
            At::Outside => (Place::Outside, (0, 0)),
            At::Unknown if addr >> 63 != 0 => (Place::Kernel, (0, 0)),
            At::Unknown if mm != 0 && self.pending.len() < PENDING_MAX => {
                *self.pending.entry((mm, addr & !0xfff, cause)).or_insert_with(|| {
                    of.pending += 1;
                    0
                }) += 1;
                return;
            }
            At::Unknown => (Place::Unknown, (0, 0)),
        };
        let label = || match place {
            Place::Kernel => Label::of(Of::Kernel),
            _ => mappings.label(mm, at),
        };
        count(of, &mut self.live, place, range, label, cause, 1);
    }

    /// The mappings of an mm have been read. A page that lies in a mapping which only the reading has shown was in it all
    /// along: a mapping that took the place of another one would have been stored.
    fn resolve(&mut self, mm: u64, since: u64, mappings: &Mappings, names: &Tasks) {
        let Some(of) = self.mms.get_mut(mm) else { return };
        if std::mem::take(&mut of.pending) == 0 {
            return;
        }
        for ((_, page, cause), n) in self.pending.extract_if(|(of, ..), _| *of == mm) {
            let at = mappings.at(mm, page);
            let (place, range, label) = match at {
                At::Mapping(found) if found.only_read() == Some(since) => {
                    (Place::Mapping(found.mapping.id), (found.start, found.end), mappings.label(mm, at))
                }
                _ => (Place::Unknown, (0, 0), Label::of(Of::Unknown)),
            };
            count(of, &mut self.live, place, range, || label, cause, n);
        }
        if self.live >= LIVE_MAX {
            self.settle_all(mappings, names);
        }
    }

    /// Puts the mappings of an mm into their rows.
    fn settle(&mut self, mm: u64, mappings: &Mappings, names: &Tasks) {
        let Some(of) = self.mms.remove(mm) else { return };
        self.moves += 1;
        self.live = self.live.saturating_sub(of.live.len());
        if of.pending > 0 {
            let mut causes = [0; Cause::ALL.len()];
            self.pending.extract_if(|(of, ..), _| *of == mm).for_each(|((.., cause), n)| causes[cause as usize] += n);
            put_pending(&of, &causes, &mut self.rows, names);
        }
        put(mm, &of, &mut self.rows, &self.counted, mappings, names);
        for id in of.live.keys().filter_map(Place::mapping) {
            self.counted.remove(&id);
        }
    }

    fn settle_all(&mut self, mappings: &Mappings, names: &Tasks) {
        let mms = std::mem::take(&mut self.mms);
        self.moves += 1;
        put_all_pending(self.pending.drain(), &mms, &mut self.rows, names);
        for (mm, of) in mms.iter() {
            put(*mm, of, &mut self.rows, &self.counted, mappings, names);
            if self.counted.len() + of.live.len() > COUNTED_MAX {
                self.counted.clear();
            }
            self.counted.extend(of.live.keys().filter_map(Place::mapping));
        }
        self.live = 0;
    }

    /// Returns all rows. Faults whose mapping is still to be read are unknown.
    #[must_use]
    pub(crate) fn rows(&self, mappings: &Mappings, names: &Tasks) -> Rows {
        let mut rows = self.rows.clone();
        let pending = self.pending.iter().map(|(page, n)| (*page, *n));
        put_all_pending(pending, &self.mms, &mut rows, names);
        for (mm, of) in self.mms.iter() {
            put(*mm, of, &mut rows, &self.counted, mappings, names);
        }
        rows
    }
}

fn count(
    of: &mut Mm,
    all: &mut usize,
    place: Place,
    range: (u64, u64),
    label: impl FnOnce() -> Label,
    cause: Cause,
    n: u64,
) {
    let live = of.live.or_insert_with(place, || {
        *all += 1;
        Live { causes: [0; Cause::ALL.len()], range, votes: 0, start: range.0, label: label() }
    });
    live.add(range, cause, n);
}

/// Returns the name of an mm's process.
fn process(of: &Mm, names: &Tasks) -> Option<Comm> {
    of.process.and_then(|process| names.thread(names.process(process)).process)
}

/// Adds faults of an mm where nothing is known yet to rows.
fn put_pending(of: &Mm, causes: &Causes, rows: &mut Rows, names: &Tasks) {
    row(rows, process(of, names), Label::of(Of::Unknown)).add(causes, None, false);
}

/// Adds faults of all mms where nothing is known yet to rows.
fn put_all_pending(
    pending: impl Iterator<Item = ((u64, u64, Cause), u64)>,
    mms: &RecentMap<u64, Mm>,
    rows: &mut Rows,
    names: &Tasks,
) {
    let mut causes: FxHashMap<u64, Causes> = FxHashMap::default();
    for ((mm, _, cause), n) in pending {
        causes.entry(mm).or_insert([0; Cause::ALL.len()])[cause as usize] += n;
    }
    for (mm, causes) in &causes {
        if let Some(of) = mms.get(*mm) {
            put_pending(of, causes, rows, names);
        }
    }
}

/// Adds what is counted of an mm to rows.
fn put(mm: u64, of: &Mm, rows: &mut Rows, counted: &FxHashSet<MappingId>, mappings: &Mappings, names: &Tasks) {
    let process = process(of, names);
    for (place, live) in of.live.iter() {
        let total: u64 = live.causes.iter().sum();
        let (label, top) = match place {
            Place::Mapping(id) => {
                let (start, end) = live.range;
                // The name may have been read after the fault.
                let at = mappings.at(mm, live.start);
                let is_there = matches!(at, At::Mapping(found) if found.mapping.id == *id);
                let label = if is_there { mappings.label(mm, at) } else { live.label };
                (label, Some(Top { count: total, start, end, mm }))
            }
            _ => (live.label, None),
        };
        let is_new = place.mapping().is_some_and(|id| !counted.contains(&id));
        row(rows, process, label).add(&live.causes, top, is_new);
    }
}

/// The row of a process and a label; when there are too many, of the label alone.
fn row(rows: &mut Rows, process: Option<Comm>, label: Label) -> &mut Row {
    let mut key = (process, label);
    if rows.len() >= ROWS_MAX && !rows.contains_key(&key) {
        key = (None, label);
        if rows.len() >= 2 * ROWS_MAX && !rows.contains_key(&key) {
            key = (None, Label::of(Of::Others));
        }
    }
    rows.entry(key).or_default()
}
