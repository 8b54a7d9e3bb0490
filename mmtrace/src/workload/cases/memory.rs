//! Whose faults there are, of which kind and where.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    super::{
        Job,
        children::{Child, Step},
        sys::{Advice, Backing, Mapping, PAGE, forget_cached, thread_fault_count},
        tally::Tally,
        threads,
        uffd::{Mode, Uffd},
    },
    FORK, small_maps, witnessed,
};

const MIB: usize = 1 << 20;

/// A large process forks to save itself, and writes what the child still shares; a client of it maps pages.
pub(in super::super) fn snapshot(job: &Job<'_>, tally: &Tally) {
    std::thread::scope(|scope| {
        threads::start_as(scope, "snapshot-db", || {
            witnessed(tally, "snapshot-db", |own| {
                // The exit unmaps it: a long hold of munmap() would be the situation's own doing.
                let memory = ManuallyDrop::new(Mapping::of_small_pages(160 * MIB)?);
                own.add("pages touched", memory.fill(1, 1));
                while job.go() {
                    // It shares the pages until it ends.
                    let child = own.call(&FORK, || Child::fork(&[Step::Nap(Duration::from_secs(60))], Some(1)))?;
                    let before = thread_fault_count();
                    memory.fill(4, 2);
                    own.add("pages copied", thread_fault_count() - before);
                    drop(child);
                }
                Ok(())
            });
        });
        threads::start_as(scope, "db-client", || witnessed(tally, "db-client", |own| small_maps(job, own)));
    });
}

/// Name of the file that is read cold.
const COLD: &str = "mmtrace-case-cold.data";

/// Threads read a mapped file at random, whose pages another thread takes out of the page cache.
pub(in super::super) fn cold_file(job: &Job<'_>, tally: &Tally) {
    let (file, path) = match cold_data(64 * MIB) {
        Ok(both) => both,
        Err(error) => return tally.note("cold-reader", format!("no file: {error}")),
    };
    let memory = Mapping::new(64 * MIB, Backing::Private(&file));
    let memory = memory.and_then(|memory| memory.advise(Advice::Random).map(|()| memory));
    match &memory {
        Ok(memory) => std::thread::scope(|scope| {
            for number in 1..=2_usize {
                threads::start_as(scope, "cold-reader", move || {
                    witnessed(tally, "cold-reader", |_| {
                        let mut at = number;
                        while job.go() {
                            // A walk through all pages, in an order that nobody reads ahead in.
                            at = (at * 5 + 3) % memory.pages();
                            std::hint::black_box(memory.read(at));
                        }
                        Ok(())
                    });
                });
            }
            threads::start_as(scope, "cache-dropper", || {
                witnessed(tally, "cache-dropper", |own| {
                    while job.pause(Duration::from_millis(20)) {
                        memory.advise(Advice::DontNeed)?;
                        forget_cached(&file)?;
                        own.add("times dropped", 1);
                    }
                    Ok(())
                });
            });
        }),
        Err(error) => tally.note("cold-reader", format!("not mapped: {error}")),
    }
    // They may be gone already.
    let _ = fs::remove_file(&path);
    let _ = path.parent().map(fs::remove_dir);
}

/// Makes a file of so many bytes, on a disk if there is one.
fn cold_data(len: usize) -> io::Result<(File, PathBuf)> {
    let make = |folder: &Path| {
        let folder = folder.join(format!("mmtrace-workload-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let path = folder.join(COLD);
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        file.write_all(&vec![1; len])?;
        file.sync_all()?;
        Ok((file, path))
    };
    make(Path::new("/var/tmp")).or_else(|_: io::Error| make(&std::env::temp_dir()))
}

/// Pages of a restored guest.
const GUEST: usize = 1200;
/// Time that the handler takes for a page.
const FETCH: Duration = Duration::from_micros(1500);

/// A userfaultfd handler that takes 1.5 ms for each page: faults of the other thread wait for it.
pub(in super::super) fn handler(job: &Job<'_>, tally: &Tally) {
    let restore = || {
        let memory = Mapping::of_small_pages(GUEST * PAGE)?;
        let uffd = Uffd::open(0)?;
        uffd.register(&memory, Mode::Missing)?;
        Ok((memory, uffd))
    };
    let (memory, uffd) = match restore() {
        Ok(both) => both,
        Err(error) => {
            let error: io::Error = error;
            return tally.note("guest-vcpu", format!("not made: {error}"));
        }
    };
    let (memory, uffd) = (&memory, &uffd);
    std::thread::scope(|scope| {
        threads::start_as(scope, "page-handler", move || {
            witnessed(tally, "page-handler", |own| {
                let page = Mapping::of_small_pages(PAGE)?;
                page.write(0, 7);
                for at in 0..memory.pages() {
                    // The last ones come at once if the time is over: the other thread waits for each.
                    job.pause(FETCH);
                    uffd.copy(memory, at * PAGE, &page)?;
                    own.add("pages copied", 1);
                }
                Ok(())
            });
        });
        threads::start_as(scope, "guest-vcpu", move || {
            witnessed(tally, "guest-vcpu", |own| {
                let before = thread_fault_count();
                memory.scan(1);
                own.add("pages awaited", thread_fault_count() - before);
                Ok(())
            });
        });
    });
}
