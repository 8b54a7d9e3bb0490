//! What is no longer known when events are missing.

use mmtrace_common::{Column, Kind, Record};

use super::{Life, Model, lock};
use crate::verdict::Sink;

/// Parts of the model, as bits.
type Parts = u8;

/// mmap_locks, tasks, and what tracepoints say of migration, collapse and compaction.
const LOCKS: Parts = 1 << 0;
/// What is mapped in an mm, and so everything about its pages.
const SPACE: Parts = 1 << 1;
/// What follows the functions of faults and VMA locks.
const FUNCTIONS: Parts = 1 << 2;
/// Which PMD entry leads to which PTE table. A map says what is there now: this is only foretold from.
const SLOTS: Parts = 1 << 3;
/// Tables that go, who is in a call that unlinks them, hugetlb locks.
const TABLES: Parts = 1 << 4;
/// Anonymous collapses, which end with a write hold.
const COLLAPSES: Parts = 1 << 5;
/// Which pages of an mm were touched.
const TOUCHED: Parts = 1 << 6;
/// Whether something of an mm was unmapped: downgrades say so.
const UNMAPPED: Parts = 1 << 7;
/// All of them.
const ALL: Parts = LOCKS | SPACE | FUNCTIONS | SLOTS | TABLES | COLLAPSES | TOUCHED | UNMAPPED;

/// What an event of this kind may have changed. A part that looks at a kind of event stands beside it here.
const fn changes(kind: Kind) -> Parts {
    use Kind as K;
    match kind {
        K::TlbFlush | K::KhugepagedScan | K::CollapseSwapin | K::ContentionEnd | K::LockMmAndFindVma => 0,
        K::MaWrite => SPACE,
        K::PageFaultUser | K::PageFaultKernel => FUNCTIONS | TOUCHED,
        K::ContentionBegin
        | K::HandleMmFault
        | K::HandleMmFaultReturn
        | K::LockVmaUnderRcu
        | K::VmaStartWrite
        | K::VmaStartWriteReturn
        | K::MigrationEntryWaitReturn
        | K::FolioLockOrRetry
        | K::UserfaultfdSetCtx
        | K::MwriteprotectRange
        | K::MwriteprotectRangeReturn
        | K::VmfAnonPrepare => FUNCTIONS,
        K::PteOffsetMap
        | K::PteOffsetMapLockEnter
        | K::PteOffsetMapLock
        | K::PteOffsetMapRwNolock
        | K::PteOffsetMapRoNolock => SLOTS,
        K::PmdInstall | K::PteFreeTlb => SLOTS | FUNCTIONS,
        K::PmdpCollapseFlushReturn
        | K::PteFreeDefer
        | K::PteFreeNow
        | K::CollapsePteMappedThp
        | K::CollapsePteMappedThpReturn
        | K::CollapseHugePageEnter
        | K::VmaPgtableWalkBegin
        | K::VmaPgtableWalkEnd
        | K::HugetlbVmaLockRead
        | K::HugetlbVmaUnlockRead
        | K::HugetlbVmaLockWrite
        | K::HugetlbVmaUnlockWrite
        | K::HugetlbVmaTrylockWrite
        | K::HugetlbZapEnd
        | K::HugePmdUnshare
        | K::MigrationEntryWaitOnLocked
        | K::MigrationEntryWaitHuge => TABLES | SLOTS,
        K::PmdpCollapseFlush
        | K::RetractPageTables
        | K::RetractPageTablesReturn
        | K::VmAreaFree
        | K::Mmdrop
        | K::MigrationEntryWait => TABLES | SLOTS | FUNCTIONS,
        K::StartLocking | K::AcquireReturned => LOCKS | UNMAPPED | FUNCTIONS | SLOTS | COLLAPSES,
        K::Released => LOCKS | FUNCTIONS | SLOTS | COLLAPSES,
        // Tasks are followed as a whole, so that all of LOCKS goes; ends of scans show who is in no call that unlinks
        // tables, and nobody is taken for one who is in it because one is missing.
        K::SetMigrationPte
        | K::RemoveMigrationPte
        | K::SetMigrationPmd
        | K::RemoveMigrationPmd
        | K::MigratePagesStart
        | K::MigratePages
        | K::CompactionBegin
        | K::CompactionEnd
        | K::ScanPmd
        | K::CollapseIsolate
        | K::CollapseHugePage
        | K::ScanFile
        | K::CollapseFile => LOCKS | SLOTS | COLLAPSES,
        K::ExitMmap | K::Fork | K::Exec | K::Exit => ALL,
        // A kind of which something is missing is the traced one.
        K::Loss | K::Missed | K::Gap | K::Foreign => ALL,
    }
}

impl Model {
    /// Events are missing: what they could have changed is no longer known.
    pub(super) fn lost(&mut self, kind: Kind, record: &Record, sink: &mut Sink) {
        let until = record.get(Column::Until).unwrap_or(u64::MAX);
        let count = record.get(Column::Count).unwrap_or(0);
        let of = match kind {
            Kind::Gap | Kind::Foreign => None,
            _ => record.get(Column::LostKind).and_then(|k| Kind::from_u16(k as u16)),
        };
        sink.missing(of, count);
        self.measures.lost(kind, of, count, until);
        let parts = of.map_or(ALL, changes);
        // What is missing may have come after what another CPU's clock puts behind it.
        let blind = until.saturating_add(lock::EPSILON_NS);
        if parts & FUNCTIONS != 0 {
            self.functions.lost(blind);
        }
        if parts & SLOTS != 0 {
            self.tables.forget_slots();
        }
        if parts & TABLES != 0 {
            self.forget_tables(blind);
        }
        if parts & (TABLES | COLLAPSES) != 0 {
            self.collapsing.clear();
        }
        if parts & SPACE != 0 {
            self.forget_spaces(until);
        }
        if parts & TOUCHED != 0 {
            self.doubt_touched(until);
        }
        if parts & UNMAPPED != 0 && self.measures.may_be_writes(kind) {
            self.doubt_mapped(until);
        }
        if parts & LOCKS != 0 {
            self.mms.retain(|_, mm| {
                (mm.lock, mm.life, mm.is_run) = (lock::MmapLock::default(), Life::Unknown, false);
                !mm.space.is_empty()
            });
            self.tasks.clear();
            self.writers = 0;
            self.blind_until = self.blind_until.max(until);
        }
    }
}
