//! Processes and threads that come and go, and mappings that move.

use super::children::{Child, Step};
use super::process::{die_with_parent, fork_touching};
use super::sys::{Advice, Backing, HUGE, Mapping, PAGE};
use super::tally::Tally;
use super::{Job, threads};
use crate::environment::cgroup;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Most memory that a thread shares with its children.
const REGION: usize = 4 << 20;

pub(super) fn run(job: &Job<'_>, tally: &Tally) {
    // A child may copy all of it, and a moved mapping needs room for as much.
    let region = (job.memory / job.threads / 4 / PAGE * PAGE).clamp(16 * PAGE, REGION);
    if attach_where_it_is().is_some() {
        tally.local("cgroup").add("moves of the process into the cgroup that it is in", 1);
    }
    std::thread::scope(|scope| {
        for _ in 0..job.threads {
            threads::start(scope, move || {
                if let Err(error) = thread(job, tally, region) {
                    tally.note("fork", format!("a thread stopped early: {error}"));
                }
            });
        }
    });
}

/// Moves this process into the cgroup v2 that it is in, which changes nothing, and which the kernel does all the same;
/// `None` where that is not permitted.
fn attach_where_it_is() -> Option<()> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let cgroup = cgroup::resolve(own, |_| Some(0)).ok()?;
    std::fs::write(cgroup.path.join("cgroup.procs"), std::process::id().to_string()).ok()
}

fn thread(job: &Job<'_>, tally: &Tally, region: usize) -> io::Result<()> {
    let (mut forks, mut execs) = (tally.local("fork"), tally.local("exec"));
    let (mut threads, mut moves) = (tally.local("thread"), tally.local("mremap"));
    let memory = Mapping::new(region, Backing::Anon)?;
    memory.advise(Advice::NoHugePage)?;
    let mut moved = Mapping::aligned(HUGE, Backing::Anon)?;
    moved.advise(Advice::NoHugePage)?;
    let mut round = 0_usize;
    while job.go() {
        let value = round as u8;
        memory.fill(1, value);
        if fork_touching(&memory, value)? {
            forks.add("children that copied and exited", 1);
        }
        forks.add("pages written after fork", memory.fill(2, value));

        // By fork and exec in one round, by vfork in the other.
        let mut command = trivial();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let what = if round.is_multiple_of(2) {
            die_with_parent(&mut command, libc::SIGKILL);
            "fork and exec"
        } else {
            "vfork and exec"
        };
        command.spawn()?.wait()?;
        execs.add(what, 1);

        std::thread::scope(|scope| {
            for _ in 0..4 {
                threads::start(scope, || {
                    memory.scan(16);
                });
            }
        });
        threads.add("threads", 4);

        // To 2 MiB boundaries whole page tables move, elsewhere entry by entry.
        moved.fill(4, value);
        moves.add("moves", 1);
        let target = if round.is_multiple_of(3) {
            Mapping::new(HUGE, Backing::Anon)?
        } else {
            Mapping::aligned(HUGE, Backing::Anon)?
        };
        moved = moved.move_to(target)?;
        moves.add("pages read after the move", moved.scan(4));
        round += 1;
    }
    Ok(())
}

/// Children that are alive at a time, of each thread.
const ALIVE: usize = 4;

/// Children by the dozen, which share and copy pages that the parent's threads touch and give back meanwhile.
pub(super) fn storm(job: &Job<'_>, tally: &Tally) {
    let most = 2 + job.threads * ALIVE;
    let region = (job.memory / most / PAGE * PAGE).clamp(16 * PAGE, REGION);
    let memory = Mapping::of_small_pages(region);
    let memory = match &memory {
        Ok(memory) => memory,
        Err(error) => return tally.note("fork", format!("no memory: {error}")),
    };
    std::thread::scope(|scope| {
        for _ in 0..job.threads {
            threads::start(scope, move || {
                if let Err(error) = forking(job, tally, memory) {
                    tally.note("fork", format!("a thread stopped early: {error}"));
                }
            });
        }
        threads::start(scope, move || {
            let mut counts = tally.local("fault");
            while job.go() {
                counts.add("pages written in the parent", memory.fill(1, 1));
            }
        });
        threads::start(scope, move || {
            let mut counts = tally.local("zap");
            job.repeat(tally, "zap", || {
                memory.advise_range(0, region / 2 / PAGE * PAGE, Advice::DontNeed)?;
                counts.add("MADV_DONTNEED of half the memory", 1);
                std::thread::sleep(Duration::from_micros(500));
                Ok(())
            });
        });
    });
}

fn forking(job: &Job<'_>, tally: &Tally, memory: &Mapping) -> io::Result<()> {
    let mut counts = tally.local("fork");
    let pages = memory.pages();
    let steps = [
        Step::Write { memory, pages, step: 2 },
        Step::Advise(memory, Advice::DontNeed),
        Step::Read { memory, pages, step: 4 },
    ];
    let mut alive = VecDeque::new();
    while job.go() {
        alive.push_back(Child::fork(&steps, Some(1))?);
        counts.add("children", 1);
        if alive.len() >= ALIVE
            && let Some(mut child) = alive.pop_front()
            && !child.wait()?.success()
        {
            counts.add("children that did not get to their end", 1);
        }
    }
    Ok(())
}

/// A program that does nothing.
fn trivial() -> Command {
    for path in ["/bin/true", "/usr/bin/true"] {
        if Path::new(path).exists() {
            return Command::new(path);
        }
    }
    let mut own = Command::new("/proc/self/exe");
    own.args(["workload", "--list"]);
    own
}
