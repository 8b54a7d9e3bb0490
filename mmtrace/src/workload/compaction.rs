//! Migration of pages.

use super::kernel_files::number_list;
use super::sys::{Advice, Backing, HUGE, Mapping, PAGE};
use super::tally::Tally;
use super::{Job, process, threads};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const COMPACT: &str = "/proc/sys/vm/compact_memory";
/// Most memory for moves between nodes.
const MOVED: usize = 32 << 20;
/// Pages are being scattered: nobody shall touch them, since each that is given back would interrupt every CPU that
/// runs a thread of this process.
const BUSY: usize = 2;

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    let nodes = number_list(&fs::read_to_string("/sys/devices/system/node/has_memory").unwrap_or_default());
    let scattered = Mapping::new(job.memory / 4 * 3, Backing::Anon).and_then(|memory| {
        memory.advise(Advice::NoHugePage)?;
        Ok(memory)
    });
    let scattered = match &scattered {
        Ok(scattered) => scattered,
        Err(error) => return tally.note("compact", format!("no memory: {error}")),
    };
    // Pages of this parity stay when the others are given back; BUSY meanwhile.
    let kept = AtomicUsize::new(BUSY);
    let kept = &kept;
    std::thread::scope(|scope| {
        threads::start(scope, move || {
            if let Err(error) = compact(job, tally, scattered, kept, Path::new(COMPACT)) {
                tally.note("compact", format!("stopped early: {error}"));
            }
        });
        for index in 0..job.threads {
            threads::start(scope, move || {
                process::pin(&job.cpus, index);
                touch(job, tally, scattered, kept, index);
            });
        }
        threads::start(scope, move || match nodes[..] {
            [one, other, ..] => {
                if let Err(error) = between_nodes(job, tally, [one, other]) {
                    tally.note("nodes", format!("stopped early: {error}"));
                }
            }
            _ => tally.note(
                "nodes",
                "not provoked: one NUMA node. Neither is migration of a huge PMD: compaction leaves folios of a \
                 pageblock's size where they are, and nothing else has a reason to move them within a node"
                    .to_owned(),
            ),
        });
    });
}

/// Touches pages while they move.
fn touch(job: &Job<'_>, tally: &Tally, memory: &Mapping, kept: &AtomicUsize, index: usize) {
    let mut counts = tally.local("compact");
    let mut page = index * 64;
    while job.go() {
        let parity = kept.load(Ordering::Relaxed);
        if parity == BUSY {
            job.pause(Duration::from_millis(1));
            continue;
        }
        // A few thousand, then a breath: compaction needs the CPU, too.
        for _ in 0..4096 {
            page = (page + 2) % (memory.pages() - 1);
            let at = page & !1 | parity;
            if page & 2 == 0 {
                memory.write(at, 3);
            } else {
                memory.read(at);
            }
        }
        counts.add("pages touched meanwhile", 4096);
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Scatters free pages over the memory and has the kernel gather them, again and again.
fn compact(job: &Job<'_>, tally: &Tally, memory: &Mapping, kept: &AtomicUsize, control: &Path) -> io::Result<()> {
    let mut counts = tally.local("compact");
    let control = OpenOptions::new().write(true).open(control).map_err(|error| {
        tally.note(
            "compact",
            format!("{}: {error}; huge pages are allocated instead, which compacts only if needed", control.display()),
        );
    });
    for round in 0_usize.. {
        kept.store(BUSY, Ordering::Relaxed);
        if !job.go() {
            break;
        }
        counts.add("pages scattered", scatter(job, memory, round % 2)?);
        kept.store(round % 2, Ordering::Relaxed);
        if !job.go() {
            break;
        }
        match &control {
            Ok(control) => {
                let mut control: &fs::File = control;
                control.write_all(b"1")?;
                counts.add("compactions of all memory", 1);
            }
            Err(()) => {
                let huge = Mapping::aligned(job.memory / 8, Backing::Anon)?;
                huge.advise(Advice::HugePage)?;
                counts.add("huge pages asked for", huge.fill(HUGE / PAGE, 1));
            }
        }
        job.pause(Duration::from_millis(10));
    }
    Ok(())
}

/// Fills the memory and gives every other page back, or as many as a quarter of the time that is left allows, half of
/// it for each: a fault may take long, and each page that is given back may interrupt every CPU.
fn scatter(job: &Job<'_>, memory: &Mapping, keep: usize) -> io::Result<u64> {
    let now = Instant::now();
    let share = job.end.saturating_duration_since(now) / 8;
    let over = |page: usize, until| page.is_multiple_of(64) && (!job.go() || Instant::now() >= until);
    let filled =
        (0..memory.pages()).take_while(|page| !over(*page, now + share)).inspect(|page| memory.write(*page, 1));
    let filled = filled.count();
    let mut scattered = 0;
    for page in (1 - keep..filled).step_by(2) {
        if over(page & !1, now + share * 2) {
            break;
        }
        memory.advise_range(page * PAGE, PAGE, Advice::DontNeed)?;
        scattered += 1;
    }
    Ok(scattered)
}

/// Moves small and huge pages to and fro while a thread touches them.
fn between_nodes(job: &Job<'_>, tally: &Tally, nodes: [u32; 2]) -> io::Result<()> {
    let len = (job.memory / 16 / HUGE * HUGE).clamp(HUGE, MOVED);
    let small = Mapping::aligned(len, Backing::Anon)?;
    small.advise(Advice::NoHugePage)?;
    small.fill(1, 1);
    let huge = Mapping::aligned(len, Backing::Anon)?;
    huge.advise(Advice::HugePage)?;
    huge.fill(HUGE / PAGE, 1);
    std::thread::scope(|scope| {
        threads::start(scope, || {
            while job.go() {
                small.fill(1, 2);
                huge.fill(1, 2);
                std::thread::yield_now();
            }
        });
        let mut counts = tally.local("nodes");
        // There by the one system call, and back by the other.
        let [node, other] = nodes;
        while job.go() {
            counts.add("small pages at their target by move_pages", small.move_pages(1, node.cast_signed())?);
            counts.add("huge pages at their target by move_pages", huge.move_pages(HUGE / PAGE, node.cast_signed())?);
            if other < 64 {
                huge.bind(other)?;
                small.bind(other)?;
                counts.add("mbind", 2);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    /// Even if a fault takes long, scattering the memory before compaction must not take all the time.
    #[test]
    fn scattering_ends_in_time() {
        let stop = AtomicBool::new(false);
        let length = Duration::from_millis(400);
        let end = Instant::now() + length;
        let job = Job { stop: &stop, end, threads: 1, memory: 0, allow_swap: false, cpus: Vec::new() };
        let memory = Mapping::new(1 << 30, Backing::Anon).unwrap();
        let scattered = scatter(&job, &memory, 0).unwrap();
        assert!(scattered > 0 && Instant::now() < end, "{scattered}");
    }

    /// With the same node twice nothing moves, but every system call is made.
    #[test]
    fn moves_between_nodes() {
        let stop = AtomicBool::new(false);
        let end = Instant::now() + Duration::from_millis(100);
        let job = Job { stop: &stop, end, threads: 1, memory: 32 << 20, allow_swap: false, cpus: Vec::new() };
        let nodes = number_list(&fs::read_to_string("/sys/devices/system/node/has_memory").unwrap_or_default());
        // A kernel without NUMA has neither the file nor the system calls.
        if let [node, ..] = nodes[..] {
            let tally = Tally::new("compaction");
            between_nodes(&job, &tally, [node, node]).unwrap();
            let done = tally.into_paths();
            let all_counted = done[0].counts.values().all(|n| *n > 0);
            assert!(all_counted && done[0].counts.len() == 3, "{done:?}");
        }
    }
}
