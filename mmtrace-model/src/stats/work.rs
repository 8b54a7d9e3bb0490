//! The work of khugepaged, MADV_COLLAPSE, migration and compaction.

use std::collections::BTreeMap;

use mmtrace_common::{Column, Kind, Record};

use super::{durations::Durations, value};
use crate::model::effect::Effect;

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
    /// How long collapses of anonymous ranges took.
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

impl Work {
    pub(super) fn add(&mut self, kind: Kind, record: &Record, effect: Option<&Effect>) {
        let mut count = |results: fn(&mut Self) -> &mut BTreeMap<u64, u64>, column| {
            let results = results(self);
            let result = value(record, column);
            // The kernel has some fifty results. A stranger's capture may invent any number of others.
            let result = if results.len() < RESULTS_MAX || results.contains_key(&result) { result } else { u64::MAX };
            *results.entry(result).or_default() += 1;
        };
        match kind {
            Kind::ScanPmd => count(|w| &mut w.scans, Column::Status),
            Kind::ScanFile => count(|w| &mut w.file_scans, Column::Status),
            Kind::CollapseHugePage => {
                count(|w| &mut w.collapses, Column::Status);
                if let Some(Effect::Collapsed { begun: Some((_, ns)), .. }) = effect {
                    self.collapse.add(*ns);
                }
            }
            Kind::CollapsePteMappedThpReturn => count(|w| &mut w.pte_mapped, Column::Status),
            Kind::RetractPageTablesReturn => self.retracts += 1,
            Kind::PmdpCollapseFlush => self.retracted += u64::from(effect == Some(&Effect::Retracted)),
            Kind::MigrationEntryWaitReturn => match effect {
                Some(Effect::Waited { vma_lock, ns, .. }) => self.waits[usize::from(!vma_lock)].add(*ns),
                _ => self.unmeasured += 1,
            },
            Kind::MigrationEntryWaitOnLocked => self.slept += 1,
            Kind::MigrationEntryWaitHuge => self.huge_waits += 1,
            Kind::CollapseFile => count(|w| &mut w.file_collapses, Column::Status),
            Kind::MigratePages => {
                count(|w| &mut w.migrations, Column::Reason);
                self.migrated = self.migrated.saturating_add(value(record, Column::Succeeded));
                self.failed = self.failed.saturating_add(value(record, Column::Failed));
            }
            Kind::SetMigrationPte | Kind::SetMigrationPmd => self.set += 1,
            Kind::RemoveMigrationPte | Kind::RemoveMigrationPmd => self.removed += 1,
            Kind::CompactionEnd => self.compactions += 1,
            _ => {}
        }
    }
}
