//! A sound kernel whose tasks walk, collapse and free page tables, one step after the other.

use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::model::locks::mmap_lock::EPSILON_NS;
use mmtrace_testing::{
    kernel::{MM, Made, OTHER, Random, START, VMA},
    page_tables::{HUGE, Inside, PMDP, SHARED, marker, pte, table},
};

const LOCK: u64 = 0xffff_8880_4000_0000;
const TASKS: usize = 8;
const SLOTS: usize = 3;
/// Never in user mode.
const KHUGEPAGED: usize = 6;
const KSWAPD: usize = 7;
/// Steps that a grace period lasts at least.
const GRACE: u32 = 60;

/// What a task does next.
#[derive(Clone, Copy, Debug)]
enum Do {
    User,
    Start(bool),
    Got(bool),
    Downgrade,
    Released(bool),
    /// `pmd_install()`, if there is nothing.
    Install(usize),
    MapLock(usize),
    /// The PTL is released, or the RCU section ends: no event.
    Unmap(usize),
    Nolock(usize),
    ReadOnly(usize),
    Say(Kind),
    /// Takes the table out, by a collapse; and what follows if there was one.
    Flush(usize, After),
    Flushed(u64),
    Defer(u64),
    /// khugepaged maps what it has taken out by its copy of the entry.
    MapOwn(u64),
    /// The old table is linked again, or a huge page put there: no event.
    Relink(usize, u64),
    Huge(usize, u64),
    /// A huge page is split: no event.
    Split(usize),
    /// munmap: the PMD entry is cleared, and the table given back.
    Zap(usize),
    HugetlbRead,
    HugetlbUnread,
    HugetlbWrite,
    HugetlbTry,
    HugetlbUnwrite,
    Unshare,
}

#[derive(Clone, Copy, Debug)]
enum After {
    Freed,
    Collapsed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    None,
    Table(u64),
    /// And the table that is deposited with it.
    Huge(u64),
}

impl Entry {
    const fn pmd(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Table(frame) => table(frame),
            Self::Huge(_) => HUGE,
        }
    }
}

/// The kernel.
pub(crate) struct Sound {
    random: Random,
    made: Made,
    todo: [Vec<Do>; TASKS],
    entries: [Entry; SLOTS],
    /// Who has the PTL of the table there.
    locked: [Option<usize>; SLOTS],
    /// In an RCU section, with a map without lock.
    reading: [bool; TASKS],
    readers: u32,
    writer: bool,
    /// A collapse or munmap keeps rmap walks out.
    excluded: bool,
    free: Vec<u64>,
    /// Tables in their grace period: whether it ends with an event, and for how long.
    dying: Vec<(u64, bool, u32)>,
    hugetlb_readers: u32,
    hugetlb_writer: bool,
    /// A task of another process.
    other: Option<u32>,
}

const fn address(slot: usize) -> u64 {
    START + slot as u64 * 0x20_0000
}

const fn pmdp(slot: usize) -> u64 {
    PMDP + slot as u64 * 8
}

impl Sound {
    /// What it would have emitted.
    pub(crate) fn stream(seed: u64, steps: usize) -> Vec<Record> {
        Self::run(seed, steps, None)
    }

    /// The same, where a task of another process runs on each CPU now and then: grace periods may end on
    /// top of it.
    pub(crate) fn beside_another_process(seed: u64, steps: usize) -> Vec<Record> {
        Self::run(seed, steps, Some(OTHER))
    }

    fn run(seed: u64, steps: usize, other: Option<u32>) -> Vec<Record> {
        let mut kernel = Self {
            random: Random(seed),
            made: Made::new(),
            todo: Default::default(),
            entries: [Entry::None; SLOTS],
            locked: [None; SLOTS],
            reading: [false; TASKS],
            readers: 0,
            writer: false,
            excluded: false,
            free: (0xa0..0xa8).collect(),
            dying: Vec::new(),
            hugetlb_readers: 0,
            hugetlb_writer: false,
            other,
        };
        for _ in 0..steps {
            let task = kernel.random.below(TASKS as u64) as usize;
            kernel.made.step = 20 + kernel.random.below(4000);
            if kernel.todo[task].is_empty() {
                let mut program = kernel.program(task);
                program.reverse();
                kernel.todo[task] = program;
            }
            kernel.step(task);
            kernel.grace();
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
        use Do::*;
        let slot = self.random.below(SLOTS as u64) as usize;
        let mut program = if task == KHUGEPAGED || task == KSWAPD { vec![] } else { vec![User] };
        let which = match task {
            KHUGEPAGED => 8 + self.random.below(3),
            KSWAPD => 11 + self.random.below(2),
            _ => self.random.below(13),
        };
        match which {
            0..=2 => program.extend([
                Start(false),
                Got(false),
                Nolock(slot),
                Unmap(slot),
                Install(slot),
                MapLock(slot),
                Unmap(slot),
                Released(false),
            ]),
            3 => program.extend([Start(false), Got(false), ReadOnly(slot), Unmap(slot), Released(false)]),
            4 => program.extend([
                Start(false),
                Got(false),
                Nolock(slot),
                Unmap(slot),
                Nolock(slot),
                Unmap(slot),
                Released(false),
            ]),
            5 => {
                program.extend([
                    Start(true),
                    Got(true),
                    Zap(slot),
                    Downgrade,
                    Zap((slot + 1) % SLOTS),
                    Released(false),
                ]);
            }
            6 => program.extend([
                HugetlbRead,
                Say(Kind::VmaPgtableWalkBegin),
                Say(Kind::VmaPgtableWalkEnd),
                HugetlbUnread,
                Split(slot),
            ]),
            7 => program.extend([
                HugetlbRead,
                Say(Kind::MigrationEntryWaitHuge),
                HugetlbUnread,
                Say(Kind::MigrationEntryWaitOnLocked),
            ]),
            8 => program.extend([
                Say(Kind::RetractPageTables),
                Flush(0, After::Freed),
                Flush(1, After::Freed),
                Flush(2, After::Freed),
                Say(Kind::RetractPageTablesReturn),
            ]),
            9 => program.extend([
                Start(false),
                Got(false),
                Say(Kind::CollapsePteMappedThp),
                Flush(slot, After::Freed),
                Say(Kind::CollapsePteMappedThpReturn),
                Released(false),
            ]),
            10 => program.extend([
                Say(Kind::CollapseHugePageEnter),
                Start(true),
                Got(true),
                Flush(slot, After::Collapsed),
                Released(true),
            ]),
            11 => program.extend([HugetlbTry, MapLock(slot), Unmap(slot)]),
            _ if task == KSWAPD => program.extend([MapLock(slot), Unmap(slot)]),
            _ => program.extend([HugetlbWrite, HugetlbUnwrite, Say(Kind::PteFreeTlb)]),
        }
        program
    }

    fn then(&mut self, task: usize, next: &[Do]) {
        self.todo[task].extend(next.iter().rev());
    }

    /// Whether a step must wait.
    fn blocked(&self, task: usize, next: Do) -> bool {
        match next {
            Do::Got(true) => self.writer || self.readers > 0,
            Do::Got(false) => self.writer,
            // A walk by rmap waits for the locks of the collapse or munmap; it holds no mmap_lock.
            Do::MapLock(slot) => self.locked[slot].is_some() || (task == KSWAPD && self.excluded),
            Do::Flush(slot, After::Freed) => self.locked[slot].is_some(),
            // What rmap walks still do is over before.
            Do::Flush(slot, After::Collapsed) | Do::Zap(slot) => self.locked[slot].is_some(),
            Do::HugetlbRead => self.hugetlb_writer,
            Do::HugetlbWrite => self.hugetlb_writer || self.hugetlb_readers > 0,
            _ => false,
        }
    }

    fn step(&mut self, task: usize) {
        let tid = task as u32 + 1;
        let Some(next) = self.todo[task].last().copied() else { return };
        if self.blocked(task, next) {
            return;
        }
        self.todo[task].pop();
        let m = &mut self.made;
        match next {
            Do::User => drop(m.user(tid, START)),
            Do::Start(write) => drop(m.say(tid, Kind::StartLocking, &[(Column::Write, u64::from(write))])),
            Do::Got(write) => {
                m.say(tid, Kind::AcquireReturned, &[(Column::Write, u64::from(write)), (Column::Success, 1)]);
                if write { self.writer = true } else { self.readers += 1 }
            }
            Do::Downgrade => {
                m.say(tid, Kind::AcquireReturned, &[(Column::Success, 1)]);
                self.writer = false;
                self.readers += 1;
            }
            Do::Released(write) => {
                m.unlock(tid, write);
                if write {
                    self.writer = false;
                } else {
                    self.readers -= 1;
                }
                // Whoever keeps rmap walks out still holds the mmap_lock.
                self.excluded &= !write && self.writer;
            }
            Do::Install(slot) => self.install(task, slot),
            Do::MapLock(slot) => self.map_lock(task, slot),
            Do::Unmap(slot) => {
                self.reading[task] = false;
                if self.locked[slot] == Some(task) {
                    self.locked[slot] = None;
                }
            }
            Do::Nolock(slot) | Do::ReadOnly(slot) => self.map(task, slot, matches!(next, Do::ReadOnly(_))),
            Do::Say(Kind::PteFreeTlb) => drop(m.say(tid, Kind::PteFreeTlb, &[(Column::Table, 0xfff)])),
            Do::Say(kind @ (Kind::RetractPageTables | Kind::RetractPageTablesReturn)) => drop(m.at(tid, kind, 0, &[])),
            Do::Say(kind @ (Kind::VmaPgtableWalkBegin | Kind::VmaPgtableWalkEnd | Kind::MigrationEntryWaitHuge)) => {
                m.of_vma(tid, kind, VMA);
            }
            Do::Say(kind) => drop(m.say(tid, kind, &[])),
            Do::Flush(slot, after) => self.flush(task, slot, after),
            Do::Flushed(frame) => drop(m.unlinked(tid, frame)),
            Do::Defer(frame) => {
                m.defer(tid, frame);
                self.dying.push((frame, true, GRACE));
            }
            Do::MapOwn(frame) => {
                m.locked(tid, MM, 0xffff_c900_0000_1238, START, pte(frame, START), table(frame));
            }
            Do::Relink(slot, frame) => self.entries[slot] = Entry::Table(frame),
            Do::Huge(slot, frame) => self.entries[slot] = Entry::Huge(frame),
            Do::Split(slot) => {
                if let Entry::Huge(frame) = self.entries[slot] {
                    self.entries[slot] = Entry::Table(frame);
                }
            }
            Do::Zap(slot) => {
                if let Entry::Table(frame) = std::mem::replace(&mut self.entries[slot], Entry::None) {
                    m.say(tid, Kind::PteFreeTlb, &[(Column::Table, frame)]);
                    self.dying.push((frame, false, GRACE));
                }
            }
            Do::HugetlbRead => {
                m.hugetlb(tid, Kind::HugetlbVmaLockRead, VMA, LOCK, SHARED);
                self.hugetlb_readers += 1;
            }
            Do::HugetlbUnread => {
                m.hugetlb(tid, Kind::HugetlbVmaUnlockRead, VMA, LOCK, SHARED);
                self.hugetlb_readers -= 1;
            }
            Do::HugetlbWrite => {
                m.hugetlb(tid, Kind::HugetlbVmaLockWrite, VMA, LOCK, SHARED);
                self.hugetlb_writer = true;
            }
            Do::HugetlbTry => {
                let got = !self.hugetlb_writer && self.hugetlb_readers == 0;
                m.trylock(tid, VMA, LOCK, got);
                if got {
                    self.hugetlb_writer = true;
                    self.then(task, &[Do::Unshare, Do::HugetlbUnwrite]);
                }
            }
            Do::HugetlbUnwrite => {
                m.hugetlb(tid, Kind::HugetlbVmaUnlockWrite, VMA, LOCK, SHARED);
                self.hugetlb_writer = false;
            }
            Do::Unshare => drop(m.unshare(tid, VMA)),
        }
    }

    fn install(&mut self, task: usize, slot: usize) {
        let tid = task as u32 + 1;
        if self.entries[slot] != Entry::None || self.locked[slot].is_some() {
            return;
        }
        if self.free.is_empty() {
            return;
        }
        let frame = self.free.swap_remove(self.random.below(self.free.len() as u64) as usize);
        self.entries[slot] = Entry::Table(frame);
        self.made.install(tid, pmdp(slot), frame);
    }

    fn map_lock(&mut self, task: usize, slot: usize) {
        let tid = task as u32 + 1;
        let of = [(Column::Pmdp, pmdp(slot)), (Column::Addr, address(slot))];
        self.made.say(tid, Kind::PteOffsetMapLockEnter, &of);
        for _ in 0..=self.random.below(2) {
            self.made.at(tid, Kind::PteOffsetMap, 0, &of);
        }
        let entry = self.entries[slot];
        let ptep = match entry {
            Entry::Table(frame) => {
                self.locked[slot] = Some(task);
                pte(frame, address(slot))
            }
            _ => 0,
        };
        // Where there is no table, one may be linked before the return.
        let now = if ptep == 0 && self.random.below(2) == 0 { table(0xbb) } else { entry.pmd() };
        self.made.locked(tid, MM, pmdp(slot), address(slot), ptep, now);
    }

    fn map(&mut self, task: usize, slot: usize, read_only: bool) {
        let tid = task as u32 + 1;
        let entry = self.entries[slot];
        let ptep = match entry {
            Entry::Table(frame) => pte(frame, address(slot)),
            _ => 0,
        };
        self.reading[task] = ptep != 0;
        if read_only {
            let values = [
                (Column::Pmdp, pmdp(slot)),
                (Column::Addr, address(slot)),
                (Column::Ptep, ptep),
                (Column::Pmd, self.random.number()),
            ];
            self.made.say(tid, Kind::PteOffsetMapRoNolock, &values);
        } else {
            self.made.nolock(tid, pmdp(slot), address(slot), ptep, entry.pmd());
        }
    }

    fn flush(&mut self, task: usize, slot: usize, after: After) {
        let tid = task as u32 + 1;
        let Entry::Table(frame) = self.entries[slot] else { return };
        let mut inside = Inside::default();
        match after {
            // The closed userfaultfd of an old kernel.
            After::Freed if self.random.below(8) == 0 => inside = Inside { markers: 1, entry: marker(1), ..inside },
            After::Collapsed => inside = Inside { presents: 9, entry: 0x67, ..inside },
            After::Freed => {}
        }
        self.made.unlink(tid, pmdp(slot), frame, inside);
        self.entries[slot] = Entry::None;
        match after {
            After::Freed => self.then(task, &[Do::Flushed(frame), Do::Defer(frame)]),
            After::Collapsed => {
                self.excluded = true;
                let end = if self.random.below(2) == 0 { Do::Relink(slot, frame) } else { Do::Huge(slot, frame) };
                self.then(task, &[Do::Flushed(frame), Do::MapOwn(frame), end]);
            }
        }
    }

    /// A step nearer to the end of each grace period.
    fn grace(&mut self) {
        for (_, _, left) in &mut self.dying {
            *left = left.saturating_sub(1);
        }
        let quiet = self.reading.iter().all(|r| !r) && self.locked.iter().all(Option::is_none);
        let Some(index) = self.dying.iter().position(|(_, _, left)| quiet && *left == 0) else { return };
        let (frame, told, _) = self.dying.swap_remove(index);
        if told {
            let tid = self.random.below(TASKS as u64) as u32 + 1;
            let other = self.other.filter(|_| self.random.below(2) == 0);
            self.made.freed(other.unwrap_or(tid), frame);
        }
        self.free.push(frame);
    }
}
