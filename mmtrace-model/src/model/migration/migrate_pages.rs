//! Migration events: entries that are set and removed, and calls that nest.

use mmtrace_common::{Kind, Record, event};

use crate::model::{
    Model, NESTING_MAX, SETTLE_NS,
    migration::entries::{Bracket, x86_64},
};
use crate::verdict::{RuleId, Sink};

impl Model {
    /// An entry was replaced by a migration entry.
    pub(in crate::model) fn set_migration(
        &mut self,
        kind: Kind,
        addr: u64,
        entry: u64,
        record: &Record,
        sink: &mut Sink,
    ) {
        if x86_64::is_present(entry) {
            let what = format!("{} at {addr:#x} stores {entry:#x}, which is present", kind.name());
            sink.violated(RuleId::L41, record, 0, &[record.tid], what);
        } else {
            self.migration_types |= 1 << x86_64::swap_type(entry);
            sink.held(RuleId::L41, record.ts);
        }
        if kind == Kind::SetMigrationPte
            && let Some(bracket) = self.task(record.tid).brackets.last_mut()
        {
            bracket.set(addr);
        }
    }

    /// A migration entry was replaced by another entry.
    pub(in crate::model) fn remove_migration(
        &mut self,
        kind: Kind,
        addr: u64,
        entry: u64,
        record: &Record,
        sink: &mut Sink,
    ) {
        if !x86_64::is_present(entry) && self.migration_types & 1 << x86_64::swap_type(entry) != 0 {
            let what = format!("{} at {addr:#x} leaves {entry:#x}, which is a migration entry", kind.name());
            sink.violated(RuleId::L41, record, 0, &[record.tid], what);
        } else {
            sink.held(RuleId::L41, record.ts);
        }
        if kind == Kind::RemoveMigrationPte
            && let Some(bracket) = self.task(record.tid).brackets.last_mut()
        {
            bracket.remove(record, addr);
        }
    }

    pub(in crate::model) fn migrate_start(&mut self, call: event::MigratePagesStart, record: &Record, sink: &mut Sink) {
        let (writes, writers) = (self.writes, self.writers > 0);
        let for_compaction = self.values.for_compaction;
        let task = self.task(record.tid);
        if task.brackets.len() == NESTING_MAX {
            // The ends of these calls were not seen.
            task.brackets.clear();
            task.anchored = false;
        }
        let reason = u64::from(call.reason);
        task.brackets.push(Bracket::new(record.ts, reason, writes, writers));
        if Some(reason) == for_compaction {
            if !task.compaction_known {
                sink.unjudged(RuleId::L46);
            } else if task.compacting > 0 {
                sink.held(RuleId::L46, record.ts);
            } else {
                task.compaction_known = false;
                let what = format!("task {} migrates pages for compaction outside a compaction", record.tid);
                sink.violated(RuleId::L46, record, 0, &[record.tid], what);
            }
        }
    }

    pub(in crate::model) fn migrate_end(&mut self, call: event::MigratePages, record: &Record, sink: &mut Sink) {
        let (writes, writers) = (self.writes, self.writers > 0);
        let (without_reclaim, start) = (self.values.without_reclaim, self.start);
        let task = self.task(record.tid);
        let Some(bracket) = task.brackets.pop() else {
            if task.anchored && sink.is_open(RuleId::L42) {
                task.anchored = false;
                let what = format!("task {} returns from migrate_pages() without having entered it", record.tid);
                sink.violated(RuleId::L42, record, 0, &[record.tid], what);
            } else {
                sink.unjudged(RuleId::L42);
                sink.unjudged_since_gap(RuleId::L40);
            }
            return;
        };
        sink.held(RuleId::L42, record.ts);
        if bracket.set + bracket.removed == 0 {
            return;
        }
        let huge = [call.thp_succeeded, call.thp_failed, call.thp_split];
        let calm = without_reclaim.contains(&Some(bracket.reason)) && bracket.since >= start.saturating_add(SETTLE_NS);
        let quiet = bracket.writes_before == writes && !bracket.writers_at_start && !writers;
        if !calm || !quiet || !bracket.is_complete() || huge != [0; 3] {
            sink.unjudged(RuleId::L40);
            return;
        }
        match bracket.surplus {
            // Fewer entries may be removed than were set: some were zapped meanwhile, or moved to another address.
            Some((addr, ts)) if bracket.removed > bracket.set => {
                let what = format!(
                    "task {} removed more migration entries at {addr:#x} than it set there, first {} ns before migrate_pages() returned; it set {} and removed {} in all",
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
}
