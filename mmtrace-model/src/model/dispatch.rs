//! Every kind of event, and the parts of the model that take it.
//!
//! The one place where the model, and the statistics behind it, ask for the kind of an event. An arm says what the event
//! came to, and names the parts in the order in which they take it: figures of locks, functions, locks and tasks, page
//! tables. A part that knows more says so in the effect. What a part takes stands in the event's row of the event table as
//! well: the loss of an event makes those parts unknown, and no others.

use mmtrace_common::{Call, Event as E, Kind, Record};

use super::{
    Model,
    effect::{Effect, Range, What},
    locks::mmap_lock::LockStep,
    page_tables::shadow::Walk,
};
use crate::verdict::{RuleId, Sink};

impl Model {
    /// Takes the next event. Returns what it came to.
    #[inline]
    pub fn apply(&mut self, record: &Record, sink: &mut Sink) -> &Effect {
        self.effect.begin(record);
        self.mappings.apply(record);
        self.take(record, sink);
        self.measures.apply(&self.effect, sink);
        &self.effect
    }

    #[inline]
    fn take(&mut self, record: &Record, sink: &mut Sink) {
        let Some(event) = E::of(record) else { return };
        sink.saw(record);
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
                self.intervals.forget_task(record.tid);
                if functions {
                    self.runs(record, sink);
                    self.enters_trap(record);
                }
                if locks {
                    self.user_fault(record, sink);
                }
                self.faulted(true, functions, record);
            }
            E::PageFaultKernel(e) => {
                self.effect.call = self.tells_call.then(|| Call::of_number(e.call.into()));
                // One that is not handled leaves what the task is in the middle of as it is.
                if functions && !self.is_disabled(record) {
                    self.enters_kernel_trap(record);
                }
                self.faulted(false, functions, record);
            }
            E::HandleMmFault(_) => {
                if functions {
                    self.fault_called(record);
                    self.fault_begins(record, sink);
                }
                if calls {
                    self.fault_in_collapse_begins(record, sink);
                }
            }
            E::HandleMmFaultReturn(_) => {
                self.effect.what = What::HandledUnseen;
                if functions {
                    self.fault_returned(record);
                    self.fault_ends(record, sink);
                }
                if calls {
                    self.fault_in_collapse_ends(record);
                }
            }
            E::PageFaultsMin(e) => self.fault_accounted(record, e.addr, false),
            E::PageFaultsMaj(e) => self.fault_accounted(record, e.addr, true),
            E::HugePmdAnonymous(_) if functions => self.fault_huge(record),
            E::HandleUserfault(_) if functions => self.fault_met_userfaultfd(record),
            E::ExpandStack(_) if functions => self.fault_grew(record),
            E::LockMmAndFindVma(_) if functions => self.fault_looked(record),
            E::FolioLockOrRetry(_) if functions => self.folio_lock(record),
            E::VmfAnonPrepare(_) if functions => self.anon_vma_prepared(record, sink),
            E::UserfaultfdSetCtx(_) if functions => self.functions.retracting.registers(record),
            E::MwriteprotectRange(_) if functions => self.protect_begins(record, sink),
            E::MwriteprotectRangeReturn(_) if functions => self.functions.retracting.protect_ends(record.tid),

            // The mmap_lock and the locks of VMAs.
            E::StartLocking(e) => {
                self.effect.call = self.tells_call.then(|| Call::of_number(e.call.into()));
                self.lock_step(LockStep::Starts, e.write, functions, locks, record, sink);
            }
            E::AcquireReturned(e) => {
                let step = if e.success { LockStep::Acquired } else { LockStep::Failed };
                self.lock_step(step, e.write, functions, locks, record, sink);
            }
            E::Released(e) => self.lock_step(LockStep::Released, e.write, functions, locks, record, sink),
            E::ContentionBegin(_) => {
                self.effect.what = What::LockBlocked;
                if functions {
                    self.follow_contention(record, sink);
                }
                if locks {
                    self.contention(record, sink);
                }
            }
            E::LockVmaUnderRcu(e) => {
                self.effect.what = What::VmaGranted { vma: e.vma };
                if functions {
                    self.vma_read_lock(record, sink);
                }
            }
            E::VmaStartWrite(e) => {
                self.effect.what = What::VmaAwaited { vma: e.vma };
                if functions {
                    self.vma_write_begins(record, sink);
                }
            }
            E::VmaStartWriteReturn(e) => {
                self.effect.what = What::VmaLocked { vma: e.vma, locked: e.ret >= 0, in_hold: false };
                if functions {
                    self.vma_write_locked(record, sink);
                }
            }
            E::VmAreaFree(e) => {
                self.effect.what = What::VmaFreed { vma: e.vma };
                if functions {
                    self.vma_freed(record);
                }
                if tables {
                    self.shareable.remove(&(record.mm, e.vma));
                }
            }

            // Processes, their mms, and the mappings of these.
            E::ExitMmap(_) => {
                self.effect.what = What::Unmapped;
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
                self.intervals.forget_task(child);
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
                self.effect.what = What::Exited;
                self.fault_left(record.tid);
                self.intervals.forget_task(record.tid);
                if functions {
                    self.functions.forget_task(record.tid);
                }
                if locks {
                    self.exit(record, sink);
                }
            }
            E::MaWrite(e) => {
                self.effect.what = What::VmaStored { addr: e.addr };
                if locks {
                    self.ma_write(record, sink);
                } else {
                    self.vma_stored(record);
                }
            }

            // Migration and compaction.
            E::SetMigrationPte(e) => {
                self.effect.what = What::EntrySet;
                self.standing.set(e.addr, record.ts);
                if locks {
                    self.set_migration(kind, e.addr, e.pte, record, sink);
                }
            }
            E::RemoveMigrationPte(e) => {
                self.effect.what = What::EntryRemoved { pte: true, since: self.standing.removed(e.addr, record.ts) };
                if locks {
                    self.remove_migration(kind, e.addr, e.pte, record, sink);
                }
            }
            E::SetMigrationPmd(e) => {
                self.effect.what = What::EntrySet;
                if locks {
                    self.set_migration(kind, e.addr, e.pmd, record, sink);
                }
            }
            E::RemoveMigrationPmd(e) => {
                self.effect.what = What::EntryRemoved { pte: false, since: None };
                if locks {
                    self.remove_migration(kind, e.addr, e.pmd, record, sink);
                }
            }
            E::MigratePagesStart(e) if locks => self.migrate_start(e, record, sink),
            E::MigratePages(e) => {
                let (reason, succeeded, failed) = (u64::from(e.reason), e.succeeded, e.failed);
                self.effect.what = What::Migrated { reason, succeeded, failed };
                if locks {
                    self.migrate_end(e, record, sink);
                }
            }
            E::CompactionBegin(_) if locks => self.task(record.tid).compacts(true),
            E::CompactionEnd(_) => {
                self.effect.what = What::Compacted;
                if locks {
                    self.task(record.tid).compacts(false);
                }
            }
            E::MigrationEntryWait(_) => {
                if functions {
                    self.fault_met_migration(record.tid);
                    self.wait_begins(record, sink);
                }
                if calls && let Some(walk) = self.tables.walk_of(record.tid) {
                    walk.huge_wait = None;
                }
            }
            E::MigrationEntryWaitReturn(_) => {
                self.effect.what = What::MigrationAwaitedUnseen;
                if functions {
                    self.wait_ends(record, sink);
                }
            }

            // Collapses: khugepaged and MADV_COLLAPSE.
            E::CollapseIsolate(_) => {
                self.isolates(record.tid);
                if locks {
                    self.isolate(record, sink);
                }
            }
            E::ScanPmd(e) => {
                self.effect.what = What::Scanned { range: Range::Anonymous, result: u64::from(e.status) };
                self.in_no_unlinking_call(record);
                if locks {
                    self.scan_pmd(record, sink);
                }
            }
            E::ScanFile(e) => {
                self.effect.what = What::Scanned { range: Range::File, result: u64::from(e.status) };
                self.in_no_unlinking_call(record);
                if locks {
                    self.scan_end(record.tid);
                }
            }
            E::CollapseHugePage(e) => {
                self.collapsed(Range::Anonymous, e.status);
                self.in_no_unlinking_call(record);
                if locks {
                    self.collapse_end(e, record, sink);
                }
            }
            E::CollapseFile(e) => {
                self.collapsed(Range::File, e.status);
                if locks {
                    self.collapse_file(record, sink);
                }
            }

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
                    self.collapse_bracket(kind, record);
                }
            }
            E::RetractPageTablesReturn(_) => {
                self.effect.what = What::RetractEnded { since: None };
                if functions {
                    self.retract_ends(record, sink);
                }
                if calls {
                    self.collapse_bracket(kind, record);
                }
            }
            E::CollapsePteMappedThp(_) | E::CollapseHugePageEnter(_) if calls => self.collapse_bracket(kind, record),
            E::CollapsePteMappedThpReturn(e) => {
                self.collapsed(Range::PteMapped, e.status);
                if calls {
                    self.collapse_bracket(kind, record);
                }
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
            E::MigrationEntryWaitHuge(_) => {
                self.effect.what = What::HugeEntryMet;
                if functions {
                    self.fault_met_migration(record.tid);
                }
                if calls {
                    self.huge_wait(record);
                }
            }
            E::MigrationEntryWaitOnLocked(_) => {
                self.effect.what = What::MigrationSlept;
                if calls {
                    self.huge_sleep(record, sink);
                }
            }

            // The model concludes nothing from these events; they are only counted.
            E::TlbFlush(_) | E::KhugepagedScan(_) | E::CollapseSwapin(_) | E::ContentionEnd(_) => {}
            // Names change nothing that is judged.
            E::TaskRename(_) | E::TaskName(_) | E::Mark(_) => {}
            // The cost of the recording changes nothing; what it gives up is not seen from now on.
            E::RecordingCost(_) => {}
            // Which program records an event changes nothing; what was missed is told apart.
            E::StandbyAttached(_) => {}
            E::EventsShed(e) => {
                if let Some(kind) = u16::try_from(e.shed_kind).ok().and_then(Kind::from_u16) {
                    self.shed(kind, record);
                }
            }
            E::TaskCgroup(_) | E::CgroupPath(_) | E::CgroupAttachTask(_) => {}
            E::FileName(_) | E::FilePath(_) | E::Mapping(_) | E::MappingName(_) => {}
            E::FunctionName(_) | E::BuildId(_) => {}
            E::MapsRead(e) => self.effect.what = What::MapsRead { since: e.since },
            // mmtrace itself makes these events: see above.
            E::Loss(_) | E::Missed(_) | E::Gap(_) | E::Foreign(_) => {}
            // The part that takes the event does not learn from events of this time.
            E::HugePmdAnonymous(_)
            | E::HandleUserfault(_)
            | E::ExpandStack(_)
            | E::LockMmAndFindVma(_)
            | E::FolioLockOrRetry(_)
            | E::VmfAnonPrepare(_)
            | E::UserfaultfdSetCtx(_)
            | E::MwriteprotectRange(_)
            | E::MwriteprotectRangeReturn(_)
            | E::MigratePagesStart(_)
            | E::CompactionBegin(_)
            | E::PteOffsetMap(_)
            | E::PteOffsetMapLockEnter(_)
            | E::PteOffsetMapLock(_)
            | E::PteOffsetMapRwNolock(_)
            | E::PteOffsetMapRoNolock(_)
            | E::CollapsePteMappedThp(_)
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
            | E::HugePmdUnshare(_) => {}
        }
    }

    /// A page fault, once every part that asks for the task's state before it has taken it.
    fn faulted(&mut self, user: bool, functions: bool, record: &Record) {
        let history = self.cause(record);
        self.effect.what = What::Faulted { user };
        self.fault_opens(record, history, user, self.effect.call, functions);
    }

    /// The end of a collapse; its begin, where that was seen, is added by whoever has seen it.
    const fn collapsed(&mut self, range: Range, status: u32) {
        self.effect.what = What::Collapsed { range, result: status as u64, begun: None, succeeded: false };
    }

    /// An event of an mmap_lock.
    fn lock_step(
        &mut self,
        step: LockStep,
        write: bool,
        functions: bool,
        locks: bool,
        record: &Record,
        sink: &mut Sink,
    ) {
        if step == LockStep::Acquired {
            self.open_faults.locked(record.tid, record.mm);
        }
        if self.measure_lock(step, write, record) {
            self.mm(record.mm).space.unmapped();
        }
        if functions {
            self.follow_lock(step, write, record, sink);
        }
        if locks {
            self.mmap_lock(step, write, record, sink);
        } else if step != LockStep::Starts {
            self.tables.written(record.mm);
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
