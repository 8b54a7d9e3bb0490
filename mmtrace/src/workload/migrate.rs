//! Migration of pages that threads fault in, while others change the VMA.

use super::kernel_files::{number_list, vmstat};
use super::sys::{Access, Advice, MPOL_MF_MOVE, Mapping, PAGE};
use super::tally::Tally;
use super::{Job, process, threads};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::time::Duration;

/// Most memory that moves.
const REGION: usize = 32 << 20;
const COMPACT: &str = "/proc/sys/vm/compact_memory";
/// Pages that are moved together, and touched all the time: a fault on one of them is likely to wait.
const HOT: usize = 128;
/// Rounds that move these pages, for each round that moves as many others.
const HOT_ROUNDS: usize = 8;
/// Pages that a writer changes at a time.
const PIECE: usize = 16;

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    let len = (job.memory / 2 / PAGE * PAGE).min(REGION);
    let memory = Mapping::of_small_pages(len);
    let memory = match &memory {
        Ok(memory) => memory,
        Err(error) => return tally.note("move", format!("no memory: {error}")),
    };
    let before = vmstat("pgmigrate_success");
    let nodes = nodes();
    // The mover has the first three quarters, writers the last: their splits move the end of the mover's VMA, whose
    // lock they then need, while faults wait in it for migration.
    let border = memory.pages() / 4 * 3;
    std::thread::scope(|scope| {
        threads::start(scope, move || {
            let done = match nodes[..] {
                [one, other, ..] => between(job, tally, memory, border, [one, other]),
                _ => compact(job, tally, memory, border),
            };
            if let Err(error) = done {
                tally.note("move", format!("stopped early: {error}"));
            }
        });
        for index in 0..job.threads {
            threads::start(scope, move || {
                process::pin(&job.cpus, index);
                fault(job, tally, memory, border, index);
            });
        }
        threads::start(scope, move || {
            if let Err(error) = change(job, tally, memory, border) {
                tally.note("change", format!("stopped early: {error}"));
            }
        });
    });
    // Other processes' pages are counted, too.
    tally.add("move", "pages migrated on the whole machine", vmstat("pgmigrate_success").saturating_sub(before));
}

/// NUMA nodes that have memory.
pub(super) fn nodes() -> Vec<u32> {
    number_list(&fs::read_to_string("/sys/devices/system/node/has_memory").unwrap_or_default())
}

/// Moves the pages to and fro: mostly a few, which are touched all the time, and others in turn.
fn between(job: &Job<'_>, tally: &Tally, memory: &Mapping, border: usize, nodes: [u32; 2]) -> io::Result<()> {
    let mut counts = tally.local("move");
    let pieces = (border / HOT).max(1);
    for round in 0_usize.. {
        if !job.go() {
            break;
        }
        let node = nodes[round % 2].cast_signed();
        let piece = if round % (HOT_ROUNDS + 1) < HOT_ROUNDS { 0 } else { round % pieces };
        let pages = piece * HOT..((piece + 1) * HOT).min(border);
        // One that is not there cannot be moved.
        pages.clone().for_each(|page| memory.write(page, 1));
        counts.add("pages at their target by move_pages", memory.move_some(pages, node, MPOL_MF_MOVE)?);
    }
    Ok(())
}

/// On one node move_pages(2) leaves every page where it is; compaction moves them.
fn compact(job: &Job<'_>, tally: &Tally, memory: &Mapping, border: usize) -> io::Result<()> {
    let mut counts = tally.local("move");
    let control = OpenOptions::new().write(true).open(COMPACT);
    tally.note(
        "move",
        match &control {
            Ok(_) => "one NUMA node: compaction moves the pages instead of move_pages".to_owned(),
            Err(error) => format!("not provoked: one NUMA node, and no compaction by {COMPACT}: {error}"),
        },
    );
    let Ok(mut control) = control else { return Ok(()) };
    for round in 0_usize.. {
        if !job.go() {
            break;
        }
        counts.add("pages filled", border as u64);
        (0..border).for_each(|page| memory.write(page, 1));
        for (i, page) in (round % 2..border).step_by(2).enumerate() {
            if i % 64 == 0 && !job.go() {
                return Ok(());
            }
            memory.advise_range(page * PAGE, PAGE, Advice::DontNeed)?;
        }
        control.write_all(b"1")?;
        counts.add("compactions of all memory", 1);
        job.pause(Duration::from_millis(5));
    }
    Ok(())
}

/// Touches pages; those that are moving right now are waited for.
fn fault(job: &Job<'_>, tally: &Tally, memory: &Mapping, border: usize, index: usize) {
    let mut counts = tally.local("fault");
    let mut next = index * 1021;
    while job.go() {
        for turn in 0..2048 {
            next = (next + 7) % memory.pages();
            let page = if turn % 8 == 0 { next } else { next % HOT.min(border) };
            // The writers' pages may be read-only.
            if page < border && page.is_multiple_of(3) {
                memory.write(page, 1);
            } else {
                memory.read(page);
            }
        }
        counts.add("pages touched", 2048);
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Splits and merges the VMA by mprotect(2), and replaces parts of it, which unmaps them.
fn change(job: &Job<'_>, tally: &Tally, memory: &Mapping, border: usize) -> io::Result<()> {
    let mut counts = tally.local("change");
    let step = PIECE * PAGE;
    while job.go() {
        for offset in (border * PAGE..memory.len() - step).step_by(2 * step) {
            memory.protect(border * PAGE, offset + step - border * PAGE, Access::Read)?;
            memory.protect(border * PAGE, offset + step - border * PAGE, Access::Write)?;
            counts.add("mprotect", 2);
            memory.replace(offset, step)?;
            counts.add("mmap over a mapping", 1);
            if !job.pause(Duration::from_micros(200)) {
                break;
            }
        }
        // The replaced parts may get huge pages, which moves them in one; mmap is another workload's subject.
        memory.advise(Advice::NoHugePage)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::sys::Backing;
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    /// With the same node twice nothing moves, but every system call is made.
    #[test]
    fn moves_between_nodes() {
        let stop = AtomicBool::new(false);
        let end = Instant::now() + Duration::from_millis(100);
        let job = Job { stop: &stop, end, threads: 1, memory: 32 << 20, allow_swap: false, cpus: Vec::new() };
        let nodes = nodes();
        if let [node, ..] = nodes[..] {
            let memory = Mapping::new(64 * PAGE, Backing::Anon).unwrap();
            let tally = Tally::new("migrate");
            between(&job, &tally, &memory, 64, [node, node]).unwrap();
            let done = tally.into_paths();
            assert!(done[0].counts["pages at their target by move_pages"] > 0, "{done:?}");
        }
    }
}
