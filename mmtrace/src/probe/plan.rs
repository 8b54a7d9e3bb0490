//! Which program gets which argument from where, on this kernel.
//!
//! Parameter positions and struct offsets are looked up by name in the kernel's
//! BTF: they differ between kernel versions, and a program that read the wrong one
//! would be silently wrong. What cannot be resolved is refused with the reason.

use std::collections::BTreeMap;

use mmtrace_common::{
    ABSENT, Column, Field, FieldType, Kind, MmFrom, OFFSETS, OffsetId, POSITIONS, SPECS, Slot, Source, Spec,
};

use super::selection::Selection;
use crate::btf::{Btf, BtfError, Param, ParamType};

/// What the kernel's BTF says about the event table.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One entry per event with a probe, in the table's order.
    pub probes: Vec<Planned>,
    /// Every offset that was found, in bytes.
    pub offsets: Vec<(OffsetId, u32)>,
    /// Enumerators of the enums that events carry.
    pub enums: BTreeMap<String, BTreeMap<String, i64>>,
}

/// The plan for one event.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The event.
    pub spec: &'static Spec,
    /// Its program's position table, or why there can be none.
    pub positions: Result<[u8; POSITIONS], Refusal>,
    /// Optional fields that this kernel's event lacks.
    pub absent: Vec<Column>,
    /// Whether the user wants it.
    pub wanted: bool,
}

/// Why an event cannot be observed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This kernel has no such event.
    #[error("this kernel has no tracepoint {0}")]
    NoEvent(&'static str),
    /// BTF is there but does not say what the event's parameters are.
    #[error("cannot tell its parameters: {0}")]
    Prototype(String),
    /// A parameter that the program needs is not there under its name.
    #[error("its parameter `{name}` is missing; this kernel's are ({have})")]
    NoParameter {
        /// The parameter.
        name: &'static str,
        /// Those there are.
        have: String,
    },
    /// A parameter is of another type than it was on every kernel that was looked at.
    #[error("its parameter `{name}` is `{is}`, not {expected}")]
    Type {
        /// The parameter.
        name: &'static str,
        /// Its type here.
        is: String,
        /// What the program can read.
        expected: &'static str,
    },
    /// A struct member that the program needs cannot be found.
    #[error("cannot tell where {what} is: {why}")]
    Offset {
        /// `struct.member`
        what: String,
        /// What BTF said.
        why: String,
    },
}

impl Plan {
    /// Makes sure that what a filter relies on is attached: without the end of its mms
    /// it would go on recording whoever gets their addresses next.
    pub fn serve_filter(&mut self) {
        for probe in &mut self.probes {
            probe.wanted |= matches!(probe.spec.kind, Kind::ExitMmap | Kind::Released);
        }
    }

    /// The parameters that the program of an event reads, by name, with the position of each; none when it is refused.
    #[must_use]
    pub fn arguments(&self, kind: Kind) -> BTreeMap<&'static str, u8> {
        let Some(probe) = self.probes.iter().find(|p| p.spec.kind == kind) else { return BTreeMap::new() };
        let Ok(positions) = &probe.positions else { return BTreeMap::new() };
        names(probe.spec)
            .zip(positions)
            .filter_map(|(name, position)| Some((name?, *position)).filter(|(_, p)| *p != ABSENT))
            .collect()
    }

    /// Looks everything up.
    #[must_use]
    pub fn new(btf: &Btf, selection: &Selection) -> Self {
        let offsets: Vec<(OffsetId, Result<u32, String>)> =
            OFFSETS.iter().map(|o| (o.id, btf.member_offset(o.strukt, o.member).map_err(|e| e.to_string()))).collect();
        let probes = SPECS
            .iter()
            .filter(|s| !s.kind.is_synthetic())
            .map(|spec| {
                let (positions, absent) = match resolve(btf, spec, &offsets) {
                    Ok((positions, absent)) => (Ok(positions), absent),
                    Err(refusal) => (Err(refusal), Vec::new()),
                };
                Planned { spec, positions, absent, wanted: selection.wants(spec.kind) }
            })
            .collect();
        let mut enums = BTreeMap::new();
        for column in Column::ALL {
            if let FieldType::Enum(name) = column.ty()
                && let Ok(values) = btf.enum_values(name)
            {
                enums.insert(name.to_owned(), values);
            }
        }
        Self { probes, offsets: offsets.into_iter().filter_map(|(id, o)| Some((id, o.ok()?))).collect(), enums }
    }
}

type Found = ([u8; POSITIONS], Vec<Column>);

fn resolve(btf: &Btf, spec: &'static Spec, offsets: &[(OffsetId, Result<u32, String>)]) -> Result<Found, Refusal> {
    let params = parameters(btf, spec)?;
    let mut positions = [ABSENT; POSITIONS];
    let mut absent = Vec::new();

    positions[0] = match spec.mm {
        MmFrom::Arg(name) => position(&params, name, Expect::Struct("mm_struct"))?,
        MmFrom::TaskArg(name) => position(&params, name, Expect::Struct("task_struct"))?,
        MmFrom::TreeArg(name) => position(&params, name, Expect::Struct("ma_state"))?,
        MmFrom::LockArg(name) => position(&params, name, Expect::Word)?,
        MmFrom::Current | MmFrom::None => ABSENT,
    };
    for (entry, field) in positions[1..].iter_mut().zip(spec.fields) {
        let (name, expect) = match field.source {
            Source::Arg(name) => (name, expected(field)),
            Source::Member(name, id) => (name, Expect::Struct(owner(id))),
            Source::User => continue,
        };
        match position(&params, name, expect) {
            Ok(found) => *entry = found,
            Err(Refusal::NoParameter { .. }) if !field.required => absent.push(field.column),
            Err(refusal) => return Err(refusal),
        }
    }
    for (entry, name) in positions[1 + spec.fields.len()..].iter_mut().zip(spec.also) {
        *entry = position(&params, name, Expect::Word)?;
    }
    let members = spec.fields.iter().filter_map(|f| match f.source {
        Source::Member(_, id) => Some(id),
        _ => None,
    });
    for id in spec.offsets.iter().copied().chain(members) {
        if let Some((_, Err(why))) = offsets.iter().find(|(o, _)| *o == id) {
            let row = offset_row(id);
            return Err(Refusal::Offset { what: format!("{}.{}", row.strukt, row.member), why: why.clone() });
        }
    }
    Ok((positions, absent))
}

/// The parameters that an event's program reads, in the order of its position table.
fn names(spec: &'static Spec) -> impl Iterator<Item = Option<&'static str>> {
    let mm = match spec.mm {
        MmFrom::Arg(name) | MmFrom::TaskArg(name) | MmFrom::TreeArg(name) | MmFrom::LockArg(name) => Some(name),
        MmFrom::Current | MmFrom::None => None,
    };
    let fields = spec.fields.iter().map(|field| match field.source {
        Source::Arg(name) | Source::Member(name, _) => Some(name),
        Source::User => None,
    });
    std::iter::once(mm).chain(fields).chain(spec.also.iter().copied().map(Some))
}

/// The event's own parameters, by name.
///
/// `btf_trace_NAME` is what the verifier goes by, but its parameters have no names;
/// `__traceiter_NAME` has the names. Both lead with the tracepoint's private data.
/// They are generated from one macro; if they disagree, one is another's.
fn parameters(btf: &Btf, spec: &'static Spec) -> Result<Vec<Param>, Refusal> {
    let typed = btf.typedef_params(&format!("btf_trace_{}", spec.name)).map_err(|e| match e {
        BtfError::Absent(_) => Refusal::NoEvent(spec.name),
        other => Refusal::Prototype(other.to_string()),
    })?;
    let named =
        btf.func_params(&format!("__traceiter_{}", spec.name)).map_err(|e| Refusal::Prototype(e.to_string()))?;
    let same = typed.len() == named.len() && typed.iter().zip(&named).all(|(t, n)| t.ty == n.ty);
    if !same || named.is_empty() {
        return Err(Refusal::Prototype(format!("btf_trace_{0} and __traceiter_{0} disagree", spec.name)));
    }
    Ok(named.into_iter().skip(1).collect())
}

/// What a program can read a parameter as.
#[derive(Clone, Copy)]
enum Expect {
    /// Pointer to this struct.
    Struct(&'static str),
    /// Anything that is one whole word: address, entry, pointer.
    Word,
    /// An integer, enum or bool of at most a word.
    Number,
    /// One byte.
    Bool,
}

fn expected(field: &Field) -> Expect {
    match (field.column.ty(), field.slot) {
        (FieldType::Bool, _) => Expect::Bool,
        // In the aux word the value is cut to 32 bits anyway.
        (FieldType::Hex, Slot::Arg(_)) => Expect::Word,
        _ => Expect::Number,
    }
}

fn position(params: &[Param], name: &'static str, expect: Expect) -> Result<u8, Refusal> {
    let Some(at) = params.iter().position(|p| p.name == name) else {
        let have = params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Refusal::NoParameter { name, have });
    };
    let ty = &params[at].ty;
    let (fits, expected) = match expect {
        Expect::Struct(tag) => (matches!(ty, ParamType::StructPtr(t) if t == tag), "a pointer to that struct"),
        Expect::Word => (
            match ty {
                ParamType::Int { bytes, .. } => *bytes == 8,
                ParamType::StructPtr(_) | ParamType::VoidPtr | ParamType::CharPtr | ParamType::OtherPtr => true,
                _ => false,
            },
            "one word",
        ),
        Expect::Number => (
            match ty {
                ParamType::Int { bytes, .. } | ParamType::Enum { bytes, .. } | ParamType::Bool { bytes } => *bytes <= 8,
                _ => false,
            },
            "a number",
        ),
        Expect::Bool => (matches!(ty, ParamType::Bool { bytes: 1 }), "a bool"),
    };
    if !fits {
        return Err(Refusal::Type { name, is: ty.to_string(), expected });
    }
    u8::try_from(at).map_err(|_| Refusal::Prototype("it has more parameters than a tracepoint can".to_owned()))
}

fn offset_row(id: OffsetId) -> &'static mmtrace_common::Offset {
    OFFSETS.iter().find(|o| o.id == id).unwrap_or(&OFFSETS[0])
}

fn owner(id: OffsetId) -> &'static str {
    offset_row(id).strukt
}

/// `struct.member` of an offset.
#[must_use]
pub fn offset_name(id: OffsetId) -> String {
    let row = offset_row(id);
    format!("{}.{}", row.strukt, row.member)
}

/// The global that receives an offset.
#[must_use]
pub fn offset_global(id: OffsetId) -> &'static str {
    offset_row(id).global
}
