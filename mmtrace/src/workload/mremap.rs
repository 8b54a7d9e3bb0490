//! Whole page tables of a file mapping that move, against collapses that take them away.

use super::khugepaged::collapse;
use super::stamp::{stamp, wrong};
use super::sys::{Advice, Backing, HUGE, Mapping, memfd};
use super::tally::Tally;
use super::{Job, threads};
use std::fs::File;
use std::io;
use std::time::Duration;

/// The file: two page tables.
const LEN: usize = 2 * HUGE;
/// Pages of a huge page that are filled.
const STEP: usize = 8;

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    let file = match memfd(LEN) {
        Ok(file) => file,
        Err(error) => return tally.note("move", format!("no file: {error}")),
    };
    let file = &file;
    std::thread::scope(|scope| {
        for backing in [Backing::Shared(file), Backing::Private(file)] {
            threads::start(scope, move || {
                if let Err(error) = moving(job, tally, backing) {
                    tally.note("move", format!("stopped early: {error}"));
                }
            });
        }
        threads::start(scope, move || {
            if let Err(error) = collapsing(job, tally, file) {
                tally.note("collapse", format!("stopped early: {error}"));
            }
        });
    });
}

fn moving(job: &Job<'_>, tally: &Tally, backing: Backing<'_>) -> io::Result<()> {
    let (mut counts, mut collapses) = (tally.local("move"), tally.local("collapse through the moved"));
    let mut memory = Mapping::aligned(LEN, backing)?;
    for round in 0_usize.. {
        if !job.go() {
            break;
        }
        // Read only: a private mapping that was written to has an anon_vma, and is not retracted.
        counts.add("pages read", memory.scan(STEP));
        memory = memory.move_to(Mapping::aligned(LEN, Backing::Anon)?)?;
        counts.add("moves", 1);
        counts.add("pages with wrong contents", wrong(&memory, memory.pages(), STEP));
        if round % 16 == 15 {
            collapse(&memory, &mut collapses)?;
        }
        // Not more events than a recorder takes.
        job.pause(Duration::from_micros(50));
    }
    Ok(())
}

fn collapsing(job: &Job<'_>, tally: &Tally, file: &File) -> io::Result<()> {
    let mut counts = tally.local("collapse");
    let memory = Mapping::aligned(LEN, Backing::Shared(file))?;
    while job.go() {
        counts.add("pages filled", stamp(&memory, STEP));
        job.pause(Duration::from_micros(200));
        collapse(&memory, &mut counts)?;
        job.pause(Duration::from_micros(200));
        memory.advise(Advice::Remove)?;
    }
    Ok(())
}
