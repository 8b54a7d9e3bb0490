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
const LIVE_MAX: usize = 1 << 12;
/// Instructions whose mapping is still to be read, over all mms.
const PENDING_MAX: usize = 1 << 12;
/// Rows that tell instructions and process names apart. As many again tell apart what they are in.
const ROWS_MAX: usize = 1 << 12;
/// Instructions in files whose functions were asked for.
const ASKED_MAX: usize = 1 << 14;
/// Questions that wait.
const WAITING_MAX: usize = 1 << 11;

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

/// Files of mms that are remembered as asked for. Beyond that number they are asked for again.
const MET_MAX: usize = (1 << 14) / 8 * 7;

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

/// Faults by one instruction in one mm.
#[derive(Clone, Copy, Debug)]
struct Live {
    counted: Counted,
    /// The process of the first of them.
    process: ThreadId,
}

/// Faults by process name and instruction.
pub type Rows = FxHashMap<(Option<Comm>, Instruction), Counted>;

/// Faults by function.
#[derive(Clone, Debug, Default)]
pub struct FunctionFaults {
    /// By mm and instruction.
    live: FxHashMap<(u64, Instruction), Live>,
    /// By mm and address of the instruction, where nothing is known yet.
    pending: FxHashMap<(u64, u64), Live>,
    rows: Rows,
    asked: FxHashSet<(FileId, u64)>,
    /// Files that were asked for with an mm: their contents may have been replaced since an earlier mm.
    met: FxHashSet<(u64, FileId)>,
    waiting: Vec<Asked>,
}

impl FunctionFaults {
    /// Takes what an event came to.
    pub(crate) fn apply(&mut self, effect: &Effect, mappings: &Mappings, names: &mut Tasks) {
        for fault in effect.faults.iter().flatten() {
            // An older fault may be settled together with the one that the event ended.
            let ended = effect.ended_fault() == Some(fault.ts);
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
        let Fault { tgid, mm, ip, user, call, .. } = *fault;
        let instruction = if user && ip >> 63 == 0 {
            let found = mappings.at(mm, ip);
            let has_room = self.pending.len() < PENDING_MAX || self.pending.contains_key(&(mm, ip));
            if found == At::Unknown && mm != 0 && has_room {
                let live = self.pending.entry((mm, ip)).or_insert_with(|| Live::new(fault, names));
                live.counted.add(one);
                return;
            }
            Instruction::new(mappings, mm, ip, found)
        } else {
            Instruction { code: Code::Kernel(call), at: None }
        };
        if let Some(live) = self.live.get_mut(&(mm, instruction)) {
            live.counted.add(one);
            return;
        }
        let live = Live { counted: one, ..Live::new(fault, names) };
        self.begin(mm, instruction, live, names);
        self.ask(instruction, (tgid, mm, ip), mappings);
    }

    /// Begins to count an instruction, or adds to it.
    fn begin(&mut self, mm: u64, instruction: Instruction, live: Live, names: &Tasks) {
        if self.live.len() >= LIVE_MAX {
            self.live.drain().for_each(|((_, instruction), live)| put(instruction, live, &mut self.rows, names));
        }
        let nothing = Live { counted: Counted::default(), ..live };
        self.live.entry((mm, instruction)).or_insert(nothing).counted.add(live.counted);
    }

    /// Asks for the function of an instruction, unless its name is known or was asked for.
    #[cold]
    fn ask(&mut self, instruction: Instruction, (tgid, mm, ip): (u32, u64, u64), mappings: &Mappings) {
        let Instruction { code: Code::File(file), at: Some(offset) } = instruction else { return };
        let At::Mapping(Found { start, end, .. }) = mappings.at(mm, ip) else { return };
        let range = (start, end);
        let has_room = self.waiting.len() < WAITING_MAX && self.asked.len() < ASKED_MAX;
        if !has_room {
            return;
        }
        if self.met.len() >= MET_MAX {
            self.met.clear();
        }
        let is_new = self.met.insert((mm, file));
        if is_new || mappings.function(file, offset).is_none() && self.asked.insert((file, offset)) {
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
        let mut pending: Vec<_> = self.pending.extract_if(|(of, _), _| *of == mm).collect();
        pending.sort_unstable_by_key(|((_, ip), _)| *ip);
        for ((_, ip), live) in pending {
            let found = match mappings.at(mm, ip) {
                At::Mapping(found) if found.only_read() != Some(since) => At::Unknown,
                found => found,
            };
            let instruction = Instruction::new(mappings, mm, ip, found);
            self.begin(mm, instruction, live, names);
            self.ask(instruction, (names.thread(live.process).tgid, mm, ip), mappings);
        }
    }

    /// Puts the faults of an mm into their rows.
    fn settle(&mut self, mm: u64, names: &Tasks) {
        let Self { live, pending, rows, .. } = self;
        put_all(
            live.extract_if(|(of, _), _| *of == mm).map(|((_, instruction), live)| (instruction, live)),
            pending.extract_if(|(of, _), _| *of == mm).map(|(_, live)| live),
            rows,
            names,
        );
    }

    /// Returns all rows. Faults whose instruction is in a mapping that is still to be read are unknown.
    #[must_use]
    pub fn rows(&self, names: &Tasks) -> Rows {
        let mut rows = self.rows.clone();
        let live = self.live.iter().map(|((_, instruction), live)| (*instruction, *live));
        put_all(live, self.pending.values().copied(), &mut rows, names);
        rows
    }
}

impl Live {
    /// Nothing yet, of the process of a fault.
    fn new(fault: &Fault, names: &mut Tasks) -> Self {
        let Fault { tid, tgid, mm, ts, .. } = *fault;
        let process = names.of(&Record { tid, tgid, mm, ts, ..Record::default() });
        Self { counted: Counted::default(), process }
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
            At::Outside | At::Unknown => return Self { code: Code::Unknown, at: None },
        };
        Self { code, at: Some(at) }
    }
}

/// Adds what is counted to rows.
fn put_all(
    live: impl Iterator<Item = (Instruction, Live)>,
    pending: impl Iterator<Item = Live>,
    rows: &mut Rows,
    names: &Tasks,
) {
    live.for_each(|(instruction, live)| put(instruction, live, rows, names));
    pending.for_each(|live| put(Instruction { code: Code::Unknown, at: None }, live, rows, names));
}

fn put(instruction: Instruction, live: Live, rows: &mut Rows, names: &Tasks) {
    let process = names.thread(names.process(live.process)).process;
    row(rows, process, instruction).add(live.counted);
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
