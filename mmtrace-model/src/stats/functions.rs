//! Faults by function: by the instruction that accessed the memory.
//!
//! The instruction is kept as what it is in: an offset in a file, an address in other memory, or a call of the kernel. Names
//! of functions are asked for when the table is read, so a name counts for faults from before it came. While an mm lives,
//! its faults are counted apart, so that they go to the row of the name that the process has in the end.

use std::mem::take;

use mmtrace_common::Call;
use rustc_hash::{FxHashMap, FxHashSet};

use super::recent_faults::PlaceInMm;
use crate::{
    model::{
        effect::{Effect, Fault, What},
        mappings::{At, Backing, FileId, Found, Label, Mappings, Of},
    },
    names::{Comm, Tasks, ThreadId},
    recent_map::{Key, RecentMap},
};

/// Instructions that are counted in mms that live, over all of them.
const LIVE_MAX: usize = 1 << 12;
/// Instructions whose mapping is still to be read, over all mms.
const PENDING_MAX: usize = 1 << 12;
/// Rows that tell instructions and process names apart. As many again tell apart what they are in. A hash table is seven
/// eighths full at most: one more would double it.
const ROWS_MAX: usize = (1 << 17) / 8 * 7;
/// Instructions in files whose functions were asked for.
const ASKED_MAX: usize = (1 << 17) / 8 * 7;
/// Questions that wait to be taken, which happens every 20 ms.
const WAITING_MAX: usize = 1 << 15;

/// Memory or call that an instruction belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Code {
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
pub(crate) struct Instruction {
    /// Where it is.
    pub(crate) code: Code,
    /// Its offset in the file, or its address. `None`: any; kernel instructions are not told apart, nor those that came when
    /// there were too many rows.
    pub(crate) at: Option<u64>,
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
pub(crate) struct Counted {
    /// Faults.
    pub(crate) count: u64,
    /// Those whose duration was seen.
    pub(crate) timed: u64,
    /// Their durations together, nanoseconds.
    pub(crate) ns: u64,
}

impl Counted {
    /// One fault. `ns`: how long it took, if that was seen.
    #[inline]
    const fn one(ns: Option<u64>) -> Self {
        match ns {
            Some(ns) => Self { count: 1, timed: 1, ns },
            None => Self { count: 1, timed: 0, ns: 0 },
        }
    }

    /// Adds others.
    pub(crate) const fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.timed = self.timed.saturating_add(other.timed);
        self.ns = self.ns.saturating_add(other.ns);
    }
}

/// Faults by one instruction in one mm.
#[derive(Clone, Copy, Debug)]
struct Live {
    counted: Counted,
    /// A thread of the process that faulted last: an exec faults in its new mm before it has its new name.
    process: ThreadId,
}

/// Faults by process name and instruction.
pub(crate) type Rows = FxHashMap<(Option<Comm>, Instruction), Counted>;

/// Faults in one mm.
#[derive(Clone, Debug, Default)]
struct Mm {
    live: RecentMap<Instruction, Live, 8>,
    /// By address of the instruction, where nothing is known yet.
    pending: FxHashMap<u64, Live>,
}

/// Faults by function.
#[derive(Clone, Debug, Default)]
pub(crate) struct FunctionFaults {
    mms: RecentMap<u64, Mm>,
    /// Instructions over all mms: in [`Mm::live`], and in [`Mm::pending`].
    live: usize,
    pending: usize,
    /// Number of times that rows were taken out of `mms`.
    moves: u64,
    rows: Rows,
    asked: FxHashSet<(FileId, u64)>,
    /// Files that were asked for with an mm: their contents may have been replaced since an earlier mm.
    met: FxHashSet<(u64, FileId)>,
    waiting: Vec<Asked>,
}

impl FunctionFaults {
    /// Takes what an event came to, but for its faults.
    #[inline]
    pub(crate) fn apply(&mut self, effect: &Effect, mappings: &Mappings, names: &Tasks) {
        match effect.what {
            What::MapsRead { since } => self.resolve(effect.mm, since, mappings, names),
            What::Unmapped => self.settle(effect.mm, names),
            _ => {}
        }
    }

    /// Returns a number that grows when rows are taken out.
    #[inline]
    pub(super) const fn moves(&self) -> u64 {
        self.moves
    }

    /// Returns the place of the row that counts faults by the instruction of this one.
    pub(super) fn place(&self, fault: &Fault, mappings: &Mappings) -> Option<PlaceInMm> {
        let of = self.mms.get(fault.mm)?;
        let row = of.live.place(Instruction::of(fault, mappings)?)?;
        Some(PlaceInMm { mm: self.mms.place(fault.mm)?, row })
    }

    /// Counts a fault of a thread in the row at a place. `ns`: how long it took, if that was seen.
    #[inline]
    pub(super) fn fault_at(&mut self, place: PlaceInMm, ns: Option<u64>, thread: ThreadId) {
        if let Some(of) = self.mms.at_place(place.mm)
            && let Some(live) = of.live.at_place(place.row)
        {
            live.counted.add(Counted::one(ns));
            live.process = thread;
        }
    }

    /// Counts a fault of a thread. `ns`: how long it took, if that was seen.
    pub(crate) fn fault(
        &mut self,
        fault: &Fault,
        ns: Option<u64>,
        thread: ThreadId,
        mappings: &Mappings,
        names: &Tasks,
    ) {
        let one = Counted::one(ns);
        let Fault { tgid, mm, ip, .. } = *fault;
        let of = self.mms.or_insert_with(mm, Mm::default);
        let instruction = match Instruction::of(fault, mappings) {
            Some(instruction) => instruction,
            None => {
                if let Some(live) = of.pending.get_mut(&ip) {
                    live.counted.add(one);
                    live.process = thread;
                    return;
                }
                if self.pending < PENDING_MAX {
                    self.pending += 1;
                    of.pending.insert(ip, Live { counted: one, process: thread });
                    return;
                }
                Instruction::UNKNOWN
            }
        };
        if let Some(live) = of.live.get_mut(instruction) {
            live.counted.add(one);
            live.process = thread;
            return;
        }
        self.begin(mm, instruction, Live { counted: one, process: thread }, names);
        self.ask(instruction, (tgid, mm, ip), mappings);
    }

    /// Begins to count an instruction, or adds to it.
    fn begin(&mut self, mm: u64, instruction: Instruction, live: Live, names: &Tasks) {
        if self.live >= LIVE_MAX {
            for of in self.mms.values_mut() {
                of.live.drain().for_each(|(instruction, live)| put(instruction, live, &mut self.rows, names));
            }
            self.moves += 1;
            self.mms.retain(|_, of| !of.pending.is_empty());
            self.live = 0;
        }
        let of = self.mms.or_insert_with(mm, Mm::default);
        let before = of.live.len();
        let nothing = Live { counted: Counted::default(), ..live };
        of.live.or_insert_with(instruction, || nothing).counted.add(live.counted);
        self.live += of.live.len() - before;
    }

    /// Asks for the function of an instruction, unless its name is known or was asked for.
    #[cold]
    fn ask(&mut self, instruction: Instruction, (tgid, mm, ip): (u32, u64, u64), mappings: &Mappings) {
        let Instruction { code: Code::File(file), at: Some(offset) } = instruction else { return };
        if self.asked.contains(&(file, offset)) && self.met.contains(&(mm, file)) {
            return;
        }
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
        let Some(of) = self.mms.get_mut(mm) else { return };
        let mut pending: Vec<(u64, Live)> = of.pending.drain().collect();
        self.pending -= pending.len();
        pending.sort_unstable_by_key(|(ip, _)| *ip);
        for (ip, live) in pending {
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
        let Some(of) = self.mms.remove(mm) else { return };
        self.moves += 1;
        self.live -= of.live.len();
        self.pending -= of.pending.len();
        put_all(&of, &mut self.rows, names);
    }

    /// Returns all rows. Faults whose instruction is in a mapping that is still to be read are unknown.
    #[must_use]
    pub(crate) fn rows(&self, names: &Tasks) -> Rows {
        let mut rows = self.rows.clone();
        self.mms.values().for_each(|of| put_all(of, &mut rows, names));
        rows
    }
}

impl Key for Instruction {
    #[inline]
    fn number(self) -> u64 {
        self.at.unwrap_or(0)
    }
}

impl Instruction {
    /// In a mapping that is not known.
    const UNKNOWN: Self = Self { code: Code::Unknown, at: None };

    /// Returns the instruction of a fault; `None` if the mapping that it is in may still be read.
    fn of(fault: &Fault, mappings: &Mappings) -> Option<Self> {
        let Fault { mm, ip, user, call, .. } = *fault;
        if !user || ip >> 63 != 0 {
            return Some(Self { code: Code::Kernel(call), at: None });
        }
        let found = mappings.at(mm, ip);
        (found != At::Unknown || mm == 0).then(|| Self::new(mappings, mm, ip, found))
    }

    fn new(mappings: &Mappings, mm: u64, ip: u64, found: At) -> Self {
        let (code, at) = match found {
            At::Mapping(found) => match found.mapping.backing {
                Backing::File(file) => (Code::File(file), found.mapping.offset(ip)),
                _ => {
                    let Label { of, .. } = mappings.label(mm, At::Mapping(found));
                    (Code::Memory(of), ip)
                }
            },
            At::Outside | At::Unknown => return Self::UNKNOWN,
        };
        Self { code, at: Some(at) }
    }
}

/// Adds what is counted of an mm to rows.
fn put_all(of: &Mm, rows: &mut Rows, names: &Tasks) {
    of.live.iter().for_each(|(instruction, live)| put(*instruction, *live, rows, names));
    of.pending.values().for_each(|live| put(Instruction::UNKNOWN, *live, rows, names));
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
