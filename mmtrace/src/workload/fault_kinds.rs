//! Page faults of each kind, made one kind at a time by a thread of its own, so that what a recording says of them can be
//! compared with what was made.

use super::children::{Child, Step};
use super::hugetlb::Pool;
use super::swap::SwapFile;
use super::sys::{
    Access, Advice, Backing, HUGE, Mapping, PAGE, fails_in_kernel, forget_cached, memfd, thread_fault_count,
};
use super::tally::Tally;
use super::uffd::{MINOR_SHMEM, Mode, PAGEFAULT_WP, Uffd};
use super::{Job, threads};
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Pages of most kinds.
const PAGES: usize = 64;
/// Pages between two that are read from a file: so many are mapped together (mm/memory.c:fault_around_pages).
const AROUND: usize = 16;
/// Children that a signal ends.
const CHILDREN: u64 = 8;

/// One kind.
struct Maker {
    /// The thread's name.
    thread: &'static str,
    /// The name of the kind in reports.
    kind: &'static str,
    /// Makes such faults; returns how many.
    make: fn(&Job<'_>) -> io::Result<u64>,
}

const MAKERS: &[Maker] = &[
    Maker { thread: "fk-anonymous", kind: "anonymous_first_touch", make: anonymous },
    Maker { thread: "fk-huge", kind: "huge_first_touch", make: huge },
    Maker { thread: "fk-cached", kind: "cache_hit", make: cached },
    Maker { thread: "fk-major", kind: "major", make: major },
    Maker { thread: "fk-memfd", kind: "shared_memory", make: shared_memory },
    Maker { thread: "fk-cow", kind: "copy_on_write", make: copied },
    Maker { thread: "fk-cow-file", kind: "copy_on_write", make: copied_of_file },
    Maker { thread: "fk-notify", kind: "write_notify", make: notified },
    Maker { thread: "fk-swap", kind: "swap_in", make: swapped },
    Maker { thread: "fk-uffd", kind: "userfaultfd", make: userfaultfd },
    Maker { thread: "fk-uffd-minor", kind: "userfaultfd", make: userfaultfd_minor },
    Maker { thread: "fk-uffd-hole", kind: "shared_memory", make: userfaultfd_minor_hole },
    Maker { thread: "fk-uffd-huge", kind: "userfaultfd", make: userfaultfd_hugetlb },
    Maker { thread: "fk-hugetlb", kind: "hugetlb", make: hugetlb },
    Maker { thread: "fk-segv", kind: "failed", make: forbidden },
    Maker { thread: "fk-sigbus", kind: "failed", make: behind_the_end },
    Maker { thread: "fk-efault", kind: "failed", make: not_mapped },
    Maker { thread: "fk-guard", kind: "marker", make: guarded },
];

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    // The only stack that grows is the first thread's.
    tally.add("mm-fault-kinds", "stack_growth", stack());
    for maker in MAKERS.iter().take_while(|_| job.go()) {
        std::thread::scope(|scope| {
            threads::start_as(scope, maker.thread, || match (maker.make)(job) {
                Ok(made) => tally.add(maker.thread, maker.kind, made),
                Err(error) => tally.note(maker.thread, format!("not made: {error}")),
            });
        });
    }
}

/// Runs `touch`, and returns the faults that it took by the kernel's own count.
fn counted(touch: impl FnOnce() -> u64) -> u64 {
    let before = thread_fault_count();
    black_box(touch());
    thread_fault_count() - before
}

fn anonymous(_: &Job<'_>) -> io::Result<u64> {
    let memory = Mapping::of_small_pages(PAGES * PAGE)?;
    Ok(counted(|| memory.fill(1, 1)))
}

fn huge(_: &Job<'_>) -> io::Result<u64> {
    let memory = Mapping::aligned(4 * HUGE, Backing::Anon)?;
    memory.advise(Advice::HugePage)?;
    let made = counted(|| memory.fill(HUGE / PAGE, 1));
    if made == 4 { Ok(made) } else { Err(io::Error::other(format!("{made} faults for 4 huge pages"))) }
}

/// A file on a disk, with pages in the page cache, and no name.
fn disk_file(pages: usize) -> io::Result<File> {
    let mut result = Err(io::Error::other("no folder for it"));
    for folder in [std::env::temp_dir(), "/var/tmp".into()] {
        result = disk_file_in(&folder, pages);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn disk_file_in(folder: &Path, pages: usize) -> io::Result<File> {
    let path = folder.join(format!("mmtrace-workload-{}-kinds", std::process::id()));
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    file.write_all(&vec![1; pages * PAGE])?;
    file.sync_all()?;
    Ok(file)
}

fn cached(_: &Job<'_>) -> io::Result<u64> {
    let file = disk_file(AROUND)?;
    // One fault maps as much as there is of a large folio: so a mapping has one fault.
    let faults =
        (0..PAGES).map(|_| Mapping::new(PAGE, Backing::Private(&file)).map(|memory| counted(|| memory.scan(1))));
    faults.sum()
}

fn major(_: &Job<'_>) -> io::Result<u64> {
    let file = disk_file(PAGES * AROUND)?;
    let memory = Mapping::new(PAGES * AROUND * PAGE, Backing::Shared(&file))?;
    // Nothing is read ahead then.
    memory.advise(Advice::Random)?;
    forget_cached(&file)?;
    Ok(counted(|| memory.scan(AROUND)))
}

fn shared_memory(_: &Job<'_>) -> io::Result<u64> {
    let file = memfd(PAGES * PAGE)?;
    let memory = Mapping::new(PAGES * PAGE, Backing::Shared(&file))?;
    Ok(counted(|| memory.fill(1, 1)))
}

fn copied(_: &Job<'_>) -> io::Result<u64> {
    let memory = Mapping::of_small_pages(PAGES * PAGE)?;
    memory.fill(1, 1);
    // It shares the pages until it ends.
    let child = Child::fork(&[Step::Nap(Duration::from_secs(60))], None)?;
    // The thread's own stack was shared too.
    black_box(thread_fault_count());
    let made = counted(|| memory.fill(1, 2));
    drop(child);
    Ok(made)
}

fn copied_of_file(_: &Job<'_>) -> io::Result<u64> {
    let file = memfd(PAGES * PAGE)?;
    let memory = Mapping::new(PAGES * PAGE, Backing::Private(&file))?;
    Ok(counted(|| memory.fill(1, 1)))
}

fn notified(_: &Job<'_>) -> io::Result<u64> {
    let file = disk_file(PAGES)?;
    let memory = Mapping::new(PAGES * PAGE, Backing::Shared(&file))?;
    memory.scan(1);
    Ok(counted(|| memory.fill(1, 2)))
}

fn swapped(job: &Job<'_>) -> io::Result<u64> {
    let swap = SwapFile::where_there_is_none(job.allow_swap)?;
    let memory = Mapping::of_small_pages(PAGES * PAGE)?;
    memory.fill(1, 1);
    memory.advise(Advice::PageOut)?;
    let made = counted(|| memory.scan(1));
    drop(memory);
    drop(swap);
    Ok(made)
}

fn userfaultfd(job: &Job<'_>) -> io::Result<u64> {
    let memory = &Mapping::of_small_pages(PAGES / 4 * PAGE)?;
    memory.fill(1, 1);
    let uffd = &Uffd::open(PAGEFAULT_WP)?;
    uffd.register(memory, Mode::Wp)?;
    uffd.write_protect(memory, 0, memory.len(), true)?;
    Ok(resolved(job, memory, PAGE, 2, |at| uffd.write_protect(memory, at, PAGE, false)))
}

/// Writes `value` into each page of so many bytes, while another thread resolves one after the other by `resolve`,
/// which it tells the page's offset. Returns the faults of the writing thread.
fn resolved(
    job: &Job<'_>,
    memory: &Mapping,
    page: usize,
    value: u8,
    resolve: impl Fn(usize) -> io::Result<()> + Send,
) -> u64 {
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        threads::start_as(scope, "fk-uffd-handler", move || {
            // Page by page, and slower than the other thread touches them.
            for at in (0..memory.len()).step_by(page).take_while(|_| !done.load(Ordering::Relaxed)) {
                job.pause(Duration::from_millis(2));
                let _ = resolve(at);
            }
        });
        let made = counted(|| memory.fill(page / PAGE, value));
        done.store(true, Ordering::Relaxed);
        made
    })
}

/// The file has the pages, and the mapping has not.
fn userfaultfd_minor(job: &Job<'_>) -> io::Result<u64> {
    let mut file = memfd(PAGES / 4 * PAGE)?;
    file.write_all(&vec![1; PAGES / 4 * PAGE])?;
    let memory = &Mapping::new(PAGES / 4 * PAGE, Backing::Shared(&file))?;
    let uffd = &Uffd::open(MINOR_SHMEM)?;
    uffd.register(memory, Mode::Minor)?;
    Ok(resolved(job, memory, PAGE, 2, |at| uffd.map(memory, at, PAGE)))
}

/// Registered likewise, and the file has no page: nobody asks the userfaultfd.
fn userfaultfd_minor_hole(_: &Job<'_>) -> io::Result<u64> {
    let file = memfd(PAGES / 4 * PAGE)?;
    let memory = Mapping::new(PAGES / 4 * PAGE, Backing::Shared(&file))?;
    let uffd = Uffd::open(MINOR_SHMEM)?;
    uffd.register(&memory, Mode::Minor)?;
    Ok(counted(|| memory.fill(1, 1)))
}

fn userfaultfd_hugetlb(job: &Job<'_>) -> io::Result<u64> {
    let pool = Pool::take(2)?;
    let memory = &Mapping::new(2 * HUGE, Backing::Huge)?;
    let source = &Mapping::new(HUGE, Backing::Anon)?;
    source.fill(1, 1);
    let uffd = &Uffd::open(0)?;
    uffd.register(memory, Mode::Missing)?;
    let made = resolved(job, memory, HUGE, 2, |at| uffd.copy(memory, at, source));
    drop(pool);
    Ok(made)
}

fn hugetlb(_: &Job<'_>) -> io::Result<u64> {
    let pool = Pool::take(2)?;
    let memory = Mapping::new(2 * HUGE, Backing::Huge)?;
    let made = counted(|| memory.fill(HUGE / PAGE, 1));
    drop(memory);
    drop(pool);
    Ok(made)
}

/// Forks children that end by the signal of their first access, and returns how many did.
fn ended_by(signal: i32, step: Step<'_>) -> io::Result<u64> {
    let mut ended = 0;
    for _ in 0..CHILDREN {
        let status = Child::fork(&[step], Some(1))?.wait()?;
        ended += u64::from(std::os::unix::process::ExitStatusExt::signal(&status) == Some(signal));
    }
    Ok(ended)
}

fn forbidden(_: &Job<'_>) -> io::Result<u64> {
    let memory = Mapping::of_small_pages(PAGE)?;
    memory.protect(0, PAGE, Access::Read)?;
    memory.scan(1);
    ended_by(libc::SIGSEGV, Step::Write { memory: &memory, pages: 1, step: 1 })
}

fn behind_the_end(_: &Job<'_>) -> io::Result<u64> {
    let file = memfd(0)?;
    let memory = Mapping::new(PAGE, Backing::Shared(&file))?;
    ended_by(libc::SIGBUS, Step::Read { memory: &memory, pages: 1, step: 1 })
}

fn not_mapped(_: &Job<'_>) -> io::Result<u64> {
    let file = memfd(PAGE)?;
    Ok((0..PAGES).filter(|_| fails_in_kernel(&file)).count() as u64)
}

fn guarded(_: &Job<'_>) -> io::Result<u64> {
    let memory = Mapping::of_small_pages(PAGE)?;
    memory.advise(Advice::Guard)?;
    ended_by(libc::SIGSEGV, Step::Read { memory: &memory, pages: 1, step: 1 })
}

/// Uses so many bytes of the stack, and more.
#[inline(never)]
fn descend(bytes: usize) -> u8 {
    let frame = black_box([bytes as u8; 1024]);
    if bytes <= frame.len() { frame[0] } else { descend(bytes - frame.len()).wrapping_add(frame[1]) }
}

/// Lets the stack grow, beyond what exec(2) has made of it (fs/exec.c:setup_arg_pages).
fn stack() -> u64 {
    black_box(descend(192 << 10));
    counted(|| u64::from(descend(512 << 10)))
}
