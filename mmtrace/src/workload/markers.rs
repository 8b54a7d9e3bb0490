//! Markers in page tables that a collapse removes: what rule I-MARKER forbids, looked for on this kernel.

use super::inspect::{Pagemap, Peek, resident};
use super::khugepaged::collapse;
use super::sys::{Advice, Backing, HUGE, Mapping, PAGE, memfd};
use super::tally::Tally;
use super::uffd::{MINOR_SHMEM, Mode, POISON, Uffd};
use super::{Job, threads};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Threads that walk the page table, each for a moment and often. The collapse lets go of the table's lock between two
/// looks; that moment gets longer when somebody waits for the lock, or is woken just then.
const WALKERS: usize = 4;

/// A poison marker in a mapping of a file that is collapsed through another mapping. No race is needed.
pub(super) fn poison_collapse(job: &Job<'_>, tally: &Tally) {
    if let Err(error) = retracting(job, tally) {
        tally.note("poison", format!("stopped early: {error}"));
    }
}

fn retracting(job: &Job<'_>, tally: &Tally) -> io::Result<()> {
    let mut counts = tally.local("poison");
    let (pagemap, peek) = (Pagemap::own()?, Peek::new()?);
    for name in ["pages poisoned", "markers_lost", "poisoned_pages_read"] {
        counts.add(name, 0);
    }
    for round in 0_usize.. {
        if !job.go() {
            break;
        }
        let file = memfd(HUGE)?;
        let marked = Mapping::aligned(HUGE, Backing::Shared(&file))?;
        let other = Mapping::aligned(HUGE, Backing::Shared(&file))?;
        other.fill(1, 1);
        let uffd = Uffd::open(MINOR_SHMEM | POISON)?;
        uffd.register(&marked, Mode::Minor)?;
        let page = round * 37 % marked.pages();
        uffd.poison(&marked, page * PAGE, PAGE)?;
        let there = pagemap.entry(&marked, page)?.is_marker();
        if !there || peek.read(&marked, page)?.is_some() {
            counts.add("pages not poisoned although the kernel said so", 1);
            continue;
        }
        counts.add("pages poisoned", 1);
        match other.advise(Advice::Collapse) {
            Ok(()) => counts.add("MADV_COLLAPSE", 1),
            Err(_) => counts.add("MADV_COLLAPSE refused", 1),
        }
        counts.add("markers_lost", u64::from(!pagemap.entry(&marked, page)?.is_marker()));
        // Registered, the page would be waited for. Poison outlives the registration.
        uffd.unregister(&marked)?;
        counts.add("poisoned_pages_read", u64::from(peek.read(&marked, page)?.is_some()));
        job.pause(Duration::from_millis(1));
    }
    Ok(())
}

/// A mapping of a file that is one huge page, and a thread that collapses it again and again while `body` marks pages.
fn against_collapse(
    job: &Job<'_>,
    tally: &Tally,
    path: &'static str,
    body: impl FnOnce(&Mapping) -> io::Result<()>,
) -> io::Result<()> {
    let file = memfd(HUGE)?;
    let memory = &Mapping::aligned(HUGE, Backing::Shared(&file))?;
    tally.add(path, "pages filled", memory.fill(1, 1));
    memory
        .advise(Advice::Collapse)
        .map_err(|error| io::Error::other(format!("the file cannot be collapsed: {error}")))?;
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        threads::start(scope, move || {
            let mut counts = tally.local("collapse");
            while job.go() && !done.load(Ordering::Relaxed) {
                if let Err(error) = collapse(memory, &mut counts) {
                    return tally.note("collapse", format!("stopped early: {error}"));
                }
                // Not more events than a recorder takes.
                std::thread::sleep(Duration::from_micros(5));
            }
        });
        for _ in 0..WALKERS {
            threads::start(scope, move || {
                let mut counts = tally.local("walk");
                while job.go() && !done.load(Ordering::Relaxed) {
                    if let Err(error) = resident(memory, 0, memory.len()) {
                        return tally.note("walk", format!("stopped early: {error}"));
                    }
                    counts.add("mincore", 1);
                    std::thread::sleep(Duration::from_micros(5));
                }
            });
        }
        let result = body(memory);
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Now and then a pause: not more events than a recorder takes.
fn breathe(job: &Job<'_>, page: usize) {
    if page.is_multiple_of(16) {
        job.pause(Duration::from_micros(20));
    }
}

/// Guard pages in a mapping that is collapsed at the same time.
pub(super) fn guard_collapse(job: &Job<'_>, tally: &Tally) {
    let result = against_collapse(job, tally, "guard", |memory| guarding(job, tally, memory));
    if let Err(error) = result {
        tally.note("guard", format!("stopped early: {error}"));
    }
}

fn guarding(job: &Job<'_>, tally: &Tally, memory: &Mapping) -> io::Result<()> {
    let mut counts = tally.local("guard");
    let peek = Peek::new()?;
    for name in ["guards installed", "guard_pages_read"] {
        counts.add(name, 0);
    }
    for page in (0..memory.pages()).cycle() {
        if !job.go() {
            break;
        }
        memory.advise_range(page * PAGE, PAGE, Advice::Guard).map_err(|error| {
            io::Error::other(format!("no guard pages in file mappings, which are new in 6.15: {error}"))
        })?;
        counts.add("guards installed", 1);
        counts.add("guard_pages_read", u64::from(peek.read(memory, page)?.is_some()));
        memory.advise_range(page * PAGE, PAGE, Advice::Unguard)?;
        breathe(job, page);
    }
    Ok(())
}

/// Poison markers in a mapping that is collapsed at the same time.
pub(super) fn poison_pte_collapse(job: &Job<'_>, tally: &Tally) {
    let result = against_collapse(job, tally, "poison", |memory| poisoning(job, tally, memory));
    if let Err(error) = result {
        tally.note("poison", format!("stopped early: {error}"));
    }
}

fn poisoning(job: &Job<'_>, tally: &Tally, memory: &Mapping) -> io::Result<()> {
    let mut counts = tally.local("poison");
    let pagemap = Pagemap::own()?;
    let uffd = Uffd::open(MINOR_SHMEM | POISON)?;
    uffd.register(memory, Mode::Minor)?;
    for name in ["pages poisoned", "markers_lost"] {
        counts.add(name, 0);
    }
    for page in (0..memory.pages()).cycle() {
        if !job.go() {
            break;
        }
        match uffd.poison(memory, page * PAGE, PAGE) {
            Ok(()) => {
                counts.add("pages poisoned", 1);
                counts.add("markers_lost", u64::from(!pagemap.entry(memory, page)?.is_marker()));
            }
            // The collapse has just mapped the huge page, or changes the mapping.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::EAGAIN)) => {
                counts.add("poison refused", 1);
            }
            Err(error) => return Err(error),
        }
        // Takes the marker away, or the huge page.
        memory.advise_range(page * PAGE, PAGE, Advice::DontNeed)?;
        breathe(job, page);
    }
    Ok(())
}
