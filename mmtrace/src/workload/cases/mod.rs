//! Situations with a known culprit. Each measures itself, so that a report can be compared with what happened.
//!
//! A path of the outcome is a thread's name. Its counts are the calls that it made, by name; the CPU time in them, as
//! `CALL cpu ns`; the time around those that took [`LONG`] and more, as `CALL long ns`; and `faults`, by the kernel's own
//! count.

mod locks;
mod memory;
mod tasks;

pub(super) use locks::{arena, contend, monitor, populate, turns};
pub(super) use memory::{cold_file, handler, snapshot};
pub(super) use tasks::{names, short};

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    Job,
    sys::{Backing, Mapping, PAGE, thread_cpu_ns, thread_fault_count, thread_major_fault_count},
    tally::{Local, Tally},
};

/// A call that takes as long has waited for something: the calls that are measured as victims take a few microseconds.
const LONG: Duration = Duration::from_micros(100);

/// A system call, with the names of its counts.
struct Timed {
    calls: &'static str,
    cpu_ns: &'static str,
    long_ns: &'static str,
}

const MMAP: Timed = Timed { calls: "mmap", cpu_ns: "mmap cpu ns", long_ns: "mmap long ns" };
const MUNMAP: Timed = Timed { calls: "munmap", cpu_ns: "munmap cpu ns", long_ns: "munmap long ns" };
const MPROTECT: Timed = Timed { calls: "mprotect", cpu_ns: "mprotect cpu ns", long_ns: "mprotect long ns" };
const MADVISE: Timed = Timed { calls: "madvise", cpu_ns: "madvise cpu ns", long_ns: "madvise long ns" };
const FORK: Timed = Timed { calls: "clone", cpu_ns: "clone cpu ns", long_ns: "clone long ns" };

/// The counts of one thread, which are complete when it is dropped.
struct Witness<'t>(Local<'t>);

impl<'t> Witness<'t> {
    fn new(tally: &'t Tally, thread: &'static str) -> Self {
        Self(tally.local(thread))
    }

    /// Makes a call, and measures it.
    fn call<T>(&mut self, what: &Timed, call: impl FnOnce() -> T) -> T {
        let (start, cpu) = (Instant::now(), thread_cpu_ns());
        let result = call();
        let (took, cpu) = (start.elapsed(), thread_cpu_ns() - cpu);
        self.0.add(what.calls, 1);
        self.0.add(what.cpu_ns, cpu);
        if took >= LONG {
            self.0.add(what.long_ns, took.as_nanos() as u64);
        }
        result
    }

    fn add(&mut self, what: &'static str, count: u64) {
        self.0.add(what, count);
    }
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        self.0.add("faults", thread_fault_count());
        self.0.add("major faults", thread_major_fault_count());
    }
}

/// Runs a thread's part, and says why it ended early.
fn witnessed(tally: &Tally, thread: &'static str, part: impl FnOnce(&mut Witness<'_>) -> io::Result<()>) {
    let mut witness = Witness::new(tally, thread);
    if let Err(error) = part(&mut witness) {
        tally.note(thread, format!("stopped early: {error}"));
    }
}

/// Maps and unmaps a page again and again, with 200 us in between: most of the time around the calls is waiting.
fn small_maps(job: &Job<'_>, witness: &mut Witness<'_>) -> io::Result<()> {
    while job.go() {
        let page = witness.call(&MMAP, || Mapping::new(PAGE, Backing::Anon))?;
        witness.call(&MUNMAP, || drop(page));
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
