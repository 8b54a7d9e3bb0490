//! Write protection by userfaultfd against a collapse from another mapping.

use super::inspect::{Entry, Pagemap};
use super::khugepaged::collapse;
use super::sys::{Advice, Backing, HUGE, Mapping, PAGE, memfd};
use super::tally::Tally;
use super::uffd::{Mode, Uffd, WP_SHMEM};
use super::{Job, threads};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Of so many pages the file has one, and every second of those is mapped.
const STEP: usize = 4;

/// Pages that are protected by one call, round by round.
const PIECES: [usize; 4] = [1, 8, 2, 64];

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    if let Err(error) = drive(job, tally) {
        tally.note("protect", format!("stopped early: {error}"));
    }
}

fn drive(job: &Job<'_>, tally: &Tally) -> io::Result<()> {
    let file = memfd(HUGE)?;
    let watched = &Mapping::aligned(HUGE, Backing::Shared(&file))?;
    let other = &Mapping::aligned(HUGE, Backing::Shared(&file))?;
    tally.add("protect", "pages filled", other.fill(STEP, 1));
    let uffd = Uffd::open(WP_SHMEM)?;
    // Punching the file takes markers away as it should, so it is not done while any is looked for.
    let collapsing = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        threads::start(scope, move || {
            let mut counts = tally.local("collapse");
            while job.go() {
                if collapsing.load(Ordering::Acquire)
                    && let Err(error) = collapse(other, &mut counts)
                {
                    return tally.note("collapse", format!("stopped early: {error}"));
                }
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        threads::start(scope, move || {
            let mut counts = tally.local("read");
            // Reading is permitted: it replaces a marker by the page, which keeps the protection.
            while job.pause(Duration::from_micros(500)) {
                counts.add("pages read", watched.scan(2 * STEP + 1));
            }
        });
        let done = protecting(job, tally, &uffd, [watched, other], collapsing);
        collapsing.store(false, Ordering::Release);
        done
    })
}

/// Registers, protects page by page, and checks whether all stayed protected.
fn protecting(
    job: &Job<'_>,
    tally: &Tally,
    uffd: &Uffd,
    [watched, other]: [&Mapping; 2],
    collapsing: &AtomicBool,
) -> io::Result<()> {
    let mut counts = tally.local("protect");
    let pagemap = Pagemap::own()?;
    counts.add("markers_lost", 0);
    for round in 0_usize.. {
        if !job.go() {
            break;
        }
        // A collapse that began before may still run: it finds small pages or holes, and does no harm.
        other.advise(Advice::Remove)?;
        counts.add("pages filled", other.fill(STEP, 1));
        watched.scan(2 * STEP);
        collapsing.store(true, Ordering::Release);
        if round % 3 != 0 {
            // In some rounds the collapse has begun, in others it comes amid the registration.
            std::thread::sleep(Duration::from_micros(round as u64 % 16 * 30));
        }
        uffd.register(watched, Mode::Wp)?;
        let (mut protected, piece) = (0, PIECES[round % PIECES.len()]);
        for (i, page) in (0..watched.pages()).step_by(piece).enumerate() {
            match uffd.write_protect(watched, page * PAGE, piece * PAGE, true) {
                Ok(()) => protected = page + piece,
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                    counts.add("protections refused", 1);
                    break;
                }
                Err(error) => return Err(error),
            }
            // Let the collapse come in between; and not more events than a recorder takes.
            if i % 16 == 15 && !job.pause(Duration::from_micros(20)) {
                break;
            }
        }
        let entries = pagemap.entries(watched, 0, protected)?;
        let lost = entries.iter().filter(|entry| !entry.is_uffd_wp()).count();
        counts.add("pages protected", protected as u64);
        counts.add("of them markers at the end", entries.iter().filter(|e: &&Entry| e.is_marker()).count() as u64);
        counts.add("markers_lost", lost as u64);
        collapsing.store(false, Ordering::Release);
        uffd.write_protect(watched, 0, watched.len(), false)?;
        uffd.unregister(watched)?;
        counts.add("rounds", 1);
    }
    Ok(())
}
