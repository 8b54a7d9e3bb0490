//! Page faults in user mode: what they say about the task.

use mmtrace_common::{Record, View as _, event};

use crate::model::{Life, Model, REFAULT_NS};
use crate::verdict::{RuleId, Sink};

impl Model {
    pub(in crate::model) fn user_fault(&mut self, record: &Record, sink: &mut Sink) {
        let page = event::PageFaultUser::of(record).addr & !0xfff;
        let task = self.task(record.tid);
        let again = task.last_fault.0 == page && record.ts.saturating_sub(task.last_fault.1) <= REFAULT_NS;
        task.last_fault = (page, record.ts);
        if again {
            let what = format!("task {} faults again on {page:#x}", record.tid);
            sink.violated(RuleId::H07, record, 0, &[record.tid], what);
        } else {
            sink.held(RuleId::H07, record.ts);
        }
        let leaked = std::mem::take(&mut task.writes);
        if leaked.is_empty() && task.wrote {
            sink.held(RuleId::L05, record.ts);
        }
        task.in_user_mode();
        let stayed = std::mem::replace(&mut task.runs_on, record.mm) == record.mm;
        self.walk_over(record, "is in user mode", sink);
        for mm in leaked {
            self.leak(mm, record, sink, "is in user mode");
        }
        let mm = self.mm(record.mm);
        let was_run = std::mem::replace(&mut mm.is_run, true);
        match mm.life {
            Life::Born => {
                mm.life = Life::Alive;
                sink.held(RuleId::L44, record.ts);
            }
            Life::Dying | Life::Dead if stayed => {
                mm.life = Life::Unknown;
                let what = format!("task {} runs on mm {:#x} after its exit_mmap", record.tid, record.mm);
                sink.violated(RuleId::L44, record, record.mm, &[record.tid], what);
            }
            Life::Dying | Life::Dead => {
                // The task was not seen on this mm before. Its fork or exec was not seen either, so this may be another
                // mm at the same address.
                mm.life = Life::Unknown;
                sink.unjudged(RuleId::L44);
            }
            Life::Unknown if !was_run => sink.unjudged_since_gap(RuleId::L44),
            Life::Alive | Life::Unknown => {}
        }
    }

    /// A task cannot hold this lock any more, but was not seen to release it.
    pub(in crate::model) fn leak(&mut self, mm: u64, record: &Record, sink: &mut Sink, place: &str) {
        self.mm(mm).lock.taint();
        self.writers = self.writers.saturating_sub(1);
        let what = format!(
            "task {} {place} and has not released the mmap_lock of mm {mm:#x} that it took for write",
            record.tid
        );
        sink.violated(RuleId::L05, record, mm, &[record.tid], what);
    }
}
