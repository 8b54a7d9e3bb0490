//! Collapse of a file in memory that several processes have mapped.

use super::children::{Child, Step};
use super::inspect::copy_from;
use super::khugepaged::{THP, collapse, hurry};
use super::settings::Setting;
use super::stamp::{stamp, wrong};
use super::sys::{Access, Advice, Backing, HUGE, Mapping, memfd};
use super::tally::Tally;
use super::{Job, threads};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Most of the file; the collapse needs as much again for a moment.
const REGION: usize = 8 << 20;
/// Pages of a huge page that are filled.
const STEP: usize = 8;
/// Longest time for khugepaged to collapse the file.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    if let Err(error) = drive(job, tally) {
        tally.note("collapse", format!("stopped early: {error}"));
    }
}

fn drive(job: &Job<'_>, tally: &Tally) -> io::Result<()> {
    let len = (job.memory / 8 / HUGE * HUGE).clamp(HUGE, REGION);
    let file = memfd(len)?;
    let memory = Mapping::aligned(len, Backing::Shared(&file))?;
    // Each process has its own page tables for the file, which a collapse takes away.
    let (read, pages) = (Step::Read { memory: &memory, pages: memory.pages(), step: STEP }, memory.pages());
    let write = Step::Write { memory: &memory, pages, step: 16 * STEP };
    // Not more events than a recorder takes.
    let nap = Step::Nap(Duration::from_micros(400));
    let unmap = Step::Unmap(&memory, &file);
    let (closed, open) = (Step::Protect(&memory, Access::Read), Step::Protect(&memory, Access::Write));
    let mut children = [
        Child::fork(&[read, Step::Advise(&memory, Advice::DontNeed), nap], None)?,
        Child::fork(&[read, unmap, read, closed, open, write, nap], None)?,
    ];
    let pids = [children[0].pid(), children[1].pid()];

    let settings = khugepaged_on_files(tally);
    let (file, memory) = (&file, &memory);
    std::thread::scope(|scope| {
        threads::start(scope, move || {
            if let Err(error) = collapsing(job, tally, file, memory, len) {
                tally.note("collapse", format!("stopped early: {error}"));
            }
        });
        threads::start(scope, move || {
            if let Err(error) = reading(job, tally, file, memory, pids) {
                tally.note("read", format!("stopped early: {error}"));
            }
        });
        threads::start(scope, move || {
            let mut counts = tally.local("read");
            while job.pause(Duration::from_micros(200)) {
                counts.add("pages with wrong contents", wrong(memory, pages, STEP));
                counts.add("pages read", (pages / STEP) as u64);
            }
        });
    });
    drop(settings);
    for child in &mut children {
        tally.add("other processes", "rounds of faults and unmapping", child.rounds());
        tally.add("other processes", "steps refused", child.refused());
        if let Some(signal) = child.end()? {
            tally.note("other processes", format!("one was ended by signal {signal}"));
        }
    }
    Ok(())
}

/// Lets khugepaged collapse files where madvise(2) asks for it, and makes it hurry; as far as that is permitted.
fn khugepaged_on_files(tally: &Tally) -> Vec<Setting> {
    let mut settings = hurry(tally, "khugepaged");
    let path = Path::new(THP).join("shmem_enabled");
    if fs::read_to_string(&path).is_ok_and(|text| text.contains("[never]")) {
        match Setting::change(&path, "advise") {
            Ok(setting) => settings.push(setting),
            Err(error) => tally.note("khugepaged", format!("shmem_enabled left as it is: {error}")),
        }
    }
    settings
}

/// Collapses of the whole machine by khugepaged.
fn collapsed() -> u64 {
    let path = Path::new(THP).join("khugepaged/pages_collapsed");
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Small pages into huge ones, by the one way and by the other, and a new file's worth of small ones again.
fn collapsing(job: &Job<'_>, tally: &Tally, file: &File, memory: &Mapping, len: usize) -> io::Result<()> {
    let (mut counts, mut scans) = (tally.local("collapse"), tally.local("khugepaged"));
    // Only looked at by khugepaged: a fault in it would allocate a huge page at once.
    let advised = Mapping::aligned(len, Backing::Shared(file))?;
    for round in 0_usize.. {
        if !job.go() {
            break;
        }
        memory.advise(Advice::Remove)?;
        counts.add("pages filled", stamp(memory, STEP));
        if round % 8 != 7 {
            collapse(memory, &mut counts)?;
            job.pause(Duration::from_millis(1));
            continue;
        }
        let (before, since) = (collapsed(), Instant::now());
        let huge = (len / HUGE) as u64;
        // Twice: the first marks the VMA, and only then a file's mm may be registered with khugepaged.
        advised.advise(Advice::HugePage)?;
        advised.advise(Advice::HugePage)?;
        while collapsed() < before + huge && since.elapsed() < PATIENCE && job.pause(Duration::from_millis(2)) {}
        advised.advise(Advice::NoHugePage)?;
        scans.add("rounds", 1);
        scans.add("collapses on the whole machine", collapsed().saturating_sub(before));
    }
    Ok(())
}

/// read(2) of the file, and process_vm_readv(2) of what the others have mapped of it.
fn reading(job: &Job<'_>, tally: &Tally, file: &File, memory: &Mapping, pids: [i32; 2]) -> io::Result<()> {
    let mut counts = tally.local("read");
    let buffer = Mapping::new(HUGE, Backing::Anon)?;
    while job.pause(Duration::from_micros(300)) {
        counts.add("bytes by read", buffer.read_from(file, 0, HUGE)? as u64);
        counts.add("pages with wrong contents", wrong(&buffer, buffer.pages(), STEP));
        for pid in pids {
            match copy_from(pid, memory, 0, HUGE, &buffer) {
                Ok(got) => {
                    counts.add("bytes by process_vm_readv", got as u64);
                    counts.add("pages with wrong contents", wrong(&buffer, buffer.pages(), STEP));
                }
                // Not mapped right now.
                Err(error) if error.raw_os_error() == Some(libc::EFAULT) => counts.add("reads refused", 1),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
