//! Which program gets which argument from where, on this kernel.
//!
//! Parameter positions and struct offsets are looked up by name in the kernel's
//! BTF: they differ between kernel versions, and a program that read the wrong one
//! would be silently wrong. What cannot be resolved is refused with the reason.

use std::collections::BTreeMap;

use mmtrace_common::{
    ABSENT, At, Column, Field, FieldType, Kind, MmFrom, OFFSETS, OffsetId, POSITIONS, SPECS, Slot, Source, Spec,
};
use mmtrace_model::context::ProbeState;

use super::{
    casting::Casting,
    filter::Filter,
    function::{self, Prototype},
    refusal::Refusal,
    selection::Selection,
    symbols::{KASAN, Symbols, VARIABLES},
};
use crate::btf::{Btf, BtfError, Param, ParamType};

/// The event table as the kernel's BTF resolves it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// One entry per event with a probe, in the table's order.
    pub(crate) probes: Vec<Planned>,
    /// Every offset that was found, in bytes.
    pub(crate) offsets: Vec<(OffsetId, u32)>,
    /// Enumerators of the enums that events carry.
    pub(crate) enums: BTreeMap<String, BTreeMap<String, i64>>,
    /// Kernel variables that the programs read, by name, with their addresses.
    pub(crate) variables: Vec<(&'static str, u64)>,
    /// Bytes of a task's kernel stack.
    pub(crate) stack_size: u32,
    /// How addresses get a type, if the kernel has the function for it.
    pub(crate) casting: Option<Casting>,
}

/// The plan for one event.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// The event.
    pub(crate) spec: &'static Spec,
    /// Its program's position table, or why there can be none.
    pub(crate) positions: Result<[u8; POSITIONS], Refusal>,
    /// The function that the program sits on; `None` for tracepoints.
    pub(crate) symbol: Option<&'static str>,
    /// Optional fields that this kernel's event lacks.
    pub(crate) absent: Vec<Column>,
    /// Whether it is to be attached.
    pub(crate) wanted: bool,
    /// Who wants it.
    pub(crate) sake: Sake,
    /// Whether the user names it.
    pub(crate) named: bool,
}

/// Reason why an event is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sake {
    /// The user selected it.
    #[default]
    User,
    /// The filter needs it; the user did not select it.
    Filter,
    /// It says what tasks are called or where they are; the user selected others with `only:`.
    Names,
}

impl Planned {
    /// Returns its state before it is attached, with the reason if it will not be.
    #[must_use]
    pub(crate) fn state(&self) -> ProbeState {
        let reason = match &self.positions {
            Err(refusal) => Some(refusal.to_string()),
            Ok(_) if self.wanted => None,
            Ok(_) if self.spec.site.on => Some("switched off with -e".to_owned()),
            Ok(_) => Some(format!("off unless asked for: -e +{}", self.spec.name)),
        };
        let absent = self.absent.iter().map(|c| c.name().to_owned()).collect();
        ProbeState { event: self.spec.name.to_owned(), form: None, absent, reason }
    }

    /// Returns the reason why it is not attached if others are that tell what it tells.
    #[must_use]
    pub(crate) fn spared(&self, is_attached: impl Fn(Kind) -> bool) -> Option<String> {
        let others = self.spec.site.unless;
        let spared = !others.is_empty() && !self.named && others.iter().all(|kind| is_attached(*kind));
        let names = || others.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" and ");
        spared.then(|| {
            format!("not needed: {} tell what it would; to record it all the same: -e +{}", names(), self.spec.name)
        })
    }

    /// Returns the note that the report makes of it once it is attached, if any.
    #[must_use]
    pub(crate) fn note(&self) -> Option<String> {
        match self.sake {
            Sake::User => None,
            Sake::Filter => Some("recorded since the filter needs it, whatever -e says".to_owned()),
            Sake::Names => {
                Some(format!("recorded since it tells names of tasks: -e -{} leaves it out", self.spec.name))
            }
        }
    }
}

impl Plan {
    /// Makes sure that what a filter lives by is attached, whatever was asked for: without forks it would lose the
    /// children, without the end of its mms it would go on recording whoever gets their addresses next.
    pub(crate) fn serve(&mut self, filter: &Filter) {
        for probe in &mut self.probes {
            if !probe.wanted && filter.needs().iter().any(|need| need.kind == probe.spec.kind) {
                probe.wanted = true;
                probe.sake = Sake::Filter;
            }
        }
    }

    /// The events that are there for the filter's sake alone, where they can be.
    pub(crate) fn served(&self) -> impl Iterator<Item = &'static Spec> {
        self.probes.iter().filter(|probe| probe.sake == Sake::Filter && probe.positions.is_ok()).map(|probe| probe.spec)
    }

    /// Returns, of the states of all probes, those that the user selected.
    pub(crate) fn asked<'a>(&'a self, states: &'a [ProbeState]) -> impl Iterator<Item = &'a ProbeState> {
        let asked = |(probe, _): &(&Planned, &ProbeState)| probe.wanted && probe.sake == Sake::User;
        self.probes.iter().zip(states).filter(asked).map(|(_, state)| state)
    }

    /// The parameters that the program of an event reads, by name, with the position of each; none when it is refused.
    #[must_use]
    pub(crate) fn arguments(&self, kind: Kind) -> BTreeMap<&'static str, u8> {
        let Some(probe) = self.probes.iter().find(|p| p.spec.kind == kind) else { return BTreeMap::new() };
        let Ok(positions) = &probe.positions else { return BTreeMap::new() };
        names(probe.spec)
            .zip(positions)
            .filter_map(|(name, position)| Some((name?, *position)).filter(|(_, p)| *p != ABSENT))
            .collect()
    }

    /// Looks up every event of the table.
    #[must_use]
    pub(crate) fn new(btf: &Btf, symbols: &Symbols, selection: &Selection) -> Self {
        let offsets: Vec<(OffsetId, Result<u32, String>)> =
            OFFSETS.iter().map(|o| (o.id, btf.member_offset(o.strukt, o.member).map_err(|e| e.to_string()))).collect();
        let probes = SPECS
            .iter()
            .filter(|s| !s.kind.is_synthetic())
            .map(|spec| {
                let sake = if selection.names_with(spec.kind) { Sake::Names } else { Sake::User };
                let wanted = sake == Sake::Names || selection.wants(spec.kind);
                let named = selection.names(spec.kind);
                match resolve(btf, symbols, spec, &offsets) {
                    Ok((positions, absent, symbol)) => {
                        Planned { spec, positions: Ok(positions), symbol, absent, wanted, sake, named }
                    }
                    Err(refusal) => {
                        let absent = Vec::new();
                        Planned { spec, positions: Err(refusal), symbol: None, absent, wanted, sake, named }
                    }
                }
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
        Self {
            probes,
            offsets: offsets.into_iter().filter_map(|(id, o)| Some((id, o.ok()?))).collect(),
            enums,
            stack_size: stack_size(btf, symbols),
            casting: Casting::of(btf),
            variables: VARIABLES.iter().filter_map(|name| Some((*name, symbols.address(name)?))).collect(),
        }
    }
}

/// Bytes of `struct page` on every kernel that was examined; the programs rely on it.
const PAGE_STRUCT_SIZE: u32 = 64;

/// THREAD_SIZE, by `union thread_union` (include/linux/sched.h), which the BTF of 7.2 lacks; there by
/// arch/x86/include/asm/page_64_types.h. If it were another, events would be found written twice, and rules unknown.
fn stack_size(btf: &Btf, symbols: &Symbols) -> u32 {
    btf.struct_size("thread_union").unwrap_or_else(|_| match symbols.count(KASAN) {
        None | Some(0) => 16 << 10,
        Some(_) => 32 << 10,
    })
}

type Found = ([u8; POSITIONS], Vec<Column>, Option<&'static str>);

fn resolve(
    btf: &Btf,
    symbols: &Symbols,
    spec: &'static Spec,
    offsets: &[(OffsetId, Result<u32, String>)],
) -> Result<Found, Refusal> {
    let Prototype { params, symbol, returns } = match spec.site.at {
        at if at.is_function() => function::prototype(btf, symbols, spec)?,
        // Its program's context is ABI.
        At::SoftwareEvent { .. } => Prototype { params: Vec::new(), symbol: None, returns: false },
        _ => Prototype { params: parameters(btf, spec)?, symbol: None, returns: false },
    };
    let mut positions = [ABSENT; POSITIONS];
    let mut absent = Vec::new();

    positions[0] = match spec.site.mm {
        MmFrom::Arg(name) => position(&params, name, Expect::Struct("mm_struct"))?,
        MmFrom::Path(name, path) => position(&params, name, Expect::Struct(owner(path[0])))?,
        MmFrom::TaskArg(name) => position(&params, name, Expect::Struct("task_struct"))?,
        MmFrom::TreeArg(name) => position(&params, name, Expect::Struct("ma_state"))?,
        MmFrom::LockArg(name) => position(&params, name, Expect::Word)?,
        MmFrom::Current | MmFrom::None => ABSENT,
    };
    let lacks = |source: Source| offsets.iter().any(|(o, found)| source.offsets().contains(o) && found.is_err());
    for (entry, field) in positions[1..].iter_mut().zip(spec.fields) {
        let (name, expect) = match field.source {
            Source::Arg(name) => (name, expected(field)),
            Source::Member(name, id) => (name, Expect::Struct(owner(id))),
            Source::Path(name, path) => (name, Expect::Struct(owner(path[0]))),
            Source::Through(..) if lacks(field.source) && !field.required => {
                absent.push(field.column);
                continue;
            }
            Source::Deref(name) | Source::Made(name) | Source::Through(name, _) => (name, Expect::Word),
            Source::Return | Source::OfReturn(_) => {
                if returns {
                    *entry = params.len() as u8;
                } else {
                    absent.push(field.column);
                }
                continue;
            }
            Source::Current(_) | Source::Call | Source::Walk | Source::VmaFacts => {
                if lacks(field.source) {
                    absent.push(field.column);
                }
                continue;
            }
            Source::SampleAddr | Source::User => continue,
        };
        if let (Source::Made(_), Column::Table) = (field.source, field.column) {
            needs_variable(symbols, "vmemmap_base")?;
            needs_page_size(btf)?;
        }
        match position(&params, name, expect) {
            Ok(found) => *entry = found,
            Err(Refusal::NoParameter { .. }) if !field.required => absent.push(field.column),
            Err(refusal) => return Err(refusal),
        }
    }
    for (entry, name) in positions[1 + spec.fields.len()..].iter_mut().zip(spec.site.also) {
        *entry = position(&params, name, Expect::Word)?;
    }
    let optional = |id: OffsetId| spec.fields.iter().any(|f| !f.required && f.source.offsets().contains(&id));
    for id in spec.members().filter(|id| !optional(*id)) {
        if let Some((_, Err(why))) = offsets.iter().find(|(o, _)| *o == id) {
            let row = offset_row(id);
            return Err(Refusal::Offset { what: format!("{}.{}", row.strukt, row.member), why: why.clone() });
        }
    }
    Ok((positions, absent, symbol))
}

fn needs_variable(symbols: &Symbols, name: &'static str) -> Result<(), Refusal> {
    match symbols.count(name) {
        Some(0) => Err(Refusal::NoVariable(name)),
        _ if symbols.address(name).is_some() => Ok(()),
        _ => Err(Refusal::HiddenVariable(name)),
    }
}

/// The programs make page frame numbers of pointers to `struct page` by a shift.
fn needs_page_size(btf: &Btf) -> Result<(), Refusal> {
    match btf.struct_size("page") {
        Ok(PAGE_STRUCT_SIZE) => Ok(()),
        Ok(other) => Err(Refusal::PageSize(other)),
        Err(error) => Err(Refusal::Offset { what: "the end of struct page".to_owned(), why: error.to_string() }),
    }
}

/// The parameters that an event's program reads, in the order of its position table.
fn names(spec: &'static Spec) -> impl Iterator<Item = Option<&'static str>> {
    let mm = match spec.site.mm {
        MmFrom::Arg(name)
        | MmFrom::Path(name, _)
        | MmFrom::TaskArg(name)
        | MmFrom::TreeArg(name)
        | MmFrom::LockArg(name) => Some(name),
        MmFrom::Current | MmFrom::None => None,
    };
    let fields = spec.fields.iter().map(|field| field.source.parameter());
    std::iter::once(mm).chain(fields).chain(spec.site.also.iter().copied().map(Some))
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

/// A type as which a program can read a parameter.
#[derive(Clone, Copy)]
enum Expect {
    /// Pointer to this struct.
    Struct(&'static str),
    /// Anything that is one whole word: address, entry, pointer.
    Word,
    /// An integer, enum or bool of at most a word.
    Number,
    /// An integer, enum or bool of at most 32 bits: the programs rely on the upper half of its word being 0.
    Int,
    /// One byte.
    Bool,
}

fn expected(field: &Field) -> Expect {
    match (field.column.ty(), field.slot) {
        (FieldType::Bool, _) => Expect::Bool,
        // In the aux word the value is cut to 32 bits anyway.
        (FieldType::Hex, Slot::Arg(_)) => Expect::Word,
        (FieldType::Int, Slot::Arg(_)) => Expect::Int,
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
        Expect::Number => (bytes_of(ty).is_some_and(|bytes| bytes <= 8), "a number"),
        Expect::Int => (bytes_of(ty).is_some_and(|bytes| bytes <= 4), "a number of at most 32 bits"),
        Expect::Bool => (matches!(ty, ParamType::Bool { bytes: 1 }), "a bool"),
    };
    if !fits {
        return Err(Refusal::Type { name, is: ty.to_string(), expected });
    }
    u8::try_from(at).map_err(|_| Refusal::Prototype("it has more parameters than a tracepoint can".to_owned()))
}

/// The size of a number; `None` for anything else.
fn bytes_of(ty: &ParamType) -> Option<u32> {
    match ty {
        ParamType::Int { bytes, .. } | ParamType::Enum { bytes, .. } | ParamType::Bool { bytes } => Some(*bytes),
        _ => None,
    }
}

fn offset_row(id: OffsetId) -> &'static mmtrace_common::Offset {
    OFFSETS.iter().find(|o| o.id == id).unwrap_or(&OFFSETS[0])
}

fn owner(id: OffsetId) -> &'static str {
    offset_row(id).strukt
}

/// `struct.member` of an offset.
#[must_use]
pub(crate) fn offset_name(id: OffsetId) -> String {
    let row = offset_row(id);
    format!("{}.{}", row.strukt, row.member)
}

/// The global that receives an offset.
#[must_use]
pub(crate) fn offset_global(id: OffsetId) -> &'static str {
    offset_row(id).global
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::filter::Process;

    /// A plan for a kernel that has everything.
    fn plan(events: &str) -> Plan {
        let selection: Selection = events.parse().expect("a selection");
        let probed = SPECS.iter().filter(|s| !s.kind.is_synthetic());
        let probes = probed.map(|spec| Planned {
            spec,
            positions: Ok([ABSENT; POSITIONS]),
            symbol: None,
            absent: Vec::new(),
            wanted: selection.wants(spec.kind),
            sake: Sake::User,
            named: selection.names(spec.kind),
        });
        let probes = probes.collect();
        Plan {
            probes,
            offsets: Vec::new(),
            enums: BTreeMap::new(),
            variables: Vec::new(),
            stack_size: 0,
            casting: None,
        }
    }

    fn served(plan: &Plan) -> Vec<Kind> {
        plan.served().map(|spec| spec.kind).collect()
    }

    #[test]
    fn a_filter_gets_its_events_whatever_was_asked_for() {
        let filters = [
            Filter { command: Some("true".to_owned()), ..Filter::default() },
            Filter { pids: vec![Process { pid: 1, tgid: 1 }], ..Filter::default() },
            Filter { comm: Some("bash".to_owned()), ..Filter::default() },
        ];
        for filter in &filters {
            for events in ["only:page_fault_user", "-sched_process_fork", "-sched:*,-mmap:*,-mmap_lock:*", "+all"] {
                let mut plan = plan(events);
                let asked: Vec<&str> = plan.probes.iter().filter(|p| p.wanted).map(|p| p.spec.name).collect();
                plan.serve(filter);
                for need in filter.needs() {
                    let probe = plan.probes.iter().find(|p| p.spec.kind == need.kind).expect("a probe");
                    assert!(probe.state().reason.is_none(), "{events}: {:?}", need.kind);
                    assert_eq!(
                        probe.sake == Sake::Filter,
                        !asked.contains(&probe.spec.name),
                        "{events}: {:?}",
                        need.kind
                    );
                }
                // Nothing that was asked for counts as the filter's.
                let states: Vec<ProbeState> = plan.probes.iter().map(Planned::state).collect();
                assert_eq!(plan.asked(&states).map(|s| s.event.as_str()).collect::<Vec<_>>(), asked, "{events}");
            }
        }
    }

    #[test]
    fn without_a_filter_nothing_is_added() {
        let mut plan = plan("only:page_fault_user");
        plan.serve(&Filter::default());
        assert!(served(&plan).is_empty());
        assert_eq!(plan.probes.iter().filter(|p| p.wanted).count(), 1);
    }

    #[test]
    fn software_events_are_not_attached_beside_functions_unless_they_are_named() {
        let spared = |events: &str, attached: &[Kind]| {
            let plan = plan(events);
            let probe = plan.probes.iter().find(|p| p.spec.kind == Kind::PageFaultsMin).expect("a probe");
            probe.wanted && probe.spared(|kind| attached.contains(&kind)).is_some()
        };
        let functions = [Kind::HandleMmFault, Kind::HandleMmFaultReturn];
        assert!(spared("-tlb_flush", &functions));
        assert!(!spared("-tlb_flush", &functions[1..]), "its entry is needed too");
        assert!(!spared("+page_faults_min", &functions));
    }

    #[test]
    fn what_is_there_for_the_filter_says_so() {
        let mut plan = plan("only:page_fault_user");
        plan.serve(&Filter { comm: Some("bash".to_owned()), ..Filter::default() });
        let needs = [Kind::Released, Kind::ExitMmap, Kind::Fork, Kind::Exec];
        assert_eq!(
            BTreeMap::from_iter(served(&plan).iter().map(|k| (*k as u16, ()))),
            BTreeMap::from_iter(needs.map(|k| (k as u16, ())))
        );
        for probe in plan.probes.iter().filter(|p| p.wanted) {
            assert_eq!(probe.note().is_some(), probe.spec.kind != Kind::PageFaultUser, "{}", probe.spec.name);
        }
    }
}
