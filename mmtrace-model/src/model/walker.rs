//! Which events are about page tables.

use mmtrace_common::{Kind, Record, View as _, event};

use super::{Model, tables::Walk};
use crate::verdict::{RuleId, Sink};

impl Model {
    /// To be called with every event: recording begins once every probe is attached. What was
    /// seen before may have been seen by halves.
    #[inline]
    pub(super) fn tables_begin(&mut self, kind: Kind, record: &Record) {
        if !self.started && record.ts >= self.start {
            self.started = true;
            self.tables.forget_walks(0);
        }
        // Emitted at the end of a scan or of an anonymous collapse, in none of the calls that
        // unlink tables; khugepaged is never in user mode.
        if matches!(kind, Kind::ScanPmd | Kind::ScanFile | Kind::CollapseHugePage)
            && self.started
            && record.ts > self.tables.blind_until
        {
            let walk = self.tables.walk(record.tid);
            *walk = Walk { known: true, retract: None, pte_mapped: None, ..*walk };
        }
    }

    /// An event about page tables.
    #[inline]
    pub(super) fn walker(&mut self, kind: Kind, record: &Record, sink: &mut Sink) {
        if record.ts < self.start {
            return;
        }
        match kind {
            Kind::PteOffsetMapLock | Kind::PteOffsetMapRwNolock | Kind::PteOffsetMapRoNolock => {
                return self.map(kind, record, sink);
            }
            Kind::PteOffsetMap => return self.map_inner(record),
            Kind::PteOffsetMapLockEnter => return self.map_lock_enter(record),
            Kind::PmdInstall => return self.pmd_install(record, sink),
            Kind::PteFreeTlb => return self.free_tlb(record),
            Kind::Mmdrop => return self.tables.written(record.mm),
            Kind::VmAreaFree => {
                let event::VmAreaFree { vma } = event::VmAreaFree::of(record);
                self.shareable.remove(&(record.mm, vma));
                return;
            }
            _ => {}
        }
        if record.ts <= self.tables.blind_until {
            if kind == Kind::PmdpCollapseFlush {
                sink.unjudged(RuleId::L25);
            }
            return;
        }
        match kind {
            Kind::RetractPageTables
            | Kind::RetractPageTablesReturn
            | Kind::CollapsePteMappedThp
            | Kind::CollapsePteMappedThpReturn
            | Kind::CollapseHugePageEnter => self.collapse_bracket(kind, record, sink),
            Kind::PmdpCollapseFlush => self.flush(record, sink),
            Kind::PmdpCollapseFlushReturn => self.flush_return(record),
            Kind::PteFreeDefer => self.free_defer(record, sink),
            Kind::PteFreeNow => self.free_now(record, sink),
            Kind::VmaPgtableWalkBegin | Kind::VmaPgtableWalkEnd => self.walk_bracket(kind, record, sink),
            Kind::HugetlbVmaLockRead
            | Kind::HugetlbVmaUnlockRead
            | Kind::HugetlbVmaLockWrite
            | Kind::HugetlbVmaUnlockWrite
            | Kind::HugetlbVmaTrylockWrite => self.hugetlb_lock(kind, record, sink),
            Kind::HugetlbZapEnd => self.hugetlb_zap_end(record, sink),
            Kind::HugePmdUnshare => self.huge_pmd_unshare(record, sink),
            Kind::HandleMmFault => self.fault_in_collapse_begins(record, sink),
            Kind::HandleMmFaultReturn => self.fault_in_collapse_ends(record),
            Kind::MigrationEntryWaitHuge => self.huge_wait(record),
            Kind::MigrationEntryWait => {
                if let Some(walk) = self.tables.walk_of(record.tid) {
                    walk.huge_wait = None;
                }
            }
            Kind::MigrationEntryWaitOnLocked => self.huge_sleep(record, sink),
            _ => {}
        }
    }

    /// A task that has just been forked: it is in no call.
    pub(super) fn newborn(&mut self, tid: u32, ts: u64) {
        if ts < self.start || ts <= self.tables.blind_until {
            return;
        }
        let walk = self.tables.walk(tid);
        walk.known = true;
        walk.depth = Some(0);
        walk.hugetlb = true;
    }

    /// Some of what happened to tables, or in calls that unlink them, was not seen; nothing up to this time is learned from.
    pub(super) fn forget_tables(&mut self, until: u64) {
        self.tables.forget_walks(until);
        self.tables.forget_tables();
        self.hugetlb.forget();
        self.hugetlb_overlaps.clear();
        self.shareable.clear();
    }
}
