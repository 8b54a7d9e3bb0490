//! Writers of the VMA tree against threads that fault in the same mm.

use super::sys::{Access, Advice, Backing, Mapping, PAGE};
use super::tally::Tally;
use super::{Job, threads};
use std::io;
use std::time::Duration;

/// Most memory of a thread.
const REGION: usize = 2 << 20;
/// Pages of the mappings that writers create and remove.
const SMALL: usize = 16;

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    // Locks are contended only when several wait: at least two of each sort.
    let each = job.threads.max(2);
    let region = (job.memory / (4 * each) / PAGE * PAGE).clamp(SMALL * PAGE, REGION);
    let shared = match Mapping::new(region, Backing::Anon) {
        Ok(shared) => shared,
        Err(error) => return tally.note("replace", format!("no memory: {error}")),
    };
    let shared = &shared;
    std::thread::scope(|scope| {
        for index in 0..each {
            threads::start(scope, move || {
                let mut counts = tally.local("map");
                job.repeat(tally, "map", || {
                    let small = Mapping::new(SMALL * PAGE, Backing::Anon)?;
                    counts.add("pages touched", small.fill(1, 1));
                    small.protect(0, small.len() / 2, Access::Read)?;
                    counts.add("pages touched", small.scan(1));
                    small.protect(0, small.len() / 2, Access::Write)?;
                    counts.add("mprotect", 2);
                    counts.add("mmap and munmap", 1);
                    Ok(())
                });
            });
            threads::start(scope, move || {
                let result = if index % 2 == 0 { replacing(job, tally, shared) } else { faulting(job, tally, region) };
                if let Err(error) = result {
                    tally.note("fault", format!("a thread stopped early: {error}"));
                }
            });
        }
        threads::start(scope, move || {
            let mut counts = tally.local("fault");
            while job.go() {
                counts.add("pages read where others replace", shared.scan(1));
                // Only what was replaced since faults; reading the rest would but take the others' time.
                std::thread::sleep(Duration::from_micros(100));
            }
        });
    });
}

/// Replaces parts of the region that other threads read, and asks for the list of mappings, a long read section.
fn replacing(job: &Job<'_>, tally: &Tally, shared: &Mapping) -> io::Result<()> {
    let mut counts = tally.local("replace");
    let step = SMALL * PAGE;
    while job.go() {
        for offset in (0..shared.len() / step * step).step_by(2 * step) {
            shared.replace(offset, step)?;
            counts.add("mmap over a mapping", 1);
            shared.protect(offset, step, Access::Read)?;
            counts.add("mprotect", 1);
            if !job.go() {
                break;
            }
        }
        shared.protect(0, shared.len(), Access::Write)?;
        shared.advise(Advice::DontNeed)?;
        counts.add("bytes of /proc/self/maps", std::fs::read("/proc/self/maps")?.len() as u64);
    }
    Ok(())
}

/// Faults in new VMAs: the first takes the mmap_lock for the anon_vma, the later ones the VMA's lock only.
fn faulting(job: &Job<'_>, tally: &Tally, region: usize) -> io::Result<()> {
    let mut counts = tally.local("fault");
    while job.go() {
        let own = Mapping::new(region, Backing::Anon)?;
        own.advise(Advice::NoHugePage)?;
        for _ in 0..4 {
            counts.add("pages filled", own.fill(1, 1));
            own.advise(Advice::DontNeed)?;
        }
        counts.add("new regions", 1);
    }
    Ok(())
}
