//! The work of khugepaged, MADV_COLLAPSE, migration and compaction.

use std::collections::BTreeMap;

use crate::{
    durations::Durations,
    model::effect::{Effect, Range, What},
};

/// Different results that are told apart. Further results are counted together.
const RESULTS_MAX: usize = 256;

/// Collapse and migration so far.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Results of scans of anonymous ranges, by `scan_result`.
    pub scans: BTreeMap<u64, u64>,
    /// Results of scans of files.
    pub file_scans: BTreeMap<u64, u64>,
    /// Results of collapses of anonymous ranges.
    pub collapses: BTreeMap<u64, u64>,
    /// Results of collapses of files.
    pub file_collapses: BTreeMap<u64, u64>,
    /// Calls of `migrate_pages()` that are over, by `migrate_reason`.
    pub migrations: BTreeMap<u64, u64>,
    /// Pages migrated.
    pub migrated: u64,
    /// Pages that could not be migrated.
    pub failed: u64,
    /// Migration entries set.
    pub set: u64,
    /// Migration entries removed.
    pub removed: u64,
    /// Zones compacted: calls of `compact_zone()` that are over.
    pub compactions: u64,
    /// Results of collapses of huge pages that are mapped by PTEs, by `scan_result`.
    pub pte_mapped: BTreeMap<u64, u64>,
    /// Durations of collapses of anonymous ranges.
    pub collapse: Durations,
    /// Calls of `retract_page_tables()` that are over.
    pub retracts: u64,
    /// PTE tables that they unlinked.
    pub retracted: u64,
    /// Migration waits of faults: under the VMA lock, and under the mmap_lock.
    pub waits: [Durations; 2],
    /// Waits whose begin was not seen, or that were not in a fault.
    pub unmeasured: u64,
    /// Times that a task went to sleep for a migration, in a fault or elsewhere.
    pub slept: u64,
    /// Faults that met a migration entry of hugetlb.
    pub huge_waits: u64,
}

/// Of results there are some fifty; a stranger's capture may make up others without end.
fn count(results: &mut BTreeMap<u64, u64>, result: u64) {
    let result = if results.len() < RESULTS_MAX || results.contains_key(&result) { result } else { u64::MAX };
    *results.entry(result).or_default() += 1;
}

impl Work {
    pub(super) fn add(&mut self, effect: &Effect) {
        match effect.what {
            What::Scanned { range: Range::Anonymous, result } => count(&mut self.scans, result),
            What::Scanned { result, .. } => count(&mut self.file_scans, result),
            What::Collapsed { range, result, begun, .. } => {
                let results = match range {
                    Range::Anonymous => &mut self.collapses,
                    Range::File => &mut self.file_collapses,
                    Range::PteMapped => &mut self.pte_mapped,
                };
                count(results, result);
                if let Some((_, since)) = begun {
                    self.collapse.add(effect.since(since));
                }
            }
            What::RetractEnded { .. } => self.retracts += 1,
            What::TableUnlinked { retracted, .. } => self.retracted += u64::from(retracted),
            What::MigrationAwaited { vma, since, .. } => {
                self.waits[usize::from(vma == 0)].add(effect.since(since));
            }
            What::MigrationAwaitedUnseen => self.unmeasured += 1,
            What::MigrationSlept => self.slept += 1,
            What::HugeEntryMet => self.huge_waits += 1,
            What::Migrated { reason, succeeded, failed } => {
                count(&mut self.migrations, reason);
                self.migrated = self.migrated.saturating_add(succeeded);
                self.failed = self.failed.saturating_add(failed);
            }
            What::EntrySet => self.set += 1,
            What::EntryRemoved { .. } => self.removed += 1,
            What::Compacted => self.compactions += 1,
            _ => {}
        }
    }
}
