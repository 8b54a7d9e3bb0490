//! The mmap_lock events: who holds the lock, and which rules that evaluates.

use mmtrace_common::Record;

use crate::model::{
    Life, Model, NESTING_MAX,
    lifetime::task::Task,
    locks::{
        exclusion::Mode,
        mmap_lock::{Breach, EPSILON_NS, LockStep, Meaning},
    },
};
use crate::verdict::{RuleId, Sink};

impl Model {
    /// Reports an overlap on this event's mm that has lasted.
    pub(in crate::model) fn settle(&mut self, record: &Record, sink: &mut Sink) {
        let Some(mm) = self.mms.get_mut(record.mm) else { return };
        let settled = mm.lock.settle(record.ts);
        for _ in 0..settled.doubts {
            sink.unjudged(RuleId::L02);
        }
        if let Some(breach) = settled.breach {
            self.breached(breach, record, sink);
        }
    }

    /// Two tasks held the lock at the same time.
    fn breached(&mut self, breach: Breach, record: &Record, sink: &mut Sink) {
        let (holder, taker) = (breach.holder, breach.taker);
        for tid in [holder.tid, taker.tid] {
            if let Some(task) = self.tasks.get_mut(tid) {
                task.writes.retain(|m| *m != record.mm);
                // The releases of these holds are still to come.
                task.anchored = false;
            }
        }
        self.count_writers();
        let rule = match breach.modes() {
            (Mode::Write, Mode::Write) => RuleId::L01,
            (Mode::Downgraded, _) | (_, Mode::Downgraded) => RuleId::L03,
            _ => RuleId::L02,
        };
        let what = format!(
            "task {} got the mmap_lock of mm {:#x} for {} while task {} held it for {}, {} ns after that task got it",
            taker.tid,
            record.mm,
            taker.mode.name(),
            holder.tid,
            holder.mode.name(),
            taker.since.saturating_sub(holder.since)
        );
        let acquisitions = [holder.shown_by, taker.shown_by];
        sink.violated_by(rule, record, record.mm, &[holder.tid, taker.tid], what, &acquisitions);
    }

    pub(in crate::model) fn mmap_lock(&mut self, step: LockStep, write: bool, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        match (step, write) {
            (LockStep::Starts, write) => {
                self.task(record.tid).start(record.mm, write);
            }
            (LockStep::Failed, write) => {
                self.task(record.tid).returned(record.mm, write);
            }
            (LockStep::Acquired, write) => self.acquired(record, write, sink),
            (LockStep::Released, write) => self.released(record, write, sink),
        }
    }

    pub(in crate::model) fn acquired(&mut self, record: &Record, write: bool, sink: &mut Sink) {
        let task = self.task(record.tid);
        let announced = task.returned(record.mm, write);
        let anchored = task.anchored;
        if write {
            let sure = self.is_sure(record.ts);
            self.tables.written(record.mm);
            let mm = self.mm(record.mm);
            let known = mm.lock.acquire_write(record);
            if !sure {
                mm.lock.doubt();
            }
            let task = self.task(record.tid);
            if task.writes.len() == NESTING_MAX {
                // The ends of these holds were not seen.
                *task = Task::default();
            }
            task.writes.push(record.mm);
            self.writes += 1;
            self.writers += 1;
            for rule in [RuleId::L01, RuleId::L02, RuleId::L03] {
                if known { sink.held(rule, record.ts) } else { sink.unjudged(rule) }
            }
            return;
        }
        let writer = self.mm(record.mm).lock.writer();
        let downgrade = !announced && (anchored || writer.is_some_and(|w| w.tid == record.tid));
        if !downgrade {
            let known = self.mm(record.mm).lock.acquire_read(record);
            if known {
                sink.held(RuleId::L02, record.ts);
            } else {
                sink.unjudged(RuleId::L02);
            }
            return;
        }
        self.collapse_unlocks(record, sink);
        let mm = self.mm(record.mm);
        let known = mm.lock.is_complete();
        if mm.lock.downgrade(record) {
            sink.held(RuleId::L08, record.ts);
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

    /// Whether no missing event, and none from before recording, can have come after this time, whatever the clocks
    /// say.
    fn is_sure(&self, ts: u64) -> bool {
        ts > self.blind_until.max(self.start).saturating_add(EPSILON_NS)
    }

    pub(in crate::model) fn released(&mut self, record: &Record, write: bool, sink: &mut Sink) {
        let sure = self.is_sure(record.ts);
        let mm = self.mm(record.mm);
        let all_seen = mm.is_run;
        let lock = &mut mm.lock;
        if !write {
            match lock.release_read(record, all_seen) {
                Meaning::Right => sink.held(RuleId::L06, record.ts),
                Meaning::Overtaken(breach) => self.breached(breach, record, sink),
                Meaning::NotHeld => {
                    self.forget_writes(record.mm);
                    let what = format!(
                        "task {} releases the mmap_lock of mm {:#x} for read, but no task holds it for read",
                        record.tid, record.mm
                    );
                    sink.violated(RuleId::L06, record, record.mm, &[record.tid], what);
                }
                Meaning::Unknown | Meaning::NotOwner(_) => sink.unjudged(RuleId::L06),
            }
            return;
        }
        let meaning = lock.release_write(record);
        if !sure {
            lock.doubt();
        }
        self.collapse_unlocks(record, sink);
        if self.mm(record.mm).life == Life::Dying {
            // The next mm at this address may not be recorded from its beginning.
            let mm = self.mm(record.mm);
            mm.lock.forget();
            mm.life = Life::Dead;
            mm.is_run = false;
        }
        self.task(record.tid).wrote(record.mm);
        match meaning {
            Meaning::Right => {
                self.writers = self.writers.saturating_sub(1);
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
            Meaning::Unknown | Meaning::NotHeld | Meaning::Overtaken(_) => {
                sink.unjudged(RuleId::L04);
                // Nobody saw this write hold begin, so it was there all the time.
                sink.withdraw(RuleId::L40);
            }
        }
    }

    /// After a violation on this lock, the model concludes nothing from its holders.
    pub(in crate::model) fn forget_writes(&mut self, mm: u64) {
        for task in self.tasks.values_mut() {
            if task.writes.contains(&mm) {
                task.writes.retain(|m| *m != mm);
                task.anchored = false;
            }
        }
        self.count_writers();
    }

    pub(in crate::model) fn count_writers(&mut self) {
        self.writers = self.tasks.values().map(|t| t.writes.len() as u64).sum();
    }

    pub(in crate::model) fn contention(&mut self, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        let lock = &self.mm(record.mm).lock;
        let (writer, complete) = (lock.writer(), lock.is_complete());
        if writer.is_some_and(|w| w.tid == record.tid) {
            self.mm(record.mm).lock.taint();
            self.forget_writes(record.mm);
            let what = format!(
                "task {} waits for the mmap_lock of mm {:#x}, which it itself holds for write",
                record.tid, record.mm
            );
            sink.violated(RuleId::L07, record, record.mm, &[record.tid], what);
        } else if complete || writer.is_some() {
            sink.held(RuleId::L07, record.ts);
        } else {
            sink.unjudged(RuleId::L07);
        }
    }
}
