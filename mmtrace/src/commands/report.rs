//! `mmtrace report DIR`: who held mmap_locks, who waited for them, whose faults there were.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use mmtrace_capture::Capture;
use mmtrace_common::Kind;
use mmtrace_model::{
    context::Context as StreamContext,
    replay::Engine,
    report::{
        Part, Report, Style,
        blame::rows,
        callers::{By, FaultRow, LockRow, Tables, Times},
        duration, functions, grouped, held_before, mappings,
        overhead::RecordingCost,
        unfinished,
    },
    untrusted::json,
};
use serde::Serialize;

use super::{
    ahead, blame,
    cells::{cell, more, names},
    replay::{Outcome, outcome},
};
use crate::moment::{Moment, described, part};

/// Holders that are named below a row of waits.
const BEHIND: usize = 3;

/// What a row of a report by process stands for.
const BY_PROCESS: &str = "a row is a process id under one name: a process that ran another program has a row for each";

/// What is said in place of a report by cgroup.
const NO_CGROUPS: &str = "cgroup not recorded: an older mmtrace made the capture, cgroup v2 was not mounted, or -e left out \
                          cgroup_attach_task, sched_process_fork or sched_process_exec";

/// Property that rows are grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Process, thread name and call
    #[default]
    Caller,
    /// Process and thread name
    Thread,
    /// Process, under each name that it had: one that runs another program has a row for each
    Process,
    /// System call, or other entry into the kernel
    Call,
    /// Mapping: file, [heap], [stack], anonymous memory; of page faults
    Mapping,
    /// Function whose instruction faulted, and its file; of page faults
    Function,
    /// Kind of page fault, with the caller that has most of them
    Kind,
    /// Cgroup v2: container, pod, service
    Cgroup,
}

/// Property that rows are sorted by; the largest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// All intervals together; of functions, all their faults whose duration was seen
    Total,
    /// Number of intervals
    Times,
    /// 99th percentile
    P99,
    /// Longest interval
    Longest,
    /// Number of page faults
    Faults,
    /// Number of mappings
    Mappings,
}

impl Sort {
    /// Returns the word that selects it.
    fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Arguments of `mmtrace report`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mmtrace report                         who held and awaited mmap_locks, and whose faults there were
  mmtrace report --by call               the same by system call
  mmtrace report --by mapping            page faults by file, heap, stack, …
  mmtrace report --by function           page faults by the function that touched the memory
  mmtrace report --by kind               page faults by kind
  mmtrace report --by cgroup --waits     which container or service waited, and behind which
  mmtrace report --waits --sort longest  the longest waits first
  mmtrace report --blame                 what the waits were for: whose holds, and whose waits those were
  mmtrace report --from 2 --to 2.5       half a second of the capture
  mmtrace report --csv --holds           all rows, for a spreadsheet

Exit status: 0 no rule was violated, 1 a rule was violated, 2 error, or a part of the capture cannot be read")]
pub struct ReportArgs {
    /// Capture to read: a folder that `mmtrace record` wrote
    #[arg(value_name = "DIR", default_value = crate::record::DEFAULT_DIR)]
    pub(crate) dir: PathBuf,
    /// What a row stands for
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    by: Group,
    /// What rows are sorted by, largest first; without it by total, and page faults by their number
    ///
    /// A table that does not have the column keeps its order. If no table has it, that is an error.
    #[arg(long, value_name = "COLUMN", value_enum)]
    sort: Option<Sort>,
    /// Show holds of mmap_locks
    #[arg(long)]
    holds: bool,
    /// Show waits for mmap_locks
    #[arg(long)]
    waits: bool,
    /// Show page faults
    #[arg(long)]
    faults: bool,
    /// Show what waits for mmap_locks are charged to: the holds in the way, and those that a writer ahead in the queue
    /// waited for
    #[arg(long, conflicts_with_all = ["holds", "waits", "faults"])]
    blame: bool,
    /// Rows of each table; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Begin at this time: after the start of the capture (1.5, 250ms, 2min), or of the day (14:03, 14:03:05.5)
    ///
    /// What happened before is judged too, and is not counted. Holds and waits count where they end.
    #[arg(long, value_name = "T")]
    from: Option<Moment>,
    /// End at this time
    #[arg(long, value_name = "T")]
    to: Option<Moment>,
    /// Print all rows of the tables that were asked for as JSON: `lock_users` and `faults_by` of docs/report.md,
    /// `faults_by_mapping`, `faults_by_function` or `blame`
    #[arg(long)]
    json: bool,
    /// Print all rows as comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// The tables that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Holds,
    Waits,
    Blame,
    Faults,
    Mappings,
    Functions,
}

impl Table {
    const fn title(self) -> &'static str {
        match self {
            Self::Holds => "Held mmap_locks",
            Self::Waits => "Waited for mmap_locks",
            Self::Blame => "What waits for mmap_locks are charged to",
            Self::Faults => "Page faults",
            Self::Mappings => "Page faults by mapping",
            Self::Functions => "Page faults by function",
        }
    }

    /// Events of which one at least must have been recorded.
    const fn events(self) -> &'static [Kind] {
        match self {
            Self::Holds | Self::Waits | Self::Blame => &[Kind::AcquireReturned],
            Self::Faults | Self::Mappings | Self::Functions => &[Kind::PageFaultUser, Kind::PageFaultKernel],
        }
    }

    /// What its rows can be sorted by; by the first, unless the user says otherwise.
    const fn keys(self) -> &'static [Sort] {
        match self {
            Self::Holds | Self::Waits | Self::Blame => &[Sort::Total, Sort::Times, Sort::P99, Sort::Longest],
            Self::Faults => &[Sort::Faults],
            Self::Mappings => &[Sort::Faults, Sort::Mappings],
            Self::Functions => &[Sort::Faults, Sort::Total],
        }
    }
}

impl ReportArgs {
    fn tables(&self) -> Vec<Table> {
        if self.blame {
            return vec![Table::Blame];
        }
        match self.by {
            Group::Mapping => return vec![Table::Mappings],
            Group::Function => return vec![Table::Functions],
            _ => {}
        }
        // Only faults have kinds.
        let faults = self.faults || self.by == Group::Kind;
        let asked = [(self.holds, Table::Holds), (self.waits, Table::Waits), (faults, Table::Faults)];
        let all = asked.iter().all(|(asked, _)| !asked);
        asked.into_iter().filter(|(asked, _)| *asked || all).map(|(_, table)| table).collect()
    }

    /// Returns what the rows of a table are sorted by.
    fn key(&self, table: Table) -> Sort {
        self.sort.filter(|key| table.keys().contains(key)).unwrap_or(table.keys()[0])
    }

    /// Refuses what no table that is shown has.
    fn check(&self) -> Result<()> {
        let of = match self.by {
            Group::Mapping => Some("mapping"),
            Group::Function => Some("function"),
            _ => None,
        };
        let of = if self.blame && self.by == Group::Kind { Some("kind of fault") } else { of };
        if let Some(of) = of.filter(|_| self.blame) {
            bail!(
                "waits for mmap_locks belong to no {of}, only page faults do; this shows them: mmtrace report --blame"
            );
        }
        if let Some(of) = of.filter(|_| self.holds || self.waits) {
            let (what, flag) = if self.waits { ("waits for", "--waits") } else { ("holds of", "--holds") };
            bail!("{what} mmap_locks belong to no {of}, only page faults do; this shows them: mmtrace report {flag}");
        }
        let mut keys: Vec<String> = Vec::new();
        for key in self.tables().into_iter().flat_map(|table| table.keys()) {
            if self.sort == Some(*key) {
                return Ok(());
            }
            if !keys.contains(&key.word()) {
                keys.push(key.word());
            }
        }
        match self.sort {
            Some(key) => bail!("this table cannot be sorted by {}, but by {}", key.word(), keys.join(" or ")),
            None => Ok(()),
        }
    }
}

/// Replays a capture and prints its tables.
///
/// # Errors
/// The capture cannot be read, or the tables cannot be printed.
pub fn run(args: &ReportArgs, out: &mut dyn Write, style: Style) -> Result<Outcome> {
    args.check()?;
    let capture = Capture::open(&args.dir)?;
    let start = capture.context().start;
    let mut engine = Engine::new(capture.context().clone(), true);
    let (from, to) = part(&capture, args.from, args.to)?;
    let asked = described(&capture, (from, to));
    let mut before = None;
    let mut records = capture.records_between(0, to);
    ahead::for_each(
        |parcel| records.read(parcel, ahead::TOGETHER),
        |record| {
            if before.is_none() && record.ts >= from {
                before = Some(Before::begin(&mut engine, asked));
            }
            engine.apply(record);
        },
    );
    let before = before.unwrap_or_else(|| Before::begin(&mut engine, asked));
    engine.finish();
    let violated = engine.sink().is_some_and(mmtrace_model::verdict::Sink::any_violated);
    let by = match args.by {
        Group::Caller => By::Caller,
        Group::Thread => By::Thread,
        Group::Process => By::Process,
        Group::Call => By::Call,
        Group::Mapping => {
            mapped(args, &engine, &before, from.max(start), style, out).context("cannot print the report")?;
            return Ok(outcome(&capture, violated));
        }
        Group::Function => {
            by_function(args, &engine, &before, from.max(start), style, out).context("cannot print the report")?;
            return Ok(outcome(&capture, violated));
        }
        Group::Kind => By::Kind,
        Group::Cgroup => By::Cgroup,
    };
    if !args.csv && !args.json {
        stream(&engine, &before, from.max(start), style, out).context("cannot print the report")?;
    }
    if by == By::Cgroup && !engine.tasks().cgroups().is_told() && !args.csv && !args.json {
        writeln!(out, "{NO_CGROUPS}").context("cannot print the report")?;
        return Ok(outcome(&capture, violated));
    }
    if by == By::Process && !args.csv && !args.json {
        writeln!(out, "{}\n", style.dim(BY_PROCESS)).context("cannot print the report")?;
    }
    if args.blame {
        return blamed(args, &engine, by, start, style, out)
            .context("cannot print the report")
            .map(|()| outcome(&capture, violated));
    }
    let mut tables =
        engine.callers().map_or_else(Tables::default, |callers| Tables::new(callers, engine.tasks(), by, start));
    sort_locks(args, &mut tables.locks);
    print(args, &tables, capture.context(), style, out).context("cannot print the report")?;
    if !args.csv && !args.json && args.tables().iter().any(|table| matches!(table, Table::Holds | Table::Waits)) {
        held_before::print(&held_before::rows(&engine), style, out).context("cannot print the report")?;
        unfinished::print(&unfinished::rows(&engine), style, out).context("cannot print the report")?;
    }
    Ok(outcome(&capture, violated))
}

/// Counts of an engine at the start of the part that is reported.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// The part that was asked for, if it is not all.
    part: Option<Part>,
    total: u64,
    lost: u64,
    missed: u64,
    gaps: u64,
}

impl Before {
    /// The part begins here: callers and faults by mapping are counted from now on.
    fn begin(engine: &mut Engine, part: Option<Part>) -> Self {
        engine.count_from_here();
        Self { part, total: engine.total(), lost: engine.lost(), missed: engine.missed(), gaps: engine.gaps() }
    }
}

/// Says what the tables are made of, and what is missing from it.
fn stream(engine: &Engine, before: &Before, from: u64, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let verdict = Report::new(engine).verdict.map_or_else(String::new, |v| format!("{}; ", style.verdict(v, v.name())));
    let seconds = engine.span().map_or(0.0, |(first, to)| to.saturating_sub(first.max(from)) as f64 / 1e9);
    write!(out, "{verdict}{} events in {seconds:.1} s", grouped(engine.total() - before.total))?;
    let missing = [
        (engine.lost() - before.lost, "lost"),
        (engine.missed() - before.missed, "missed"),
        (engine.gaps() - before.gaps, "parts that cannot be read"),
    ];
    for (count, what) in missing {
        if count > 0 {
            write!(out, ", {}", style.bad(&format!("{} {what}", grouped(count))))?;
        }
    }
    if let Some(part) = before.part {
        write!(out, "\n{}; holds and waits count where they end", part.text())?;
    }
    writeln!(out)?;
    for line in RecordingCost::of(engine).iter().flat_map(RecordingCost::shed_lines) {
        writeln!(out, "{}", style.bad(&line))?;
    }
    writeln!(out)
}

/// Sorts users of locks, as JSON has them: by their holds, or by their waits if only those were asked for.
fn sort_locks(args: &ReportArgs, rows: &mut [LockRow]) {
    let tables = args.tables();
    let table = if tables.contains(&Table::Holds) { Table::Holds } else { Table::Waits };
    rows.sort_by_key(|row| {
        let times = if table == Table::Holds { row.held } else { row.contended };
        Reverse(times.map(|times| value(&times, args.key(table))))
    });
}

/// What intervals are sorted by.
fn value(times: &Times, key: Sort) -> u64 {
    match key {
        Sort::Times => times.count,
        Sort::P99 => times.p99_ns.unwrap_or(0),
        Sort::Longest => times.longest_ns,
        Sort::Total | Sort::Faults | Sort::Mappings => times.sum_ns,
    }
}

/// The tables of callers that were asked for, as JSON has them.
#[derive(Serialize)]
struct Asked<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    lock_users: Option<&'a [LockRow]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    faults_by: Option<&'a [FaultRow]>,
}

impl<'a> Asked<'a> {
    fn new(args: &ReportArgs, tables: &'a Tables) -> Self {
        let asked = args.tables();
        let is_asked = |of: &[Table]| asked.iter().any(|table| of.contains(table));
        Self {
            lock_users: is_asked(&[Table::Holds, Table::Waits]).then_some(&tables.locks),
            faults_by: is_asked(&[Table::Faults]).then_some(&tables.faults),
        }
    }
}

fn print(
    args: &ReportArgs,
    tables: &Tables,
    context: &StreamContext,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    if args.json {
        json(&Asked::new(args, tables), out)?;
        return writeln!(out);
    }
    if args.csv {
        writeln!(
            out,
            "table,pid,process,thread,threads,tid,call,mode,total_ns,times,p99_ns,longest_ns,longest_at_ns,kind,cgroup"
        )?;
    }
    for (n, table) in args.tables().into_iter().enumerate() {
        if n > 0 && !args.csv {
            writeln!(out)?;
        }
        if !args.csv && !table.events().iter().any(|kind| context.has(*kind)) {
            writeln!(out, "{}: not recorded: mmtrace info says which events were", style.bold(table.title()))?;
            continue;
        }
        match table {
            Table::Holds | Table::Waits => locks(args, table, tables, style, out)?,
            Table::Faults => faults(args, &tables.faults, style, out)?,
            // They have no rows of callers.
            Table::Mappings | Table::Functions | Table::Blame => {}
        }
    }
    Ok(())
}

/// Prints the table of holds, or of waits.
fn locks(args: &ReportArgs, table: Table, tables: &Tables, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let waits = table == Table::Waits;
    let (verb, part) =
        if waits { ("waited", tables.waits_seen().text("waits")) } else { ("held", tables.holds_seen().text("holds")) };
    let times = |row: &LockRow| if waits { row.contended } else { row.held };
    let mut rows: Vec<_> = tables.locks.iter().filter_map(|row| Some((row, times(row)?))).collect();
    rows.sort_by_key(|(_, times)| Reverse(value(times, args.key(table))));
    if args.csv {
        for (row, times) in rows {
            let mode = if row.write { "write" } else { "read" };
            let p99 = times.p99_ns.map_or_else(String::new, |ns| ns.to_string());
            write!(out, "{verb},{},{mode},", names(&row.who))?;
            write!(out, "{},{},{p99},{},{},,", times.sum_ns, times.count, times.longest_ns, times.longest_at_ns)?;
            writeln!(out, "{}", cell(row.who.cgroup.as_deref().unwrap_or_default()))?;
        }
        return Ok(());
    }
    let total: u64 = rows.iter().fold(0, |sum, (_, times)| sum.saturating_add(times.sum_ns));
    writeln!(out, "{}", style.bold(&format!("{}: {} in all", table.title(), duration(total))))?;
    if let Some(part) = part {
        writeln!(out, "  {}", style.dim(&format!("{part} were seen whole")))?;
    }
    if rows.is_empty() {
        return writeln!(out, "  {}", if waits { "no contended wait ended" } else { "none was seen whole" });
    }
    let head = format!("{verb:>9} {:>6} {:>9} {:>9} {:>9} {:>10}  by", "share", "times", "p99", "longest", "at");
    writeln!(out, "  {}", style.dim(&head))?;
    let shown = if args.limit == 0 { rows.len() } else { args.limit };
    for (row, times) in rows.iter().take(shown) {
        writeln!(
            out,
            "  {:>9} {:>5.1}% {:>9} {:>9} {:>9} {:>8.3} s  {}",
            duration(times.sum_ns),
            100.0 * times.sum_ns as f64 / total.max(1) as f64,
            grouped(times.count),
            times.p99_ns.map_or_else(|| "-".to_owned(), duration),
            duration(times.longest_ns),
            times.longest_at_ns as f64 / 1e9,
            row.who.caller(Some(row.mode())),
        )?;
        if waits {
            for behind in row.behind_text(BEHIND) {
                writeln!(out, "  {:62}{}", "", style.dim(&behind))?;
            }
        }
    }
    more(rows.len(), shown, style, out)
}

fn faults(args: &ReportArgs, rows: &[FaultRow], style: Style, out: &mut dyn Write) -> io::Result<()> {
    if args.csv {
        for row in rows {
            let (count, kind) = (row.count, row.kind.unwrap_or_default());
            let cgroup = cell(row.who.cgroup.as_deref().unwrap_or_default());
            writeln!(out, "faults,{},,,{count},,,,{kind},{cgroup}", names(&row.who))?;
        }
        return Ok(());
    }
    let total: u64 = rows.iter().map(|row| row.count).sum();
    writeln!(out, "{}", style.bold(&format!("{}: {}", Table::Faults.title(), grouped(total))))?;
    shares(args, total, rows.iter().map(|row| (row.count, row.text())), style, out)
}

/// Writes rows of page faults, with the share of `total` that each has.
fn shares(
    args: &ReportArgs,
    total: u64,
    rows: impl ExactSizeIterator<Item = (u64, String)>,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let of = rows.len();
    let shown = if args.limit == 0 { of } else { args.limit };
    for (count, text) in rows.take(shown) {
        let share = 100.0 * count as f64 / total.max(1) as f64;
        writeln!(out, "  {:>9} {share:>5.1}%  {text}", grouped(count))?;
    }
    more(of, shown, style, out)
}

/// What waits are charged to.
fn blamed(args: &ReportArgs, engine: &Engine, by: By, start: u64, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let Some(callers) = engine.callers() else { return Ok(()) };
    let mut rows = rows(callers, engine.tasks(), by, start);
    rows.sort_by_key(|row| Reverse(value(&row.charged, args.key(Table::Blame))));
    if args.json {
        json(&BTreeMap::from([("blame", &rows)]), out)?;
        return writeln!(out);
    }
    if args.csv {
        return blame::csv(&rows, out);
    }
    let title = style.bold(Table::Blame.title());
    if !Table::Blame.events().iter().any(|kind| engine.context().has(*kind)) {
        return writeln!(out, "{title}: not recorded: mmtrace info says which events were");
    }
    let seen = Tables::new(callers, engine.tasks(), by, start).waits_seen().text("waits");
    blame::print(&title, &rows, seen, args.limit, style, out)?;
    unfinished::print(&unfinished::rows(engine), style, out)
}

/// Page faults by mapping.
fn mapped(
    args: &ReportArgs,
    engine: &Engine,
    before: &Before,
    from: u64,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut rows = mappings::rows(engine);
    if args.key(Table::Mappings) == Sort::Mappings {
        rows.sort_by_key(|row| Reverse(row.mappings));
    }
    if args.json {
        json(&BTreeMap::from([("faults_by_mapping", &rows)]), out)?;
        return writeln!(out);
    }
    if args.csv {
        writeln!(out, "table,process,mapping,kind,faults,mappings,start,end")?;
        for row in &rows {
            let (process, mapping) = (cell(row.process.as_deref().unwrap_or_default()), cell(&row.mapping));
            let range = row.top.map_or_else(|| ",".to_owned(), |top| format!("{:#x},{:#x}", top.start, top.end));
            writeln!(out, "faults,{process},{mapping},{},{},{},{range}", row.kind, row.count, row.mappings)?;
        }
        return Ok(());
    }
    stream(engine, before, from, style, out)?;
    let total: u64 = rows.iter().map(|row| row.count).sum();
    writeln!(out, "{}", style.bold(&format!("{}: {}", Table::Mappings.title(), grouped(total))))?;
    if rows.is_empty() {
        return writeln!(
            out,
            "  the capture does not tell: it has no ma_write events, or an older mmtrace recorded it"
        );
    }
    if let Some(part) = mappings::known(&rows).text("faults") {
        writeln!(out, "  {}", style.dim(&format!("the mapping of {part} is known")))?;
    }
    shares(args, total, rows.iter().map(|row| (row.count, row.text())), style, out)
}

/// Page faults by function.
fn by_function(
    args: &ReportArgs,
    engine: &Engine,
    before: &Before,
    from: u64,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut rows = functions::rows(engine);
    if args.key(Table::Functions) == Sort::Total {
        rows.sort_by_key(|row| Reverse(row.sum_ns));
    }
    if args.json {
        json(&BTreeMap::from([("faults_by_function", &rows)]), out)?;
        return writeln!(out);
    }
    if args.csv {
        writeln!(out, "table,process,function,file,kind,faults,timed,total_ns,offset,address,call,build_id")?;
        for row in &rows {
            let text = |text: &Option<String>| cell(text.as_deref().unwrap_or_default());
            let (process, function, file) = (text(&row.process), text(&row.function), text(&row.file));
            let (offset, address, call) = (text(&row.offset), text(&row.address), text(&row.call));
            let (times, build) = (format!("{},{}", row.timed, row.sum_ns), text(&row.build_id));
            let (kind, count) = (row.kind, row.count);
            writeln!(
                out,
                "faults,{process},{function},{file},{kind},{count},{times},{offset},{address},{call},{build}"
            )?;
        }
        return Ok(());
    }
    stream(engine, before, from, style, out)?;
    let total: u64 = rows.iter().map(|row| row.count).sum();
    writeln!(out, "{}", style.bold(&format!("{}: {}", Table::Functions.title(), grouped(total))))?;
    if rows.is_empty() {
        return writeln!(
            out,
            "  the capture does not tell: it has no page_fault_user or no ma_write events, or an older mmtrace recorded it"
        );
    }
    if !engine.model().is_some_and(|model| model.mappings().has_functions()) {
        let text = "names of functions are not recorded: an older mmtrace recorded it, no file could be read, or \
                    the mappings of the code are not known";
        writeln!(out, "  {}", style.dim(text))?;
    } else if let Some(part) = functions::known(&rows).text("faults by code in files or unknown mappings") {
        writeln!(out, "  {}", style.dim(&format!("the function of {part} is known")))?;
    }
    shares(args, total, rows.iter().map(|row| (row.count, row.text())), style, out)
}
