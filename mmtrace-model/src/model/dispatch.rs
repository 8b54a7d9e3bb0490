//! Every kind of event, and the parts of the model that take it.
//!
//! This is the only place where the model matches the kind of an event. An arm names the parts in the order in which
//! they take the event: durations, functions, locks and tasks, page tables. The event's row in the event table lists
//! the same parts: the loss of an event makes those parts unknown, and no others.

use mmtrace_common::{Event as E, Record};

use super::Model;
use crate::model::page_tables::shadow::Walk;
use crate::verdict::{RuleId, Sink};

impl Model {
    /// Takes the next event.
    #[inline]
    pub fn apply(&mut self, record: &Record, sink: &mut Sink) {
        let Some(event) = E::of(record) else { return };
        sink.saw(record);
        self.effect = None;
        let kind = event.kind();
        if kind.is_missing() {
            self.lost(kind, record, sink);
            return;
        }
        self.begin_tables(record);
        // The parts that learn from events of this time. Faults and VMA locks, as functions show them:
        let functions = !self.functions.is_blind(record.ts);
        // Locks and tasks, as tracepoints show them:
        let locks = record.ts > self.blind_until;
        // Page tables that are mapped and linked:
        let tables = record.ts >= self.start;
        // Page tables that are unlinked, tasks in calls that unlink them, hugetlb locks:
        let calls = tables && record.ts > self.tables.blind_until;
        if functions {
            self.settle_suspects(record.ts, sink);
        }
        match event {
            // Faults, from their trap to their end.
            E::PageFaultUser(_) => {
                self.measures.forget_task(record.tid);
                if functions {
                    self.runs(record, sink);
                    self.enters_trap(record);
                }
                if locks {
                    self.user_fault(record, sink);
                } else {
                    self.cause(record);
                }
            }
            E::PageFaultKernel(_) => {
                // A fault that is not handled does not change what the task is doing.
                if functions && !self.is_disabled(record) {
                    self.enters_kernel_trap(record);
                }
                self.cause(record);
            }
            E::HandleMmFault(_) => {
                if functions {
                    self.fault_begins(record, sink);
                }
                if calls {
                    self.fault_in_collapse_begins(record, sink);
                }
            }
            E::HandleMmFaultReturn(_) => {
                if functions {
                    self.fault_ends(record, sink);
                }
                self.measures.fault_followed(self.effect.as_ref());
                if calls {
                    self.fault_in_collapse_ends(record);
                }
            }
            E::FolioLockOrRetry(_) if functions => self.folio_lock(record),
            E::VmfAnonPrepare(_) if functions => self.anon_vma_prepared(record, sink),
            E::UserfaultfdSetCtx(_) if functions => self.functions.retracting.registers(record),
            E::MwriteprotectRange(_) if functions => self.protect_begins(record, sink),
            E::MwriteprotectRangeReturn(_) if functions => self.functions.retracting.protect_ends(record.tid),

            // The mmap_lock and the locks of VMAs.
            E::StartLocking(_) | E::AcquireReturned(_) | E::Released(_) => {
                if self.measures.lock(kind, record, sink) {
                    self.mm(record.mm).space.unmapped();
                }
                if functions {
                    self.follow_lock(kind, record, sink);
                }
                if locks {
                    self.mmap_lock(kind, record, sink);
                } else if !matches!(event, E::StartLocking(_)) {
                    self.tables.written(record.mm);
                }
            }
            E::ContentionBegin(_) => {
                if functions {
                    self.follow_contention(record, sink);
                }
                if locks {
                    self.contention(record, sink);
                }
            }
            E::LockVmaUnderRcu(_) if functions => self.vma_read_lock(record, sink),
            E::VmaStartWrite(_) if functions => self.vma_write_begins(record, sink),
            E::VmaStartWriteReturn(_) if functions => self.vma_write_locked(record, sink),
            E::VmAreaFree(e) => {
                if functions {
                    self.vma_freed(record);
                }
                if tables {
                    self.shareable.remove(&(record.mm, e.vma));
                }
            }

            // Processes, their mms, and the mappings of these.
            E::ExitMmap(_) => {
                if functions {
                    self.functions.dead.died(record.mm, record.ts);
                }
                if locks {
                    self.exit_mmap(record, sink);
                } else {
                    self.all_unmapped(record.mm);
                    self.tables.written(record.mm);
                }
            }
            E::Mmdrop(_) => {
                if functions {
                    self.given_back(record, sink);
                }
                if tables {
                    self.tables.written(record.mm);
                }
            }
            E::Fork(e) => {
                let child = e.child_tid.cast_unsigned();
                self.measures.forget_task(child);
                if functions {
                    self.reborn(record.mm);
                    self.functions.forget_task(child);
                }
                if locks {
                    self.fork(child, record);
                }
            }
            E::Exec(e) => {
                let old = e.old_pid.cast_unsigned();
                if functions {
                    self.reborn(record.mm);
                    if old != record.tid {
                        self.functions.forget_task(old);
                    }
                }
                if locks {
                    self.exec(old, record);
                } else {
                    self.mapped_from_now(record);
                }
            }
            E::Exit(_) => {
                self.measures.forget_task(record.tid);
                if functions {
                    self.functions.forget_task(record.tid);
                }
                if locks {
                    self.exit(record, sink);
                }
            }
            E::MaWrite(_) => {
                if locks {
                    self.ma_write(record, sink);
                } else {
                    self.vma_stored(record);
                }
            }

            // Migration and compaction.
            E::SetMigrationPte(e) => {
                self.measures.entry_set(e.addr, record);
                if locks {
                    self.set_migration(kind, e.addr, e.pte, record, sink);
                }
            }
            E::RemoveMigrationPte(e) => {
                self.measures.entry_removed(e.addr, record, sink);
                if locks {
                    self.remove_migration(kind, e.addr, e.pte, record, sink);
                }
            }
            E::SetMigrationPmd(e) if locks => self.set_migration(kind, e.addr, e.pmd, record, sink),
            E::RemoveMigrationPmd(e) if locks => self.remove_migration(kind, e.addr, e.pmd, record, sink),
            E::MigratePagesStart(e) if locks => self.migrate_start(e, record, sink),
            E::MigratePages(e) if locks => self.migrate_end(e, record, sink),
            E::CompactionBegin(_) if locks => self.task(record.tid).compacts(true),
            E::CompactionEnd(_) if locks => self.task(record.tid).compacts(false),
            E::MigrationEntryWait(_) => {
                if functions {
                    self.wait_begins(record, sink);
                }
                if calls && let Some(walk) = self.tables.walk_of(record.tid) {
                    walk.huge_wait = None;
                }
            }
            E::MigrationEntryWaitReturn(_) => {
                if functions {
                    self.wait_ends(record, sink);
                }
                self.measures.wait_followed(self.effect.as_ref());
            }

            // Collapses: khugepaged and MADV_COLLAPSE.
            E::CollapseIsolate(_) => {
                self.measures.isolated(record.tid);
                if locks {
                    self.isolate(record, sink);
                }
            }
            E::ScanPmd(_) => {
                self.in_no_unlinking_call(record);
                if locks {
                    self.scan_pmd(record, sink);
                }
            }
            E::ScanFile(_) => {
                self.in_no_unlinking_call(record);
                if locks {
                    self.scan_end(record.tid);
                }
            }
            E::CollapseHugePage(e) => {
                self.in_no_unlinking_call(record);
                if locks {
                    self.collapse_end(e, record, sink);
                }
            }
            E::CollapseFile(_) if locks => self.collapse_file(record, sink),

            // Page tables that are mapped, linked, unlinked and freed.
            E::PteOffsetMap(_) if tables => self.map_inner(record),
            E::PteOffsetMapLockEnter(_) if tables => self.map_lock_enter(record),
            E::PteOffsetMapLock(_) | E::PteOffsetMapRwNolock(_) | E::PteOffsetMapRoNolock(_) if tables => {
                self.map(kind, record, sink);
            }
            E::PmdInstall(e) => {
                if functions && e.installed {
                    self.alive(record, sink);
                }
                if tables {
                    self.pmd_install(record, sink);
                }
            }
            E::PteFreeTlb(_) => {
                if functions {
                    self.table_given_back(record, sink);
                }
                if tables {
                    self.free_tlb(record);
                }
            }
            E::RetractPageTables(_) => {
                if functions {
                    self.retract_begins(record, sink);
                }
                if calls {
                    self.collapse_bracket(kind, record, sink);
                }
            }
            E::RetractPageTablesReturn(_) => {
                if functions {
                    self.retract_ends(record, sink);
                }
                self.measures.retract_seen();
                if calls {
                    self.collapse_bracket(kind, record, sink);
                }
            }
            E::CollapsePteMappedThp(_) | E::CollapsePteMappedThpReturn(_) | E::CollapseHugePageEnter(_) if calls => {
                self.collapse_bracket(kind, record, sink);
            }
            E::PmdpCollapseFlush(_) => {
                if functions {
                    self.alive(record, sink);
                    self.flushed_in_retract(record, sink);
                }
                if calls {
                    self.flush(record, sink);
                } else if tables {
                    sink.unjudged(RuleId::L25);
                }
            }
            E::PmdpCollapseFlushReturn(_) if calls => self.flush_return(record),
            E::PteFreeDefer(_) if calls => self.free_defer(record, sink),
            E::PteFreeNow(_) if calls => self.free_now(record, sink),

            // Walks of page tables that are shared, and the hugetlb locks.
            E::VmaPgtableWalkBegin(_) | E::VmaPgtableWalkEnd(_) if calls => self.walk_bracket(kind, record, sink),
            E::HugetlbVmaLockRead(_)
            | E::HugetlbVmaUnlockRead(_)
            | E::HugetlbVmaLockWrite(_)
            | E::HugetlbVmaUnlockWrite(_)
            | E::HugetlbVmaTrylockWrite(_)
                if calls =>
            {
                self.hugetlb_lock(kind, record, sink);
            }
            E::HugetlbZapEnd(_) if calls => self.hugetlb_zap_end(record, sink),
            E::HugePmdUnshare(_) if calls => self.huge_pmd_unshare(record, sink),
            E::MigrationEntryWaitHuge(_) if calls => self.huge_wait(record),
            E::MigrationEntryWaitOnLocked(_) if calls => self.huge_sleep(record, sink),

            // The model concludes nothing from these events; they are only counted.
            E::TlbFlush(_)
            | E::KhugepagedScan(_)
            | E::CollapseSwapin(_)
            | E::ContentionEnd(_)
            | E::LockMmAndFindVma(_) => {}
            // Names change nothing that is judged.
            E::TaskRename(_) | E::TaskName(_) => {}
            // mmtrace itself makes these events: see above.
            E::Loss(_) | E::Missed(_) | E::Gap(_) | E::Foreign(_) => {}
            // The part that takes the event does not learn from events of this time.
            E::FolioLockOrRetry(_)
            | E::VmfAnonPrepare(_)
            | E::UserfaultfdSetCtx(_)
            | E::MwriteprotectRange(_)
            | E::MwriteprotectRangeReturn(_)
            | E::LockVmaUnderRcu(_)
            | E::VmaStartWrite(_)
            | E::VmaStartWriteReturn(_)
            | E::SetMigrationPmd(_)
            | E::RemoveMigrationPmd(_)
            | E::MigratePagesStart(_)
            | E::MigratePages(_)
            | E::CompactionBegin(_)
            | E::CompactionEnd(_)
            | E::CollapseFile(_)
            | E::PteOffsetMap(_)
            | E::PteOffsetMapLockEnter(_)
            | E::PteOffsetMapLock(_)
            | E::PteOffsetMapRwNolock(_)
            | E::PteOffsetMapRoNolock(_)
            | E::CollapsePteMappedThp(_)
            | E::CollapsePteMappedThpReturn(_)
            | E::CollapseHugePageEnter(_)
            | E::PmdpCollapseFlushReturn(_)
            | E::PteFreeDefer(_)
            | E::PteFreeNow(_)
            | E::VmaPgtableWalkBegin(_)
            | E::VmaPgtableWalkEnd(_)
            | E::HugetlbVmaLockRead(_)
            | E::HugetlbVmaUnlockRead(_)
            | E::HugetlbVmaLockWrite(_)
            | E::HugetlbVmaUnlockWrite(_)
            | E::HugetlbVmaTrylockWrite(_)
            | E::HugetlbZapEnd(_)
            | E::HugePmdUnshare(_)
            | E::MigrationEntryWaitHuge(_)
            | E::MigrationEntryWaitOnLocked(_) => {}
        }
    }

    /// Recording begins once every probe is attached. Before that, the model may have seen only half of the events.
    #[inline]
    fn begin_tables(&mut self, record: &Record) {
        if !self.started && record.ts >= self.start {
            self.started = true;
            self.tables.forget_walks(0);
        }
    }

    /// The end of a scan or of an anonymous collapse lies in none of the calls that unlink tables. khugepaged is never
    /// in user mode, so its state becomes known again here.
    fn in_no_unlinking_call(&mut self, record: &Record) {
        if self.started && record.ts > self.tables.blind_until {
            let walk = self.tables.walk(record.tid);
            *walk = Walk { known: true, retract: None, pte_mapped: None, ..*walk };
        }
    }
}
