//! Migration waits inside faults, and the writers that wait for the waiting tasks.
//!
//! A fault that meets a migration entry sleeps until the migration is over. It keeps its lock meanwhile, the VMA lock
//! or the mmap_lock ("mm: drop VMA lock before waiting for migration", linux-mm, 2023-06), so a writer waits as long.

use mmtrace_common::{Record, View as _, event};
use rustc_hash::FxHashMap;

use crate::model::{Model, effect::What, overlap::Overlap};
use crate::verdict::{RuleId, Sink};

/// Waits that are followed at the same time. All of them are forgotten beyond that number.
const OPEN_MAX: usize = 1 << 12;

/// A task in `migration_entry_wait()`.
#[derive(Clone, Copy, Debug)]
struct Wait {
    tid: u32,
    mm: u64,
    /// The VMA that the task holds for read; 0 if it holds the mmap_lock.
    vma: u64,
    addr: u64,
    since: u64,
}

/// A task that waits for a lock, or tries to get it, for write.
#[derive(Clone, Copy, Debug)]
struct Writer {
    mm: u64,
    /// The VMA whose lock it wants; 0 for the mmap_lock.
    vma: u64,
    since: u64,
}

/// The tasks that wait.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Waiting {
    waits: Vec<Wait>,
    /// In `__vma_start_write()`, by task.
    vma_writers: FxHashMap<u32, Writer>,
    /// Between start_locking and acquire_returned for write, by task.
    lock_writers: FxHashMap<u32, Writer>,
    /// Writers that had to wait for a waiting fault and still hold the mmap_lock: the mm, and the task for which they
    /// waited.
    delayed: FxHashMap<u32, (u64, u32)>,
}

impl Waiting {
    /// Forgets an open wait of this task: it is not to be measured.
    pub(in crate::model) fn forget_wait(&mut self, tid: u32) {
        if !self.waits.is_empty() {
            self.waits.retain(|w| w.tid != tid);
        }
    }

    pub(in crate::model) fn forget_task(&mut self, tid: u32) {
        self.forget_wait(tid);
        self.vma_writers.remove(&tid);
        self.lock_writers.remove(&tid);
        self.delayed.remove(&tid);
    }

    pub(in crate::model) fn begins(&mut self, tid: u32, mm: u64, vma: u64, addr: u64, since: u64) {
        if self.waits.len() >= OPEN_MAX {
            self.waits.clear();
        }
        // An earlier wait of this task was not seen to end.
        self.forget_wait(tid);
        self.waits.push(Wait { tid, mm, vma, addr, since });
    }

    pub(in crate::model) fn vma_writer(&mut self, record: &Record) {
        let event::VmaStartWrite { vma } = event::VmaStartWrite::of(record);
        let writer = Writer { mm: record.mm, vma, since: record.ts };
        bounded(&mut self.vma_writers).insert(record.tid, writer);
    }

    pub(in crate::model) fn lock_writer(&mut self, record: &Record) {
        let writer = Writer { mm: record.mm, vma: 0, since: record.ts };
        bounded(&mut self.lock_writers).insert(record.tid, writer);
    }

    /// A writer's attempt is over. Returns the waits that it overlapped.
    fn writer_ends(&mut self, of_vma: bool, record: &Record) -> Option<(Writer, Vec<Wait>)> {
        let writers = if of_vma { &mut self.vma_writers } else { &mut self.lock_writers };
        let writer = writers.remove(&record.tid)?;
        let vma = if of_vma { event::VmaStartWriteReturn::of(record).vma } else { 0 };
        if writer.mm != record.mm || writer.vma != vma || self.waits.is_empty() {
            return None;
        }
        let hit = |w: &&Wait| w.mm == writer.mm && w.vma == vma && w.tid != record.tid;
        Some((writer, self.waits.iter().filter(hit).copied().collect()))
    }

    /// The mmap_lock is released, for read or write. Returns whether by a delayed writer that has freed no table.
    fn released(&mut self, record: &Record) -> bool {
        let delayed = !self.delayed.is_empty() && self.delayed.get(&record.tid).is_some_and(|d| d.0 == record.mm);
        if delayed {
            self.delayed.remove(&record.tid);
        }
        delayed
    }
}

fn bounded<T>(map: &mut FxHashMap<u32, T>) -> &mut FxHashMap<u32, T> {
    if map.len() >= OPEN_MAX {
        map.clear();
    }
    map
}

impl Model {
    /// A wait inside a fault is over, so the task will release its lock.
    pub(in crate::model) fn wait_ends(&mut self, record: &Record, sink: &mut Sink) {
        let waiting = &mut self.functions.waiting;
        let Some(index) = waiting.waits.iter().position(|w| w.tid == record.tid) else { return };
        let wait = waiting.waits.swap_remove(index);
        let Wait { mm, addr, vma, since, .. } = wait;
        self.effect.what = What::MigrationAwaited { mm, addr, vma, since };
        let writers = if wait.vma == 0 { &waiting.lock_writers } else { &waiting.vma_writers };
        let hit = |(tid, w): &(&u32, &Writer)| w.mm == wait.mm && w.vma == wait.vma && **tid != wait.tid;
        let mut hits: Vec<(u32, Writer)> = writers.iter().filter(hit).map(|(tid, w)| (*tid, *w)).collect();
        hits.sort_unstable_by_key(|(tid, w)| (w.since, *tid));
        for (tid, writer) in hits {
            self.overlapped(wait, tid, writer, record, sink);
        }
    }

    /// `__vma_start_write()` has returned.
    pub(in crate::model) fn vma_writer_ends(&mut self, record: &Record, sink: &mut Sink) {
        self.writer_ends(true, record, sink);
    }

    /// An acquisition of the mmap_lock for write has succeeded or failed.
    pub(in crate::model) fn lock_writer_ends(&mut self, record: &Record, sink: &mut Sink) {
        self.writer_ends(false, record, sink);
    }

    fn writer_ends(&mut self, of_vma: bool, record: &Record, sink: &mut Sink) {
        let Some((writer, waits)) = self.functions.waiting.writer_ends(of_vma, record) else { return };
        for wait in waits {
            self.overlapped(wait, record.tid, writer, record, sink);
        }
    }

    /// A writer waited for a task that holds the lock it wants, while that task waited for a migration.
    fn overlapped(&mut self, wait: Wait, tid: u32, writer: Writer, record: &Record, sink: &mut Sink) {
        let since = wait.since.max(writer.since);
        let rule = if wait.vma == 0 { RuleId::M02 } else { RuleId::M01 };
        let overlap = Overlap {
            rule: rule.rule().name,
            waiter: wait.tid,
            writer: tid,
            mm: wait.mm,
            vma: wait.vma,
            addr: wait.addr,
            ns: record.ts.saturating_sub(since),
        };
        self.measures.overlap(rule, overlap, record, sink);
        if wait.vma != 0 {
            bounded(&mut self.functions.waiting.delayed).insert(tid, (wait.mm, wait.tid));
        }
    }

    /// The mmap_lock is released. H06 is not met if a delayed writer has freed no table by now.
    pub(in crate::model) fn delay_ends(&mut self, record: &Record, sink: &mut Sink) {
        if self.functions.waiting.released(record) {
            sink.held(RuleId::H06, record.ts);
        }
    }

    /// `___pte_free_tlb()`: munmap or a similar path has unlinked a PTE table.
    pub(in crate::model) fn table_given_back(&mut self, record: &Record, sink: &mut Sink) {
        let delayed = &mut self.functions.waiting.delayed;
        if delayed.is_empty() || delayed.get(&record.tid).is_none_or(|d| d.0 != record.mm) {
            return;
        }
        let Some((mm, waiter)) = delayed.remove(&record.tid) else { return };
        let what = format!(
            "task {} frees PTE table {:#x} of mm {mm:#x} after it waited until task {waiter} ended its wait for a migration",
            record.tid,
            event::PteFreeTlb::of(record).table
        );
        sink.violated(RuleId::H06, record, mm, &[record.tid, waiter], what);
    }
}
