//! Standby programs that are attached during the recording, where the kernel skips runs of a program.

use mmtrace_common::{Kind, Record, View as _, event};

use crate::probe::{object::Object, rings::Rings, sys};

/// Attaches the standby programs of these kinds that are in reserve: each the one of this number. Returns the records that
/// say so, and a message. `started`: the start of the recording, nanoseconds of `CLOCK_MONOTONIC`.
pub(super) fn attach(
    object: &mut Object,
    rings: &mut Rings,
    kinds: &[(Kind, u32)],
    started: u64,
) -> (Vec<Record>, String) {
    let (mut records, mut names, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, number) in kinds {
        let attached = object.attach_standby(*kind, *number);
        rings.stand_by(*kind, attached.is_ok());
        match attached {
            Ok(()) => {
                let mut record = Record { ts: sys::monotonic_ns(), ..Record::default() };
                let (standby_kind, standby_programs) = (*kind as u64, *number);
                event::StandbyAttached { standby_kind, standby_programs }.write(&mut record);
                records.push(record);
                names.push(kind.name());
            }
            Err(why) => refused.push(format!("{}: {why}", kind.name())),
        }
    }
    let seconds = sys::monotonic_ns().saturating_sub(started) as f64 / 1e9;
    let mut message = Vec::new();
    if !names.is_empty() {
        message.push(format!(
            "standby programs attached at {seconds:.1} s for {}: the kernel had skipped runs of such programs",
            names.join(", ")
        ));
    }
    if !refused.is_empty() {
        message.push(format!(
            "the kernel refused standby programs during the recording ({}): if it skips a run of these probes, the event is \
             missing; attach them before it: --standby 1",
            refused.join("; ")
        ));
    }
    (records, message.join("; "))
}
