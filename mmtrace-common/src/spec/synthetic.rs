//! Events that say what is missing.

use super::{At, Column as C, Kind as K, MmFrom, Spec, user};

/// What the user side makes.
pub(super) const ROWS: &[Spec] = &[
    Spec {
        kind: K::Loss,
        system: "",
        name: "loss",
        at: At::User,
        functions: &[],
        on: true,
        mm: MmFrom::None,
        fields: &[user(C::LostKind, 0), user(C::Count, 1), user(C::Until, 2)],
        also: &[],
        offsets: &[],
        doc: "the ring buffer was full: events of one kind on one CPU were not delivered between `ts` and `until`",
    },
    Spec {
        kind: K::Missed,
        system: "",
        name: "missed",
        at: At::User,
        functions: &[],
        on: true,
        mm: MmFrom::None,
        fields: &[user(C::LostKind, 0), user(C::Count, 1), user(C::Until, 2)],
        also: &[],
        offsets: &[],
        doc: "events are missing: the kernel skipped a probe that was already running on that CPU, and its spares, between `ts` and `until`",
    },
    Spec {
        kind: K::Gap,
        system: "",
        name: "gap",
        at: At::User,
        functions: &[],
        on: true,
        mm: MmFrom::None,
        fields: &[user(C::Count, 0), user(C::Until, 1)],
        also: &[],
        offsets: &[],
        doc: "part of the capture is missing or damaged, between `ts` and `until`",
    },
    Spec {
        kind: K::Foreign,
        system: "",
        name: "foreign",
        at: At::User,
        functions: &[],
        on: true,
        mm: MmFrom::None,
        fields: &[user(C::Count, 0), user(C::Until, 1)],
        also: &[],
        offsets: &[],
        doc: "a ring held records that no program of mmtrace can have written: which events are missing for them, between `ts` and `until`, is not known",
    },
];
