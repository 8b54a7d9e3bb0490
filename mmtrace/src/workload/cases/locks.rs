//! Who holds the mmap_lock, and who waits for it.

use std::{
    ffi::CString,
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    super::{
        Job,
        children::{Child, Step},
        sys::{Access, Advice, Backing, Mapping},
        tally::Tally,
        threads,
    },
    FORK, MADVISE, MMAP, MPROTECT, MUNMAP, Witness, small_maps, witnessed,
};

const MIB: usize = 1 << 20;

/// Three holders that take turns: nobody waits, and the time in a call is the time of its hold.
pub(in super::super) fn turns(job: &Job<'_>, tally: &Tally) {
    let turn = &Mutex::new(());
    std::thread::scope(|scope| {
        threads::start_as(scope, "protector", || witnessed(tally, "protector", |own| protector(job, own, turn)));
        threads::start_as(scope, "populater", || witnessed(tally, "populater", |own| populater(job, own, turn)));
        threads::start_as(scope, "forker", || witnessed(tally, "forker", |own| forker(job, own, turn)));
    });
}

fn take(turn: &Mutex<()>) -> MutexGuard<'_, ()> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets another thread have its turn.
fn pause() {
    std::thread::sleep(Duration::from_micros(100));
}

fn protector(job: &Job<'_>, own: &mut Witness<'_>, turn: &Mutex<()>) -> io::Result<()> {
    let memory = Mapping::of_small_pages(64 * MIB)?;
    memory.fill(1, 1);
    while job.go() {
        for access in [Access::Read, Access::Write] {
            let _turn = take(turn);
            own.call(&MPROTECT, || memory.protect(0, memory.len(), access))?;
        }
        pause();
    }
    Ok(())
}

fn populater(job: &Job<'_>, own: &mut Witness<'_>, turn: &Mutex<()>) -> io::Result<()> {
    while job.go() {
        let guard = take(turn);
        let memory = own.call(&MMAP, || Mapping::populated(MIB))?;
        own.call(&MUNMAP, || drop(memory));
        drop(guard);
        pause();
    }
    Ok(())
}

fn forker(job: &Job<'_>, own: &mut Witness<'_>, turn: &Mutex<()>) -> io::Result<()> {
    while job.go() {
        let guard = take(turn);
        let mut child = own.call(&FORK, || Child::fork(&[], Some(0)))?;
        child.wait()?;
        drop(child);
        drop(guard);
        pause();
    }
    Ok(())
}

/// Threads that map, fault and unmap, one that changes protections, and one that reads the list of mappings.
pub(in super::super) fn contend(job: &Job<'_>, tally: &Tally) {
    std::thread::scope(|scope| {
        for _ in 0..3 {
            threads::start_as(scope, "fault-worker", || {
                witnessed(tally, "fault-worker", |own| {
                    while job.go() {
                        let memory = own.call(&MMAP, || Mapping::new(2 * MIB - 4096, Backing::Anon))?;
                        own.add("pages touched", memory.fill(1, 1));
                        own.call(&MUNMAP, || drop(memory));
                    }
                    Ok(())
                });
            });
        }
        threads::start_as(scope, "jit-protector", || {
            witnessed(tally, "jit-protector", |own| {
                let memory = Mapping::of_small_pages(32 * MIB)?;
                own.add("pages touched", memory.fill(1, 1));
                while job.go() {
                    for access in [Access::Read, Access::Write] {
                        own.call(&MPROTECT, || memory.protect(0, memory.len(), access))?;
                    }
                }
                Ok(())
            });
        });
        threads::start_as(scope, "maps-poller", || {
            witnessed(tally, "maps-poller", |own| {
                while job.go() {
                    own.add("bytes of /proc/self/maps", std::fs::read("/proc/self/maps")?.len() as u64);
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            });
        });
    });
}

/// Another process reads this one's smaps_rollup, which walks every page table under the mmap_lock for read
/// (fs/proc/task_mmu.c:show_smaps_rollup), while a thread maps and unmaps.
pub(in super::super) fn monitor(job: &Job<'_>, tally: &Tally) {
    std::thread::scope(|scope| {
        threads::start_as(scope, "smaps-monitor", || {
            witnessed(tally, "smaps-monitor", |own| {
                let path = CString::new(format!("/proc/{}/smaps_rollup", std::process::id()))?;
                let steps = [Step::ReadText(&path), Step::Nap(Duration::from_millis(2))];
                // Its name is this thread's.
                let mut child = Child::fork(&steps, None)?;
                while job.go() {
                    pause();
                }
                own.add("readings", child.rounds());
                own.add("readings refused", child.refused());
                child.end().map(drop)
            });
        });
        threads::start_as(scope, "db-mapper", || {
            witnessed(tally, "db-mapper", |own| {
                let memory = Mapping::of_small_pages(128 * MIB)?;
                memory.fill(1, 1);
                small_maps(job, own)
            });
        });
    });
}

/// A thread maps memory that is filled at once, which holds the mmap_lock for read (mm/gup.c:__mm_populate), and unmaps it;
/// another maps single pages, which takes it for write.
pub(in super::super) fn populate(job: &Job<'_>, tally: &Tally) {
    // A thread that starts takes the lock as well: nobody is to wait for that.
    let running = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        threads::start_as(scope, "map-writer", || {
            witnessed(tally, "map-writer", |own| {
                while job.go() && !running.load(Ordering::Relaxed) {
                    pause();
                }
                while job.go() {
                    let memory = own.call(&MMAP, || Mapping::populated(32 * MIB))?;
                    own.call(&MUNMAP, || drop(memory));
                    pause();
                }
                Ok(())
            });
        });
        threads::start_as(scope, "small-mapper", || {
            // Its first allocation maps memory (malloc's arena).
            std::hint::black_box(Box::new(0_u8));
            running.store(true, Ordering::Relaxed);
            witnessed(tally, "small-mapper", |own| small_maps(job, own));
        });
    });
}

/// A garbage collector's heap: a thread gives memory back and changes how it is mapped, another makes parts of a fresh
/// mapping usable, and others touch the heap.
pub(in super::super) fn arena(job: &Job<'_>, tally: &Tally) {
    const PART: usize = 4 * MIB;
    let arena = match Mapping::new(64 * MIB, Backing::Anon) {
        Ok(arena) => arena,
        Err(error) => return tally.note("heap-scavenger", format!("no memory: {error}")),
    };
    let arena = &arena;
    std::thread::scope(|scope| {
        threads::start_as(scope, "heap-scavenger", || {
            witnessed(tally, "heap-scavenger", |own| {
                while job.go() {
                    for offset in (0..arena.len()).step_by(PART) {
                        for advice in [Advice::NoHugePage, Advice::DontNeed, Advice::HugePage] {
                            own.call(&MADVISE, || arena.advise_range(offset, PART, advice))?;
                        }
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
                Ok(())
            });
        });
        threads::start_as(scope, "heap-grower", || {
            witnessed(tally, "heap-grower", |own| {
                while job.go() {
                    let room = own.call(&MMAP, || Mapping::new(64 * MIB, Backing::Anon))?;
                    for offset in (0..room.len()).step_by(PART) {
                        own.call(&MPROTECT, || room.protect(offset, PART / 2, Access::Read))?;
                    }
                    own.call(&MUNMAP, || drop(room));
                }
                Ok(())
            });
        });
        threads::start_as(scope, "mutator", || {
            witnessed(tally, "mutator", |own| {
                while job.go() {
                    own.add("pages touched", arena.fill(61, 1));
                }
                Ok(())
            });
        });
    });
}
