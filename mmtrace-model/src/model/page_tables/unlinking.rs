//! PTE tables that collapses unlink (mm/khugepaged.c), and how tables are freed.

use mmtrace_common::{Event, Kind, Record, View as _, event};

use crate::model::{
    Model,
    clock_skew::EPSILON_NS,
    effect::What,
    faults::handling::is_success,
    page_tables::shadow::{Flush, Life, Retract, Walk, frame_of_pfn, table_of},
};
use crate::verdict::{RuleId, Sink};

/// `VM_UFFD_WP`
const VM_UFFD_WP: u64 = 0x1000;
/// `SWP_PTE_MARKER`: the last of 32 swap types.
const SWP_PTE_MARKER: u64 = 31;
/// Violations of L25 whose report names the task that stored the marker.
const TOLD: u64 = 8;
/// Bytes that a PTE table maps.
const PMD_SIZE: u64 = 1 << 21;

/// An anonymous collapse that has unlinked a table and still holds the mmap_lock for write.
#[derive(Clone, Debug)]
pub(in crate::model) struct Collapsing {
    slot: (u64, u64),
    tid: u32,
    /// The PMD range that the entry maps begins here.
    base: u64,
    since: u64,
    /// Faults on that range that began since, of others: task and address.
    faults: Vec<(u32, u64)>,
    /// Task that filled the entry meanwhile, the time in nanoseconds, and the event that shows it.
    filled: Option<(u32, u64, Filling)>,
}

/// The event that shows that a PMD entry was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filling {
    /// `pmd_install()` linked a PTE table.
    Table,
    /// `handle_mm_fault()` was entered and has succeeded for an address that the entry maps, perhaps
    /// by a huge page, which no event shows.
    Fault,
}

impl Collapsing {
    fn fill(&mut self, record: &Record, how: Filling) {
        self.filled.get_or_insert((record.tid, record.ts, how));
    }

    /// Whether another task's event of this time lies behind the flush, whatever the clocks say.
    const fn covers(&self, tid: u32, ts: u64) -> bool {
        self.tid != tid && ts > self.since.saturating_add(EPSILON_NS)
    }
}

/// Anonymous collapses that can be at that point at the same time: one for each CPU, and more.
const COLLAPSING_MAX: usize = 1024;
/// Faults on the range of one collapse that are followed. One fault is enough to break the rule.
const FAULTS_MAX: usize = 64;

/// The bits of a marker; `None` for an entry that is none (include/linux/swapops.h,
/// arch/x86/include/asm/pgtable_64.h: `__swp_offset`).
#[must_use]
const fn marker_of(pte: u64) -> Option<u64> {
    if pte & 0x101 != 0 || pte >> 59 != SWP_PTE_MARKER { None } else { Some((!pte << 5) >> 14) }
}

/// Formats a number of things.
fn counted(number: u32, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Names an entry.
fn entry_name(pte: u64) -> String {
    match marker_of(pte) {
        Some(bits) => {
            let names = [(1, "uffd-wp"), (2, "poison"), (4, "guard")];
            let named: Vec<&str> = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, n)| *n).collect();
            if named.is_empty() { format!("marker {bits:#x}") } else { format!("{} marker", named.join(" and ")) }
        }
        None if pte & 0x101 != 0 => "present entry".to_owned(),
        None => "entry".to_owned(),
    }
}

impl Model {
    /// Brackets of the three paths that unlink tables, entered and left.
    pub(in crate::model) fn collapse_bracket(&mut self, kind: Kind, record: &Record) {
        let walk = self.tables.walk(record.tid);
        walk.nolock = None;
        match kind {
            Kind::RetractPageTables => walk.retract = Some(Retract { since: record.ts }),
            Kind::RetractPageTablesReturn => {
                walk.known = true;
                if let Some(retract) = walk.retract.take() {
                    self.effect.what = What::RetractEnded { since: Some(retract.since) };
                }
            }
            Kind::CollapsePteMappedThp => walk.pte_mapped = Some(record.mm),
            Kind::CollapsePteMappedThpReturn => {
                walk.known = true;
                walk.pte_mapped = None;
            }
            // Neither of the other two paths calls it.
            _ => {
                *walk = Walk { known: true, retract: None, pte_mapped: None, ..*walk };
                let event::CollapseHugePageEnter { addr } = event::CollapseHugePageEnter::of(record);
                self.task(record.tid).collapse.begun = Some((addr, record.ts));
            }
        }
    }

    /// `pmdp_collapse_flush()` is entered: the PMD entry still points to the table.
    pub(in crate::model) fn flush(&mut self, record: &Record, sink: &mut Sink) {
        let flush = event::PmdpCollapseFlush::of(record);
        let slot = (record.mm, flush.pmdp);
        let frame = table_of(flush.pmd);
        self.flush_context(&flush, record, sink);
        self.flushed_empty(&flush, record, sink);
        let walk = self.tables.walk(record.tid);
        if walk.retract.is_some() || walk.pte_mapped.is_some() {
            self.effect.what = What::TableUnlinked { addr: flush.addr, retracted: walk.retract.is_some() };
        }
        walk.flush = Some(Flush { frame, slot, returned: false, freed: false });
        // A collapse of a PTE-mapped huge page may run under a write hold too (uprobes). It does not keep other tasks
        // from filling the entry again.
        let exclusive = walk.known && walk.retract.is_none() && walk.pte_mapped.is_none();
        if exclusive && self.task(record.tid).writes.contains(&record.mm) {
            if self.collapsing.len() >= COLLAPSING_MAX {
                self.collapsing.clear();
            }
            self.collapsing.retain(|c| c.tid != record.tid);
            let base = flush.addr & !(PMD_SIZE - 1);
            self.collapsing.push(Collapsing {
                slot,
                tid: record.tid,
                base,
                since: record.ts,
                faults: Vec::new(),
                filled: None,
            });
        }
        self.tables.unlink(slot, record.ts, record.tid);
        if let Some(frame) = frame {
            self.tables.live(frame, Life::Unlinked);
        }
        self.tables.counts.unlinked += 1;
    }

    /// L23: a task that unlinks a table holds the locks that this needs.
    fn flush_context(&mut self, flush: &event::PmdpCollapseFlush, record: &Record, sink: &mut Sink) {
        let walk = *self.tables.walk(record.tid);
        let anchored = walk.known && self.task(record.tid).anchored;
        let writes = self.task(record.tid).writes.contains(&record.mm);
        let lock = &self.mm(record.mm).lock;
        let held = lock.is_held();
        let how = if walk.retract.is_some() || writes || walk.pte_mapped.is_some() && held {
            sink.held(RuleId::L23, record.ts);
            return;
        } else if !lock.is_complete() || !sink.is_open(RuleId::L23) {
            sink.unjudged(RuleId::L23);
            return;
        } else if walk.pte_mapped.is_some() {
            "in collapse_pte_mapped_thp() while no task holds its mmap_lock"
        } else if anchored {
            "outside retract_page_tables() and collapse_pte_mapped_thp() without holding its mmap_lock for write"
        } else {
            sink.unjudged(RuleId::L23);
            return;
        };
        self.mm(record.mm).lock.taint();
        self.forget_writes(record.mm);
        let what =
            format!("task {} unlinks the PTE table of {:#x} in mm {:#x} {how}", record.tid, flush.addr, record.mm);
        sink.violated(RuleId::L23, record, record.mm, &[record.tid], what);
    }

    /// L25: a table that is unlinked without the mmap_lock held for write is empty.
    fn flushed_empty(&mut self, flush: &event::PmdpCollapseFlush, record: &Record, sink: &mut Sink) {
        let walk = self.tables.walk(record.tid);
        let by = match (walk.retract, walk.pte_mapped) {
            (Some(_), _) => "retract_page_tables()",
            (None, Some(mm)) if mm == record.mm => "collapse_pte_mapped_thp()",
            _ if !walk.known => return sink.unjudged(RuleId::L25),
            // An anonymous collapse empties the table after the flush.
            _ => return,
        };
        let event::PmdpCollapseFlush { addr, entry, vm_flags, markers, presents, entry_index, scanned, .. } = *flush;
        let base = addr & !(PMD_SIZE - 1);
        if !scanned {
            sink.unjudged(RuleId::L25);
            return;
        }
        if markers == 0 && presents == 0 {
            sink.held(RuleId::L25, record.ts);
            return;
        }
        // A uffd-wp marker may be left in a VMA that is not registered: before 6.13 mremap took it along, and before
        // 6.10 the close of the userfaultfd left it.
        let stale = presents == 0 && marker_of(entry) == Some(1) && vm_flags & VM_UFFD_WP == 0;
        if stale {
            sink.unjudged(RuleId::L25);
            return;
        }
        let address = base + (u64::from(entry_index) << 12);
        let mut tids = vec![record.tid];
        let mut what = format!(
            "task {} unlinks the PTE table of {base:#x} in mm {:#x} in {by}, and the table still holds {} and \
             {}; the entry of {address:#x} is a {} ({entry:#x})",
            record.tid,
            record.mm,
            counted(markers, "marker", "markers"),
            counted(presents, "present entry", "present entries"),
            entry_name(entry)
        );
        if sink.violations(RuleId::L25) < TOLD
            && let Some((who, how)) = installer(flush, record, address, sink)
        {
            tids.push(who);
            what.push_str(&how);
        }
        sink.violated(RuleId::L25, record, record.mm, &tids, what);
    }

    /// `pmdp_collapse_flush()` has returned the entry that it cleared.
    pub(in crate::model) fn flush_return(&mut self, record: &Record) {
        let Some(walk) = self.tables.walk_of(record.tid) else { return };
        if let Some(flush) = walk.flush.as_mut().filter(|f| !f.returned) {
            flush.returned = true;
            if let Some(frame) = table_of(event::PmdpCollapseFlushReturn::of(record).pmd) {
                flush.frame = Some(frame);
            }
        }
    }

    /// L24: the table that a task hands to RCU is the one that it has just unlinked.
    pub(in crate::model) fn free_defer(&mut self, record: &Record, sink: &mut Sink) {
        let frame = frame_of_pfn(event::PteFreeDefer::of(record).table);
        let walk = self.tables.walk(record.tid);
        let inside = walk.retract.is_some() || walk.pte_mapped.is_some();
        let broken = match walk.flush.as_mut() {
            Some(flush) if flush.slot.0 == record.mm && !flush.freed => {
                flush.freed = true;
                match flush.frame {
                    Some(unlinked) if unlinked == frame => false,
                    Some(_) => true,
                    // The entry did not point to a table.
                    None => inside,
                }
            }
            _ if inside => true,
            _ => {
                sink.unjudged(RuleId::L24);
                self.defer(frame, record);
                return;
            }
        };
        if broken {
            let what = format!(
                "task {} lets table {frame:#x} of mm {:#x} be freed, which is not the table that it unlinked",
                record.tid, record.mm
            );
            sink.violated(RuleId::L24, record, record.mm, &[record.tid], what);
        } else {
            sink.held(RuleId::L24, record.ts);
        }
        self.defer(frame, record);
    }

    fn defer(&mut self, frame: u64, record: &Record) {
        self.tables.counts.deferred += 1;
        let slot = self.tables.walk_of(record.tid).and_then(|walk| walk.flush).map(|flush| flush.slot);
        let slot = slot.filter(|(mm, _)| *mm == record.mm);
        self.tables.live(frame, Life::Deferred { since: record.ts, by: record.tid, slot, mapped: None });
    }

    /// The grace period is over. The free has nothing to do with the current task.
    pub(in crate::model) fn free_now(&mut self, record: &Record, sink: &mut Sink) {
        let frame = frame_of_pfn(event::PteFreeNow::of(record).table);
        self.tables.counts.freed += 1;
        let Some(Life::Deferred { by, mapped, .. }) = self.tables.free(frame) else {
            sink.unjudged(RuleId::L48);
            return;
        };
        self.end_of_table(frame, by, mapped, record, sink);
    }

    fn end_of_table(&mut self, frame: u64, by: u32, mapped: Option<(u32, u64)>, record: &Record, sink: &mut Sink) {
        match mapped {
            None => sink.held(RuleId::L48, record.ts),
            Some((who, ts)) if record.ts > ts.saturating_add(EPSILON_NS) => {
                let what = format!(
                    "task {who} mapped and locked table {frame:#x} {} ns before it was freed, after task {by} had \
                     unlinked it",
                    record.ts - ts
                );
                sink.violated(RuleId::L48, record, 0, &[who, by], what);
            }
            // The map may have come after the free, and is then of another table.
            Some(_) => sink.unjudged(RuleId::L48),
        }
    }

    /// Takes the end of the stream: tables that still wait to be freed, and collapses that still go on.
    pub(in crate::model) fn finish_tables(&mut self, ts: u64, sink: &mut Sink) {
        let over = |c: &Collapsing| c.filled.is_some_and(|(_, at, _)| ts > at.saturating_add(EPSILON_NS));
        while let Some(index) = self.collapsing.iter().position(over) {
            let end =
                Record { ts, mm: self.collapsing[index].slot.0, tid: self.collapsing[index].tid, ..Record::default() };
            self.collapse_unlocks(&end, sink);
        }
        let late: Vec<(u64, Life)> = self.tables.deferred().filter(|(_, life)| life.is_mapped_late()).collect();
        for (frame, life) in late {
            if let Life::Deferred { by, mapped, .. } = life {
                self.end_of_table(frame, by, mapped, &Record { ts, ..Record::default() }, sink);
            }
        }
    }

    /// `___pte_free_tlb()`: the PMD entry was cleared before.
    pub(in crate::model) fn free_tlb(&mut self, record: &Record) {
        self.tables.counts.torn_down += 1;
        self.tables.free(frame_of_pfn(event::PteFreeTlb::of(record).table));
    }

    /// L28: a table was linked. Looks for a collapse that had emptied that PMD entry.
    pub(in crate::model) fn filled(&mut self, slot: (u64, u64), record: &Record, sink: &Sink) {
        if self.collapsing.is_empty() || !sink.is_open(RuleId::L28) {
            return;
        }
        for collapsing in &mut self.collapsing {
            if collapsing.slot == slot && collapsing.covers(record.tid, record.ts) {
                collapsing.fill(record, Filling::Table);
            }
        }
    }

    /// L28: a fault begins. Looks for a collapse that has emptied the PMD entry of its address.
    pub(in crate::model) fn fault_in_collapse_begins(&mut self, record: &Record, sink: &Sink) {
        if self.collapsing.is_empty() || !sink.is_open(RuleId::L28) {
            return;
        }
        let event::HandleMmFault { addr, .. } = event::HandleMmFault::of(record);
        for collapsing in &mut self.collapsing {
            if collapsing.slot.0 == record.mm
                && collapsing.base == addr & !(PMD_SIZE - 1)
                && collapsing.covers(record.tid, record.ts)
                && collapsing.faults.len() < FAULTS_MAX
            {
                collapsing.faults.push((record.tid, addr));
            }
        }
    }

    /// L28: a fault ends, perhaps with a page in the range whose PMD entry the collapse has emptied.
    pub(in crate::model) fn fault_in_collapse_ends(&mut self, record: &Record) {
        let event::HandleMmFaultReturn { addr, fault_result: result, .. } = event::HandleMmFaultReturn::of(record);
        let fault = (record.tid, addr);
        for collapsing in &mut self.collapsing {
            if let Some(index) = collapsing.faults.iter().position(|f| *f == fault) {
                collapsing.faults.swap_remove(index);
                if is_success(result) {
                    collapsing.fill(record, Filling::Fault);
                }
            }
        }
    }

    /// L28: the task's write hold of this mm ends, and with it its collapse.
    pub(in crate::model) fn collapse_unlocks(&mut self, record: &Record, sink: &mut Sink) {
        if self.collapsing.is_empty() {
            return;
        }
        let Some(index) = self.collapsing.iter().position(|c| c.tid == record.tid && c.slot.0 == record.mm) else {
            return;
        };
        let collapsing = self.collapsing.swap_remove(index);
        match collapsing.filled {
            None => sink.held(RuleId::L28, record.ts),
            Some((who, ts, how)) if record.ts > ts.saturating_add(EPSILON_NS) => {
                let how = match how {
                    Filling::Table => "linked a PTE table",
                    Filling::Fault => "completed a fault",
                };
                let what = format!(
                    "task {who} {how} in mm {:#x} at the PMD entry of {:#x}, which task {} had emptied for a collapse",
                    record.mm, collapsing.base, record.tid
                );
                sink.violated(RuleId::L28, record, record.mm, &[record.tid, who], what);
            }
            Some(_) => sink.unjudged(RuleId::L28),
        }
    }
}

/// Returns the task that probably stored an entry at this address, as far as the last events show it.
fn installer(flush: &event::PmdpCollapseFlush, record: &Record, address: u64, sink: &Sink) -> Option<(u32, String)> {
    let found = sink.last_event(|r| {
        r.mm == record.mm
            && match Event::of(r) {
                Some(Event::MwriteprotectRange(range)) => {
                    range.enable_wp && (range.addr..range.addr.saturating_add(range.len)).contains(&address)
                }
                Some(Event::PteOffsetMapLock(mapped)) => {
                    r.tid != record.tid
                        && mapped.pmdp == flush.pmdp
                        && mapped.ptep != 0
                        && mapped.addr & !0xfff == address
                }
                _ => false,
            }
    })?;
    let how = if found.kind() == Some(Kind::MwriteprotectRange) {
        format!("; task {} write-protected that address with userfaultfd", found.tid)
    } else {
        format!(
            "; task {} was the last other task that was seen to lock that entry (no event says who stored it)",
            found.tid
        )
    };
    Some((found.tid, how))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read_as_x86_64_stores_them() {
        // __swp_entry(31, bits), arch/x86/include/asm/pgtable_64.h.
        let marker = |bits: u64| (!bits << 14 >> 5) | 31 << 59;
        for bits in 1..8 {
            assert_eq!(marker_of(marker(bits)), Some(bits));
        }
        assert_eq!(marker_of(0), None);
        assert_eq!(marker_of(0x8000_0001_2345_6067), None);
        assert_eq!(entry_name(marker(2)), "poison marker");
        assert_eq!(entry_name(marker(5)), "uffd-wp and guard marker");
        assert_eq!(entry_name(0x67), "present entry");
    }
}
