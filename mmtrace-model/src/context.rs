//! The source of a stream of events: everything besides the events on which a verdict depends. A recording writes it
//! into its manifest, so that a replay judges with the same knowledge.

use crate::{bounded, kernel_version::KernelVersion};
use mmtrace_common::{At, Kind, OFFSETS, SPECS, Source};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

// Limits of the lists that a reader takes from a manifest. The comments give today's numbers.

/// Events of the catalogue: 90.
const PROBES_MAX: usize = 1024;
/// Columns that an event may lack: 80.
const ABSENT_MAX: usize = 256;
/// Struct members whose offsets are used: 20.
const OFFSETS_MAX: usize = 1024;
/// Enums that events carry: 10.
const ENUMS_MAX: usize = 64;
/// Enumerators of an enum: 50.
const ENUMERATORS_MAX: usize = 1024;
/// Bytes of the kernel's names for itself: 64.
const NAME_MAX: usize = 1024;
/// Bytes of a reason, or of a filter, which is as long as a command line.
const TEXT_MAX: usize = 1 << 17;

/// The kernel, the probes and the limits of one recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The kernel that ran.
    pub kernel: Kernel,
    /// One entry for each event of the catalogue.
    #[serde(deserialize_with = "bounded::list::<_, _, PROBES_MAX>")]
    pub probes: Vec<ProbeState>,
    /// Struct offsets in use, in bytes, as `struct.member`.
    #[serde(deserialize_with = "bounded::map::<_, _, OFFSETS_MAX>")]
    pub offsets: BTreeMap<String, u32>,
    /// Enumerators of the kernel's enums that events carry: enum name → enumerator name → value.
    #[serde(deserialize_with = "enums")]
    pub enums: BTreeMap<String, BTreeMap<String, i64>>,
    /// The filter, if not everything was recorded.
    #[serde(default, deserialize_with = "bounded::optional_text::<_, TEXT_MAX>")]
    pub filter: Option<String>,
    /// The limit of what recording may cost (`--max-overhead`), in hundredths of a percent of all CPUs, if there is one:
    /// optional events may end during the recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_overhead: Option<u32>,
    /// The share of its evaluations and of the time that must have been judged for a rule to be held (`--min-judged`), in
    /// hundredths of a percent, as the recording was asked to judge; absent from captures of older versions of mmtrace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_judged: Option<u32>,
    /// Time when the last probe was attached, nanoseconds of `CLOCK_MONOTONIC`. Events before that time are a start in
    /// mid-flight.
    pub start: u64,
}

fn enums<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, BTreeMap<String, i64>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Enum(#[serde(deserialize_with = "bounded::map::<_, _, ENUMERATORS_MAX>")] BTreeMap<String, i64>);
    let enums: BTreeMap<String, Enum> = bounded::map::<_, _, ENUMS_MAX>(deserializer)?;
    Ok(enums.into_iter().map(|(name, Enum(enumerators))| (name, enumerators)).collect())
}

/// Identity of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// `uname -r`
    #[serde(deserialize_with = "bounded::text::<_, NAME_MAX>")]
    pub release: String,
    /// `uname -v`
    #[serde(deserialize_with = "bounded::text::<_, NAME_MAX>")]
    pub version: String,
    /// `uname -m`
    #[serde(deserialize_with = "bounded::text::<_, NAME_MAX>")]
    pub machine: String,
    /// CPUs the kernel may ever have.
    pub cpus: u32,
}

impl Kernel {
    /// The series of the release, if it names one.
    #[must_use]
    pub(crate) fn series(&self) -> Option<KernelVersion> {
        self.release.parse().ok()
    }

    /// Whether a task can be preempted in a tracepoint's program: since 7.0, tracepoints no longer disable preemption
    /// (include/linux/tracepoint.h: `__DECLARE_TRACE`). A kernel of unknown version counts as one of these.
    #[must_use]
    pub fn preempts_tracepoints(&self) -> bool {
        self.series().is_none_or(KernelVersion::preempts_tracepoints)
    }

    /// Whether its VMAs may have locks: a kernel of unknown version may have everything.
    #[must_use]
    pub fn may_have_vma_locks(&self) -> bool {
        self.series().is_none_or(KernelVersion::has_vma_locks)
    }
}

/// Way in which a program is attached to its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// BTF-typed raw tracepoint.
    TpBtf,
    /// Untyped raw tracepoint.
    RawTp,
    /// BTF trampoline at a function's entry.
    Fentry,
    /// BTF trampoline at a function's return.
    Fexit,
    /// Breakpoint at a function's entry.
    Kprobe,
    /// Breakpoint at a function's return.
    Kretprobe,
    /// Software event of perf, on every CPU.
    PerfEvent,
}

impl Form {
    /// The forms that programs at such a place exist in, best first.
    #[must_use]
    pub const fn of(at: At) -> &'static [Self] {
        match at {
            At::Tracepoint => &[Self::TpBtf, Self::RawTp],
            At::Entry => &[Self::Fentry],
            At::Exit => &[Self::Fexit],
            // A trampoline is refused where a struct is returned.
            At::EntryOfStruct => &[Self::Kprobe],
            At::ExitOfStruct => &[Self::Kretprobe],
            At::SoftwareEvent { .. } => &[Self::PerfEvent],
            At::Beside | At::User => &[],
        }
    }

    /// The form's name in the documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::RawTp => "raw_tp",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::PerfEvent => "perf_event",
        }
    }
}

/// Events that show when the handling of a fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultEnds {
    /// The entry of `handle_mm_fault()` and its return.
    Functions,
    /// The kernel's count of handled faults: software events. A fault that fails is not counted.
    SoftwareEvents,
}

impl FaultEnds {
    /// The name in reports.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Functions => "functions",
            Self::SoftwareEvents => "software_events",
        }
    }
}

/// The outcome of attaching one probe of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeState {
    /// Event name, as in [`mmtrace_common::Spec::name`].
    pub event: String,
    /// Form in which it was attached; `None` if it was not.
    pub form: Option<Form>,
    /// Columns that this kernel's event does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<_, _, ABSENT_MAX>")]
    pub absent: Vec<String>,
    /// Reason why it is not attached, or not in the preferred form.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::optional_text::<_, TEXT_MAX>"
    )]
    pub reason: Option<String>,
}

impl Context {
    /// Returns the context of a kernel that has every tracepoint and function: every probe is attached, and every event
    /// has all its columns. It serves streams that no kernel made.
    #[must_use]
    pub fn with_every_probe(kernel: Kernel) -> Self {
        let probes = SPECS.iter().filter(|s| !s.kind.is_synthetic()).map(|s| ProbeState {
            event: s.name.to_owned(),
            form: Some(Form::TpBtf),
            absent: Vec::new(),
            reason: None,
        });
        Self { kernel, probes: probes.collect(), ..Self::default() }
    }

    /// Marks columns as absent if the mmtrace that recorded did not look up the offset that they need.
    pub fn mark_absent(&mut self) {
        for spec in SPECS {
            for field in spec.fields {
                let optional = matches!(
                    field.source,
                    Source::Current(_) | Source::Call | Source::Through(..) | Source::Walk | Source::VmaFacts
                );
                if !optional {
                    continue;
                }
                let takes = OFFSETS.iter().filter(|o| field.source.offsets().contains(&o.id));
                let known = takes.map(|o| format!("{}.{}", o.strukt, o.member)).all(|o| self.offsets.contains_key(&o));
                let column = field.column.name();
                let probe = self.probes.iter_mut().find(|p| p.event == spec.name);
                if let Some(probe) = probe.filter(|p| !known && p.absent.iter().all(|c| c != column)) {
                    probe.absent.push(column.to_owned());
                }
            }
        }
    }

    /// Whether events of this kind were being delivered.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.probe(kind).is_some_and(|p| p.form.is_some())
    }

    /// The outcome of attaching the probe for this kind.
    #[must_use]
    pub fn probe(&self, kind: Kind) -> Option<&ProbeState> {
        let name = kind.name();
        self.probes.iter().find(|p| p.event == name)
    }

    /// Whether events of this kind were being delivered with this column.
    #[must_use]
    pub fn carries(&self, kind: Kind, column: mmtrace_common::Column) -> bool {
        self.probe(kind).is_some_and(|p| p.form.is_some() && p.absent.iter().all(|c| c != column.name()))
    }

    /// Returns the events that show when the handling of a fault ends, if there are any.
    #[must_use]
    pub fn fault_ends(&self) -> Option<FaultEnds> {
        let all = |kinds: [Kind; 2]| kinds.iter().all(|kind| self.has(*kind));
        if all([Kind::HandleMmFault, Kind::HandleMmFaultReturn]) {
            Some(FaultEnds::Functions)
        } else {
            all([Kind::PageFaultsMin, Kind::PageFaultsMaj]).then_some(FaultEnds::SoftwareEvents)
        }
    }

    /// The enumerator's name for a value, without any common prefix removed.
    #[must_use]
    pub(crate) fn enumerator(&self, name: &str, value: i64) -> Option<&str> {
        self.enums.get(name)?.iter().find(|(_, v)| **v == value).map(|(n, _)| n.as_str())
    }

    /// The value of an enumerator.
    #[must_use]
    pub fn value(&self, name: &str, enumerator: &str) -> Option<i64> {
        self.enums.get(name)?.get(enumerator).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracepoints_can_be_preempted_from_7_0_on_and_where_nothing_is_known() {
        let preempts =
            |release: &str| Kernel { release: release.to_owned(), ..Kernel::default() }.preempts_tracepoints();
        for (release, expected) in
            [("5.15.0", false), ("6.18.44-fc", false), ("7.0.0-rc1", true), ("7.2.13+deb14", true)]
        {
            assert_eq!(preempts(release), expected, "{release}");
        }
        assert!(preempts("unknown"));
    }
}
