//! A sound kernel whose tasks fault, change and look at one VMA, one step after the other.

use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::model::locks::mmap_lock::EPSILON_NS;
use mmtrace_testing::kernel::{
    ALLOW_RETRY, COMPLETED, Made, NOWAIT, OTHER, RETRY, Random, START, TRAP, TRIED, VMA, VMA_LOCK,
};

/// `VM_UFFD_WP`
const WP: u64 = 0x1000;
/// The task that retracts, and nothing else.
pub(crate) const RETRACTING: u32 = 6;
/// What a task does next.
#[derive(Clone, Copy, Debug)]
enum Do {
    User,
    Grant,
    Fault(u64),
    Done(u64),
    /// `vma_end_read()`, which no event tells of.
    EndRead,
    Start(bool),
    Got(bool),
    Downgrade,
    Released(bool),
    VmaWrite,
    VmaWritten,
    FreeVma,
    Wait,
    Waited,
    Locked(u64),
    Retract,
    Flush,
    Retracted,
    Register(u64),
    Say(Kind),
}

/// A sound kernel: tasks that fault, change and look at one VMA, one step after the other.
pub(crate) struct Sound {
    random: Random,
    made: Made,
    todo: [Vec<Do>; 6],
    readers: u64,
    writer: bool,
    vma_readers: u64,
    /// A writer waits for the VMA's readers, or has it.
    vma_excluded: bool,
    protected: bool,
    /// The CPU of a BPF program's trylock, to be released on top of whoever runs there then.
    deferred: Option<u32>,
    /// A task of another process.
    other: Option<u32>,
}

impl Sound {
    /// What it would have emitted.
    pub(crate) fn stream(seed: u64, steps: usize) -> Vec<Record> {
        Self::run(seed, steps, None)
    }

    /// The same, where a task of another process runs on each CPU now and then: what a BPF program has
    /// acquired may be released on top of it.
    pub(crate) fn beside_another_process(seed: u64, steps: usize) -> Vec<Record> {
        Self::run(seed, steps, Some(OTHER))
    }

    fn run(seed: u64, steps: usize, other: Option<u32>) -> Vec<Record> {
        let mut kernel = Self {
            random: Random(seed),
            made: Made::new(),
            todo: Default::default(),
            readers: 0,
            writer: false,
            vma_readers: 0,
            vma_excluded: false,
            protected: false,
            deferred: None,
            other,
        };
        for _ in 0..steps {
            let task = kernel.random.below(6) as usize;
            kernel.made.step = 20 + kernel.random.below(4000);
            if kernel.todo[task].is_empty() {
                let mut program = kernel.program(task);
                program.reverse();
                kernel.todo[task] = program;
            }
            if kernel.step(task) {
                kernel.interrupt(task as u32 + 1);
            }
        }
        let mut records = kernel.made.records;
        // Each CPU has its own clock, and they differ by less than is put down to that.
        let skew: Vec<u64> = (0..4).map(|_| kernel.random.below(EPSILON_NS)).collect();
        for record in &mut records {
            record.ts += skew[usize::from(record.cpu)];
        }
        records.sort_by_key(|r| r.ts);
        records
    }

    fn program(&mut self, task: usize) -> Vec<Do> {
        use Do::{
            Done, Downgrade, Fault, Flush, FreeVma, Got, Grant, Register, Released, Retract, Retracted, Say, Start,
            User, VmaWrite, VmaWritten, Wait, Waited,
        };
        if task as u32 + 1 == RETRACTING {
            return vec![Retract, Flush, Retracted];
        }
        match self.random.below(12) {
            0..=5 => vec![User, Grant],
            6 => vec![
                Start(true),
                Got(true),
                VmaWrite,
                VmaWritten,
                FreeVma,
                Downgrade,
                Say(Kind::PteFreeTlb),
                Released(false),
            ],
            7 => vec![Start(true), Got(true), VmaWrite, VmaWritten, Released(true)],
            8 => vec![
                Start(false),
                Got(false),
                Fault(ALLOW_RETRY),
                Done(0),
                Fault(ALLOW_RETRY),
                Wait,
                Waited,
                Done(0),
                Fault(ALLOW_RETRY | NOWAIT),
                Done(RETRY),
                Released(false),
            ],
            9 => {
                vec![Say(Kind::PageFaultKernel), Start(false), Got(false), Fault(ALLOW_RETRY), Done(0), Released(false)]
            }
            10 => vec![Say(Kind::MwriteprotectRange), Say(Kind::MwriteprotectRangeReturn)],
            _ => {
                let flags = if self.random.below(2) == 0 { WP } else { 0 };
                vec![Start(true), Got(true), VmaWrite, VmaWritten, Register(flags), Released(true)]
            }
        }
    }

    fn then(&mut self, task: usize, next: &[Do]) {
        self.todo[task].extend(next.iter().rev());
    }

    /// Takes a task's next step, if it can be taken.
    fn step(&mut self, task: usize) -> bool {
        let tid = task as u32 + 1;
        let Some(next) = self.todo[task].last().copied() else { return false };
        let blocked = match next {
            Do::Got(true) => self.writer || self.readers > 0,
            Do::Got(false) => self.writer,
            Do::VmaWritten => self.vma_readers > 0,
            _ => false,
        };
        if blocked {
            // It may be about to sleep.
            return false;
        }
        self.todo[task].pop();
        let m = &mut self.made;
        match next {
            Do::User => drop(m.user(tid, START)),
            Do::Grant => self.grant(task),
            Do::Fault(flags) => drop(m.fault(tid, flags)),
            Do::Done(result) => drop(m.done(tid, result)),
            Do::EndRead => self.vma_readers -= 1,
            Do::Start(write) => drop(m.say(tid, Kind::StartLocking, &[(Column::Write, u64::from(write))])),
            Do::Got(write) => {
                m.say(tid, Kind::AcquireReturned, &[(Column::Write, u64::from(write)), (Column::Success, 1)]);
                if write { self.writer = true } else { self.readers += 1 }
            }
            Do::Downgrade => {
                m.say(tid, Kind::AcquireReturned, &[(Column::Success, 1)]);
                (self.writer, self.vma_excluded) = (false, false);
                self.readers += 1;
            }
            Do::Released(write) => {
                m.unlock(tid, write);
                if write { (self.writer, self.vma_excluded) = (false, false) } else { self.readers -= 1 }
            }
            Do::VmaWrite => {
                m.say(tid, Kind::VmaStartWrite, &[(Column::Vma, VMA)]);
                self.vma_excluded = true;
            }
            Do::VmaWritten => drop(m.vma_written(tid)),
            Do::FreeVma => {
                m.free_vma(tid);
                self.protected = false;
            }
            Do::Wait => drop(m.wait(tid)),
            Do::Waited => drop(m.waited(tid)),
            Do::Locked(flags) => {
                let values = [(Column::FaultFlags, flags), (Column::FaultResult, RETRY)];
                m.say(tid, Kind::FolioLockOrRetry, &values);
            }
            Do::Retract => {
                m.retract(tid);
                // What is protected is passed by.
                if self.protected {
                    self.todo[task].pop();
                }
            }
            Do::Flush => drop(m.flush(tid, if self.protected { WP } else { 0 })),
            Do::Retracted => drop(m.retracted(tid)),
            Do::Register(flags) => {
                m.register(tid, flags);
                self.protected = flags != 0;
            }
            Do::Say(kind) => drop(m.say(tid, kind, &[])),
        }
        true
    }

    fn grant(&mut self, task: usize) {
        use Do::{Done, EndRead, Fault, Got, Locked, Released, Start, Wait, Waited};
        let tid = task as u32 + 1;
        let slow = [Start(false), Got(false), Fault(TRAP)];
        let refused = self.vma_excluded;
        self.made.grant_of(tid, if refused { 0 } else { VMA }, START);
        let outcome = self.random.below(4);
        if refused {
            self.then(task, &slow);
            // Executed last first: what is appended comes before.
            let rest = self.todo[task].split_off(0);
            match outcome {
                0 => self.then(
                    task,
                    &[
                        Locked(TRAP),
                        Released(false),
                        Done(RETRY),
                        Start(false),
                        Got(false),
                        Fault(TRAP | TRIED),
                        Done(0),
                        Released(false),
                    ],
                ),
                1 => self.then(task, &[Wait, Waited, Done(0), Released(false)]),
                2 => self.then(task, &[Released(false), Done(COMPLETED)]),
                _ => self.then(task, &[Done(0), Released(false)]),
            }
            self.todo[task].extend(rest);
            return;
        }
        self.vma_readers += 1;
        let fast = TRAP | VMA_LOCK;
        match outcome {
            0 => self.then(
                task,
                &[
                    Fault(fast),
                    EndRead,
                    Locked(fast),
                    Done(RETRY),
                    Start(false),
                    Got(false),
                    Fault(TRAP),
                    Done(0),
                    Released(false),
                ],
            ),
            1 => self.then(task, &[Fault(fast), Wait, Waited, Done(0), EndRead]),
            2 => self.then(task, &[Fault(fast), EndRead, Done(COMPLETED)]),
            _ => self.then(task, &[Fault(fast), Done(0), EndRead]),
        }
    }

    /// A BPF program takes the mmap_lock on top of this task; it is released on top of the next.
    fn interrupt(&mut self, tid: u32) {
        if self.deferred == Some(tid % 4) {
            self.deferred = None;
            let other = self.other.filter(|_| self.random.below(2) == 0);
            self.made.unlock(other.unwrap_or(tid), false);
            if let Some(released) = self.made.records.last_mut() {
                released.cpu = tid as u16 % 4;
            }
            self.readers -= 1;
        } else if self.other.is_some() && tid == RETRACTING {
            // It has another mm, whose lock a BPF program takes on top of it.
        } else if self.deferred.is_none() && !self.writer && self.random.below(40) == 0 {
            self.made.lock(tid, false);
            self.readers += 1;
            self.deferred = Some(tid % 4);
        }
    }
}
