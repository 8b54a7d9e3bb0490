//! Collapse of small pages into huge ones.

use super::kernel_files::line_kib;
use super::settings::Setting;
use super::swap::SwapFile;
use super::sys::{Advice, Backing, HUGE, Mapping, PAGE, memfd};
use super::tally::{Local, Tally};
use super::{Job, threads};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Folder of the settings of transparent huge pages.
pub(super) const THP: &str = "/sys/kernel/mm/transparent_hugepage";
/// Most memory that is offered to khugepaged.
const REGION: usize = 64 << 20;
/// Pages of a huge page that are filled: a collapse has work with each, and the rest is cleared.
const STEP: usize = 8;
/// Longest time for which khugepaged may show no progress. Unhurried, it sleeps for 10 s.
const PATIENCE: Duration = Duration::from_millis(300);

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    let settings = hurry(tally, "khugepaged");
    let region = (job.memory / 4 / HUGE * HUGE).clamp(HUGE, REGION);
    let scanned = Mapping::aligned(region, Backing::Anon);
    let scanned = match &scanned {
        Ok(scanned) => scanned,
        Err(error) => return tally.note("khugepaged", format!("no memory: {error}")),
    };
    std::thread::scope(|scope| {
        threads::start(scope, || {
            if let Err(error) = wait_for_khugepaged(job, tally, scanned) {
                tally.note("khugepaged", format!("stopped early: {error}"));
            }
        });
        threads::start(scope, || {
            if let Err(error) = collapse_anon(job, tally) {
                tally.note("collapse anonymous", format!("stopped early: {error}"));
            }
        });
        threads::start(scope, || {
            if let Err(error) = collapse_shmem(job, tally) {
                tally.note("collapse shmem", format!("stopped early: {error}"));
            }
        });
        threads::start(scope, || {
            if let Err(error) = collapse_swapped(job, tally) {
                tally.note("collapse swapped", format!("not provoked: {error}"));
            }
        });
        for _ in 0..job.threads.div_ceil(2) {
            threads::start(scope, || {
                let mut counts = tally.local("khugepaged");
                // Not busy: khugepaged needs a CPU, too.
                while job.pause(Duration::from_millis(1)) {
                    counts.add("pages touched meanwhile", scanned.scan(STEP));
                }
            });
        }
    });
    drop(settings);
}

/// Makes khugepaged scan all the time, as far as that is permitted.
pub(super) fn hurry(tally: &Tally, path: &'static str) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (name, value) in [("alloc_sleep_millisecs", "10"), ("pages_to_scan", "65536"), ("scan_sleep_millisecs", "5")] {
        match Setting::change(&Path::new(THP).join("khugepaged").join(name), value) {
            Ok(setting) => settings.push(setting),
            Err(error) => tally.note(path, format!("{name} left as it is: {error}")),
        }
    }
    settings
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(THP).join(file)).unwrap_or_default()
}

/// Fills the range with small pages, all faulted in before huge ones are allowed.
pub(super) fn fill_small(memory: &Mapping) -> io::Result<u64> {
    memory.advise(Advice::NoHugePage)?;
    memory.advise(Advice::DontNeed)?;
    let pages = memory.fill(STEP, 1);
    memory.advise(Advice::HugePage)?;
    Ok(pages)
}

fn wait_for_khugepaged(job: &Job<'_>, tally: &Tally, memory: &Mapping) -> io::Result<()> {
    if read("enabled").contains("[never]") {
        return Err(io::Error::other(format!("{THP}/enabled is never")));
    }
    // Counts huge pages of the whole machine; other processes that have any collapsed meanwhile are rare.
    let collapsed = || read("khugepaged/pages_collapsed").trim().parse::<u64>().unwrap_or(0);
    let start = collapsed();
    let mut rounds = 0;
    while job.go() {
        fill_small(memory)?;
        let before = collapsed();
        let huge = (memory.len() / HUGE) as u64;
        // Some of it may stay as it is, if somebody holds a page. The next round comes when nothing happens any more.
        let (mut last, mut since) = (before, Instant::now());
        while last < before + huge && since.elapsed() < PATIENCE && job.pause(Duration::from_millis(10)) {
            let now = collapsed();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        rounds += 1;
    }
    tally.add("khugepaged", "rounds", rounds);
    tally.add("khugepaged", "huge pages collapsed", collapsed().saturating_sub(start));
    Ok(())
}

fn collapse_anon(job: &Job<'_>, tally: &Tally) -> io::Result<()> {
    let memory = Mapping::aligned(2 * HUGE, Backing::Anon)?;
    let mut counts = tally.local("collapse anonymous");
    while job.go() {
        counts.add("pages filled", fill_small(&memory)?);
        collapse(&memory, &mut counts)?;
        // A collapsed range, then one that has been split and zapped in part.
        memory.advise_range(0, 16 * PAGE, Advice::DontNeed)?;
        memory.fill(STEP, 2);
        // khugepaged only tries the mmap_lock, which these collapses hold for most of their time.
        job.pause(Duration::from_millis(2));
    }
    Ok(())
}

/// MADV_COLLAPSE; a collapse that finds pages in use by someone else is no error.
pub(super) fn collapse(memory: &Mapping, counts: &mut Local<'_>) -> io::Result<()> {
    match memory.advise(Advice::Collapse) {
        Ok(()) => counts.add("MADV_COLLAPSE", 1),
        Err(error) => match error.raw_os_error() {
            // EINVAL is for good only before 6.1; else it says that some page was in no state to be collapsed.
            Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM | libc::EINVAL) => counts.add("MADV_COLLAPSE refused", 1),
            _ => return Err(error),
        },
    }
    Ok(())
}

/// A file mapped twice: the collapse through one mapping takes the page tables away from the other.
fn collapse_shmem(job: &Job<'_>, tally: &Tally) -> io::Result<()> {
    let mut counts = tally.local("collapse shmem");
    while job.go() {
        // A new file each time: its pages are small until the collapse.
        let file = memfd(2 * HUGE)?;
        let one = Mapping::aligned(2 * HUGE, Backing::Shared(&file))?;
        let two = Mapping::aligned(2 * HUGE, Backing::Shared(&file))?;
        counts.add("pages filled", one.fill(STEP, 1));
        two.scan(STEP);
        collapse(&one, &mut counts)?;
        counts.add("pages touched through the other mapping", two.scan(STEP));
        collapse(&two, &mut counts)?;
        job.pause(Duration::from_millis(2));
    }
    Ok(())
}

/// Collapse of a range with pages in swap.
fn collapse_swapped(job: &Job<'_>, tally: &Tally) -> io::Result<()> {
    let swap = SwapFile::where_there_is_none(job.allow_swap)?;
    let mut counts = tally.local("collapse swapped");
    let memory = Mapping::aligned(HUGE, Backing::Anon)?;
    while job.go() {
        fill_small(&memory)?;
        // At most 64 swapped pages are taken in by khugepaged's default; reclaim takes what is filled of these.
        memory.advise_range(0, HUGE / 2, Advice::PageOut)?;
        counts.add("KiB in swap before", status_kib("VmSwap:"));
        collapse(&memory, &mut counts)?;
        counts.add("KiB in swap after", status_kib("VmSwap:"));
        job.pause(Duration::from_millis(5));
    }
    drop(memory);
    drop(swap);
    Ok(())
}

fn status_kib(field: &str) -> u64 {
    line_kib("/proc/self/status", field)
}
