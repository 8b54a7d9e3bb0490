//! Standby programs that were attached during the recording.

use std::io::{self, Write};

use serde::Serialize;

use super::{Style, grouped};
use crate::replay::Engine;

/// A standby program that was attached during the recording, since the kernel had skipped runs of an event's program.
#[derive(Debug, Serialize)]
pub struct StandbyRow {
    /// The event.
    pub event: &'static str,
    /// Time, nanoseconds from the start of the recording.
    pub at_ns: u64,
    /// Number of standby programs of the event from then on.
    pub standby_programs: u32,
    /// Events of the kind that were missed before.
    pub missed_before: u64,
    /// Events of the kind that were missed since.
    pub missed_since: u64,
}

/// Returns the standby programs that a stream says were attached.
pub(super) fn rows(engine: &Engine) -> Vec<StandbyRow> {
    let row = |attached: &crate::replay::standby::StandbyAttached| StandbyRow {
        event: attached.kind.name(),
        at_ns: attached.ts.saturating_sub(engine.context().start),
        standby_programs: attached.programs,
        missed_before: attached.missed_before,
        missed_since: attached.missed_since,
    };
    engine.standby_attached().iter().map(row).collect()
}

/// Writes them, for people: one line, if there are any.
pub(super) fn print(rows: &[StandbyRow], style: Style, out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let at = |row: &StandbyRow| format!("at {:.1} s for {}", row.at_ns as f64 / 1e9, row.event);
    let attached: Vec<String> = rows.iter().map(at).collect();
    let sum = |of: fn(&StandbyRow) -> u64| rows.iter().map(of).fold(0, u64::saturating_add);
    let (before, since) = (sum(|row| row.missed_before), sum(|row| row.missed_since));
    let since = match since {
        0 => "none since".to_owned(),
        n => style.bad(&format!("{} since", grouped(n))),
    };
    writeln!(
        out,
        "standby programs attached {}: {} of these events were missed before, {since}",
        attached.join(", "),
        grouped(before)
    )
}
