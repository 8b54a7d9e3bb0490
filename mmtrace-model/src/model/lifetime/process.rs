//! Processes, their mms, and the VMA tree.

use mmtrace_common::{Record, View as _, event};

use crate::model::{Life, Mm, Model, lifetime::task::Task};
use crate::verdict::{RuleId, Sink};

impl Model {
    pub(in crate::model) fn exit_mmap(&mut self, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        self.tables.written(record.mm);
        let mm = self.mm(record.mm);
        let writer = mm.lock.writer();
        let complete = mm.lock.is_complete();
        mm.life = Life::Dying;
        self.all_unmapped(record.mm);
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

    pub(in crate::model) fn born(&mut self, mm: u64) -> Option<&mut Mm> {
        if mm == 0 {
            return None;
        }
        let entry = self.mm(mm);
        match entry.life {
            // The release that ends exit_mmap() was not seen.
            Life::Dying => {
                entry.lock.forget();
                *entry = Mm { lock: std::mem::take(&mut entry.lock), ..Mm::default() };
            }
            // Another mm at the same address. Its lock was forgotten at that release; what has been
            // seen of it since is true of the new mm: dup_mmap() locks it before the fork is announced.
            Life::Dead => (entry.life, entry.space) = (Life::Unknown, Default::default()),
            Life::Unknown | Life::Born | Life::Alive => {}
        }
        if entry.life == Life::Unknown {
            entry.life = Life::Born;
        }
        entry.is_run = true;
        Some(entry)
    }

    pub(in crate::model) fn fork(&mut self, child: u32, record: &Record) {
        self.born(record.mm);
        // The child's id may have been another task's.
        self.forget_task(child);
        *self.task(child) = Task::newborn(record.mm);
        self.newborn(child, record.ts);
    }

    /// A task that has just been forked is in no call.
    pub(in crate::model) fn newborn(&mut self, tid: u32, ts: u64) {
        if ts < self.start || ts <= self.tables.blind_until {
            return;
        }
        let walk = self.tables.walk(tid);
        walk.known = true;
        walk.depth = Some(0);
        walk.hugetlb = true;
    }

    /// Takes an exec; `old` is the id of the thread that called it.
    pub(in crate::model) fn exec(&mut self, old: u32, record: &Record) {
        self.born(record.mm);
        self.mapped_from_now(record);
        if old != 0 && old != record.tid {
            // A thread has taken over the id of its leader and given its own back (fs/exec.c:de_thread).
            self.forget_task(old);
        }
        self.task(record.tid).runs_on = record.mm;
    }

    pub(in crate::model) fn exit(&mut self, record: &Record, sink: &mut Sink) {
        let task = self.task(record.tid);
        let leaked = std::mem::take(&mut task.writes);
        if leaked.is_empty() && task.wrote {
            sink.held(RuleId::L05, record.ts);
        }
        for mm in leaked {
            self.leak(mm, record, sink, "exits");
        }
        self.walk_over(record, "exits", sink);
        // The task's state is not known from here on. Its id may be reused without a fork event (io_uring).
        self.forget_task(record.tid);
    }

    pub(in crate::model) fn forget_task(&mut self, tid: u32) {
        self.tables.forget_task(tid);
        if let Some(task) = self.tasks.remove(tid) {
            self.writers = self.writers.saturating_sub(task.writes.len() as u64);
        }
    }

    pub(in crate::model) fn ma_write(&mut self, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        let event::MaWrite { addr: start, end, vma, .. } = event::MaWrite::of(record);
        self.vma_stored(record);
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
