//! Page faults, process by process and region by region.

use mmtrace_common::{Column, Record};
use rustc_hash::FxHashMap;

use crate::model::space::Cause;

use super::value;

/// Processes that are followed.
const PROCESSES_MAX: usize = 512;
/// Regions of one process that are followed.
const REGIONS_MAX: usize = 1024;
/// A region is a PMD's range.
pub const REGION_SHIFT: u32 = 21;

/// Faults of one process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Time of the last one.
    pub last: u64,
    /// By cause, in the order of [`Cause::ALL`].
    pub causes: [u64; Cause::ALL.len()],
    /// For write.
    pub writes: u64,
    /// Its last thread has exited.
    pub exited: bool,
    /// By region: address >> [`REGION_SHIFT`].
    pub regions: FxHashMap<u64, Region>,
}

/// What happened in a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Page faults.
    pub faults: u32,
    /// Those of them that found a migration entry.
    pub migration: u32,
    /// VMAs that were stored, or cleared, from here on.
    pub vmas: u32,
}

impl Process {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.causes.iter().sum()
    }

    fn region(&mut self, addr: u64) -> &mut Region {
        let region = addr >> REGION_SHIFT;
        if self.regions.len() >= REGIONS_MAX && !self.regions.contains_key(&region) {
            // Those that were touched least are the ones nobody will ask for.
            let mut counts: Vec<u32> = self.regions.values().map(|r| r.faults).collect();
            counts.sort_unstable();
            let median = counts[counts.len() / 2];
            self.regions.retain(|_, r| r.faults > median);
        }
        self.regions.entry(region).or_default()
    }
}

/// All faults.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    processes: FxHashMap<u32, Process>,
}

/// x86 page-fault error code: the access was a write.
const WRITE: u64 = 2;

impl Faults {
    pub(super) fn add(&mut self, record: &Record, cause: Cause) {
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&record.tgid) {
            let quiet = self.processes.iter().min_by_key(|(_, p)| (!p.exited, p.last)).map(|(tgid, _)| *tgid);
            if let Some(tgid) = quiet {
                self.processes.remove(&tgid);
            }
        }
        let process = self.processes.entry(record.tgid).or_default();
        process.last = record.ts;
        process.exited = false;
        process.causes[cause as usize] += 1;
        process.writes += u64::from(value(record, Column::ErrorCode) & WRITE != 0);
        let region = process.region(value(record, Column::Addr));
        region.faults = region.faults.saturating_add(1);
        region.migration = region.migration.saturating_add(u32::from(cause == Cause::Migration));
    }

    /// A VMA was stored in a process's tree.
    pub(super) fn vma(&mut self, record: &Record) {
        // Processes that never faulted are not of interest here.
        if let Some(process) = self.processes.get_mut(&record.tgid) {
            let region = process.region(value(record, Column::Addr));
            region.vmas = region.vmas.saturating_add(1);
        }
    }

    pub(super) fn exit(&mut self, tgid: u32) {
        if let Some(process) = self.processes.get_mut(&tgid) {
            process.exited = true;
        }
    }

    /// Every process that is followed.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Process)> {
        self.processes.iter().map(|(tgid, process)| (*tgid, process))
    }

    /// One process.
    #[must_use]
    pub fn get(&self, tgid: u32) -> Option<&Process> {
        self.processes.get(&tgid)
    }
}
