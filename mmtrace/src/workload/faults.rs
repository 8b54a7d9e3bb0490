//! Page faults of every sort.

use super::sys::{Access, Advice, Backing, Mapping, PAGE, fault_count, memfd};
use super::tally::Tally;
use super::{Job, process, threads};
use std::io;

/// Most memory of a thread: larger regions only make the rounds longer.
const REGION: usize = 8 << 20;

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    let before = fault_count();
    // Each thread has an anonymous region, a file of a quarter of it mapped twice, and a buffer of a quarter.
    let region = (job.memory / job.threads / 2 / PAGE * PAGE).clamp(64 * PAGE, REGION);
    std::thread::scope(|scope| {
        for index in 0..job.threads {
            threads::start(scope, move || {
                process::pin(&job.cpus, index);
                if let Err(error) = thread(job, tally, region) {
                    tally.note("anonymous", format!("a thread stopped early: {error}"));
                }
            });
        }
    });
    tally.add("process", "page faults by the kernel's own count", fault_count() - before);
}

fn thread(job: &Job<'_>, tally: &Tally, region: usize) -> io::Result<()> {
    let anon = Mapping::new(region, Backing::Anon)?;
    anon.advise(Advice::NoHugePage)?;
    let file = memfd(region / 4)?;
    let shared = Mapping::new(region / 4, Backing::Shared(&file))?;
    let private = Mapping::new(region / 4, Backing::Private(&file))?;
    let buffer = Mapping::new(region / 4, Backing::Anon)?;
    buffer.advise(Advice::NoHugePage)?;
    let (mut anons, mut files, mut kernel) = (tally.local("anonymous"), tally.local("file"), tally.local("kernel"));
    let mut value = 0_u8;
    while job.go() {
        value = value.wrapping_add(1);
        // Of eight pages one is read first (zero page) and written then (copied), the others are fresh.
        for page in 0..anon.pages() {
            if page % 8 == 0 {
                anon.read(page);
            }
            anon.write(page, value);
        }
        anons.add("pages filled", anon.pages() as u64);
        anons.add("pages of these that were first read as the zero page, then copied", anon.pages().div_ceil(8) as u64);
        // Pages that are present but write-protected: the fault finds nothing to copy and makes them writable.
        let quarter = anon.len() / 4 / PAGE * PAGE;
        anon.protect(0, quarter, Access::Read)?;
        anon.protect(0, quarter, Access::Write)?;
        for page in 0..quarter / PAGE {
            anon.write(page, value);
        }
        anons.add("pages written after mprotect", (quarter / PAGE) as u64);
        anon.advise(Advice::DontNeed)?;

        files.add("pages written in the file", shared.fill(1, value));
        files.add("pages read from the file", private.scan(2));
        files.add("pages copied from the file", private.fill(2, value));
        private.advise(Advice::DontNeed)?;
        shared.advise(Advice::Remove)?;

        shared.fill(4, value);
        kernel.add("bytes read into untouched pages", buffer.read_from(&file, 0, buffer.len())? as u64);
        kernel.add("pages touched by the kernel", buffer.pages() as u64);
        buffer.advise(Advice::DontNeed)?;
    }
    Ok(())
}
