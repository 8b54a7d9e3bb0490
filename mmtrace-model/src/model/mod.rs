//! The reference: what the kernel's mm looks like, judging by its events.
//!
//! [`Model::apply`] takes one event after another, keeps the state of locks, mms,
//! tasks and brackets, and reports to the [`Sink`] which rules were evaluated and
//! how that went. It never concludes anything from what it has not seen: state
//! starts unknown, and goes back to unknown after a loss and after a violation.

mod collapse;
mod dispatch;
pub mod effect;
pub mod faults;
mod function_state;
pub mod invariant;
pub mod lifetime;
pub mod locks;
mod loss;
pub mod measures;
pub mod migration;
pub mod page_tables;

use mmtrace_common::{Column, Kind, Record};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{context::Context, verdict::Sink};
use effect::Effect;
use faults::{
    address_space::{Cause, Space},
    cause,
};
use function_state::Functions;
use lifetime::task::Task;
use locks::{
    hugetlb::{HugetlbLocks, Overlap},
    mmap_lock::{self, MmapLock},
};
use measures::Measures;
use page_tables::{
    shadow::{self, Tables},
    unlinking::Collapsing,
};

/// Tasks followed; idle ones are forgotten beyond that.
const TASKS_MAX: usize = 1 << 15;
/// mms followed; those without a seen holder are forgotten beyond that.
const MMS_MAX: usize = 1 << 14;
/// A rule that a write hold from before recording would upset waits for this long, nanoseconds.
const SETTLE_NS: u64 = 1_000_000_000;
/// Entries about address spaces, over all mms: about 30 MiB.
const SPACE_MAX: usize = 1 << 18;
/// Two faults of a task on a page within this count as spurious refault (H07).
const REFAULT_NS: u64 = 50_000;

/// One mm.
#[derive(Clone, Debug, Default)]
struct Mm {
    lock: MmapLock,
    space: Space,
    life: Life,
    /// A task was seen to run on it, by a fork, an exec or a fault in user mode: what its tasks do to its
    /// lock is seen. Some hosts hide a process from all BPF programs; what others release on its behalf is
    /// seen all the same.
    is_run: bool,
}

/// What is known of an mm's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    /// Seen in the middle of it.
    #[default]
    Unknown,
    /// A fork or exec has made it, no user-mode fault has been seen yet.
    Born,
    /// In use since a birth that was seen.
    Alive,
    /// `exit_mmap` was seen; the write hold that it ends with is still open.
    Dying,
    /// And that hold is over.
    Dead,
}

/// Numbers of the kernel's enums that rules ask about.
#[derive(Clone, Copy, Debug)]
struct Values {
    succeeded: Option<u64>,
    for_compaction: Option<u64>,
    /// Reasons to migrate whose allocations never reclaim.
    without_reclaim: [Option<u64>; 2],
}

/// State of the whole system.
#[derive(Clone, Debug)]
pub struct Model {
    mms: FxHashMap<u64, Mm>,
    tasks: FxHashMap<u32, Task>,
    /// Swap types seen in set events: bit n for type n.
    migration_types: u32,
    /// Write acquisitions seen, over all mms.
    writes: u64,
    /// Write holds open now, over all mms.
    writers: u64,
    /// Entries kept about address spaces, over all mms; at times too many, never too few.
    space: usize,
    /// When recording began.
    start: u64,
    /// Nothing is learned from events up to this time: some before it are missing.
    blind_until: u64,
    values: Values,
    causes: [u64; Cause::ALL.len()],
    last_cause: Option<Cause>,
    blind: cause::Blind,
    /// Faults in the kernel tell whether page faults were disabled.
    tells_disabled: bool,
    effect: Option<Effect>,
    measures: Measures,
    functions: Functions,
    /// Page tables, and who works on them.
    tables: Tables,
    /// Anonymous collapses that have unlinked a table.
    collapsing: Vec<Collapsing>,
    hugetlb: HugetlbLocks,
    hugetlb_overlaps: Vec<Overlap>,
    /// VMAs that were seen with a hugetlb lock that can be shared: mm and VMA.
    shareable: FxHashSet<(u64, u64)>,
    /// `pte_offset_map_rw_nolock()` tells the PMD entry that it went by.
    pmd_used: bool,
    /// An event since recording began has been taken.
    started: bool,
}

impl Model {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        let value = |name, enumerator| context.value(name, enumerator).map(|v| v as u64);
        Self {
            mms: FxHashMap::default(),
            tasks: FxHashMap::default(),
            migration_types: 0,
            writes: 0,
            writers: 0,
            space: 0,
            start: context.start,
            blind_until: 0,
            values: Values {
                succeeded: value("scan_result", "SCAN_SUCCEED"),
                for_compaction: value("migrate_reason", "MR_COMPACTION"),
                without_reclaim: ["MR_COMPACTION", "MR_NUMA_MISPLACED"].map(|name| value("migrate_reason", name)),
            },
            causes: [0; Cause::ALL.len()],
            last_cause: None,
            blind: cause::Blind::default(),
            tells_disabled: context.carries(Kind::PageFaultKernel, Column::PagefaultDisabled),
            effect: None,
            measures: Measures::new(context),
            functions: Functions::new(context),
            // As after a loss: what was before recording is missing.
            tables: Tables::beginning(context.start.saturating_add(mmap_lock::EPSILON_NS)),
            collapsing: Vec::new(),
            hugetlb: HugetlbLocks::new(context.kernel.series()),
            hugetlb_overlaps: Vec::new(),
            shareable: FxHashSet::default(),
            pmd_used: context.carries(Kind::PteOffsetMapRwNolock, Column::PmdUsed),
            started: false,
        }
    }

    /// Faults by cause, in the order of [`Cause::ALL`].
    #[must_use]
    pub const fn causes(&self) -> &[u64; Cause::ALL.len()] {
        &self.causes
    }

    /// Why the last fault happened.
    #[must_use]
    pub const fn last_cause(&self) -> Option<Cause> {
        self.last_cause
    }

    /// What the last event completed; `None` if nothing.
    #[must_use]
    pub const fn effect(&self) -> Option<&Effect> {
        self.effect.as_ref()
    }

    /// Migration entries that stand now, as far as is known.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.measures.standing().len()
    }

    /// Durations measured.
    #[must_use]
    pub const fn measures(&self) -> &Measures {
        &self.measures
    }

    /// Page tables and walks of them.
    #[must_use]
    pub const fn tables(&self) -> &shadow::Counts {
        &self.tables.counts
    }

    /// Takes the end of the stream: overlaps that had lasted by then are real.
    pub fn finish(&mut self, ts: u64, sink: &mut Sink) {
        let mut open: Vec<u64> = self.mms.keys().copied().collect();
        open.sort_unstable();
        for mm in open {
            let end = Record { ts, mm, ..Record::default() };
            self.settle(&end, sink);
        }
        self.settle_suspects(ts, sink);
        self.finish_tables(ts, sink);
    }

    #[inline]
    fn task(&mut self, tid: u32) -> &mut Task {
        if self.tasks.len() >= TASKS_MAX && !self.tasks.contains_key(&tid) {
            self.tasks.retain(|_, t| !t.is_idle());
            if self.tasks.len() >= TASKS_MAX {
                self.tasks.clear();
                self.writers = 0;
            }
        }
        self.tasks.entry(tid).or_default()
    }

    #[inline]
    fn mm(&mut self, mm: u64) -> &mut Mm {
        if self.mms.len() >= MMS_MAX && !self.mms.contains_key(&mm) {
            self.mms.retain(|_, m| m.lock.writer().is_some() || !m.lock.readers().is_empty());
            if self.mms.len() >= MMS_MAX {
                self.mms.clear();
            }
        }
        self.mms.entry(mm).or_default()
    }
}
