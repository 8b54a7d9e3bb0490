//! khugepaged and MADV_COLLAPSE.

use mmtrace_common::{Record, event};

use crate::model::{
    Model,
    effect::{Range, What},
    lifetime::task::Collapse,
};
use crate::verdict::{RuleId, Sink};

impl Model {
    pub(in crate::model) fn isolate(&mut self, record: &Record, sink: &mut Sink) {
        let task = self.task(record.tid);
        match task.writes.last().copied() {
            Some(mm) => {
                task.collapse.isolated = Some(mm);
                task.collapse.alone = None;
                sink.held(RuleId::L35, record.ts);
            }
            None => task.collapse.alone = Some(task.anchored),
        }
    }

    pub(in crate::model) fn collapse_end(&mut self, end: event::CollapseHugePage, record: &Record, sink: &mut Sink) {
        let succeeded = self.values.succeeded;
        let task = self.task(record.tid);
        let collapse =
            std::mem::replace(&mut task.collapse, Collapse { ended: true, known: true, ..Collapse::default() });
        let status = Some(u64::from(end.status));
        self.effect.what = What::Collapsed {
            range: Range::Anonymous,
            result: u64::from(end.status),
            begun: collapse.begun,
            succeeded: succeeded.is_some() && status == succeeded,
        };
        let task = self.task(record.tid);
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
        if task.anchored {
            sink.held(RuleId::L36, record.ts);
        } else {
            sink.unjudged(RuleId::L36);
        }
        match collapse.alone {
            Some(true) if sink.is_open(RuleId::L35) => {
                self.task(record.tid).anchored = false;
                let what = format!(
                    "task {} has isolated the pages of a collapse in mm {:#x} without holding an mmap_lock for write",
                    record.tid, record.mm
                );
                sink.violated(RuleId::L35, record, record.mm, &[record.tid], what);
                return;
            }
            Some(false) => sink.unjudged(RuleId::L35),
            None if !collapse.known => sink.unjudged_since_gap(RuleId::L35),
            Some(true) | None => {}
        }
        if succeeded.is_none() || status != succeeded {
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
        // The task has unlocked and not locked again, so it holds nothing for write.
        self.anchor(record.tid);
    }

    /// The task is at a place in the kernel where it holds no mmap_lock for write.
    pub(in crate::model) fn anchor(&mut self, tid: u32) {
        let task = self.task(tid);
        if task.writes.is_empty() {
            task.anchored = true;
        }
    }

    pub(in crate::model) fn collapse_file(&mut self, record: &Record, sink: &mut Sink) {
        let task = self.task(record.tid);
        if task.writes.contains(&record.mm) {
            task.writes.retain(|m| *m != record.mm);
            task.anchored = false;
            self.mm(record.mm).lock.taint();
            self.writers = self.writers.saturating_sub(1);
            let what = format!(
                "task {} has collapsed a file range while it held the mmap_lock of mm {:#x} for write",
                record.tid, record.mm
            );
            sink.violated(RuleId::L38, record, record.mm, &[record.tid], what);
        } else if task.anchored {
            sink.held(RuleId::L38, record.ts);
        } else {
            sink.unjudged(RuleId::L38);
        }
    }

    pub(in crate::model) fn scan_pmd(&mut self, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        let collapse = self.task(record.tid).collapse;
        let anchored = self.task(record.tid).anchored;
        if collapse.known && !collapse.ended {
            let lock = &mut self.mm(record.mm).lock;
            if lock.is_held() {
                sink.held(RuleId::L39, record.ts);
            } else if lock.is_complete() && anchored && sink.is_open(RuleId::L39) {
                lock.taint();
                let what = format!(
                    "task {} has scanned a range of mm {:#x} while no task held its mmap_lock",
                    record.tid, record.mm
                );
                sink.violated(RuleId::L39, record, record.mm, &[record.tid], what);
            } else {
                sink.unjudged(RuleId::L39);
            }
        } else if !collapse.known {
            sink.unjudged_since_gap(RuleId::L39);
        }
        self.scan_end(record.tid);
    }

    /// A scan of khugepaged or MADV_COLLAPSE has ended.
    pub(in crate::model) fn scan_end(&mut self, tid: u32) {
        self.task(tid).collapse = Collapse { known: true, ..Collapse::default() };
        self.anchor(tid);
    }
}
