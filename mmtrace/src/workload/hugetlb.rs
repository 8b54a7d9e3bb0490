//! Huge pages of the pool: shared page tables, reservations, and a pool that has not one page too many.

use super::children::{Child, Step};
use super::inspect::{Pagemap, copy_from, copy_to, resident};
use super::migrate::nodes;
use super::settings::Setting;
use super::stamp::{value, wrong};
use super::sys::{Access, Advice, Backing, GIGANTIC, HUGE, MPOL_MF_MOVE_ALL, Mapping, PAGE, huge_memfd};
use super::tally::Tally;
use super::{Job, threads};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Huge pages of the shared file. Page tables are shared for 1 GiB of addresses, however little of it is there.
const SHARED: usize = 4;
/// Small pages of these.
const PAGES: usize = SHARED * STEP;
/// Small pages of a huge one.
const STEP: usize = HUGE / PAGE;

/// Huge pages that are free for us.
pub(super) struct Pool {
    /// Put back when dropped.
    _setting: Option<Setting>,
    /// Whether there is none beyond them.
    exact: bool,
}

/// Free huge pages of 2 MiB that nobody has reserved; of all.
fn pool() -> io::Result<(usize, usize)> {
    let folder = Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB");
    let number = |name: &str| -> io::Result<usize> {
        let text = fs::read_to_string(folder.join(name))
            .map_err(|error| io::Error::other(format!("this kernel has no huge pages of 2 MiB: {error}")))?;
        text.trim().parse().map_err(io::Error::other)
    };
    let free = number("free_hugepages")?.saturating_sub(number("resv_hugepages")?);
    Ok((free, number("nr_hugepages")?))
}

impl Pool {
    /// Makes sure that `pages` are free, and has more allocated if need be.
    pub(super) fn take(pages: usize) -> io::Result<Self> {
        let (free, all) = pool()?;
        let mut setting = None;
        if free < pages {
            let path = Path::new("/proc/sys/vm/nr_hugepages");
            let wanted = (all + pages - free).to_string();
            let change = Setting::change(path, &wanted);
            setting = Some(change.map_err(|error| {
                io::Error::other(format!("{free} huge pages are free, {pages} needed; {}: {error}", path.display()))
            })?);
        }
        let (free, _) = pool()?;
        if free < pages {
            return Err(io::Error::other(format!(
                "{pages} huge pages needed, and the kernel finds memory for {free} only"
            )));
        }
        Ok(Self { _setting: setting, exact: free == pages })
    }
}

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    if let Err(error) = drive(job, tally) {
        tally.note("shared", format!("stopped early: {error}"));
    }
}

fn drive(job: &Job<'_>, tally: &Tally) -> io::Result<()> {
    let pool = Pool::take(SHARED + 1)?;
    let file = huge_memfd(GIGANTIC)?;
    let memory = Mapping::aligned_to(GIGANTIC, GIGANTIC, Backing::Shared(&file))?;
    // From here on the file has its pages, and no fault needs another one.
    memory.advise_range(0, SHARED * HUGE, Advice::Populate)?;
    (0..PAGES).step_by(STEP).for_each(|page| memory.write(page, value(page)));

    let read = Step::Read { memory: &memory, pages: PAGES, step: STEP };
    let write = Step::Write { memory: &memory, pages: PAGES, step: STEP };
    let zap = Step::Advise(&memory, Advice::DontNeed);
    let (closed, open) = (Step::Protect(&memory, Access::Read), Step::Protect(&memory, Access::Write));
    let unmap = Step::Unmap(&memory, &file);
    let nap = Step::Nap(Duration::from_micros(50));
    // Forked before there is private memory: they would hold its page.
    let mut children = [
        Child::fork(&[read, nap, closed, read, open, write, nap], None)?,
        Child::fork(&[read, nap, unmap, write, zap, nap], None)?,
    ];
    let pids = [children[0].pid(), children[1].pid()];
    let private = Mapping::aligned(HUGE, Backing::Huge);

    let memory = &memory;
    std::thread::scope(|scope| {
        threads::start(scope, move || {
            if let Err(error) = walking(job, tally, memory, pids) {
                tally.note("walk", format!("stopped early: {error}"));
            }
        });
        threads::start(scope, move || {
            if let Err(error) = moving(job, tally, memory) {
                tally.note("move", format!("stopped early: {error}"));
            }
        });
        threads::start(scope, move || {
            let mut counts = tally.local("shared");
            let mut body = || -> io::Result<()> {
                counts.add("huge pages with wrong contents", wrong(memory, PAGES, STEP));
                counts.add("huge pages read", SHARED as u64);
                memory.protect(0, memory.len(), Access::Read)?;
                memory.protect(0, memory.len(), Access::Write)?;
                counts.add("mprotect", 2);
                memory.advise(Advice::DontNeed)
            };
            while job.pause(Duration::from_micros(100)) {
                if let Err(error) = body() {
                    return tally.note("shared", format!("stopped early: {error}"));
                }
            }
        });
        match &private {
            Ok(private) => {
                if !pool.exact {
                    tally.note("private", "the pool has more free pages than needed: no fault can miss one".to_owned());
                }
                let pid = std::process::id().cast_signed();
                threads::start(scope, move || zapping(job, tally, "private", private));
                threads::start(scope, move || faulting(job, tally, "private", private, pid, job.end));
            }
            Err(error) => tally.note("private", format!("no memory: {error}")),
        }
    });
    for child in &mut children {
        tally.add("other processes", "rounds of faults and unsharing", child.rounds());
        tally.add("other processes", "steps refused", child.refused());
        if let Some(signal) = child.end()? {
            tally.note("other processes", format!("one was ended by signal {signal}"));
        }
    }
    drop(private);
    Ok(())
}

/// Walks the page tables of the others, and the own.
fn walking(job: &Job<'_>, tally: &Tally, memory: &Mapping, pids: [i32; 2]) -> io::Result<()> {
    let mut counts = tally.local("walk");
    let buffer = Mapping::new(PAGE, Backing::Anon)?;
    let pagemaps = [Pagemap::of(pids[0])?, Pagemap::of(pids[1])?];
    while job.pause(Duration::from_micros(50)) {
        for (pid, pagemap) in pids.iter().zip(&pagemaps) {
            counts.add("pagemap entries", pagemap.entries(memory, 0, PAGES)?.len() as u64);
            for huge in 0..SHARED {
                match copy_from(*pid, memory, huge * HUGE, PAGE, &buffer) {
                    Ok(_) => {
                        counts.add("process_vm_readv", 1);
                        let right = [0, value(huge * STEP)].contains(&buffer.read(0));
                        counts.add("pages with wrong contents", u64::from(!right));
                    }
                    // Not mapped right now.
                    Err(error) if error.raw_os_error() == Some(libc::EFAULT) => counts.add("reads refused", 1),
                    Err(error) => return Err(error),
                }
            }
        }
        counts.add("pages by mincore", resident(memory, 0, SHARED * HUGE)?);
    }
    Ok(())
}

/// Moves the shared pages between nodes: their users, who unshare the page table for it, wait for them.
fn moving(job: &Job<'_>, tally: &Tally, memory: &Mapping) -> io::Result<()> {
    let mut counts = tally.local("move");
    let nodes = nodes();
    let [one, other, ..] = nodes[..] else {
        tally.note("move", "not provoked: one NUMA node".to_owned());
        return Ok(());
    };
    for node in [one, other].into_iter().cycle() {
        if !job.pause(Duration::from_millis(5)) {
            break;
        }
        let pages = (0..PAGES).step_by(STEP);
        match memory.move_some(pages, node.cast_signed(), MPOL_MF_MOVE_ALL) {
            Ok(there) => counts.add("huge pages at their target by move_pages", there),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tally.note("move", "not provoked: pages that others map are moved for root only".to_owned());
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives the page back again and again.
fn zapping(job: &Job<'_>, tally: &Tally, path: &'static str, memory: &Mapping) {
    let mut counts = tally.local(path);
    job.repeat(tally, path, || {
        memory.advise(Advice::DontNeed)?;
        counts.add("MADV_DONTNEED", 1);
        Ok(())
    });
}

/// Faults the page in, in this process or a child. A fault that finds no page in the pool is SIGBUS in user mode; here
/// the system call says so.
fn faulting(job: &Job<'_>, tally: &Tally, path: &'static str, memory: &Mapping, pid: i32, end: Instant) {
    let mut counts = tally.local(path);
    let buffer = match Mapping::new(PAGE, Backing::Anon) {
        Ok(buffer) => buffer,
        Err(error) => return tally.note(path, format!("no memory: {error}")),
    };
    counts.add("sigbus", 0);
    while job.go() && Instant::now() < end {
        match copy_to(pid, memory, 0, 1, &buffer) {
            Ok(_) => counts.add("faults or writes", 1),
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => counts.add("sigbus", 1),
            Err(error) => return tally.note(path, format!("stopped early: {error}")),
        }
    }
}

/// Private memory of one huge page in its owner, and then in a forked child, for which no page is reserved: a fault
/// while the only page is on its way back to the pool.
pub(super) fn child(job: &Job<'_>, tally: &Tally) {
    if let Err(error) = both(job, tally) {
        tally.note("child", format!("stopped early: {error}"));
    }
}

fn both(job: &Job<'_>, tally: &Tally) -> io::Result<()> {
    let pool = Pool::take(1)?;
    if !pool.exact {
        tally.note("child", "the pool has more free pages than needed: no fault can miss one".to_owned());
    }
    let start = Instant::now();
    let half = start + job.end.saturating_duration_since(start) / 2;
    let memory = &Mapping::aligned(HUGE, Backing::Huge)?;
    let first = &Job { end: half, cpus: job.cpus.clone(), ..*job };
    let pid = std::process::id().cast_signed();
    std::thread::scope(|scope| {
        threads::start(scope, move || zapping(first, tally, "owner", memory));
        threads::start(scope, move || faulting(first, tally, "owner", memory, pid, half));
    });
    memory.advise(Advice::DontNeed)?;
    let mut child = Child::fork(&[Step::Advise(memory, Advice::DontNeed)], None)?;
    // The child's memory stays; with ours the reservation goes, and the page is free for the child.
    memory.replace(0, HUGE)?;
    faulting(job, tally, "child", memory, child.pid(), job.end);
    tally.add("child", "MADV_DONTNEED", child.rounds());
    if let Some(signal) = child.end()? {
        tally.note("child", format!("it was ended by signal {signal}"));
    }
    Ok(())
}
