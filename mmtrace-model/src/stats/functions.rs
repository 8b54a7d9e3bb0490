//! Faults by function: by the instruction that accessed the memory.
//!
//! The instruction is kept as what it is in: an offset in a file, an address in other memory, or a call of the kernel. Names
//! of functions are asked for when the table is read, so a name counts for faults from before it came. While an mm lives,
//! its faults are counted apart, so that they go to the row of the name that the process has in the end.

use std::mem::take;

use mmtrace_common::{Call, Record};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    model::{
        effect::{Effect, Fault, What},
        mappings::{At, Backing, FileId, Found, Label, Mappings, Of},
    },
    names::{Comm, Tasks, ThreadId},
};

/// Instructions that are counted in mms that live, over all of them.
const LIVE_MAX: usize = 1 << 13;
/// Instructions whose mapping is still to be read, over all mms.
const PENDING_MAX: usize = 1 << 13;
/// Rows that tell instructions and process names apart. As many again tell apart what they are in.
const ROWS_MAX: usize = 1 << 13;
/// Instructions in files whose functions were asked for.
const ASKED_MAX: usize = 1 << 14;
/// Questions that wait.
const WAITING_MAX: usize = 1 << 8;

/// Memory or call that an instruction belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A file.
    File(FileId),
    /// Other memory: `[vdso]`, or anonymous memory, where compilers at run time put code.
    Memory(Of),
    /// The kernel, in a call if the event tells that.
    Kernel(Option<Call>),
    /// No event shows what is mapped there.
    Unknown,
    /// Instructions that came when there were too many rows.
    Others,
}

/// An instruction that accessed memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instruction {
    /// Where it is.
    pub code: Code,
    /// Its offset in the file, or its address. `None`: any; kernel instructions are not told apart, nor those that came when
    /// there were too many rows.
    pub at: Option<u64>,
}

/// A question for the functions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// A process that runs on the mm.
    pub tgid: u32,
    /// The mm, as a kernel pointer.
    pub mm: u64,
    /// Address of the instruction.
    pub ip: u64,
    /// First and last address of the mapping that it is in.
    pub range: (u64, u64),
    /// The file.
    pub file: FileId,
    /// The instruction's offset in it, bytes.
    pub offset: u64,
}

/// Faults, and how long those took of which that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Faults.
    pub count: u64,
    /// Those whose duration was seen.
    pub timed: u64,
    /// Their durations together, nanoseconds.
    pub ns: u64,
}

impl Counted {
    /// Adds others.
    pub const fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.timed = self.timed.saturating_add(other.timed);
        self.ns = self.ns.saturating_add(other.ns);
    }
}

/// Faults by instruction, in one mm.
#[derive(Clone, Debug, Default)]
struct Mm {
    /// The process that faulted last, by id and by what stands for it.
    process: Option<(u32, ThreadId)>,
    live: FxHashMap<Instruction, Counted>,
    /// Addresses of instructions at which nothing is known yet.
    pending: FxHashMap<u64, Counted>,
}

/// Faults by process name and instruction.
pub type Rows = FxHashMap<(Option<Comm>, Instruction), Counted>;

/// Faults by function.
#[derive(Clone, Debug, Default)]
pub struct FunctionFaults {
    mms: FxHashMap<u64, Mm>,
    rows: Rows,
    live: usize,
    pending: usize,
    asked: FxHashSet<(FileId, u64)>,
    waiting: Vec<Asked>,
}

impl FunctionFaults {
    /// Takes what an event came to.
    pub(crate) fn apply(&mut self, effect: &Effect, mappings: &Mappings, names: &mut Tasks) {
        for fault in effect.faults.iter().flatten() {
            // An older fault may be settled together with the one that the event ended.
            let ended = matches!(effect.what, What::Handled { trap: Some(since), .. } if since == fault.ts);
            self.fault(fault, ended.then(|| effect.since(fault.ts)), mappings, names);
        }
        match effect.what {
            What::MapsRead { since } => self.resolve(effect.mm, since, mappings, names),
            What::Unmapped => self.settle(effect.mm, names),
            _ => {}
        }
    }

    /// Counts a fault whose kind is settled. `ns`: how long it took, if that was seen.
    pub(crate) fn fault(&mut self, fault: &Fault, ns: Option<u64>, mappings: &Mappings, names: &mut Tasks) {
        let one = Counted { count: 1, timed: ns.is_some().into(), ns: ns.unwrap_or(0) };
        let Fault { tid, tgid, mm, ts, ip, user, call, .. } = *fault;
        if self.live >= LIVE_MAX {
            self.settle_all(names);
        }
        let of = self.mms.entry(mm).or_default();
        let process = |names: &mut Tasks| Some((tgid, names.of(&Record { tid, tgid, mm, ts, ..Record::default() })));
        if of.process.is_none_or(|(process, _)| process != tgid) {
            of.process = process(names);
        }
        let instruction = if user && ip >> 63 == 0 {
            let found = mappings.at(mm, ip);
            if found == At::Unknown && mm != 0 && self.pending < PENDING_MAX {
                let before = of.pending.len();
                of.pending.entry(ip).or_default().add(one);
                self.pending += of.pending.len() - before;
                return;
            }
            Instruction::new(mappings, mm, ip, found)
        } else {
            Instruction { code: Code::Kernel(call), at: None }
        };
        let before = of.live.len();
        of.live.entry(instruction).or_default().add(one);
        if of.live.len() > before {
            // The first faults of an mm come before the end of the exec, with which the process is another one.
            of.process = process(names);
            self.live += 1;
            self.ask(instruction, (tgid, mm, ip), mappings);
        }
    }

    /// Asks for the function of an instruction, unless its name is known or was asked for.
    #[cold]
    fn ask(&mut self, instruction: Instruction, (tgid, mm, ip): (u32, u64, u64), mappings: &Mappings) {
        let Instruction { code: Code::File(file), at: Some(offset) } = instruction else { return };
        let At::Mapping(Found { start, end, .. }) = mappings.at(mm, ip) else { return };
        let range = (start, end);
        let has_room = self.waiting.len() < WAITING_MAX && self.asked.len() < ASKED_MAX;
        if has_room && mappings.function(file, offset).is_none() && self.asked.insert((file, offset)) {
            self.waiting.push(Asked { tgid, mm, ip, range, file, offset });
        }
    }

    /// Takes the functions that are to be asked for.
    pub(crate) fn asked(&mut self) -> Vec<Asked> {
        take(&mut self.waiting)
    }

    /// Counts from here on.
    pub(crate) fn count_from_here(&mut self) {
        *self = Self::default();
    }

    /// The mappings of an mm have been read. An instruction in a mapping that only the reading has shown was in it all along:
    /// a mapping that took the place of another one would have been stored.
    fn resolve(&mut self, mm: u64, since: u64, mappings: &Mappings, names: &Tasks) {
        let Some(of) = self.mms.get_mut(&mm) else { return };
        let (tgid, pending) = (of.process.map_or(0, |(tgid, _)| tgid), take(&mut of.pending));
        self.pending = self.pending.saturating_sub(pending.len());
        for (ip, counted) in pending {
            let found = match mappings.at(mm, ip) {
                At::Mapping(found) if found.only_read() != Some(since) => At::Unknown,
                found => found,
            };
            let instruction = Instruction::new(mappings, mm, ip, found);
            let Some(of) = self.mms.get_mut(&mm) else { return };
            let before = of.live.len();
            of.live.entry(instruction).or_default().add(counted);
            if of.live.len() > before {
                self.live += 1;
                self.ask(instruction, (tgid, mm, ip), mappings);
            }
        }
        if self.live >= LIVE_MAX {
            self.settle_all(names);
        }
    }

    /// Puts the faults of an mm into their rows.
    fn settle(&mut self, mm: u64, names: &Tasks) {
        let Some(of) = self.mms.remove(&mm) else { return };
        self.live = self.live.saturating_sub(of.live.len());
        self.pending = self.pending.saturating_sub(of.pending.len());
        put(&of, &mut self.rows, names);
    }

    fn settle_all(&mut self, names: &Tasks) {
        take(&mut self.mms).values().for_each(|of| put(of, &mut self.rows, names));
        (self.live, self.pending) = (0, 0);
    }

    /// Returns all rows. Faults whose instruction is in a mapping that is still to be read are unknown.
    #[must_use]
    pub fn rows(&self, names: &Tasks) -> Rows {
        let mut rows = self.rows.clone();
        self.mms.values().for_each(|of| put(of, &mut rows, names));
        rows
    }
}

impl Instruction {
    fn new(mappings: &Mappings, mm: u64, ip: u64, found: At) -> Self {
        let (code, at) = match found {
            At::Mapping(found) => match found.mapping.backing {
                Backing::File(file) => (Code::File(file), found.mapping.offset(ip)),
                _ => {
                    let Label { of, .. } = mappings.label(mm, At::Mapping(found));
                    (Code::Memory(of), ip)
                }
            },
            At::Outside | At::Unknown => (Code::Unknown, ip),
        };
        Self { code, at: Some(at) }
    }
}

/// Adds what is counted of an mm to rows.
fn put(of: &Mm, rows: &mut Rows, names: &Tasks) {
    let process = of.process.and_then(|(_, process)| names.thread(names.process(process)).process);
    // What is left out when there are too many must not depend on the order in a hash map.
    let mut live: Vec<(Instruction, Counted)> = of.live.iter().map(|(instruction, n)| (*instruction, *n)).collect();
    live.sort_unstable_by_key(|(instruction, _)| *instruction);
    for (instruction, counted) in live {
        row(rows, process, instruction).add(counted);
    }
    for counted in of.pending.values() {
        row(rows, process, Instruction { code: Code::Unknown, at: None }).add(*counted);
    }
}

/// The row of a process and an instruction; when there are too many, of the process and what the instruction is in.
fn row(rows: &mut Rows, process: Option<Comm>, instruction: Instruction) -> &mut Counted {
    let mut key = (process, instruction);
    if rows.len() >= ROWS_MAX && !rows.contains_key(&key) {
        key = (process, Instruction { at: None, ..instruction });
        if rows.len() >= 2 * ROWS_MAX && !rows.contains_key(&key) {
            key = (None, Instruction { code: Code::Others, at: None });
        }
    }
    rows.entry(key).or_default()
}
