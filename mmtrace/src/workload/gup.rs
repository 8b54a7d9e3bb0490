//! Pages that the kernel holds a reference to, against collapse and MADV_DONTNEED.

use super::inspect::{copy_from, splice, write_to};
use super::khugepaged::{collapse, fill_small};
use super::sys::{Advice, Backing, HUGE, Mapping, PAGE};
use super::tally::Tally;
use super::{Job, threads};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// Bytes that a system call holds at a time.
const PIECE: usize = 16 * PAGE;

/// A thread's body.
type Way = fn(&Job<'_>, &Tally, &Mapping) -> io::Result<()>;

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    let memory = match Mapping::aligned(2 * HUGE, Backing::Anon) {
        Ok(memory) => memory,
        Err(error) => return tally.note("collapse", format!("no memory: {error}")),
    };
    let memory = &memory;
    let ways: [(&'static str, Way); 4] =
        [("collapse", collapsing), ("process_vm_readv", reading), ("vmsplice", splicing), ("O_DIRECT", writing)];
    std::thread::scope(|scope| {
        for (path, body) in ways {
            threads::start(scope, move || {
                if let Err(error) = body(job, tally, memory) {
                    tally.note(path, format!("stopped early: {error}"));
                }
            });
        }
    });
}

/// Small pages, huge ones, none.
fn collapsing(job: &Job<'_>, tally: &Tally, memory: &Mapping) -> io::Result<()> {
    let mut counts = tally.local("collapse");
    while job.go() {
        counts.add("pages filled", fill_small(memory)?);
        collapse(memory, &mut counts)?;
        job.pause(Duration::from_micros(300));
        memory.advise_range(0, HUGE / 2, Advice::DontNeed)?;
        counts.add("MADV_DONTNEED of half a huge page", 1);
        job.pause(Duration::from_micros(300));
        memory.advise_range(HUGE, HUGE, Advice::DontNeed)?;
        counts.add("MADV_DONTNEED of a whole one", 1);
    }
    Ok(())
}

/// Offsets of pieces of the mapping, round and round.
fn pieces(memory: &Mapping) -> impl Iterator<Item = usize> {
    (0..memory.len()).step_by(PIECE).cycle()
}

/// The slow way, which faults.
fn reading(job: &Job<'_>, tally: &Tally, memory: &Mapping) -> io::Result<()> {
    let mut counts = tally.local("process_vm_readv");
    let buffer = Mapping::new(memory.len(), Backing::Anon)?;
    let pid = std::process::id().cast_signed();
    while job.pause(Duration::from_micros(100)) {
        counts.add("bytes", copy_from(pid, memory, 0, memory.len(), &buffer)? as u64);
        let odd = (0..buffer.pages()).filter(|page| buffer.read(*page) > 1).count();
        counts.add("pages with wrong contents", odd as u64);
    }
    Ok(())
}

/// The fast way, without a lock.
fn splicing(job: &Job<'_>, tally: &Tally, memory: &Mapping) -> io::Result<()> {
    let mut counts = tally.local("vmsplice");
    let mut pipe = io::pipe()?;
    for offset in pieces(memory) {
        if !job.pause(Duration::from_micros(20)) {
            break;
        }
        counts.add("bytes", splice(memory, offset, PIECE, &mut pipe)? as u64);
    }
    Ok(())
}

/// The fast way, for as long as a device takes.
fn writing(job: &Job<'_>, tally: &Tally, memory: &Mapping) -> io::Result<()> {
    let mut counts = tally.local("O_DIRECT");
    let file = direct_file()?;
    for offset in pieces(memory) {
        if !job.pause(Duration::from_millis(1)) {
            break;
        }
        counts.add("bytes written", write_to(memory, offset, PIECE, &file)? as u64);
    }
    Ok(())
}

/// A file without a name that bypasses the page cache, where a file system has such.
fn direct_file() -> io::Result<File> {
    let mut result = Err(io::Error::other("no folder for it"));
    for folder in [std::env::temp_dir(), PathBuf::from("/var/tmp")] {
        result = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE | libc::O_DIRECT).mode(0o600).open(folder);
        if result.is_ok() {
            break;
        }
    }
    result.map_err(|error| io::Error::other(format!("no temporary file with O_DIRECT: {error}")))
}
