//! `pte_offset_map` calls: the results that each may return, given the PMD entry that it used and the shadow
//! (mm/pgtable-generic.c, 6.5 to 7.2).

use mmtrace_common::{Kind, Record, View as _, event};

use crate::model::{
    Model,
    clock_skew::EPSILON_NS,
    page_tables::shadow::{Life, Locking, Nolock, is_good, is_in_place, table_of},
};
use crate::verdict::{RuleId, Sink};

/// A call without the lock is not used for longer than this: it is over, although its end was not seen.
const NOLOCK_NS: u64 = 10_000_000;

/// The result of a `pte_offset_map` call.
struct Map {
    slot: (u64, u64),
    addr: u64,
    /// 0 if there is no table.
    ptep: u64,
    /// The PMD entry that the call used; `None` if the event does not show it.
    used: Option<u64>,
    /// The PMD entry at the return.
    now: u64,
    /// The PTL is held.
    locked: bool,
}

impl Model {
    /// `__pte_offset_map()` has returned, perhaps inside another function of the family.
    pub(in crate::model) fn map_inner(&mut self, record: &Record) {
        let Some(walk) = self.tables.walk_of(record.tid) else { return };
        let event::PteOffsetMap { pmdp, addr, .. } = event::PteOffsetMap::of(record);
        // Interrupts on top of the task map other tables.
        if let Some(locking) = walk.locking.as_mut().filter(|l| l.of == (pmdp, addr)) {
            locking.maps += 1;
        }
    }

    /// `pte_offset_map_lock()` is entered.
    pub(in crate::model) fn map_lock_enter(&mut self, record: &Record) {
        let event::PteOffsetMapLockEnter { pmdp, addr } = event::PteOffsetMapLockEnter::of(record);
        self.tables.walk(record.tid).locking = Some(Locking { of: (pmdp, addr), maps: 0 });
    }

    /// A function of the family has returned.
    pub(in crate::model) fn map(&mut self, kind: Kind, record: &Record, sink: &mut Sink) {
        let locked = kind == Kind::PteOffsetMapLock;
        // The three kinds have these fields in common. One of them also shows which PMD entry it used.
        let event::PteOffsetMapRwNolock { pmdp, addr, ptep, pmd, pmd_used } = event::PteOffsetMapRwNolock::of(record);
        let used = (kind == Kind::PteOffsetMapRwNolock && self.pmd_used).then_some(pmd_used);
        let map = Map { slot: (record.mm, pmdp), addr, ptep, used, now: pmd, locked };
        self.tables.counts.maps += 1;
        if map.ptep == 0 {
            self.tables.counts.without_table += 1;
        }
        if locked {
            self.lost_race(&map, record, sink);
        }
        self.window(&map, record, sink);
        let frame = self.compare(&map, record, sink);
        if locked && let Some(frame) = frame {
            self.mapped_late(frame, map.slot, record);
        }
    }

    /// H02: counts how often the call had to begin again.
    fn lost_race(&mut self, map: &Map, record: &Record, sink: &mut Sink) {
        let Some(walk) = self.tables.walk_of(record.tid) else { return };
        let Some(locking) = walk.locking.take() else { return };
        if locking.of != (map.slot.1, map.addr) || locking.maps == 0 {
            return;
        }
        if locking.maps > 1 {
            let what = format!(
                "task {} mapped the PTE table of {:#x} {} times before it had the table's lock",
                record.tid, map.addr, locking.maps
            );
            sink.violated(RuleId::H02, record, record.mm, &[record.tid], what);
        } else {
            sink.held(RuleId::H02, record.ts);
        }
    }

    /// H01: a collapse has unlinked the table that this task had mapped without its lock.
    fn window(&mut self, map: &Map, record: &Record, sink: &mut Sink) {
        if let Some(walk) = self.tables.walk_of(record.tid)
            && let Some(before) = walk.nolock.take_if(|n| n.slot == map.slot)
            && record.ts.saturating_sub(before.ts) <= NOLOCK_NS
        {
            if let Some((ts, by)) = self.tables.unlinked(map.slot)
                && by != record.tid
                && ts > before.ts.saturating_add(EPSILON_NS)
            {
                let what = format!(
                    "task {by} unlinked the PTE table of {:#x} after task {} had mapped it without its lock and \
                     before that task mapped it again",
                    map.addr, record.tid
                );
                sink.violated(RuleId::H01, record, record.mm, &[record.tid, by], what);
            } else {
                sink.held(RuleId::H01, record.ts);
            }
        }
        if !map.locked && map.ptep != 0 {
            self.tables.walk(record.tid).nolock = Some(Nolock { slot: map.slot, ts: record.ts });
        }
    }

    /// L47: compares the return with the PMD entry and with the shadow. Returns which table was mapped.
    fn compare(&mut self, map: &Map, record: &Record, sink: &mut Sink) -> Option<u64> {
        // These checks need this return alone.
        let went_by = match (map.used, map.locked) {
            (Some(used), _) => Some(used),
            // The PTL is held, and a task that unlinks a table that can be mapped needs it.
            (None, true) if map.ptep != 0 => Some(map.now),
            _ => None,
        };
        let mut wrong = None;
        if map.ptep != 0 && !is_in_place(map.ptep, map.addr) {
            wrong = Some(format!("PTE {:#x} is not at the index of its address", map.ptep));
        }
        let by_entry = went_by.and_then(table_of);
        if let Some(pmd) = went_by {
            if map.ptep == 0 && is_good(pmd) {
                wrong = Some(format!("it got no PTE, but the PMD entry {pmd:#x} points to a table"));
            } else if map.ptep != 0 && by_entry.is_none() {
                wrong = Some(format!("it got PTE {:#x}, but the PMD entry {pmd:#x} points to no table", map.ptep));
            }
        }
        let mut compared = went_by.is_some();
        if wrong.is_none()
            && map.ptep != 0
            && let Some(frame) = by_entry
            && self.tables.direct_map.observe(map.ptep, frame) == Some(false)
        {
            wrong = Some(format!("PTE {:#x} is not in table {frame:#x}, which the PMD entry points to", map.ptep));
        }
        if let Some(wrong) = wrong {
            self.tables.counts.divergences += 1;
            self.tables.learn(map.slot, None);
            // A table that waits to be freed is no longer the one that the PMD entry names, and then L48 is broken.
            if map.locked
                && sink.is_open(RuleId::L48)
                && let Some(frame) = self.tables.direct_map.frame(map.ptep)
                && self.mapped_late(frame, map.slot, record)
            {
                return None;
            }
            let what = format!("task {} mapped {:#x} in mm {:#x}: {wrong}", record.tid, map.addr, record.mm);
            sink.violated(RuleId::L47, record, record.mm, &[record.tid], what);
            return None;
        }
        // The comparison with what earlier events predict.
        let frame = if map.ptep == 0 { None } else { by_entry.or_else(|| self.tables.direct_map.frame(map.ptep)) };
        if let Some(expected) = self.tables.foretell(map.slot)
            && (map.ptep == 0 || frame.is_some())
        {
            compared = true;
            if frame == Some(expected) {
                self.tables.counts.foretold += 1;
                sink.held(RuleId::H03, record.ts);
            } else {
                self.tables.counts.resynchronised += 1;
                if map.ptep == 0 {
                    let what = format!(
                        "task {} finds no PTE table for {:#x} where table {expected:#x} was, although nobody has locked \
                         mm {:#x} for write since",
                        record.tid, map.addr, record.mm
                    );
                    sink.violated(RuleId::H03, record, record.mm, &[record.tid], what);
                }
            }
        }
        self.tables.learn(map.slot, frame);
        if compared {
            self.tables.counts.compared += 1;
            sink.held(RuleId::L47, record.ts);
        } else {
            sink.unjudged(RuleId::L47);
        }
        frame
    }

    /// L48: the table was mapped and locked after its freeing had been requested. The rule is judged when the table is
    /// freed: until then no other table can be in the same place. Returns `true` if the map counts. RCU may free the
    /// table on top of a task that BPF programs do not see; a table that is linked elsewhere is another one by then.
    fn mapped_late(&mut self, frame: u64, mapped_at: (u64, u64), record: &Record) -> bool {
        if let Some(Life::Deferred { since, slot, mapped, .. }) = self.tables.life(frame)
            && record.ts > since.saturating_add(EPSILON_NS)
            && *slot == Some(mapped_at)
        {
            mapped.get_or_insert((record.tid, record.ts));
            return true;
        }
        false
    }

    /// A table was linked, or there was one already.
    pub(in crate::model) fn pmd_install(&mut self, record: &Record, sink: &mut Sink) {
        let event::PmdInstall { pmdp, pmd, installed } = event::PmdInstall::of(record);
        if !installed {
            return;
        }
        let slot = (record.mm, pmdp);
        self.tables.counts.born += 1;
        self.filled(slot, record, sink);
        let table = table_of(pmd);
        if let Some(frame) = table
            && matches!(self.tables.life(frame), Some(Life::Deferred { .. }))
        {
            // Nobody links a table that waits to be freed. Its end was not seen, because it came on top of a task that
            // BPF programs do not see.
            self.tables.free(frame);
            sink.unjudged(RuleId::L48);
        }
        self.tables.learn(slot, table);
    }
}
