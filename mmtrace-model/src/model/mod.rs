//! The reference: the state of the kernel's mm, as its events show it.
//!
//! [`Model::apply`] takes one event after another and keeps the state of locks, mms, tasks and calls. It reports to the
//! [`Sink`] which rules were evaluated, and with which result. The model concludes nothing from events that it has not
//! seen: its state starts unknown, and becomes unknown again after a loss and after a violation.

mod clock_skew;
mod collapse;
mod dispatch;
pub mod effect;
mod fault_cause;
pub mod faults;
mod function_state;
pub mod invariant;
pub mod lifetime;
mod lock_mode;
pub mod locks;
mod loss;
pub mod mappings;
pub mod measures;
pub mod migration;
mod overlap;
pub mod page_tables;
mod suspects;

use mmtrace_common::{Column, Kind, Record};
use rustc_hash::FxHashSet;

use crate::{context::Context, recent_map::RecentMap, verdict::Sink};
use effect::Effect;
use faults::{
    address_space::{Cause, Space},
    cause,
    open::OpenFaults,
};
use function_state::Functions;
use lifetime::task::Task;
use locks::{
    hugetlb::{HugetlbLocks, Overlap},
    intervals::Intervals,
    mmap_lock::{self, MmapLock},
};
use mappings::Mappings;
use measures::Measures;
use migration::entries::Standing;
use page_tables::{
    shadow::{self, Tables},
    unlinking::Collapsing,
};

/// Tasks that are followed. Idle tasks are forgotten beyond that number.
const TASKS_MAX: usize = 1 << 15;
/// Open calls or write holds of one task. A task cannot have more.
const NESTING_MAX: usize = 16;
/// mms that are followed. mms without an observed holder are forgotten beyond that number.
const MMS_MAX: usize = 1 << 14;
/// A rule that a write hold from before recording would invalidate waits for this long, nanoseconds.
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
    /// A task was seen to run on it, by a fork, an exec or a fault in user mode, so the acquisitions of its tasks are
    /// seen. Some hosts hide a process from all BPF programs. Other tasks' releases on its behalf are seen all the
    /// same.
    is_run: bool,
}

/// The known part of an mm's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    /// The mm was first seen in the middle of its life.
    #[default]
    Unknown,
    /// A fork or exec has made it, and no user-mode fault has been seen yet.
    Born,
    /// In use, after a birth that was seen.
    Alive,
    /// `exit_mmap` was seen, and the write hold with which it ends is still open.
    Dying,
    /// That write hold is over.
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
    mms: RecentMap<u64, Mm>,
    tasks: RecentMap<u32, Task>,
    /// Swap types that were seen in set events: bit n for type n.
    migration_types: u32,
    /// Write acquisitions seen, over all mms.
    writes: u64,
    /// Write holds open now, over all mms.
    writers: u64,
    /// Entries that are kept about address spaces, over all mms; sometimes too many, never too few.
    space: usize,
    /// Time when recording began, nanoseconds.
    start: u64,
    /// The model learns nothing from events up to this time, because some before it are missing.
    blind_until: u64,
    values: Values,
    causes: [u64; Cause::ALL.len()],
    open_faults: OpenFaults,
    blind: cause::Blind,
    /// Faults in the kernel say whether page faults were disabled.
    tells_disabled: bool,
    /// Lock acquisitions and faults in the kernel tell the entry into the kernel.
    tells_call: bool,
    /// Effect of the event that is taken now.
    effect: Effect,
    intervals: Intervals,
    standing: Standing,
    mappings: Mappings,
    measures: Measures,
    functions: Functions,
    /// Page tables, and the tasks that work on them.
    tables: Tables,
    /// Anonymous collapses that have unlinked a table.
    collapsing: Vec<Collapsing>,
    hugetlb: HugetlbLocks,
    hugetlb_overlaps: Vec<Overlap>,
    /// VMAs that were seen with the hugetlb lock of a shareable mapping: mm and VMA.
    shareable: FxHashSet<(u64, u64)>,
    /// `pte_offset_map_rw_nolock()` shows the PMD entry that it used.
    pmd_used: bool,
    /// The model has taken an event since recording began.
    started: bool,
    /// Kinds of events that are no longer recorded.
    shed: Vec<Kind>,
}

impl Model {
    /// Returns a model that knows nothing yet.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        let value = |name, enumerator| context.value(name, enumerator).map(|v| v as u64);
        Self {
            mms: RecentMap::default(),
            tasks: RecentMap::default(),
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
            open_faults: OpenFaults::new(context),
            blind: cause::Blind::default(),
            tells_call: [Kind::StartLocking, Kind::PageFaultKernel]
                .iter()
                .any(|kind| context.carries(*kind, Column::Call)),
            tells_disabled: context.carries(Kind::PageFaultKernel, Column::PagefaultDisabled),
            effect: Effect::default(),
            intervals: Intervals::new(context.kernel.preempts_tracepoints(), context.filter.is_some(), |kind| {
                context.has(kind)
            }),
            standing: Standing::default(),
            mappings: Mappings::new(context),
            measures: Measures::default(),
            functions: Functions::new(context),
            // This is like a loss: the events before recording are missing.
            tables: Tables::beginning(context.start.saturating_add(mmap_lock::EPSILON_NS)),
            collapsing: Vec::new(),
            hugetlb: HugetlbLocks::new(context.kernel.series()),
            hugetlb_overlaps: Vec::new(),
            shareable: FxHashSet::default(),
            pmd_used: context.carries(Kind::PteOffsetMapRwNolock, Column::PmdUsed),
            started: false,
            shed: Vec::new(),
        }
    }

    /// Returns the effect of the last event.
    #[must_use]
    pub const fn effect(&self) -> &Effect {
        &self.effect
    }

    /// Faults by cause, in the order of [`Cause::ALL`]. A fault that is being handled is not counted yet.
    #[must_use]
    pub const fn causes(&self) -> &[u64; Cause::ALL.len()] {
        &self.causes
    }

    /// Migration entries that stand now, as far as is known.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.standing.entries().len()
    }

    /// Durations measured.
    #[must_use]
    pub const fn measures(&self) -> &Measures {
        &self.measures
    }

    /// Returns the mappings of all mms.
    #[must_use]
    pub const fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// Returns the mappings of all mms, for callers that ask the kernel about mappings that no event has shown, and for
    /// records from before those that are judged.
    pub(crate) const fn mappings_mut(&mut self) -> &mut Mappings {
        &mut self.mappings
    }

    /// Page tables and walks of them.
    #[must_use]
    pub const fn tables(&self) -> &shadow::Counts {
        &self.tables.counts
    }

    /// Takes the end of the stream: overlaps that had lasted by then are real.
    pub(crate) fn finish(&mut self, ts: u64, sink: &mut Sink) {
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
        self.tasks.or_default_within(tid, TASKS_MAX, |tasks| {
            tasks.retain(|_, t| !t.is_idle());
            if tasks.len() >= TASKS_MAX {
                tasks.clear();
                self.writers = 0;
            }
        })
    }

    #[inline]
    fn mm(&mut self, mm: u64) -> &mut Mm {
        mm_of(&mut self.mms, mm)
    }
}

/// The state of an mm, within the number of mms that are followed.
#[inline]
fn mm_of(mms: &mut RecentMap<u64, Mm>, mm: u64) -> &mut Mm {
    mms.or_default_within(mm, MMS_MAX, |mms| {
        mms.retain(|_, m| m.lock.is_held());
        if mms.len() >= MMS_MAX {
            mms.clear();
        }
    })
}
