//! The shadow of PTE tables: which PMD entry leads to which table, as far as functions show it, and what each task is
//! doing to the tables.
//!
//! The shadow is never complete. A table can be linked, moved and unlinked without an event: a THP split withdraws a
//! deposited table (mm/huge_memory.c), a failed or mTHP collapse links the old one again (mm/khugepaged.c:
//! `pmd_populate`), mremap moves whole tables (mm/mremap.c: `move_normal_pmd`), and `free_pgtables` and page-table
//! reclaim clear the PMD entry before their event. A slot therefore only predicts. A prediction that fails is a reason
//! to forget the slot, never a violation.

use mmtrace_common::Kind;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::{recent_map::RecentMap, verdict::RuleId};

/// Slots, tables, mms and tasks that are followed, of each. All of them are forgotten beyond that number.
const KEPT: usize = 1 << 15;

/// The physical address bits of a table in an entry that are compared. The bits above hold the encryption bit of some
/// machines (x86: 47 or 51).
const FRAME_BITS: u64 = 0x0000_3fff_ffff_f000;
/// `_PAGE_PRESENT`
const PRESENT: u64 = 1;
/// `_PAGE_PSE`: the entry maps a huge page.
const PSE: u64 = 1 << 7;
/// Entries of a table, less one.
const INDEX: u64 = 511;

/// Returns the page frame of the table that a PMD entry of x86-64 points to; `None` if it points to no table
/// (`pmd_none`, `pmd_trans_huge`, a migration entry).
#[must_use]
pub(crate) const fn table_of(pmd: u64) -> Option<u64> {
    if pmd & (PRESENT | PSE) == PRESENT { Some((pmd & FRAME_BITS) >> 12) } else { None }
}

/// Whether `__pte_offset_map()` certainly maps by this PMD entry: it points to a table and is not `pmd_bad()`
/// (arch/x86/include/asm/pgtable.h).
#[must_use]
pub(crate) const fn is_good(pmd: u64) -> bool {
    // _KERNPG_TABLE without ACCESSED; USER and ACCESSED do not matter.
    pmd & 0xfff & !0x24 == 0x43 && pmd >> 63 == 0
}

/// Returns the frame in the form of [`table_of`].
#[must_use]
pub(crate) const fn frame_of_pfn(pfn: u64) -> u64 {
    pfn & FRAME_BITS >> 12
}

/// Whether the PTE's address is at the index of this address in some table.
#[must_use]
pub(crate) const fn is_in_place(ptep: u64, addr: u64) -> bool {
    ptep & 0xfff == (addr >> 12 & INDEX) * 8
}

/// The base of the direct map (`page_offset_base`), inferred from `pte_offset_map` calls: a PTE's address less the
/// physical address of its table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DirectMap {
    /// No observation yet.
    #[default]
    Unknown,
    /// Too few observations.
    Learning {
        /// The base, according to them.
        base: u64,
        /// The table of the first observation.
        first: u64,
        /// An observation of another table agrees.
        two: bool,
        /// The number of observations.
        seen: u8,
    },
    /// The base is known.
    Known(u64),
    /// Observations disagree, so nothing is concluded from addresses of PTEs.
    Never,
}

/// Observations that must agree, of two tables at least.
const AGREE: u8 = 8;

impl DirectMap {
    /// Takes the observation that a PTE at `ptep` was in the table of this frame. Returns `Some` once that can be
    /// judged.
    pub(crate) fn observe(&mut self, ptep: u64, frame: u64) -> Option<bool> {
        let says = (ptep & !0xfff).wrapping_sub(frame << 12) & FRAME_BITS;
        match self {
            Self::Known(base) => return Some(*base == says),
            Self::Never => {}
            Self::Unknown => *self = Self::Learning { base: says, first: frame, two: false, seen: 1 },
            Self::Learning { base, .. } if *base != says => *self = Self::Never,
            Self::Learning { base, first, two, seen } => {
                *two |= *first != frame;
                *seen = seen.saturating_add(1);
                if *seen >= AGREE && *two {
                    *self = Self::Known(*base);
                }
            }
        }
        None
    }

    /// Returns the table in which a PTE's address lies.
    #[must_use]
    pub(crate) const fn frame(&self, ptep: u64) -> Option<u64> {
        match self {
            Self::Known(base) => Some(((ptep & !0xfff).wrapping_sub(*base) & FRAME_BITS) >> 12),
            _ => None,
        }
    }
}

/// A PMD entry, as it was last seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    /// The table that it points to; `None` if it is not known to point to one.
    pub(crate) table: Option<u64>,
    /// `Tables::clock` when that was learned.
    pub(crate) since: u64,
    /// Time when a collapse last unlinked the table under it, nanoseconds, and the task.
    pub(crate) unlinked: Option<(u64, u32)>,
}

/// A table, as its last event left it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    /// Some PMD entry points to it.
    Linked {
        /// The PMD entry.
        slot: (u64, u64),
    },
    /// A collapse has taken it out. It may be linked again without an event.
    Unlinked,
    /// `pte_free_defer()`: freed after a grace period.
    Deferred {
        /// Time of the call, nanoseconds.
        since: u64,
        /// The task.
        by: u32,
        /// The PMD entry from which it was unlinked, if that was seen.
        slot: Option<(u64, u64)>,
        /// A task was seen to map and lock it since: which task, and when.
        mapped: Option<(u32, u64)>,
    },
}

impl Life {
    /// Whether a task mapped and locked it after its freeing had been requested.
    pub(crate) const fn is_mapped_late(&self) -> bool {
        matches!(self, Self::Deferred { mapped: Some(_), .. })
    }
}

/// A flush of a collapse.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flush {
    /// The table that was unlinked, by the PMD entry before the flush or by the function's result.
    pub(crate) frame: Option<u64>,
    /// The PMD entry: mm and address.
    pub(crate) slot: (u64, u64),
    /// The function has returned.
    pub(crate) returned: bool,
    /// The table has been handed on.
    pub(crate) freed: bool,
}

/// A call of `retract_page_tables()`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retract {
    /// Time when it began, nanoseconds.
    pub(crate) since: u64,
}

/// A `pte_offset_map` call without the lock that may still be in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nolock {
    /// The PMD entry.
    pub(crate) slot: (u64, u64),
    /// Time of the call, nanoseconds.
    pub(crate) ts: u64,
}

/// A call of `pte_offset_map_lock()`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Locking {
    /// Its arguments: PMD entry and address.
    pub(crate) of: (u64, u64),
    /// Number of times that it has mapped a table.
    pub(crate) maps: u32,
}

/// The current work of a task on page tables.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walk {
    /// The task was seen outside the calls below since recording began, so those that it is in are known.
    pub(crate) known: bool,
    /// In `retract_page_tables()`.
    pub(crate) retract: Option<Retract>,
    /// In `collapse_pte_mapped_thp()` of this mm.
    pub(crate) pte_mapped: Option<u64>,
    /// Its last flush.
    pub(crate) flush: Option<Flush>,
    /// Its last call without the lock.
    pub(crate) nolock: Option<Nolock>,
    /// In `pte_offset_map_lock()`.
    pub(crate) locking: Option<Locking>,
    /// Open calls of `vma_pgtable_walk_begin()`; `None` if that is not known.
    pub(crate) depth: Option<u32>,
    /// In `migration_entry_wait_huge()` of this VMA; whether it has released the VMA's hugetlb lock.
    pub(crate) huge_wait: Option<(u64, bool)>,
    /// The task was seen to take or release a hugetlb lock, so the ones that it holds are known.
    pub(crate) hugetlb: bool,
}

impl Walk {
    /// The task is in none of these calls and holds no hugetlb lock. Returns how many walks were open, if that was known.
    pub(crate) fn outside(&mut self) -> Option<u32> {
        std::mem::replace(self, Self { known: true, depth: Some(0), hugetlb: true, ..Self::default() }).depth
    }
}

/// Numbers of tables and walks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// PTE tables that were allocated and linked.
    pub born: u64,
    /// Tables that a collapse has unlinked.
    pub unlinked: u64,
    /// Tables handed to RCU to be freed.
    pub deferred: u64,
    /// Tables freed after their grace period.
    pub freed: u64,
    /// Tables freed by munmap, exit or reclaim.
    pub torn_down: u64,
    /// `pte_offset_map` calls.
    pub maps: u64,
    /// Calls that were compared with the PMD entry that they used, or with the shadow.
    pub compared: u64,
    /// Calls whose result the shadow predicted.
    pub foretold: u64,
    /// Calls whose result the shadow predicted wrongly, because page tables changed without an event.
    pub resynchronised: u64,
    /// Calls whose result contradicts the PMD entry that they used.
    pub divergences: u64,
    /// Calls that found no table.
    pub without_table: u64,
}

impl Counts {
    /// Lists each with its name, and the events that show it; one of these events is enough.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64, &'static [Kind]); 11] {
        const MAPS: &[Kind] = &[Kind::PteOffsetMapLock, Kind::PteOffsetMapRwNolock, Kind::PteOffsetMapRoNolock];
        [
            ("tables born", self.born, &[Kind::PmdInstall]),
            ("tables unlinked by a collapse", self.unlinked, &[Kind::PmdpCollapseFlush]),
            ("tables to be freed after a grace period", self.deferred, &[Kind::PteFreeDefer]),
            ("tables freed after it", self.freed, &[Kind::PteFreeNow]),
            ("tables freed by munmap, exit, reclaim", self.torn_down, &[Kind::PteFreeTlb]),
            ("maps", self.maps, MAPS),
            ("maps compared", self.compared, MAPS),
            ("maps foretold from earlier events", self.foretold, MAPS),
            ("maps after an unseen change", self.resynchronised, MAPS),
            ("maps that found no table", self.without_table, MAPS),
            ("divergences", self.divergences, MAPS),
        ]
    }

    /// Whether nothing was seen.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The hazards that the walker's view lists.
pub const HAZARDS: [RuleId; 3] = [RuleId::H01, RuleId::H02, RuleId::H03];

/// The shadow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    slots: FxHashMap<(u64, u64), Slot>,
    tables: FxHashMap<u64, Life>,
    /// `Tables::clock` when each mm was last locked for write, or died.
    written: FxHashMap<u64, u64>,
    walks: RecentMap<u32, Walk>,
    /// Advances with each of these.
    clock: u64,
    /// The shadow learns nothing about tasks from events up to this time, because some before it are missing.
    pub(crate) blind_until: u64,
    /// The base of the direct map.
    pub(crate) direct_map: DirectMap,
    /// Numbers.
    pub(crate) counts: Counts,
}

impl Tables {
    /// Returns a shadow that knows nothing, and learns nothing about tasks up to this time.
    #[must_use]
    pub(crate) fn beginning(blind_until: u64) -> Self {
        Self { blind_until, ..Self::default() }
    }

    /// Returns what this task is doing.
    #[inline]
    pub(crate) fn walk(&mut self, tid: u32) -> &mut Walk {
        self.walks.or_default_within(tid, KEPT, RecentMap::clear)
    }

    /// Returns what this task is doing, if anything is known.
    #[inline]
    pub(crate) fn walk_of(&mut self, tid: u32) -> Option<&mut Walk> {
        self.walks.get_mut(tid)
    }

    /// This task is gone, or another task has its id.
    pub(crate) fn forget_task(&mut self, tid: u32) {
        self.walks.remove(tid);
    }

    /// Number of calls of `vma_pgtable_walk_begin()` that are seen to be open.
    pub(crate) fn open_walks(&self) -> u64 {
        self.walks.values().map(|walk| u64::from(walk.depth.unwrap_or(0))).sum()
    }

    /// Some events of tasks were not seen.
    pub(crate) fn forget_walks(&mut self, until: u64) {
        self.walks.clear();
        self.blind_until = self.blind_until.max(until);
    }

    /// Some events of PMD entries, or of the calls that map by them, were not seen.
    pub(crate) fn forget_slots(&mut self) {
        self.slots.clear();
        for walk in self.walks.values_mut() {
            walk.nolock = None;
            walk.locking = None;
        }
    }

    /// Some events of tables were not seen.
    pub(crate) fn forget_tables(&mut self) {
        self.slots.clear();
        self.tables.clear();
    }

    /// The mm was locked for write, or is another one, so its tables may have moved.
    pub(crate) fn written(&mut self, mm: u64) {
        self.clock += 1;
        if self.slots.is_empty() {
            return;
        }
        if self.written.len() >= KEPT && !self.written.contains_key(&mm) {
            self.written.clear();
            self.slots.clear();
        }
        self.written.insert(mm, self.clock);
    }

    /// The table that this PMD entry is known to point to.
    #[inline]
    #[must_use]
    pub(crate) fn foretell(&self, slot: (u64, u64)) -> Option<u64> {
        let known = self.slots.get(&slot)?;
        let written = self.written.get(&slot.0).copied().unwrap_or(0);
        known.table.filter(|_| known.since >= written)
    }

    /// Returns the time when a collapse last unlinked the table under this PMD entry, nanoseconds, and the task.
    #[must_use]
    pub(crate) fn unlinked(&self, slot: (u64, u64)) -> Option<(u64, u32)> {
        self.slots.get(&slot)?.unlinked
    }

    /// This PMD entry points to this table; `None` if that is not known.
    #[inline]
    pub(crate) fn learn(&mut self, slot: (u64, u64), table: Option<u64>) {
        if let Some(known) = self.slots.get_mut(&slot) {
            if known.table == table {
                known.since = self.clock;
                return;
            }
            known.table = table;
            known.since = self.clock;
        } else if table.is_some() {
            if self.slots.len() >= KEPT {
                self.slots.clear();
            }
            self.slots.insert(slot, Slot { table, since: self.clock, unlinked: None });
        }
        if let Some(frame) = table {
            self.live(frame, Life::Linked { slot });
        }
    }

    /// A collapse unlinks the table under this PMD entry.
    pub(crate) fn unlink(&mut self, slot: (u64, u64), ts: u64, by: u32) {
        if self.slots.len() >= KEPT && !self.slots.contains_key(&slot) {
            self.slots.clear();
        }
        self.slots.insert(slot, Slot { table: None, since: self.clock, unlinked: Some((ts, by)) });
    }

    /// The table is at this stage of its life now. A table that is being freed stays so until it is freed.
    pub(crate) fn live(&mut self, frame: u64, life: Life) {
        if self.tables.len() >= KEPT && !self.tables.contains_key(&frame) {
            self.tables.clear();
        }
        let now = self.tables.entry(frame).or_insert(life);
        if !matches!(now, Life::Deferred { .. }) || matches!(life, Life::Deferred { .. }) {
            *now = life;
        }
    }

    /// Returns the stage of the table's life.
    #[inline]
    pub(crate) fn life(&mut self, frame: u64) -> Option<&mut Life> {
        self.tables.get_mut(&frame)
    }

    /// The table is freed, and no PMD entry is known to point to it. Returns what was known of it.
    pub(crate) fn free(&mut self, frame: u64) -> Option<Life> {
        let life = self.tables.remove(&frame)?;
        if let Life::Linked { slot } = life
            && self.foretell(slot) == Some(frame)
        {
            self.learn(slot, None);
        }
        Some(life)
    }

    /// Tables that wait for their grace period.
    pub(crate) fn deferred(&self) -> impl Iterator<Item = (u64, Life)> + '_ {
        self.tables.iter().filter(|(_, l)| matches!(l, Life::Deferred { .. })).map(|(f, l)| (*f, *l))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_which_table() {
        assert_eq!(table_of(0), None);
        assert_eq!(table_of(0x1234_5067), Some(0x12345));
        assert_eq!(table_of(0x1234_50e7), None, "a huge page");
        assert_eq!(table_of(0x1234_5066), None, "not present");
        assert_eq!(table_of(0x8_0000_1234_5067), Some(0x12345), "the encryption bit");
        assert!(is_good(0x1234_5067) && is_good(0x1234_5043) && !is_good(0x1234_5065) && !is_good(0x1234_50e7));
        assert!(is_in_place(0xffff_8880_1234_5010, 0x7f00_0000_2fff) && !is_in_place(0x18, 0x2000));
    }

    #[test]
    fn the_direct_map_is_known_once_two_tables_agree() {
        let base = 0xffff_8880_0000_0000u64;
        let mut map = DirectMap::default();
        for _ in 0..20 {
            assert_eq!(map.observe(base + 0x5008, 5), None);
        }
        assert_eq!(map.observe(base + 0x7010, 7), None);
        assert_eq!(map.frame(base + 0x9ff8), Some(9));
        assert_eq!(map.observe(base + 0x9ff8, 9), Some(true));
        assert_eq!(map.observe(base + 0x9ff8, 8), Some(false));
        let mut map = DirectMap::default();
        map.observe(base + 0x5008, 5);
        map.observe(base + 0x5008, 6);
        assert_eq!((map, map.frame(base)), (DirectMap::Never, None));
    }

    #[test]
    fn nothing_is_foretold_after_the_mm_was_locked_for_write() {
        let mut tables = Tables::default();
        tables.learn((1, 0x10), Some(7));
        assert_eq!(tables.foretell((1, 0x10)), Some(7));
        tables.written(2);
        assert_eq!(tables.foretell((1, 0x10)), Some(7));
        tables.written(1);
        assert_eq!(tables.foretell((1, 0x10)), None);
        tables.learn((1, 0x10), Some(7));
        assert_eq!(tables.foretell((1, 0x10)), Some(7));
        assert!(tables.free(7).is_some());
        assert_eq!(tables.foretell((1, 0x10)), None);
    }
}
