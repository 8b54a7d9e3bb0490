//! `mmtrace replay DIR`.

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use mmtrace_capture::{Capture, Condition, Staging};
use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::{
    replay::Engine,
    report::{Output, Report, Style},
};

use super::ahead;
use crate::{
    console::complain,
    moment::{Moment, described, part},
    percent::Percent,
    tui::layout::Layout,
};

/// Arguments of `mmtrace replay`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mmtrace replay                          judge mmtrace.data/, and print the report
  mmtrace replay DIR --from 1.5 --to 2.5  judge one second of a capture
  mmtrace replay DIR --tui                play, pause, step and jump in the dashboard
  mmtrace replay DIR --json | jq .verdict

Exit status: 0 no rule was violated, 1 a rule was violated, 2 error, or a part of the capture cannot be read")]
pub struct ReplayArgs {
    /// Capture to judge: a folder that `mmtrace record` wrote
    #[arg(value_name = "DIR", default_value = crate::record::DEFAULT_DIR)]
    pub dir: PathBuf,
    /// Begin at this time: after the start of the capture (1.5, 250ms, 2min), or of the day (14:03, 14:03:05.5)
    ///
    /// mmtrace then knows nothing of what happened before, as if the recording had begun at T.
    #[arg(long, value_name = "T")]
    pub from: Option<Moment>,
    /// End at this time
    #[arg(long, value_name = "T")]
    pub to: Option<Moment>,
    /// Print the report as JSON (docs/report.md describes the format)
    #[arg(long)]
    pub json: bool,
    /// Print every rule and every kind of event as well
    #[arg(long, conflicts_with = "json")]
    pub rules: bool,
    /// Call a rule unknown if less than PERCENT of its evaluations, or of the time, could be judged
    ///
    /// Events can be missing from a capture. A rule that was never broken is held if enough of it could be judged all the
    /// same, and the report says what could not. Without this option, the recording's is used.
    #[arg(long, value_name = "PERCENT")]
    pub min_judged: Option<Percent>,
    /// Show the capture in the dashboard: play, pause, step, and jump to any time
    #[arg(long, conflicts_with_all = ["json", "from", "to"])]
    pub tui: bool,
    /// Layout of the dashboard: default, contention, or a TOML file like those in dashboards/
    #[arg(long, value_name = "FILE", requires = "tui", default_value = crate::record::DASHBOARD)]
    pub dashboard: String,
    /// Measure N jumps to random times
    #[arg(long, value_name = "N", hide = true, conflicts_with_all = ["json", "tui", "from", "to"])]
    pub jumps: Option<u32>,
}

/// Result of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was read, and nothing was violated.
    Clean,
    /// Something was violated.
    Violated,
    /// Nothing was, but part of the capture could not be read.
    Damaged,
}

/// Replays a capture and prints the report. `staging`: where the dashboard saves.
///
/// # Errors
/// The capture cannot be read, or the report cannot be printed.
pub fn run(args: &ReplayArgs, staging: Option<&Staging>, out: &mut dyn Write, style: Style) -> Result<Outcome> {
    if args.tui {
        let layout = Layout::load(&args.dashboard)?;
        crate::tui::terminal::required()?;
        let capture = Capture::open(&args.dir)?;
        let violated = crate::tui::player::run(&capture, layout, staging)?;
        return Ok(outcome(&capture, violated));
    }
    let capture = Capture::open(&args.dir)?;
    if let Some(jumps) = args.jumps {
        super::seek_bench::run(&capture, jumps, out)?;
        return Ok(outcome(&capture, false));
    }
    let mut engine = Engine::new(capture.context().clone(), true);
    if let Some(percent) = args.min_judged {
        engine = engine.with_min_judged(percent.share());
    }
    let (from, to) = part(&capture, args.from, args.to)?;
    let mut reaching = Reaching::default();
    if args.from.is_some() {
        // The names of tasks do not depend on where the replay begins.
        capture.records_between(0, from.saturating_sub(1)).for_each(|record| {
            engine.learn_names(&record);
            reaching.add(&record, from);
        });
    }
    let whole = args.from.is_none() && args.to.is_none();
    let mut records = if whole { capture.records() } else { capture.records_between(from, to) };
    if args.from.is_some() {
        match records.next() {
            Some(skipped) if skipped.kind() == Some(Kind::Gap) => engine.begin_late(&skipped),
            Some(first) => engine.apply(&first),
            None => {}
        }
    }
    reaching.records().for_each(|record| engine.apply(&record));
    ahead::for_each(|parcel| records.read(parcel, ahead::TOGETHER), |record| engine.apply(record));
    engine.finish();
    let report = Report { part: described(&capture, (from, to)), ..Report::new(&engine) };
    let outcome = outcome(&capture, report.is_violated());
    report.print(Output::of(args.json, args.rules), style, out).context("cannot print the report")?;
    Ok(outcome)
}

/// What is said before a time of events that may be missing after it: by the kind that says so, the kind of the events, and
/// the CPU.
#[derive(Default)]
struct Reaching(BTreeMap<(u16, u64, u16), Record>);

impl Reaching {
    fn add(&mut self, record: &Record, from: u64) {
        let until = record.get(Column::Until);
        if !record.kind().is_some_and(Kind::is_missing) || until.is_none_or(|until| until < from) {
            return;
        }
        let key = (record.kind, record.get(Column::LostKind).unwrap_or(0), record.cpu);
        let known = self.0.entry(key).or_insert(*record);
        if known.get(Column::Until) < until {
            *known = *record;
        }
        known.ts = from;
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        self.0.values().copied()
    }
}

/// Says what could not be read, and how the replay ended.
pub(super) fn outcome(capture: &Capture, violated: bool) -> Outcome {
    for problem in capture.problems() {
        complain(format_args!("{}: {problem}", capture.dir().display()));
    }
    if capture.condition() == Condition::Recovered {
        complain(format_args!(
            "{}: the recording was interrupted, or still runs: this is about what it had written",
            capture.dir().display()
        ));
    }
    match (violated, capture.has_problems()) {
        (true, _) => Outcome::Violated,
        (false, false) => Outcome::Clean,
        (false, true) => Outcome::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmtrace_common::{View as _, event};

    /// Seen: a part that begins within a gap was judged as if nothing were missing.
    #[test]
    fn what_is_missing_at_the_beginning_of_a_part_is_known() {
        let lost = |ts, until, count| {
            let mut record = Record { ts, cpu: 1, ..Record::default() };
            event::Loss { lost_kind: Kind::Released as u64, count, until }.write(&mut record);
            record
        };
        let mut reaching = Reaching::default();
        reaching.add(&lost(100, 199, 1), 200);
        reaching.add(&lost(120, 500, 2), 200);
        reaching.add(&lost(130, 300, 3), 200);
        reaching.add(&Record { ts: 150, kind: Kind::Released as u16, ..Record::default() }, 200);
        let records: Vec<Record> = reaching.records().collect();
        assert_eq!(records, [lost(200, 500, 2)]);
    }
}
