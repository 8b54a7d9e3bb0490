//! Page faults, by process and by region.

use rustc_hash::FxHashMap;

use crate::{
    coverage::Coverage,
    durations::Durations,
    model::{
        effect::{Effect, Fault, Handling, Outcome, Under},
        faults::address_space::Cause,
        mappings::{At, Label, Mappings},
    },
};

/// Processes that are followed.
const PROCESSES_MAX: usize = 512;
/// Regions of one process that are followed.
const REGIONS_MAX: usize = 1024;
/// Regions of all processes that are followed: 2 MiB.
const REGIONS_ALL_MAX: usize = 1 << 15;
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
    /// Completed `handle_mm_fault()` calls, once there was one.
    pub calls: Option<Box<Calls>>,
    /// Time from the exception in user mode to the kernel's count of the fault as handled, where no function shows its end;
    /// once there was one.
    pub counted: Option<Box<Durations>>,
    /// PTE tables that a collapse unlinked for huge pages.
    pub collapsed: u64,
    /// Its mm; 0: not seen.
    mm: u64,
    /// By region: address >> [`REGION_SHIFT`].
    pub regions: FxHashMap<u64, Region>,
}

/// Completed `handle_mm_fault()` calls.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// By lock, in the order of [`Under::ALL`].
    pub under: [u64; Under::ALL.len()],
    /// With `VM_FAULT_RETRY`.
    pub retries: u64,
    /// With `VM_FAULT_COMPLETED`.
    pub completed: u64,
    /// With `VM_FAULT_ERROR`.
    pub errors: u64,
    /// With `VM_FAULT_MAJOR`.
    pub major: u64,
    /// Waits for migrations.
    pub waits: u64,
    /// Durations of the calls.
    pub took: Durations,
}

impl Calls {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.under.iter().sum()
    }
}

/// The events of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Page faults.
    pub faults: u32,
    /// Those of them that found a migration entry.
    pub migration: u32,
    /// Stores of VMAs, and of empty ranges, that begin in the region.
    pub vmas: u32,
    /// `handle_mm_fault()` calls under the VMA lock.
    pub vma_lock: u32,
    /// Calls under the mmap_lock, because the VMA lock was refused or given up.
    pub fell_back: u32,
    /// Calls that are to be retried.
    pub retries: u32,
    /// Waits for migrations.
    pub waits: u32,
    /// PTE tables that a collapse unlinked for huge pages.
    pub collapsed: u32,
    /// The mapping of the last fault whose mapping was known then.
    pub mapping: Option<Label>,
    /// Faults were in other mappings as well.
    pub several_mappings: bool,
}

impl Process {
    /// All handled faults. A fault that a profiler took in an interrupt on top of the process is not the process's own.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.causes.iter().sum::<u64>() - self.causes[Cause::PagefaultDisabled as usize]
    }

    /// The share of the faults that the followed regions count.
    #[must_use]
    pub fn in_regions(&self) -> Coverage {
        let counted = self.regions.values().map(|r| u64::from(r.faults)).sum();
        Coverage::of(counted, self.total().saturating_sub(counted))
    }

    /// Its mm as a kernel pointer, as of its last fault; 0: not seen.
    #[must_use]
    pub const fn mm(&self) -> u64 {
        self.mm
    }

    fn region(&mut self, addr: u64, all: &mut usize) -> &mut Region {
        let region = addr >> REGION_SHIFT;
        if self.regions.len() >= REGIONS_MAX && !self.regions.contains_key(&region) {
            // The regions with the fewest faults go first.
            let mut counts: Vec<u32> = self.regions.values().map(|r| r.faults).collect();
            counts.sort_unstable();
            let median = counts[counts.len() / 2];
            let before = self.regions.len();
            self.regions.retain(|_, r| r.faults > median);
            *all = all.saturating_sub(before - self.regions.len());
        }
        self.regions.entry(region).or_insert_with(|| {
            *all += 1;
            Region::default()
        })
    }
}

/// All faults.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    processes: FxHashMap<u32, Process>,
    /// Processes by their mms.
    owners: FxHashMap<u64, u32>,
    /// Regions of all processes; sometimes too many, never too few.
    regions: usize,
    /// Durations of `handle_mm_fault()` calls that are not to be retried, by lock, in the order of [`Under::ALL`].
    pub took: [Durations; Under::ALL.len()],
    /// Faults of processes that made room for others.
    pub forgotten: u64,
    /// Returns of `handle_mm_fault()` whose entry was followed.
    pub followed: u64,
    /// Returns of `handle_mm_fault()` whose entry was not followed, because events are missing before them.
    pub unpaired: u64,
    /// Time from the exception in user mode to the end of the last call for it.
    pub whole: Durations,
}

impl Faults {
    /// A process has raised a fault: from now on it is known by its mm.
    pub(super) fn begins(&mut self, tgid: u32, mm: u64, ts: u64) {
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&tgid) {
            let quiet = self.processes.iter().min_by_key(|(_, p)| (!p.exited, p.last)).map(|(tgid, _)| *tgid);
            if let Some(process) = quiet.and_then(|tgid| self.processes.remove(&tgid)) {
                self.owners.remove(&process.mm);
                self.regions = self.regions.saturating_sub(process.regions.len());
                self.forgotten = self.forgotten.saturating_add(process.total());
            }
        }
        if self.regions >= REGIONS_ALL_MAX {
            self.make_room(tgid);
        }
        let process = self.processes.entry(tgid).or_default();
        if process.mm != mm {
            self.owners.remove(&process.mm);
            self.owners.insert(mm, tgid);
            process.mm = mm;
        }
        process.last = process.last.max(ts);
        process.exited = false;
    }

    /// Counts a fault whose kind is settled.
    pub(super) fn add(&mut self, fault: &Fault, mappings: &Mappings) {
        let Fault { tgid, mm, ts, addr, write, at, cause, .. } = *fault;
        self.begins(tgid, mm, ts);
        let process = self.processes.entry(tgid).or_default();
        process.causes[cause as usize] += 1;
        if cause == Cause::PagefaultDisabled {
            return;
        }
        process.writes += u64::from(write);
        let region = process.region(addr, &mut self.regions);
        region.faults = region.faults.saturating_add(1);
        region.migration = region.migration.saturating_add(u32::from(cause == Cause::Migration));
        if matches!(at, At::Mapping(_)) {
            let label = mappings.label(mm, at);
            region.several_mappings |= region.mapping.is_some_and(|before| before != label);
            region.mapping = Some(label);
        }
    }

    /// A VMA was stored in a process's tree.
    pub(super) fn vma(&mut self, tgid: u32, addr: u64) {
        // Processes that never faulted are not of interest here.
        if let Some(process) = self.processes.get_mut(&tgid) {
            let region = process.region(addr, &mut self.regions);
            region.vmas = region.vmas.saturating_add(1);
        }
    }

    /// Forgets the regions of the process that was quiet for longest, but not those of this process.
    fn make_room(&mut self, tgid: u32) {
        let others = self.processes.iter_mut().filter(|(other, p)| **other != tgid && p.regions.len() > 16);
        if let Some((_, quiet)) = others.min_by_key(|(_, p)| (!p.exited, p.last)) {
            self.regions = self.regions.saturating_sub(quiet.regions.len());
            quiet.regions = FxHashMap::default();
        }
    }

    /// Returns the process with this mm if it has faulted, and the number of all regions.
    fn owner(&mut self, mm: u64) -> Option<(&mut Process, &mut usize)> {
        let process = self.processes.get_mut(self.owners.get(&mm)?)?;
        Some((process, &mut self.regions))
    }

    /// Returns the process with this mm if it has faulted.
    pub(super) fn owner_of(&self, mm: u64) -> Option<u32> {
        self.owners.get(&mm).copied()
    }

    /// A call of `handle_mm_fault()` is over.
    pub(super) fn handled(
        &mut self,
        effect: &Effect,
        call: &Handling,
        outcome: Outcome,
        major: bool,
        trap: Option<u64>,
    ) {
        let ns = effect.since(call.since);
        self.followed += 1;
        if outcome != Outcome::Retry {
            self.took[call.under as usize].add(ns);
        }
        if let Some(since) = trap {
            self.whole.add(effect.since(since));
        }
        let Some((process, all)) = self.owner(call.mm) else { return };
        let calls = process.calls.get_or_insert_default();
        calls.under[call.under as usize] += 1;
        calls.took.add(ns);
        calls.major += u64::from(major);
        match outcome {
            Outcome::Done => {}
            Outcome::Retry => calls.retries += 1,
            Outcome::Completed => calls.completed += 1,
            Outcome::Error => calls.errors += 1,
        }
        let region = process.region(call.addr, all);
        let count = |n: &mut u32, when: bool| *n = n.saturating_add(u32::from(when));
        count(&mut region.vma_lock, call.under == Under::Vma);
        count(&mut region.fell_back, call.under == Under::FellBack);
        count(&mut region.retries, outcome == Outcome::Retry);
    }

    /// The kernel has counted a fault as handled.
    pub(super) fn accounted(&mut self, effect: &Effect) {
        let Some(since) = effect.ended_fault() else { return };
        let ns = effect.since(since);
        self.whole.add(ns);
        if let Some((process, _)) = self.owner(effect.mm) {
            process.counted.get_or_insert_default().add(ns);
        }
    }

    /// A wait for a migration inside a fault is over.
    pub(super) fn waited(&mut self, mm: u64, addr: u64) {
        let Some((process, all)) = self.owner(mm) else { return };
        process.calls.get_or_insert_default().waits += 1;
        let region = process.region(addr, all);
        region.waits = region.waits.saturating_add(1);
    }

    /// A collapse has unlinked a PTE table for a huge page, or will.
    pub(super) fn collapsed(&mut self, mm: u64, addr: u64) {
        let Some((process, all)) = self.owner(mm) else { return };
        process.collapsed += 1;
        let region = process.region(addr, all);
        region.collapsed = region.collapsed.saturating_add(1);
    }

    pub(super) fn exit(&mut self, tgid: u32) {
        if let Some(process) = self.processes.get_mut(&tgid) {
            process.exited = true;
        }
    }

    /// The share of all faults that the followed processes count.
    #[must_use]
    pub fn kept(&self) -> Coverage {
        Coverage::of(self.processes.values().map(Process::total).sum(), self.forgotten)
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
