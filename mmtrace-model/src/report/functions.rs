//! Faults by function.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use serde::Serialize;

use super::{duration, grouped};
use crate::{
    coverage::Coverage,
    model::mappings::{FileId, Label, Mappings, Of},
    names::{Comm, call_name},
    replay::Engine,
    stats::functions::{Code, Counted, Instruction},
    untrusted::escaped_bytes,
};

/// The part of a row's instructions that its name does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The function that begins at this offset of a file.
    Function(FileId, u64),
    /// This offset of a file, where no function is known; `None`: any.
    Offset(FileId, Option<u64>),
    /// Anything else.
    Code(Code),
}

impl Place {
    fn new(instruction: Instruction, mappings: &Mappings) -> Self {
        match instruction {
            Instruction { code: Code::File(file), at: Some(offset) } => mappings
                .function(file, offset)
                .map_or(Self::Offset(file, Some(offset)), |function| Self::Function(file, function.start)),
            Instruction { code: Code::File(file), at: None } => Self::Offset(file, None),
            Instruction { code, .. } => Self::Code(code),
        }
    }

    /// What the instructions are in, as JSON has it.
    const fn kind(self) -> &'static str {
        match self {
            Self::Function(..) => "function",
            Self::Offset(..) => "offset",
            Self::Code(Code::Kernel(_)) => "kernel",
            Self::Code(Code::Others) => "others",
            Self::Code(Code::Memory(_)) => "memory",
            Self::Code(Code::Unknown | Code::File(_)) => "unknown",
        }
    }
}

/// The faults of all processes of one name by the instructions of one function.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionRow {
    /// The processes' name; absent if it was not seen, or if there were too many rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// `function`; `offset`: in a file, where no function is known; `memory`: in no file; `kernel`; `unknown`; `others`:
    /// there were too many rows.
    pub kind: &'static str,
    /// The function; absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The file, or the other memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where in the file the function begins, or the instruction is, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<String>,
    /// The file's build id; absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// Of memory that is no file: the address of the instruction with most faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The call in which the kernel faulted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Number of faults.
    pub count: u64,
    /// The number of those whose duration was seen; absent if none was.
    #[serde(skip_serializing_if = "is_zero")]
    pub timed: u64,
    /// Their durations together, nanoseconds; absent likewise.
    #[serde(skip_serializing_if = "is_zero")]
    pub sum_ns: u64,
}

const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Bytes in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FunctionRow {
    fn new(process: Option<Comm>, place: Place, folded: &Folded, mappings: &Mappings) -> Self {
        let text = |of: Of| mappings.text(Label::of(of));
        let (mut function, mut file, mut offset, mut address, mut call) = (None, None, None, None, None);
        let mut build = None;
        match place {
            Place::Function(of, start) => {
                function = mappings.function(of, start).map(|function| escaped_bytes(function.name));
                (file, offset, build) = (Some(text(Of::File(of))), Some(start), Some(of));
            }
            Place::Offset(of, at) => (file, offset, build) = (Some(text(Of::File(of))), at, Some(of)),
            Place::Code(Code::Memory(of)) => {
                file = Some(if of == Of::Anonymous { JIT.to_owned() } else { text(of) });
                address = folded.top.map(|(_, at)| format!("{at:#x}"));
            }
            Place::Code(Code::Kernel(of)) => call = of.map(|call| call_name(call).into_owned()),
            Place::Code(Code::File(_) | Code::Unknown | Code::Others) => {}
        }
        let id = build.map_or(&[][..], |file| mappings.build_id(file));
        let Counted { count, timed, ns: sum_ns } = folded.counted;
        Self {
            process: process.map(|comm| comm.to_string()),
            kind: place.kind(),
            function,
            file,
            offset: offset.map(|offset| format!("{offset:#x}")),
            build_id: (!id.is_empty()).then(|| Hex(id).to_string()),
            address,
            call,
            count,
            timed,
            sum_ns,
        }
    }

    /// Returns the function and its file, or where else the instructions are: `touch_pages (contend)`,
    /// `redis-server+0x1234`.
    #[must_use]
    pub(crate) fn place(&self) -> String {
        let file = self.file.as_deref().unwrap_or_default();
        let base = file.strip_suffix(" (deleted)").unwrap_or(file).rsplit('/').next().unwrap_or_default();
        match (self.kind, &self.function, &self.offset) {
            ("function", Some(function), _) => format!("{function} ({base})"),
            ("function" | "offset", _, Some(offset)) => format!("{base}+{offset}"),
            ("function" | "offset", ..) => format!("{base}, other instructions"),
            ("memory", ..) => match &self.address {
                Some(address) => format!("{file} (most at {address})"),
                None => file.to_owned(),
            },
            ("kernel", ..) => {
                self.call.as_ref().map_or_else(|| "in the kernel".to_owned(), |call| format!("in {call}"))
            }
            ("others", ..) => "other instructions".to_owned(),
            _ => "unknown mapping".to_owned(),
        }
    }

    /// Returns the process, the function and how long the faults took, if that was seen, in one line.
    #[must_use]
    pub fn text(&self) -> String {
        let process = self.process.as_deref().unwrap_or("processes without a name");
        let mut text = format!("{process} · {}", self.place());
        if self.timed > 0 {
            let whole = if self.timed < self.count { format!(" for {}", grouped(self.timed)) } else { String::new() };
            let _ = write!(text, ": {}{whole}", duration(self.sum_ns));
        }
        text
    }
}

/// Anonymous memory with instructions in it.
const JIT: &str = "[JIT or anonymous]";

/// Faults by the instructions of one row.
#[derive(Clone, Copy, Debug, Default)]
struct Folded {
    counted: Counted,
    /// The instruction with most faults: their number, and where it is.
    top: Option<(u64, u64)>,
}

impl Folded {
    fn add(&mut self, at: Option<u64>, counted: Counted) {
        self.counted.add(counted);
        if let Some(at) = at
            && self.top.is_none_or(|(count, before)| (count, at) < (counted.count, before))
        {
            self.top = Some((counted.count, at));
        }
    }
}

/// Returns the faults of a stream by function, most faults first; none if its events do not tell what addresses belong to.
#[must_use]
pub fn rows(engine: &Engine) -> Vec<FunctionRow> {
    let (Some(model), Some(faults)) = (engine.model(), engine.function_faults()) else { return Vec::new() };
    let mappings = model.mappings();
    if !mappings.is_told() {
        return Vec::new();
    }
    let mut folded: BTreeMap<(Option<Comm>, Place), Folded> = BTreeMap::new();
    for ((process, instruction), counted) in faults.rows(engine.tasks()) {
        let row = folded.entry((process, Place::new(instruction, mappings))).or_default();
        row.add(instruction.at, counted);
    }
    let mut rows: Vec<FunctionRow> =
        folded.iter().map(|((process, place), row)| FunctionRow::new(*process, *place, row, mappings)).collect();
    rows.sort_by_cached_key(|row| {
        (std::cmp::Reverse(row.count), row.process.clone(), row.place(), row.offset.clone(), row.file.clone())
    });
    rows
}

/// Returns the share of the faults by instructions in files, or in mappings that are not known, whose function is known.
#[must_use]
pub fn known(rows: &[FunctionRow]) -> Coverage {
    let sum = |kind| rows.iter().filter(|row| row.kind == kind).map(|row| row.count).sum();
    Coverage::of(sum("function"), sum("offset") + sum("unknown") + sum("others"))
}
