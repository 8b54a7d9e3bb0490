//! The reference: what the kernel's mm looks like, judging by its events.
//!
//! [`Model::apply`] takes one event after another, keeps the state of locks, mms,
//! tasks and brackets, and reports to the [`Sink`] which rules were evaluated and
//! how that went. It never concludes anything from what it has not seen: state
//! starts unknown, and goes back to unknown after a loss and after a violation.

pub mod lock;
pub mod measure;
pub mod migration;
pub mod space;
pub mod task;

use mmtrace_common::{Column, Kind, Record};
use rustc_hash::FxHashMap;

use crate::{
    context::Context,
    verdict::{RuleId, Sink},
};
use lock::{Breach, Meaning, MmapLock, Overlap};
use measure::Measures;
use migration::{Bracket, Outstanding, x86_64};
use space::{Cause, Space};
use task::{Collapse, NESTING_MAX, Task};

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
#[derive(Debug)]
pub struct Model {
    mms: FxHashMap<u64, Mm>,
    tasks: FxHashMap<u32, Task>,
    outstanding: Outstanding,
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
    measures: Measures,
}

impl Model {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        let value = |name, enumerator| context.value(name, enumerator).map(|v| v as u64);
        Self {
            mms: FxHashMap::default(),
            tasks: FxHashMap::default(),
            outstanding: Outstanding::default(),
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
            measures: Measures::default(),
        }
    }

    /// Faults by cause, in the order of [`Cause::ALL`].
    #[must_use]
    pub const fn causes(&self) -> &[u64; Cause::ALL.len()] {
        &self.causes
    }

    /// Durations measured.
    #[must_use]
    pub const fn measures(&self) -> &Measures {
        &self.measures
    }

    /// Takes the next event.
    #[inline]
    pub fn apply(&mut self, record: &Record, sink: &mut Sink) {
        let Some(kind) = record.kind() else { return };
        sink.saw(record);
        if kind.is_synthetic() {
            self.lost(kind, record, sink);
            return;
        }
        if record.ts <= self.blind_until {
            return;
        }
        match kind {
            Kind::PageFaultUser => self.user_fault(record, sink),
            Kind::PageFaultKernel => {
                self.cause(record);
            }
            Kind::StartLocking | Kind::AcquireReturned | Kind::Released => self.mmap_lock(kind, record, sink),
            Kind::ContentionBegin => self.contention(record, sink),
            Kind::ContentionEnd | Kind::TlbFlush | Kind::KhugepagedScan | Kind::CollapseSwapin => {}
            Kind::SetMigrationPte | Kind::SetMigrationPmd => self.set_migration(kind, record, sink),
            Kind::RemoveMigrationPte | Kind::RemoveMigrationPmd => self.remove_migration(kind, record, sink),
            Kind::MigratePagesStart => self.migrate_start(record, sink),
            Kind::MigratePages => self.migrate_end(record, sink),
            Kind::CompactionBegin => {
                let task = self.task(record.tid);
                task.compacting = task.compacting.saturating_add(1);
                task.compaction_known = true;
            }
            Kind::CompactionEnd => {
                let task = self.task(record.tid);
                task.compacting = task.compacting.saturating_sub(1);
                task.compaction_known = true;
            }
            Kind::CollapseIsolate => self.isolate(record, sink),
            Kind::CollapseHugePage => self.collapse_end(record, sink),
            Kind::CollapseFile => self.collapse_file(record, sink),
            Kind::ScanPmd => self.scan_pmd(record, sink),
            Kind::ScanFile => self.scan_end(record.tid),
            Kind::ExitMmap => self.exit_mmap(record, sink),
            Kind::Fork => self.fork(record),
            Kind::Exec => self.exec(record),
            Kind::Exit => self.exit(record, sink),
            Kind::MaWrite => self.ma_write(record, sink),
            Kind::Loss | Kind::Missed | Kind::Gap => {}
        }
    }

    /// Takes the end of the stream: overlaps that had lasted by then are real.
    pub fn finish(&mut self, ts: u64, sink: &mut Sink) {
        let mut open: Vec<u64> = self.mms.keys().copied().collect();
        open.sort_unstable();
        for mm in open {
            let end = Record { ts, mm, ..Record::default() };
            self.settle(&end, sink);
        }
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

    /// Events are missing: what they could have changed is no longer known.
    fn lost(&mut self, kind: Kind, record: &Record, sink: &mut Sink) {
        let until = record.get(Column::Until).unwrap_or(u64::MAX);
        let count = record.get(Column::Count).unwrap_or(0);
        let of = match kind {
            Kind::Gap => None,
            _ => record.get(Column::LostKind).and_then(|k| Kind::from_u16(k as u16)),
        };
        sink.missing(of, count);
        match of {
            // No lock and no bracket depends on these.
            Some(
                Kind::PageFaultUser
                | Kind::PageFaultKernel
                | Kind::TlbFlush
                | Kind::ContentionBegin
                | Kind::ContentionEnd
                | Kind::KhugepagedScan
                | Kind::CollapseSwapin,
            ) => {}
            Some(Kind::MaWrite) => {
                for mm in self.mms.values_mut() {
                    mm.space = Space::default();
                }
            }
            _ => {
                self.mms.clear();
                self.tasks.clear();
                self.outstanding.clear();
                self.writers = 0;
                self.blind_until = self.blind_until.max(until);
            }
        }
    }

    fn cause(&mut self, record: &Record) -> Cause {
        let addr = record.args[0];
        let cause = if self.outstanding.contains(addr & !0xfff) {
            Cause::Migration
        } else {
            self.with_space(record.mm, |space| space.fault(addr, u64::from(record.aux)))
        };
        self.causes[cause as usize] += 1;
        cause
    }

    /// Works on an mm's address space within the memory that all of them may use.
    #[inline]
    fn with_space<T>(&mut self, mm: u64, work: impl FnOnce(&mut Space) -> T) -> T {
        let space = &mut self.mm(mm).space;
        let before = space.len();
        let result = work(space);
        let after = space.len();
        self.space = (self.space + after).saturating_sub(before);
        if self.space > SPACE_MAX {
            for mm in self.mms.values_mut() {
                mm.space = Space::default();
            }
            self.space = 0;
        }
        result
    }

    fn user_fault(&mut self, record: &Record, sink: &mut Sink) {
        let page = record.args[0] & !0xfff;
        let task = self.task(record.tid);
        let again = task.last_fault.0 == page && record.ts.saturating_sub(task.last_fault.1) <= REFAULT_NS;
        task.last_fault = (page, record.ts);
        sink.held(RuleId::H07, record.ts);
        if again {
            sink.violated(
                RuleId::H07,
                record,
                0,
                &[record.tid],
                format!("task {} faults again on {page:#x}", record.tid),
            );
        }
        let leaked = std::mem::take(&mut task.writes);
        if leaked.is_empty() && task.wrote {
            sink.held(RuleId::L05, record.ts);
        }
        task.in_user_mode();
        for mm in leaked {
            self.leak(mm, record, sink, "is in user mode");
        }
        let mm = self.mm(record.mm);
        match mm.life {
            Life::Born => {
                mm.life = Life::Alive;
                sink.held(RuleId::L44, record.ts);
            }
            Life::Dying | Life::Dead => {
                mm.life = Life::Unknown;
                let what = format!("task {} runs on an mm after its exit_mmap", record.tid);
                sink.violated(RuleId::L44, record, record.mm, &[record.tid], what);
            }
            Life::Alive | Life::Unknown => {}
        }
        self.cause(record);
    }

    /// A task cannot hold this lock any more, and has not released it.
    fn leak(&mut self, mm: u64, record: &Record, sink: &mut Sink, place: &str) {
        self.mm(mm).lock.taint();
        self.writers = self.writers.saturating_sub(1);
        let what = format!(
            "task {} {place} and has not released the mmap_lock of mm {mm:#x} that it took for write",
            record.tid
        );
        sink.violated(RuleId::L05, record, mm, &[record.tid], what);
    }

    /// Reports an overlap on this event's mm that has lasted.
    fn settle(&mut self, record: &Record, sink: &mut Sink) {
        let Some(mm) = self.mms.get_mut(&record.mm) else { return };
        let Some(Breach { overlap, holder, taker }) = mm.lock.settle(record.ts) else { return };
        for tid in [holder.tid, taker.tid] {
            if let Some(task) = self.tasks.get_mut(&tid) {
                task.writes.retain(|m| *m != record.mm);
                // Releases that belong to this are still to come.
                task.anchored = false;
            }
        }
        self.count_writers();
        let (rule, how) = match overlap {
            Overlap::WriteWrite => (RuleId::L01, "holds it for write and another task got it for write"),
            Overlap::ReadWrite => (RuleId::L02, "and another task held it at once, one for read and one for write"),
            Overlap::DowngradedWrite => (RuleId::L03, "holds it downgraded and another task got it for write"),
        };
        let what = format!(
            "mmap_lock of mm {:#x}: task {} {how}: task {}, {} ns later",
            record.mm,
            holder.tid,
            taker.tid,
            taker.since.saturating_sub(holder.since)
        );
        sink.violated(rule, record, record.mm, &[holder.tid, taker.tid], what);
    }

    fn mmap_lock(&mut self, kind: Kind, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        let write = record.aux & 1 != 0;
        match kind {
            Kind::StartLocking => {
                self.task(record.tid).start(record.mm, write);
                self.measures.wait_begins(record);
            }
            Kind::AcquireReturned if record.aux & 2 == 0 => {
                // A failed trylock or a killed wait: nothing is held.
                self.task(record.tid).returned(record.mm, write);
                self.measures.wait_fails(record);
            }
            Kind::AcquireReturned => self.acquired(record, write, sink),
            _ => self.released(record, write, sink),
        }
    }

    fn acquired(&mut self, record: &Record, write: bool, sink: &mut Sink) {
        let task = self.task(record.tid);
        let announced = task.returned(record.mm, write);
        let anchored = task.anchored;
        if write {
            if announced {
                self.measures.wait_ends(record, sink);
            }
            let mm = self.mm(record.mm);
            let known = mm.lock.acquire_write(record);
            let task = self.task(record.tid);
            if task.writes.len() == NESTING_MAX {
                // Their ends were not seen.
                *task = Task::default();
            }
            task.writes.push(record.mm);
            self.writes += 1;
            self.writers += 1;
            self.measures.hold_begins(record);
            for rule in [RuleId::L01, RuleId::L02, RuleId::L03] {
                if known { sink.held(rule, record.ts) } else { sink.unjudged(rule) }
            }
            return;
        }
        let writer = self.mm(record.mm).lock.writer();
        let downgrade = !announced && (anchored || writer.is_some_and(|w| w.tid == record.tid));
        if !downgrade {
            if announced {
                self.measures.wait_ends(record, sink);
            }
            let known = self.mm(record.mm).lock.acquire_read(record);
            if known {
                sink.held(RuleId::L02, record.ts);
            } else {
                sink.unjudged(RuleId::L02);
            }
            return;
        }
        let mm = self.mm(record.mm);
        let known = mm.lock.is_complete();
        if mm.lock.downgrade(record) {
            sink.held(RuleId::L08, record.ts);
            mm.space.unmapped();
            self.measures.hold_ends(record, sink);
            self.task(record.tid).wrote(record.mm);
            self.writers = self.writers.saturating_sub(1);
        } else if known {
            mm.lock.taint();
            let what = format!(
                "task {} downgrades the mmap_lock of mm {:#x} without holding it for write",
                record.tid, record.mm
            );
            let mut tids = vec![record.tid];
            tids.extend(writer.map(|w| w.tid));
            self.forget_writes(record.mm);
            sink.violated(RuleId::L08, record, record.mm, &tids, what);
        } else {
            sink.unjudged(RuleId::L08);
        }
    }

    fn released(&mut self, record: &Record, write: bool, sink: &mut Sink) {
        let lock = &mut self.mm(record.mm).lock;
        if !write {
            match lock.release_read(record) {
                Meaning::Right => sink.held(RuleId::L06, record.ts),
                Meaning::NotHeld => {
                    self.forget_writes(record.mm);
                    let what = format!(
                        "task {} releases the mmap_lock of mm {:#x} for read, and nobody holds it for read",
                        record.tid, record.mm
                    );
                    sink.violated(RuleId::L06, record, record.mm, &[record.tid], what);
                }
                Meaning::Unknown | Meaning::NotOwner(_) => sink.unjudged(RuleId::L06),
            }
            return;
        }
        let meaning = lock.release_write(record);
        if self.mm(record.mm).life == Life::Dying {
            // Whoever gets this address next may not be recorded from the beginning.
            let mm = self.mm(record.mm);
            mm.lock = MmapLock::default();
            mm.life = Life::Dead;
        }
        self.task(record.tid).wrote(record.mm);
        match meaning {
            Meaning::Right => {
                self.writers = self.writers.saturating_sub(1);
                self.measures.hold_ends(record, sink);
                sink.held(RuleId::L04, record.ts);
            }
            Meaning::NotOwner(writer) => {
                self.forget_writes(record.mm);
                let whose = writer.map_or_else(|| "nobody".to_owned(), |w| format!("task {}", w.tid));
                let what = format!(
                    "task {} releases the mmap_lock of mm {:#x} for write, which {whose} holds",
                    record.tid, record.mm
                );
                let mut tids = vec![record.tid];
                tids.extend(writer.map(|w| w.tid));
                sink.violated(RuleId::L04, record, record.mm, &tids, what);
            }
            Meaning::Unknown | Meaning::NotHeld => {
                sink.unjudged(RuleId::L04);
                // A write hold that nobody saw begin: it was there all the time.
                sink.withdraw(RuleId::L40);
            }
        }
    }

    /// After a violation on this lock nothing is concluded from who held it.
    fn forget_writes(&mut self, mm: u64) {
        for task in self.tasks.values_mut() {
            if task.writes.contains(&mm) {
                task.writes.retain(|m| *m != mm);
                task.anchored = false;
            }
        }
        self.count_writers();
    }

    fn count_writers(&mut self) {
        self.writers = self.tasks.values().map(|t| t.writes.len() as u64).sum();
    }

    fn contention(&mut self, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        let writer = self.mm(record.mm).lock.writer();
        if writer.is_some_and(|w| w.tid == record.tid) {
            self.mm(record.mm).lock.taint();
            self.forget_writes(record.mm);
            let what = format!(
                "task {} waits for the mmap_lock of mm {:#x}, which it holds for write itself",
                record.tid, record.mm
            );
            sink.violated(RuleId::L07, record, record.mm, &[record.tid], what);
        } else {
            sink.held(RuleId::L07, record.ts);
        }
    }

    fn set_migration(&mut self, kind: Kind, record: &Record, sink: &mut Sink) {
        let (addr, entry) = (record.args[0], record.args[1]);
        if x86_64::is_present(entry) {
            let what = format!("{} at {addr:#x} stores {entry:#x}, which is present", kind.name());
            sink.violated(RuleId::L41, record, 0, &[record.tid], what);
        } else {
            self.migration_types |= 1 << x86_64::swap_type(entry);
            sink.held(RuleId::L41, record.ts);
        }
        if kind == Kind::SetMigrationPte {
            self.outstanding.set(addr & !0xfff, record.ts);
            if let Some(bracket) = self.task(record.tid).brackets.last_mut() {
                bracket.set(addr);
            }
        }
    }

    fn remove_migration(&mut self, kind: Kind, record: &Record, sink: &mut Sink) {
        let (addr, entry) = (record.args[0], record.args[1]);
        if !x86_64::is_present(entry) && self.migration_types & 1 << x86_64::swap_type(entry) != 0 {
            let what = format!("{} at {addr:#x} leaves {entry:#x}, which is a migration entry", kind.name());
            sink.violated(RuleId::L41, record, 0, &[record.tid], what);
        } else {
            sink.held(RuleId::L41, record.ts);
        }
        if kind == Kind::RemoveMigrationPte {
            if let Some(span) = self.outstanding.remove(addr & !0xfff, record.ts) {
                self.measures.migration(span, record, sink);
            }
            if let Some(bracket) = self.task(record.tid).brackets.last_mut() {
                bracket.remove(record, addr);
            }
        }
    }

    fn migrate_start(&mut self, record: &Record, sink: &mut Sink) {
        let (writes, writers) = (self.writes, self.writers > 0);
        let for_compaction = self.values.for_compaction;
        let task = self.task(record.tid);
        if task.brackets.len() == NESTING_MAX {
            // Their ends were not seen.
            task.brackets.clear();
            task.anchored = false;
        }
        let reason = record.get(Column::Reason).unwrap_or(u64::MAX);
        task.brackets.push(Bracket::new(record.ts, reason, writes, writers));
        if Some(reason) == for_compaction {
            if !task.compaction_known {
                sink.unjudged(RuleId::L46);
            } else if task.compacting > 0 {
                sink.held(RuleId::L46, record.ts);
            } else {
                task.compaction_known = false;
                let what = format!("task {} migrates for compaction and does not compact", record.tid);
                sink.violated(RuleId::L46, record, 0, &[record.tid], what);
            }
        }
    }

    fn migrate_end(&mut self, record: &Record, sink: &mut Sink) {
        let (writes, writers) = (self.writes, self.writers > 0);
        let (without_reclaim, start) = (self.values.without_reclaim, self.start);
        let task = self.task(record.tid);
        let Some(bracket) = task.brackets.pop() else {
            if task.anchored && sink.is_open(RuleId::L42) {
                task.anchored = false;
                let what = format!("task {} leaves migrate_pages() without having entered it", record.tid);
                sink.violated(RuleId::L42, record, 0, &[record.tid], what);
            } else {
                sink.unjudged(RuleId::L42);
            }
            return;
        };
        sink.held(RuleId::L42, record.ts);
        if bracket.set + bracket.removed == 0 {
            return;
        }
        let huge = [Column::ThpSucceeded, Column::ThpFailed, Column::ThpSplit];
        let calm = without_reclaim.contains(&Some(bracket.reason)) && bracket.since >= start + SETTLE_NS;
        let quiet = bracket.writes_before == writes && !bracket.writers_at_start && !writers;
        if !calm || !quiet || !bracket.is_complete() || huge.iter().any(|c| record.get(*c) != Some(0)) {
            sink.unjudged(RuleId::L40);
            return;
        }
        match bracket.surplus {
            // Fewer removed than set: some were zapped meanwhile, or moved to another address.
            Some((addr, ts)) if bracket.removed > bracket.set => {
                let what = format!(
                    "task {} removed more migration entries at {addr:#x} than it set there, first {} ns before it left migrate_pages(); {} set and {} removed in all",
                    record.tid,
                    record.ts.saturating_sub(ts),
                    bracket.set,
                    bracket.removed
                );
                sink.violated(RuleId::L40, record, 0, &[record.tid], what);
            }
            _ => sink.held(RuleId::L40, record.ts),
        }
    }

    fn isolate(&mut self, record: &Record, sink: &mut Sink) {
        let task = self.task(record.tid);
        match task.writes.last().copied() {
            Some(mm) => {
                task.collapse.isolated = Some(mm);
                task.collapse.alone = false;
                sink.held(RuleId::L35, record.ts);
                self.measures.isolated(record.tid);
            }
            None if task.anchored => task.collapse.alone = true,
            None => sink.unjudged(RuleId::L35),
        }
    }

    fn collapse_end(&mut self, record: &Record, sink: &mut Sink) {
        let succeeded = self.values.succeeded;
        let task = self.task(record.tid);
        let collapse =
            std::mem::replace(&mut task.collapse, Collapse { ended: true, known: true, ..Collapse::default() });
        if task.writes.contains(&record.mm) {
            task.writes.retain(|m| *m != record.mm);
            task.anchored = false;
            self.mm(record.mm).lock.taint();
            self.writers = self.writers.saturating_sub(1);
            let what = format!(
                "task {} has ended a collapse and still holds the mmap_lock of mm {:#x} for write",
                record.tid, record.mm
            );
            sink.violated(RuleId::L36, record, record.mm, &[record.tid], what);
            return;
        }
        sink.held(RuleId::L36, record.ts);
        if collapse.alone && sink.is_open(RuleId::L35) {
            self.task(record.tid).anchored = false;
            let what = format!(
                "task {} has isolated the pages of a collapse in mm {:#x} and held no mmap_lock for write",
                record.tid, record.mm
            );
            sink.violated(RuleId::L35, record, record.mm, &[record.tid], what);
            return;
        }
        if succeeded.is_none() || record.get(Column::Status) != succeeded {
            return;
        }
        if collapse.isolated == Some(record.mm) {
            sink.held(RuleId::L37, record.ts);
        } else if collapse.known && task.anchored {
            let what = format!(
                "task {} has collapsed a range of mm {:#x} without isolating its pages under the write lock",
                record.tid, record.mm
            );
            sink.violated(RuleId::L37, record, record.mm, &[record.tid], what);
        } else {
            sink.unjudged(RuleId::L37);
        }
        // After the unlock, and before the next lock: it holds nothing for write.
        self.anchor(record.tid);
    }

    /// The task is at a place in the kernel where it holds no mmap_lock for write.
    fn anchor(&mut self, tid: u32) {
        let task = self.task(tid);
        if task.writes.is_empty() {
            task.anchored = true;
        }
    }

    fn collapse_file(&mut self, record: &Record, sink: &mut Sink) {
        let task = self.task(record.tid);
        if task.writes.contains(&record.mm) {
            task.writes.retain(|m| *m != record.mm);
            task.anchored = false;
            self.mm(record.mm).lock.taint();
            self.writers = self.writers.saturating_sub(1);
            let what = format!(
                "task {} has collapsed a file range while it holds the mmap_lock of mm {:#x} for write",
                record.tid, record.mm
            );
            sink.violated(RuleId::L38, record, record.mm, &[record.tid], what);
        } else {
            sink.held(RuleId::L38, record.ts);
        }
    }

    fn scan_pmd(&mut self, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        let collapse = self.task(record.tid).collapse;
        let anchored = self.task(record.tid).anchored;
        if collapse.known && !collapse.ended {
            let lock = &mut self.mm(record.mm).lock;
            if !lock.readers().is_empty() || lock.writer().is_some() {
                sink.held(RuleId::L39, record.ts);
            } else if lock.is_complete() && anchored && sink.is_open(RuleId::L39) {
                lock.taint();
                let what = format!(
                    "task {} has scanned a range of mm {:#x} and nobody holds its mmap_lock",
                    record.tid, record.mm
                );
                sink.violated(RuleId::L39, record, record.mm, &[record.tid], what);
            } else {
                sink.unjudged(RuleId::L39);
            }
        }
        self.scan_end(record.tid);
    }

    /// A scan of khugepaged or MADV_COLLAPSE has ended.
    fn scan_end(&mut self, tid: u32) {
        self.task(tid).collapse = Collapse { known: true, ..Collapse::default() };
        self.anchor(tid);
    }

    fn exit_mmap(&mut self, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        let mm = self.mm(record.mm);
        let writer = mm.lock.writer();
        let complete = mm.lock.is_complete();
        mm.life = Life::Dying;
        let gone = std::mem::take(&mut mm.space).len();
        self.space = self.space.saturating_sub(gone);
        if writer.is_some_and(|w| w.tid == record.tid) {
            sink.held(RuleId::L43, record.ts);
        } else if complete {
            self.mm(record.mm).lock.taint();
            let what = format!(
                "task {} has freed the page tables of mm {:#x} without holding its mmap_lock for write",
                record.tid, record.mm
            );
            let mut tids = vec![record.tid];
            tids.extend(writer.map(|w| w.tid));
            self.forget_writes(record.mm);
            sink.violated(RuleId::L43, record, record.mm, &tids, what);
        } else {
            sink.unjudged(RuleId::L43);
        }
    }

    fn born(&mut self, mm: u64) -> Option<&mut Mm> {
        if mm == 0 {
            return None;
        }
        let entry = self.mm(mm);
        if matches!(entry.life, Life::Dying | Life::Dead) {
            // Another mm at the same address.
            *entry = Mm::default();
        }
        if entry.life == Life::Unknown {
            entry.life = Life::Born;
        }
        Some(entry)
    }

    fn fork(&mut self, record: &Record) {
        self.born(record.mm);
        // The child's id may have been another task's.
        self.forget_task(record.args[1] as u32);
        *self.task(record.args[1] as u32) = Task::newborn();
    }

    fn exec(&mut self, record: &Record) {
        if let Some(mm) = self.born(record.mm) {
            // What it has mapped by now was not all seen.
            mm.space.begin();
        }
    }

    fn exit(&mut self, record: &Record, sink: &mut Sink) {
        let task = self.task(record.tid);
        let leaked = std::mem::take(&mut task.writes);
        if leaked.is_empty() && task.wrote {
            sink.held(RuleId::L05, record.ts);
        }
        for mm in leaked {
            self.leak(mm, record, sink, "exits");
        }
        // What it does from here on is not anchored; its id may be reused without a fork event (io_uring).
        self.forget_task(record.tid);
    }

    fn forget_task(&mut self, tid: u32) {
        if let Some(task) = self.tasks.remove(&tid) {
            self.writers = self.writers.saturating_sub(task.writes.len() as u64);
        }
    }

    fn ma_write(&mut self, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        let (start, end, vma) = (record.args[0], record.args[1], record.args[2]);
        self.with_space(record.mm, |space| space.store(start, end, vma));
        let mm = self.mm(record.mm);
        let writer = mm.lock.writer();
        if writer.is_some_and(|w| w.tid == record.tid) {
            sink.held(RuleId::L45, record.ts);
        } else if mm.lock.is_complete() && sink.is_open(RuleId::L45) {
            mm.lock.taint();
            let what = format!(
                "task {} stores VMA {vma:#x} over {start:#x}-{end:#x} without holding the mmap_lock of mm {:#x} for write",
                record.tid, record.mm
            );
            let mut tids = vec![record.tid];
            tids.extend(writer.map(|w| w.tid));
            self.forget_writes(record.mm);
            sink.violated(RuleId::L45, record, record.mm, &tids, what);
        } else {
            sink.unjudged(RuleId::L45);
        }
    }
}
